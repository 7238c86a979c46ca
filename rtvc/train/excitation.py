"""The decoder's excitation over a whole utterance: a band-limited pulse train that follows F0.

All harmonics under 11 kHz, each a cosine of amplitude 1, in closed form (Dirichlet kernel):
sum_{k=1..H} cos(k p) = sin((H + 1/2) p) / (2 sin(p / 2)) - 1/2. This is what hibari-tts makes; live, the synthesis
kernel does the same a frame at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dataset import FRAME_FRAMES_24K, VOICED_HZ

RATE_HZ = 24000
HIGHEST_HZ = 11000.0


def pulse_train(f0_hz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the excitation, float32[300 n], of F0 given at the centres of n frames (unvoiced: under VOICED_HZ)."""
    n = len(f0_hz)
    hz = np.interp(np.arange(n * FRAME_FRAMES_24K) / FRAME_FRAMES_24K, np.arange(n), f0_hz)
    voiced = hz > VOICED_HZ
    hz = np.maximum(hz, VOICED_HZ)
    phase = 2.0 * np.pi * np.cumsum(hz) / RATE_HZ
    harmonics = np.floor(HIGHEST_HZ / hz)
    below = 2.0 * np.sin(phase / 2.0)
    at_a_pulse = np.abs(below) < 2e-3
    pulses = np.where(at_a_pulse, harmonics, np.sin((harmonics + 0.5) * phase) / np.where(at_a_pulse, 1.0, below) - 0.5)
    return np.where(voiced, pulses, 0.0).astype(np.float32)
