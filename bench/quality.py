"""How the neural voices sound, judged by models on speakers they never met: words, target, naturalness, melody, cost.

Every source (`--sources`: a folder of recordings, a samples.toml in it may give the texts, or a speech pack with
index.tsv) is converted to every voice by a command, at its live settings, a folder at a time. Rows: the source itself,
WORLD (offline; F0 moved to the target's median), a DSP preset of the target's sex, then each voice and operating point.

WER and CER are pooled, against the text where there is one, else against what Whisper hears in the source. Similarity
is the cosine to a reference recording of the voice (`--references`, NAME.* for each) by two encoders; `accepted` is the
share at their equal-error thresholds (0.717 and 0.640); `left` what is left to the source. F0 is compared where both
are voiced and the source's is known, two trackers finding the same: correlation of log F0, and the share of frames over
20 % off the source's melody moved to the output's median; `f0_one` is the correlation by one tracker alone. `_ci` is
half the width of a 95 % interval over speakers (bootstrap of whole speakers, 1000 draws; a speaker is what a file's
name has before its first "-"). Latency and real-time factor are the engine's; `command_rtf` is what the command took
with its start, or WORLD, over the length of the sources.

    python -m bench.quality --sources DIR --voices heart,michael --limit 12 --json FILE --pictures DIR
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from bench.judges import F0_CEIL_HZ, F0_FLOOR_HZ, Judges, Signal, cer, word_errors
from bench.presets import (
    SPLIT_HZ,
    Sound,
    Utterance,
    balanced,
    bundled_sample,
    median,
    read,
    recording,
    utterances,
)
from bench.report import Cell, Report, arguments

CONVERTER = "{python} -m rtvc convert {input} {output} --voice {voice} --latency {latency}"
DSP = "{python} -m rtvc convert {input} {output} --preset {preset}"
THRESHOLDS = (0.717, 0.640)
DRAWS = 1000
# what must be reached: (what, column, bound of fast, bound of clear)
MUSTS = (
    ("WER above the source's", "wer_added", "<= 0.15", "<= 0.08"),
    ("similarity to the target", "target", ">= 0.80", ">= 0.82"),
    ("accepted as the target", "accepted", ">= 0.80", ">= 0.85"),
    ("DistillMOS", "distillmos", ">= 3.6", ">= 3.9"),
    ("DNSMOS OVRL", "ovrl", ">= 2.9", ">= 3.1"),
    ("F0 correlation", "f0_corr", ">= 0.85", ">= 0.87"),
    ("algorithmic latency, ms", "latency_ms", "<= 45", "<= 100"),
    ("real-time factor", "rtf", "<= 0.20", "<= 0.20"),
)


@dataclass(frozen=True)
class Score:
    """What the judges say of one sound."""

    heard: str
    dnsmos: dict[str, float]
    distillmos: float
    speakers: tuple[NDArray[np.float32], NDArray[np.float32]]
    f0_hz: NDArray[np.float64]


@dataclass(frozen=True)
class Made:
    """What was made of all sources for one voice, and the seconds that took for each second of them."""

    sounds: list[Sound]
    rtf: float


@dataclass(frozen=True)
class Trial:
    """One conversion: who speaks, the source's score, words and F0 where known, the output's score, the target's two
    embeddings.
    """

    speaker: str
    before: Score
    text: str
    known_hz: NDArray[np.float64]
    after: Score
    target: tuple[NDArray[np.float32], NDArray[np.float32]] | None


def main() -> None:
    parser = arguments("quality", __doc__)
    parser.add_argument(
        "--sources", type=Path, metavar="DIR", help="recordings or a speech pack (default: the bundled samples)"
    )
    parser.add_argument("--voices", metavar="A,B", help="default: all built-in voices")
    parser.add_argument("--latency", metavar="A,B", default="fast,clear", help="operating points (default: fast,clear)")
    parser.add_argument("--limit", type=int, default=12, metavar="N", help="sources, half low and half high voices")
    parser.add_argument(
        "--references", type=Path, metavar="DIR", help="a recording of each voice (default: the bundled ones)"
    )
    parser.add_argument(
        "--converter", default=CONVERTER, metavar="CMD", help=f"from folder to folder; default: {CONVERTER}"
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write spectrogram panels there")
    parser.add_argument("--bare", action="store_true", help="without WORLD and the DSP preset")
    parser.add_argument("--language", default="en", metavar="CODE", help="of the sources, for Whisper (en)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the converted files there")
    args = parser.parse_args()

    from rtvc.engine.params import TIMBRES

    judges = Judges(language=args.language)
    sources = balanced(utterances(args.sources or bundled_sample()), judges, 2 if args.quick else args.limit)
    voices = args.voices.split(",") if args.voices else list(TIMBRES[:1] if args.quick else TIMBRES)
    references = args.references or bundled_references()
    targets = {voice: read(recording(references, voice)) for voice in voices}
    report = Report("quality")
    with tempfile.TemporaryDirectory() as temporary:
        kept = args.keep or Path(temporary)
        bench = Bench(judges, sources, targets, report, kept)
        bench.row("source", {}, None)
        if not args.bare:
            bench.row("world", {voice: bench.world(voice) for voice in voices}, None)
            presets = {voice: "feminine" if bench.medians[voice] >= SPLIT_HZ else "masculine" for voice in voices}
            bench.row("dsp", {v: bench.convert(DSP, f"dsp-{v}", preset=presets[v]) for v in voices}, None)
        for point in args.latency.split(","):
            made = {v: bench.convert(args.converter, f"{point}-{v}", voice=v, latency=point) for v in voices}
            bench.row(point, made, cost(point) if args.converter == CONVERTER else None)
            if args.pictures:
                panels(args.pictures, point, sources, made)
    bench.judge([point for point in args.latency.split(",") if point in ("fast", "clear")])
    report.finish(args.json)


class Bench:
    """Rows over the same sources, whose own scores and whose targets' are taken once."""

    def __init__(
        self, judges: Judges, sources: list[Utterance], targets: dict[str, Sound], report: Report, folder: Path
    ) -> None:
        self._judges, self._sources, self._report, self._folder = judges, sources, report, folder
        self._before = [self._score(source.sound) for source in sources]
        self._texts = [s.text or b.heard for s, b in zip(sources, self._before, strict=True)]
        self._known_hz = [judges.known_f0(*source.sound) for source in sources]
        self._targets = {name: judges.speakers(*sound) for name, sound in targets.items()}
        self.medians = {name: _median_hz(judges, sound) for name, sound in targets.items()}
        self._rows: dict[str, dict[str, Cell]] = {}
        self._seconds = sum(len(x) / rate_hz for x, rate_hz in (source.sound for source in sources))

    def world(self, voice: str) -> Made:
        """Return what WORLD makes of all sources."""
        begin = time.perf_counter()
        sounds = [to_median(source.sound, self.medians[voice]) for source in self._sources]
        return Made(sounds, (time.perf_counter() - begin) / self._seconds)

    def convert(self, command: str, name: str, **places: str) -> Made:
        """Return what the command makes of the folder of all sources. Raises CalledProcessError when it fails."""
        before, after = self._folder / "sources", self._folder / name
        if not before.exists():
            before.mkdir(parents=True)
            for source in self._sources:
                sf.write(before / f"{source.name}.wav", *source.sound, subtype="PCM_16")
        words = [
            word.format(python=sys.executable, input=before, output=after, **places) for word in shlex.split(command)
        ]
        begin = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        took_s = time.perf_counter() - begin
        return Made([read(recording(after, source.name)) for source in self._sources], took_s / self._seconds)

    def row(self, name: str, made: dict[str, Made], costs: tuple[float, float] | None) -> None:
        """Judge the sounds made of every source for every voice, a row for each and one for all; none: the sources."""
        speakers = (source.speaker for source in self._sources)
        lines = list(zip(speakers, self._before, self._texts, self._known_hz, strict=True))
        trials = {} if made else {"": [Trial(*line, line[1], None) for line in lines]}
        for voice, of_voice in made.items():
            after = [self._score(sound) for sound in of_voice.sounds]
            trials[voice] = [
                Trial(*line, score, self._targets[voice]) for line, score in zip(lines, after, strict=True)
            ]
            self._add(f"{name} {voice}", trials[voice], costs, of_voice.rtf)
        rtf = float(np.mean([of_voice.rtf for of_voice in made.values()])) if made else None
        self._add(name, list(itertools.chain(*trials.values())), costs, rtf)

    def judge(self, points: list[str]) -> None:
        """Set the targets of the operating points."""
        for (what, column, *bounds), point in itertools.product(MUSTS, points):
            cell = self._rows[point].get(column)
            self._report.target(f"{point}: {what}", None if cell is None else float(cell), "", bounds[point == "clear"])

    def _score(self, sound: Sound) -> Score:
        judges = self._judges
        return Score(judges.transcribe(*sound), judges.dnsmos(*sound), judges.distillmos(*sound),
                     judges.speakers(*sound), judges.f0(*sound))  # fmt: skip

    def _add(self, name: str, trials: list[Trial], costs: tuple[float, float] | None, rtf: float | None) -> None:
        speakers = np.array([t.speaker for t in trials])

        def interval(values: NDArray[np.float64], figure: Callable[[NDArray[np.float64]], float] = _mean) -> Cell:
            return _interval(values, speakers, figure)

        errors = np.array([word_errors(t.text, t.after.heard) for t in trials], np.float64)
        own = np.array([word_errors(t.text, t.before.heard) for t in trials], np.float64)
        mos = np.array([t.after.distillmos for t in trials])
        row: dict[str, Cell] = {"row": name, "n": len(trials), "speakers": len(set(speakers))}
        row |= {"wer": _pooled(errors), "wer_ci": interval(errors, _pooled)}
        added = np.column_stack([errors[:, 0] - own[:, 0], errors[:, 1]])
        row |= {"wer_added": _pooled(added), "added_ci": interval(added, _pooled)}
        row |= {"cer": float(np.mean([cer(t.text, t.after.heard) for t in trials]))}
        for k, (column, threshold) in enumerate(zip(("target", "target2"), THRESHOLDS, strict=True)):
            if trials[0].target is None:
                continue
            near = np.array([float(t.after.speakers[k] @ t.target[k]) for t in trials if t.target])
            row |= {column: float(near.mean()), f"{column}_ci": interval(near)}
            row["accepted" if k == 0 else "accepted2"] = float(np.mean(near >= threshold))
            row["left" if k == 0 else "left2"] = float(
                np.mean([t.after.speakers[k] @ t.before.speakers[k] for t in trials])
            )
        row |= {"distillmos": float(mos.mean()), "mos_ci": interval(mos)}
        row |= {key: float(np.mean([t.after.dnsmos[key] for t in trials])) for key in ("sig", "bak", "ovrl")}
        correlation, gross = np.array([melody(t.known_hz, t.after.f0_hz) for t in trials]).T
        row |= {"f0_corr": _mean(correlation), "f0_ci": interval(correlation), "f0_gross": _mean(gross)}
        row |= {"f0_one": _mean(np.array([melody(t.before.f0_hz, t.after.f0_hz)[0] for t in trials]))}
        if costs:
            row |= {"latency_ms": costs[0], "rtf": costs[1]}
        if rtf is not None:
            row["command_rtf"] = rtf
        self._rows[name] = row
        self._report.row(**row)


def melody(before_hz: NDArray[np.float64], after_hz: NDArray[np.float64]) -> tuple[float, float]:
    """Return the correlation of log F0 and the share of gross errors where both are voiced; NaN under 20 frames."""
    n = min(len(before_hz), len(after_hz))
    both = (before_hz[:n] > 0) & (after_hz[:n] > 0)
    if np.count_nonzero(both) < 20:
        return float("nan"), float("nan")
    a, b = np.log(before_hz[:n][both]), np.log(after_hz[:n][both])
    off = np.abs((b - np.median(b)) - (a - np.median(a)))
    return float(np.corrcoef(a, b)[0, 1]), float(np.mean(off > np.log(1.2)))


def to_median(sound: Sound, target_hz: float) -> Sound:
    """Return WORLD's analysis and synthesis of the sound with its median F0 moved to target_hz."""
    import pyworld

    x, rate_hz = sound
    signal = x.astype(np.float64)
    f0_hz, times = pyworld.harvest(signal, rate_hz, F0_FLOOR_HZ, F0_CEIL_HZ)
    envelope = pyworld.cheaptrick(signal, f0_hz, times, rate_hz)
    aperiodicity = pyworld.d4c(signal, f0_hz, times, rate_hz)
    ratio = target_hz / median(f0_hz[f0_hz > 0])
    y: Signal = pyworld.synthesize(f0_hz * ratio, envelope, aperiodicity, rate_hz)[: len(x)].astype(np.float32)
    return y, rate_hz


def cost(point: str) -> tuple[float, float]:
    """Return the engine's algorithmic latency in ms and its real-time factor on one core, in blocks of 256 frames."""
    from rtvc.engine.build import build_engine
    from rtvc.engine.params import to_vector

    engine = build_engine(values=to_vector({"voice.name": "neural"}), point=point)
    import soxr

    sound, rate_hz = read(recording(bundled_sample(), "female"))
    x = np.ascontiguousarray(soxr.resample(sound[: 4 * rate_hz], rate_hz, 48000), dtype=np.float32)
    y = np.zeros_like(x)
    for block in range(0, len(x) // 4, 256):
        engine.process(x[block : block + 256], y[block : block + 256])
    begin = time.perf_counter()
    for block in range(0, len(x), 256):
        engine.process(x[block : block + 256], y[block : block + 256])
    return engine.delay_ms, (time.perf_counter() - begin) / (len(x) / 48000)


def panels(folder: Path, point: str, sources: list[Utterance], made: dict[str, Made]) -> None:
    """Write a picture for each source: its spectrogram above, each voice's below it."""
    from rtvc.report import png_rows

    folder.mkdir(parents=True, exist_ok=True)
    for i, source in enumerate(sources):
        rows = [source.sound, *(of_voice.sounds[i] for of_voice in made.values())]
        (folder / f"{point}-{source.name}.png").write_bytes(png_rows(rows))


def _median_hz(judges: Judges, sound: Sound) -> float:
    f0_hz = judges.f0(*sound)
    return median(f0_hz[f0_hz > 0])


def bundled_references() -> Path:
    """Return the folder of the recordings that come with the voices."""
    from rtvc.engine.network import weights_folder

    return weights_folder() / "voices"


def _pooled(errors: NDArray[np.float64]) -> float:
    return float(errors[:, 0].sum() / max(errors[:, 1].sum(), 1.0))


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _interval(
    values: NDArray[np.float64], speakers: NDArray[np.str_], figure: Callable[[NDArray[np.float64]], float]
) -> float | None:
    """Return half the width of the figure's 95 % interval, speakers drawn with all that is theirs; None of just one."""
    rng = np.random.default_rng(0)
    theirs = [values[speakers == name] for name in np.unique(speakers)]
    if len(theirs) < 2:
        return None
    drawn = [
        figure(np.concatenate([theirs[k] for k in rng.integers(0, len(theirs), len(theirs))])) for _ in range(DRAWS)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(high - low) / 2


if __name__ == "__main__":
    main()
