"""How fast files are converted: one core, then several processes.

A synthetic voice at 48 kHz is written as wav once; `rtvc convert` turns it into wav with a preset that uses the whole
DSP voice. One process on one core gives the first target. With --jobs N, N equal files go through N processes; the
scaling is the time of N files one after another over the time of N at once, on a machine with N cores free.
Kernels are compiled and cached before the clock starts.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.report import Report, arguments
from rtvc.audio.files import AudioWriter
from rtvc.engine.batch import Job, convert_many
from rtvc.engine.convert import convert_file
from rtvc.voices.presets import find_preset

RATE_HZ = 48_000
PRESETS = ("natural", "feminine", "deep", "whisper", "robot")
FORMATS = (".wav", ".flac", ".ogg")
REPEATS = 3


def write_voice(path: Path, seconds: float, rate_hz: int = RATE_HZ) -> None:
    """Write a buzz with a gliding pitch, formant-like peaks and the rhythm of syllables."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 0.4 * t))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    level = np.maximum(0.0, np.sin(2 * np.pi * 2.5 * t)) * (np.sin(2 * np.pi * 0.17 * t) > -0.7)
    x = np.zeros(len(t))
    for k in range(1, 30):
        x += np.cos(k * phase + k * k) / (1 + abs(k - 5)) / 8
    x = level * x + 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    with AudioWriter(path, rate_hz, len(x)) as writer:
        writer.write(x.astype(np.float32))


def one_core(report: Report, folder: Path, seconds: float) -> None:
    values = {name: find_preset(name).vector() for name in PRESETS}
    convert_file(folder / "in.wav", folder / "out.wav", values["feminine"], overwrite=True)  # compiles
    slowest = None
    for name in PRESETS:
        for suffix in FORMATS if name == "feminine" else FORMATS[:1]:
            target = folder / f"out{suffix}"
            runs = [
                convert_file(folder / "in.wav", target, values[name], overwrite=True).elapsed_s for _ in range(REPEATS)
            ]
            speed = seconds / float(np.median(runs))
            report.row(what="one core", preset=name, format=suffix[1:], files=1, jobs=1, speed=speed)
            slowest = speed if slowest is None else min(slowest, speed)
    report.target("convert, one core, slowest row, times real time", slowest, "x", ">= 30")


def many_jobs(report: Report, folder: Path, seconds: float) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    values = find_preset("feminine").vector()
    alone_s = None
    for jobs in sorted({1, 2, cores}):
        work = [Job(folder / "in.wav", folder / f"many-{i}.wav") for i in range(2 * cores)]
        start_s = time.perf_counter()
        outcomes = convert_many(work, values, overwrite=True, workers=jobs)
        took_s = time.perf_counter() - start_s
        if any(outcome.error for outcome in outcomes):
            raise RuntimeError(str([outcome.error for outcome in outcomes]))
        alone_s = took_s if alone_s is None else alone_s
        speed = len(work) * seconds / took_s
        report.row(what="several files", preset="feminine", format="wav", files=len(work), jobs=jobs, speed=speed,
                   scaling=alone_s / took_s)  # fmt: skip
    share = None if cores < 2 or alone_s is None else alone_s / took_s / cores
    report.target(f"scaling with --jobs {cores}, share of ideal", share, "", ">= 0.7")


def main() -> None:
    args = arguments("convert", __doc__).parse_args()
    report = Report("convert")
    seconds = 120.0 if args.quick else 600.0
    with tempfile.TemporaryDirectory(prefix="rtvc-bench-") as name:
        folder = Path(name)
        write_voice(folder / "in.wav", seconds)
        one_core(report, folder, seconds)
        many_jobs(report, folder, seconds)
    report.finish(args.json)


if __name__ == "__main__":
    main()
