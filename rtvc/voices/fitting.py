"""Fits a voice to speech through the frozen decoder: its timbre, and movements of the decoder's norms of its own.

The decoder says again what the live networks heard in the recordings, at the speaker's own pitch; the sound of that is
compared with the recordings by spectra at three resolutions, up to the recordings' band. Some utterances are held out:
training stops when it no longer helps them, and what helped them most is returned. A few hundred numbers in effect:
the movements are held small, so the decoder keeps the sound that discriminators taught it.

Source: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rtvc.engine.neural_voice import LEAD
from rtvc.models.generator import AHEAD, FILMS, Generator
from rtvc.train.dataset import FRAME_FRAMES_24K
from rtvc.train.excitation import pulse_train
from rtvc.train.losses import spectral_distance
from rtvc.train.synthesis import excitation, synthesise

from .listening import Said
from .recording_check import Samples

RATE_HZ = 24000
HELD_OUT_MAX = 16  # stretches of plan.frames


@dataclass(frozen=True)
class FitPlan:
    """How a voice is fitted."""

    steps: int = 400
    batch: int = 4
    frames: int = 112
    history: int = 40
    """Frames at a cut's start that are not judged: their past is unknown."""
    rate: float = 3e-3
    timbre_rate: float = 9e-3
    restraint: float = 1e-3
    """Weight of the square of the movements."""
    look_every: int = 25
    patience: int = 4
    """Looks at the held-out utterances without a gain after which it ends."""
    seed: int = 0


class Fitted(NamedTuple):
    """A voice, and how far what it says is from the held-out speech (mean log-spectral distance, nepers)."""

    timbre: Samples
    personal: Samples
    distance: float


class Pair(NamedTuple):
    """One utterance: what was heard in it, and its sound at 24 kHz."""

    said: Said
    sound: Samples


class Fit:
    """One voice on its way; `best` is what has helped the held-out utterances most so far."""

    def __init__(
        self,
        generator: Generator,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        timbre: Samples,
        personal: Samples,
        band_hz: float,
        plan: FitPlan,
    ) -> None:
        """timbre, personal: where to begin. band_hz: up to where the recordings hold sound, at most 12 kHz."""
        torch.manual_seed(plan.seed)
        self._generator, self._plan, self._band_hz = generator, plan, band_hz
        self._rng = np.random.default_rng(plan.seed)
        self._cuts = [_cut_of(pair) for pair in pairs]
        self._timbre = torch.tensor(timbre)[None].requires_grad_(True)
        self._personal = torch.tensor(personal)[None].requires_grad_(True)
        held = list(islice(self._stretches(held_out), HELD_OUT_MAX))
        self._held = [torch.stack(part) for part in zip(*held, strict=True)]
        self._gain = torch.zeros(1)
        with torch.no_grad():  # the recordings' level is no part of a voice
            x, pulses, sound = self._held
            self._gain += torch.log(sound.std() / self._sound(x, pulses).std().clamp_min(1e-6))
        self._gain.requires_grad_(True)
        self.first = self.best = self._looked()

    def go_on_from(self, timbre: Samples, personal: Samples) -> None:
        """Take these up if they say the held-out utterances better than where it began."""
        begun = [part.detach().clone() for part in (self._timbre, self._personal)]
        with torch.no_grad():
            self._timbre[0], self._personal[0] = torch.tensor(timbre), torch.tensor(personal)
            reached = self._looked()
            if reached.distance < self.best.distance:
                self.best = reached
            else:
                self._timbre[:], self._personal[:] = begun

    def run(self, told: Callable[[int, float], None]) -> Fitted:
        """Fit; return the best. told(step, distance) is called at every look; what it raises ends the fit."""
        plan = self._plan
        rates = {"timbre": plan.timbre_rate, "personal": plan.rate, "gain": plan.timbre_rate}
        groups = [{"params": [getattr(self, f"_{name}")], "lr": rate} for name, rate in rates.items()]
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
        since = 0
        for step in range(plan.steps):
            for group, rate in zip(optimiser.param_groups, rates.values(), strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / 20) * max(0.05, 1.0 - step / plan.steps)
            x, pulses, sound = self._draw()
            loss = self._distance(self._sound(x, pulses), sound) + plan.restraint * self._personal.square().sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            if (step + 1) % plan.look_every == 0 or step + 1 == plan.steps:
                now = self._looked()
                since = 0 if now.distance < self.best.distance else since + 1
                if since == 0:
                    self.best = now
                told(step + 1, now.distance)
                if since == plan.patience:
                    break
        return self.best

    def _looked(self) -> Fitted:
        with torch.no_grad():
            x, pulses, sound = self._held
            distance = float(self._distance(self._sound(x, pulses), sound))
            return Fitted(self._timbre[0].numpy().copy(), self._personal[0].numpy().copy(), distance)

    def _draw(self) -> list[Tensor]:
        cuts = []
        for _ in range(self._plan.batch):
            cut = self._cuts[int(self._rng.integers(len(self._cuts)))]
            cuts.append(self._stretch(cut, int(self._rng.integers(max(1, len(cut[0]) - self._plan.frames + 1)))))
        return [torch.stack(part) for part in zip(*cuts, strict=True)]

    def _stretches(self, pairs: Sequence[Pair]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the first stretch of every utterance, then the second ones, and so on."""
        cuts = [_cut_of(pair) for pair in pairs]
        step = self._plan.frames - self._plan.history
        for start in range(0, max(len(cut[0]) for cut in cuts), step):
            for cut in cuts:
                if len(cut[0]) - start > self._plan.history:
                    yield self._stretch(cut, start)

    def _stretch(self, cut: tuple[Samples, Samples, Samples], start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return plan.frames frames from start on, silence after the end."""
        frames, hop = self._plan.frames, FRAME_FRAMES_24K
        x, pulses, sound = cut[0][start:], cut[1][start * hop :], cut[2][start * hop :]
        short = max(0, frames - len(x))
        x = np.pad(x[:frames], ((0, short), (0, 0)), mode="edge")
        rest = max(0, frames * hop - len(pulses))
        pulses, sound = (np.pad(part, (0, rest))[: frames * hop] for part in (pulses, sound))
        return torch.tensor(x), torch.tensor(pulses), torch.tensor(sound)

    def _sound(self, x: Tensor, pulses: Tensor) -> Tensor:
        film = (self._generator.film_of(self._timbre) + self._personal).expand(len(x), FILMS)
        hidden, _ = self._generator.hidden(x, film, self._generator.initial(len(x)))
        return synthesise(self._generator.head(hidden), excitation(pulses), LEAD) * self._gain.exp()

    def _distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        judged = slice(self._plan.history * FRAME_FRAMES_24K, -2 * FRAME_FRAMES_24K)
        return spectral_distance(made[:, judged], wanted[:, judged], self._band_hz / RATE_HZ)


def _cut_of(pair: Pair) -> tuple[Samples, Samples, Samples]:
    """Return inputs (AHEAD frames early), pulses and sound of an utterance, equally long."""
    frames = len(pair.said.inputs) - AHEAD
    samples = frames * FRAME_FRAMES_24K
    sound = np.pad(pair.sound, (0, max(0, samples - len(pair.sound))))[:samples].astype(np.float32)
    return pair.said.inputs[AHEAD:], pulse_train(pair.said.f0_hz)[:samples], sound
