"""Training of the decoder, its first stage: `distil`.

A causal copy of the teacher's decoder learns its hidden frames, hearing AHEAD frames of the future. Both hear the same:
true codes, or wrong ones at times, with energy that is off as an estimate is; or, given an encoder, what the live chain
hears in any recording of the set (`hearing`). (Noise in the copy's input alone would teach it to average.) The head
stays as it is: what adversarial training has put into the phases is inherited, not learnt. The other stage is in
`adversarial`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rtvc.engine.neural_voice import UNVOICED_HZ
from rtvc.models.generator import AHEAD, CONTENT, Generator

from . import TrainingError
from .dataset import VOICED_HZ, Floats, Ints, Item, TrainingSet
from .hearing import Hearing, hearing_of, known
from .loop import Loop, Schedule, load_weights
from .losses import relative_error
from .teacher import Teacher

MEDIAN_HZ = (85.0, 320.0)
TEACHER_REACH = 60  # frames around a cut that its hidden frames hear of, eight blocks and the first layer


class Hides(Protocol):
    """What distillation wants of a teacher."""

    def hidden(self, z: Floats, f0_hz: Floats, energy: Floats) -> Floats:
        """Return the decoder's hidden frames."""


@dataclass(frozen=True)
class DistilPlan:
    """What a distillation is told."""

    schedule: Schedule = field(default_factory=lambda: Schedule(steps=1500))
    batch: int = 8
    frames: int = 240
    rate: float = 1e-3
    near_miss: float = 0.5
    """Share of utterances in which some tokens get a neighbouring code..."""
    missed: float = 0.3
    """...and the share of their tokens that do."""
    slip: float = 0.2
    """Share of utterances in which some frames get the code of a near frame..."""
    slipped: float = 0.1
    """...and the share of their frames that do."""
    heard: float = 0.65
    """Share of utterances as the live chain hears them, where an encoder is given."""
    noisy_energy: float = 0.5
    """Share of utterances whose energy is not exact."""
    half_precision: bool = True
    seed: int = 0


def exact_items(data: TrainingSet, dev: bool = False) -> list[Item]:
    """Return the synthetic renditions to learn from (dev: those held out). Raises TrainingError if there is none."""
    items = [item for item in (data.dev if dev else data.train) if item.exact]
    if not items and not dev:
        raise TrainingError(f"{data.folder}: no synthetic rendition there; rtvc train synth makes them")
    return items


def fitted(x: Floats, frames: int) -> Floats:
    """Return x [t, ...] cut to frames, or its last row repeated up to them."""
    short = frames - len(x)
    return x[:frames] if short <= 0 else np.concatenate([x, np.repeat(x[-1:], short, axis=0)])


class Distillation:
    """Batches and loss of the stage `distil`."""

    def __init__(
        self,
        generator: Generator,
        data: TrainingSet,
        teacher: Hides,
        plan: DistilPlan,
        hearing: Hearing | None = None,
    ) -> None:
        self._generator, self._data, self._teacher, self._plan = generator, data, teacher, plan
        self._hearing = hearing
        self._items = exact_items(data)
        self._codebook = np.array(data.codebook)

    def losses(self, rng: np.random.Generator, _step: int) -> Mapping[str, Tensor]:
        """Draw a batch and return how far the copy's hidden frames are from the teacher's."""
        pairs = [self._pair(rng) for _ in range(self._plan.batch)]
        x, target = (torch.tensor(np.stack(part)) for part in zip(*pairs, strict=True))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._plan.half_precision):
            home = self._generator.home.expand(len(x), -1)
            hidden, _ = self._generator.hidden(x, self._generator.film_of(home), self._generator.initial(len(x)))
        return {"loss/relative error": relative_error(hidden.float(), target)}

    def _pair(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return what the copy hears and what the teacher made of the truth, both float32[frames, width]."""
        plan = self._plan
        if self._hearing is not None and rng.random() < plan.heard:
            heard = self._hearing.of(self._hearing.any(rng), rng)
        else:
            item = self._items[rng.integers(len(self._items))]
            heard = known(*self._known(item, rng), later=bool(rng.random() < 0.5))
        voiced = heard.f0_hz[heard.f0_hz > VOICED_HZ]
        low, high = np.log(MEDIAN_HZ)
        wanted = float(np.exp(rng.uniform(low, high)))
        scale = wanted / float(np.median(voiced)) if len(voiced) else 1.0
        both_hz = np.where(heard.f0_hz > VOICED_HZ, heard.f0_hz * np.float32(scale), np.float32(UNVOICED_HZ))
        x, f0_hz = heard.inputs(both_hz), both_hz[0]
        start = max(0, int(rng.integers(-plan.frames // 4, max(1, len(f0_hz) - plan.frames))))
        margin = slice(max(0, start - TEACHER_REACH), start + plan.frames + TEACHER_REACH)
        x, start = x[margin], start - margin.start
        target = self._teacher.hidden(x[:, :CONTENT], f0_hz[margin], heard.energy[0, margin])
        given = fitted(x[AHEAD:], len(x))
        return fitted(given[start:], plan.frames), fitted(target[start:], plan.frames)

    def _known(self, item: Item, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """Return content, F0 and energy of a rendition, spoiled."""
        f0_hz, energy = self._data.melody(item)
        codes = self._codes(item, self._data.rows(item), rng)
        return self._codebook[codes], f0_hz, self._estimated(energy, rng)

    def _codes(self, item: Item, rows: Ints, rng: np.random.Generator) -> Ints:
        """Return the code of each frame: the nearest; for some tokens another, as likely as its share says; or for
        some frames that of a frame up to four away.
        """
        data, plan = self._data, self._plan
        rank = np.zeros(len(item.frames), np.int64)
        kind = rng.random()
        if kind < plan.near_miss:
            shares = np.asarray(data.code_p[item.row : item.row + len(rank)], np.float64)
            for k in np.flatnonzero(rng.random(len(rank)) < plan.missed):
                rank[k] = rng.choice(shares.shape[1], p=shares[k] / shares[k].sum())
        codes = data.code_idx[rows, np.repeat(rank, item.frames)].astype(np.int64)
        if kind > 1.0 - plan.slip:
            near = data.code_idx[np.roll(rows, int(rng.integers(-4, 5))), 0].astype(np.int64)
            codes = np.where(rng.random(len(codes)) < plan.slipped, near, codes)
        return codes

    def _estimated(self, energy: Floats, rng: np.random.Generator) -> Floats:
        """Return energy as an estimate of it might be: off by a constant and by something slow."""
        if rng.random() >= self._plan.noisy_energy:
            return energy
        wander = np.convolve(rng.normal(0.0, 0.7, len(energy)), np.ones(5) / 5.0, "same")[: len(energy)]
        return (energy + rng.normal(0.0, 0.5) + wander).astype(np.float32)


def distil(
    set_folder: Path,
    run_folder: Path,
    plan: DistilPlan,
    init: Path | None = None,
    teacher: Path | None = None,
    encoder: Path | None = None,
) -> dict[str, float]:
    """Train the decoder's first stage, or go on; without init it starts from the teacher's own weights."""
    torch.manual_seed(plan.seed)
    data, source, generator = TrainingSet(set_folder), Teacher(teacher), Generator()
    if init is None:
        source.fill(generator)
    else:
        load_weights(generator, init, optional=("film",))
    for part in (generator.head, generator.film):
        part.requires_grad_(False)
    trained = [p for p in generator.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    loop = Loop(run_folder, generator, optimiser, plan.schedule, plan.seed)
    hearing = None if encoder is None else hearing_of(encoder, data, plan.seed)
    return loop.run(Distillation(generator, data, source, plan, hearing).losses)
