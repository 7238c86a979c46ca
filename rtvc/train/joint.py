"""Joint training of the content encoder and the decoder on sound: the last step, from networks trained apart.

The encoder hears a window of spoiled sound, the decoder says what it makes of that, and what is heard is compared with
what should be heard (`windows`). The likeliest code goes in without a gradient; the mean of all codes by their
probability, from which doubt is told, and the energy with one, so that the encoder learns to be understood by the
decoder. At `clear` the head `fast` is read besides, for the later frame. So that codes remain codes, both heads go on
naming the true ones.

Losses: those of `adversarial` (spectra, judges' scores, what judges see), the distance to a speech recogniser
(`recogniser`), and the cross-entropy of both heads with the distance of their energy and what they say of voicing. The
judges begin alone, for they know nothing yet. What is exported is the moving average of both networks' weights,
encoder.pt and generator.pt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rtvc.engine.neural_voice import LEAD, UNVOICED_HZ
from rtvc.models.discriminators import Discriminators
from rtvc.models.encoder import CODES, POSITIONS, WAIT_MS, ContentEncoder
from rtvc.models.generator import AHEAD, LATER_FRAMES, Generator

from . import TrainingError
from .adversarial import Fills, HomeVoice
from .batches import SILENT_ENERGY, read_noises
from .dataset import FRAME_FRAMES_24K, VOICED_HZ, Floats, TrainingSet
from .encoder import ENERGY_SCALE, content_of, rates_of
from .excitation import pulse_train
from .generator import TEACHER_REACH
from .judging import Judging
from .loop import Loop, Schedule, load_weights, write_checkpoint
from .losses import known_bce, known_l1, spectral_distance
from .recogniser import Recogniser, recogniser_of
from .synthesis import excitation, synthesise
from .teacher import Teacher
from .windows import UNKNOWN, Cutting, WindowBatches, Windows, WindowSet

DECAY = 0.999  # of the moving averages, a step


@dataclass(frozen=True)
class JointPlan:
    """What a joint training is told."""

    schedule: Schedule = field(
        default_factory=lambda: Schedule(steps=5000, wait=150, warm_up=200, floor=0.03, clip_norm=10.0)
    )
    batch: int = 40
    cutting: Cutting = field(default_factory=Cutting)
    encoder_rate: float = 5e-5
    head_rate: float = 1e-4
    decoder_rate: float = 1e-4
    judges_rate: float = 2e-4
    encoder_clip_norm: float = 2.0
    spectra_weight: float = 5.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    recogniser_weight: float = 4.0
    energy_weight: float = 0.1
    voicing_weight: float = 0.2
    smoothing: float = 0.05
    """Share of a code's probability that is spread over all of them."""
    half_precision: bool = True
    seed: int = 0


class Joint:
    """Batches and losses of the step."""

    def __init__(
        self,
        content: ContentEncoder,
        generator: Generator,
        judges: Discriminators,
        recogniser: Recogniser,
        data: TrainingSet,
        teacher: Fills,
        plan: JointPlan,
        noises: list[Floats] | None = None,
        workers: int = 0,
    ) -> None:
        self.content, self.generator, self._recogniser, self._plan = content, generator, recogniser, plan
        drawn = WindowSet(data, noises or [], plan.cutting, plan.seed)
        self._batches = WindowBatches(drawn, plan.batch, workers)
        self._codebook = torch.tensor(np.array(data.codebook))
        self._home_voice = HomeVoice(teacher, max(1, workers))
        self._judging = Judging(judges, plan.judges_rate, plan.half_precision, plan.schedule.clip_norm)
        self.judges, self.optimiser = judges, self._judging.optimiser

    def losses(self, rng: np.random.Generator, step: int) -> Mapping[str, Tensor]:
        """Draw a batch, let the judges learn from it, and return the networks' losses: none while judges are alone."""
        plan = self._plan
        alone = step < plan.schedule.wait
        rate = 1.0 if alone else max(plan.schedule.floor, plan.schedule.factor(step))
        self.optimiser.param_groups[0]["lr"] = plan.judges_rate * rate
        windows = self._batches.of(step)
        with torch.set_grad_enabled(not alone):
            said = self.heads(windows, int(rng.integers(0, POSITIONS)))
            made, real = self.sounds(windows, said)
        mistaken = self._judging.learn(made, real)
        if alone:
            return {"judges' loss": mistaken}
        adversarial, features = self._judging.losses(made, real)
        spectra = spectral_distance(made, real)
        with torch.autocast(made.device.type, torch.bfloat16, enabled=plan.half_precision):
            understood = self._recogniser.distance(made, real)
        return {
            "loss/spectra": plan.spectra_weight * spectra,
            "loss/adversarial": plan.adversarial_weight * adversarial,
            "loss/features": plan.feature_weight * features,
            "loss/recogniser": plan.recogniser_weight * understood.mean(),
            **self._naming(windows, said),
            "judges' loss": mistaken,
            "distance of spectra": spectra.detach(),
        }

    def heads(self, windows: Windows, position: int) -> dict[str, Tensor]:
        """Return what each head says of the windows, float32[b, frames, CODES + 2]."""
        with torch.autocast(windows.mel.device.type, torch.bfloat16, enabled=self._plan.half_precision):
            encoded = self.content.frames(windows.mel, position)
        # not in half precision, for on a GPU a GRU then computes in float16 and loses its small gradients
        encoded = encoded.float()
        return {name: head(encoded) for name, head in zip(WAIT_MS, self.content.heads, strict=True)}

    def _naming(self, windows: Windows, said: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the heads' losses against the truth."""
        plan, found = self._plan, {}
        for name, value in said.items():
            n = value.shape[1]
            logits, codes, energy = value[..., :CODES], windows.codes[:, :n], windows.energy[:, :n]
            known = codes != UNKNOWN
            found[f"loss of codes/{name}"] = F.cross_entropy(
                logits[known], codes[known], label_smoothing=plan.smoothing
            )
            distance = known_l1(value[..., CODES], energy / ENERGY_SCALE)
            found[f"loss of energy/{name}"] = plan.energy_weight * distance
            mistaken = known_bce(value[..., CODES + 1], windows.voiced[:, :n])
            found[f"loss of voicing/{name}"] = plan.voicing_weight * mistaken
            found[f"codes right/{name}"] = (logits.argmax(-1) == codes)[known].float().mean()
        return found

    def sounds(self, windows: Windows, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the decoder makes of what heads say, and what should be heard, both as far as judged: [b, n]."""
        frames, generator = self._plan.cutting.frames, self.generator
        x, f0_hz, energy = self._inputs(windows, said)
        timbre = torch.where(windows.home[:, None], generator.home, windows.timbre)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._plan.half_precision):
            parts = generator(x, timbre)
        samples = slice(TEACHER_REACH * FRAME_FRAMES_24K, (TEACHER_REACH + frames) * FRAME_FRAMES_24K)
        made = synthesise(parts, excitation(pulse_train(f0_hz)[:, samples]), LEAD)
        real, home = windows.sound.clone(), windows.home.cpu().numpy()
        if home.any():
            codes = self._codebook[windows.span_codes].cpu().numpy()
            at_home = (part[home] for part in (codes, f0_hz.cpu().numpy(), energy.detach().cpu().numpy()))
            real[windows.home] = self._home_voice.sounds(*at_home)[:, samples]
        judged = slice(self._plan.cutting.history * FRAME_FRAMES_24K, -2 * FRAME_FRAMES_24K)
        return made[:, judged], real[:, judged]

    def _inputs(self, windows: Windows, said: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the decoder's inputs [b, frames, INPUTS], AHEAD frames early; F0 and energy of the span [b, span]."""
        span = self._plan.cutting.span
        at = (windows.first[:, None] + torch.arange(span))[..., None].expand(-1, -1, CODES + 2)
        fast, clear = said["fast"].gather(1, at), said["clear"].gather(1, at)
        at_clear = windows.clear[:, None, None]
        now = torch.where(at_clear, clear, fast)
        code = self._codebook[now[..., :CODES].argmax(-1)]
        f0_hz, energy = _melody(now, windows.f0_hz[:, 0], windows.inside)
        later = torch.cat([self._mean(fast), _input(*_melody(fast, windows.f0_hz[:, 1], windows.inside))], dim=-1)
        cut = slice(TEACHER_REACH + AHEAD, TEACHER_REACH + AHEAD + self._plan.cutting.frames)
        soon = slice(cut.start + LATER_FRAMES, cut.stop + LATER_FRAMES)
        parts = [code, _input(f0_hz, energy), self._mean(now) - code]
        return torch.cat([part[:, cut] for part in parts] + [later[:, soon] * at_clear], dim=-1), f0_hz, energy

    def _mean(self, said: Tensor) -> Tensor:
        """Return the mean of all codes, each by its probability, [.., CONTENT]."""
        return torch.softmax(said[..., :CODES], dim=-1) @ self._codebook


def _melody(said: Tensor, f0_hz: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return F0, where a head says that there is voice, and its energy [b, t]; silence outside the utterance."""
    voiced = inside & (said[..., CODES + 1] > 0.0) & (f0_hz > VOICED_HZ)
    return f0_hz.where(voiced, UNVOICED_HZ), (ENERGY_SCALE * said[..., CODES]).where(inside, SILENT_ENERGY)


def _input(f0_hz: Tensor, energy: Tensor) -> Tensor:
    """Return F0 and energy [b, t] as the decoder takes them, [b, t, 2] (`teacher.decoder_input`)."""
    return torch.stack([torch.log(f0_hz + 1.0) / 5.0, energy / 5.0], dim=-1)


class JointRun(Loop):
    """The run: after every step the moving averages follow; whenever it saves, they are written too."""

    def __init__(self, folder: Path, joint: Joint, plan: JointPlan) -> None:
        content, generator = joint.content, joint.generator
        both = nn.ModuleDict({"encoder": content, "generator": generator})
        self._mean = AveragedModel(both, avg_fn=_follow)
        groups = rates_of(content, plan.encoder_rate, plan.head_rate)
        groups.append({"params": list(generator.parameters()), "lr": plan.decoder_rate})
        optimiser = torch.optim.AdamW(groups, betas=(0.8, 0.99), weight_decay=0.0)
        optimiser.register_step_post_hook(lambda *_: self._mean.update_parameters(both))
        beside: dict[str, nn.Module | torch.optim.Optimizer] = {
            "judges": joint.judges,
            "judges' optimiser": joint.optimiser,
            "moving averages": self._mean,
        }
        clip_norms = [(content, plan.encoder_clip_norm), (generator, plan.schedule.clip_norm)]
        super().__init__(folder, both, optimiser, plan.schedule, plan.seed, beside, clip_norms)

    def save(self) -> None:
        """Write the checkpoint, and the averages as one of each network."""
        super().save()
        for name, network in self._mean.module.named_children():
            write_checkpoint(self.folder / f"{name}.pt", {"model": network.state_dict(), **self.history()})


def _follow(mean: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """Return the moving average after one more step: at first of few steps, of 1 / (1 - DECAY) in the end."""
    return mean.lerp(now, 1.0 - min(DECAY, int(steps) / (int(steps) + 30)))


def train_joint(
    set_folder: Path,
    run_folder: Path,
    plan: JointPlan,
    encoder: Path,
    generator: Path,
    recogniser: Path,
    noise: Path | None = None,
    workers: int = 0,
) -> dict[str, float]:
    """Train both networks on, or go on. workers: processes that make batches ahead."""
    torch.manual_seed(plan.seed)
    data, content, decoder = TrainingSet(set_folder), content_of(encoder), Generator()
    load_weights(decoder, generator)
    if not decoder.home.any():
        raise TrainingError(f"{generator}: has one voice only; rtvc train generator voices comes first")
    joint = Joint(
        content,
        decoder,
        Discriminators(),
        recogniser_of(recogniser),
        data,
        Teacher(),
        plan,
        read_noises(noise),
        workers,
    )
    return JointRun(run_folder, joint, plan).run(joint.losses)
