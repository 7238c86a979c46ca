"""Corpora on disk as utterances: who says what, where the sound lies, under which licence.

Layouts, told apart by what lies in the folder (`find_layout`):

- librispeech: `SPEAKER-CHAPTER.trans.txt` files beside their sounds, any depth; upper-case text is written small.
- ljspeech: `metadata.csv` (id|text|normalised text) and `wavs/`, one speaker.
- pairs: `shardNN/` with `index.tsv`, `labels.npz` and one file a rendition, as `rtvc train synth` writes them.
- pack: `index.tsv` with columns file, utt, start_sample, n_samples, text, speaker; without the last, a file holds one
  speaker.
- folder: sound files at any depth, a `.txt` of the same name beside each where there is text; the folder that
  a file lies in is its speaker.

Nothing is decoded before it is asked for. Offsets count samples at the rate that the file claims (for Opus: what it
was made from).
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import READ_SUFFIXES, AudioReader

from . import TrainingError

Signal = NDArray[np.float32]

csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Clip:
    """Part of a sound file: `frames` samples from start, counted at rate_hz (0: the file's own); -1: to its end."""

    path: Path
    start: int = 0
    frames: int = -1
    rate_hz: int = 0


@dataclass(frozen=True)
class Labels:
    """What a synthetic utterance is known to be, exactly; decoder frames of 12.5 ms."""

    tokens: list[int]
    """Phone tokens, a pad 0 at both ends."""
    frames: list[int]
    """Decoder frames of each token."""
    f0_hz: NDArray[np.float32]
    """Before f0_scale; under 40 where unvoiced. float32[sum(frames)]."""
    energy: NDArray[np.float32]
    """As the decoder takes it, float32[sum(frames)]."""
    f0_scale: float
    timbre: str
    """A voice's name, or a mixture of voices such as 0.3*af_sky+0.7*am_puck."""


@dataclass(frozen=True)
class Utterance:
    """One stretch of one speaker's speech."""

    source: str
    name: str
    speaker: str
    clip: Clip
    text: str = ""
    labels: Labels | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Row:
    """One line of a tab-separated file. Its methods raise TrainingError where a cell is not what is asked for."""

    place: str
    """File and line."""
    cells: dict[str, str | None]

    def __getitem__(self, column: str) -> str:
        cell = self.cells.get(column)
        if cell is None:
            raise TrainingError(f"{self.place}: has no {column}")
        return cell

    def count(self, column: str) -> int:
        """Return a whole number from 0 on."""
        try:
            value = int(self[column])
        except ValueError:
            value = -1
        if value < 0:
            raise TrainingError(f"{self.place}: {column} is {self[column]!r}, not a whole number from 0 on")
        return value

    def number(self, column: str) -> float:
        """Return a finite number."""
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise TrainingError(f"{self.place}: {column} is {self[column]!r}, not a number")
        return value


class SoundFiles:
    """Decodes clips; keeps the file it read last, because packs hold many clips in a row."""

    def __init__(self) -> None:
        self._path = Path()
        self._sounds: dict[int, Signal] = {}

    def read(self, clip: Clip, rate_hz: int) -> Signal:
        """Return the clip, mono float32 at rate_hz. Raises AudioFileError if the file cannot be read."""
        if clip.path != self._path:
            self._sounds, self._path = {}, clip.path
            with AudioReader(clip.path) as reader:
                whole = np.zeros(reader.frames, np.float32)
                self._sounds[reader.rate_hz] = whole[: reader.read(whole)]
        own_hz = next(iter(self._sounds))
        cut_hz = clip.rate_hz or own_hz
        cut = self._at(cut_hz)[clip.start : None if clip.frames < 0 else clip.start + clip.frames]
        return resampled(cut, cut_hz, rate_hz)

    def _at(self, rate_hz: int) -> Signal:
        if rate_hz not in self._sounds:
            own_hz, sound = next(iter(self._sounds.items()))
            self._sounds[rate_hz] = resampled(sound, own_hz, rate_hz)
        return self._sounds[rate_hz]


def resampled(x: Signal, from_hz: int, to_hz: int) -> Signal:
    """Return x at another rate."""
    if from_hz == to_hz:
        return x
    import soxr

    y: Signal = soxr.resample(x, from_hz, to_hz).astype(np.float32)
    return y


def find_layout(folder: Path) -> str:
    """Return the name of folder's layout. Raises TrainingError if there is no folder."""
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder")
    if next(folder.glob("*/labels.npz"), None):
        return "pairs"
    if (folder / "index.tsv").is_file():
        return "pack"
    if (folder / "metadata.csv").is_file():
        return "ljspeech"
    return "librispeech" if next(folder.rglob("*.trans.txt"), None) else "folder"


def read_corpus(folder: Path, layout: str | None = None) -> Iterator[Utterance]:
    """Yield folder's utterances in a fixed order. Raises TrainingError where an index is not what the layout says."""
    return LAYOUTS[layout or find_layout(folder)](folder)


def read_tsv(path: Path, *columns: str) -> list[Row]:
    """Return the rows of a tab-separated file without quotes. Raises TrainingError if a column is missing."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = [Row(f"{path}, line {reader.line_num}", cells) for cells in reader]
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise TrainingError(f"{path}: has no column {', '.join(missing)}")
    return rows


def _text(path: Path) -> str:
    """Return what a text file holds. Raises TrainingError, with the line, if that is not UTF-8."""
    try:
        held = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return held.decode("utf-8")
    except UnicodeDecodeError as error:
        line = held[: error.start].count(b"\n") + 1
        what = f"the byte 0x{held[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise TrainingError(f"{path}, line {line}: {what}") from None


def _librispeech(folder: Path) -> Iterator[Utterance]:
    for index in sorted(folder.rglob("*.trans.txt")):
        for line in _text(index).splitlines():
            name, _, text = line.partition(" ")
            path = _sound_of(index.parent / name)
            text = text.capitalize() if text.isupper() else text  # capitals would be spelled letter by letter
            yield Utterance(folder.name, name, name.split("-")[0], Clip(path), text)


def _ljspeech(folder: Path) -> Iterator[Utterance]:
    index = folder / "metadata.csv"
    for number, line in enumerate(_text(index).splitlines(), start=1):
        name, *texts = line.split("|")
        if not texts:
            raise TrainingError(f"{index}, line {number}: has no | in it: {line[:60]!r}")
        text = next((text for text in reversed(texts) if text.strip()), "")
        yield Utterance(folder.name, name, folder.name, Clip(_sound_of(folder / "wavs" / name)), text)


def _pack(folder: Path) -> Iterator[Utterance]:
    for row in read_tsv(folder / "index.tsv", "file", "utt", "start_sample", "n_samples"):
        clip = Clip(folder / row["file"], row.count("start_sample"), row.count("n_samples"))
        speaker = row.cells.get("speaker") or row["file"]
        yield Utterance(folder.name, row["utt"], speaker, clip, row.cells.get("text") or "")


def _pairs(folder: Path) -> Iterator[Utterance]:
    for shard in sorted(path.parent for path in folder.glob("*/labels.npz")):
        try:
            labels = np.load(shard / "labels.npz")
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{shard / 'labels.npz'}: cannot be read: {error}") from None
        rows = read_tsv(shard / "index.tsv", "k", "start_sample", "n_samples", "text", "timbre0", "f0_scale0")
        count = sum(name.startswith("timbre") for name in rows[0].cells if name) if rows else 0
        for q in range(count):
            path = _sound_of(shard / f"r{q}")
            for row in rows:
                yield _rendition(folder.name, shard.name, path, row, q, labels)


def _rendition(source: str, shard: str, path: Path, row: Row, q: int, labels: Any) -> Utterance:
    k = row["k"]
    lacking = [name for name in (f"tok{k}", f"dur{k}", f"f0_{k}", f"en{q}_{k}") if name not in labels]
    if lacking:
        raise TrainingError(f"{row.place}: labels.npz has no {', '.join(lacking)}")
    tokens, durations = labels[f"tok{k}"], labels[f"dur{k}"]
    if len(tokens) != len(durations):  # stored without its pads
        tokens = np.concatenate([[0], tokens, [0]])
    known = Labels(
        tokens=[int(t) for t in tokens],
        frames=[2 * int(d) for d in durations],  # 25 ms units
        f0_hz=labels[f"f0_{k}"].astype(np.float32),
        energy=labels[f"en{q}_{k}"].astype(np.float32),
        f0_scale=row.number(f"f0_scale{q}"),
        timbre=row[f"timbre{q}"],
    )
    clip = Clip(path, row.count("start_sample"), row.count("n_samples"), 24000)
    return Utterance(source, f"{shard}/{k}/{q}", known.timbre, clip, row["text"], known)


def _folder(folder: Path) -> Iterator[Utterance]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in READ_SUFFIXES or not path.is_file():
            continue
        note = path.with_suffix(".txt")
        text = " ".join(_text(note).split()) if note.is_file() else ""
        name = path.relative_to(folder).with_suffix("").as_posix()
        yield Utterance(folder.name, name, path.parent.name, Clip(path), text)


def _sound_of(stem: Path) -> Path:
    """Return the sound file of that name, whatever its suffix; the name itself if there is none."""
    for suffix in ("flac", "wav", "opus", "ogg", "mp3"):
        path = stem.with_name(f"{stem.name}.{suffix}")
        if path.is_file():
            return path
    return stem.with_name(f"{stem.name}.flac")


LAYOUTS: dict[str, Callable[[Path], Iterator[Utterance]]] = {
    "librispeech": _librispeech,
    "ljspeech": _ljspeech,
    "pairs": _pairs,
    "pack": _pack,
    "folder": _folder,
}
