"""The pump: moves sound from the link's capture ring through the engine into its playback ring.

    capture ring -> [line: faster or dropped if old] -> resampler to 48 kHz -> engine -> [device rate] -> playback ring

Drift between the devices is steered out by the resampler. The pump also keeps the live edge. Age is how much sound
lies between the two devices: what the microphone has heard and the listener has not, by both devices' sample clocks,
measured with every block. The voice's own delay, which is declared and the same for every sound, comes on top.

- At rest the age is the target: one capture block and a little slack.
- EXCESS_S above it (after a stall) sound waits in the line, and is played up to CATCH_UP_SPEED times faster with its
  pitch kept (`rtvc.kernels.wsola`), until it is back. Only what the device needs next goes through the engine.
- max_age is the promise: RECOVER_S after any stall, age is below it. What cannot be caught up with by then, and
  anything above the hard cap, is dropped: the oldest first, cross-faded, no more than needed.

So no sound is heard that is older than the smaller of HARD_CAP_S and max_age + CATCH_UP_S (only a device whose blocks
are longer than that has more). Every cut and every drop is counted. The pump never waits and never asks the time: a
real process or a simulation calls `step` and says what time it is.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

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
from rtvc.kernels.wsola import (
    FADE_S,
    HOP_S,
    LONGEST_S,
    SHORTEST_S,
    wsola_clear,
    wsola_fill,
    wsola_gone,
    wsola_pull,
    wsola_push,
    wsola_skip,
    wsola_state,
)

from .engine import Engine
from .flight import flight_hear, flight_say
from .taps import taps_push
from .voice import ENGINE_RATE_HZ

CHUNK_FRAMES = 1024
DSP_MAX_AGE_S, NEURAL_MAX_AGE_S = 0.060, 0.080  # unless the user says otherwise
HARD_CAP_S = 0.250
RECOVER_S = 0.5
CATCH_UP_SPEED = 1.25
CATCH_UP_S = 0.8 * RECOVER_S * (CATCH_UP_SPEED - 1.0)  # what is caught up with in RECOVER_S, with a fifth in reserve
EXCESS_S = 0.010  # above the target: more than drift control should stretch away
CAUGHT_UP_S = 0.005  # above the target: drift control may have the rest
LATE_S = 0.02  # a playback callback may be late by this or four blocks before it is taken for stopped
SETTLE_S = 0.25  # both clocks are believed after this
DEEPER_S = 0.002  # more slack after an xrun, given back by halves when it stays calm ...
HELPS_S = 0.040  # ... if what came late was no later than that: no slack bridges longer stalls
DEEPEST_S = 0.020
CALM_S = 60.0
AGE_EDGES_MS = (10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 250)  # of the histogram of ages; its last cell lies above


@dataclass
class PumpCounters:
    """What the pump had to do, since it began."""

    cuts: int = 0  # catch-up splices
    cut_frames: int = 0
    dropped_frames: int = 0  # too old
    late_blocks: int = 0  # blocks that were measured older than max_age
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
        """margin_s is the slack above one capture block; max_age_s is the age that is promised.

        one_clock says that capture and playback are halves of the same callback. taps (int64[TAPS_INT64]) and
        flight (int64[FLIGHT_INT64]) get a copy of what the engine hears and says.
        """
        self.link = link
        self.engine = engine
        self._taps, self._flight = taps, flight
        self.counters = PumpCounters()
        self._in_hz = float(link[fields.CAPTURE_RATE_HZ])
        self._out_hz = float(link[fields.PLAYBACK_RATE_HZ])
        self._max_age_s = max_age_s
        self._margin_s = margin_s
        self._one_clock = one_clock
        self.extra_s = 0.0
        self._calm_since_s = 0.0
        self._in = resampler_state(self._in_hz, ENGINE_RATE_HZ)
        self._out = None if self._out_hz == ENGINE_RATE_HZ else resampler_state(ENGINE_RATE_HZ, self._out_hz)
        self._line = wsola_state(self._in_hz, 2 * fields.CAPACITY)
        self._hop = round(HOP_S * self._in_hz)
        self._shortest, self._longest = round(SHORTEST_S * self._in_hz), round(LONGEST_S * self._in_hz)
        self._fade = round(FADE_S * self._in_hz)
        self._x = np.zeros(max(CHUNK_FRAMES, self._hop), np.float32)
        inner = resample_max_output(self._in, len(self._x))
        self._inner_x, self._inner_y = np.zeros(inner, np.float32), np.zeros(inner, np.float32)
        self._outer = np.zeros(resample_max_output(self._out, inner) if self._out else 0, np.float32)
        self._capture = link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]
        self._playback = link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16]
        self._capture_clock, self._playback_clock = ClockModel(self._in_hz), ClockModel(self._out_hz)
        self.drift = DriftControl(0.0)
        self._since_s: float | None = None
        self._xruns = int(link[fields.PLAYBACK_XRUNS])
        self._lost = int(link[fields.CAPTURE_LOST])
        self.in_flight_s = 0.0  # the age now
        self.ages = [0] * (len(AGE_EDGES_MS) + 1)  # blocks by age
        self.age_peak_s = 0.0  # largest since somebody set it back
        self._late_s = 0.0  # most that waited beyond the target since the last look at xruns
        self._due_s = 0.0  # sound that playback should have taken since its last callback
        self._catching_up = False
        self.in_peak = self.out_peak = 0.0  # largest magnitudes since somebody set them back
        self._set_prime()
        ring_skip(self._capture, ring_fill(self._capture))  # what waited while nobody listened is too old

    def target_s(self) -> float:
        """Return the sound that must be in flight: one capture block, and the slack."""
        return int(self.link[fields.CAPTURE + fields.CLOCK_BLOCK_MAX]) / self._in_hz + self._margin_s + self.extra_s

    def max_age_s(self) -> float:
        """Return the age that is promised: what was asked for, or a little more than this machine's devices need."""
        return max(self._max_age_s, self.target_s() + 2 * EXCESS_S)

    @property
    def delay_s(self) -> float:
        """The declared delay from ring to ring: the engine's and its resamplers'."""
        out_s = resampler_delay_frames(self._out) / ENGINE_RATE_HZ if self._out else 0.0
        return self.engine.delay_ms * 1e-3 + resampler_delay_frames(self._in) / self._in_hz + out_s

    def step(self, time_s: float) -> int:
        """Take what was captured and convert what is to be heard next; return the frames converted."""
        heard = self._take()
        self._measure(time_s)
        self._late_s = max(self._late_s, self.in_flight_s - self.target_s())
        self._drop_old()
        moved = self._feed_late() if self._is_late(time_s) else self._feed()
        if moved:
            self._measure(time_s)
            self._set_prime()
            self._steer(time_s)
        if heard:
            self._note_age()
        return moved

    def _take(self) -> int:
        """Move what was captured into the line; return the number of frames."""
        heard = 0
        lost = int(self.link[fields.CAPTURE_LOST])
        while n := ring_pop(self._capture, capture_data(self.link), self._x):
            wsola_push(self._line, self._x[:n])
            heard += n
        if lost != self._lost:  # the ring was full: all in it is too old, and then comes a gap
            self._lost = lost
            self.counters.dropped_frames += wsola_clear(self._line)
        return heard

    def _drop_old(self) -> None:
        """Drop what is too old to be caught up with in time."""
        max_age_s = self.max_age_s()
        most_s = min(max_age_s + CATCH_UP_S, max(HARD_CAP_S, max_age_s))
        if self.in_flight_s > most_s:
            self.counters.dropped_frames += wsola_skip(self._line, round((self.in_flight_s - most_s) * self._in_hz))

    def _is_late(self, time_s: float) -> bool:
        """Return whether there is sound to catch up with."""
        if self._since_s is None or time_s < self._since_s + SETTLE_S:
            self._catching_up = False
        else:
            bound_s = CAUGHT_UP_S if self._catching_up else EXCESS_S
            self._catching_up = self.in_flight_s - self.target_s() > bound_s
        return self._catching_up

    def _feed(self) -> int:
        """Convert all that waits, as it is."""
        moved = 0
        while n := wsola_pull(self._line, self._x[:CHUNK_FRAMES], 1.0, 0):
            moved += self._convert(self._x, n)
        return moved

    def _feed_late(self) -> int:
        """Convert what playback needs next, faster than it was said; the rest waits in the line."""
        need = ceil(self._needed_s() * self._in_hz)  # a single frame too few, and playback would not begin
        excess = round((self.in_flight_s - self.target_s()) * self._in_hz)
        moved = 0
        while moved < need:
            longest = min(self._longest, excess, wsola_fill(self._line) - self._fade)
            speed = CATCH_UP_SPEED if longest >= self._shortest else 1.0
            gone, cuts = wsola_gone(self._line)
            n = wsola_pull(self._line, self._x[: min(need - moved, self._hop)], speed, longest)
            if n == 0:
                break
            gone, cuts = wsola_gone(self._line)[0] - gone, wsola_gone(self._line)[1] - cuts
            self.counters.cuts += cuts
            self.counters.cut_frames += gone - n
            excess -= gone - n
            moved += self._convert(self._x, n)
        return moved

    def _needed_s(self) -> float:
        """Return the sound that playback lacks to be at its level, or to begin."""
        held_s = ring_fill(self._playback) / self._out_hz
        if self.link[fields.PLAYBACK_STATE] == 0:
            block = int(self.link[fields.PLAYBACK + fields.CLOCK_BLOCK_MAX])
            return (int(self.link[fields.PLAYBACK_PRIME]) + block) / self._out_hz - held_s
        return self.target_s() + self._due_s - held_s

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

    def _measure(self, time_s: float) -> None:
        """Work out how much sound lies between the two devices at time_s."""
        link = self.link
        in_frames, in_ns, in_callbacks = try_read_clock(link, fields.CAPTURE)
        out_frames, out_ns, out_callbacks = try_read_clock(link, fields.PLAYBACK)
        waiting_s = (ring_fill(self._capture) + wsola_fill(self._line)) / self._in_hz
        held_s = ring_fill(self._playback) / self._out_hz
        again = try_read_clock(link, fields.CAPTURE)[2], try_read_clock(link, fields.PLAYBACK)[2]
        if min(in_callbacks, out_callbacks) <= 0 or again != (in_callbacks, out_callbacks):
            # not running yet, or a callback came in between: what is held will do until the next measurement
            self.in_flight_s = waiting_s + held_s
            return
        self._capture_clock.observe(in_frames, in_ns * 1e-9)
        self._playback_clock.observe(out_frames, out_ns * 1e-9)
        # a clock runs on between callbacks, but not for ever: a device may have stopped
        most_s = max(LATE_S, 4 * int(link[fields.CAPTURE + fields.CLOCK_BLOCK_MAX]) / self._in_hz)
        coming_s = min((self._capture_clock.frames_at(time_s) - in_frames) / self._in_hz, most_s)
        most_s = max(LATE_S, 4 * int(link[fields.PLAYBACK + fields.CLOCK_BLOCK_MAX]) / self._out_hz)
        self._due_s = min((self._playback_clock.frames_at(time_s) - out_frames) / self._out_hz, most_s)
        self.in_flight_s = waiting_s + coming_s + held_s - self._due_s
        if self._since_s is None:
            self._since_s = time_s

    def _note_age(self) -> None:
        """Count the age of one block."""
        self.ages[bisect_right(AGE_EDGES_MS, 1e3 * self.in_flight_s)] += 1
        self.age_peak_s = max(self.age_peak_s, self.in_flight_s)
        self.counters.late_blocks += self.in_flight_s > self.max_age_s()

    def _steer(self, time_s: float) -> None:
        """Adjust the resampler to keep the level, and the level to what this machine can hold."""
        if self._since_s is None or time_s - self._since_s < SETTLE_S:
            return
        xruns = int(self.link[fields.PLAYBACK_XRUNS])
        if xruns > self._xruns:
            self._xruns = xruns
            if self._late_s < HELPS_S:
                self._deepen(time_s)
        elif time_s - self._calm_since_s > CALM_S:
            self._calm_since_s = time_s
            self.extra_s = max(0.0, self.extra_s - DEEPER_S / 2)
        self._late_s = 0.0
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
