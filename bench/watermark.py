"""The watermark: found again after what happens to recordings, found nowhere else, not heard, and what it costs.

`--speech` names a folder of speech packs (each with index.tsv and audio). Clips come from all files in turn, then the
next of each. For false alarms it may be a training set too (`rtvc train data`): its utterances, one after the other.

- Found: MARKED_S of each are marked with a payload of their own; each attack is applied to all of it, and CLIP_S are
  cut out at a random place, so every row is cropped. Found means that the payload is read right; `wrong` counts those
  read wrong. Opus and MP3 are libsndfile's encoders, at their constant rates.
- Calls (`--called N` alone): so many stretches, each marked with a payload of its own, one after the other through
  WebRTC calls in Chromium (see `bench.browser_call`), AT_ONCE calls at a time; CLIP_S of each are cut out of what the
  other side heard. Once with the browser's own processing (echo, noise, gain), as calls have it, once without.
- False alarms: unmarked clips, each sharing OVERLAP (SET_OVERLAP) with the next of its file. Shown are the
  scores' quantiles and how many pass SCORE_MIN. The extrapolated rate is the share that passes times the chance that
  random bits pass the CRC; both are stages of the search, taken for independent.
- Quality: utterances with text (`--texts`, one of the packs), judged before and after (see `bench.judges`), differences
  paired, with their standard errors. Needs the extra `eval`.
- Cost: one core, median of blocks of 10 ms and whole seconds.
"""

from __future__ import annotations

import io
import itertools
import math
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from bench.browser_call import calls
from bench.judges import Judges, word_errors
from bench.presets import pack
from bench.report import Report, arguments
from rtvc.kernels.watermark import FRAME, RATE_HZ, WatermarkState, watermark, watermark_state
from rtvc.provenance import detect
from rtvc.provenance.detect import SCORE_MIN
from rtvc.provenance.payload import TOOL_CONVERT, TOOL_LIVE, Payload, signs_of

Signal = NDArray[np.float32]

CLIP_S, MARKED_S = 10.0, 11.0
OVERLAP = 0.7  # of unmarked clips from packs, which are short; a training set is long enough for less
SET_OVERLAP = 0.3
ALARM_MAX = 1e-4
OPUS_KBPS, MP3_KBPS = 24, 96
JUMPS = 4
PERIOD_MIN, PERIOD_MAX = 120, 720  # samples, that a jitter buffer cuts out or repeats
AT_ONCE = 3  # calls
SET_RATE_HZ = 16_000  # of a training set's audio.i16


def main() -> None:
    parser = arguments("watermark", __doc__)
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR", help="folder of speech packs")
    parser.add_argument(
        "--texts", default="speechocean_adult_test", metavar="PACK", help="for quality; '' leaves it out"
    )
    parser.add_argument("--clips", type=int, metavar="N", help="marked (200; quick 20)")
    parser.add_argument("--unmarked", type=int, metavar="N", help="unmarked (10000; quick 300)")
    parser.add_argument("--judged", type=int, metavar="N", help="utterances for quality (40; quick 6)")
    parser.add_argument("--false-alarms", type=int, metavar="N", help="only these, over N clips")
    parser.add_argument(
        "--called", type=int, metavar="N", help="only WebRTC calls, with N clips (11 s each, real time)"
    )
    args = parser.parse_args()
    report = Report("watermark")
    if args.false_alarms:
        false_alarms(report, args.speech, args.false_alarms)
        report.finish(args.json)
        return
    if args.called:
        called(report, args.speech, args.called)
        report.finish(args.json)
        return
    cost(report)
    attacks(report, args.speech, args.clips or (20 if args.quick else 200))
    false_alarms(report, args.speech, args.unmarked or (300 if args.quick else 10_000))
    if args.texts:
        quality(report, args.speech / args.texts, args.judged or (6 if args.quick else 40))
    report.finish(args.json)


def clips(folder: Path, seconds: float, step_s: float) -> Iterator[tuple[Signal, int]]:
    """Yield stretches and their rates, the first of each file under folder, then the second of each, and so on."""
    if (folder / "audio.i16").exists():
        sound = np.memmap(folder / "audio.i16", np.int16, "r")
        size = round(seconds * SET_RATE_HZ)
        for start in range(0, len(sound) - size + 1, round(step_s * SET_RATE_HZ)):
            yield sound[start : start + size] / np.float32(32768), SET_RATE_HZ
        return
    files = sorted(path for index in folder.glob("*/index.tsv") for path in index.parent.glob("*.opus"))
    if not files:
        raise SystemExit(f"{folder}: no speech packs in it (index.tsv beside .opus files)")
    infos = [sf.info(path) for path in files]
    for turn in itertools.count():
        starts = [round(turn * step_s * info.samplerate) for info in infos]
        fit = [s + round(seconds * info.samplerate) <= info.frames for s, info in zip(starts, infos, strict=True)]
        if not any(fit):
            return
        for path, info, start in itertools.compress(zip(files, infos, starts, strict=True), fit):
            x, rate_hz = sf.read(path, round(seconds * info.samplerate), start, dtype="float32")
            yield x, rate_hz


def resampled(x: Signal, from_hz: float, to_hz: float) -> Signal:
    y: Signal = soxr.resample(x, from_hz, to_hz).astype(np.float32)
    return y


def coded(x: Signal, form: str, subtype: str, compression: float, bitrate_mode: str | None = None) -> Signal:
    """Return x (48 kHz) after an encoder and its decoder."""
    file = io.BytesIO()
    extra = {"bitrate_mode": bitrate_mode} if bitrate_mode else {}
    sf.write(file, x, RATE_HZ, format=form, subtype=subtype, compression_level=compression, **extra)
    file.seek(0)
    y, rate_hz = sf.read(file, dtype="float32")
    return resampled(y, rate_hz, RATE_HZ)


def noisy(x: Signal, snr_db: float) -> Signal:
    noise = np.random.default_rng(len(x)).standard_normal(len(x))
    return (x + noise * math.sqrt(float(np.mean(x**2)) * 10 ** (-snr_db / 10))).astype(np.float32)


def buffered(x: Signal, jumps: int) -> Signal:
    """Return x (48 kHz) as a call's jitter buffer plays it, which cuts out or repeats periods at so many places.

    As WebRTC's NetEQ does: the lag from 2.5 to 15 ms at which x is most like itself, and a cross-fade as long.
    """
    rng = np.random.default_rng(zlib.crc32(x.tobytes()))
    lags = np.arange(PERIOD_MIN, PERIOD_MAX + 1, 8)
    for place in sorted(rng.integers(0, len(x) - 3 * PERIOD_MAX, jumps), reverse=True):
        after = np.lib.stride_tricks.sliding_window_view(x[place : place + 2 * PERIOD_MAX], PERIOD_MAX)[lags]
        alike = after @ x[place : place + PERIOD_MAX] / (np.linalg.norm(after, axis=1) + 1e-6)
        lag = int(lags[alike.argmax()])
        first, second = x[place : place + lag], x[place + lag : place + 2 * lag]
        fade = np.linspace(0.0, 1.0, lag, dtype=np.float32)
        if rng.integers(2):
            played = (x[:place], first + fade * (second - first), x[place + 2 * lag :])
        else:
            played = (x[: place + lag], second + fade * (first - second), x[place + lag :])
        x = np.concatenate(played)
    return x


# libsndfile turns a level of 0..1 into 256..6 kbit/s (Opus) and 320..32 kbit/s (MP3)
OPUS_LEVEL, MP3_LEVEL = (256 - OPUS_KBPS) / 250, (320 - MP3_KBPS) / 288

ATTACKS: dict[str, tuple[float, Callable[[Signal], Signal]]] = {  # with the share that must be found
    "none": (0.99, lambda x: x),
    f"Opus {OPUS_KBPS} kbit/s": (0.95, lambda x: coded(x, "OGG", "OPUS", OPUS_LEVEL)),
    f"MP3 {MP3_KBPS} kbit/s": (0.95, lambda x: coded(x, "MP3", "MPEG_LAYER_III", MP3_LEVEL, "CONSTANT")),
    f"Opus {OPUS_KBPS} kbit/s, {JUMPS} jumps": (0.95, lambda x: buffered(coded(x, "OGG", "OPUS", OPUS_LEVEL), JUMPS)),
    "16 kHz and back": (0.95, lambda x: resampled(resampled(x, RATE_HZ, 16_000), 16_000, RATE_HZ)),
    "gain +3 dB": (0.95, lambda x: np.clip(x * np.float32(10**0.15), -1, 1)),
    "gain -3 dB": (0.95, lambda x: x * np.float32(10**-0.15)),
    "noise, 20 dB SNR": (0.95, lambda x: noisy(x, 20)),
    "clock +100 ppm": (0.95, lambda x: resampled(x, RATE_HZ, RATE_HZ * 1.0001)),
    "clock -100 ppm": (0.95, lambda x: resampled(x, RATE_HZ, RATE_HZ * 0.9999)),
}


def attacks(report: Report, folder: Path, count: int) -> None:
    rng = np.random.default_rng(7)
    found = dict.fromkeys(ATTACKS, 0)
    wrong = dict.fromkeys(ATTACKS, 0)
    scores: dict[str, list[float]] = {name: [] for name in ATTACKS}
    seen = 0
    for x, rate_hz in itertools.islice(clips(folder, MARKED_S, MARKED_S), count):
        seen += 1
        payload = Payload(TOOL_CONVERT, int(rng.integers(1 << 12)), int(rng.integers(1 << 17)))
        state = watermark_state(signs_of(payload))
        state.clock[0] = rng.integers(FRAME)
        y = marked(state, resampled(x, rate_hz, RATE_HZ))
        for name, (_, attack) in ATTACKS.items():
            z = resampled(attack(y), RATE_HZ, detect.RATE_HZ)
            start = int(rng.integers(len(z) - round(CLIP_S * detect.RATE_HZ)))
            result = detect.detect(z[start : start + round(CLIP_S * detect.RATE_HZ)])
            found[name] += result.payload == payload
            wrong[name] += result.payload not in (None, payload)
            scores[name].append(result.score)
    for name, (least, _) in ATTACKS.items():
        low, mid = np.percentile(scores[name], (1, 50))
        share = found[name] / seen
        report.row(
            what=name, clips=seen, found=share, wrong=wrong[name], score_1_percent=float(low), score_median=float(mid)
        )
        report.target(f"found after: {name}", share, "", f">= {least}")


def called(report: Report, folder: Path, count: int) -> None:
    rng = np.random.default_rng(8)
    stretches, payloads = [], []
    for x, rate_hz in itertools.islice(clips(folder, MARKED_S, MARKED_S), count):
        payloads.append(Payload(TOOL_LIVE, int(rng.integers(1 << 12)), int(rng.integers(1 << 17))))
        state = watermark_state(signs_of(payloads[-1]))
        state.clock[0] = rng.integers(FRAME)
        stretches.append(marked(state, resampled(x, rate_hz, RATE_HZ)))
    size, edge = round(MARKED_S * RATE_HZ), round((MARKED_S - CLIP_S) / 2 * RATE_HZ)
    shares = np.array_split(np.arange(len(stretches)), AT_ONCE)
    for processed in (True, False):
        found, wrong, scores = 0, 0, []
        heard = calls([np.concatenate([stretches[i] for i in share]) for share in shares], processed)
        for share, call in zip(shares, heard, strict=True):
            for place, i in enumerate(share):
                start = round(call.lag_s * RATE_HZ) + place * size + edge
                y = call.y[max(start, 0) : start + round(CLIP_S * RATE_HZ)]
                result = detect.detect(resampled(y, RATE_HZ, detect.RATE_HZ))
                found += result.payload == payloads[i]
                wrong += result.payload not in (None, payloads[i])
                scores.append(result.score)
        what = f"WebRTC call in Chromium, {'processed' if processed else 'plain'}"
        low, mid = np.percentile(scores, (1, 50))
        report.row(
            what=what, clips=len(scores), found=found / len(scores), wrong=wrong, score_1_percent=float(low),
            score_median=float(mid), concealed=float(np.mean([call.concealed for call in heard])),
            stretched=float(np.mean([call.stretched for call in heard])),
            packets_lost=sum(call.packets_lost for call in heard),
        )  # fmt: skip
        report.target(f"found after: {what}", found / len(scores), "", ">= 0.95")


def marked(state: WatermarkState, x: Signal) -> Signal:
    y = np.empty_like(x)
    watermark(state, x, y)
    return y


def false_alarms(report: Report, folder: Path, count: int) -> None:
    step_s = CLIP_S * (1 - (SET_OVERLAP if (folder / "audio.i16").exists() else OVERLAP))
    scores, alarms = [], 0
    for x, rate_hz in itertools.islice(clips(folder, CLIP_S, step_s), count):
        result = detect.detect(resampled(x, rate_hz, detect.RATE_HZ))
        scores.append(result.score)
        alarms += result.payload is not None
    seen = np.array(scores)
    passing = float(np.mean(seen >= SCORE_MIN))
    code = detect.Found(0.0, None).false_alarm  # where every clip passes the score: CRC, tool and tries alone
    levels = np.percentile(seen, (50, 90, 99, 99.9, 100))
    names = ("score_median", "score_90_percent", "score_99_percent", "score_99.9_percent", "score_max")
    report.row(
        unmarked=len(seen), alarms=alarms, pass_score=passing, **dict(zip(names, map(float, levels), strict=True))
    )
    report.row(what="extrapolated false alarms a clip", by_code_alone=code, with_score=code * passing)
    report.target("false alarms counted, a clip", alarms / len(seen), "", f"<= {ALARM_MAX}")
    report.target("false alarms extrapolated, a clip", code * passing, "", f"<= {ALARM_MAX}")


def quality(report: Report, folder: Path, count: int) -> None:
    judges = Judges()
    rows, errors = [], []
    for utterance in itertools.islice(pack(folder), count):
        before = resampled(*utterance.sound, RATE_HZ)
        after = marked(watermark_state(signs_of(Payload(TOOL_CONVERT, 1, 0))), before)
        row, edits = [], []
        for sound in (before, after):
            dnsmos = judges.dnsmos(sound, RATE_HZ)
            row.append([dnsmos["sig"], dnsmos["bak"], dnsmos["ovrl"], judges.distillmos(sound, RATE_HZ)])
            edits.append(word_errors(utterance.text, judges.transcribe(sound, RATE_HZ)))
        rows.append(row)
        errors.append(edits)
    scores, words = np.array(rows), np.array(errors)
    change = scores[:, 1] - scores[:, 0]
    error = change.std(axis=0, ddof=1) / math.sqrt(len(change))
    for k, name in enumerate(("SIG", "BAK", "OVRL", "DistillMOS")):
        before, after = scores[:, :, k].mean(axis=0)
        report.row(what=name, n=len(rows), before=before, after=after, change=change[:, k].mean(), se=error[k])
    lost = (words[:, 1, 0] - words[:, 0, 0]) / words[:, 0, 1].mean()
    wer = words[:, :, 0].sum(axis=0) / words[:, 0, 1].sum()
    wer_error = float(lost.std(ddof=1) / math.sqrt(len(lost)))
    report.row(what="WER", n=len(rows), before=wer[0], after=wer[1], change=wer[1] - wer[0], se=wer_error)
    report.target("DNSMOS OVRL lost", float(-change[:, 2].mean()), "MOS", f"<= {max(2 * error[2], 0.03):.3f}")
    report.target("WER added", float(wer[1] - wer[0]), "", f"<= {max(2 * wer_error, 0.01):.3f}")


def cost(report: Report) -> None:
    state = watermark_state(signs_of(Payload(TOOL_CONVERT, 1, 0)))
    x = (0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)).astype(np.float32)
    y = np.empty_like(x)
    watermark(state, x, y)
    for frames in (480, RATE_HZ):
        took = []
        for _ in range(20):
            start = time.perf_counter()
            for i in range(0, len(x), frames):
                watermark(state, x[i : i + frames], y[i : i + frames])
            took.append(time.perf_counter() - start)
        percent = 100 * float(np.median(took))
        report.row(what=f"blocks of {frames}", percent_of_a_core=percent)
        report.target(f"cost, blocks of {frames}", percent, "% of a core", "<= 2")


if __name__ == "__main__":
    main()
