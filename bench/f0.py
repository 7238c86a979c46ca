"""How right, how quick and how dear the F0 tracker is, beside YIN, against pyworld Harvest and against exact truth.

Real speech (--speech DIR, any folder of audio): the reference is Harvest + StoneMask on the clean file, in steps
of 1 ms. Harvest calls much of the noise between words voiced, so there are two references: "harvest" as it is, and
"confirmed", Harvest's F0 where the sound is within 30 dB of the file's 95th percentile level and correlates by 0.6
with itself one Harvest period on. Synthetic vowels, glides and vibrato carry their own exact truth.

YIN is steps 1 to 5 of de Cheveigne and Kawahara (2002), window 25 ms, at the same hop: "causal" uses samples up to
the hop's end, "centred" looks ahead so that window and lag lie evenly about it. Each tracker is first shifted by
its best constant delay: F0 by the delay of least absolute error, voicing by that of fewest wrong decisions.

gpe: F0 off by more than 20 %, of frames that tracker and reference call voiced; gpe_all: of all frames that the
reference calls voiced, as in the YIN paper; octave: within 15 % of an octave off; fine: standard deviation in cents of
the frames without gross error; vde: frames with wrong voicing. A tracker that calls few frames voiced has an easy
gpe, so "rtvc as YIN x" is rtvc on its surest frames, as many as YIN at threshold x, causal, calls voiced.

The tracker's weights were fitted on every third file of LibriSpeech train-clean-100 speakers, from the first;
where a folder has 60 files or more the speakers here come from the thirds after those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyworld
import soundfile
import soxr
from numpy.typing import NDArray

from bench.report import Report, arguments
from rtvc.kernels.f0 import F0_MAX_HZ, F0_MIN_HZ, HOP, RATE_HZ, f0_state, f0_track

Signal = NDArray[np.float32]
Track = NDArray[np.float64]

MS = RATE_HZ // 1000
HOP_MS = HOP // MS
DELAYS_MS = range(-5, 31)
YIN_WINDOW = 400
YIN_THRESHOLDS = (0.10, 0.15)
MALE_BELOW_HZ = 155.0
SNRS_DB = (None, 20.0, 10.0)
VOWELS = {
    "a": ((700, 80), (1200, 100), (2600, 150), (3400, 200)),
    "i": ((300, 60), (2200, 100), (2900, 150), (3400, 200)),
    "u": ((320, 60), (800, 90), (2300, 150), (3300, 200)),
}
TYPICAL_HZ = (90.0, 110.0, 130.0, 180.0, 220.0, 260.0)


class Estimate(NamedTuple):
    """One tracker's answer for one signal, one value a hop."""

    f0_hz: Track
    voiced: NDArray[np.bool_]
    confidence: Track


class Item(NamedTuple):
    """A signal and what is true of it: F0 in Hz every 1 ms, 0 where unvoiced, under each reference's name."""

    x: Signal
    truths: dict[str, Track]


def track(x: Signal) -> Estimate:
    """Run the tracker over x."""
    out = np.zeros((3, len(x) // HOP), np.float32)
    f0_track(f0_state(), x, out[0], out[1], out[2])
    return Estimate(out[0].astype(float), out[1] > 0, out[2].astype(float))


def yin(x: Signal, threshold: float, centred: bool) -> Estimate:
    """Run YIN over x, one estimate at each hop's end; unvoiced where no dip goes below threshold."""
    lag_min, lag_max = int(RATE_HZ / F0_MAX_HZ), int(RATE_HZ / F0_MIN_HZ) + 1
    hops = len(x) // HOP
    pad = YIN_WINDOW + lag_max
    padded = np.pad(x.astype(float), pad)
    ends = pad + HOP * np.arange(1, hops + 1)
    normalised = np.ones((lag_max + 1, hops))
    total = np.zeros(hops)
    for lag in range(1, lag_max + 1):
        change = np.concatenate([[0.0], np.cumsum((padded[lag:] - padded[:-lag]) ** 2)])
        start = ends - (YIN_WINDOW + lag) // 2 if centred else ends - YIN_WINDOW - lag
        difference = change[start + YIN_WINDOW] - change[start]
        total += difference
        normalised[lag] = np.where(total > 0.0, difference * lag / np.maximum(total, 1e-30), 1.0)
    f0_hz = np.zeros(hops)
    for hop, dips in enumerate(normalised.T):
        below = np.flatnonzero(dips[lag_min:lag_max] < threshold)
        lag = lag_min + int(below[0] if len(below) else np.argmin(dips[lag_min:lag_max]))
        while len(below) and lag + 1 < lag_max and dips[lag + 1] < dips[lag]:
            lag += 1
        before, here, after = dips[lag - 1 : lag + 2]
        bend = before - 2.0 * here + after
        f0_hz[hop] = RATE_HZ / (lag + (np.clip(0.5 * (before - after) / bend, -1.0, 1.0) if bend > 0.0 else 0.0))
    periodicity = 1.0 - normalised[lag_min:lag_max].min(axis=0)
    return Estimate(f0_hz, periodicity > 1.0 - threshold, periodicity)


def harvest(x: Signal) -> dict[str, Track]:
    """Return the two references of clean speech."""
    y = x.astype(float)
    rough_hz, times = pyworld.harvest(y, RATE_HZ, f0_floor=F0_MIN_HZ, f0_ceil=F0_MAX_HZ, frame_period=1.0)
    f0_hz: Track = pyworld.stonemask(y, rough_hz, times, RATE_HZ)
    padded = np.pad(y, 1024)
    energy = np.concatenate([[0.0], np.cumsum(padded**2)])
    centres = 1024 + np.minimum(np.arange(len(f0_hz)) * MS, len(y) - 1)
    level = energy[centres + 200] - energy[centres - 200]
    confirmed = np.where(level > np.percentile(level, 95) * 1e-3, f0_hz, 0.0)
    for k in np.flatnonzero(confirmed):
        lag = round(RATE_HZ / f0_hz[k])
        window = max(lag, 160)
        start = centres[k] - (window + lag) // 2
        a, b = padded[start : start + window], padded[start + lag : start + lag + window]
        if a @ b < 0.6 * np.sqrt((a @ a) * (b @ b)):
            confirmed[k] = 0.0
    return {"harvest": f0_hz, "confirmed": confirmed}


def read(path: Path, longest_s: float) -> Signal:
    """Return the start of an audio file as 16 kHz mono."""
    with soundfile.SoundFile(path) as file:
        rate_hz = file.samplerate
        x = file.read(int(longest_s * rate_hz), dtype="float32", always_2d=True).mean(axis=1)
    return np.ascontiguousarray(soxr.resample(x, rate_hz, RATE_HZ), dtype=np.float32)


def speech(folder: Path, speakers: int, longest_s: float) -> list[Item]:
    """Return files spread over folder, low voices and high voices alike as far as there are any."""
    suffixes = {"." + name.lower() for name in soundfile.available_formats()} | {".opus", ".mp3"}
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    files = files[1::3] if len(files) >= 60 else files
    found: dict[bool, list[Item]] = {False: [], True: []}
    for path in (path for first in range(4) for path in files[first::4]):
        x = read(path, longest_s)
        truths = harvest(x)
        voiced_hz = truths["confirmed"][truths["confirmed"] > 0.0]
        if len(voiced_hz) == 0:
            continue
        same = found[bool(np.median(voiced_hz) < MALE_BELOW_HZ)]
        if len(same) < speakers // 2:
            same.append(Item(x, truths))
        if len(found[False]) + len(found[True]) == 2 * (speakers // 2):
            break
    print(f"{len(found[True])} speakers with a median F0 under {MALE_BELOW_HZ:g} Hz, {len(found[False])} over")
    return found[True] + found[False]


def with_noise(x: Signal, snr_db: float | None, seed: int) -> Signal:
    """Return x with pink noise (flat below 20 Hz), snr_db under the mean power of the parts within 30 dB of the top."""
    if snr_db is None:
        return x
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(x)))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(len(x), 1 / RATE_HZ), 20.0))
    noise = np.fft.irfft(spectrum, len(x))
    power = (x[: len(x) // 320 * 320].reshape(-1, 320).astype(float) ** 2).mean(axis=1)
    active = power[power > power.max() * 1e-3].mean()
    noisy: Signal = (x + noise * np.sqrt(active / np.mean(noise**2) / 10 ** (snr_db / 10))).astype(np.float32)
    return noisy


def vowel(f0_hz: Track, formants: tuple[tuple[int, int], ...]) -> Track:
    """Return a vowel, or with no formants a sawtooth, of peak 1 with the F0 given for each sample."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE_HZ
    y = np.zeros(len(f0_hz))
    for k in range(1, int(7500 / f0_hz.min()) + 1):
        gain, turn = np.where(k * f0_hz < 7500, 1 / k, 0.0), k * phase
        for centre, width in formants:
            gain = gain * centre**2 / np.hypot(centre**2 - (k * f0_hz) ** 2, width * k * f0_hz)
            turn = turn - np.arctan2(width * k * f0_hz, centre**2 - (k * f0_hz) ** 2)
        y += gain * np.sin(turn)
    y /= np.abs(y).max()
    return y


def phrase(base_hz: float, rng: np.random.Generator, duration_s: float) -> Item:
    """Return vowels that rise and fall, with hisses and pauses between them, over a noise floor of -66 dBFS."""
    x = 5e-4 * rng.standard_normal(int(duration_s * RATE_HZ))
    truth = np.zeros(len(x))
    at = RATE_HZ // 10
    while True:
        n, gap = (int(RATE_HZ * s) for s in (rng.uniform(0.12, 0.4), rng.uniform(0.06, 0.25)))
        if at + n + gap > len(x):
            return Item(x.astype(np.float32), {"truth": truth[::MS]})
        knots = base_hz * 2 ** rng.uniform(-0.35, 0.35, 3)
        f0_hz = np.interp(np.arange(n), [0, n // 2, n - 1], knots)
        fade = np.minimum(1.0, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.01 * RATE_HZ))
        formants = VOWELS[str(rng.choice(list(VOWELS)))]
        x[at : at + n] += 10 ** rng.uniform(-1.2, -0.5) * fade * vowel(f0_hz, formants)
        truth[at : at + n] = np.where(fade > 0.1, f0_hz, 0.0)
        if rng.random() < 0.5:
            x[at + n : at + n + gap] += 0.02 * np.diff(rng.standard_normal(gap + 1))
        at += n + gap


def synthetic(rng: np.random.Generator, count: int) -> dict[str, list[Item]]:
    """Return signals with exact truth: phrases of low and high voices, glides, and vibrato of a semitone each way."""
    seconds = np.arange(4 * RATE_HZ) / RATE_HZ
    glides = [low * (high / low) ** (seconds / 4) for low, high in ((70, 280), (120, 480), (200, 700))]
    vibratos = [base * 2 ** (np.sin(2 * np.pi * 5.5 * seconds) / 12) for base in (110, 220, 440)]

    def whole(f0_hz: Track, formants: tuple[tuple[int, int], ...]) -> Item:
        return Item((0.3 * vowel(f0_hz, formants)).astype(np.float32), {"truth": f0_hz[::MS]})

    return {
        "vowels": [phrase(base_hz, rng, 6.0) for base_hz in (100.0, 140.0, 200.0, 280.0) for _ in range(count)],
        "glides": [whole(way, f) for f0_hz in glides for way in (f0_hz, f0_hz[::-1]) for f in VOWELS.values()],
        "vibrato": [whole(f0_hz, f) for f0_hz in vibratos for f in VOWELS.values()],
    }


def aligned(estimates: list[Estimate], truths: list[Track], delay_ms: int) -> tuple[Track, Track, NDArray[np.bool_]]:
    """Return truth, F0 and voicing of all frames, each frame against the truth delay_ms before its hop's end."""
    wanted, f0_hz, voiced = [], [], []
    for estimate, truth in zip(estimates, truths, strict=True):
        at = HOP_MS * np.arange(1, len(estimate.f0_hz) + 1) - delay_ms
        inside = (at >= 0) & (at < len(truth))
        wanted.append(truth[at[inside]])
        f0_hz.append(estimate.f0_hz[inside])
        voiced.append(estimate.voiced[inside])
    return np.concatenate(wanted), np.concatenate(f0_hz), np.concatenate(voiced)


def score(estimates: list[Estimate], truths: list[Track]) -> dict[str, float]:
    """Return the figures of one tracker over all signals, F0 and voicing each at its best constant delay."""
    best_cost = best_vde = np.inf
    figures: dict[str, float] = {}
    for delay_ms in DELAYS_MS:
        wanted, f0_hz, voiced = aligned(estimates, truths, delay_ms)
        vde = float(np.mean((wanted > 0.0) != voiced))
        if vde < best_vde:
            best_vde = vde
            missed = 100 * float(np.mean((wanted > 0.0) & ~voiced))
            figures |= {"voicing_delay_ms": delay_ms, "vde": 100 * vde, "missed": missed, "false": 100 * vde - missed}
        said = voiced[wanted > 0.0]
        octaves = np.log2(np.maximum(f0_hz[wanted > 0.0], 1.0) / wanted[wanted > 0.0])
        gross = np.abs(2**octaves - 1.0) > 0.2
        cost = float(np.mean(np.minimum(np.abs(octaves[said]), np.log2(1.2))))
        if cost < best_cost:
            best_cost = cost
            octave = np.abs(np.abs(octaves[said]) - 1.0) < np.log2(1.15)
            figures |= {
                "f0_delay_ms": delay_ms,
                "gpe": 100 * float(np.mean(gross[said])),
                "gpe_all": 100 * float(np.mean(gross)),
                "octave": 100 * float(np.mean(octave)),
                "fine_cents": 1200 * float(np.std(octaves[said & ~gross])),
            }
    return figures


def as_sparing(ours: list[Estimate], theirs: list[Estimate]) -> list[Estimate]:
    """Return our estimates, voiced only where surest, as often as theirs are."""
    frames = sum(int(e.voiced.sum()) for e in theirs)
    least = np.sort(np.concatenate([e.confidence for e in ours]))[-frames] if frames else np.inf
    return [e._replace(voiced=e.voiced & (e.confidence >= least)) for e in ours]


def compare(
    report: Report, name: str, items: list[Item], snr_db: float | None
) -> dict[tuple[str, str], dict[str, float]]:
    """Run every tracker over items and add its rows; return the figures by reference and tracker."""
    noisy = [with_noise(item.x, snr_db, seed) for seed, item in enumerate(items)]
    trackers = {"rtvc": [track(x) for x in noisy]}
    for threshold in YIN_THRESHOLDS:
        for form in ("causal", "centred"):
            trackers[f"YIN {form} {threshold:.2f}"] = [yin(x, threshold, form == "centred") for x in noisy]
        trackers[f"rtvc as YIN {threshold:.2f}"] = as_sparing(trackers["rtvc"], trackers[f"YIN causal {threshold:.2f}"])
    found = {}
    for reference in items[0].truths:
        for tracker, estimates in trackers.items():
            figures = score(estimates, [item.truths[reference] for item in items])
            found[reference, tracker] = figures
            snr = "clean" if snr_db is None else f"{snr_db:g} dB"
            report.row(signal=name, snr=snr, reference=reference, tracker=tracker, **figures)
    return found


def bursts(rng: np.random.Generator, count: int) -> Iterator[tuple[Signal, int, int]]:
    """Yield a quarter second of vowel in the midst of noise at -60 dBFS, and the samples of its start and end."""
    for f0_hz in TYPICAL_HZ:
        for formants in VOWELS.values():
            for _ in range(count):
                n, ramp = int(0.85 * RATE_HZ), 3 * MS
                start = int(0.3 * RATE_HZ) + int(rng.integers(HOP))
                end = start + RATE_HZ // 4
                gain = np.interp(np.arange(n), [start, start + ramp, end, end + ramp], [0.0, 1.0, 1.0, 0.0])
                y = 0.2 * np.roll(vowel(np.full(n, f0_hz), formants), int(rng.integers(RATE_HZ)))
                yield (gain * y + 1e-3 * rng.standard_normal(n)).astype(np.float32), start, end


def voicing_delays(report: Report, rng: np.random.Generator, count: int) -> tuple[float, float]:
    """Return the mean time in ms from a vowel's start to voiced, and from its end to unvoiced."""
    onsets, offsets = [], []
    for x, start, end in bursts(rng, count):
        after = HOP * (1 + np.flatnonzero(track(x).voiced))
        after = after[after > start]
        onsets.append((after[0] - start) / MS)
        offsets.append((after[-1] + HOP - end) / MS)
    for what, delays in (("voicing onset", onsets), ("voicing offset", offsets)):
        report.row(signal="bursts", tracker="rtvc", measure=what, mean_ms=float(np.mean(delays)),
                   median_ms=float(np.median(delays)), p95_ms=float(np.percentile(delays, 95)))  # fmt: skip
    return float(np.mean(onsets)), float(np.mean(offsets))


def f0_delays(report: Report) -> list[float]:
    """Return the delay of F0 in ms at each typical F0, from sawtooths that glide an octave a second, up and down.

    Vowels would not do: a resonance 80 Hz wide itself delays the sound by up to 4 ms after the F0 that made it.
    """
    delays = []
    for base_hz in TYPICAL_HZ:
        lags = []
        for octaves_s in (1.0, -1.0):
            octaves = octaves_s * (np.arange(RATE_HZ) / RATE_HZ - 0.5)
            estimate = track((0.3 * vowel(base_hz * 2**octaves, ())).astype(np.float32))
            found = np.log2(estimate.f0_hz[20:] / base_hz)
            lags.append(np.mean(octaves[HOP - 1 :: HOP][20:] - found) / octaves_s)
        delays.append(1000 * float(np.mean(lags)))
        report.row(signal="glides", tracker="rtvc", measure=f"F0 delay at {base_hz:g} Hz", mean_ms=delays[-1])
    return delays


def cost_us(x: Signal, blocks: int) -> float:
    """Return the median over blocks of 1 s of the time for one hop, in microseconds."""
    state, out = f0_state(), np.zeros((3, RATE_HZ // HOP), np.float32)
    times = []
    clock: Callable[[], float] = time.perf_counter
    for k in range(blocks + 1):
        block = x[k % (len(x) // RATE_HZ) * RATE_HZ :][:RATE_HZ]
        start = clock()
        hops = f0_track(state, block, out[0], out[1], out[2])
        times.append(1e6 * (clock() - start) / hops)
    return float(np.median(times[1:]))


def judge(report: Report, name: str, snr_db: float | None, found: dict[tuple[str, str], dict[str, float]]) -> None:
    """Add the targets: the tracker's errors against the same errors of the best YIN of all."""
    snr = "clean" if snr_db is None else f"{snr_db:g} dB"
    for reference in dict.fromkeys(reference for reference, _ in found):
        ours = found[reference, "rtvc"]
        for error in ("gpe", "gpe_all", "vde"):
            best = min(v[error] for (r, tracker), v in found.items() if r == reference and tracker.startswith("YIN"))
            report.target(f"{name}, {snr}, against {reference}: {error}", ours[error], "%", f"<= {best:.4f}")
        for threshold in YIN_THRESHOLDS:
            sparing, theirs = (found[reference, f"{who} {threshold:.2f}"] for who in ("rtvc as YIN", "YIN causal"))
            what = f"{name}, {snr}, against {reference}: gpe on as many frames as YIN {threshold:.2f}"
            report.target(what, sparing["gpe"], "%", f"<= {theirs['gpe']:.4f}")


def main() -> None:
    parser = arguments("f0", __doc__)
    parser.add_argument("--speech", type=Path, metavar="DIR", help="a folder of speech; without it, only synthetic")
    options = parser.parse_args()
    report = Report("f0")
    rng = np.random.default_rng(1)
    signals = synthetic(rng, 1 if options.quick else 3)
    if options.speech is not None:
        signals["speech"] = speech(options.speech, 4 if options.quick else 20, 8.0 if options.quick else 15.0)
    for name, items in signals.items():
        for snr_db in SNRS_DB:
            found = compare(report, name, items, snr_db)
            if name in ("speech", "vowels"):
                judge(report, name, snr_db, found)
    onset_ms, offset_ms = voicing_delays(report, rng, 2 if options.quick else 8)
    report.target("mean delay of voicing onset, 90-260 Hz", onset_ms, "ms", "<= 15")
    report.target("mean delay of voicing offset, 90-260 Hz", offset_ms, "ms", "<= 15")
    report.target("largest mean delay of F0, 90-260 Hz", max(f0_delays(report)), "ms", "<= 12")
    report.target("time for one hop of 5 ms", cost_us(signals["vowels"][0].x, 50), "us", "<= 40")
    report.finish(options.json)


if __name__ == "__main__":
    main()
