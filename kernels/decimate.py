"""Polyphase decimator by a whole factor, for analysis at a lower rate (48 -> 16 kHz and the like).

A linear-phase FIR low-pass (Kaiser-windowed sinc) computed only where an output is kept. As fractions of the output's
Nyquist frequency, with the default 16 taps per side at the output rate: flat within 0.02 dB up to 0.85, at least
60 dB down from 1.08 on, so aliases touch only what lies above 0.92.

Source: Oppenheim and Schafer, "Discrete-Time Signal Processing", 4.7 (polyphase decimation) and 7.5 (Kaiser).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

KAISER_BETA = 5.75  # side lobes of the filter at -60.5 dB
PASS_EDGE = 0.85
# Kaiser's transition width for 60 dB is this over taps_per_side, as a fraction of the output's Nyquist frequency
TRANSITION = 3.63

PLACE = 0  # where the next input goes in the history
COUNT = 1  # inputs taken since the last output
FACTOR = 2


class DecimatorState(NamedTuple):
    """Taps float32[taps], history float32[2 * taps], clock int64[3]."""

    taps: NDArray[np.float32]
    history: NDArray[np.float32]
    clock: NDArray[np.int64]


def decimator_state(factor: int, taps_per_side: int = 16) -> DecimatorState:
    """Return a silent decimator by factor; taps_per_side counts output samples.

    Raises ValueError if factor is below 2 or taps_per_side below 2.
    """
    if factor < 2 or taps_per_side < 2:
        raise ValueError(f"factor and taps_per_side must be at least 2, got {factor} and {taps_per_side}")
    half = taps_per_side * factor
    time = np.arange(1 - half, half) / factor
    window = np.i0(KAISER_BETA * np.sqrt(1.0 - (time / taps_per_side) ** 2))
    cutoff = min(1.0, PASS_EDGE + TRANSITION / taps_per_side / 2.0)
    taps = np.sinc(cutoff * time) * window
    taps /= taps.sum()
    clock = np.array([0, 0, factor], np.int64)
    return DecimatorState(taps.astype(np.float32), np.zeros(2 * taps.shape[0], np.float32), clock)


def decimator_delay_frames(state: DecimatorState) -> int:
    """Return the delay D in input samples, exact and a multiple of the factor: y[k] is x at k * factor - D."""
    return int((state.taps.shape[0] + 1) // 2 - state.clock[FACTOR])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(taps: NDArray[np.float32], history: NDArray[np.float32], start: int) -> np.float32:
    """Return the dot product of all taps with the history from start on; its length never varies."""
    total = np.float32(0.0)
    for i in range(taps.shape[0]):
        total += taps[i] * history[start + i]
    return total


@njit(cache=True, nogil=True)
def decimate(state: DecimatorState, x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    """Take all of x (float32[n]), write one output for every `factor` inputs into y; return how many.

    y is float32[n // factor + 1] or longer. Delay: `decimator_delay_frames` input samples.
    """
    taps, history, clock = state.taps, state.history, state.clock
    length = taps.shape[0]
    place, pending, factor = clock[PLACE], clock[COUNT], clock[FACTOR]
    count = 0
    for i in range(x.shape[0]):
        history[place] = x[i]  # written twice, so the last `length` samples always lie in one piece
        history[place + length] = x[i]
        place += 1
        if place == length:
            place = 0
        pending += 1
        if pending == factor:
            pending = 0
            y[count] = _dot(taps, history, place)
            count += 1
    clock[PLACE], clock[COUNT] = place, pending
    return count
