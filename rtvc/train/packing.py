"""A corpus into the training set: resample, trim, check, pack; what is unfit stays out, with its reason, counted.

Where an alignment file names an utterance, its tokens and frames come from there and its sound is not trimmed, because
frames count from its start. Synthetic renditions bring exact labels, 24 kHz sound and a timbre. Everything else goes
in as sound and text, for `rtvc train align` to work on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtvc.audio.files import AudioFileError

from .align import ACCEPT, Alignment
from .corpora import SoundFiles, Utterance, find_layout, read_corpus
from .dataset import FRAME_FRAMES, FRAME_FRAMES_24K, RATE_HZ, Floats, Item, SetWriter
from .teacher import Phones, Teacher
from .timbres import Timbres

SHORTEST_S, LONGEST_S = 0.5, 35.0
QUIETEST_PEAK = 0.003  # -50 dBFS: nobody speaks there
CLIPPED = 0.01  # share of samples at the rails
MARGIN_S = 0.25  # of silence that trimming leaves at both ends
SPEECH_DB = -35.0  # a frame of 25 ms this far under the loudest is silence
SAVE_EVERY = 200

Transcriber = Callable[[Floats], str]


@dataclass(frozen=True)
class Packing:
    """How a corpus is to be packed."""

    licence: str
    layout: str | None = None
    hold_out: int = 0
    """Speakers (of renditions: sentences, in all timbres) that are kept out of training: those that are already, then
    the last by name of whom nothing is in the set."""
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    timbres: Timbres | None = None
    """Voices of the TTS, for the timbre of synthetic renditions."""
    transcribe: Transcriber | None = None
    """16 kHz sound to text, used where there is none."""
    limit: int | None = None


def trim(x: Floats) -> Floats:
    """Return x without the silence at its ends, but for MARGIN_S; all of it if nothing stands out."""
    size = RATE_HZ // 40
    power = np.square(x[: len(x) // size * size].reshape(-1, size)).mean(axis=1)
    if not len(power) or not power.max() > 0:
        return x
    loud = np.flatnonzero(power > power.max() * 10.0 ** (SPEECH_DB / 10.0))
    margin = round(MARGIN_S * RATE_HZ)
    return x[max(0, loud[0] * size - margin) : (loud[-1] + 1) * size + margin]


def fault(x: Floats) -> str:
    """Return why 16 kHz sound is unfit for training; nothing if it is fit."""
    if len(x) < SHORTEST_S * RATE_HZ:
        return f"shorter than {SHORTEST_S} s"
    if len(x) > LONGEST_S * RATE_HZ:
        return f"longer than {LONGEST_S:.0f} s"
    peak = float(np.abs(x).max())
    if not peak > QUIETEST_PEAK:
        return "silent"
    if peak > 0.5 and float((np.abs(x) >= 0.999 * peak).mean()) > CLIPPED:
        return "clipped"
    return ""


class Unfit(Exception):
    """An utterance stays out; the text is the reason under which it is counted."""


class Packer:
    """Packs one corpus."""

    def __init__(self, writer: SetWriter, packing: Packing, teacher: Teacher | None = None) -> None:
        self._writer, self._packing = writer, packing
        self._teacher, self._phones = teacher, None if not packing.alignments else Phones()
        self._files = SoundFiles()

    def pack(self, folder: Path, progress: Callable[[float, str], None] | None = None) -> dict[str, int]:
        """Add what is not in the set yet; return how many were left out, by reason.

        Raises TrainingError if folder cannot be read as a corpus, or is not where the source of its name came from.
        """
        utterances = list(read_corpus(folder, self._packing.layout or find_layout(folder)))[: self._packing.limit]
        sources = {utterance.source for utterance in utterances}
        for source in sources:
            self._writer.claim(source, folder.resolve(), self._packing.licence)
        skipped: dict[str, int] = {}
        try:
            self._pack(utterances, skipped, progress)
        finally:
            for source in sources:
                self._writer.note(source, self._packing.licence, skipped)
        self._writer.save()
        return skipped

    def _pack(
        self, utterances: list[Utterance], skipped: dict[str, int], progress: Callable[[float, str], None] | None
    ) -> None:
        """Add what is not in the set yet; count in skipped what was left out, by reason."""
        held_out = self._held_out(utterances)
        there = self._writer.holds()
        for count, utterance in enumerate(utterances):
            if (utterance.source, utterance.name) in there:
                continue
            try:
                self._writer.items.append(self._item(utterance, _kept_together(utterance) in held_out))
            except (Unfit, AudioFileError) as error:
                reason = str(error) if isinstance(error, Unfit) else "unreadable"
                skipped[reason] = skipped.get(reason, 0) + 1
            if (count + 1) % SAVE_EVERY == 0:
                self._writer.save()
            if progress:
                progress((count + 1) / len(utterances), f"{utterance.source} {count + 1}/{len(utterances)}")

    def _held_out(self, utterances: list[Utterance]) -> set[str]:
        """Return what is kept out of training. Of whom anything is in the set, all else goes to the same side."""
        sources = {utterance.source for utterance in utterances}
        held_out: set[str] = set()
        learnt: set[str] = set()
        for item in self._writer.items:
            if item.source in sources:
                (held_out if item.dev else learnt).add(_together(item.exact, item.utt, item.speaker))
        new = sorted({_kept_together(utterance) for utterance in utterances} - held_out - learnt)
        wanted = max(0, self._packing.hold_out - len(held_out))
        return held_out | set(new[max(0, len(new) - wanted) :])

    def _item(self, utterance: Utterance, dev: bool) -> Item:
        if utterance.labels:
            return self._rendition(utterance, dev)
        x = self._files.read(utterance.clip, RATE_HZ)
        alignment = self._packing.alignments.get(utterance.name)
        if alignment is None:
            x = trim(x)
        reason = fault(x)
        if reason:
            raise Unfit(reason)
        text = utterance.text
        if alignment is not None:
            return self._aligned(utterance, alignment, x, dev)
        if not text and self._packing.transcribe:
            text = self._packing.transcribe(x)
        start, n = self._writer.add_sound(x)
        licence = self._packing.licence
        return Item(utterance.source, utterance.speaker, utterance.name, text, start, n, dev=dev, licence=licence)

    def _aligned(self, utterance: Utterance, alignment: Alignment, x: Floats, dev: bool) -> Item:
        if alignment.score < ACCEPT:
            raise Unfit("alignment score too low")
        assert self._phones is not None
        tokens = self._phones.tokens(alignment.phones)
        if len(tokens) != len(alignment.frames):
            raise Unfit("alignment has another number of tokens")
        start, n = self._writer.add_sound(x[: sum(alignment.frames) * FRAME_FRAMES])
        row = self._writer.add_latents(self._latents(tokens))
        return Item(
            utterance.source, utterance.speaker, utterance.name, alignment.text, start, n,
            row=row, tokens=tokens, frames=alignment.frames, score=alignment.score,
            dev=dev, licence=self._packing.licence,
        )  # fmt: skip

    def _rendition(self, utterance: Utterance, dev: bool) -> Item:
        labels = utterance.labels
        assert labels is not None
        total = sum(labels.frames)
        if not len(labels.f0_hz) == len(labels.energy) == total:
            raise Unfit("labels of different lengths")
        x24 = self._files.read(utterance.clip, 24000)
        x16 = self._files.read(utterance.clip, RATE_HZ)
        reason = fault(x16)
        if reason:
            raise Unfit(reason)
        timbre = self._packing.timbres.vector(labels.timbre, len(labels.tokens) - 2) if self._packing.timbres else None
        frames24 = total * FRAME_FRAMES_24K
        start, n = self._writer.add_sound(x16[: total * FRAME_FRAMES])
        return Item(
            utterance.source, utterance.speaker, utterance.name, utterance.text, start, n,
            row=self._writer.add_latents(self._latents(labels.tokens)),
            tokens=labels.tokens, frames=labels.frames, dev=dev, licence=self._packing.licence,
            frame0=self._writer.add_melody(labels.f0_hz, labels.energy), f0_scale=labels.f0_scale,
            start24=self._writer.add_sound24(np.pad(x24[:frames24], (0, max(0, frames24 - len(x24))))),
            tv=-1 if timbre is None else self._writer.add_timbre(timbre),
        )  # fmt: skip

    def _latents(self, tokens: list[int]) -> Floats:
        if self._teacher is None:
            self._teacher = Teacher()
        return self._teacher.latents(tokens)


def _kept_together(utterance: Utterance) -> str:
    return _together(utterance.labels is not None, utterance.name, utterance.speaker)


def _together(exact: bool, name: str, speaker: str) -> str:
    """Return what must not be split between training and evaluation: a speaker, or a sentence in all its timbres."""
    return name.rsplit("/", 1)[0] if exact else speaker
