"""Windowed-sinc resampler for any fixed or slowly varying ratio.

Every output is a dot product of the last `taps` input samples with a Kaiser-windowed sinc, read from a table of
PHASES + 1 rows between which the taps are interpolated linearly. The cutoff is the Nyquist frequency of the
lower rate and the window spans `taps_per_side` periods of that rate on each side, so a downsampler has
taps_per_side * in_rate / out_rate taps per side at its input.

Limits, as fractions of the lower rate's Nyquist frequency: the transition band runs over 1 +- 2.8 / taps_per_side
(0.825 to 1.175 with 16). Below it the gain is flat within 0.001 dB, and images and aliases stay under -80 dB; what
lies inside it folds back inside it. With 16 the gain is still flat within 0.01 dB at 0.85. Equal rates without
correction give a bit-exact delay: at phase 0 this filter is a unit impulse.

Time is exact: the nominal ratio is a reduced fraction and the phase an integer, so a fixed ratio gathers no error
at all. A live correction adds a float64 offset kept in [-1, 1]; its rounding is below 2**-53 samples an output,
so it can move the timing by at most 2e-8 samples an hour at 48 kHz.

Source: J. O. Smith, "Digital Audio Resampling Home Page" (2002), with Kaiser's window formulas (Oppenheim and
Schafer, "Discrete-Time Signal Processing", 7.5).
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

PHASES = 256
KAISER_BETA = 8.2  # side lobes of the filter at -83 dB
MAX_CORRECTION = 0.01

# clock
PLACE = 0  # where the next input goes in the history
WAIT = 1  # input samples to take before the next output
PHASE = 2  # nominal time of the next output past an input sample, in units of 1 / DIVISOR samples
WHOLE = 3  # nominal step in input samples is WHOLE + PART / DIVISOR
PART = 4
DIVISOR = 5

# drift
OFFSET = 0  # what the corrections so far add to PHASE, in input samples
STEP = 1  # what one output adds to OFFSET


class ResamplerState(NamedTuple):
    """Table float32[PHASES + 1, taps], history float32[2 * taps], clock int64[6], drift float64[2]."""

    table: NDArray[np.float32]
    history: NDArray[np.float32]
    clock: NDArray[np.int64]
    drift: NDArray[np.float64]


def resampler_state(in_rate_hz: float, out_rate_hz: float, taps_per_side: int = 16) -> ResamplerState:
    """Return a silent resampler; taps_per_side counts samples of the lower rate.

    Raises ValueError if a rate or taps_per_side is not positive.
    """
    if in_rate_hz <= 0 or out_rate_hz <= 0:
        raise ValueError(f"rates must be positive, got {in_rate_hz} and {out_rate_hz} Hz")
    if taps_per_side < 1:
        raise ValueError(f"taps_per_side must be at least 1, got {taps_per_side}")
    step = (Fraction(in_rate_hz) / Fraction(out_rate_hz)).limit_denominator(1 << 31)
    cutoff = min(1.0, out_rate_hz / in_rate_hz)
    half = ceil(taps_per_side / cutoff)
    clock = np.zeros(6, np.int64)
    clock[WHOLE], clock[PART] = divmod(step.numerator, step.denominator)
    clock[DIVISOR] = step.denominator
    clock[WAIT] = 1
    return ResamplerState(_sinc_table(half, cutoff), np.zeros(4 * half, np.float32), clock, np.zeros(2))


def _sinc_table(half: int, cutoff: float) -> NDArray[np.float32]:
    """Return the taps of each phase, oldest input first; every row sums to 1, so DC passes without ripple."""
    phase = np.arange(PHASES + 1)[:, None] / PHASES
    time = half - 1 - np.arange(2 * half)[None, :] + phase
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (time / half) ** 2)))
    taps = np.sinc(cutoff * time) * window
    taps /= taps.sum(axis=1, keepdims=True)
    taps[np.abs(taps) < 1e-15] = 0.0  # the sinc's zeros, so that equal rates are bit-exact
    return taps.astype(np.float32)


def resampler_delay_frames(state: ResamplerState) -> int:
    """Return the delay D in input samples, exact: output k is the input at time k * in_rate / out_rate - D."""
    return int(state.table.shape[1] // 2)


@njit(cache=True, nogil=True)
def resample_max_output(state: ResamplerState, n: int) -> int:
    """Return the most frames that n input frames can give, whatever the correction."""
    clock = state.clock
    step = clock[WHOLE] + clock[PART] / clock[DIVISOR]
    return int(n * (1.0 + MAX_CORRECTION) / step) + 2


@njit(cache=True, nogil=True)
def resampler_set_ratio(state: ResamplerState, correction: float) -> None:
    """Make (1 + correction) times the nominal out_rate / in_rate frames, from the next output on.

    The phase is continuous. The correction is clamped to +-MAX_CORRECTION; the cutoff stays where it was.
    """
    clock = state.clock
    correction = min(max(correction, -MAX_CORRECTION), MAX_CORRECTION)
    nominal = clock[WHOLE] + clock[PART] / clock[DIVISOR]
    state.drift[STEP] = -nominal * correction / (1.0 + correction)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _interpolated_dot(
    table: NDArray[np.float32], row: int, fraction: np.float32, history: NDArray[np.float32], start: int
) -> np.float32:
    """Return the dot product of the history from start on with the taps `fraction` past a row.

    Always all taps, so the order of the sum never depends on the block.
    """
    total = np.float32(0.0)
    for i in range(table.shape[1]):
        low = table[row, i]
        total += history[start + i] * (low + fraction * (table[row + 1, i] - low))
    return total


@njit(cache=True, nogil=True)
def resample(state: ResamplerState, x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    """Take all of x (float32[n]) and write every output that exists by now into y; return how many.

    y is float32[resample_max_output(state, n)] or longer. An output exists as soon as the input at or before its
    time has come, so equal rates give n frames for n. Delay: `resampler_delay_frames` input samples.
    """
    table, history, clock, drift = state.table, state.history, state.clock, state.drift
    taps = table.shape[1]
    place, wait, phase = clock[PLACE], clock[WAIT], clock[PHASE]
    whole, part, divisor = clock[WHOLE], clock[PART], clock[DIVISOR]
    offset, step = drift[OFFSET], drift[STEP]
    count = 0
    for i in range(x.shape[0]):
        history[place] = x[i]  # written twice, so the last `taps` samples always lie in one piece
        history[place + taps] = x[i]
        place += 1
        if place == taps:
            place = 0
        wait -= 1
        while wait == 0:
            position = (phase / divisor + offset) * PHASES
            row = int(position)
            y[count] = _interpolated_dot(table, row, np.float32(position - row), history, place)
            count += 1
            wait = whole
            phase += part
            if phase >= divisor:
                phase -= divisor
                wait += 1
            offset += step
            # below zero first: a tiny negative time plus 1 can round to 1, which is the next input's
            while phase / divisor + offset < 0.0:
                offset += 1.0
                wait -= 1
            while phase / divisor + offset >= 1.0:
                offset -= 1.0
                wait += 1
    clock[PLACE], clock[WAIT], clock[PHASE] = place, wait, phase
    drift[OFFSET] = offset
    return count
