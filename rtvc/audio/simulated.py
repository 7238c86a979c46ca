"""Simulated devices with clocks of their own: a microphone that plays an array, and a listener that records.

They call the same compiled `link_capture` and `link_playback` as real callbacks do, at times of their own: each side
has a rate error in ppm, jitter, stalls (callbacks late, then in a burst) and unplugging (no callbacks at all). Time
is virtual: `run_until` plays events up to a moment, as fast as the machine can, and `start` binds the same
events to the real clock in a thread. Tests, the demo and the doctor use them in place of a sound card.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .backend import Lost
from .link import (
    CAPTURE_CHANNELS,
    CAPTURE_RATE_HZ,
    PLAYBACK_CHANNELS,
    PLAYBACK_RATE_HZ,
    link_capture,
    link_playback,
)


@dataclass(frozen=True)
class SimulatedClock:
    """One device's clock: nominal rate, error, jitter (standard deviation), stalls and unplugs as (start, length)."""

    rate_hz: int = 48000
    ppm: float = 0.0
    jitter_ms: float = 0.0
    stalls_s: tuple[tuple[float, float], ...] = ()
    unplugged_s: tuple[tuple[float, float], ...] = ()
    block_frames: int = 256


@dataclass
class _Side:
    """Progress of one device: when its next block is due, and when its callback really runs."""

    clock: SimulatedClock
    random: np.random.Generator
    blocks: int = 0
    phase_s: float = 0.0
    due_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.period_s = self.clock.block_frames / (self.clock.rate_hz * (1.0 + self.clock.ppm * 1e-6))
        self.last_s = 0.0
        self._plan()

    def _plan(self) -> None:
        due = self.phase_s + (self.blocks + 1) * self.period_s
        due += abs(self.random.normal()) * self.clock.jitter_ms * 1e-3
        for start, length in self.clock.stalls_s:
            if start <= due < start + length:
                due = start + length
        self.due_s = max(due, self.last_s)

    def done(self) -> None:
        self.last_s = self.due_s
        self.blocks += 1
        self._plan()

    def unplugged(self) -> bool:
        return any(start <= self.due_s < start + length for start, length in self.clock.unplugged_s)


class SimulatedStreams:
    """`backend.Streams` over a simulated microphone and listener."""

    def __init__(
        self,
        link: NDArray[np.int64],
        source: NDArray[np.float32],
        capture: SimulatedClock | None = None,
        playback: SimulatedClock | None = None,
        duplex: bool = False,
        keep: bool = True,
        seed: int = 0,
        loop: bool = False,
    ) -> None:
        """Play source (float32[n] at the capture's rate, then silence) and, with keep, record what comes out.

        With loop, source begins again where it ends (less than a block of it may be left out then). duplex runs both
        sides in one callback on the capture's clock; otherwise they are half a block apart.
        """
        self.duplex = duplex
        self._link = link
        self._source = source
        self._loop_blocks = len(source) // (capture or SimulatedClock()).block_frames if loop else 0
        capture = capture or SimulatedClock()
        playback = capture if duplex else playback or SimulatedClock()
        self.block_frames = playback.block_frames
        random = np.random.default_rng(seed)
        self._capture = _Side(capture, random)
        self._playback = _Side(
            playback, random, phase_s=0.0 if duplex else 0.5 * playback.block_frames / playback.rate_hz
        )
        self._x = np.zeros(capture.block_frames, np.float32)
        self._y = np.zeros(playback.block_frames, np.float32)
        self._recorded: list[NDArray[np.float32]] | None = [] if keep else None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._zero_ns = 0
        link[CAPTURE_CHANNELS] = link[PLAYBACK_CHANNELS] = 1
        link[CAPTURE_RATE_HZ], link[PLAYBACK_RATE_HZ] = capture.rate_hz, playback.rate_hz

    def next_s(self) -> float:
        """Return the virtual time of the next callback."""
        return self._capture.due_s if self.duplex else min(self._capture.due_s, self._playback.due_s)

    def run_until(self, time_s: float) -> None:
        """Run every callback due by time_s."""
        while self.next_s() <= time_s:
            if self.duplex or self._capture.due_s <= self._playback.due_s:
                self._captured()
            else:
                self._played()

    def _captured(self) -> None:
        side = self._capture
        now_ns = self._zero_ns + round(side.due_s * 1e9)
        if not side.unplugged():
            n = self._x.shape[0]
            block = side.blocks % self._loop_blocks if self._loop_blocks else side.blocks
            piece = self._source[block * n : (block + 1) * n]
            self._x[: piece.shape[0]] = piece
            self._x[piece.shape[0] :] = 0.0
            link_capture(self._link, self._x, n, now_ns)
            if self.duplex:
                self._play(now_ns)
        side.done()

    def _played(self) -> None:
        if not self._playback.unplugged():
            self._play(self._zero_ns + round(self._playback.due_s * 1e9))
        self._playback.done()

    def _play(self, now_ns: int) -> None:
        link_playback(self._link, self._y, self._y.shape[0], now_ns)
        if self._recorded is not None:
            self._recorded.append(self._y.copy())

    def recorded(self) -> NDArray[np.float32]:
        """Return everything played so far, float32[n] at the playback's rate."""
        return np.concatenate(self._recorded) if self._recorded else np.zeros(0, np.float32)

    def start(self) -> None:
        """Run the callbacks in real time in a thread of their own."""
        self._zero_ns = time.perf_counter_ns() - round(self.next_s() * 1e9)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="simulated-devices", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            ahead_s = self.next_s() - (time.perf_counter_ns() - self._zero_ns) * 1e-9
            if ahead_s > 0:
                time.sleep(ahead_s)
            self.run_until((time.perf_counter_ns() - self._zero_ns) * 1e-9)

    def stop(self) -> None:
        """Stop the thread; the devices keep their state."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Stop for good."""
        self.stop()

    def failure(self) -> Lost | None:
        """Return which simulated device is unplugged now, or None."""
        for name, side in (("capture", self._capture), ("playback", self._playback)):
            if side.unplugged():
                return Lost("device_lost", f"the simulated {name} device is unplugged")
        return None

    def latency_ms(self) -> tuple[float, float] | None:
        """Return nothing: simulated devices add no latency but their blocks."""
        return None
