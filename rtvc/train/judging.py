"""How discriminators learn, and what a decoder learns from them: least-squares scores and feature matching.

Sources: Mao et al., "Least Squares Generative Adversarial Networks" (2017); Kong et al., "HiFi-GAN" (2020), section
2.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtvc.models.discriminators import Discriminators


class Judging:
    """Discriminators with their optimiser."""

    def __init__(self, judges: Discriminators, rate: float, half_precision: bool, clip_norm: float = math.inf) -> None:
        self._judges, self._half_precision, self._clip_norm = judges, half_precision, clip_norm
        self.optimiser = torch.optim.AdamW(judges.parameters(), lr=rate, betas=(0.8, 0.99))

    def learn(self, made: Tensor, real: Tensor) -> Tensor:
        """Let the judges learn from sounds [b, n] at 24 kHz; return their loss."""
        with self._autocast(made):
            scores = list(zip(self._judges(real), self._judges(made.detach()), strict=True))
        loss = torch.stack(
            [(1.0 - r.float()).square().mean() + m.float().square().mean() for (r, _), (m, _) in scores]
        ).mean()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self._judges.parameters(), self._clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        return loss.detach()

    def losses(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far what was made is from being taken for real, and from what the judges see in the real sound."""
        self._judges.requires_grad_(False)
        with self._autocast(made):
            said, wanted = self._judges(made), self._judges(real)
        self._judges.requires_grad_(True)
        adversarial = torch.stack([(1.0 - score.float()).square().mean() for score, _ in said]).mean()
        features = [
            (a.float() - b.float().detach()).abs().mean() / b.float().abs().mean().clamp_min(1e-4)
            for (_, made_), (_, real_) in zip(said, wanted, strict=True)
            for a, b in zip(made_, real_, strict=True)
        ]
        return adversarial, torch.stack(features).mean()

    def _autocast(self, sound: Tensor) -> torch.autocast:
        return torch.autocast(sound.device.type, torch.bfloat16, enabled=self._half_precision)
