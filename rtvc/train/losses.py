"""Losses, each a small function of tensors that returns a scalar."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOUDEST = 7.0  # natural log of the largest magnitude that a part may have
RESOLUTIONS = (2048, 1024, 512)  # of spectral_distance, at 24 kHz
HISTORY = 8  # frames at a cut's start whose past the decoder has not seen


def code_loss(logits: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Return the cross-entropy of logits [..., codes] against soft targets: codes index [..., k] of shares [..., k]."""
    log_p = F.log_softmax(logits.float(), dim=-1)
    return -(log_p.gather(-1, index) * share).sum(-1).mean()


def known_l1(value: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance where target is known (no NaN); 0 if nowhere."""
    known = ~torch.isnan(target)
    return (value[known].float() - target[known]).abs().mean() if bool(known.any()) else torch.zeros(())


def known_bce(logit: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross-entropy where target (0..1) is known (no NaN); 0 if nowhere."""
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return torch.zeros(())
    return F.binary_cross_entropy_with_logits(logit[known].float(), target[known])


def relative_error(value: Tensor, target: Tensor, skip: int = HISTORY) -> Tensor:
    """Return |value - target|^2 / |target|^2 over [b, t, width], without the first skip frames."""
    return ((value - target)[:, skip:].float() ** 2).mean() / (target.float() ** 2).mean()


def spectral_distance(sound: Tensor, target: Tensor, band: float = 0.5) -> Tensor:
    """Return how far the spectra of sounds [b, n] at 24 kHz are apart, mean over RESOLUTIONS: log magnitudes (nepers,
    -60 dB of a cut's loudest counting as silence) and spectral convergence. band: up to this share of the rate.
    """
    found = []
    for frames in RESOLUTIONS:
        window = torch.hann_window(frames, device=sound.device)
        bins = int(band * frames) + 1
        a, b = (
            torch.stft(x, frames, frames // 4, window=window, return_complex=True)[:, :bins].abs()
            for x in (sound, target)
        )
        floor = 1e-3 * b.amax((1, 2), keepdim=True) + 1e-4
        logs = (torch.log(a + floor) - torch.log(b + floor)).abs().mean()
        convergence = (a - b).square().sum((1, 2)).sqrt() / b.square().sum((1, 2)).sqrt().clamp_min(1e-3)
        found.append(logs + 0.2 * convergence.clamp(max=2.0).mean())
    return torch.stack(found).mean()
