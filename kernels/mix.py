"""Small sample-by-sample pieces of the engine: sanitise, delay, weighted sums, saturation.

Each works on float32[n] for any n, in place where the arguments are the same array, and carries no state but the
delay line's. Delay: 0 samples, except `delay`, whose delay is its line's length minus one.
"""

from __future__ import annotations

from math import isfinite, tanh
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

INPUT_LIMIT = 4.0  # +12 dBFS: a device never gives more, a broken file may


class DelayState(NamedTuple):
    """Line float32[delay + 1], place int64[1]."""

    line: NDArray[np.float32]
    place: NDArray[np.int64]


def delay_state(delay_samples: int) -> DelayState:
    """Return a silent delay of delay_samples; raises ValueError if that is negative."""
    if delay_samples < 0:
        raise ValueError(f"delay_samples must not be negative, got {delay_samples}")
    return DelayState(np.zeros(delay_samples + 1, np.float32), np.zeros(1, np.int64))


@njit(cache=True, nogil=True)
def delay(state: DelayState, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Copy x into y, both float32[n], delay_samples later; y may be x."""
    line = state.line
    place = state.place[0]
    for i in range(x.shape[0]):
        line[place] = x[i]
        place = place + 1 if place + 1 < line.shape[0] else 0
        y[i] = line[place]
    state.place[0] = place


@njit(cache=True, nogil=True)
def sanitise(x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    """Copy x into y with NaN and infinities as 0 and the rest within +-INPUT_LIMIT; return how many were changed."""
    changed = 0
    for i in range(x.shape[0]):
        value = x[i]
        if not isfinite(value):
            value = np.float32(0.0)
            changed += 1
        elif abs(value) > INPUT_LIMIT:
            value = np.float32(INPUT_LIMIT) if value > 0 else np.float32(-INPUT_LIMIT)
            changed += 1
        y[i] = value
    return changed


@njit(cache=True, nogil=True)
def mix(
    a: NDArray[np.float32],
    gain_a: NDArray[np.float32],
    b: NDArray[np.float32],
    gain_b: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    """Write a * gain_a + b * gain_b into y, all float32[n]; y may be a or b."""
    for i in range(y.shape[0]):
        y[i] = a[i] * gain_a[i] + b[i] * gain_b[i]


@njit(cache=True, nogil=True)
def scale(y: NDArray[np.float32], gain: NDArray[np.float32]) -> None:
    """Multiply y by gain in place, both float32[n]."""
    for i in range(y.shape[0]):
        y[i] *= gain[i]


@njit(cache=True, nogil=True)
def saturate(x: NDArray[np.float32], drive: float, y: NDArray[np.float32]) -> None:
    """Bend x into y through tanh(drive * x) / drive, both float32[n]; y may be x."""
    for i in range(x.shape[0]):
        y[i] = np.float32(tanh(drive * x[i]) / drive)


@njit(cache=True, nogil=True)
def peak(x: NDArray[np.float32]) -> float:
    """Return the largest magnitude in x (float32[n]), 0 if it is empty."""
    largest = np.float32(0.0)
    for i in range(x.shape[0]):
        largest = max(largest, abs(x[i]))
    return float(largest)
