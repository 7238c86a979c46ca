"""The encoder's input from whole recordings: log-mel as the live kernel makes it, and its running normalisation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.content_mel import FFT_FRAMES, FRAME_FRAMES, HOP_FRAMES, START_PEAK, normalise_rows

from .augment import warped_filters

BANDS = 80


@lru_cache(maxsize=64)
def _filters(warp_percent: int) -> NDArray[np.float32]:
    return warped_filters(warp_percent / 100.0, FFT_FRAMES, BANDS)


def log_mel(x: NDArray[np.float32], warp: float = 1.0) -> NDArray[np.float32]:
    """Return log10 mel energies [len(x) // 160, 80] of 16 kHz sound; row k ends at sample 160 (k + 1).

    warp > 1 makes the speaker's vocal tract sound shorter by that ratio (rounded to percents).
    """
    padded = np.pad(x, (FRAME_FRAMES - HOP_FRAMES, 0))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_FRAMES)[::HOP_FRAMES][: len(x) // HOP_FRAMES]
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FRAME_FRAMES) / FRAME_FRAMES)).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, FFT_FRAMES, axis=1)).astype(np.float32) ** 2
    rows: NDArray[np.float32] = np.log10(np.maximum(power @ _filters(round(100 * warp)).T, 1e-10)).astype(np.float32)
    return rows


def normalise(rows: NDArray[np.float32], start_peak: float = START_PEAK) -> NDArray[np.float32]:
    """Return rows as the encoder hears them, the running peak starting at start_peak."""
    out = rows.copy()
    normalise_rows(np.array([start_peak]), out)
    return out
