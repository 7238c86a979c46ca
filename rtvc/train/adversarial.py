"""Training of the whole decoder on sound, against discriminators: the stage `voices`.

Content, F0, energy and a timbre go in; the sound that the live synthesis makes of what comes out is compared with
what should be heard. A share of the cuts (`home`) should sound as the teacher does of the true codes, the F0 and the
energy; the others as Kokoro's rendition in that timbre. What goes in is a share of times not true but heard
(`hearing`): for the home voice in any recording whose codes are known, else in another rendition of the sentence, for
all have one timing. So the decoder learns to make the best of what it will be given.

Losses: log magnitudes and convergence of spectra at three resolutions, the judges' least-squares scores, and the
distance of what the judges' layers see. The judges learn in the same step, from the same cuts.

Sources: Yamamoto et al., "Parallel WaveGAN" (2020), section 2.2, for the spectral loss; Kong et al., "HiFi-GAN" (2020),
section 2.3, for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rtvc.engine.neural_voice import LEAD, UNVOICED_HZ
from rtvc.models.discriminators import Discriminators
from rtvc.models.generator import AHEAD, CONTENT, LATER_FRAMES, Generator

from . import TrainingError
from .dataset import FRAME_FRAMES_24K, VOICED_HZ, Floats, Item, TrainingSet
from .excitation import pulse_train
from .generator import TEACHER_REACH, Hides, exact_items, fitted
from .hearing import Heard, Hearing, hearing_of, known
from .judging import Judging
from .loop import Loop, Schedule, load_weights
from .losses import spectral_distance
from .synthesis import excitation, synthesise
from .teacher import Teacher
from .timbres import SCALE

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
    heard: float = 0.7
    spectra_weight: float = 5.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    half_precision: bool = True
    seed: int = 0


class Fills(Hides, Protocol):
    """What this stage wants of a teacher."""

    def fill(self, generator: Generator) -> None:
        """Give a decoder the teacher's weights."""


class HomeVoice:
    """The teacher's own voice, through the live synthesis."""

    def __init__(self, teacher: Fills, threads: int = 1) -> None:
        """Threads: how many sentences the teacher says at once."""
        self._teacher, self._threads = teacher, ThreadPoolExecutor(threads)
        original = Generator()
        teacher.fill(original)
        self._head = original.head.requires_grad_(False)
        silence = np.zeros(1, np.float32)
        teacher.hidden(np.zeros((1, CONTENT), np.float32), silence, silence)  # it gets ready before threads ask

    def sounds(self, codes: Floats, f0_hz: Floats, energy: Floats) -> Tensor:
        """Return sounds [b, 300 frames] at 24 kHz of codes [b, frames, CONTENT], F0 and energy [b, frames]."""
        hidden = np.stack(list(self._threads.map(self._teacher.hidden, codes, f0_hz, energy)))
        return synthesise(self._head(torch.tensor(hidden)), excitation(pulse_train(torch.tensor(f0_hz))), LEAD)


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
        self._home_voice, self._hearing = HomeVoice(teacher), hearing
        self._renditions = renditions(data)
        self._items = [item for same in self._renditions.values() for item in same]
        self._codebook = np.array(data.codebook)
        self._judging = Judging(judges, plan.rate, plan.half_precision)
        self.optimiser = self._judging.optimiser

    def losses(self, rng: np.random.Generator, _step: int) -> Mapping[str, Tensor]:
        """Draw a batch, let the judges learn from it, and return the decoder's losses."""
        plan = self._plan
        cuts = self.draw(rng, plan.batch)
        made, real = self.sound(cuts), self._judged(cuts.sound)
        mistaken = self._judging.learn(made, real)
        adversarial, features = self._judging.losses(made, real)
        spectra = spectral_distance(made, real)
        return {
            "loss/spectra": plan.spectra_weight * spectra,
            "loss/adversarial": plan.adversarial_weight * adversarial,
            "loss/features": plan.feature_weight * features,
            "judges' loss": mistaken,
            "distance of spectra": spectra.detach(),
        }

    def sound(self, cuts: Cuts) -> Tensor:
        """Return what the decoder makes of a batch, the judged part: [b, n]."""
        generator = self.generator
        with torch.autocast(cuts.x.device.type, torch.bfloat16, enabled=self._plan.half_precision):
            parts = generator(cuts.x, cuts.timbre)
        return self._judged(synthesise(parts, excitation(cuts.pulses), LEAD))

    def _judged(self, sound: Tensor) -> Tensor:
        return sound[:, self._plan.history * FRAME_FRAMES_24K : -2 * FRAME_FRAMES_24K]

    def draw(self, rng: np.random.Generator, count: int) -> Cuts:
        """Return count cuts."""
        with torch.no_grad():
            cuts = [self._cut(rng) for _ in range(count)]
        return Cuts(*(torch.tensor(np.stack(part)) for part in zip(*cuts, strict=True)))

    def _cut(self, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
        at_home = rng.random() < self._plan.home
        heard = self._hearing if rng.random() < self._plan.heard else None
        given, f0_hz, sound, timbre = (self._home if at_home else self._rendition)(heard, rng)
        frames, plan = len(given), self._plan
        start = int(rng.integers(0, max(1, frames - plan.frames)))
        x = fitted(fitted(given[AHEAD:], frames)[start:], plan.frames)
        samples = slice(start * FRAME_FRAMES_24K, (start + plan.frames) * FRAME_FRAMES_24K)
        rest = max(0, start + plan.frames - frames) * FRAME_FRAMES_24K
        pulses, sound = (
            np.pad(pulse_train(torch.tensor(f0_hz)).cpu().numpy()[samples], (0, rest)),
            np.pad(sound[samples], (0, rest)),
        )
        return x, pulses, sound, timbre

    def _home(self, hearing: Hearing | None, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
        """Return inputs, F0, what the teacher makes of the true codes, and the home voice's timbre."""
        if hearing is not None:
            item = hearing.any(rng)
            heard = hearing.of(item, rng)
        else:
            item = self._items[int(rng.integers(len(self._items)))]
            heard = known(self._codes(item), *self._data.melody(item), later=bool(rng.random() < 0.5))
        f0_hz = transposed(heard.f0_hz, rng)
        x = heard.inputs(f0_hz)
        frames = len(x)
        longest = self._plan.frames + 2 * TEACHER_REACH
        start = int(rng.integers(0, max(1, frames - longest)))
        cut = slice(start, start + longest)
        codes, hz = fitted(self._codes(item), frames)[cut], f0_hz[0, cut]
        sound = self._home_voice.sounds(codes[None], hz[None], heard.energy[:1, cut])[0]
        return x[cut], hz, sound.cpu().numpy(), self.generator.home.cpu().numpy()

    def _rendition(self, hearing: Hearing | None, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
        """Return inputs, F0, sound and timbre of a rendition; what is heard is any rendition of the sentence."""
        data = self._data
        item = self._items[int(rng.integers(len(self._items)))]
        f0_hz, energy = data.melody(item)
        frames = len(f0_hz)
        f0_hz = np.where(f0_hz > VOICED_HZ, f0_hz * item.f0_scale, UNVOICED_HZ).astype(np.float32)
        if hearing is None:
            heard = known(self._codes(item), f0_hz, energy, later=bool(rng.random() < 0.5))
            both = heard.f0_hz
        else:
            others = self._renditions[sentence(item)]
            heard = _as_long(hearing.of(others[int(rng.integers(len(others)))], rng), frames)
            filled = filled_f0(f0_hz)
            soon = np.minimum(np.arange(frames) + LATER_FRAMES, frames - 1)
            both = np.where(heard.f0_hz > 0.0, np.stack([filled, filled[soon]]), np.float32(UNVOICED_HZ))
        sound = data.audio24[item.start24 : item.start24 + frames * FRAME_FRAMES_24K].astype(np.float32) / 32768
        timbre = (SCALE * np.array(data.timbres[item.tv])).astype(np.float32)
        return heard.inputs(both), both[0], sound.astype(np.float32), timbre

    def _codes(self, item: Item) -> Floats:
        """Return the true code of each frame, float32[frames, CONTENT]."""
        codes: Floats = self._codebook[self._data.code_idx[self._data.rows(item), 0].astype(np.int64)]
        return codes


def _as_long(heard: Heard, frames: int) -> Heard:
    """Return what was heard, cut or its end repeated to that many frames."""
    return heard._replace(
        content=fitted(heard.content, frames),
        energy=fitted(heard.energy.T, frames).T,
        f0_hz=fitted(heard.f0_hz.T, frames).T,
    )


def renditions(data: TrainingSet) -> dict[str, list[Item]]:
    """Return the renditions to learn from, those of each sentence. Raises TrainingError if there is none."""
    found: dict[str, list[Item]] = {}
    for item in exact_items(data):
        if item.tv >= 0 and item.start24 >= 0:
            found.setdefault(sentence(item), []).append(item)
    if not found:
        raise TrainingError(f"{data.folder}: no timbres there; give rtvc train data --kokoro-voices FOLDER")
    return found


def transposed(f0_hz: Floats, rng: np.random.Generator) -> Floats:
    """Return F0 [.., frames] brought to a random median of HOME_MEDIAN_HZ; UNVOICED_HZ where there is none."""
    voiced = f0_hz[0] > VOICED_HZ
    low, high = np.log(HOME_MEDIAN_HZ)
    scale = float(np.exp(rng.uniform(low, high))) / float(np.median(f0_hz[0][voiced])) if voiced.any() else 1.0
    return np.where(f0_hz > VOICED_HZ, f0_hz * np.float32(scale), np.float32(UNVOICED_HZ))


def sentence(item: Item) -> str:
    """Return which sentence a rendition is one of."""
    return f"{item.source}/{item.utt.rsplit('/', 1)[0]}"


def filled_f0(f0_hz: Floats) -> Floats:
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
    home: Floats | None = None,
    encoder: Path | None = None,
) -> dict[str, float]:
    """Train a decoder on sound, or go on.

    home: the timbre that the teacher is to have, float32[128], for a decoder that has no voices yet; one that has them
    keeps its own.
    """
    torch.manual_seed(plan.seed)
    data, generator, judges = TrainingSet(set_folder), Generator(), Discriminators()
    load_weights(generator, init, optional=("film",))
    if not generator.home.any():
        if home is None:
            raise TrainingError(f"{init}: has one voice only; for more the timbre of that one is needed")
        generator.home.copy_(torch.tensor(home))
    hearing = None if encoder is None else hearing_of(encoder, data, plan.seed)
    trainee = Voices(generator, judges, data, Teacher(), plan, hearing)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=plan.rate, betas=(0.8, 0.99), weight_decay=0.0)
    beside: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
        "judges": judges,
        "judges' optimiser": trainee.optimiser,
    }
    loop = Loop(run_folder, generator, optimiser, plan.schedule, plan.seed, beside)
    return loop.run(trainee.losses)
