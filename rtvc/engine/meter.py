"""Integrated loudness and peak of a recording that comes in blocks, in memory that does not grow with the sound.

What is kept is one K-weighted energy for each 100 ms (36,000 numbers an hour); the gates are applied to those at the
end. The result is that of `rtvc.kernels.loudness.integrated_loudness` on the whole signal.

Source: ITU-R BS.1770-4, Annex 1.
"""

from __future__ import annotations

from array import array
from math import inf, log10

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.biquad import biquad_flush, biquad_sample
from rtvc.kernels.loudness import ABSOLUTE_GATE_LUFS, OFFSET_LUFS, RELATIVE_GATE_LU, k_weighting


class LoudnessMeter:
    """Add blocks, then read `integrated()` in LUFS. frames counts samples, peak is the largest magnitude so far."""

    def __init__(self, rate_hz: float) -> None:
        self.frames = 0
        self.peak = 0.0
        self._rate_hz = rate_hz
        self._weighting = k_weighting(rate_hz)
        self._memory = np.zeros((2, 2))
        self._energies = array("d")
        self._open = 0.0  # energy since the last full step

    def add(self, x: NDArray[np.float32]) -> None:
        """Measure x (float32[n], any n), one channel."""
        end = self.frames + len(x)
        first = len(self._energies)
        last = int(end / self._rate_hz * 10.0 + 1e-9)
        ends = np.round(np.arange(first + 1, last + 1) * self._rate_hz / 10.0).astype(np.int64) - self.frames
        energies = np.zeros(len(ends) + 1)
        energies[0] = self._open
        peak = _add(self._weighting, self._memory, x, np.append(ends[ends <= len(x)], len(x)), energies)
        steps = int(np.count_nonzero(ends <= len(x)))
        self._energies.extend(energies[:steps])
        self._open = float(energies[steps])
        self.peak = max(self.peak, peak)
        self.frames = end

    def integrated(self) -> float:
        """Return the gated loudness so far in LUFS, -inf if all of it lies under -70 LUFS."""
        energies = np.frombuffer(self._energies) if self._energies else np.zeros(0)
        if len(energies) < 4:  # shorter than one block of 400 ms: one block
            power = np.array([(energies.sum() + self._open) / max(1, self.frames)])
        else:
            ends = np.round(np.arange(len(energies) + 1) * self._rate_hz / 10.0)
            power = np.convolve(energies, np.ones(4), "valid") / (ends[4:] - ends[:-4])
        power = power[power > 10.0 ** ((ABSOLUTE_GATE_LUFS - OFFSET_LUFS) / 10.0)]
        if not power.size:
            return -inf
        power = power[power > power.mean() * 10.0 ** (RELATIVE_GATE_LU / 10.0)]
        return OFFSET_LUFS + 10.0 * log10(power.mean())


@njit(cache=True, nogil=True)
def _add(
    weighting: NDArray[np.float64],
    memory: NDArray[np.float64],
    x: NDArray[np.float32],
    ends: NDArray[np.int64],
    energies: NDArray[np.float64],
) -> float:
    """Add the K-weighted energy of x up to each end to energies; return the peak of x."""
    start = 0
    peak = 0.0
    for step in range(ends.shape[0]):
        for i in range(start, ends[step]):
            value = biquad_sample(weighting, memory, float(x[i]))
            energies[step] += value * value
            peak = max(peak, abs(float(x[i])))
        start = ends[step]
    biquad_flush(memory)
    return peak
