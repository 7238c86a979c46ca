"""What noise suppression before the voice is worth: speech in noise through the engine, with and without it.

Every source of `--sources` (a speech pack with texts, see `bench.presets`) is mixed with a recording of `--noise` (in
turn), at each SNR of the speech's level over the noise's; without noise too. What comes out is judged against the text
(WER by Whisper base) and by DNSMOS (OVRL, and BAK for the background): of a neural voice, and of the speaker's own.
Sounds are live ones: the same engine, in blocks. Beside them its processor time over the sound's, and its delay.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import soxr

from bench.judges import Judges, Signal, word_errors
from bench.presets import Utterance, audio_files, read, transcribed
from bench.report import Report, arguments
from rtvc.engine.build import build_engine
from rtvc.engine.network import NetworkError
from rtvc.engine.params import Value, to_vector
from rtvc.engine.suppressor import check_suppression

RATE_HZ, BLOCK_FRAMES = 48_000, 480
SNRS_DB = (10, 5, None)
LEVEL = 0.05  # RMS of the speech
VOICES: dict[str, dict[str, Value]] = {"neural": {"voice.name": "neural"}, "own": {"voice.name": "own"}}


def at_48k(x: Signal, rate_hz: int) -> Signal:
    return np.ascontiguousarray(soxr.resample(x, rate_hz, RATE_HZ), np.float32)


def in_noise(speech: Signal, noise: Signal, snr_db: int | None) -> Signal:
    """Return speech at LEVEL with noise below it, float32[n] at 48 kHz."""
    x = speech * (LEVEL / np.sqrt(np.mean(np.square(speech))))
    if snr_db is None:
        return x.astype(np.float32)
    y = np.resize(noise, len(x))
    y = y * (LEVEL / np.sqrt(np.mean(np.square(y))) * 10 ** (-snr_db / 20))
    return np.asarray(np.clip(x + y, -1.0, 1.0), np.float32)


def spoken(x: Signal, sound: dict[str, Value], point: str) -> tuple[Signal, float, float]:
    """Return what a fresh engine makes of x, without its delay; the processor seconds it took, and the delay in ms."""
    engine = build_engine(values=to_vector(sound), point=point)
    late = engine.delay_frames
    x = np.concatenate([x, np.zeros(late + (-len(x) - late) % BLOCK_FRAMES, np.float32)])
    y = np.zeros_like(x)
    begin_s = time.process_time()
    for start in range(0, len(x), BLOCK_FRAMES):
        engine.process(x[start : start + BLOCK_FRAMES], y[start : start + BLOCK_FRAMES])
    return y[late:], time.process_time() - begin_s, engine.delay_ms


def measure(
    report: Report,
    judges: Judges,
    sources: list[Utterance],
    noises: list[Signal],
    voice: str,
    point: str,
    snr: int | None,
) -> dict[bool, float]:
    """Add a row without suppression and one with it; return the WER of each."""
    found = {}
    for suppress in (False, True):
        edits = words = 0
        scores, took_s, sound_s, delay_ms = [], 0.0, 0.0, 0.0
        for number, source in enumerate(sources):
            x = in_noise(at_48k(*source.sound), noises[number % len(noises)], snr)
            y, seconds, delay_ms = spoken(x, {**VOICES[voice], "suppress.on": suppress}, point)
            took_s, sound_s = took_s + seconds, sound_s + len(x) / RATE_HZ
            wrong, of = word_errors(source.text, judges.transcribe(y, RATE_HZ))
            edits, words = edits + wrong, words + of
            scores.append(judges.dnsmos(y, RATE_HZ))
        found[suppress] = edits / words
        mean = {name: float(np.mean([score[name] for score in scores])) for name in ("sig", "bak", "ovrl")}
        snr_cell = "clean" if snr is None else f"{snr} dB"
        report.row(voice=voice, snr=snr_cell, suppressed=suppress, wer=found[suppress], **mean,
                   rtf=took_s / sound_s, delay_ms=delay_ms)  # fmt: skip
    return found


def main() -> None:
    parser = arguments("suppress", __doc__)
    parser.add_argument("--sources", type=Path, required=True, metavar="PACK", help="speech with texts")
    parser.add_argument("--noise", type=Path, required=True, metavar="DIR", help="recordings of noise")
    parser.add_argument("--limit", type=int, metavar="N", help="utterances (12; 4 if quick)")
    parser.add_argument("--point", default="clear", help="the neural voice's operating point: fast or clear (clear)")
    args = parser.parse_args()
    try:
        check_suppression(to_vector({"suppress.on": True}))
    except NetworkError as error:
        parser.error(str(error))
    report, judges = Report("suppress"), Judges()
    limit = args.limit or (4 if args.quick else 12)
    sources = list(itertools.islice(transcribed(args.sources), limit))
    paths = audio_files(args.noise)
    noises = [at_48k(*read(path)) for path in paths[:: max(1, len(paths) // limit)]]
    for voice, snr in itertools.product(VOICES, SNRS_DB):
        wer = measure(report, judges, sources, noises, voice, args.point, snr)
        if voice == "neural" and snr is not None:
            report.target(f"neural, {snr} dB: WER that suppression adds", wer[True] - wer[False], "", "<= 0")
    report.finish(args.json)


if __name__ == "__main__":
    main()
