"""A neural voice however one speaks: quiet, too loud, breathy, whispered, in a room, over a telephone, in noise.

Every source of `--sources` (a speech pack, see `bench.presets`) is spoilt in each way and goes through the engine in
blocks, in the voices by turns. What comes out is judged as in `bench.quality`: WER, similarity to the voice by two
encoders, the share accepted as it, DistillMOS, DNSMOS OVRL. Breath and whispering are WORLD's, from the source: nine
tenths of the power of every band, or all of it, without a pitch. `--noise DIR`: recordings without speech. `--laughter
DIR`: recordings of people who laugh, judged as they are, too. The last row is music alone (chords of eight harmonics
each, with a tune above). Of laughter and music: how much less comes out than goes in, and the words that Whisper hears
in it a minute.

    python -m bench.conditions --sources PACK --noise DIR --laughter DIR --limit 6
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.judges import RATE_HZ, Judges, Signal, at_16k, normalise_text, word_errors
from bench.presets import audio_files, balanced, read, recording, transcribed
from bench.quality import THRESHOLDS, bundled_references
from bench.report import Report, arguments
from bench.suppress import RATE_HZ as ENGINE_HZ
from bench.suppress import at_48k, in_noise, spoken
from rtvc.train.augment import room

QUIET_DBFS, LOUD_DB, SNR_DB = -40.0, 12.0, 10
MUSIC_S = 20.0
Embeddings = tuple[NDArray[np.float32], NDArray[np.float32]]
Spoiling = Callable[[Signal, int], Signal]
"""Of a sound at 16 kHz, peak 0 dBFS, and its number."""


def main() -> None:
    parser = arguments("conditions", __doc__)
    parser.add_argument("--sources", type=Path, required=True, metavar="PACK", help="speech with texts")
    parser.add_argument("--noise", type=Path, metavar="DIR", help="recordings without speech")
    parser.add_argument("--laughter", type=Path, metavar="DIR", help="recordings of people who laugh")
    parser.add_argument("--voices", metavar="A,B", default="heart,fenrir,emma,george", help="that take turns")
    parser.add_argument("--latency", metavar="A,B", default="fast,clear", help="operating points (default: fast,clear)")
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="sources, half low and half high voices (8)")
    args = parser.parse_args()
    laughter = [at_16k(*read(path)) for path in audio_files(args.laughter)] if args.laughter else []
    report, judges = Report("conditions"), Judges()
    sources = balanced(transcribed(args.sources), judges, 2 if args.quick else args.limit)
    voices = args.voices.split(",")
    targets = [judges.speakers(*read(recording(bundled_references(), voice))) for voice in voices]
    ways = spoilings(args.noise)
    for point, (name, spoil) in itertools.product(args.latency.split(","), ways.items()):
        errors, sounds = np.zeros(2), []
        for k, source in enumerate(sources):
            x = at_16k(*source.sound)
            y = said(spoil(x / np.float32(max(float(np.abs(x).max()), 1e-6)), k), voices[k % len(voices)], point)
            errors += word_errors(source.text, judges.transcribe(y, ENGINE_HZ))
            sounds.append(y)
        wer = float(errors[0] / errors[1])
        report.row(point=point, speech=name, n=len(sources), wer=wer, **sounding(sounds, targets, judges))
    if laughter:
        laughs = [0.3 * x / np.float32(max(float(np.abs(x).max()), 1e-6)) for x in laughter]
        for point in ("source", *args.latency.split(",")):
            if point == "source":
                sounds = [at_48k(x, RATE_HZ) for x in laughs]
            else:
                sounds = [said(x, voices[k % len(voices)], point) for k, x in enumerate(laughs)]
            report.row(point=point, speech="laughter", n=len(laughs), **sounding(sounds, targets, judges),
                       **wordless(laughs, sounds, judges))  # fmt: skip
    for point in args.latency.split(","):
        x = music(0)
        report.row(point=point, speech="music alone", **wordless([x], [said(x, voices[0], point)], judges))
    report.finish(args.json)


def sounding(sounds: list[Signal], targets: list[Embeddings], judges: Judges) -> dict[str, float]:
    """Return how much like the voices, taken by turns, and how natural sounds at ENGINE_HZ are."""
    near = np.array(
        [
            [float(made @ wanted) for made, wanted in zip(judges.speakers(y, ENGINE_HZ), target, strict=True)]
            for y, target in zip(sounds, itertools.cycle(targets), strict=False)
        ]
    )
    target, accepted = near.mean(0), (near >= THRESHOLDS).mean(0)
    return {
        "target": float(target[0]),
        "accepted": float(accepted[0]),
        "target2": float(target[1]),
        "accepted2": float(accepted[1]),
        "distillmos": float(np.mean([judges.distillmos(y, ENGINE_HZ) for y in sounds])),
        "ovrl": float(np.mean([judges.dnsmos(y, ENGINE_HZ)["ovrl"] for y in sounds])),
    }


def wordless(given: list[Signal], sounds: list[Signal], judges: Judges) -> dict[str, float]:
    """Return how much less comes out than goes in of sounds without words, and the words heard in it a minute."""
    words = sum(len(normalise_text(judges.transcribe(y, ENGINE_HZ)).split()) for y in sounds)
    drops_db = [
        20 * np.log10(max(float(y.std()), 1e-6) / max(float(x.std()), 1e-6)) for x, y in zip(given, sounds, strict=True)
    ]
    minutes = sum(map(len, given)) / RATE_HZ / 60.0
    return {"out_minus_in_db": float(np.mean(drops_db)), "words_a_minute": words / minutes}


def spoilings(noise: Path | None) -> dict[str, Spoiling]:
    """Return what can be done to speech, by name."""
    ways: dict[str, Spoiling] = {
        "as recorded": lambda x, _: 0.3 * x,
        "quiet (peaks at -40 dBFS)": lambda x, _: x * np.float32(10 ** (QUIET_DBFS / 20)),
        "too loud (clipped at 12 dB)": lambda x, _: np.clip(x * np.float32(10 ** (LOUD_DB / 20)), -1.0, 1.0),
        "breathy": lambda x, _: 0.3 * unvoiced(x, 0.9),
        "whispered": lambda x, _: 0.3 * unvoiced(x, 1.0),
        "in a room": lambda x, k: 0.2 * room(x, np.random.default_rng(k)),
        "over a telephone": lambda x, _: 0.3 * telephone(x),
    }
    if noise is not None:
        paths = audio_files(noise)
        sounds = [at_16k(*read(path)) for path in paths[:: max(1, len(paths) // 8)]]
        ways[f"in noise ({SNR_DB} dB SNR)"] = lambda x, k: in_noise(x, sounds[k % len(sounds)], SNR_DB)
    return ways


def said(x: Signal, voice: str, point: str) -> Signal:
    """Return what a fresh engine makes of 16 kHz sound in a voice, at ENGINE_HZ."""
    return spoken(at_48k(x, RATE_HZ), {"voice.name": "neural", "voice.timbre": voice}, point)[0]


def unvoiced(x: Signal, share: float) -> Signal:
    """Return speech with at least this share of every band's power as noise: WORLD's, float32[n]."""
    import pyworld

    signal = x.astype(np.float64)
    f0_hz, times = pyworld.harvest(signal, RATE_HZ)
    envelope = pyworld.cheaptrick(signal, f0_hz, times, RATE_HZ)
    aperiodicity = np.maximum(pyworld.d4c(signal, f0_hz, times, RATE_HZ), np.sqrt(share))
    y: Signal = pyworld.synthesize(f0_hz * (share < 1.0), envelope, aperiodicity, RATE_HZ)[: len(x)].astype(np.float32)
    return y


def telephone(x: Signal) -> Signal:
    """Return what is left of x between 300 and 3400 Hz."""
    spectrum = np.fft.rfft(x)
    f_hz = np.fft.rfftfreq(len(x), 1.0 / RATE_HZ)
    spectrum[(f_hz < 300.0) | (f_hz > 3400.0)] = 0.0
    return np.fft.irfft(spectrum, len(x)).astype(np.float32)


def music(seed: int) -> Signal:
    """Return MUSIC_S of chords, a new one every second, and a tune of two notes a second, float32[n]."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE_HZ) / RATE_HZ
    bars = []
    for _ in range(round(MUSIC_S)):
        root = int(rng.integers(0, 12))
        notes = [48 + root, 52 + root, 55 + root]
        bar = sum((note(t, n) for n in notes), np.zeros(RATE_HZ))
        half = RATE_HZ // 2
        for k in range(2):
            bar[k * half : (k + 1) * half] += note(t[:half], 60 + root + int(rng.choice([0, 4, 7, 12])))
        bars.append(bar)
    y = np.concatenate(bars)
    return (0.05 * y / y.std()).astype(np.float32)


def note(t: np.ndarray, key: int) -> np.ndarray:
    """Return a struck note of eight harmonics; key as in MIDI (69 is 440 Hz)."""
    hz = 440.0 * 2.0 ** ((key - 69) / 12.0)
    tone = sum((np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 9)), np.zeros(len(t)))
    return tone * np.exp(-3.0 * t) * np.minimum(1.0, t / 0.01)


if __name__ == "__main__":
    main()
