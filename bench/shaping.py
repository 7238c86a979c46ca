"""What softness, breath, age and energy do to a voice: does each move what it is named for, and do the words stay?

Sources (`--sources`: recordings or a speech pack) are said by the live engine as each voice at five positions of each
control (`rtvc.voices.tune`). Measured over voiced frames of 40 ms: tilt, the level at 2 to 6 kHz over that at 0.1 to
1 kHz (dB); HNR, harmonics to noise by autocorrelation (dB; Boersma 1993); swing, the deviation of the level (dB); the
geometric mean of F1 to F3; the median F0. WER is what Whisper does not hear of the source's text. A measure is
monotone if every step moves it the right way. On few words WER is chance: 128 gave 3 to 5 points lost, 326 under 2.

    python -m bench.shaping --sources pack --voices heart,fenrir --json FILE
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.judges import F0_FRAME_MS, Judges, Signal, word_errors
from bench.presets import Utterance, bundled_sample, utterances
from bench.report import Report, arguments
from rtvc.engine.build import build_engine
from rtvc.engine.params import to_vector
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.voices.analysis import speech_statistics
from rtvc.voices.rates import at_rate
from rtvc.voices.tune import shaped

FRAME_S = 0.04
BLOCK_FRAMES = 480
WORSE_WORDS = 0.03


@dataclass(frozen=True)
class Control:
    """One control: its positions, and by measure whether that should rise (1) or fall (-1) with it."""

    positions: tuple[float, ...]
    moves: dict[str, int]
    parameter: str = ""
    """Of the registry, where it is not a control of `shaped`."""
    neutral: float = 0.0


CONTROLS = {
    "softness": Control((-1.0, -0.5, 0.0, 0.5, 1.0), {"tilt_db": -1}),
    "breath": Control((0.0, 0.25, 0.5, 0.75, 1.0), {"hnr_db": -1}, "breath.amount"),
    "age": Control((-1.0, -0.5, 0.0, 0.5, 1.0), {"formants_hz": -1, "f0_hz": -1}),
    "energy": Control((0.0, 0.5, 1.0, 1.5, 2.0), {"swing_db": 1}, "level.energy", 1.0),
}


def main() -> None:
    parser = arguments("shaping", __doc__)
    parser.add_argument(
        "--sources", type=Path, metavar="DIR", help="recordings or a pack (default: the bundled sample)"
    )
    parser.add_argument("--voices", default="heart,fenrir", metavar="A,B", help="built-in voices (heart,fenrir)")
    parser.add_argument("--limit", type=int, default=12, metavar="N", help="sources (12)")
    args = parser.parse_args()
    found = utterances(args.sources or bundled_sample())
    sources = list(itertools.islice(found, 1 if args.quick else args.limit))
    report, judges = Report("shaping"), Judges()
    for name, control in CONTROLS.items():
        rows = []
        for position in control.positions:
            more = {control.parameter: position} if control.parameter else {}
            sound = shaped({}, more=more) if more else shaped({}, **{name: position})
            scores = [measure(judges, source, voice, sound) for voice in args.voices.split(",") for source in sources]
            row = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
            row["wer"] = row.pop("errors") / max(row.pop("words"), 1e-9)
            report.row(control=name, position=position, **row)
            rows.append(row)
        for key, sign in control.moves.items():
            steps = np.diff([sign * row[key] for row in rows])
            report.target(f"{name}: steps of {key} the right way", int((steps > 0.0).sum()), "", f">= {len(steps)}")
        neutral = rows[control.positions.index(control.neutral)]["wer"]
        report.target(f"{name}: words lost by it", max(row["wer"] for row in rows) - neutral, "", f"<= {WORSE_WORDS}")
    report.finish(args.json)


def measure(judges: Judges, source: Utterance, voice: str, sound: dict[str, float]) -> dict[str, float]:
    """Return what a source, said as a voice with a sound, measures."""
    values = to_vector({"voice.name": "neural", "voice.timbre": voice, **sound})
    engine = build_engine(values=values, point="clear")
    x = np.pad(at_rate(*source.sound, ENGINE_RATE_HZ), (0, engine.delay_frames))
    y = np.zeros_like(x)
    for start in range(0, len(x), BLOCK_FRAMES):
        engine.process(x[start : start + BLOCK_FRAMES], y[start : start + BLOCK_FRAMES])
    y = y[engine.delay_frames :]
    said = speech_statistics(y, ENGINE_RATE_HZ)
    errors, words = word_errors(source.text or judges.transcribe(*source.sound), judges.transcribe(y, ENGINE_RATE_HZ))
    f0_hz = judges.f0(y, ENGINE_RATE_HZ)
    formants = np.exp(np.mean(np.log([said["f1_hz"], said["f2_hz"], said["f3_hz"]])))
    tilt_db, hnr_db, swing_db = voiced_measures(y, f0_hz)
    median_hz = float(np.median(f0_hz[f0_hz > 0]))
    return {"tilt_db": tilt_db, "hnr_db": hnr_db, "swing_db": swing_db, "formants_hz": float(formants),
            "f0_hz": median_hz, "errors": errors, "words": words}  # fmt: skip


def voiced_measures(y: Signal, f0_hz: Signal) -> tuple[float, float, float]:
    """Return tilt, HNR (means) and swing in dB of the voiced frames of y at ENGINE_RATE_HZ; f0_hz: see `Judges.f0`."""
    n = round(FRAME_S * ENGINE_RATE_HZ)
    window = np.hanning(n)
    window_shape = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * n)) ** 2)[:n]
    window_shape /= window_shape[0]
    hz = np.fft.rfftfreq(2 * n, 1.0 / ENGINE_RATE_HZ)
    low, high = (hz > 100.0) & (hz < 1000.0), (hz > 2000.0) & (hz < 6000.0)
    tilts, harmonicities, levels = [], [], []
    for k in np.flatnonzero(f0_hz > 0):
        middle = round(k * F0_FRAME_MS * ENGINE_RATE_HZ / 1000.0)
        if not n // 2 <= middle < len(y) - n // 2:
            continue
        frame = y[middle - n // 2 : middle + n // 2] * window
        power = np.abs(np.fft.rfft(frame, 2 * n)) ** 2
        correlation = np.fft.irfft(power)[:n] / window_shape.clip(1e-3)
        lag = ENGINE_RATE_HZ / f0_hz[k]
        near = correlation[int(0.9 * lag) : int(1.1 * lag) + 2]
        r = float(np.clip(near.max() / max(correlation[0], 1e-12), 1e-3, 1.0 - 1e-3))
        tilts.append(10.0 * np.log10(power[high].sum() / power[low].sum()))
        harmonicities.append(10.0 * np.log10(r / (1.0 - r)))
        levels.append(10.0 * np.log10(power.sum() + 1e-12))
    return float(np.mean(tilts)), float(np.mean(harmonicities)), float(np.std(levels))


if __name__ == "__main__":
    main()
