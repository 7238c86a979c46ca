"""The pump: moves sound from the link's capture ring through the engine into its playback ring.

    capture ring -> [too old? shorten] -> adaptive resampler to 48 kHz -> engine -> [device rate] -> playback ring

It also keeps the live edge: drift is steered out by the resampler; sound that got old (a stall) is played faster
with its pitch kept (CATCH_UP_SPEED); while more than max_age is held, what comes in is dropped, with a cross-fade
over the gap. The pump never waits and never asks the time: a real process or a simulation calls `step` and says
what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.drift import ClockModel, DriftControl
from rtvc.audio.link import capture_data, playback_data, try_read_clock
from rtvc.kernels.mix import peak
from rtvc.kernels.resample import (
    resample,
    resample_max_output,
    resampler_delay_frames,
    resampler_set_ratio,
    resampler_state,
)
from rtvc.kernels.ring import ring_fill, ring_pop, ring_push, ring_skip
from rtvc.kernels.splice import splice

from .engine import Engine
from .flight import flight_hear, flight_say
from .taps import taps_push
from .voice import ENGINE_RATE_HZ

CHUNK_FRAMES = 1024
EXCESS_S = 0.010  # in flight beyond the target: more than drift control should stretch away
CATCH_UP_S = 0.050  # at most so much is looked at for one cut
CATCH_UP_SPEED = 1.25
LONGEST_CUT_S = 0.0125
FADE_S = 0.004
SETTLE_S = 0.25  # both clocks are believed after this
DEEPER_S = 0.002  # more slack after an xrun, given back by halves when it stays calm
DEEPEST_S = 0.020
CALM_S = 60.0


@dataclass
class PumpCounters:
    """What the pump had to do, since it began."""

    cuts: int = 0  # catch-up splices
    cut_frames: int = 0
    dropped_frames: int = 0  # past max_age
    deeper: int = 0  # times the target grew after xruns


class Pump:
    """Moves sound over one link, through one engine."""

    def __init__(
        self,
        link: NDArray[np.int64],
        engine: Engine,
        margin_s: float,
        max_age_s: float,
        one_clock: bool,
        taps: NDArray[np.int64] | None = None,
        flight: NDArray[np.int64] | None = None,
    ) -> None:
        """margin_s is the slack above one capture block; max_age_s caps the sound in flight.

        one_clock says that capture and playback are halves of the same callback. taps (int64[TAPS_INT64]) and
        flight (int64[FLIGHT_INT64]) get a copy of what the engine hears and says.
        """
        self.link = link
        self.engine = engine
        self._taps, self._flight = taps, flight
        self.counters = PumpCounters()
        self._in_hz = float(link[fields.CAPTURE_RATE_HZ])
        self._out_hz = float(link[fields.PLAYBACK_RATE_HZ])
        # at 192 kHz a ring is shorter than the cap, and a full ring would drop without a cross-fade
        self._max_age_s = min(max_age_s, 0.8 * fields.CAPACITY / max(self._in_hz, self._out_hz))
        self._margin_s = margin_s
        self._one_clock = one_clock
        self.extra_s = 0.0
        self._calm_since_s = 0.0
        self._in = resampler_state(self._in_hz, ENGINE_RATE_HZ)
        self._out = None if self._out_hz == ENGINE_RATE_HZ else resampler_state(ENGINE_RATE_HZ, self._out_hz)
        piece = max(CHUNK_FRAMES, round(CATCH_UP_S * self._in_hz))
        self._x, self._spliced = np.zeros(piece, np.float32), np.zeros(piece, np.float32)
        self._torn = np.zeros(round(FADE_S * self._in_hz), np.float32)  # what came first in a gap
        self._torn_frames = 0
        inner = resample_max_output(self._in, piece)
        self._inner_x, self._inner_y = np.zeros(inner, np.float32), np.zeros(inner, np.float32)
        self._outer = np.zeros(resample_max_output(self._out, inner) if self._out else 0, np.float32)
        self._capture = link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]
        self._playback = link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16]
        self._capture_clock, self._playback_clock = ClockModel(self._in_hz), ClockModel(self._out_hz)
        self.drift = DriftControl(0.0)
        self._since_s: float | None = None
        self._xruns = int(link[fields.PLAYBACK_XRUNS])
        self.in_flight_s = 0.0
        self._next_cut_s = 0.0
        self.in_peak = self.out_peak = 0.0  # largest magnitudes since somebody set them back
        self._set_prime()
        ring_skip(self._capture, ring_fill(self._capture))  # what waited while nobody listened is too old

    def target_s(self) -> float:
        """Return the sound that must be in flight: one capture block, and the slack."""
        return int(self.link[fields.CAPTURE + fields.CLOCK_BLOCK_MAX]) / self._in_hz + self._margin_s + self.extra_s

    @property
    def delay_s(self) -> float:
        """The declared delay from ring to ring: the engine's and its resamplers'."""
        out_s = resampler_delay_frames(self._out) / ENGINE_RATE_HZ if self._out else 0.0
        return self.engine.delay_ms * 1e-3 + resampler_delay_frames(self._in) / self._in_hz + out_s

    def step(self, time_s: float) -> int:
        """Move everything that is there; return the capture frames moved."""
        moved = 0
        while waiting := ring_fill(self._capture):
            piece = round(min(CATCH_UP_S, self._excess_s(time_s)) * self._in_hz)
            if waiting / self._in_hz + ring_fill(self._playback) / self._out_hz > self._max_age_s:
                moved += self._drop(waiting)
            elif waiting < self._torn_frames:
                break
            elif self._torn_frames:
                moved += self._mend()
            elif piece == 0:
                moved += self._pass(CHUNK_FRAMES)
            elif waiting >= piece and time_s >= self._next_cut_s:
                moved += self._shorten(piece, time_s)
            elif waiting > piece:
                moved += self._pass(min(waiting - piece, CHUNK_FRAMES))
            else:
                break  # the playback ring holds enough to wait for a piece worth cutting
            self._measure(time_s)
        if moved:
            self._set_prime()
            self._steer(time_s)
        return moved

    def _excess_s(self, time_s: float) -> float:
        """Return the sound in flight beyond the target, 0 while that is not known or too little to cut."""
        if self._since_s is None or time_s < self._since_s + SETTLE_S:
            return 0.0
        excess_s = self.in_flight_s - self.target_s()
        return excess_s if excess_s > EXCESS_S else 0.0

    def _pass(self, most: int) -> int:
        """Convert up to `most` captured frames as they are."""
        return self._convert(self._x, ring_pop(self._capture, capture_data(self.link), self._x[:most]))

    def _convert(self, x: NDArray[np.float32], n: int) -> int:
        """Send the first n frames of x through the engine into the playback ring."""
        self.in_peak = max(self.in_peak, peak(x[:n]))
        inner = resample(self._in, x[:n], self._inner_x)
        y = self._inner_y[:inner]
        if self._flight is not None:
            flight_hear(self._flight, self._inner_x[:inner])
        self.engine.process(self._inner_x[:inner], y)
        if self._flight is not None:
            flight_say(self._flight, y)
        self.out_peak = max(self.out_peak, peak(y))
        if self._taps is not None:
            taps_push(self._taps, self._inner_x[:inner], y)
        if self._out:
            y = self._outer[: resample(self._out, y, self._outer)]
        ring_push(self._playback, playback_data(self.link), y)
        return n

    def _shorten(self, piece: int, time_s: float) -> int:
        """Convert one piece of old sound with a little taken out of it, and let time pass before the next cut."""
        n = ring_pop(self._capture, capture_data(self.link), self._x[:piece])
        fade = round(FADE_S * self._in_hz)
        longest = min(round(LONGEST_CUT_S * self._in_hz), n - fade)
        left = splice(self._x[:n], longest // 2, longest, fade, self._spliced)
        self.counters.cuts += 1
        self.counters.cut_frames += n - left
        self._next_cut_s = time_s + (n - left) / self._in_hz / (CATCH_UP_SPEED - 1.0)
        self._convert(self._spliced, left)
        return n

    def _drop(self, waiting: int) -> int:
        """Forget what waits, but for the first few frames since the last that sounded."""
        if self._torn_frames == 0:
            self._torn_frames = ring_pop(self._capture, capture_data(self.link), self._torn)
            ring_skip(self._capture, waiting - self._torn_frames)
        else:
            ring_skip(self._capture, waiting)
        self.counters.dropped_frames += waiting
        return waiting

    def _mend(self) -> int:
        """Cross-fade from where sound was dropped into what comes now."""
        fade = self._torn_frames
        self._torn_frames = 0
        self._x[:fade] = self._torn[:fade]
        ring_pop(self._capture, capture_data(self.link), self._x[fade : 2 * fade])
        self._convert(self._spliced, splice(self._x[: 2 * fade], fade, fade, fade, self._spliced))
        return fade

    def _measure(self, time_s: float) -> None:
        """Work out how much sound lies between the two devices at time_s."""
        link = self.link
        in_frames, in_ns, in_callbacks = try_read_clock(link, fields.CAPTURE)
        out_frames, out_ns, out_callbacks = try_read_clock(link, fields.PLAYBACK)
        in_fill, out_fill = ring_fill(self._capture), ring_fill(self._playback)
        again = try_read_clock(link, fields.CAPTURE)[2], try_read_clock(link, fields.PLAYBACK)[2]
        if min(in_callbacks, out_callbacks) <= 0 or again != (in_callbacks, out_callbacks):
            return  # not running yet, or a callback came in between: the next measurement will do
        self._capture_clock.observe(in_frames, in_ns * 1e-9)
        self._playback_clock.observe(out_frames, out_ns * 1e-9)
        # a clock runs on between callbacks, but not for ever: a device may have stopped
        most = 4 * int(link[fields.CAPTURE + fields.CLOCK_BLOCK_MAX])
        since_capture = min(self._capture_clock.frames_at(time_s) - in_frames, most)
        most = 4 * int(link[fields.PLAYBACK + fields.CLOCK_BLOCK_MAX])
        since_playback = min(self._playback_clock.frames_at(time_s) - out_frames, most)
        self.in_flight_s = (in_fill + since_capture) / self._in_hz + (out_fill - since_playback) / self._out_hz
        if self._since_s is None:
            self._since_s = time_s

    def _steer(self, time_s: float) -> None:
        """Adjust the resampler to keep the level, and the level to what this machine can hold."""
        if self._since_s is None or time_s - self._since_s < SETTLE_S:
            return
        xruns = int(self.link[fields.PLAYBACK_XRUNS])
        if xruns > self._xruns:
            self._xruns = xruns
            self._deepen(time_s)
        elif time_s - self._calm_since_s > CALM_S:
            self._calm_since_s = time_s
            self.extra_s = max(0.0, self.extra_s - DEEPER_S / 2)
        self.drift.target_s = self.target_s()
        ratio = (1.0 + self._playback_clock.deviation()) / (1.0 + self._capture_clock.deviation()) - 1.0
        resampler_set_ratio(self._in, self.drift.update(self.in_flight_s, ratio, time_s))

    def _deepen(self, time_s: float) -> None:
        self._calm_since_s = time_s
        deeper = min(self.extra_s + DEEPER_S, DEEPEST_S)
        self.counters.deeper += deeper > self.extra_s
        self.extra_s = deeper

    def _set_prime(self) -> None:
        """Let sound start with the target's level behind it; two devices may meet at any phase of a block."""
        phase_s = 0.0 if self._one_clock else self.target_s() - self._margin_s - self.extra_s
        self.link[fields.PLAYBACK_PRIME] = round((self._margin_s + self.extra_s + phase_s) * self._out_hz)
