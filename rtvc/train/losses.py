"""Losses, each a small function of tensors that returns a scalar."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rtvc.models.generator import BINS, PARTS, band_shapes

LOUDEST = 7.0  # natural log of the largest magnitude that a part may have
RATIO_MAX = 20.0  # where the Itakura-Saito distance of a bin stops growing
KNEE_HZ = 1500.0
BIN_HZ = 20.0
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


def parts_power(parts: Tensor, excitation: Tensor) -> Tensor:
    """Return the power that parts [b, t, PARTS * BINS] make of an excitation's spectra (complex [b, t, BINS]).

    The noise part is counted with its expected power, twice that of its magnitude (hibari-tts draws both its
    components with it).
    """
    b, t, _ = parts.shape
    harmonic, theta, noise, free, phi = parts.reshape(b, t, PARTS, BINS).unbind(2)
    voice = torch.polar(torch.exp(harmonic.clamp(max=LOUDEST)), math.pi * torch.tanh(theta)) * excitation
    sound = voice + torch.polar(torch.exp(free.clamp(max=LOUDEST)), phi)
    return sound.real**2 + sound.imag**2 + 2.0 * torch.exp(2.0 * noise.clamp(max=LOUDEST))


def power_floor(power: Tensor) -> Tensor:
    """Return what is added to powers [b, t, bins] before their logarithm: -50 dB of a recording's mean, and a bit."""
    return 1e-4 + 1e-5 * power.mean((1, 2), keepdim=True)


def itakura_saito(power: Tensor, target: Tensor) -> Tensor:
    """Return the Itakura-Saito distance of powers [b, t, BINS], low frequencies counted more.

    It is 0 where they agree, and what maximum likelihood asks of the variance of a Gaussian.
    """
    floor = power_floor(target)
    ratio = (target + floor) / (power + floor)
    weight = 1.0 / (1.0 + torch.arange(power.shape[-1]) * (BIN_HZ / KNEE_HZ))
    distance = (ratio - torch.log(ratio) - 1.0).clamp(max=RATIO_MAX)
    return (distance * (weight / weight.mean())).mean()


def band_distance(power: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of the natural logs of mean powers in the steering's bands, of powers [b, t, BINS].

    What lies 45 dB under a recording's loudest frame does not count.
    """
    shapes = band_shapes()
    bands = (shapes / shapes.sum(1, keepdim=True)).T
    floor = 3e-5 * target.mean(-1, keepdim=True).amax(1, keepdim=True) + 1e-6
    return (torch.log(power @ bands + floor) - torch.log(target @ bands + floor)).abs().mean()


def spectral_distance(sound: Tensor, target: Tensor) -> Tensor:
    """Return how far the spectra of sounds [b, n] at 24 kHz are apart, mean over RESOLUTIONS: log magnitudes (nepers,
    -60 dB of a cut's loudest counting as silence) and spectral convergence.
    """
    found = []
    for frames in RESOLUTIONS:
        window = torch.hann_window(frames, device=sound.device)
        a, b = (torch.stft(x, frames, frames // 4, window=window, return_complex=True).abs() for x in (sound, target))
        floor = 1e-3 * b.amax((1, 2), keepdim=True) + 1e-4
        logs = (torch.log(a + floor) - torch.log(b + floor)).abs().mean()
        convergence = (a - b).square().sum((1, 2)).sqrt() / b.square().sum((1, 2)).sqrt().clamp_min(1e-3)
        found.append(logs + 0.2 * convergence.clamp(max=2.0).mean())
    return torch.stack(found).mean()
