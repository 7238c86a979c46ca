"""What the DSP voice costs: real-time factor and block times on one core, beside programs that do the same job.

The bundled voices go through `Engine.process` at 48 kHz with each preset. "tight" is one block after another;
"paced" is one block a block period, as live, so that caches are as cold as there. Paced runs ask for real-time
scheduling and stop the garbage collector as the engine process does. The whole process is pinned to one core, the
peers too. rtf is that core's time for a second of sound, rtf_wall the clock's: on a machine that does nothing else they
are equal. Peers convert the whole sound in one call, +4 semitones; pedalboard also block by block.

A kernel's row is the time of one call over 10 ms of speech from Python, the call included.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import Report, arguments
from rtvc.demo import read_voice
from rtvc.engine.engine import Engine
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.kernels import biquad, decimate, envelope, f0, fft, gate, limiter, loudness, mel, mix, psola, resample, ring
from rtvc.kernels.aspiration import aspiration, aspiration_state
from rtvc.kernels.consonants import consonant_state, consonants
from rtvc.voices.presets import built_in_presets

BLOCK_FRAMES = 256
PACED_FRAMES = 480  # 10 ms
SEMITONES = 4.0
FIFO_PRIORITY = 10

Block = Callable[[NDArray[np.float32], NDArray[np.float32]], object]


def pin_to_one_core() -> None:
    """Leave this process one core, the last it may use, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def set_realtime(on: bool) -> bool:
    """Switch real-time scheduling and, the other way, the garbage collector; return whether the system agreed."""
    (gc.disable if on else gc.enable)()
    try:
        if on:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
        else:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (AttributeError, PermissionError):
        return False
    return True


def voices() -> NDArray[np.float32]:
    """Return the bundled voices, one after the other, float32 at 48 kHz."""
    folder = Path(str(resources.files("rtvc"))) / "samples"
    return np.concatenate([read_voice(path) for path in sorted(folder.glob("*.flac"))])


def tight(process: Block, x: NDArray[np.float32], block_frames: int) -> NDArray[np.float64]:
    """Return the seconds each block of x took, one after another."""
    y = np.zeros(block_frames, np.float32)
    blocks = x[: len(x) // block_frames * block_frames].reshape(-1, block_frames)
    stamps = np.zeros(len(blocks) + 1, np.int64)
    stamps[0] = time.perf_counter_ns()
    for i, block in enumerate(blocks):
        process(block, y)
        stamps[i + 1] = time.perf_counter_ns()
    return np.diff(stamps) * 1e-9


def paced(process: Block, x: NDArray[np.float32], seconds: float) -> NDArray[np.float64]:
    """Return the seconds each block of PACED_FRAMES took, one a period, for so long; x goes round."""
    y = np.zeros(PACED_FRAMES, np.float32)
    blocks = x[: len(x) // PACED_FRAMES * PACED_FRAMES].reshape(-1, PACED_FRAMES)
    period_s = PACED_FRAMES / ENGINE_RATE_HZ
    took = np.zeros(round(seconds / period_s))
    due_s = time.perf_counter()
    for i in range(len(took)):
        due_s += period_s
        time.sleep(max(0.0, due_s - time.perf_counter()))
        begin_s = time.perf_counter()
        process(blocks[i % len(blocks)], y)
        took[i] = time.perf_counter() - begin_s
    return took


def percentiles_us(took_s: NDArray[np.float64]) -> dict[str, float]:
    p50, p99, p999 = np.percentile(took_s * 1e6, (50, 99, 99.9))
    return {"p50_us": float(p50), "p99_us": float(p99), "p99.9_us": float(p999)}


def presets(report: Report, x: NDArray[np.float32], seconds: float) -> tuple[float, float]:
    """Add the presets' rows; return the worst real-time factor and the worst paced p99.9 as a share of the block."""
    worst_factor = worst_share = 0.0
    repeats = max(1, round(seconds * ENGINE_RATE_HZ / len(x)))
    for name, preset in built_in_presets().items():
        engine = Engine(ENGINE_RATE_HZ, preset.vector())
        tight(engine.process, x, BLOCK_FRAMES)  # warms caches, finds the speaker's pitch
        cpu_s = time.process_time()
        took_s = np.concatenate([tight(engine.process, x, BLOCK_FRAMES) for _ in range(repeats)])
        audio_s = len(took_s) * BLOCK_FRAMES / ENGINE_RATE_HZ
        factor, wall = (time.process_time() - cpu_s) / audio_s, float(took_s.sum()) / audio_s
        report.row(what="DSP voice, tight", name=name, block=BLOCK_FRAMES, rtf=factor, rtf_wall=wall, seconds=audio_s,
                   **percentiles_us(took_s))  # fmt: skip
        realtime = set_realtime(True)
        took_s = paced(engine.process, x, seconds)
        set_realtime(False)
        share = float(np.percentile(took_s, 99.9)) * ENGINE_RATE_HZ / PACED_FRAMES
        report.row(what="DSP voice, paced", name=name, block=PACED_FRAMES, seconds=seconds, realtime=realtime,
                   **{"p99.9_share": share}, **percentiles_us(took_s))  # fmt: skip
        worst_factor, worst_share = max(worst_factor, factor), max(worst_share, share)
    return worst_factor, worst_share


def peers(report: Report, x: NDArray[np.float32]) -> None:
    """Add a row for each of the programs people use for this; those not installed are left out and named."""
    wide = x.astype(np.float64)
    for name, make in (("pyworld", _pyworld), ("librosa", _librosa), ("pedalboard", _pedalboard)):
        try:
            convert = make()
        except ImportError:
            print(f"{name} is not installed (pip install 'rtvc[eval]'): no row")
            continue
        convert(wide[: ENGINE_RATE_HZ // 2])  # loads and compiles
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        convert(wide)
        wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
        audio_s = len(x) / ENGINE_RATE_HZ
        report.row(what="peer, whole sound", name=name, rtf=cpu_s / audio_s, rtf_wall=wall_s / audio_s, seconds=audio_s)
    try:
        from pedalboard import PitchShift
    except ImportError:
        return
    shift = PitchShift(SEMITONES)
    took_s = tight(lambda block, _: shift(block, ENGINE_RATE_HZ, reset=False), x, PACED_FRAMES)
    wall = float(took_s.mean()) * ENGINE_RATE_HZ / PACED_FRAMES
    report.row(what="peer, tight", name="pedalboard", block=PACED_FRAMES, rtf_wall=wall, **percentiles_us(took_s))


def _pyworld() -> Callable[[NDArray[np.float64]], object]:
    import pyworld

    def convert(x: NDArray[np.float64]) -> object:
        pitch, when = pyworld.dio(x, ENGINE_RATE_HZ)
        spectrum = pyworld.cheaptrick(x, pitch, when, ENGINE_RATE_HZ)
        aperiodicity = pyworld.d4c(x, pitch, when, ENGINE_RATE_HZ)
        return pyworld.synthesize(pitch * 2 ** (SEMITONES / 12), spectrum, aperiodicity, ENGINE_RATE_HZ)

    return convert


def _librosa() -> Callable[[NDArray[np.float64]], object]:
    import librosa

    return lambda x: librosa.effects.pitch_shift(x.astype(np.float32), sr=ENGINE_RATE_HZ, n_steps=SEMITONES)


def _pedalboard() -> Callable[[NDArray[np.float64]], object]:
    from pedalboard import PitchShift

    shift = PitchShift(SEMITONES)
    return lambda x: shift(x.astype(np.float32), ENGINE_RATE_HZ)


def kernels(x: NDArray[np.float32]) -> dict[str, tuple[int, Block]]:
    """Return each kernel's input frames for 10 ms and a call of it."""
    rate, n = ENGINE_RATE_HZ, PACED_FRAMES
    plan, re, im = fft.fft_plan(1024), np.zeros(513, np.float32), np.zeros(513, np.float32)
    wave = x[24_000:25_024].copy()
    power, shape = np.zeros(513, np.float32), np.zeros(513, np.float32)
    fft.power_spectrum(plan, wave, power, im)
    envelopes = envelope.envelope_plan(1024)
    rows = np.zeros((4, 80), np.float32)
    mels = mel.mel_state()
    hops = [np.zeros(8, np.float32) for _ in range(3)]
    tracker, decimator = f0.f0_state(), decimate.decimator_state(3)
    shifter, breath = psola.psola_state(rate, 576), aspiration_state(rate)
    hisses = consonant_state(rate, 2 * n)
    section, door = biquad.biquad_state(biquad.high_pass(rate, 40.0)), gate.gate_state(rate, 576)
    follower, ceiling = loudness.loudness_state(rate, 576), limiter.limiter_state(rate, 72, -1.0)
    drift, to_44k = resample.resampler_state(rate, rate), resample.resampler_state(rate, 44_100)
    resample.resampler_set_ratio(drift, 50e-6)
    out = np.zeros(2 * n, np.float32)
    counters, data = ring.ring_counters(), np.zeros(4096, np.float32)
    gains = np.ones(n, np.float32)

    def through_ring(block: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        ring.ring_push(counters, data, block)
        ring.ring_pop(counters, data, y)

    return {
        "rfft + irfft, 1024 points": (n, lambda a, y: (fft.rfft(plan, wave, re, im), fft.irfft(plan, re, im, wave))),
        "log_mel, 80 bands, 16 kHz": (160, lambda a, y: mel.log_mel(mels, a, rows)),
        "f0_track, 16 kHz": (160, lambda a, y: f0.f0_track(tracker, a, *hops)),
        "cepstral_envelope, 1024": (n, lambda a, y: envelope.cepstral_envelope(envelopes, power, 96, shape)),
        "true_envelope, 1024": (n, lambda a, y: envelope.true_envelope(envelopes, power, 96, shape)),
        "decimate by 3": (n, lambda a, y: decimate.decimate(decimator, a, y)),
        "psola, +4 semitones": (n, lambda a, y: psola.psola(shifter, a, 150.0, 189.0, 1.0, False, y)),
        "psola, formants 1.2": (n, lambda a, y: psola.psola(shifter, a, 150.0, 189.0, 1.2, False, y)),
        "aspiration": (n, lambda a, y: aspiration(breath, a, 1.0, y)),
        "consonants": (n, lambda a, y: (np.copyto(y, a), consonants(hisses, a, gains, y))),
        "resample, 50 ppm": (n, lambda a, y: resample.resample(drift, a, out)),
        "resample, 48 to 44.1 kHz": (n, lambda a, y: resample.resample(to_44k, a, out)),
        "biquad": (n, lambda a, y: biquad.biquad(section, a, y)),
        "gate_detect": (n, lambda a, y: gate.gate_detect(door, a, y)),
        "loudness_match": (n, lambda a, y: loudness.loudness_match(follower, a, y)),
        "limit": (n, lambda a, y: limiter.limit(ceiling, a, y)),
        "mix": (n, lambda a, y: mix.mix(a, gains, a, gains, y)),
        "ring_push + ring_pop": (n, through_ring),
    }


def kernel_rows(report: Report, x: NDArray[np.float32]) -> None:
    low = x[::3].copy()  # aliases and all: only its cost matters
    for name, (frames, call) in kernels(x).items():
        sound = x if frames == PACED_FRAMES else low
        tight(call, sound[: 20 * frames], frames)
        report.row(what="kernel, 10 ms", name=name, block=frames, **percentiles_us(tight(call, sound, frames)))


def main() -> None:
    args = arguments("compute", __doc__).parse_args()
    report = Report("compute")
    pin_to_one_core()
    x = voices()
    factor, share = presets(report, x, 5.0 if args.quick else 60.0)
    peers(report, x)
    kernel_rows(report, x)
    report.target("DSP voice, real-time factor at 48 kHz, 256 frames, one core, dearest preset", factor, "", "<= 0.05")
    what = "DSP voice, paced, p99.9 block time as a share of a block of 10 ms, dearest preset"
    report.target(what, 100 * share, "%", "<= 25")
    report.finish(args.json)


if __name__ == "__main__":
    main()
