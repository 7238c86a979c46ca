"""Batches for the encoder: speech of several utterances in a row, spoiled as microphones and rooms spoil it.

A sequence lasts `seconds`; utterances are drawn by their length, real ones REAL times as often as synthetic ones.
Tempo changes take the labels along. Each utterance is brought to a level of its own, the whole is degraded, and the
mel filters are warped, so that vocal tracts of other lengths are heard as well. Between utterances people pause, and
some sequences are noise alone: both are labelled as the silence that begins an utterance, so that noise and music are
not taken for speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import READ_SUFFIXES, AudioFileError

from . import TrainingError, augment
from .corpora import Clip, SoundFiles
from .dataset import FRAME_FRAMES, RATE_HZ, VOICED_HZ, Floats, Ints, Item, TrainingSet
from .mel import log_mel, normalise

REAL = 2.0
PAUSE_S = 1.5
SILENT_ENERGY = -9.0  # as the teacher's energies are between words


@dataclass(frozen=True)
class Spoiling:
    """How often and how much; natural logs of ratios are drawn from -x to x."""

    tempo: float = 0.7
    tempo_log: float = 0.2
    warp: float = 0.6
    warp_log: float = 0.17
    from_the_middle: float = 0.7
    level_log: float = 0.4
    pause: float = 0.15
    """Share of utterances with a pause of up to PAUSE_S before them."""
    noise_alone: float = 0.04
    """Share of sequences in which nobody speaks."""
    degrade: bool = True
    """Whether room, noise, microphone and the like are imitated."""


Piece = tuple[Floats, Ints, Floats, Floats]  # sound, rows, energy, voicing


class Labelled(NamedTuple):
    """One sequence."""

    mel: Floats
    """[seconds * 100, 80], normalised."""
    rows: Ints
    """Row of codes of each decoder frame."""
    energy: Floats
    """NaN where unknown, as of real speech."""
    voiced: Floats
    """0 or 1, or NaN."""


def read_noises(folder: Path | None) -> list[Floats]:
    """Return every sound under folder at 16 kHz; files that cannot be read are passed by."""
    if folder is None:
        return []
    files, found = SoundFiles(), []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in READ_SUFFIXES:
            try:
                found.append(files.read(Clip(path), RATE_HZ))
            except AudioFileError:
                continue
    if not found:
        raise TrainingError(f"{folder}: no sound file there")
    return found


class EncoderBatches:
    """Draws sequences from a set."""

    def __init__(
        self, data: TrainingSet, noises: Sequence[Floats] = (), seconds: float = 5.0, spoiling: Spoiling | None = None
    ) -> None:
        self._data, self._noises, self._spoiling = data, list(noises), spoiling or Spoiling()
        self._items = data.train
        if not self._items:
            raise TrainingError(f"{data.folder}: no utterance to learn from; rtvc train align has to come first")
        self._frames = round(seconds * RATE_HZ / FRAME_FRAMES)
        weights = np.array([(1.0 if item.exact else REAL) * item.n for item in self._items], np.float64)
        self._chances = weights / weights.sum()

    def draw(self, rng: np.random.Generator, count: int) -> Labelled:
        """Return count sequences, stacked."""
        drawn = [self.sequence(rng) for _ in range(count)]
        return Labelled(*(np.stack(parts) for parts in zip(*drawn, strict=True)))

    def sequence(self, rng: np.random.Generator) -> Labelled:
        """Return one sequence."""
        pieces: list[Piece] = []
        how = self._spoiling
        have, nobody = 0, rng.random() < how.noise_alone
        while have < self._frames:
            item = self._items[rng.choice(len(self._items), p=self._chances)]
            if nobody or rng.random() < how.pause:
                frames = self._frames if nobody else int(rng.uniform(0.0, PAUSE_S) * RATE_HZ) // FRAME_FRAMES
                pieces.append(self._silence(item, frames, rng if nobody else None))
                have += frames
            if not nobody:
                pieces.append(self._piece(item, rng, first=not have))
                have += len(pieces[-1][1])
        x, rows, energy, voiced = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        n = self._frames
        mel = spoiled(x[: n * FRAME_FRAMES].astype(np.float32), self._noises, how, rng)
        return Labelled(mel, rows[:n], energy[:n], voiced[:n])

    def _silence(self, item: Item, frames: int, rng: np.random.Generator | None) -> Piece:
        """Return frames in which nobody speaks, labelled as the beginning of an utterance is; with rng, of noise."""
        n = frames * FRAME_FRAMES
        x = np.zeros(n, np.float32)
        if rng:
            noise = augment.coloured_noise(n, rng)
            if self._noises and rng.random() < 0.7:
                noise = self._noises[rng.integers(len(self._noises))]
            x = np.resize(np.roll(noise, int(rng.integers(len(noise)))), n).astype(np.float32)
        return x, np.full(frames, item.row), np.full(frames, SILENT_ENERGY, np.float32), np.zeros(frames, np.float32)

    def _piece(self, item: Item, rng: np.random.Generator, first: bool) -> Piece:
        """Return one utterance, whole frames: sound, rows, energy, voicing."""
        how = self._spoiling
        x, rows = self._data.sound(item), self._data.rows(item)
        energy, voiced = melody(self._data, item)
        if rng.random() < how.tempo:
            factor = float(np.exp(rng.uniform(-how.tempo_log, how.tempo_log)))
            x = augment.tempo(x, factor)
            at = follow(len(x) // FRAME_FRAMES, factor, len(rows))
            rows, energy, voiced = rows[at], energy[at], voiced[at]
        n = min(len(x) // FRAME_FRAMES, len(rows))
        start = 0
        if first and n > self._frames and rng.random() < how.from_the_middle:
            start = int(rng.integers(0, n - self._frames))
        x = x[start * FRAME_FRAMES : n * FRAME_FRAMES]
        gain = 0.3 / max(float(np.abs(x).max(initial=0.0)), 1e-4) * float(np.exp(rng.normal(0.0, how.level_log)))
        return x * np.float32(gain), rows[start:n], energy[start:n], voiced[start:n]


def spoiled(x: Floats, noises: list[Floats], how: Spoiling, rng: np.random.Generator) -> Floats:
    """Return sound at 16 kHz as the encoder hears it from some microphone: an even number of mel rows, normalised."""
    if how.degrade:
        x = augment.degrade(x, noises, rng)
    warp = float(np.exp(rng.uniform(-how.warp_log, how.warp_log))) if rng.random() < how.warp else 1.0
    mel = normalise(log_mel(x, warp), float(rng.uniform(-1.0, 1.5)))
    return mel[: len(mel) // 2 * 2]


def follow(frames: int, factor: float, labels: int) -> NDArray[np.int64]:
    """Return which label each of `frames` frames has once the sound plays `factor` times faster."""
    return np.minimum((np.arange(frames) * factor).astype(np.int64), labels - 1)


def melody(data: TrainingSet, item: Item) -> tuple[Floats, Floats]:
    """Return energy and voicing of each decoder frame; NaN where they are not known."""
    if not item.exact:
        unknown = np.full(sum(item.frames), np.nan, np.float32)
        return unknown, unknown
    f0_hz, energy = data.melody(item)
    return energy, (f0_hz > VOICED_HZ).astype(np.float32)
