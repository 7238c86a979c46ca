"""How the presets sound, judged by models: words kept, quality, naturalness, pitch, and how much of the source is left.

Sources (`--sources`; the bundled sample if none are named) are a folder of recordings, in which a samples.toml may give
the texts, or a speech pack: index.tsv with file, utt, start_sample, n_samples, text beside the audio. Half are low
voices and half high, told apart by median F0 (SPLIT_HZ). Every preset converts all of them. Beside it stand shifts
by +5 and -5 semitones with other tools: pedalboard (Rubber Band), librosa (phase vocoder) and WORLD (offline).

WER is pooled over utterances, against the text where there is one, else against what Whisper hears in the source.
Columns in _f and _m are the high and the low voices, f0 the median in Hz of the source and of the result. `mos_se` is
the standard error of the DistillMOS lost, paired with the source: differences below twice that mean nothing.

    python -m bench.presets --sources DIR --json FILE                convert with rtvc, judge every preset
    python -m bench.presets --sources DIR --export OUT               only write those sources as wav files
    python -m bench.presets --sources OUT --converted DIR --bare     judge files of the same names in DIR
"""

from __future__ import annotations

import csv
import itertools
import json
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from bench.judges import F0_CEIL_HZ, F0_FLOOR_HZ, Judges, Signal, word_errors
from bench.report import Cell, Report, arguments
from rtvc.audio.files import READ_SUFFIXES

SPLIT_HZ = 160.0  # between the usual medians of men and women
SECONDS = (6.0, 9.0)  # of an utterance taken from a pack
SEMITONES = (5, -5)
WER_ADDED_MAX = "<= 0.05"
EFFECTS = ("whisper", "robot", "telephone")  # not meant to sound like a person: DistillMOS does not judge them
PACK = ("file", "utt", "start_sample", "n_samples", "text")  # columns of index.tsv
PEERS = ("pedalboard", "librosa")  # WORLD stands beside as the offline reference
CONVERTER = "{python} -m rtvc convert {input} {output} --preset {preset}"
AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3")

EACH = ("row", "utterance", "edits", "words", "distillmos", "ovrl", "f0_in", "f0", "similarity", "text", "heard")

Sound = tuple[Signal, int]  # mono samples and their rate in Hz


@dataclass(frozen=True)
class Utterance:
    """A source and its words, empty if unknown. Its speaker is what its name has before the first "-"."""

    name: str
    sound: Sound
    text: str

    @property
    def speaker(self) -> str:
        return self.name.split("-", 1)[0]


@dataclass(frozen=True)
class Score:
    """What the judges say of one sound."""

    heard: str
    dnsmos: dict[str, float]
    distillmos: float
    speaker: NDArray[np.float32]
    voiced_hz: NDArray[np.float64]


def main() -> None:
    parser = arguments("presets", __doc__)
    parser.add_argument(
        "--sources", type=Path, metavar="DIR", help="recordings or a speech pack (default: the bundled sample)"
    )
    parser.add_argument("--limit", type=int, default=12, metavar="N", help="utterances, half low and half high voices")
    parser.add_argument("--presets", metavar="A,B", help="only these (default: all built-in presets)")
    parser.add_argument("--converter", default=CONVERTER, metavar="CMD", help=f"default: {CONVERTER}")
    parser.add_argument("--converted", type=Path, metavar="DIR", help="judge these files, or each folder of them")
    parser.add_argument("--bare", action="store_true", help="without the other tools")
    parser.add_argument("--each", type=Path, metavar="FILE", help="also write a line of TSV for every file judged")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the sources as wav files and stop")
    args = parser.parse_args()

    judges = Judges()
    found = utterances(args.sources or bundled_sample())
    sources = balanced(found, judges, min(args.limit, 4) if args.quick else args.limit)
    if args.export:
        export(sources, args.export)
        return
    report = Report("presets")
    table = Table(report, judges, sources)
    if not args.bare:
        for (name, shift), semitones in itertools.product(SHIFTS.items(), SEMITONES):
            table.add(f"{name} {semitones:+d}", [shift(*source.sound, semitones) for source in sources])
    if args.converted:
        folders = sorted(entry for entry in args.converted.iterdir() if entry.is_dir()) or [args.converted]
        names = [folder.name for folder in folders]
        for folder in folders:
            table.add(folder.name, [read(recording(folder, source.name)) for source in sources])
    else:
        names = args.presets.split(",") if args.presets else built_in_presets()
        for name in names:
            table.add(name, convert(sources, args.converter, name))
    table.judge(names)
    report.finish(args.json)
    if args.each:
        table.write_each(args.each)


class Table:
    """Rows over the same sources, whose own scores are taken once."""

    def __init__(self, report: Report, judges: Judges, sources: list[Utterance]) -> None:
        self._report, self._judges, self._sources = report, judges, sources
        self._before = [self._score(source.sound) for source in sources]
        self._texts = [s.text or score.heard for s, score in zip(sources, self._before, strict=True)]
        medians = [median(score.voiced_hz) for score in self._before]
        self._voices = {"_f": [hz >= SPLIT_HZ for hz in medians], "_m": [hz < SPLIT_HZ for hz in medians]}
        self._rows: dict[str, dict[str, Cell]] = {}
        self._each: list[list[object]] = []
        self._row("source", self._before)

    def add(self, name: str, sounds: list[Sound]) -> None:
        """Judge sounds, one for each source in order, as one row."""
        self._row(name, [self._score(sound) for sound in sounds])

    def judge(self, names: list[str]) -> None:
        """Set the targets of the rows named: words kept, and more natural than the other tools where that is meant."""
        peers = [self._figure(name, "distillmos") for name in self._rows if name.startswith(PEERS)]
        for name in names:
            errors, natural = self._figure(name, "wer"), self._figure(name, "distillmos")
            self._report.target(f"{name}: WER added", errors - self._figure("source", "wer"), "", WER_ADDED_MAX)
            if peers and name not in EFFECTS:
                ahead = natural - max(peers)
                self._report.target(f"{name}: DistillMOS above the best of {', '.join(PEERS)}", ahead, "MOS", ">= 0")

    def _figure(self, name: str, column: str) -> float:
        """Return a figure of a row, NaN where it could not be measured."""
        cell = self._rows[name][column]
        return float("nan") if cell is None else float(cell)

    def write_each(self, path: Path) -> None:
        """Write every file's scores and what Whisper heard, tab-separated."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
            out.writerow(EACH)
            out.writerows(self._each)

    def _score(self, sound: Sound) -> Score:
        judges = self._judges
        f0_hz = judges.f0(*sound)
        return Score(judges.transcribe(*sound), judges.dnsmos(*sound), judges.distillmos(*sound),
                     judges.speaker_embedding(*sound), f0_hz[f0_hz > 0])  # fmt: skip

    def _row(self, name: str, scores: list[Score]) -> None:
        errors = np.array([word_errors(text, s.heard) for text, s in zip(self._texts, scores, strict=True)])
        mos = np.array([s.distillmos for s in scores])
        lost = np.array([s.distillmos for s in self._before]) - mos
        similarity = [float(a.speaker @ b.speaker) for a, b in zip(self._before, scores, strict=True)]
        row: dict[str, Cell] = {"row": name, "n": len(scores), "wer": _pooled(errors)}
        row |= {f"wer{end}": _pooled(errors[picked]) for end, picked in self._voices.items()}
        row |= {key: float(np.mean([s.dnsmos[key] for s in scores])) for key in ("sig", "bak", "ovrl")}
        row |= {"distillmos": float(mos.mean()), "mos_se": float(lost.std(ddof=1) / np.sqrt(len(mos)))}
        row |= {f"distillmos{end}": _mean(mos[picked]) for end, picked in self._voices.items()}
        for end, picked in self._voices.items():
            row[f"f0_in{end}"] = median(*itertools.compress((s.voiced_hz for s in self._before), picked))
            row[f"f0{end}"] = median(*itertools.compress((s.voiced_hz for s in scores), picked))
        row["similarity"] = float(np.mean(similarity))
        self._rows[name] = row
        self._report.row(**row)
        for i, (source, before, after) in enumerate(zip(self._sources, self._before, scores, strict=True)):
            figures = (after.distillmos, after.dnsmos["ovrl"], median(before.voiced_hz), median(after.voiced_hz))
            shown = (f"{figure:.4g}" for figure in (*figures, similarity[i]))
            self._each.append([name, source.name, *errors[i], *shown, self._texts[i], after.heard])


def utterances(folder: Path) -> Iterator[Utterance]:
    """Return what a folder holds: a speech pack (`pack`) or recordings. Ends the bench, saying why, if neither."""
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder")
    if (folder / "index.tsv").is_file():
        return pack(folder)
    if not any(path.suffix.lower() in AUDIO for path in folder.iterdir()):
        raise SystemExit(f"{folder}: neither a speech pack (index.tsv) nor recordings ({', '.join(AUDIO)})")
    return recordings(folder)


def transcribed(folder: Path) -> Iterator[Utterance]:
    """Yield those of a folder's `utterances` whose text is known. Ends the bench, saying why, if there are none."""
    found = (utterance for utterance in utterances(folder) if utterance.text)
    first = next(found, None)
    if first is None:
        raise SystemExit(f"{folder}: no utterance there has a text, and words are counted against it")
    yield from itertools.chain([first], found)


def pack_lines(folder: Path) -> list[dict[str, str]]:
    """Return the lines of a speech pack's index.tsv. Ends the bench, saying why, if it cannot be used."""
    path = folder / "index.tsv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}; a speech pack was expected there") from None
    if missing := [name for name in PACK if not lines or lines[0].get(name) is None]:
        raise SystemExit(f"{path}: no column {', '.join(missing)}")
    return lines


def pack(folder: Path) -> Iterator[Utterance]:
    """Yield stretches of SECONDS from a speech pack, one of each file in turn, then the second of each, and so on.

    Neighbouring utterances are joined where one is too short. One that is too long is cut at its quietest place if it
    has no text, and left out if it has. Offsets count at the rate the files state (an Opus file states its source's).
    """
    by_file = itertools.groupby(pack_lines(folder), key=lambda line: line["file"])
    streams = [_stretches(folder / name, list(group)) for name, group in by_file]
    for turn in itertools.zip_longest(*streams):
        yield from (utterance for utterance in turn if utterance is not None)


def _stretches(path: Path, lines: list[dict[str, str]]) -> Iterator[Utterance]:
    rate_hz = sf.info(path).samplerate
    shortest, longest = (round(limit * rate_hz) for limit in SECONDS)
    joined: list[dict[str, str]] = []
    for line in lines:
        joined.append(line)
        start = int(joined[0]["start_sample"])
        frames = int(line["start_sample"]) + int(line["n_samples"]) - start
        if frames < shortest:
            continue
        text = " ".join(part["text"] for part in joined)
        if frames <= longest or not text.strip():
            x, _ = sf.read(path, min(frames, longest), start, dtype="float32")
            end = len(x) if frames <= longest else _quietest(x, shortest, rate_hz)
            yield Utterance(f"{path.stem}-{Path(joined[0]['utt']).stem}", (x[:end], rate_hz), text.strip())
        joined = []


def _quietest(x: Signal, first: int, rate_hz: int) -> int:
    """Return the sample after `first` around which 40 ms hold the least energy."""
    frames = rate_hz // 25
    energy = np.convolve(x[first:].astype(np.float64) ** 2, np.ones(frames), "valid")
    return first + int(np.argmin(energy)) + frames // 2


def recordings(folder: Path) -> Iterator[Utterance]:
    """Yield the audio files of a folder in order of name, with the texts that its samples.toml gives.

    Raises FileNotFoundError for a folder without audio.
    """
    listed = folder / "samples.toml"
    tables = tomllib.loads(listed.read_text("utf-8")) if listed.exists() else {}
    texts = {table["file"]: table["text"] for table in tables.values() if isinstance(table, dict)}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO)
    if not paths:
        raise FileNotFoundError(f"no audio files ({', '.join(AUDIO)}) in {folder}")
    for path in paths:
        yield Utterance(path.stem, read(path), texts.get(path.name, ""))


def recording(folder: Path, name: str) -> Path:
    """Return the audio file of that name in folder, whatever its format. Raises FileNotFoundError."""
    paths = [folder / f"{name}{suffix}" for suffix in AUDIO]
    for path in paths:
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder} has no {name} ({', '.join(AUDIO)})")


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files in folder and below, in order of name. Raises SystemExit naming it if there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in READ_SUFFIXES)
    if not found:
        raise SystemExit(
            f"{folder}: no audio files there; give a folder that holds some ({', '.join(sorted(READ_SUFFIXES))})"
        )
    return found


def read(path: Path) -> Sound:
    """Return a file's first channel and rate."""
    x, rate_hz = sf.read(path, dtype="float32", always_2d=True)
    return x[:, 0], rate_hz


def bundled_sample() -> Path:
    return Path(str(resources.files("rtvc") / "samples"))


def balanced(found: Iterator[Utterance], judges: Judges, limit: int) -> list[Utterance]:
    """Return the first limit/2 high and limit/2 low voices found (rounded up), or as many as there are."""
    wanted = {True: -(-limit // 2), False: -(-limit // 2)}
    chosen = []
    for utterance in found:
        f0_hz = judges.f0(*utterance.sound)
        high = median(f0_hz[f0_hz > 0]) >= SPLIT_HZ
        if wanted[high]:
            wanted[high] -= 1
            chosen.append(utterance)
        if not any(wanted.values()):
            break
    return chosen


def export(sources: list[Utterance], folder: Path) -> None:
    """Write every source as NAME.wav (16 bit), and samples.toml with the texts."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for source in sources:
        x, rate_hz = source.sound
        sf.write(folder / f"{source.name}.wav", x, rate_hz, subtype="PCM_16")
        file, text = json.dumps(f"{source.name}.wav"), json.dumps(source.text)  # these are TOML strings too
        lines.append(f"[{json.dumps(source.name)}]\nfile = {file}\ntext = {text}\n")
    (folder / "samples.toml").write_text("\n".join(lines), "utf-8")
    print(f"{len(sources)} sources written to {folder}")


def convert(sources: list[Utterance], command: str, preset: str) -> list[Sound]:
    """Return what the converter makes of every source. Raises CalledProcessError when it fails."""
    sounds = []
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "in.wav", Path(folder) / "out.wav"
        places = {"python": sys.executable, "input": before, "output": after, "preset": preset}
        for source in sources:
            sf.write(before, *source.sound, subtype="PCM_16")
            after.unlink(missing_ok=True)
            words = [word.format(**places) for word in shlex.split(command)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            sounds.append(read(after))
    return sounds


def built_in_presets() -> list[str]:
    from rtvc.voices import presets

    return list(presets.built_in_presets())


def shift_pedalboard(x: Signal, rate_hz: int, semitones: int) -> Sound:
    import pedalboard

    y: Signal = pedalboard.PitchShift(semitones=semitones)(x, rate_hz)
    return y, rate_hz


def shift_librosa(x: Signal, rate_hz: int, semitones: int) -> Sound:
    """librosa with the window nearest 32 ms: on speech far better than its default of 2048 samples."""
    from librosa.effects import pitch_shift

    y: Signal = pitch_shift(x, sr=rate_hz, n_steps=semitones, n_fft=2 ** round(np.log2(0.032 * rate_hz)))
    return y, rate_hz


def shift_world(x: Signal, rate_hz: int, semitones: int) -> Sound:
    """WORLD: Harvest, CheapTrick and D4C, F0 scaled, the envelope kept."""
    import pyworld

    signal = x.astype(np.float64)
    f0_hz, times = pyworld.harvest(signal, rate_hz, F0_FLOOR_HZ, F0_CEIL_HZ)
    envelope = pyworld.cheaptrick(signal, f0_hz, times, rate_hz)
    aperiodicity = pyworld.d4c(signal, f0_hz, times, rate_hz)
    y = pyworld.synthesize(f0_hz * 2 ** (semitones / 12), envelope, aperiodicity, rate_hz)
    return y[: len(x)].astype(np.float32), rate_hz


SHIFTS: dict[str, Callable[[Signal, int, int], Sound]] = {
    "pedalboard": shift_pedalboard,
    "librosa": shift_librosa,
    "world": shift_world,
}


def median(*f0_hz: NDArray[np.float64]) -> float:
    """Return the median of all voiced frames given, NaN if there are none."""
    frames = np.concatenate([np.empty(0), *f0_hz])
    return float(np.median(frames)) if len(frames) else float("nan")


def _pooled(errors: NDArray[np.int64]) -> float | None:
    edits, words = errors.sum(axis=0)
    return float(edits / words) if words else None


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


if __name__ == "__main__":
    main()
