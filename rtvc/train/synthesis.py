"""The live synthesis (`rtvc.kernels.parts_synthesis`) over whole batches, differentiable: parts and F0 to sound.

Same windows, same noise power; only the pulses differ, which are all known here and extrapolated there.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtvc.kernels.parts_synthesis import parts_state
from rtvc.models.generator import BINS, PARTS

from .losses import LOUDEST

FRAME, HOP = 1200, 300
_HALF = FRAME // 2


@cache
def _window(lead: int) -> tuple[Tensor, float]:
    """Return the synthesis window, [FRAME], and the gain of noise, both as the kernel has them."""
    state = parts_state(lead)
    own = np.asarray(state.overlap.window)
    window = np.zeros(FRAME, np.float32)
    window[FRAME - len(own) :] = own
    return torch.from_numpy(window), float(state.floats[2])


def excitation(pulses: Tensor) -> Tensor:
    """Return complex [b, t, BINS] of a pulse train [b, 300 t]: what parts multiply."""
    window = torch.hann_window(FRAME, device=pulses.device)
    spectra = torch.stft(pulses, FRAME, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    return spectra.transpose(1, 2)[:, : pulses.shape[1] // HOP] / HOP


def synthesise(parts: Tensor, spectra: Tensor, lead: int) -> Tensor:
    """Return sound [b, 300 t] of parts [b, t, PARTS * BINS] on an excitation's spectra; lead as live, in samples."""
    b, t, _ = parts.shape
    window, noise_gain = _window(lead)
    window = window.to(parts.device)
    harmonic, theta, noise, free, phi = parts.float().reshape(b, t, PARTS, BINS).unbind(2)
    random = torch.complex(torch.randn_like(noise), torch.randn_like(noise))
    whole = (
        torch.polar(torch.exp(harmonic.clamp(max=LOUDEST)), math.pi * torch.tanh(theta)) * spectra
        + torch.polar(torch.exp(free.clamp(max=LOUDEST)), phi)
        + noise_gain * torch.exp(noise.clamp(max=LOUDEST)) * random
    )
    frames = torch.fft.irfft(whole, FRAME) * window
    sound = F.fold(frames.transpose(1, 2), (1, (t - 1) * HOP + FRAME), (1, FRAME), stride=(1, HOP))
    return sound[:, 0, 0, _HALF : _HALF + t * HOP]
