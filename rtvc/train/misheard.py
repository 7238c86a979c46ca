"""The decoder learns to make the best of what is misheard: the last step, with the encoder as it will be.

The encoder knows the speech it was trained on by heart: spoiled as it may be, three fifths of its codes are right, of a
stranger's accented speech a fifth. A decoder trained on the former believes too much. So here the encoder mishears: to
each of its matrices noise is added, new for every batch, of a share of the matrix's own deviation. The encoder is not
trained. What should be heard is what the decoder, as it began, makes of the true codes, in any of the
set's timbres at its pitch: so only the mistakes are to be made up for, and voices stay what they are.

Losses: the distance to a speech recogniser, that of spectra, and how far the made sound is from the wanted one to the
speaker encoder. There are no discriminators: what is made of mistaken codes and of true ones is the same decoder's
sound, and they cannot tell one from the other. What is exported is the moving average of the decoder's weights,
generator.pt; the average of that and the decoder before (`rtvc train average`) trades words for naturalness.

Source: Graves, "Practical Variational Inference for Neural Networks" (2011), section 4, for noise on weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtvc.engine.neural_voice import LEAD
from rtvc.models.encoder import POSITIONS, ContentEncoder
from rtvc.models.generator import Generator
from rtvc.models.speaker import SpeakerEncoder
from rtvc.voices.likeness import Likeness

from .adversarial import renditions
from .averaged_run import AveragedRun
from .batches import Spoiling, read_noises
from .dataset import FRAME_FRAMES_24K, VOICED_HZ, Floats, TrainingSet
from .encoder import content_of
from .excitation import pulse_train
from .generator import TEACHER_REACH, decoder_of
from .given import heads_of, heard, true
from .loop import Schedule
from .losses import spectral_distance
from .recogniser import Recogniser, recogniser_of
from .shipped import shipped_speaker
from .synthesis import excitation, synthesise
from .timbres import SCALE
from .windows import Cutting, WindowBatches, Windows, WindowSet

BATCH_USES = 2  # a batch is heard once and said in two timbres


@dataclass(frozen=True)
class MisheardPlan:
    """How the decoder is trained."""

    schedule: Schedule = field(default_factory=lambda: Schedule(steps=1300, warm_up=50, floor=0.03, clip_norm=10.0))
    batch: int = 16
    cutting: Cutting = field(
        default_factory=lambda: Cutting(frames=180, home=1.0, recorded=1.0, spoiling=Spoiling(warp=0.9, warp_log=0.2))
    )
    noise: tuple[float, float] = (0.1, 0.38)
    """Least and greatest deviation of the noise on the encoder's matrices, in their own."""
    rate: float = 2e-4
    spectra_weight: float = 2.0
    recogniser_weight: float = 5.0
    likeness_weight: float = 2.0
    half_precision: bool = True
    seed: int = 0


class Misheard:
    """Batches and losses of the step."""

    def __init__(
        self,
        content: ContentEncoder,
        generator: Generator,
        recogniser: Recogniser,
        speaker: SpeakerEncoder,
        data: TrainingSet,
        plan: MisheardPlan,
        noises: list[Floats] | None = None,
        workers: int = 0,
    ) -> None:
        """generator: the decoder to train; as it is now, it is the teacher."""
        self.generator, self._recogniser, self._plan = generator, recogniser, plan
        self._teacher = deepcopy(generator).eval().requires_grad_(False)
        self._content = content.eval().requires_grad_(False)
        self._undisturbed = {name: value.clone() for name, value in content.state_dict().items()}
        self._likeness = Likeness(speaker)
        self._batches = WindowBatches(WindowSet(data, noises or [], plan.cutting, plan.seed), plan.batch, workers)
        self._codebook = torch.tensor(np.array(data.codebook))
        self._voices = _voices(data)
        self._heard: tuple[int, Windows, dict[str, Tensor]] | None = None

    def losses(self, rng: np.random.Generator, step: int) -> Mapping[str, Tensor]:
        """Draw a batch and return the decoder's losses."""
        plan = self._plan
        windows, said = self._hear(step // BATCH_USES)
        chosen = torch.tensor(rng.integers(0, len(self._voices[0]), len(windows.mel)))
        timbre, median_hz = (part[chosen] for part in self._voices)
        made, wanted = self.sounds(_sung(windows, median_hz), said, timbre)
        with torch.autocast(made.device.type, torch.bfloat16, enabled=plan.half_precision):
            understood = self._recogniser.distance(made, wanted)
        like = self._direction(made) * self._direction(wanted)
        return {
            "loss/spectra": plan.spectra_weight * spectral_distance(made, wanted),
            "loss/recogniser": plan.recogniser_weight * understood.mean(),
            "loss/likeness": plan.likeness_weight * (1.0 - like.sum(1).mean()),
        }

    def sounds(self, windows: Windows, said: dict[str, Tensor], timbre: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the decoder makes of what heads say, and what should be heard, both as far as judged: [b, n]."""
        cutting = self._plan.cutting
        given = heard(windows, said, self._codebook, cutting)
        samples = slice(TEACHER_REACH * FRAME_FRAMES_24K, (TEACHER_REACH + cutting.frames) * FRAME_FRAMES_24K)
        pulses = excitation(pulse_train(given.f0_hz)[:, samples])
        judged = slice(cutting.history * FRAME_FRAMES_24K, -2 * FRAME_FRAMES_24K)

        def sound(generator: Generator, x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self._plan.half_precision):
                parts = generator(x, timbre)
            return synthesise(parts.float(), pulses, LEAD)[:, judged]

        with torch.no_grad():
            wanted = sound(self._teacher, true(windows, given, self._codebook, cutting).x)
        return sound(self.generator, given.x), wanted

    def _hear(self, k: int) -> tuple[Windows, dict[str, Tensor]]:
        """Return the k-th batch and what the heads of a disturbed encoder say of it: the same whenever it is asked."""
        if self._heard is None or self._heard[0] != k:
            rng = np.random.default_rng((self._plan.seed, k))
            disturbed(self._content, self._undisturbed, float(rng.uniform(*self._plan.noise)), rng)
            windows, position = self._batches.of(k), int(rng.integers(0, POSITIONS))
            with torch.no_grad():
                self._heard = k, windows, heads_of(self._content, windows, position, self._plan.half_precision)
        return self._heard[1:]

    def _direction(self, sound: Tensor) -> Tensor:
        return self._likeness.embedding(self._likeness.power(sound))


def disturbed(network: nn.Module, weights: Mapping[str, Tensor], deviation: float, rng: np.random.Generator) -> None:
    """Give network these weights, to each matrix of them noise added: `deviation` times as large as the matrix's own.

    Vectors (biases, norms) stay what they are.
    """
    drawn = torch.Generator(torch.get_default_device()).manual_seed(int(rng.integers(2**63)))
    network.load_state_dict(
        {
            name: value + deviation * value.std() * torch.randn(value.shape, generator=drawn)
            if value.dim() > 1
            else value
            for name, value in weights.items()
        }
    )


def _voices(data: TrainingSet) -> tuple[Tensor, Tensor]:
    """Return timbre [n, TIMBRE] and median F0 in Hz [n] of each rendition."""
    timbres, medians = [], []
    for same in renditions(data).values():
        for item in same:
            f0_hz = data.melody(item)[0] * item.f0_scale
            if (f0_hz > VOICED_HZ).any():
                timbres.append(SCALE * data.timbres[item.tv])
                medians.append(np.median(f0_hz[f0_hz > VOICED_HZ]))
    return torch.tensor(np.array(timbres, np.float32)), torch.tensor(np.array(medians, np.float32))


def _sung(windows: Windows, median_hz: Tensor) -> Windows:
    """Return windows with F0 brought to medians [b]."""
    f0_hz = windows.f0_hz
    voiced = f0_hz > VOICED_HZ
    log_hz = torch.where(voiced[:, 0], f0_hz[:, 0].log(), torch.nan).nanmedian(dim=1).values
    ratio = torch.where(log_hz.isnan(), 1.0, median_hz / log_hz.exp())
    return windows._replace(f0_hz=torch.where(voiced, f0_hz * ratio[:, None, None], f0_hz))


def train_misheard(
    set_folder: Path,
    run_folder: Path,
    plan: MisheardPlan,
    encoder: Path,
    generator: Path,
    recogniser: Path,
    noise: Path | None = None,
    workers: int = 0,
) -> dict[str, float]:
    """Train the decoder on, or go on. workers: processes that make batches ahead."""
    torch.manual_seed(plan.seed)
    data, content, decoder = TrainingSet(set_folder), content_of(encoder), decoder_of(generator)
    decoder.film.requires_grad_(False)
    step = Misheard(
        content,
        decoder,
        recogniser_of(recogniser),
        shipped_speaker(),
        data,
        plan,
        read_noises(noise),
        workers,
    )
    return misheard_run(run_folder, step, plan).run(step.losses)


def misheard_run(folder: Path, step: Misheard, plan: MisheardPlan) -> AveragedRun:
    """Return the run of the step in folder."""
    trained = [weight for weight in step.generator.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.8, 0.99), weight_decay=0.0)
    networks = nn.ModuleDict({"generator": step.generator})
    return AveragedRun(folder, networks, optimiser, plan.schedule, plan.seed)
