"""What the live chain hears in a recording: the codes, energy and F0 that the decoder is really given.

A trained encoder's likeliest codes, its energy and voicing, and the F0 tracker's estimates, chosen as
`rtvc.engine.neural_voice` chooses them. The decoder has to do well on these, mistakes and all.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rtvc.engine.neural_voice import REACH
from rtvc.kernels.f0 import HOP, f0_state, f0_track
from rtvc.kernels.f0_history import f0_at, f0_history, f0_remember
from rtvc.models.encoder import CODES, WAIT_MS, ContentEncoder

from . import augment
from .dataset import FRAME_FRAMES, RATE_HZ, Floats, Ints, Item, TrainingSet
from .encoder import ENERGY_SCALE
from .loop import load_weights
from .mel import log_mel, normalise

RECORDINGS = 2000


class Heard(NamedTuple):
    """By decoder frame."""

    codes: Ints
    energy: Floats
    f0_hz: Floats
    """The speaker's own, 0 where the encoder hears no voice."""


class Hearing:
    """Hears utterances of a set, each at one operating point, spoiled or not, once: what was heard is kept."""

    def __init__(self, content: ContentEncoder, data: TrainingSet, seed: int = 0) -> None:
        self._content, self._data = content.eval(), data
        utterances = data.train
        chosen = np.random.default_rng(seed).permutation(len(utterances))[:RECORDINGS]
        self._recordings = [utterances[k] for k in chosen]
        self._kept: dict[int, Heard] = {}

    def any(self, rng: np.random.Generator) -> Heard:
        """Return what is heard in some utterance, one of RECORDINGS: each takes as long to hear as a step."""
        return self.of(self._recordings[int(rng.integers(len(self._recordings)))], rng)

    def of(self, item: Item, rng: np.random.Generator) -> Heard:
        """Return what is heard in an utterance, int(n / FRAME_FRAMES) frames."""
        if item.start not in self._kept:
            x = self._data.sound(item)
            if rng.random() < 0.5:
                x = augment.degrade(x, [], rng)
            self._kept[item.start] = hear(self._content, x, list(WAIT_MS)[int(rng.integers(len(WAIT_MS)))])
        return self._kept[item.start]


def hearing_of(checkpoint: Path, data: TrainingSet, seed: int) -> Hearing:
    """Return the hearing of an encoder's checkpoint. Raises TrainingError if it is none."""
    content = ContentEncoder()
    load_weights(content, checkpoint)
    return Hearing(content, data, seed)


def hear(content: ContentEncoder, x: Floats, point: str) -> Heard:
    """Return what the live chain hears in 16 kHz sound at an operating point."""
    wait, frames = round(WAIT_MS[point] * RATE_HZ / 1000.0), len(x) // FRAME_FRAMES
    x = np.pad(x, (0, wait + 2 * FRAME_FRAMES)).astype(np.float32)
    rows = normalise(log_mel(x))
    with torch.no_grad():
        said = content(torch.from_numpy(rows[: len(rows) // 2 * 2])[None])[point][0, :frames]
    voiced = said[:, CODES + 1].numpy() > 0.0
    own_hz = np.where(voiced, tracked(x, wait, frames), 0.0).astype(np.float32)
    return Heard(said[:, :CODES].argmax(-1).numpy(), said[:, CODES].numpy() * ENERGY_SCALE, own_hz)


def tracked(x: Floats, wait: int, frames: int) -> Floats:
    """Return the tracker's F0 at the centre of each frame as it is known `wait` samples later; the last where none is.

    Before the first estimate it is 0.
    """
    state, history = f0_state(), f0_history()
    f0_hz, voiced, confidence = (np.zeros(8, np.float32) for _ in range(3))
    found, last, heard = np.zeros(frames, np.float32), 0.0, 0
    for j in range(frames):
        until = FRAME_FRAMES * j + wait
        while heard + HOP <= until:
            hops = f0_track(state, x[heard : heard + HOP], f0_hz, voiced, confidence)
            heard += HOP
            for hop in range(hops):
                f0_remember(history, heard - (hops - 1 - hop) * HOP, f0_hz[hop], confidence[hop])
        last = f0_at(history, FRAME_FRAMES * j, REACH) or last
        found[j] = last
    return found
