"""Training of the speaker encoder's way to a timbre, and what its likeness is worth.

The LSTMs come trained (`initialise`) and stay as they are, so that they go on telling apart people whom no set of ours
holds. What is trained is the network that reads a timbre from them: on renditions of the TTS, whose timbres are
known, spoiled as the content encoder's input is. What the LSTMs make of each spoiling is reckoned once and kept.

`same_speaker` is the likeness that one in two hundred pairs of different people reach, over the real speakers of the
set: with it nobody's consent is given by a stranger more often than that, and a library of dozens of voices has few
chance matches.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtvc.models.speaker import LAYERS, SpeakerEncoder
from rtvc.voices.errors import VoiceError
from rtvc.voices.speaker import pieces, without_pauses

from . import TrainingError
from .augment import degrade
from .dataset import RATE_HZ, Floats, Item, TrainingSet
from .generator import exact_items
from .loop import Loop, Schedule, load_weights
from .timbres import SCALE

COSINE_WEIGHT = 0.5
JITTER = 0.02
LONG_ENOUGH_S = 1.5  # of a rendition; shorter ones may hold too little speech to know a voice by
QUERY_S = 5.0
ENROLLED_S = 20.0
PAIRED_MAX = 200
STRANGERS = 0.005  # share of pairs of different people that count as one


@dataclass(frozen=True)
class SpeakerPlan:
    """What a training of the speaker encoder is told."""

    schedule: Schedule = field(default_factory=lambda: Schedule(steps=3000, warm_up=100, floor=0.01))
    batch: int = 128
    rate: float = 1e-3
    spoilings: int = 3
    """How many versions of a rendition are heard, the first one clean."""
    seed: int = 0


def initialise(network: SpeakerEncoder, init: Path) -> None:
    """Give network the weights of a checkpoint of ours, or the LSTMs of Resemblyzer's pretrained.pt.

    Raises TrainingError if it is neither.
    """
    try:
        found = torch.load(init, map_location="cpu", weights_only=True)
        if "model" in found:
            load_weights(network, init)
            return
        theirs = found["model_state"]
        state = network.state_dict() | {f"linear.{part}": theirs[f"linear.{part}"] for part in ("weight", "bias")}
        for k in range(LAYERS):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                state[f"lstm.{k}.{part}_l0"] = theirs[f"lstm.{part}_l{k}"]
        network.load_state_dict(state)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{init}: is no checkpoint of a speaker encoder: {str(error).splitlines()[0]}") from None


class SpeakerTrainee:
    """The losses of the timbre and its evaluation on a set."""

    def __init__(self, network: SpeakerEncoder, data: TrainingSet, plan: SpeakerPlan) -> None:
        self._network, self._data, self._plan = network, data, plan
        self._items, self._dev = self._usable(exact_items(data)), self._usable(exact_items(data, dev=True))
        if not self._items:
            said = f"no renditions of {LONG_ENOUGH_S:g} s or more with timbres there"
            raise TrainingError(f"{data.folder}: {said}; give rtvc train data --kokoro-voices FOLDER")
        self._kept: dict[tuple[int, int], Tensor] = {}

    def scale(self) -> None:
        """Give the network mean and deviation of the timbres that it is to learn."""
        timbres = SCALE * np.array([self._data.timbres[item.tv] for item in self._items])
        self._network.timbre_mean.copy_(torch.tensor(timbres.mean(0)))
        self._network.timbre_scale.copy_(torch.tensor(timbres.std(0) + 1e-4))

    def losses(self, rng: np.random.Generator, _step: int) -> Mapping[str, Tensor]:
        """Draw a batch and return the losses, in deviations of the timbres."""
        chosen = rng.integers(len(self._items), size=self._plan.batch)
        pooled = torch.stack([self._pooled(self._items[k], int(rng.integers(self._plan.spoilings))) for k in chosen])
        wanted = self._wanted([self._items[k] for k in chosen])
        said = self._said(pooled + JITTER * torch.randn_like(pooled))
        away = 1.0 - F.cosine_similarity(said, wanted).mean()
        return {"loss/timbre": F.mse_loss(said, wanted), "loss/direction": COSINE_WEIGHT * away}

    def evaluate(self) -> Mapping[str, float]:
        """Return the relative error and the cosine of the timbres of renditions that were held apart."""
        if not self._dev:
            return {}
        said, wanted = self._said(torch.stack([self._pooled(item, 0) for item in self._dev])), self._wanted(self._dev)
        error = F.mse_loss(said, wanted) / wanted.square().mean()
        return {"dev/error": float(error), "dev/cosine": float(F.cosine_similarity(said, wanted).mean())}

    @staticmethod
    def _usable(items: list[Item]) -> list[Item]:
        return [item for item in items if item.tv >= 0 and item.n >= LONG_ENOUGH_S * RATE_HZ]

    def _said(self, pooled: Tensor) -> Tensor:
        return (self._network.timbre(pooled) - self._network.timbre_mean) / self._network.timbre_scale

    def _wanted(self, items: list[Item]) -> Tensor:
        timbres = torch.tensor(SCALE * np.array([self._data.timbres[item.tv] for item in items]))
        return (timbres.float() - self._network.timbre_mean) / self._network.timbre_scale

    def _pooled(self, item: Item, spoiling: int) -> Tensor:
        """Return what the LSTMs make of a rendition, the first time by hearing it."""
        key = item.start, spoiling
        if key not in self._kept:
            x = self._data.sound(item)
            if spoiling:
                x = degrade(x, [], np.random.default_rng((self._plan.seed, *key))).astype(np.float32)
            with torch.no_grad():
                try:
                    rows = torch.tensor(pieces(x, RATE_HZ))
                except VoiceError:  # too little speech is left
                    rows = self._clean(item)
                self._kept[key] = self._network.heard(rows)[1].mean(0)
        return self._kept[key]

    def _clean(self, item: Item) -> Tensor:
        try:
            return torch.tensor(pieces(self._data.sound(item), RATE_HZ))
        except VoiceError as error:
            raise TrainingError(f"{self._data.folder}: the rendition {item.utt} cannot be used: {error}") from None


def speakers_of(data: TrainingSet) -> list[list[Item]]:
    """Return the recordings of each real speaker, of sources that tell several apart."""
    by_source: dict[str, dict[str, list[Item]]] = {}
    for item in data.items:
        if not item.exact:
            by_source.setdefault(item.source, {}).setdefault(item.speaker, []).append(item)
    return [items for speakers in by_source.values() if len(speakers) > 1 for items in speakers.values()]


def calibrate(network: SpeakerEncoder, data: TrainingSet, seed: int = 0) -> tuple[float, float]:
    """Return `same_speaker` and the share of queries of QUERY_S that it refuses their own speaker, over real speakers.

    Raises TrainingError if there are not two speakers with enough speech.
    """
    queries: list[Floats] = []
    enrolled: list[Floats] = []
    groups = speakers_of(data)
    for k in np.random.default_rng(seed).permutation(len(groups)):
        x = np.concatenate([without_pauses(data.sound(item)) for item in groups[k][:20]])
        if len(x) < 2 * QUERY_S * RATE_HZ:
            continue
        cut, end = round(QUERY_S * RATE_HZ), round((QUERY_S + ENROLLED_S) * RATE_HZ)
        with torch.no_grad():
            for part, into in ((x[:cut], queries), (x[cut:end], enrolled)):
                into.append(network(torch.tensor(pieces(part, RATE_HZ)))[0].cpu().numpy())
        if len(queries) == PAIRED_MAX:
            break
    if len(queries) < 2:
        raise TrainingError(f"{data.folder}: fewer than two real speakers with {2 * QUERY_S:g} s of speech")
    likeness = np.array(queries) @ np.array(enrolled).T
    same_speaker = float(np.quantile(likeness[~np.eye(len(likeness), dtype=bool)], 1.0 - STRANGERS))
    return same_speaker, float((np.diag(likeness) < same_speaker).mean())


def train_speaker(set_folder: Path, run_folder: Path, plan: SpeakerPlan, init: Path) -> dict[str, float]:
    """Train the way to a timbre, or go on, and calibrate; return the means of the losses and the calibration."""
    torch.manual_seed(plan.seed)
    data, network = TrainingSet(set_folder), SpeakerEncoder()
    initialise(network, init)
    trainee = SpeakerTrainee(network, data, plan)
    trainee.scale()
    trained = [p for name, p in network.named_parameters() if not name.startswith(("lstm", "linear"))]
    optimiser = torch.optim.AdamW(trained, lr=plan.rate, weight_decay=0.05)
    loop = Loop(run_folder, network, optimiser, plan.schedule, plan.seed)
    means = loop.run(trainee.losses, trainee.evaluate)
    same_speaker, refused = calibrate(network.eval(), data)
    network.same_speaker.fill_(same_speaker)
    loop.save()
    return means | {"same speaker from": same_speaker, "own speech refused": refused}
