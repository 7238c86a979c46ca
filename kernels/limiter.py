"""Look-ahead peak limiter that never exceeds its ceiling. Delay: exactly look_ahead_frames samples.

Each sample needs a gain of ceiling / |x| or 1. The gain applied is made of those needs in three steps: the minimum over
the last look_ahead_frames + 1 samples (monotonic deque, O(1) amortised), a release that lets the minimum rise only
slowly, and the mean over the last look_ahead_frames + 1 samples, which turns steps into straight ramps. Every value
in that mean already knows the sample that is leaving the delay line, so the mean cannot exceed what it needs.

The mean is a running sum of whole numbers (2**-40 units, rounded down), so it never drifts, and a signal that has
stayed under the ceiling passes bit for bit. The ceiling is a float32 and rounding is monotonic, so no output
rounds past it.

Source: D. Lemire, "Streaming maximum-minimum filter using no more than three comparisons per element" (2006) for
the deque; the rest is the usual construction.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

UNITY = 1 << 40
NEARLY_ONE = 1.0 - 1e-6

# values
CEILING = 0
RELEASE = 1  # part of the way back to 1 taken a sample
GAIN = 2  # minimum with release

# clock
TIME = 0
HEAD = 1  # oldest entry of the deque
ENTRIES = 2
SUM = 3


class LimiterState(NamedTuple):
    """Values float64[3], clock int64[4], delay float32[n], needs float64[n], needed_at and gains int64[n]."""

    values: NDArray[np.float64]
    clock: NDArray[np.int64]
    delay: NDArray[np.float32]
    needs: NDArray[np.float64]
    needed_at: NDArray[np.int64]
    gains: NDArray[np.int64]


def limiter_state(
    rate_hz: float, look_ahead_frames: int, ceiling_dbfs: float = -1.0, release_ms: float = 50.0
) -> LimiterState:
    """Return a silent limiter; raises ValueError if rate_hz or release_ms is not positive or frames are negative."""
    if rate_hz <= 0 or release_ms <= 0 or look_ahead_frames < 0:
        raise ValueError("rate_hz and release_ms must be positive, look_ahead_frames not negative")
    ceiling = np.float32(10.0 ** (ceiling_dbfs / 20.0))
    release = 1.0 - exp(-1000.0 / (release_ms * rate_hz))
    n = look_ahead_frames + 1
    return LimiterState(
        np.array([float(ceiling), release, 1.0]),
        np.array([0, 0, 0, n * UNITY], np.int64),
        np.zeros(n, np.float32),
        np.zeros(n),
        np.zeros(n, np.int64),
        np.full(n, UNITY),
    )


@njit(cache=True, nogil=True)
def limit(state: LimiterState, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Limit x into y, both float32[n]; y may be x."""
    values, clock = state.values, state.clock
    delay, needs, needed_at, gains = state.delay, state.needs, state.needed_at, state.gains
    n = delay.shape[0]
    ceiling, release, gain = values[CEILING], values[RELEASE], values[GAIN]
    time, head, entries, total = clock[TIME], clock[HEAD], clock[ENTRIES], clock[SUM]
    place = time % n
    full = n * UNITY
    for i in range(x.shape[0]):
        delay[place] = x[i]
        level = abs(float(x[i]))
        need = ceiling / level if level > ceiling else 1.0

        if entries > 0 and needed_at[head] <= time - n:
            head = head + 1 if head + 1 < n else 0
            entries -= 1
        last = head + entries - 1
        last -= n if last >= n else 0
        while entries > 0 and needs[last] >= need:
            entries -= 1
            last = last - 1 if last > 0 else n - 1
        last = last + 1 if last + 1 < n else 0
        needs[last] = need
        needed_at[last] = time
        entries += 1

        gain += release * (1.0 - gain)
        if gain > NEARLY_ONE:
            gain = 1.0
        gain = min(gain, needs[head])
        whole = int(gain * UNITY)
        total += whole - gains[place]
        gains[place] = whole

        time += 1
        place = place + 1 if place + 1 < n else 0
        y[i] = delay[place] * (total / full)
    values[GAIN] = gain
    clock[TIME], clock[HEAD], clock[ENTRIES], clock[SUM] = time, head, entries, total
