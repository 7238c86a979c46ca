"""The last F0 estimates with the times they speak of, for a reader that lags behind and can afford to choose.

The tracker's estimates are late by a delay that depends on F0 (`f0_delay_ms`). A decoder that runs tens of
milliseconds behind the input asks for the F0 at its own frame's centre and gets the estimate that speaks of that
moment: the median of the few around it, which are 5 ms apart and jitter, or, where none of them is sure, the sure one
nearest to it. So a voiced onset, which the tracker knows late, has its pitch from the first frame.

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
NEAR = 200  # a frame of the decoder: over so much an estimate is smoothed


class F0History(NamedTuple):
    """Rings of KEPT estimates: times int64, F0 and confidence float64; written int64[1]: how many so far; near_hz is
    room for `f0_at` to sort in.
    """

    times: NDArray[np.int64]
    f0_hz: NDArray[np.float64]
    confidence: NDArray[np.float64]
    written: NDArray[np.int64]
    near_hz: NDArray[np.float64]


def f0_history() -> F0History:
    """Return an empty history."""
    never = np.full(KEPT, -(1 << 60), np.int64)
    return F0History(never, np.zeros(KEPT), np.zeros(KEPT), np.zeros(1, np.int64), np.zeros(KEPT))


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
    """Return the median of the sure estimates within NEAR samples of `time`; where there is none, the one nearest to
    it, and 0 if that is more than `reach` samples away.
    """
    nearest, found_hz, count = reach + 1, 0.0, 0
    near_hz = history.near_hz
    for slot in range(KEPT):
        distance = abs(history.times[slot] - time)
        if history.confidence[slot] < SURE:
            continue
        if distance <= NEAR:
            at = count
            while at > 0 and near_hz[at - 1] > history.f0_hz[slot]:
                near_hz[at] = near_hz[at - 1]
                at -= 1
            near_hz[at] = history.f0_hz[slot]
            count += 1
        if distance < nearest:
            nearest, found_hz = distance, history.f0_hz[slot]
    if count:
        return 0.5 * (near_hz[(count - 1) // 2] + near_hz[count // 2])
    return found_hz
