"""A run whose result is the moving average of its networks' weights: it sounds better than any single step's.

Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .loop import Loop, Schedule, write_checkpoint

DECAY = 0.999  # a step


class AveragedRun(Loop):
    """After every step the moving averages follow; whenever it saves, each network's is written too, NAME.pt."""

    def __init__(
        self,
        folder: Path,
        networks: nn.ModuleDict,
        optimiser: torch.optim.Optimizer,
        schedule: Schedule,
        seed: int,
        beside: Mapping[str, nn.Module | torch.optim.Optimizer] | None = None,
        clip_norms: Sequence[tuple[nn.Module, float]] = (),
    ) -> None:
        """networks: by the names of the files that are written. The others as `Loop` has them."""
        self._mean = AveragedModel(networks, avg_fn=_follow)
        optimiser.register_step_post_hook(lambda *_: self._mean.update_parameters(networks))
        beside = {**(beside or {}), "moving averages": self._mean}
        super().__init__(folder, networks, optimiser, schedule, seed, beside, clip_norms)

    def save(self) -> None:
        """Write the checkpoint, and the averages as one of each network."""
        super().save()
        for name, network in self._mean.module.named_children():
            write_checkpoint(self.folder / f"{name}.pt", {"model": network.state_dict(), **self.history()})


def _follow(mean: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """Return the moving average after one more step: at first of few steps, of 1 / (1 - DECAY) in the end."""
    return mean.lerp(now, 1.0 - min(DECAY, int(steps) / (int(steps) + 30)))
