"""Spectral envelope of a power spectrum: cepstral liftering, and the true envelope.

Liftering keeps the cepstrum's quefrencies up to `order` samples: the log spectrum is smoothed, so between
harmonics the curve sinks with the valleys. The true envelope lifts that curve onto the harmonics' peaks: what
stands out above the curve is smoothed in the same way and added, again and again, until no peak stands out by
more than TOLERANCE_DB. Each step goes half-way to the highest peak: 4 or 5 steps for speech where the plain sum
needs 12 and more, to the same curve at the peaks within 1 dB. `envelope_order` gives the highest order that
cannot follow single harmonics: half the pitch period.

Against a vowel's known response at its harmonics, windows of 3 or 4 periods: 1.2 dB rms; the two lowest, next to the
hole at 0 Hz, up to 5.5 dB.

Units: powers in, natural log of power out (1 is 4.34 dB). Power 100 dB below the frame's peak and less counts as
that. Nothing is kept from frame to frame; a plan holds scratch memory, so two threads must not share one.

Source: Röbel & Rodet, "Efficient spectral envelope estimation and its application to pitch shifting and envelope
preservation", DAFx 2005; Imai & Abe, "Spectral envelope extraction by improved cepstral method" (1979).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .fft import FftPlan, fft_plan, fft_size, irfft, rfft

TOLERANCE_DB = 1.0
ITERATIONS_MAX = 12
STEP_MAX = 4.0
RANGE = 1e-10  # of the peak's power
POWER_MIN = 1e-30

_TOLERANCE = TOLERANCE_DB / 10 * math.log(10)
_LOG_POWER, _EXCESS, _RISE, _SPARE = range(4)


class EnvelopePlan(NamedTuple):
    """Transform and scratch for one frame size; see `envelope_plan`."""

    fft: FftPlan
    bins: NDArray[np.float32]
    cepstrum: NDArray[np.float32]


def envelope_plan(n: int) -> EnvelopePlan:
    """Return the plan for spectra of n-sample frames (n/2+1 bins); ValueError as `fft_plan`."""
    return EnvelopePlan(fft_plan(n), np.zeros((4, n // 2 + 1), np.float32), np.zeros(n, np.float32))


@njit(cache=True, nogil=True)
def envelope_order(rate_hz: float, f0_hz: float) -> int:
    """Return the order for a voice at f0_hz: half the pitch period, in samples."""
    return int(rate_hz / (2.0 * f0_hz))


@njit(cache=True, nogil=True)
def cepstral_envelope(
    plan: EnvelopePlan, power: NDArray[np.float32], order: int, envelope: NDArray[np.float32]
) -> None:
    """Write the liftered log spectrum of power into envelope (both float32[n/2+1]); order is below n/2."""
    _log(power, plan.bins[_LOG_POWER])
    _lifter(plan, plan.bins[_LOG_POWER], order, envelope)


@njit(cache=True, nogil=True)
def true_envelope(plan: EnvelopePlan, power: NDArray[np.float32], order: int, envelope: NDArray[np.float32]) -> int:
    """Write the true envelope of power into envelope (both float32[n/2+1]); return the iterations it took.

    order is below n/2. After ITERATIONS_MAX the curve stays as it is.
    """
    log_power, excess, rise = plan.bins[_LOG_POWER], plan.bins[_EXCESS], plan.bins[_RISE]
    _log(power, log_power)
    _lifter(plan, log_power, order, envelope)
    for iteration in range(ITERATIONS_MAX):
        highest = 0
        for k in range(excess.shape[0]):
            excess[k] = max(log_power[k] - envelope[k], np.float32(0.0))
            if excess[k] > excess[highest]:
                highest = k
        if excess[highest] <= _TOLERANCE:
            return iteration
        _lifter(plan, excess, order, rise)
        # smoothing spreads a narrow peak thin, so the rise is too low; but nothing ever takes back a rise too high
        step = np.float32(0.5) * excess[highest] / max(rise[highest], np.float32(1e-6))
        step = min(max(step, np.float32(1.0)), np.float32(STEP_MAX))
        for k in range(rise.shape[0]):
            envelope[k] += step * rise[k]
    return ITERATIONS_MAX


@njit(cache=True, nogil=True)
def _log(power: NDArray[np.float32], log_power: NDArray[np.float32]) -> None:
    peak = np.float32(0.0)
    for k in range(power.shape[0]):
        peak = max(peak, power[k])
    least = max(peak * np.float32(RANGE), np.float32(POWER_MIN))
    for k in range(power.shape[0]):
        log_power[k] = math.log(max(power[k], least))


@njit(cache=True, nogil=True)
def _lifter(plan: EnvelopePlan, x: NDArray[np.float32], order: int, smooth: NDArray[np.float32]) -> None:
    """Smooth x over bins (both float32[n/2+1]): keep quefrencies 0 to order."""
    n = fft_size(plan.fft)
    cepstrum, spare = plan.cepstrum, plan.bins[_SPARE]
    for k in range(spare.shape[0]):
        spare[k] = np.float32(0.0)
    irfft(plan.fft, x, spare, cepstrum)
    for q in range(order + 1, n - order):
        cepstrum[q] = np.float32(0.0)
    rfft(plan.fft, cepstrum, smooth, spare)
