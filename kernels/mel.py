"""Streaming log-mel: sound in, one row of natural-log mel energies every hop out.

Frame of 25 ms under a periodic Hann window, zero-padded to the next power of two, power spectrum, triangular
filters on the Slaney scale (linear below 1 kHz, logarithmic above) with Slaney's equal-area norm, natural log of
at least FLOOR. The same numbers as librosa.feature.melspectrogram(power=2, center=False, norm="slaney"), in
float32. Each filter is stored from its first to its last non-zero bin only.

Row k covers the frame that ends at sample (k + 1) * hop, zeros before the first; the window's centre lies half a
frame before that. Limits: the padded frame is 64 to 4096 samples.

Source: Slaney, "Auditory Toolbox" (1998); Davis & Mermelstein (1980).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .fft import FftPlan, fft_plan, power_spectrum
from .stft import Framer, framer_pull, framer_push, framer_state, hann

FLOOR = 1e-10  # mel energy; a full-scale sine at 16 kHz has about 1e2

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27.0


class MelState(NamedTuple):
    """Streaming log-mel; see `mel_state`."""

    framer: Framer
    fft: FftPlan
    frame: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    bands: NDArray[np.int64]
    weights: NDArray[np.float32]


def mel_from_hz(hz: float) -> float:
    """Return Slaney's mel of a frequency."""
    if hz < _LOG_START_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return _LOG_START_HZ / _LINEAR_HZ_PER_MEL + math.log(hz / _LOG_START_HZ) / _LOG_STEP


def hz_from_mel(mel: float) -> float:
    """Return the frequency of a Slaney mel."""
    start = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
    if mel < start:
        return mel * _LINEAR_HZ_PER_MEL
    return _LOG_START_HZ * math.exp(_LOG_STEP * (mel - start))


def mel_filters(rate_hz: float, fft_frames: int, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return Slaney-normed triangles, float64[bands, fft_frames//2+1].

    ValueError if the range is empty or passes rate_hz / 2, or if some band is too narrow to hold a bin.
    """
    if not 0.0 <= low_hz < high_hz <= rate_hz / 2:
        raise ValueError(f"need 0 <= low {low_hz} < high {high_hz} <= {rate_hz / 2} Hz")
    mels = np.linspace(mel_from_hz(low_hz), mel_from_hz(high_hz), bands + 2)
    edges = np.array([hz_from_mel(mel) for mel in mels])
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(fft_frames // 2 + 1) * (rate_hz / fft_frames)
    triangles: NDArray[np.float64] = np.maximum(
        0.0, np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    ) * (2.0 / (high - low))
    if not triangles.any(axis=1).all():
        raise ValueError(f"{bands} bands are too many for a {fft_frames}-point transform at {rate_hz} Hz")
    return triangles


def mel_state(
    rate_hz: float = 16000.0,
    hop_ms: float = 10.0,
    frame_ms: float = 25.0,
    bands: int = 80,
    low_hz: float = 0.0,
    high_hz: float | None = None,
) -> MelState:
    """Return the state of a log-mel stream; high_hz defaults to rate_hz / 2.

    ValueError as `mel_filters`, `framer_state` and `fft_plan`.
    """
    frame = round(rate_hz * frame_ms / 1000)
    fft_frames = 1 << (frame - 1).bit_length()
    triangles = mel_filters(rate_hz, fft_frames, bands, low_hz, rate_hz / 2 if high_hz is None else high_hz)
    extents = np.empty((bands, 2), np.int64)  # first bin, number of bins
    for band, triangle in enumerate(triangles):
        used = np.flatnonzero(triangle)
        extents[band] = used[0], used[-1] + 1 - used[0]
    return MelState(
        framer_state(hann(frame), round(rate_hz * hop_ms / 1000)),
        fft_plan(fft_frames),
        np.zeros(fft_frames, np.float32),
        np.zeros((2, fft_frames // 2 + 1), np.float32),
        extents,
        triangles[triangles > 0].astype(np.float32),
    )


@njit(cache=True, nogil=True)
def log_mel(state: MelState, x: NDArray[np.float32], rows: NDArray[np.float32]) -> int:
    """Take x (float32[n]) and write each row that falls due; return how many were written.

    rows: float32[at least n // hop + 1, bands].
    """
    count = 0
    i = 0
    while i < x.shape[0]:
        i += framer_push(state.framer, x[i:])
        if framer_pull(state.framer, state.frame):
            power_spectrum(state.fft, state.frame, state.spectrum[0], state.spectrum[1])
            _bands(state, rows[count])
            count += 1
    return count


@njit(cache=True, nogil=True)
def _bands(state: MelState, row: NDArray[np.float32]) -> None:
    power = state.spectrum[0]
    weight = 0
    for band in range(row.shape[0]):
        first = state.bands[band, 0]
        total = np.float32(0.0)
        for k in range(first, first + state.bands[band, 1]):
            total += power[k] * state.weights[weight]
            weight += 1
        row[band] = math.log(max(total, np.float32(FLOOR)))
