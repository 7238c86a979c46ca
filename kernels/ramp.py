"""Parameter ramps: a curve of values, one a sample, from where a parameter is to where it shall be.

A linear ramp moves by change / samples a sample. An exponential ramp starts fast and slows down like a one-pole
smoother, its distance falling by 60 dB over the ramp; the curve is stretched by 0.1 % so that it lands on the target
instead of near it. Its largest step is its first, below 7 * change / samples (and below change). Both give the target
itself, exactly, from the last sample of the ramp on. A new target in mid-ramp starts from the present value.

Delay: none; the first sample filled after `ramp_set` is already one step on the way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

LEFT_OVER = 1e-3

# values
NOW = 0
TARGET = 1
AIM = 2  # where an exponential ramp would end if it ran for ever
RATE = 3  # linear: change a sample; exponential: part of the way to AIM taken a sample

# clock
REMAINING = 0
EXPONENTIAL = 1


class RampState(NamedTuple):
    """Values float64[4], clock int64[2]."""

    values: NDArray[np.float64]
    clock: NDArray[np.int64]


def ramp_state(value: float, exponential: bool = False) -> RampState:
    """Return a ramp at rest at value."""
    return RampState(np.array([value, value, value, 0.0]), np.array([0, int(exponential)], np.int64))


def ramp_at_rest(state: RampState, value: float) -> bool:
    """Return whether the ramp is at value and stays there."""
    return bool(state.values[TARGET] == value and state.clock[REMAINING] == 0)


@njit(cache=True, nogil=True)
def ramp_set(state: RampState, target: float, samples: int) -> None:
    """Head for target, to be reached `samples` samples from now; 0 jumps."""
    values, clock = state.values, state.clock
    values[TARGET] = target
    clock[REMAINING] = max(samples, 0)
    if samples <= 0:
        values[NOW] = target
    elif clock[EXPONENTIAL]:
        values[AIM] = values[NOW] + (target - values[NOW]) / (1.0 - LEFT_OVER)
        values[RATE] = 1.0 - LEFT_OVER ** (1.0 / samples)
    else:
        values[RATE] = (target - values[NOW]) / samples


@njit(cache=True, nogil=True)
def ramp_fill(state: RampState, out: NDArray[np.float32]) -> None:
    """Fill out (float32[n]) with the next n values of the curve."""
    values, clock = state.values, state.clock
    now, target, aim, rate = values[NOW], values[TARGET], values[AIM], values[RATE]
    remaining = clock[REMAINING]
    moving = min(out.shape[0], remaining)
    for i in range(moving):
        remaining -= 1
        if remaining == 0:
            now = target
        elif clock[EXPONENTIAL]:
            now += rate * (aim - now)
        else:
            now = target - rate * remaining
        out[i] = now
    for i in range(moving, out.shape[0]):
        out[i] = target
    values[NOW] = now
    clock[REMAINING] = remaining
