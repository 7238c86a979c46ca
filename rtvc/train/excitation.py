"""The decoder's excitation over a whole utterance: a band-limited pulse train that follows F0.

All harmonics under 11 kHz, each a cosine of amplitude 1, in closed form (Dirichlet kernel):
sum_{k=1..H} cos(k p) = sin((H + 1/2) p) / (2 sin(p / 2)) - 1/2. This is what hibari-tts makes; live, the synthesis
kernel does the same a frame at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .dataset import FRAME_FRAMES_24K, VOICED_HZ

RATE_HZ = 24000
HIGHEST_HZ = 11000.0


def pulse_train(f0_hz: Tensor) -> Tensor:
    """Return the excitation [.., 300 n] of F0 [.., n] given at the centres of frames (unvoiced: under VOICED_HZ)."""
    f0_hz = f0_hz.double()
    after = torch.cat([f0_hz[..., 1:], f0_hz[..., -1:]], dim=-1)
    share = torch.arange(FRAME_FRAMES_24K, dtype=torch.float64, device=f0_hz.device) / FRAME_FRAMES_24K
    hz = torch.lerp(f0_hz[..., None], after[..., None], share).flatten(-2)
    voiced = hz > VOICED_HZ
    hz = hz.clamp_min(VOICED_HZ)
    phase = 2.0 * math.pi * torch.cumsum(hz, dim=-1) / RATE_HZ
    harmonics = torch.floor(HIGHEST_HZ / hz)
    below = 2.0 * torch.sin(phase / 2.0)
    at_a_pulse = below.abs() < 2e-3
    between = torch.sin((harmonics + 0.5) * phase) / torch.where(at_a_pulse, 1.0, below) - 0.5
    return torch.where(voiced, torch.where(at_a_pulse, harmonics, between), 0.0).float()
