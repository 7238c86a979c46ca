"""One training loop for all networks: schedule, checkpoints, log and curves.

Every `save_every` steps the whole state goes to `last.pt`, under another name first: weights, optimiser, step, running
means and the state of every random generator. A run that is started again goes on from there and does exactly
what it would have done. SIGINT and SIGTERM let the step end, save, and stop.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtvc.progress import StatusLine, bar

from . import TrainingError
from .curves import Log, draw

SMOOTHING = 0.98
NOT_FINITE_MAX = 20  # steps in a row without a finite loss before the run is given up
Losses = Mapping[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and how often something is written."""

    steps: int
    warm_up: int = 50
    floor: float = 0.02
    save_every: int = 250
    log_every: int = 50
    evaluate_every: int = 500
    clip_norm: float = 1.0
    wait: int = 0
    """Steps at the beginning at which the rate is 0."""

    def factor(self, step: int) -> float:
        """Return what learning rates are multiplied with: up in a line, then down to floor along a cosine."""
        if step < self.wait:
            return 0.0
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(step, self.steps) / self.steps))
        return min(1.0, (step - self.wait + 1) / self.warm_up) * (cosine * (1.0 - self.floor) + self.floor)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint. Raises TrainingError if there is none or it is another file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:  # PyTorch's own words advise to load it all the same, which runs its code
        raise TrainingError(f"{path}: is no checkpoint, or holds more than numbers; it is not opened") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise TrainingError(f"{path}: is no checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict) or "model" not in found:
        raise TrainingError(f"{path}: is no checkpoint of rtvc: it has no model")
    return found


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step. Raises TrainingError if that fails."""
    temporary = path.with_suffix(".tmp")
    try:
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from error


def load_weights(model: nn.Module, path: Path, optional: tuple[str, ...] = ()) -> None:
    """Give model a checkpoint's weights; those whose names begin with one of optional may be absent or of other shapes.

    Raises TrainingError if they do not fit.
    """
    weights = read_checkpoint(path)["model"]
    if optional:
        mine = model.state_dict()
        known = {name: value for name, value in weights.items() if name in mine}
        weights = {k: v for k, v in known.items() if not k.startswith(optional) or v.shape == mine[k].shape}
    try:
        missing, _ = model.load_state_dict(weights, strict=not optional)
    except RuntimeError as error:
        raise TrainingError(f"{path}: is of another network: {str(error).splitlines()[0]}") from error
    wanting = [name for name in missing if not name.startswith(optional)]
    if wanting:
        raise TrainingError(f"{path}: lacks {wanting[0]} and {len(wanting) - 1} more weights")


class Loop:
    """A run in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: Schedule,
        seed: int,
        beside: Mapping[str, nn.Module | torch.optim.Optimizer] | None = None,
        clip_norms: Sequence[tuple[nn.Module, float]] = (),
    ) -> None:
        """Take up the run that lies in folder, or begin one. beside: what else learns, to be kept with the rest.

        clip_norms: parts of model whose gradients are clipped each by itself; without them all are by the schedule's.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.model, self.optimiser, self.schedule = folder, model, optimiser, schedule
        self._beside = dict(beside or {})
        self.rng, self._seed = np.random.default_rng(seed), seed
        self.step = 0
        self._rates = [float(group["lr"]) for group in optimiser.param_groups]
        self._means: dict[str, float] = {}
        self._seconds = 0.0
        self._stop = 0
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        self._clipped = [(list(part.parameters()), norm) for part, norm in clip_norms] or [
            (trained, schedule.clip_norm)
        ]
        torch.manual_seed(seed)
        if self.checkpoint.is_file():
            self._resume(seed)

    @property
    def checkpoint(self) -> Path:
        """Where the state lies."""
        return self.folder / "last.pt"

    def run(
        self,
        losses: Callable[[np.random.Generator, int], Losses],
        evaluate: Callable[[], Mapping[str, float]] | None = None,
    ) -> dict[str, float]:
        """Train to the schedule's end; return the running means.

        losses: draws a batch and returns named scalars; those called loss... are summed and descended, all are logged.
        At a step without any, nothing but what lies beside learns.
        Raises KeyboardInterrupt or SystemExit, all saved, when a signal asked to stop.
        """
        log = Log(self.folder / "log.csv", self.step)
        bad = 0
        try:
            with self._signals(), StatusLine() as line:
                while self.step < self.schedule.steps and not self._stop:
                    began = time.perf_counter()
                    values = self._descend(losses(self.rng, self.step))
                    bad = 0 if values else bad + 1
                    if bad == NOT_FINITE_MAX:
                        raise TrainingError(
                            f"{self.folder}: {bad} steps without a finite loss; lower the learning rate"
                        )
                    self.step += 1
                    for name, value in values.items():
                        self._means[name] = SMOOTHING * self._means.get(name, value) + (1.0 - SMOOTHING) * value
                    self._seconds += time.perf_counter() - began
                    self._write(log, evaluate)
                    line.show(self._shown())
                if self._stop or self.step % self.schedule.save_every:
                    self.save()
        finally:
            log.close()
        draw(self.folder / "log.csv", self.folder / "curves.png")
        if self._stop:
            raise KeyboardInterrupt if self._stop == signal.SIGINT else SystemExit(128 + self._stop)
        return dict(self._means)

    def save(self) -> None:
        """Write the checkpoint in one step."""
        state = {
            **self.history(),
            "model": self.model.state_dict(),
            "opt": self.optimiser.state_dict(),
            "beside": {name: part.state_dict() for name, part in self._beside.items()},
            "numpy": json.dumps(self.rng.bit_generator.state),
            "torch": torch.get_rng_state(),
        }
        write_checkpoint(self.checkpoint, state)

    def history(self) -> dict[str, Any]:
        """Return its seed, how long the run has lasted and how well it does, as checkpoints tell it."""
        return {"seed": self._seed, "step": self.step, "seconds": self._seconds, "means": self._means}

    def _resume(self, seed: int) -> None:
        state = read_checkpoint(self.checkpoint)
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["opt"])
            for name, part in self._beside.items():
                part.load_state_dict(state["beside"][name])
        except (RuntimeError, ValueError, KeyError) as error:
            what = "holds another network or optimiser; choose another run folder"
            raise TrainingError(f"{self.checkpoint}: {what}: {str(error).splitlines()[0]}") from error
        self.step = int(state["step"])
        self._means, self._seconds = dict(state.get("means", {})), float(state.get("seconds", 0.0))
        if "numpy" in state:
            self.rng.bit_generator.state = json.loads(state["numpy"])
            torch.set_rng_state(state["torch"])
        else:  # of an earlier program, which did not keep it: at least not the same batches again
            self.rng = np.random.default_rng((seed, self.step))

    def _descend(self, losses: Losses) -> dict[str, float]:
        """Make one step; return the values, none if the loss was not finite (then nothing is changed)."""
        factor = self.schedule.factor(self.step)
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        descended = [value.float() for name, value in losses.items() if name.startswith("loss")]
        if descended and not self._follow(torch.stack(descended).sum()):
            return {}
        values = {name: float(value.detach()) for name, value in losses.items()}
        return values if descended or all(map(math.isfinite, values.values())) else {}

    def _follow(self, total: Tensor) -> bool:
        """Follow a loss down its gradient; return False, with nothing changed, if either is not finite."""
        if not bool(torch.isfinite(total)):
            return False
        self.optimiser.zero_grad()
        torch.autograd.backward(total)
        norms = [torch.nn.utils.clip_grad_norm_(trained, norm) for trained, norm in self._clipped]
        if not bool(torch.isfinite(torch.stack(norms)).all()):
            return False
        self.optimiser.step()
        return True

    def _write(self, log: Log, evaluate: Callable[[], Mapping[str, float]] | None) -> None:
        plan = self.schedule
        if self.step % plan.log_every == 0 or self.step == plan.steps:
            log.write(self.step, self._seconds, self._means)
        if self.step % plan.save_every == 0:
            self.save()
            draw(self.folder / "log.csv", self.folder / "curves.png")
        if evaluate and (self.step % plan.evaluate_every == 0 or self.step == plan.steps):
            self.model.eval()
            with torch.no_grad():
                log.write(self.step, self._seconds, evaluate())
            self.model.train()

    def _shown(self) -> str:
        steps = self.schedule.steps
        left_s = self._seconds / max(1, self.step) * (steps - self.step)
        means = "  ".join(f"{name.split('/', 1)[-1]} {value:.3f}" for name, value in list(self._means.items())[:4])
        return f"{bar(self.step / steps)} step {self.step}/{steps}, {left_s / 60:.0f} min left  {means}"

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask_to_stop(number: int, _frame: object) -> None:
            self._stop = number

        for number in kept:
            signal.signal(number, ask_to_stop)
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
