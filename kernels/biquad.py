"""Cascaded biquads, transposed direct form II, with coefficients that glide to new values.

Coefficients are float64[5]: b0, b1, b2, a1, a2 with a0 = 1. Memory and arithmetic are float64, signals float32.
`biquad_set` moves a section to new coefficients in a straight line over `glide_frames` samples, one step a sample.
The stable pairs (a1, a2) form a triangle, which is convex, so every filter on the way is stable too; the output has
no step because nothing in the filter jumps. Delay: 0 samples (the filter's own phase apart).

Source: R. Bristow-Johnson, "Audio EQ Cookbook" (W3C note, 2021); the form: J. O. Smith, "Introduction to Digital
Filters", "Transposed Direct-Forms".
"""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

BUTTERWORTH_Q = sqrt(0.5)
FLUSH_FRAMES = 64
TINY = 1e-30

# clock
GLIDE = 0  # samples until the target is reached
GLIDE_FRAMES = 1
AGE = 2  # samples since memory was last flushed


class BiquadState(NamedTuple):
    """Three float64[sections, 5] (coefficients now, where to, step a sample), memory float64[sections, 2], clock."""

    coefficients: NDArray[np.float64]
    target: NDArray[np.float64]
    step: NDArray[np.float64]
    memory: NDArray[np.float64]
    clock: NDArray[np.int64]


def biquad_state(coefficients: NDArray[np.float64], glide_frames: int = 480) -> BiquadState:
    """Return a silent cascade of float64[sections, 5] (or one section, float64[5]), which it copies.

    Raises ValueError if the shape is another or glide_frames is below 1.
    """
    now = np.array(coefficients, np.float64, ndmin=2)
    if now.ndim != 2 or now.shape[1] != 5:
        raise ValueError(f"coefficients must be [sections, 5], got {np.shape(coefficients)}")
    if glide_frames < 1:
        raise ValueError(f"glide_frames must be at least 1, got {glide_frames}")
    clock = np.array([0, glide_frames, 0], np.int64)
    return BiquadState(now, now.copy(), np.zeros_like(now), np.zeros((now.shape[0], 2)), clock)


@njit(cache=True, nogil=True)
def biquad_set(state: BiquadState, section: int, coefficients: NDArray[np.float64]) -> None:
    """Start gliding one section to float64[5]; setting what is set already changes nothing."""
    changed = False
    for k in range(5):
        changed |= state.target[section, k] != coefficients[k]
        state.target[section, k] = coefficients[k]
    if changed:
        frames = state.clock[GLIDE_FRAMES]
        state.clock[GLIDE] = frames
        for s in range(state.target.shape[0]):
            for k in range(5):
                state.step[s, k] = (state.target[s, k] - state.coefficients[s, k]) / frames


@njit(cache=True, nogil=True)
def biquad_sample(coefficients: NDArray[np.float64], memory: NDArray[np.float64], value: float) -> float:
    """Run one sample through a cascade: float64[sections, 5] and its float64[sections, 2], zero at first."""
    for s in range(coefficients.shape[0]):
        out = coefficients[s, 0] * value + memory[s, 0]
        memory[s, 0] = coefficients[s, 1] * value - coefficients[s, 3] * out + memory[s, 1]
        memory[s, 1] = coefficients[s, 2] * value - coefficients[s, 4] * out
        value = out
    return value


@njit(cache=True, nogil=True)
def biquad_flush(memory: NDArray[np.float64]) -> None:
    """Set memory below -600 dB to zero, before silence turns it into slow subnormal numbers."""
    for s in range(memory.shape[0]):
        for k in range(2):
            if abs(memory[s, k]) < TINY:
                memory[s, k] = 0.0


@njit(cache=True, nogil=True)
def _glide(coefficients: NDArray[np.float64], step: NDArray[np.float64]) -> None:
    for s in range(coefficients.shape[0]):
        for k in range(5):
            coefficients[s, k] += step[s, k]


@njit(cache=True, nogil=True)
def biquad(state: BiquadState, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Filter x into y, both float32[n]; y may be x."""
    coefficients, target, memory, clock = state.coefficients, state.target, state.memory, state.clock
    glide, age = clock[GLIDE], clock[AGE]
    for i in range(x.shape[0]):
        if glide > 0:
            glide -= 1
            if glide == 0:
                coefficients[:] = target
            else:
                _glide(coefficients, state.step)
        y[i] = biquad_sample(coefficients, memory, float(x[i]))
        age += 1
        if age == FLUSH_FRAMES:
            age = 0
            biquad_flush(memory)
    clock[GLIDE], clock[AGE] = glide, age


def low_pass(rate_hz: float, cutoff_hz: float, q: float = BUTTERWORTH_Q) -> NDArray[np.float64]:
    """Return float64[5]: second-order low-pass, -3 dB at cutoff_hz with the default q."""
    c, alpha = _angle(rate_hz, cutoff_hz, q)
    return _normal((1 - c) / 2, 1 - c, (1 - c) / 2, 1 + alpha, -2 * c, 1 - alpha)


def high_pass(rate_hz: float, cutoff_hz: float, q: float = BUTTERWORTH_Q) -> NDArray[np.float64]:
    """Return float64[5]: second-order high-pass, -3 dB at cutoff_hz with the default q."""
    c, alpha = _angle(rate_hz, cutoff_hz, q)
    return _normal((1 + c) / 2, -(1 + c), (1 + c) / 2, 1 + alpha, -2 * c, 1 - alpha)


def band_pass(rate_hz: float, centre_hz: float, q: float) -> NDArray[np.float64]:
    """Return float64[5]: band-pass, 0 dB at centre_hz, bandwidth centre_hz / q."""
    c, alpha = _angle(rate_hz, centre_hz, q)
    return _normal(alpha, 0.0, -alpha, 1 + alpha, -2 * c, 1 - alpha)


def peaking(rate_hz: float, centre_hz: float, gain_db: float, q: float) -> NDArray[np.float64]:
    """Return float64[5]: bell of gain_db at centre_hz."""
    c, alpha = _angle(rate_hz, centre_hz, q)
    a = 10.0 ** (gain_db / 40.0)
    return _normal(1 + alpha * a, -2 * c, 1 - alpha * a, 1 + alpha / a, -2 * c, 1 - alpha / a)


def low_shelf(rate_hz: float, corner_hz: float, gain_db: float, q: float = BUTTERWORTH_Q) -> NDArray[np.float64]:
    """Return float64[5]: gain_db far below corner_hz, half of it there, 0 dB far above."""
    out = np.empty(5)
    low_shelf_into(out, rate_hz, corner_hz, gain_db, q)
    return out


def high_shelf(rate_hz: float, corner_hz: float, gain_db: float, q: float = BUTTERWORTH_Q) -> NDArray[np.float64]:
    """Return float64[5]: gain_db far above corner_hz, half of it there, 0 dB far below."""
    out = np.empty(5)
    high_shelf_into(out, rate_hz, corner_hz, gain_db, q)
    return out


def _angle(rate_hz: float, frequency_hz: float, q: float) -> tuple[float, float]:
    if not 0 < frequency_hz < rate_hz / 2:
        raise ValueError(f"frequency must lie between 0 and {rate_hz / 2} Hz, got {frequency_hz} Hz")
    if q <= 0:
        raise ValueError(f"q must be positive, got {q}")
    angle = 2.0 * pi * frequency_hz / rate_hz
    return cos(angle), sin(angle) / (2.0 * q)


def _normal(b0: float, b1: float, b2: float, a0: float, a1: float, a2: float) -> NDArray[np.float64]:
    return np.array([b0, b1, b2, a1, a2]) / a0


@njit(cache=True, nogil=True)
def low_shelf_into(out: NDArray[np.float64], rate_hz: float, corner_hz: float, gain_db: float, q: float) -> None:
    """Write the low shelf into out (float64[5]) without allocating; 0 < corner_hz < rate_hz / 2."""
    _shelf_into(out, rate_hz, corner_hz, gain_db, q, 1.0)


@njit(cache=True, nogil=True)
def high_shelf_into(out: NDArray[np.float64], rate_hz: float, corner_hz: float, gain_db: float, q: float) -> None:
    """Write the high shelf into out (float64[5]) without allocating; 0 < corner_hz < rate_hz / 2."""
    _shelf_into(out, rate_hz, corner_hz, gain_db, q, -1.0)


@njit(cache=True, nogil=True)
def _shelf_into(
    out: NDArray[np.float64], rate_hz: float, corner_hz: float, gain_db: float, q: float, side: float
) -> None:
    """Write either shelf: the high one (side -1) is the low one (side 1) with the frequency axis turned round."""
    angle = 2.0 * pi * corner_hz / rate_hz
    c = side * cos(angle)
    a = 10.0 ** (gain_db / 40.0)
    slope = 2.0 * sqrt(a) * sin(angle) / (2.0 * q)
    a0 = (a + 1) + (a - 1) * c + slope
    out[0] = a * ((a + 1) - (a - 1) * c + slope) / a0
    out[1] = side * 2.0 * a * ((a - 1) - (a + 1) * c) / a0
    out[2] = a * ((a + 1) - (a - 1) * c - slope) / a0
    out[3] = side * -2.0 * ((a - 1) + (a + 1) * c) / a0
    out[4] = ((a + 1) + (a - 1) * c - slope) / a0
