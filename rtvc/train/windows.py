"""Batches for the joint training: a cut of speech to be said, and the window of sound in which the encoder hears it.

A share of the cuts is for the home voice, mostly of real recordings; the others are renditions, each heard in some
rendition of its sentence. The window reaches further than the cut: back, so that the encoder has a past, and on by
what the teacher hears of the future. It begins at a multiple of PERIOD decoder frames, after which heads meet the
same phases of the same stream again (8 decoder frames last as long as 5 encoder frames), so that its frames are those
of the utterance.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rtvc.models.encoder import DECODER_UNITS, FRAME_UNITS, STREAMS, WAIT_MS, WAIT_UNIT_MS

from .adversarial import filled_f0, renditions, sentence, transposed
from .batches import Spoiling, melody, spoiled
from .dataset import FRAME_FRAMES, FRAME_FRAMES_24K, Floats, Item, TrainingSet
from .generator import TEACHER_REACH
from .hearing import tracked, wait_of
from .timbres import SCALE, TIMBRE

PERIOD = STREAMS * FRAME_UNITS
PAST = 80  # decoder frames, at least, that the encoder hears before the first one that is used
UNSAID = int(np.ceil(max(WAIT_MS.values()) / (DECODER_UNITS * WAIT_UNIT_MS)))  # at a window's end: not yet waited for
UNKNOWN = -1  # as a code


@dataclass(frozen=True)
class Cutting:
    """What is cut from where."""

    frames: int = 160
    history: int = 44
    """Frames at a cut's start that are not judged: their past is unknown."""
    home: float = 0.45
    """Share of cuts for the home voice..."""
    recorded: float = 0.85
    """...and the share of these that is of real recordings, where the set has any."""
    clear: float = 0.55
    """Share of cuts at the operating point `clear`."""
    spoiling: Spoiling = field(default_factory=Spoiling)

    @property
    def span(self) -> int:
        """Frames that are used: the cut, and around it what the teacher hears of it."""
        return self.frames + 2 * TEACHER_REACH

    @property
    def window(self) -> int:
        """Frames that are heard."""
        return -(-(PERIOD - 1 + PAST + self.span + UNSAID) // PERIOD) * PERIOD


class Windows(NamedTuple):
    """A batch of b windows. Frames are decoder frames."""

    mel: Tensor
    """What the encoder hears of the window, spoiled: [b, rows, MEL_BANDS]."""
    codes: Tensor
    """True code of the window's frames, UNKNOWN outside the utterance: int64[b, window]."""
    energy: Tensor
    """Energy of the window's frames, NaN where it is not known: [b, window]."""
    voiced: Tensor
    """Whether they are voiced, likewise."""
    first: Tensor
    """Which frame of the window is the first of the span: int64[b]."""
    span_codes: Tensor
    """True code of the span's frames; outside the utterance that of its end: int64[b, span]."""
    inside: Tensor
    """Which of the span's frames are in the utterance: bool[b, span]."""
    f0_hz: Tensor
    """F0 of the span's frames, should they be voiced: at the operating point, and at `fast`. [b, 2, span]."""
    clear: Tensor
    """Whether the operating point is `clear`: bool[b]."""
    home: Tensor
    """Whether the home voice is to say it: bool[b]."""
    sound: Tensor
    """The rendition that should be heard, zeros for the home voice: [b, 300 frames] at 24 kHz."""
    timbre: Tensor
    """Its timbre, likewise: [b, TIMBRE]."""


class WindowSet(Dataset[tuple[Any, ...]]):
    """Windows drawn from a set, without end: the k-th is always the same."""

    def __init__(self, data: TrainingSet, noises: Sequence[Floats], cutting: Cutting, seed: int = 0) -> None:
        self._seed = seed
        self._data, self._noises, self._cutting = data, list(noises), cutting
        self._same = renditions(data)
        self._renditions = [item for same in self._same.values() for item in same]
        self._recordings = [item for item in data.train if not item.exact]
        lengths = np.array([item.n for item in self._recordings], np.float64)
        self._chances = lengths / lengths.sum()

    def __getitem__(self, k: int) -> tuple[Any, ...]:
        """Return the parts of `Windows` of the k-th window, as arrays without the first axis."""
        return self._window(np.random.default_rng((self._seed, k)))

    def _window(self, rng: np.random.Generator) -> tuple[Any, ...]:
        how = self._cutting
        home = bool(rng.random() < how.home)
        wanted = self._any_rendition(rng)
        if not home:
            others = self._same[sentence(wanted)]
            item = others[int(rng.integers(len(others)))]
        else:
            item = self._any_recording(rng) if self._recordings and rng.random() < how.recorded else wanted
        frames = min(_frames(item), _frames(wanted)) if not home else _frames(item)
        begin = int(rng.integers(-how.history // 2, max(1, frames - how.frames + 10)))
        return self._cut(item, None if home else wanted, frames, begin, rng)

    def _cut(
        self, item: Item, wanted: Item | None, frames: int, begin: int, rng: np.random.Generator
    ) -> tuple[Any, ...]:
        """Return the parts of `Windows` for the cut of item, of so many frames, that begins at a frame.

        wanted: the rendition that should be heard, if it is not the home voice.
        """
        data, how = self._data, self._cutting
        start = begin - TEACHER_REACH
        window = (start - PAST) // PERIOD * PERIOD
        first = start - window
        x = stretch(data.sound(item), window * FRAME_FRAMES, how.window * FRAME_FRAMES, 0.0)
        clear = bool(rng.random() < how.clear)
        codes = data.code_idx[data.rows(item), 0].astype(np.int64)
        of_span = np.arange(start, start + how.span)
        held = np.clip(of_span, 0, frames - 1)
        if wanted is None:
            waits = [wait_of("clear" if clear else "fast"), wait_of("fast")]
            f0_hz = transposed(np.stack([tracked(x, wait, first + how.span)[first:] for wait in waits]), rng)
            sound, timbre = np.zeros(how.frames * FRAME_FRAMES_24K, np.float32), np.zeros(TIMBRE, np.float32)
        else:
            filled = filled_f0(data.melody(wanted)[0] * np.float32(wanted.f0_scale))[held]
            f0_hz = np.stack([filled, filled])
            said = data.audio24[wanted.start24 : wanted.start24 + frames * FRAME_FRAMES_24K].astype(np.float32) / 32768
            sound = stretch(said, begin * FRAME_FRAMES_24K, how.frames * FRAME_FRAMES_24K, 0.0)
            timbre = (SCALE * np.array(data.timbres[wanted.tv])).astype(np.float32)
        return (
            spoiled(x, self._noises, how.spoiling, rng),
            stretch(codes[: _frames(item)], window, how.window, UNKNOWN),
            *(stretch(known[: _frames(item)], window, how.window, np.nan) for known in melody(data, item)),
            first,
            codes[held],
            of_span == held,
            f0_hz.astype(np.float32),
            clear,
            wanted is None,
            sound,
            timbre,
        )

    def _any_recording(self, rng: np.random.Generator) -> Item:
        """Return a recording, drawn by its length."""
        return self._recordings[rng.choice(len(self._recordings), p=self._chances)]

    def _any_rendition(self, rng: np.random.Generator) -> Item:
        return self._renditions[int(rng.integers(len(self._renditions)))]


class WindowBatches:
    """Batches of windows, one for each step of a training, made ahead by other processes where there are workers."""

    def __init__(self, windows: WindowSet, count: int, workers: int = 0) -> None:
        """Count: windows in a batch."""
        self._windows, self._count, self._workers = windows, count, workers
        self._next = -1
        self._ahead: Iterator[Windows] = iter(())

    def of(self, step: int) -> Windows:
        """Return the batch of a step, on the default device: the same whatever was asked for before."""
        if step != self._next:
            self._ahead = self._from(step)
        self._next = step + 1
        return Windows(*(part.to(torch.get_default_device()) for part in next(self._ahead)))

    def _from(self, step: int) -> Iterator[Windows]:
        if self._workers:
            self._windows[0]  # what this compiles, no worker needs to
        count = self._count
        batches = (list(range(count * k, count * (k + 1))) for k in itertools.count(step))
        unused = torch.Generator(torch.get_default_device())  # else the loader draws from the training's own
        loader = DataLoader(
            self._windows,
            batch_sampler=batches,
            num_workers=self._workers,
            collate_fn=stacked,
            worker_init_fn=_apart,
            generator=unused,
        )
        return iter(loader)


def _apart(_: int) -> None:
    """Take a worker out of what a terminal or `timeout` signals: the process that it works for ends it, all saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        os.setpgrp()


def stacked(drawn: Sequence[tuple[Any, ...]]) -> Windows:
    """Return windows as a batch, on the CPU."""
    return Windows(*(torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True)))


def stretch(x: NDArray[Any], start: int, count: int, outside: float) -> NDArray[Any]:
    """Return x[start : start + count], of x's dtype, with `outside` where x has nothing (start may be negative)."""
    found = np.full(count, outside, x.dtype)
    into = x[max(0, start) : max(0, start + count)]
    at = max(0, -start)
    found[at : at + len(into)] = into
    return found


def _frames(item: Item) -> int:
    """Return how many whole frames of an utterance have a code."""
    return min(item.n // FRAME_FRAMES, sum(item.frames))
