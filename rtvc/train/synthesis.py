"""The live synthesis (`rtvc.kernels.parts_synthesis`) over whole batches, differentiable: parts and F0 to sound.

Same windows, same noise power; only the pulses differ, which are all known here and extrapolated there.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtvc.kernels.parts_synthesis import DROWNED, parts_state
from rtvc.models.generator import BINS, PARTS

from .losses import LOUDEST

FRAME, HOP = 1200, 300
_HALF = FRAME // 2
_CENTRE = 8  # samples from a frame's centre on that tell whether it is voiced


@cache
def _window(lead: int) -> tuple[Tensor, float]:
    """Return the synthesis window, [FRAME], and the gain of noise, both as the kernel has them."""
    state = parts_state(lead)
    own = np.asarray(state.overlap.window)
    window = np.zeros(FRAME, np.float32)
    window[FRAME - len(own) :] = own
    return torch.from_numpy(window), float(state.floats[2])


class Excitation(NamedTuple):
    """What parts multiply."""

    spectra: Tensor
    """Complex [b, t, BINS]."""
    voiced: Tensor
    """bool [b, t, 1]."""


def excitation(pulses: Tensor) -> Excitation:
    """Return the excitation of a pulse train [b, 300 t]; F0 is a frame's own at its centre."""
    window = torch.hann_window(FRAME, device=pulses.device)
    spectra = torch.stft(pulses, FRAME, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    frames = pulses.shape[1] // HOP
    centres = pulses[:, : frames * HOP].reshape(-1, frames, HOP)[:, :, :_CENTRE]
    return Excitation(spectra.transpose(1, 2)[:, :frames] / HOP, (centres != 0.0).any(2, keepdim=True))


def synthesise(parts: Tensor, excited: Excitation, lead: int) -> Tensor:
    """Return sound [b, 300 t] of parts [b, t, PARTS * BINS] on an excitation; lead as live, in samples."""
    b, t, _ = parts.shape
    window, noise_gain = _window(lead)
    window = window.to(parts.device)
    harmonic, theta, noise, free, phi = parts.float().reshape(b, t, PARTS, BINS).unbind(2)
    random = torch.complex(torch.randn_like(noise), torch.randn_like(noise))
    harmonic, free = harmonic.clamp(max=LOUDEST), free.clamp(max=LOUDEST)
    kept = torch.sigmoid(2.0 * (free - harmonic) - math.log(DROWNED))
    kept = torch.where(excited.voiced, kept, 1.0)
    whole = (
        torch.polar(torch.exp(harmonic), math.pi * torch.tanh(theta)) * excited.spectra
        + torch.polar(kept * torch.exp(free), phi)
        + noise_gain * torch.exp(noise.clamp(max=LOUDEST)) * random
    )
    frames = torch.fft.irfft(whole, FRAME) * window
    sound = F.fold(frames.transpose(1, 2), (1, (t - 1) * HOP + FRAME), (1, FRAME), stride=(1, HOP))
    return sound[:, 0, 0, _HALF : _HALF + t * HOP]
