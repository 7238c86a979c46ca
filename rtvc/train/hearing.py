"""What the live chain hears in a recording: the content, energy and F0 that the decoder is really given.

A trained encoder's likeliest codes and its doubts, its energy and voicing, and the F0 tracker's estimates, chosen as
`rtvc.engine.neural_voice` chooses them. The decoder has to do well on these, mistakes and all.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rtvc.engine.neural_voice import REACH, UNVOICED_HZ
from rtvc.kernels.f0 import HOP, f0_state, f0_track
from rtvc.kernels.f0_history import f0_at, f0_history, f0_remember
from rtvc.models.encoder import CODES, WAIT_MS, ContentEncoder
from rtvc.models.generator import CONTENT, LATER_FRAMES

from . import augment
from .dataset import FRAME_FRAMES, RATE_HZ, Floats, Item, TrainingSet
from .encoder import ENERGY_SCALE, content_of
from .mel import log_mel, normalise
from .teacher import decoder_input

RECORDINGS = 2000


class Heard(NamedTuple):
    """By decoder frame. What is said of the later frame is 0 at the operating point `fast`."""

    content: Floats
    """[frames, 3 * CONTENT]: the likeliest code, the doubt about it, and the mean of the later frame."""
    energy: Floats
    """[2, frames]: of the frame and of the later one."""
    f0_hz: Floats
    """[2, frames], likewise: the speaker's own, 0 where the encoder hears no voice."""
    later: bool
    """Whether the later frame is heard at all."""

    def inputs(self, f0_hz: Floats | None = None) -> Floats:
        """Return the decoder's inputs, float32[frames, INPUTS], with this F0 (as `f0_hz`) where one is given."""
        hz = np.maximum(self.f0_hz if f0_hz is None else f0_hz, UNVOICED_HZ)
        code, doubt, mean = (self.content[:, k * CONTENT : (k + 1) * CONTENT] for k in range(3))
        later = decoder_input(mean, hz[1], self.energy[1]) * np.float32(self.later)
        return np.concatenate([decoder_input(code, hz[0], self.energy[0]), doubt, later], axis=1)


class Hearing:
    """Hears utterances of a set, each at one operating point, spoiled or not, once: what was heard is kept."""

    def __init__(self, content: ContentEncoder, data: TrainingSet, seed: int = 0) -> None:
        self._content, self._data = content.eval(), data
        utterances = data.train
        chosen = np.random.default_rng(seed).permutation(len(utterances))[:RECORDINGS]
        self._recordings = [utterances[k] for k in chosen]
        self._kept: dict[int, Heard] = {}

    def any(self, rng: np.random.Generator) -> Item:
        """Return some aligned utterance, one of RECORDINGS: each takes as long to hear as a step."""
        return self._recordings[int(rng.integers(len(self._recordings)))]

    def of(self, item: Item, rng: np.random.Generator) -> Heard:
        """Return what is heard in an utterance, int(n / FRAME_FRAMES) frames."""
        if item.start not in self._kept:
            x = self._data.sound(item)
            if rng.random() < 0.5:
                x = augment.degrade(x, [], rng)
            point = list(WAIT_MS)[int(rng.integers(len(WAIT_MS)))]
            self._kept[item.start] = hear(self._content, x, point, np.array(self._data.codebook))
        return self._kept[item.start]


def hearing_of(checkpoint: Path, data: TrainingSet, seed: int) -> Hearing:
    """Return the hearing of an encoder's checkpoint. Raises TrainingError if it is none."""
    return Hearing(content_of(checkpoint), data, seed)


def hear(encoder: ContentEncoder, x: Floats, point: str, codebook: Floats) -> Heard:
    """Return what the live chain hears in 16 kHz sound at an operating point; codebook float32[CODES, CONTENT]."""
    later = point != "fast"
    frames = len(x) // FRAME_FRAMES
    x = np.pad(x, (0, wait_of(point) + (LATER_FRAMES + 2) * FRAME_FRAMES)).astype(np.float32)
    rows = normalise(log_mel(x))
    with torch.no_grad():
        heads = encoder(torch.from_numpy(rows[: len(rows) // 2 * 2])[None])
    now, soon = heads[point][0, :frames].numpy(), heads["fast"][0, LATER_FRAMES : frames + LATER_FRAMES].numpy()
    heard = said_of(now, soon, codebook, later)
    hz = heard.f0_hz
    hz[0] = np.where(now[:, CODES + 1] > 0.0, tracked(x, wait_of(point), frames), 0.0)
    if later:
        soon_hz = tracked(x, wait_of("fast"), frames + LATER_FRAMES)[LATER_FRAMES:]
        hz[1] = np.where(soon[:, CODES + 1] > 0.0, soon_hz, 0.0)
    return heard


def said_of(now: Floats, soon: Floats, codebook: Floats, later: bool) -> Heard:
    """Return what two heads said, float32[frames, CODES + 2] both, soon of the later frames, as heard; F0 is 0."""
    code, mean = codebook[now[:, :CODES].argmax(-1)], _mean(now, codebook)
    soon_mean = _mean(soon, codebook) if later else np.zeros_like(mean)
    content = np.concatenate([code, mean - code, soon_mean], axis=1).astype(np.float32)
    energy = ENERGY_SCALE * np.stack([now[:, CODES], soon[:, CODES]])
    return Heard(content, energy.astype(np.float32), np.zeros((2, len(now)), np.float32), later)


def known(codes: Floats, f0_hz: Floats, energy: Floats, later: bool) -> Heard:
    """Return what an encoder would hear that is never wrong: codes [frames, CONTENT], F0 and energy [frames]."""
    soon = np.minimum(np.arange(len(codes)) + LATER_FRAMES, len(codes) - 1)
    mean = codes[soon] if later else np.zeros_like(codes)
    content = np.concatenate([codes, np.zeros_like(codes), mean], axis=1)
    return Heard(content, np.stack([energy, energy[soon]]), np.stack([f0_hz, f0_hz[soon]]), later)


def wait_of(point: str) -> int:
    """Return how long an operating point waits, in samples at 16 kHz."""
    return round(WAIT_MS[point] * RATE_HZ / 1000.0)


def _mean(said: Floats, codebook: Floats) -> Floats:
    """Return the mean of all codes, each by its probability, float32[frames, CONTENT]."""
    logits = said[:, :CODES]
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    mean: Floats = (shares / shares.sum(-1, keepdims=True)) @ codebook
    return mean


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
