"""The training set: one folder of flat arrays that are mapped, not read, and a list of what lies where.

| file | holds |
|---|---|
| audio.i16 | int16 sound at 16 kHz, utterance after utterance |
| audio24.i16 | the same at 24 kHz, of synthetic renditions only |
| latents.npy | float32[rows, 128], the teacher's latent of every token |
| codebook.npy | float32[codes, 128] |
| code_idx.npy, code_p.npy | int16 and float32 [rows, 8]: the codes nearest to each row and their shares |
| f0.npy, energy.npy | float32, one for each decoder frame (12.5 ms) of synthetic renditions |
| timbres.npy | float32[renditions, 128], as the TTS has them |
| items.json | the utterances, see `Item` |
| manifest.json | for each source: licence, items, hours, and what was left out and why; the folders they came from |

`SetWriter` appends and can be stopped anywhere: what items.json does not name is cut off when the set is opened again.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.file_lock import try_lock

from . import TrainingError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

RATE_HZ = 16000
FRAME_FRAMES = 200  # samples at 16 kHz in a decoder frame
FRAME_FRAMES_24K = 300
LATENT = 128
VOICED_HZ = 40.0  # F0 labels under it mean unvoiced
_HEADER_BYTES = 128


@dataclass(frozen=True)
class Item:
    """One utterance of the set; -1 marks what it has not."""

    source: str
    speaker: str
    utt: str
    text: str
    start: int
    """First sample in audio.i16."""
    n: int
    """Samples at 16 kHz."""
    row: int = -1
    """First row of latents and codes; one row a token."""
    tokens: Sequence[int] = ()
    """Phone tokens with a pad at both ends."""
    frames: Sequence[int] = ()
    """Decoder frames of each token."""
    dev: bool = False
    """Kept out of training."""
    licence: str = ""
    frame0: int = -1
    """First place in f0 and energy."""
    f0_scale: float = 1.0
    start24: int = -1
    """First sample in audio24.i16."""
    tv: int = -1
    """Row of timbres."""
    score: float = 0.0
    """Mean log-posterior a frame of the alignment; 0 where it is exact."""

    @property
    def aligned(self) -> bool:
        """Whether it is known which token each frame belongs to."""
        return self.row >= 0

    @property
    def exact(self) -> bool:
        """Whether its labels come from the synthesis itself."""
        return self.frame0 >= 0


_FIELDS = {entry.name for entry in dataclasses.fields(Item)}


def read_items(folder: Path) -> list[Item]:
    """Return the utterances of a set. Raises TrainingError if there is none."""
    path = folder / "items.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        return [Item(**{name: value for name, value in item.items() if name in _FIELDS}) for item in found]
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; make a set with rtvc train data") from None
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write value so that path holds either all of it or what it held before."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, ensure_ascii=False, indent=indent), "utf-8")
    os.replace(temporary, path)


def write_array(path: Path, value: NDArray[Any]) -> None:
    """Write an .npy file in one step."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.save(file, value)
    os.replace(temporary, path)


class TrainingSet:
    """A set to read from. Raises TrainingError if a file that is asked for is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items = read_items(folder)

    def __reduce__(self) -> tuple[type[TrainingSet], tuple[Path]]:
        """Another process reads the files itself."""
        return TrainingSet, (self.folder,)

    @property
    def train(self) -> list[Item]:
        """Aligned utterances to learn from."""
        return [item for item in self.items if item.aligned and not item.dev]

    @property
    def dev(self) -> list[Item]:
        """Aligned utterances that are never learnt from."""
        return [item for item in self.items if item.aligned and item.dev]

    @cached_property
    def audio(self) -> NDArray[np.int16]:
        """16 kHz sound."""
        return self._raw("audio.i16")

    @cached_property
    def audio24(self) -> NDArray[np.int16]:
        """24 kHz sound."""
        return self._raw("audio24.i16")

    @cached_property
    def latents(self) -> Floats:
        """Latents of the tokens."""
        return self._mapped("latents.npy")

    @cached_property
    def codebook(self) -> Floats:
        """Codes as latents."""
        return self._mapped("codebook.npy")

    @cached_property
    def code_idx(self) -> NDArray[np.int16]:
        """Nearest codes of each row, nearest first."""
        return self._mapped("code_idx.npy")

    @cached_property
    def code_p(self) -> Floats:
        """Their shares, which sum to 1."""
        return self._mapped("code_p.npy")

    @cached_property
    def f0_hz(self) -> Floats:
        """F0 before f0_scale."""
        return self._mapped("f0.npy")

    @cached_property
    def energy(self) -> Floats:
        """Energy as the decoder takes it."""
        return self._mapped("energy.npy")

    @cached_property
    def timbres(self) -> Floats:
        """Timbre vectors."""
        return self._mapped("timbres.npy")

    def sound(self, item: Item) -> Floats:
        """Return an utterance's 16 kHz sound, float32[n]."""
        return self.audio[item.start : item.start + item.n].astype(np.float32) / np.float32(32768)

    def rows(self, item: Item) -> Ints:
        """Return the row of each decoder frame of an utterance, int64[sum(frames)]."""
        return np.repeat(np.arange(len(item.frames)) + item.row, item.frames)

    def melody(self, item: Item) -> tuple[Floats, Floats]:
        """Return F0 (before f0_scale) and energy of each decoder frame of a synthetic rendition."""
        place = slice(item.frame0, item.frame0 + sum(item.frames))
        return np.array(self.f0_hz[place]), np.array(self.energy[place])

    def token_of_row(self) -> Ints:
        """Return the token of every row; -1 where no utterance uses it."""
        tokens = np.full(len(self.latents), -1)
        for item in self.items:
            if item.aligned:
                tokens[item.row : item.row + len(item.tokens)] = item.tokens
        return tokens

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; that of a set without one says nothing."""
        path = self.folder / "manifest.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {"sources": {}}

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            return np.load(self.folder / name, mmap_mode="r")
        except FileNotFoundError:
            raise TrainingError(f"{self.folder / name}: no such file; rtvc train data and align make it") from None

    def _raw(self, name: str) -> NDArray[np.int16]:
        path = self.folder / name
        if not path.is_file():
            raise TrainingError(f"{path}: no such file; rtvc train data makes it")
        return np.memmap(path, np.int16, "r") if path.stat().st_size else np.zeros(0, np.int16)


class _Growing:
    """An array file that grows at its end: raw samples, or .npy whose header is brought up to date by `sync`."""

    def __init__(self, path: Path, dtype: type, columns: tuple[int, ...], rows: int) -> None:
        self._path, self._dtype, self._columns = path, np.dtype(dtype), columns
        self._header = _HEADER_BYTES if path.suffix == ".npy" else 0
        self._row_bytes = self._dtype.itemsize * int(np.prod(columns, dtype=int))
        if not path.is_file():
            path.write_bytes(bytes(self._header))
        self._file = path.open("r+b")
        self._file.truncate(self._header + rows * self._row_bytes)
        self._file.seek(0, 2)
        self.rows = rows

    def append(self, values: NDArray[Any]) -> int:
        """Add rows; return the number of the first."""
        values = np.ascontiguousarray(values, self._dtype).reshape(-1, *self._columns)
        self._file.write(values.tobytes())
        first, self.rows = self.rows, self.rows + len(values)
        return first

    def sync(self) -> None:
        if self._header:
            shape = (self.rows, *self._columns)
            text = io.BytesIO()
            about = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(text, about)
            head = text.getvalue()
            if len(head) > self._header:
                raise TrainingError(f"{self._path}: {len(head)} bytes of header are more than {self._header}")
            size = self._header - 10  # magic, version, length
            padded = head[:8] + size.to_bytes(2, "little") + head[10:].rstrip().ljust(size - 1) + b"\n"
            self._file.seek(0)
            self._file.write(padded)
            self._file.seek(0, 2)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class SetWriter:
    """A set to add to. Use as a context; leaving it saves, also after an error."""

    def __init__(self, folder: Path) -> None:
        """Make the set, or open it where the last save left it.

        Raises TrainingError if another process writes to it: what one has added the other would cut off.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = open(folder / ".lock", "a")  # noqa: SIM115  (held until the set is left)
        if not try_lock(self._lock.fileno()):
            self._lock.close()
            raise TrainingError(f"{folder}: another rtvc train is adding to it; wait until it has ended")
        self.items = read_items(folder) if (folder / "items.json").is_file() else []
        path = folder / "manifest.json"
        self.manifest: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {"sources": {}}
        items = self.items
        frames = max((item.frame0 + sum(item.frames) for item in items if item.exact), default=0)
        ends = {
            "audio.i16": max((item.start + item.n for item in items), default=0),
            "audio24.i16": max(
                (i.start24 + sum(i.frames) * FRAME_FRAMES_24K for i in items if i.start24 >= 0), default=0
            ),
            "latents.npy": max((item.row + len(item.tokens) for item in items if item.aligned), default=0),
            "f0.npy": frames,
            "energy.npy": frames,
            "timbres.npy": max((item.tv + 1 for item in items), default=0),
        }
        kinds = {"i16": (np.int16, ()), "npy": (np.float32, ())}
        self._files = {
            name: _Growing(folder / name, kinds[name.split(".")[1]][0], (LATENT,) if name in _WIDE else (), rows)
            for name, rows in ends.items()
        }

    def holds(self) -> set[tuple[str, str]]:
        """Return source and name of every utterance that is in."""
        return {(item.source, item.utt) for item in self.items}

    def add_sound(self, x: Floats) -> tuple[int, int]:
        """Add 16 kHz sound; return where it begins and how many samples it has."""
        return self._files["audio.i16"].append(_int16(x)), len(x)

    def add_sound24(self, x: Floats) -> int:
        """Add 24 kHz sound; return where it begins."""
        return self._files["audio24.i16"].append(_int16(x))

    def add_latents(self, z: Floats) -> int:
        """Add latents [tokens, 128]; return their first row."""
        return self._files["latents.npy"].append(z)

    def add_melody(self, f0_hz: Floats, energy: Floats) -> int:
        """Add F0 and energy of decoder frames; return their first place."""
        if len(f0_hz) != len(energy):
            raise ValueError(f"{len(f0_hz)} values of F0 and {len(energy)} of energy")
        self._files["energy.npy"].append(energy)
        return self._files["f0.npy"].append(f0_hz)

    def add_timbre(self, vector: Floats) -> int:
        """Add a timbre; return its row."""
        return self._files["timbres.npy"].append(vector)

    def claim(self, source: str, folder: Path, licence: str) -> None:
        """Write down from which folder a source comes, before anything of it is added.

        Raises TrainingError if the set has one of that name from another folder or under another licence.
        """
        folders = self.manifest.setdefault("folders", {})
        known = self.manifest["sources"].get(source)
        if folders.get(source, str(folder)) != str(folder):
            raise TrainingError(
                f"{self.folder}: its source {source!r} came from {folders[source]}, not from {folder}; rename this "
                f"folder, or, if it is that one, moved, change folders in {self.folder / 'manifest.json'}"
            )
        if known and known["licence"] != licence:
            raise TrainingError(
                f"{self.folder}: its source {source!r} came under the licence {known['licence']!r}, not {licence!r}; "
                "give that one, or rename the folder if it is another corpus"
            )
        folders[source] = str(folder)
        if not known:
            self.note(source, licence, {})

    def note(self, source: str, licence: str, skipped: dict[str, int]) -> None:
        """Write down under which licence a source came and what of it was left out."""
        mine = [item for item in self.items if item.source == source]
        self.manifest["sources"][source] = {
            "licence": licence,
            "items": len(mine),
            "hours": round(sum(item.n for item in mine) / RATE_HZ / 3600, 4),
            "speakers": len({item.speaker for item in mine}),
            "held_out": sum(item.dev for item in mine),
            "skipped": dict(sorted(skipped.items())),
        }

    def save(self) -> None:
        """Bring everything to the disk; only then do the items name it."""
        for file in self._files.values():
            file.sync()
        write_json(self.folder / "items.json", [dataclasses.asdict(item) for item in self.items])
        write_json(self.folder / "manifest.json", self.manifest, indent=1)

    def __enter__(self) -> SetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            for file in self._files.values():
                file.close()
            self._lock.close()


_WIDE = ("latents.npy", "timbres.npy")


def _int16(x: Floats) -> NDArray[np.int16]:
    return np.clip(np.round(x * 32767.0), -32768, 32767).astype(np.int16)
