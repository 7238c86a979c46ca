"""Runs a fixed-rate process at another rate: resample in, process, resample out, same number of frames out as in.

The two resamplers give and take unevenly by a frame or two, so a short queue, primed with silence, evens it out.
Everything is driven by sample counts: any block split gives the same samples.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.resample import resample, resample_max_output, resampler_delay_frames, resampler_state
from rtvc.kernels.ring import ring_counters, ring_pop, ring_push

CHUNK_FRAMES = 512
_QUEUE_FRAMES = 16384

Process = Callable[[NDArray[np.float32], NDArray[np.float32]], None]


class RateAdapter:
    """Adapts `process(x, y)` at inner_rate_hz to blocks at outer_rate_hz."""

    def __init__(self, outer_rate_hz: int, inner_rate_hz: int, process: Process) -> None:
        self._outer_rate_hz = outer_rate_hz
        self._inner_rate_hz = inner_rate_hz
        self._process = process
        # an inner frame exists only once its outer frame came, and the reverse: one frame of each may be missing
        self._prime_frames = 2 + ceil(outer_rate_hz / inner_rate_hz)
        self.reset()
        inner = resample_max_output(self._in, CHUNK_FRAMES)
        self._inner_x = np.zeros(inner, np.float32)
        self._inner_y = np.zeros(inner, np.float32)
        self._outer = np.zeros(resample_max_output(self._out, inner), np.float32)

    def reset(self) -> None:
        """Forget all sound."""
        self._in = resampler_state(self._outer_rate_hz, self._inner_rate_hz)
        self._out = resampler_state(self._inner_rate_hz, self._outer_rate_hz)
        self._counters = ring_counters()
        self._data = np.zeros(_QUEUE_FRAMES, np.float32)
        ring_push(self._counters, self._data, np.zeros(self._prime_frames, np.float32))

    def delay_frames(self, inner_delay_frames: int) -> int:
        """Return the whole delay in frames at the outer rate, to the nearest frame."""
        inner = inner_delay_frames + resampler_delay_frames(self._out)
        outer = resampler_delay_frames(self._in) + self._prime_frames
        return round(outer + inner * self._outer_rate_hz / self._inner_rate_hz)

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Convert x into y, both float32[n] at the outer rate."""
        for start in range(0, x.shape[0], CHUNK_FRAMES):
            chunk = x[start : start + CHUNK_FRAMES]
            inner = resample(self._in, chunk, self._inner_x)
            self._process(self._inner_x[:inner], self._inner_y[:inner])
            outer = resample(self._out, self._inner_y[:inner], self._outer)
            ring_push(self._counters, self._data, self._outer[:outer])
            ring_pop(self._counters, self._data, y[start : start + CHUNK_FRAMES])
