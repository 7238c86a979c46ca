"""The last F0 estimates with the times they speak of, for a reader that lags behind and can afford to choose.

The tracker's estimates are late by a delay that depends on F0 (`f0_delay_ms`). A decoder that runs tens of
milliseconds behind the input asks for the F0 at its own frame's centre and gets the estimate that speaks of that
moment, or, where that one is not sure, the sure one nearest to it: so a voiced onset, which the tracker knows late,
has its pitch from the first frame.

Units: times in samples at 16 kHz since the start; F0 in Hz; confidence 0-1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .f0 import f0_lag_samples

KEPT = 64  # 320 ms of hops
SURE = 0.5


class F0History(NamedTuple):
    """Rings of KEPT estimates: times int64, F0 and confidence float64; written int64[1]: how many so far."""

    times: NDArray[np.int64]
    f0_hz: NDArray[np.float64]
    confidence: NDArray[np.float64]
    written: NDArray[np.int64]


def f0_history() -> F0History:
    """Return an empty history."""
    never = np.full(KEPT, -(1 << 60), np.int64)
    return F0History(never, np.zeros(KEPT), np.zeros(KEPT), np.zeros(1, np.int64))


@njit(cache=True, nogil=True)
def f0_remember(history: F0History, end: int, f0_hz: float, confidence: float) -> None:
    """Add the estimate of the hop that ended before sample `end`."""
    slot = history.written[0] % KEPT
    history.times[slot] = end - (f0_lag_samples(f0_hz) if f0_hz > 0.0 else 0)
    history.f0_hz[slot] = f0_hz
    history.confidence[slot] = confidence
    history.written[0] += 1


@njit(cache=True, nogil=True)
def f0_at(history: F0History, time: int, reach: int) -> float:
    """Return the F0 of the sure estimate nearest to `time`, 0 if there is none within `reach` samples of it."""
    best, f0_hz = reach + 1, 0.0
    for slot in range(KEPT):
        distance = abs(history.times[slot] - time)
        if distance < best and history.confidence[slot] >= SURE:
            best, f0_hz = distance, history.f0_hz[slot]
    return f0_hz
