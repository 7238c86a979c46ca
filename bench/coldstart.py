"""How long from nothing to sound: a fresh process converts its first block, or answers `rtvc --help`.

Each row is a new Python process, timed from outside: from its start to the moment its first block of 256 frames at
48 kHz that is not silence has come out of the engine, imports, cache loading and all. "warm" has Numba's cache filled;
"empty" has an empty NUMBA_CACHE_DIR, so every kernel is compiled: the first run. `rtvc convert` is timed to its first
line of output, for one second of sound.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.report import Report, arguments
from rtvc.audio.files import AudioWriter

FIRST_BLOCK = """
import numpy as np
from rtvc.engine.engine import Engine
from rtvc.voices.presets import find_preset
engine = Engine(48000, find_preset("feminine").vector())
x = (0.1 * np.sin(np.arange(256) * 2 * np.pi * 4 / 256)).astype(np.float32)
y = np.zeros_like(x)
while not y.any():
    engine.process(x, y)
print("block", flush=True)
"""
PYTHON = [sys.executable]


def first_output_s(command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds from starting command to its first line of output."""
    start_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        took_s = time.perf_counter() - start_s
        _, errors = process.communicate()
    if process.returncode or not line:
        raise RuntimeError(f"{command} failed: {errors.decode()}")
    return took_s


def main() -> None:
    args = arguments("coldstart", __doc__).parse_args()
    report = Report("coldstart")
    repeats = 3 if args.quick else 10
    with tempfile.TemporaryDirectory(prefix="rtvc-bench-") as name:
        folder = Path(name)
        sound = (0.1 * np.sin(np.arange(48_000) * 0.02)).astype(np.float32)
        with AudioWriter(folder / "in.wav", 48_000, len(sound)) as writer:
            writer.write(sound)
        convert = [*PYTHON, "-m", "rtvc", "convert", str(folder / "in.wav"), str(folder / "out.wav"), "--force"]
        commands = {
            "first converted block": [*PYTHON, "-c", FIRST_BLOCK],
            "rtvc --help": [*PYTHON, "-m", "rtvc", "--help"],
            "rtvc convert, 1 s of sound": convert,
        }
        # a cache of its own, so that the machine's cache is neither used nor changed
        environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
        medians = {}
        for what in ("first converted block", "rtvc convert, 1 s of sound"):
            report.row(what=what, cache="empty", runs=1, seconds=first_output_s(commands[what], environment))
        for what, command in commands.items():
            runs = [first_output_s(command, environment) for _ in range(repeats)]
            medians[what] = statistics.median(runs)
            report.row(what=what, cache="warm", runs=repeats, seconds=medians[what], slowest=max(runs))
        files = [path for path in (folder / "cache").rglob("*") if path.is_file()]
        size_mb = sum(path.stat().st_size for path in files) / 1e6
        report.row(what="Numba cache", cache="warm", files=len(files), megabytes=size_mb)
    report.target("cold start to first converted block, warm cache", medians["first converted block"], "s", "<= 3")
    report.target("rtvc --help", medians["rtvc --help"], "s", "<= 0.3")
    report.finish(args.json)


if __name__ == "__main__":
    main()
