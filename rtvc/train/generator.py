"""Training of the decoder, in two stages.

`distil`: a causal copy of the teacher's decoder learns its hidden frames, hearing AHEAD frames of the future. Both
hear the same: true codes, or wrong ones at times, with energy that is off as an estimate is; or, given an encoder, what
the live chain hears in any recording of the set (`hearing`), for that is what the copy will be given, and the
teacher copes well with it. (Noise in the copy's input alone would teach it to average.) The head stays as it is: what
adversarial training has put into the phases is inherited, not learnt.
`steer`: only the small network that filters by timbre learns, from renditions of Kokoro in many timbres, to bring the
log power in its bands to theirs. Sound is compared as spectra of 1200 samples (50 ms Hann) every 300 at 24 kHz,
without synthesis in between. The Itakura-Saito distance is logged but not descended: it asks for the mean power, and
fills the valleys between harmonics with noise (`models/EXPERIMENTS.md`, 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rtvc.engine.neural_voice import UNVOICED_HZ
from rtvc.models.generator import AHEAD, BANDS, Generator

from . import TrainingError
from .dataset import FRAME_FRAMES_24K, VOICED_HZ, Floats, Ints, Item, TrainingSet
from .excitation import pulse_train
from .hearing import Hearing, hearing_of
from .loop import Loop, Schedule, load_weights
from .losses import band_distance, itakura_saito, parts_power, relative_error
from .teacher import Teacher, decoder_input
from .timbres import SCALE

FFT_FRAMES = 1200
MEDIAN_HZ = (85.0, 320.0)
TEACHER_REACH = 60  # frames around a cut that its hidden frames hear of, eight blocks and the first layer
EDGE_FRAMES = (40, 2)  # at a cut's start and end, where the decoder lacks the past and the spectrum the sound


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


@dataclass(frozen=True)
class SteerPlan:
    """What a training of the steering is told."""

    schedule: Schedule = field(default_factory=lambda: Schedule(steps=1500))
    batch: int = 6
    frames: int = 160
    rate: float = 2e-3
    evaluated: int = 24
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
            hidden, _ = self._generator.hidden(x, self._generator.initial(len(x)))
        return {"loss/relative error": relative_error(hidden.float(), target)}

    def _pair(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return what the copy hears and what the teacher made of the truth, both float32[frames, width]."""
        plan = self._plan
        if self._hearing is not None and rng.random() < plan.heard:
            heard = self._hearing.any(rng)
            content, f0_hz, energy = self._codebook[heard.codes], heard.f0_hz, heard.energy
        else:
            content, f0_hz, energy = self._known(self._items[rng.integers(len(self._items))], rng)
        voiced = f0_hz[f0_hz > VOICED_HZ]
        low, high = np.log(MEDIAN_HZ)
        wanted = float(np.exp(rng.uniform(low, high)))
        scale = wanted / float(np.median(voiced)) if len(voiced) else 1.0
        f0_hz = np.where(f0_hz > VOICED_HZ, f0_hz * scale, UNVOICED_HZ).astype(np.float32)
        start = max(0, int(rng.integers(-plan.frames // 4, max(1, len(f0_hz) - plan.frames))))
        margin = slice(max(0, start - TEACHER_REACH), start + plan.frames + TEACHER_REACH)
        content, f0_hz, energy, start = content[margin], f0_hz[margin], energy[margin], start - margin.start
        target = self._teacher.hidden(content, f0_hz, energy)
        given = fitted(decoder_input(content, f0_hz, energy)[AHEAD:], len(f0_hz))
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


class SteerBatch(NamedTuple):
    """What the steering learns from."""

    x: Tensor
    """The decoder's inputs [b, t, INPUTS]."""
    pulses: Tensor
    """Excitation [b, 300 t] at 24 kHz."""
    sound: Tensor
    """The rendition, likewise."""
    timbre: Tensor
    """[b, TIMBRE]."""


class Steering:
    """Batches, losses and evaluation of the stage `steer`."""

    def __init__(self, generator: Generator, data: TrainingSet, plan: SteerPlan) -> None:
        self._generator, self._data, self._plan = generator, data, plan
        self._items = [item for item in exact_items(data) if item.tv >= 0 and item.start24 >= 0]
        self._dev = [item for item in exact_items(data, dev=True) if item.tv >= 0 and item.start24 >= 0]
        if not self._items:
            raise TrainingError(f"{data.folder}: no timbres there; give rtvc train data --kokoro-voices FOLDER")
        self._codebook = np.array(data.codebook)
        self._window = torch.hann_window(FFT_FRAMES)

    def losses(self, rng: np.random.Generator, _step: int) -> Mapping[str, Tensor]:
        """Draw a batch and return both distances."""
        distance, bands = self._distances(self.draw(rng, self._items, self._plan.batch))
        return {"loss/log bands": bands, "distance/Itakura-Saito": distance.detach()}

    def evaluate(self) -> dict[str, float]:
        """Return both distances on held-out renditions, always the same cuts."""
        if not self._dev:
            return {}
        batch = self.draw(np.random.default_rng(0), self._dev, self._plan.evaluated)
        distance, bands = self._distances(batch)
        return {"held out/Itakura-Saito": float(distance), "held out/log bands": float(bands)}

    def draw(self, rng: np.random.Generator, items: Sequence[Item], count: int) -> SteerBatch:
        """Return a batch of cuts."""
        cuts = [self._cut(rng, items) for _ in range(count)]
        return SteerBatch(*(torch.tensor(np.stack(part)) for part in zip(*cuts, strict=True)))

    def _cut(self, rng: np.random.Generator, items: Sequence[Item]) -> tuple[Floats, Floats, Floats, Floats]:
        data, frames = self._data, self._plan.frames
        item = items[int(rng.integers(len(items)))]
        rows = data.rows(item)
        start = int(rng.integers(0, max(1, len(rows) - frames)))
        n = min(frames, len(rows) - start)
        place = slice(item.frame0 + start, item.frame0 + start + n)
        f0_hz = np.array(data.f0_hz[place])
        f0_hz = np.where(f0_hz > VOICED_HZ, f0_hz * item.f0_scale, f0_hz).astype(np.float32)
        codes = self._codebook[data.code_idx[rows[start : start + n], 0].astype(np.int64)]
        x = decoder_input(codes, f0_hz, np.array(data.energy[place]))
        first = item.start24 + start * FRAME_FRAMES_24K
        sound = data.audio24[first : first + n * FRAME_FRAMES_24K].astype(np.float32) / np.float32(32768)
        rest = (frames - n) * FRAME_FRAMES_24K
        timbre = (SCALE * np.array(data.timbres[item.tv])).astype(np.float32)
        return fitted(x, frames), np.pad(pulse_train(f0_hz), (0, rest)), np.pad(sound, (0, rest)), timbre

    def _distances(self, batch: SteerBatch) -> tuple[Tensor, Tensor]:
        generator = self._generator
        with torch.no_grad():
            ahead = torch.cat([batch.x[:, AHEAD:], batch.x[:, -1:].expand(-1, AHEAD, -1)], dim=1)
            hidden, _ = generator.hidden(ahead, generator.initial(len(ahead)))
            # a cosine of amplitude 1 peaks at half the window's sum: magnitudes are those of harmonics
            excitation = self._spectra(batch.pulses) / (FFT_FRAMES / 4)
            target = self._spectra(batch.sound)
        frames = batch.x.shape[1]
        parts, _ = generator.steered(hidden, batch.timbre, torch.zeros(len(hidden), 1, BANDS))
        power = parts_power(parts, excitation[:, :frames])
        wanted = (target.real**2 + target.imag**2)[:, :frames]
        seen = slice(EDGE_FRAMES[0], frames - EDGE_FRAMES[1])
        return itakura_saito(power[:, seen], wanted[:, seen]), band_distance(power[:, seen], wanted[:, seen])

    def _spectra(self, x: Tensor) -> Tensor:
        """Return complex [b, t, 601] of sound [b, n]."""
        found = torch.stft(x, FFT_FRAMES, FRAME_FRAMES_24K, window=self._window, center=True, return_complex=True)
        return found.transpose(1, 2)


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
        load_weights(generator, init, optional=("steering",))
    for part in (generator.head, generator.steering):
        part.requires_grad_(False)
    trained = [p for p in generator.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    loop = Loop(run_folder, generator, optimiser, plan.schedule, plan.seed)
    hearing = None if encoder is None else hearing_of(encoder, data, plan.seed)
    return loop.run(Distillation(generator, data, source, plan, hearing).losses)


def steer(set_folder: Path, run_folder: Path, plan: SteerPlan, init: Path, home: Floats) -> dict[str, float]:
    """Train the steering of a distilled decoder, or go on. home: the teacher's own timbre, float32[128]."""
    torch.manual_seed(plan.seed)
    data, generator = TrainingSet(set_folder), Generator()
    load_weights(generator, init, optional=("steering",))
    generator.requires_grad_(False)
    generator.steering.requires_grad_(True)
    generator.steering.home.copy_(torch.tensor(home))
    optimiser = torch.optim.AdamW(generator.steering.parameters(), lr=plan.rate, weight_decay=0.0)
    loop = Loop(run_folder, generator, optimiser, plan.schedule, plan.seed)
    trainee = Steering(generator, data, plan)
    return loop.run(trainee.losses, trainee.evaluate)
