"""Training of the whole decoder on sound, against discriminators: the stage `voices`.

Codes, F0, energy and a timbre go in; the sound that the live synthesis makes of what comes out is compared with what
should be heard. A share of the cuts (`home`) should sound as the teacher does, the others as Kokoro's rendition in
that timbre. In a share of them (`heard`) codes, energy and voicing are not the true ones but what a trained encoder
makes of another rendition of the sentence, spoiled as a microphone spoils it: all renditions of a sentence have one
timing, so the target is known, and the decoder learns to be graceful with the mistakes that it will be given.

Losses: log magnitudes and convergence of spectra at three resolutions, the judges' least-squares scores, and the
distance of what the judges' layers see. The judges learn in the same step, from the same cuts.

Sources: Yamamoto et al., "Parallel WaveGAN" (2020), section 2.2, for the spectral loss; Kong et al., "HiFi-GAN" (2020),
section 2.3, for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rtvc.engine.neural_voice import LEAD, UNVOICED_HZ
from rtvc.models.discriminators import Discriminators
from rtvc.models.encoder import ContentEncoder
from rtvc.models.generator import AHEAD, BANDS, Generator

from . import TrainingError
from .dataset import FRAME_FRAMES_24K, VOICED_HZ, Floats, Item, TrainingSet
from .excitation import pulse_train
from .generator import Hides, exact_items, fitted
from .hearing import Hearing
from .loop import Loop, Schedule, load_weights
from .losses import spectral_distance
from .synthesis import FRAME, excitation, synthesise
from .teacher import Teacher, decoder_input
from .timbres import SCALE

TEACHER_LEAD = FRAME // 2  # as its own synthesis has it
HOME_MEDIAN_HZ = (130.0, 300.0)  # where the teacher sounds well


@dataclass(frozen=True)
class VoicesPlan:
    """What a training against discriminators is told."""

    schedule: Schedule = field(default_factory=lambda: Schedule(steps=5000, floor=0.1, clip_norm=10.0))
    batch: int = 8
    frames: int = 112
    history: int = 40
    """Frames at a cut's start that are not judged: their past is unknown."""
    rate: float = 2e-4
    home: float = 0.35
    heard: float = 0.6
    spectra_weight: float = 5.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    half_precision: bool = True
    seed: int = 0


class Fills(Hides, Protocol):
    """What this stage wants of a teacher."""

    def fill(self, generator: Generator) -> None:
        """Give a decoder the teacher's weights."""


class Cuts(NamedTuple):
    """A batch."""

    x: Tensor
    """The decoder's inputs, AHEAD frames early: [b, t, INPUTS]."""
    pulses: Tensor
    """Excitation [b, 300 t] at 24 kHz."""
    sound: Tensor
    """What should be heard, likewise."""
    timbre: Tensor
    """[b, TIMBRE]."""


class Voices:
    """Batches and losses of the stage."""

    def __init__(
        self,
        generator: Generator,
        judges: Discriminators,
        data: TrainingSet,
        teacher: Fills,
        plan: VoicesPlan,
        hearing: Hearing | None = None,
    ) -> None:
        self.generator, self.judges, self._data, self._plan = generator, judges, data, plan
        self._teacher, self._hearing = teacher, hearing
        original = Generator()
        teacher.fill(original)
        self._teacher_head = original.head.requires_grad_(False)
        self._items = [item for item in exact_items(data) if item.tv >= 0 and item.start24 >= 0]
        if not self._items:
            raise TrainingError(f"{data.folder}: no timbres there; give rtvc train data --kokoro-voices FOLDER")
        self._renditions: dict[str, list[Item]] = {}
        for item in self._items:
            self._renditions.setdefault(_sentence(item), []).append(item)
        self._codebook = np.array(data.codebook)
        self.optimiser = torch.optim.AdamW(judges.parameters(), lr=plan.rate, betas=(0.8, 0.99))

    def losses(self, rng: np.random.Generator, _step: int) -> Mapping[str, Tensor]:
        """Draw a batch, let the judges learn from it, and return the decoder's losses."""
        plan = self._plan
        cuts = self.draw(rng, plan.batch)
        made, real = self.sound(cuts), self._judged(cuts.sound)
        with torch.autocast(made.device.type, torch.bfloat16, enabled=plan.half_precision):
            mistaken = self._teach(made.detach(), real)
            self.judges.requires_grad_(False)
            said, wanted = self.judges(made), self.judges(real)
            self.judges.requires_grad_(True)
        adversarial = torch.stack([(1.0 - score.float()).square().mean() for score, _ in said]).mean()
        features = torch.stack(
            [
                (a.float() - b.float().detach()).abs().mean() / b.float().abs().mean().clamp_min(1e-4)
                for (_, made_), (_, real_) in zip(said, wanted, strict=True)
                for a, b in zip(made_, real_, strict=True)
            ]
        ).mean()
        spectra = spectral_distance(made, real)
        return {
            "loss/spectra": plan.spectra_weight * spectra,
            "loss/adversarial": plan.adversarial_weight * adversarial,
            "loss/features": plan.feature_weight * features,
            "judges' loss": mistaken,
            "distance of spectra": spectra.detach(),
        }

    def _teach(self, made: Tensor, real: Tensor) -> Tensor:
        """Let the judges learn; return their loss."""
        scores = zip(self.judges(real), self.judges(made), strict=True)
        loss = torch.stack(
            [(1.0 - r.float()).square().mean() + m.float().square().mean() for (r, _), (m, _) in scores]
        ).mean()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        return loss.detach()

    def sound(self, cuts: Cuts) -> Tensor:
        """Return what the decoder makes of a batch, the judged part: [b, n]."""
        generator = self.generator
        with torch.autocast(cuts.x.device.type, torch.bfloat16, enabled=self._plan.half_precision):
            hidden, _ = generator.hidden(cuts.x, generator.initial(len(cuts.x)))
            parts, _ = generator.steered(hidden, cuts.timbre, torch.zeros(len(hidden), 1, BANDS))
        return self._judged(synthesise(parts, excitation(cuts.pulses), LEAD))

    def _judged(self, sound: Tensor) -> Tensor:
        return sound[:, self._plan.history * FRAME_FRAMES_24K : -2 * FRAME_FRAMES_24K]

    def draw(self, rng: np.random.Generator, count: int) -> Cuts:
        """Return count cuts."""
        with torch.no_grad():
            cuts = [self._cut(rng) for _ in range(count)]
        return Cuts(*(torch.tensor(np.stack(part)) for part in zip(*cuts, strict=True)))

    def _cut(self, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
        plan, data = self._plan, self._data
        item = self._items[int(rng.integers(len(self._items)))]
        rows = data.rows(item)
        place = slice(item.frame0, item.frame0 + len(rows))
        f0_hz, energy = np.array(data.f0_hz[place]), np.array(data.energy[place])
        home = rng.random() < plan.home
        voiced = f0_hz > VOICED_HZ
        scale = item.f0_scale
        if home and voiced.any():
            low, high = np.log(HOME_MEDIAN_HZ)
            scale = float(np.exp(rng.uniform(low, high))) / float(np.median(f0_hz[voiced]))
        f0_hz = np.where(voiced, f0_hz * scale, UNVOICED_HZ).astype(np.float32)
        start = int(rng.integers(0, max(1, len(rows) - plan.frames)))
        cut = slice(start, start + plan.frames)
        true = self._codebook[data.code_idx[rows, 0].astype(np.int64)]
        if home:
            sound = self._teachers_sound(true, f0_hz, energy)
            timbre = self.generator.steering.home.numpy()
        else:
            first = item.start24
            sound = data.audio24[first : first + len(rows) * FRAME_FRAMES_24K].astype(np.float32) / np.float32(32768)
            timbre = (SCALE * np.array(data.timbres[item.tv])).astype(np.float32)
        content = true
        if self._hearing is not None and rng.random() < plan.heard:
            others = self._renditions[_sentence(item)]
            heard = self._hearing.of(others[int(rng.integers(len(others)))], rng)
            content, energy = fitted(self._codebook[heard.codes], len(rows)), fitted(heard.energy, len(rows))
            f0_hz = np.where(fitted(heard.f0_hz, len(rows)) > 0.0, _filled(f0_hz), UNVOICED_HZ).astype(np.float32)
        x = fitted(decoder_input(content, f0_hz, energy)[AHEAD:], len(rows))
        samples = slice(start * FRAME_FRAMES_24K, (start + plan.frames) * FRAME_FRAMES_24K)
        rest = max(0, start + plan.frames - len(rows)) * FRAME_FRAMES_24K
        pulses = np.pad(pulse_train(f0_hz)[samples], (0, rest))
        return fitted(x[cut], plan.frames), pulses, np.pad(sound[samples], (0, rest)), timbre

    def _teachers_sound(self, content: Floats, f0_hz: Floats, energy: Floats) -> Floats:
        parts = self._teacher_head(torch.from_numpy(self._teacher.hidden(content, f0_hz, energy))[None])
        pulses = torch.from_numpy(pulse_train(f0_hz))[None]
        sound: Floats = synthesise(parts, excitation(pulses), TEACHER_LEAD)[0].numpy()
        return sound


def _sentence(item: Item) -> str:
    return f"{item.source}/{item.utt.rsplit('/', 1)[0]}"


def _filled(f0_hz: Floats) -> Floats:
    """Return F0 with what is unvoiced drawn in straight lines, as live, where the last pitch is kept."""
    voiced = np.flatnonzero(f0_hz > VOICED_HZ)
    if not len(voiced):
        return np.full_like(f0_hz, 150.0)
    return np.interp(np.arange(len(f0_hz)), voiced, f0_hz[voiced]).astype(np.float32)


def train_voices(
    set_folder: Path,
    run_folder: Path,
    plan: VoicesPlan,
    init: Path,
    home: Floats,
    encoder: Path | None = None,
) -> dict[str, float]:
    """Train a distilled decoder on sound, or go on. home: the teacher's own timbre, float32[128]."""
    torch.manual_seed(plan.seed)
    data, generator, judges, hearing = TrainingSet(set_folder), Generator(), Discriminators(), None
    load_weights(generator, init, optional=("steering",))
    generator.steering.home.copy_(torch.tensor(home))
    if encoder is not None:
        content = ContentEncoder()
        load_weights(content, encoder)
        hearing = Hearing(content, data)
    trainee = Voices(generator, judges, data, Teacher(), plan, hearing)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=plan.rate, betas=(0.8, 0.99), weight_decay=0.0)
    beside: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
        "judges": judges,
        "judges' optimiser": trainee.optimiser,
    }
    loop = Loop(run_folder, generator, optimiser, plan.schedule, plan.seed, beside)
    return loop.run(trainee.losses)
