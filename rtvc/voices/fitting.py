"""Fits a voice to speech through the frozen decoder: its timbre, and movements of the decoder's norms of its own.

The decoder says again what the live networks heard in the recordings, at the speaker's own pitch. That should be like
the recordings to the speaker encoder, and have their long-term spectrum up to their band (`likeness`). Frames are not
compared one by one: content codes are wrong at times, and the mean of all that they may have stood for is a blur, less
like anybody. Some utterances are held out: training stops when it no longer helps them, and what helped them most is
returned. The movements are held small, so the decoder keeps the sound that discriminators taught it.

Sources: Casanova et al., "YourTTS" (2022), for the loss of the speaker encoder; Perez et al., "FiLM: Visual Reasoning
with a General Conditioning Layer" (2018).
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
from rtvc.models.speaker import SpeakerEncoder
from rtvc.train.dataset import FRAME_FRAMES_24K
from rtvc.train.excitation import pulse_train
from rtvc.train.losses import spectral_distance
from rtvc.train.synthesis import excitation, synthesise

from .likeness import PIECE_FRAMES, RATE_HZ, Likeness
from .listening import Said
from .recording_check import Samples

HELD_OUT_MAX = 16  # stretches of plan.frames
SPECTRUM_WEIGHT = 0.7


@dataclass(frozen=True)
class FitPlan:
    """How a voice is fitted."""

    steps: int = 200
    batch: int = 4
    frames: int = 170
    """History, the 1.6 s that the speaker encoder takes at once, and what the last windows do not complete."""
    history: int = 40
    """Frames at a cut's start that are not judged: their past is unknown."""
    rate: float = 3e-3
    timbre_rate: float = 9e-3
    restraint: float = 3e-4
    """Weight of the square of the movements."""
    look_every: int = 25
    patience: int = 4
    """Looks at the held-out utterances without a gain after which it ends."""
    seed: int = 0


class Fitted(NamedTuple):
    """A voice, and the held-out speech in it."""

    timbre: Samples
    personal: Samples
    distance: float
    """What is fitted; of it `likeness` to the speaker, -1..1."""
    likeness: float
    spectra: float
    """How far the spectra are from the recordings', frame by frame (nepers); nothing is fitted to that."""


class Pair(NamedTuple):
    """One utterance: what was heard in it, and its sound at 24 kHz."""

    said: Said
    sound: Samples


class Fit:
    """One voice on its way; `best` is what has helped the held-out utterances most so far."""

    def __init__(
        self,
        generator: Generator,
        speaker: SpeakerEncoder,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        timbre: Samples,
        personal: Samples,
        band_hz: float,
        plan: FitPlan,
    ) -> None:
        """timbre, personal: where to begin. band_hz: up to where the recordings hold sound, at most 12 kHz."""
        torch.manual_seed(plan.seed)
        self._generator, self._likeness, self._plan, self._band_hz = generator, Likeness(speaker), plan, band_hz
        self._judged = slice(plan.history * FRAME_FRAMES_24K, -2 * FRAME_FRAMES_24K)
        self._rng = np.random.default_rng(plan.seed)
        self._cuts = [_cut_of(pair) for pair in pairs]
        self._timbre = torch.tensor(timbre)[None].requires_grad_(True)
        self._personal = torch.tensor(personal)[None].requires_grad_(True)
        held = list(islice(self._stretches(held_out), HELD_OUT_MAX))
        self._held = [torch.stack(part) for part in zip(*held, strict=True)]
        with torch.no_grad():
            pieces = [piece for _, _, sound in self._cuts for piece in _pieces(torch.tensor(sound))]
            directions = [self._likeness.embedding(self._likeness.power(piece[None])) for piece in pieces]
            whole = torch.cat(directions).mean(0)
            self._direction = whole / whole.norm()
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

    def run(self, told: Callable[[int, Fitted], None]) -> Fitted:
        """Fit; return the best. told(step, how it is now) is called at every look; what it raises ends the fit."""
        plan = self._plan
        rates = {"timbre": plan.timbre_rate, "personal": plan.rate}
        groups = [{"params": [getattr(self, f"_{name}")], "lr": rate} for name, rate in rates.items()]
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
        since = 0
        for step in range(plan.steps):
            for group, rate in zip(optimiser.param_groups, rates.values(), strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / 20) * max(0.05, 1.0 - step / plan.steps)
            x, pulses, sound = self._draw()
            _, distance = self._compared(self._sound(x, pulses), sound)
            loss = distance + plan.restraint * self._personal.square().sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            if (step + 1) % plan.look_every == 0 or step + 1 == plan.steps:
                now = self._looked()
                since = 0 if now.distance < self.best.distance else since + 1
                if since == 0:
                    self.best = now
                told(step + 1, now)
                if since == plan.patience:
                    break
        return self.best

    def _looked(self) -> Fitted:
        with torch.no_grad():
            x, pulses, sound = self._held
            made = self._sound(x, pulses)
            likeness, distance = self._compared(made, sound)
            judged = made[:, self._judged], sound[:, self._judged]
            level = judged[1].std() / judged[0].std().clamp_min(1e-6)
            spectra = spectral_distance(level * judged[0], judged[1], self._band_hz / RATE_HZ)
            timbre, personal = (part[0].numpy().copy() for part in (self._timbre, self._personal))
            return Fitted(timbre, personal, float(distance), float(likeness), float(spectra))

    def _draw(self) -> list[Tensor]:
        cuts = []
        for _ in range(self._plan.batch):
            cut = self._cuts[int(self._rng.integers(len(self._cuts)))]
            cuts.append(self._stretch(cut, int(self._rng.integers(max(1, len(cut[0]) - self._plan.frames + 1)))))
        return [torch.stack(part) for part in zip(*cuts, strict=True)]

    def _stretches(self, pairs: Sequence[Pair]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the first stretch of every utterance, then the second ones, and so on, while they are whole."""
        cuts = [_cut_of(pair) for pair in pairs]
        frames, step = self._plan.frames, self._plan.frames - self._plan.history
        for start in range(0, max(len(cut[0]) for cut in cuts), step):
            for cut in cuts:
                if start == 0 or len(cut[0]) - start >= frames:
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
        return synthesise(self._generator.head(hidden), excitation(pulses), LEAD)

    def _compared(self, made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return how like the speaker the made sound is, and its distance."""
        made, wanted = self._power(made), self._power(wanted)
        likeness = (self._likeness.embedding(made) @ self._direction).mean()
        spectra = [self._likeness.long_term(power, self._band_hz) for power in (made, wanted)]
        return likeness, 1.0 - likeness + SPECTRUM_WEIGHT * (spectra[0] - spectra[1]).abs().mean()

    def _power(self, sound: Tensor) -> Tensor:
        return self._likeness.power(sound[:, self._judged])


def _pieces(sound: Tensor) -> list[Tensor]:
    """Return sound in pieces as long as the speaker encoder takes, a shorter one only if that is all."""
    pieces = list(torch.split(sound, PIECE_FRAMES))
    return pieces if len(pieces) == 1 else [piece for piece in pieces if len(piece) == PIECE_FRAMES]


def _cut_of(pair: Pair) -> tuple[Samples, Samples, Samples]:
    """Return inputs (AHEAD frames early), pulses and sound of an utterance, equally long."""
    frames = len(pair.said.inputs) - AHEAD
    samples = frames * FRAME_FRAMES_24K
    sound = np.pad(pair.sound, (0, max(0, samples - len(pair.sound))))[:samples].astype(np.float32)
    return pair.said.inputs[AHEAD:], pulse_train(torch.from_numpy(pair.said.f0_hz))[:samples].numpy(), sound
