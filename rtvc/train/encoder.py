"""Training of the content encoder: Whisper's encoder, made causal, learns to name the code of each decoder frame.

Each step one of the two heads reads the encoder (`clear` twice as often as `fast`); the loss is the cross-entropy
against soft codes, with small ones for energy and voicing where those are known. The encoder's weights move slower
than the heads', which begin from nothing. Positions start anywhere, because a stream has no beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtvc.models.encoder import (
    CODES,
    POSITIONS,
    WAIT_MS,
    ContentEncoder,
    EncoderShape,
)

from . import TrainingError
from .batches import EncoderBatches, Labelled, Spoiling, read_noises
from .codebook import token_given_code
from .dataset import Item, TrainingSet
from .loop import Loop, Schedule, read_checkpoint
from .losses import code_loss, known_bce, known_l1
from .mel import log_mel, normalise
from .whisper_weights import read_encoder

ENERGY_SCALE = 4.0


@dataclass(frozen=True)
class EncoderPlan:
    """What a training of the encoder is told."""

    schedule: Schedule = field(default_factory=lambda: Schedule(steps=7000, warm_up=200, floor=0.03))
    batch: int = 6
    seconds: float = 5.0
    encoder_rate: float = 2e-4
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    energy_weight: float = 0.1
    voicing_weight: float = 0.2
    spoiling: Spoiling = field(default_factory=Spoiling)
    half_precision: bool = True
    evaluated: int = 20
    """Utterances of each kind (real, synthetic) in an evaluation."""
    seed: int = 0
    shape: EncoderShape = field(default_factory=EncoderShape)


def shape_of(encoder: Mapping[str, Any], head_width: int) -> EncoderShape:
    """Return the sizes of an encoder of these weights. Raises KeyError if they are of something else."""
    layers = {name.split(".")[1] for name in encoder if name.startswith("blocks.")}
    return EncoderShape(len(encoder["conv1.bias"]), len(layers), head_width)


def content_of(checkpoint: Path) -> ContentEncoder:
    """Return the content encoder, of whatever size, that lies in a checkpoint. Raises TrainingError if none does."""
    weights = read_checkpoint(checkpoint)["model"]
    own = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    try:
        content = ContentEncoder(shape_of(own, weights["heads.0.gru.weight_hh_l0"].shape[1]))
        content.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise TrainingError(f"{checkpoint}: is of another network: {str(error).splitlines()[0]}") from error
    return content


def begin(shape: EncoderShape, init: Path | None) -> ContentEncoder:
    """Return a content encoder to begin with: a checkpoint's (.pt), Whisper's with new heads (a model.bin), or new.

    The shape is that of a new one, and of new heads. Raises TrainingError if init is neither.
    """
    if init is None:
        return ContentEncoder(shape)
    if init.suffix == ".pt":
        return content_of(init)
    try:
        weights = _whisper(init)
        content = ContentEncoder(shape_of(weights, shape.head_width))
        content.encoder.load_state_dict(weights)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{init}: is no Whisper model.bin: {str(error).splitlines()[0]}") from error
    return content


def load_whisper(network: nn.Module, path: Path) -> None:
    """Give network, of the layers of Whisper tiny's encoder, the weights of a model.bin.

    Raises TrainingError if they do not fit.
    """
    try:
        network.load_state_dict(_whisper(path))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{path}: is no Whisper tiny model.bin: {str(error).splitlines()[0]}") from error


def _whisper(path: Path) -> dict[str, Tensor]:
    # keys have no bias: in a softmax over keys it cancels
    return {k: torch.tensor(v) for k, v in read_encoder(path).items() if not k.endswith("key.bias")}


def rates_of(content: ContentEncoder, encoder_rate: float, head_rate: float) -> list[dict[str, Any]]:
    """Return an optimiser's parameter groups: a rate for the encoder and one for the heads."""
    heads = [p for name, p in content.named_parameters() if name.startswith("heads")]
    encoder = [p for name, p in content.named_parameters() if not name.startswith("heads")]
    return [{"params": encoder, "lr": encoder_rate}, {"params": heads, "lr": head_rate}]


def optimiser_of(content: ContentEncoder, plan: EncoderPlan) -> torch.optim.Optimizer:
    """Return AdamW with a rate for the encoder and one for the heads."""
    groups = rates_of(content, plan.encoder_rate, plan.head_rate)
    return torch.optim.AdamW(groups, weight_decay=plan.weight_decay, betas=(0.9, 0.98))


class EncoderTrainee:
    """The encoder's losses and its evaluation on a set."""

    def __init__(self, content: ContentEncoder, data: TrainingSet, batches: EncoderBatches, plan: EncoderPlan) -> None:
        self._content, self._data, self._batches, self._plan = content, data, batches, plan
        self._token_of_code = torch.tensor(token_given_code(data).argmax(axis=1))
        self._token_of_row = torch.tensor(data.token_of_row())

    def losses(self, rng: np.random.Generator, step: int) -> Mapping[str, Tensor]:
        """Draw a batch and return the losses of the head whose turn it is."""
        drawn = self._batches.draw(rng, self._plan.batch)
        name = "fast" if step % 3 == 0 else "clear"
        mel, position = torch.tensor(drawn.mel), int(rng.integers(0, POSITIONS))
        with torch.autocast(mel.device.type, torch.bfloat16, enabled=self._plan.half_precision):
            head = self._content.heads[list(WAIT_MS).index(name)]
            said = head(self._content.frames(mel, position))
        return self._losses_of(name, said.float(), drawn)

    def _losses_of(self, name: str, said: Tensor, drawn: Labelled) -> Mapping[str, Tensor]:
        n = min(said.shape[1], drawn.rows.shape[1])
        said, rows = said[:, :n], drawn.rows[:, :n]
        index = torch.tensor(self._data.code_idx[rows].astype(np.int64))
        share = torch.tensor(self._data.code_p[rows])
        energy, voiced = torch.tensor(drawn.energy[:, :n]), torch.tensor(drawn.voiced[:, :n])
        plan = self._plan
        return {
            f"loss of codes/{name}": code_loss(said[..., :CODES], index, share),
            f"loss of energy/{name}": plan.energy_weight * known_l1(said[..., CODES], energy / ENERGY_SCALE),
            f"loss of voicing/{name}": plan.voicing_weight * known_bce(said[..., CODES + 1], voiced),
            f"codes right/{name}": (said[..., :CODES].argmax(-1) == index[..., 0]).float().mean(),
        }

    def evaluate(self) -> dict[str, float]:
        """Return the shares of frames of held-out speech, undamaged, whose code and whose phone are right."""
        found: dict[str, float] = {}
        for kind in ("real", "synthetic"):
            items = [item for item in self._data.dev if item.exact == (kind == "synthetic")][: self._plan.evaluated]
            if items:
                found |= self._accuracy(kind, items)
        return found

    def _accuracy(self, kind: str, items: list[Item]) -> dict[str, float]:
        right = {name: [0, 0] for name in WAIT_MS}
        total = dict.fromkeys(WAIT_MS, 0)
        for item in items:
            mel = normalise(log_mel(self._data.sound(item)))
            rows = self._data.rows(item)
            nearest = torch.tensor(self._data.code_idx[rows, 0].astype(np.int64))
            tokens = self._token_of_row[torch.tensor(rows)]
            for name, said in self._content(torch.tensor(mel[: len(mel) // 2 * 2])[None]).items():
                n = min(said.shape[1], len(rows))
                code = said[0, :n, :CODES].argmax(-1)
                right[name][0] += int((code == nearest[:n]).sum())
                right[name][1] += int((self._token_of_code[code] == tokens[:n]).sum())
                total[name] += n
        found = {}
        for name, (codes, phones) in right.items():
            found[f"held out, codes right/{kind} {name}"] = codes / max(1, total[name])
            found[f"held out, phones right/{kind} {name}"] = phones / max(1, total[name])
        return found


def train_encoder(
    set_folder: Path, run_folder: Path, plan: EncoderPlan, init: Path | None = None, noise: Path | None = None
) -> dict[str, float]:
    """Train, or go on training; return the last running means. init is used only at the beginning of a run."""
    torch.manual_seed(plan.seed)
    data = TrainingSet(set_folder)
    begun = run_folder / "last.pt"
    content = content_of(begun) if begun.is_file() else begin(plan.shape, init)
    batches = EncoderBatches(data, read_noises(noise), plan.seconds, plan.spoiling)
    trainee = EncoderTrainee(content, data, batches, plan)
    loop = Loop(run_folder, content, optimiser_of(content, plan), plan.schedule, plan.seed)
    return loop.run(trainee.losses, trainee.evaluate)
