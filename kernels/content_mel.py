"""Running normalisation of log10 mel rows for the content encoder.

Whisper clips its input 8 decades under the utterance's maximum and shifts it by a constant; live there is no such
maximum yet, so a peak is followed: it jumps up with the loudest band so far and sinks by FALL a row (1 dB a second).
Rows come out relative to that peak, so that level does not matter: (max(row, peak - 8) - peak) / 4 + TOP.

Frames of 400 samples under a Hann window, zero-padded to 512 points, every 160 samples at 16 kHz (`kernels.mel`).
Source: Radford et al. (2022), section 2.2, and OpenAI's `whisper/audio.py` (MIT) for the constants.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

RATE_HZ = 16000
FRAME_FRAMES = 400
FFT_FRAMES = 512
HOP_FRAMES = 160
RANGE = 8.0  # decades
FALL = 0.001  # decades a row
LEAST_PEAK = -2.0  # the peak of a whisper far from the microphone; under it there is only noise
START_PEAK = 0.5
TOP = 1.5


@njit(cache=True, nogil=True)
def normalise_rows(peak: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
    """Normalise log10 mel rows (float32[n, bands]) in place; peak (float64[1]) goes on from call to call."""
    for k in range(rows.shape[0]):
        highest = rows[k, 0]
        for b in range(1, rows.shape[1]):
            highest = max(highest, rows[k, b])
        peak[0] = max(peak[0] - FALL, highest, LEAST_PEAK)
        for b in range(rows.shape[1]):
            rows[k, b] = (max(rows[k, b], peak[0] - RANGE) - peak[0]) / 4.0 + TOP
