"""What the engine process allocates and asks of the system in its steady state, for the DSP and a neural voice.

Two runs for each voice, both of a real engine process with speech going in, flight recorder included:

- Traced: on simulated devices, with tracemalloc in the engine's own thread, which looks before every sleep.
  "block" is what a turn of the loop has allocated at its most and given back at its end; "kept" is what is allocated
  after each 10 s more than at the beginning; "blocks" the same in objects of the interpreter (sys.getallocatedblocks,
  whose count knows what was there before tracing too). The sites that grew follow, if there are any.
- Plain: on a private PulseAudio, its anonymous resident memory every 10 s, and then every system call of each of its
  threads by strace. The thread that makes sound may only sleep, look at its clock, and whether its parent is there.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
import types
from pathlib import Path
from typing import Any

import numpy as np

from bench.faults import speech
from bench.report import Report, arguments
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.engine import worker
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from rtvc.engine.worker import WorkerSettings
from tests import rig

RATE_HZ, BLOCK_FRAMES = 48_000, 256
VOICES = {
    "dsp": to_vector({"pitch.semitones": 4.0, "breath.amount": 0.3}),
    "neural": to_vector({"voice.name": "neural"}),
}
POINT = "fast"
WARM_S, LOOK_S = 30.0, 10.0
PATIENCE_S = 60.0
SITES = 5
STATE_KIB = 1024  # what taking a state for the flight recorder, every 12 s, makes malloc grow by, once
WHY = {
    "clock_nanosleep": "sleeps until the next block is due",
    "clock_gettime": "the thread's own processor time, for the quality ladder; other clocks are no system calls",
    "poll": "looks whether the parent process is still there, with every heartbeat",
}
_CALL = re.compile(r"(\d+)\s+(?:<\.\.\. (\w+) resumed>|(\w+)\()(?!.*(?:<unfinished|resuming interrupted))")


class Tracer:
    """Stands in for `time` in an engine's loop: every sleep begins with a look at what is allocated."""

    def __init__(self, path: str, looks: int) -> None:
        self._path, self._looks = path, looks
        self._rows = np.zeros((looks + 1, 2))  # bytes and objects
        self._turns = np.zeros(2000 * (looks + 2))
        self._turn = self._look = 0
        self._due_s = 0.0
        self._before: tracemalloc.Snapshot | None = None

    def sleep(self, seconds: float) -> None:
        now_s = time.perf_counter()
        if not tracemalloc.is_tracing():
            tracemalloc.start()
            self._due_s = now_s + WARM_S
        elif self._look <= self._looks:
            if self._before and self._turn < len(self._turns):
                size, peak = tracemalloc.get_traced_memory()
                self._turns[self._turn] = peak - size
                self._turn += 1
            if now_s >= self._due_s:
                self._look_around(now_s)
            tracemalloc.reset_peak()
        time.sleep(seconds)

    def _look_around(self, now_s: float) -> None:
        if self._before is None:
            self._before = tracemalloc.take_snapshot()
        self._rows[self._look] = tracemalloc.get_traced_memory()[0], sys.getallocatedblocks()
        self._look += 1
        self._due_s = now_s + LOOK_S
        if self._look > self._looks:
            own = [tracemalloc.Filter(False, tracemalloc.__file__)]
            grown = tracemalloc.take_snapshot().filter_traces(own).compare_to(self._before, "lineno")
            sites = [f"{found.traceback} +{found.size_diff}" for found in grown if found.size_diff > 0]
            turns = self._turns[: self._turn]
            found = {"kept": (self._rows[1:] - self._rows[0]).tolist(), "sites": sites,
                     "turn": [float(np.median(turns)), float(turns.max())]}  # fmt: skip
            Path(self._path + ".part").write_text(json.dumps(found))
            os.rename(self._path + ".part", self._path)


def serve_traced(path: str, looks: int, settings: WorkerSettings) -> None:
    """Be an engine process (see `worker.serve`) that traces its memory and writes what it found to path."""
    tracer = Tracer(path, looks)
    clocks = {name: getattr(time, name) for name in ("perf_counter", "perf_counter_ns", "thread_time")}
    worker.time = types.SimpleNamespace(**clocks, sleep=tracer.sleep)  # type: ignore[assignment]
    worker.serve(settings)


def traced(report: Report, voice: str, seconds: float) -> tuple[float, float]:
    """Run one voice with tracing; return the bytes kept for each block, and by how much the second half has more."""
    source, looks = speech(), round(seconds / LOOK_S)
    original = worker.serve
    target = importlib.import_module("bench.audit").serve_traced  # by a name that the engine process can import
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        worker.serve = functools.partial(target, str(path), looks)  # type: ignore[assignment]
        try:
            with LiveSession(
                lambda link: SimulatedStreams(link, source, SimulatedClock(), SimulatedClock(), keep=False, loop=True),
                VOICES[voice],
                POINT,
            ) as session:
                until_s = time.monotonic() + WARM_S + seconds + PATIENCE_S
                while not path.exists():
                    if time.monotonic() > until_s:
                        raise TimeoutError("the engine never said what it allocates")
                    time.sleep(0.2)
                status = session.status()
        finally:
            worker.serve = original
        found: dict[str, Any] = json.loads(path.read_text())
    kept = [row[0] for row in found["kept"]]
    report.row(what=f"{voice}: allocated", rung=status.rung, xruns=status.xruns, block_bytes=found["turn"][0],
               block_most_bytes=found["turn"][1], kept_bytes=" ".join(f"{size:.0f}" for size in kept),
               kept_blocks=" ".join(f"{row[1]:.0f}" for row in found["kept"]))  # fmt: skip
    for site in found["sites"][:SITES]:
        report.row(what=f"{voice}: grew", site=site)
    half = len(kept) // 2
    return max(kept) / (seconds * RATE_HZ / BLOCK_FRAMES), max(kept[half:]) - max(kept[:half])


def control(voice: str) -> None:
    """Be a control process on PulseAudio; print the engine's process id, end at EOF."""
    from rtvc.audio.virtual_mic import VirtualMicrophone
    from rtvc.control.devices import HostDevices

    with VirtualMicrophone(host="pulse") as microphone:
        devices = HostDevices("pulse", "pulse:fake-mic", microphone.playback_id, RATE_HZ, BLOCK_FRAMES, microphone)
        with LiveSession(devices.open, VOICES[voice], POINT) as session:
            print(session.engine_pid, flush=True)
            sys.stdin.read()
            status = session.status()
            print(json.dumps([status.rung, status.engine_restarts]), flush=True)


def resident_kib(pid: int) -> int:
    """Return the anonymous resident memory of a process; its shared memory has a fixed size."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1])


def calls_of(pid: int, seconds: float, folder: Path) -> collections.Counter[tuple[int, str]]:
    """Count the system calls of a process that came back within so long, by thread and name."""
    path = folder / "strace"
    command = ["strace", "-f", "-qq", "-o", str(path), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        time.sleep(seconds)
        if tracer.poll() is not None:
            raise RuntimeError(f"strace ended early: {tracer.stderr.read().strip() if tracer.stderr else ''}")
        tracer.terminate()
    found: collections.Counter[tuple[int, str]] = collections.Counter()
    for line in path.read_text(errors="replace").splitlines():
        if match := _CALL.match(line):
            found[int(match[1]), match[2] or match[3]] += 1
    return found


def plain(report: Report, voice: str, seconds: float) -> tuple[float, float, float]:
    """Run one voice on PulseAudio; return KiB grown, calls a second that are not in WHY, and those of other threads."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(rig.pulseaudio())
        server.plug_in()
        process = stack.enter_context(server.python("-m", "bench.audit", "--control", voice))
        assert process.stdin is not None
        assert process.stdout is not None
        told = process.stdout.readline()
        if not told.strip().isdigit():
            raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
        pid = int(told)
        server.play(np.tile(speech(), 1 + round((WARM_S + 2 * seconds + 20) * RATE_HZ / len(speech()))))
        time.sleep(WARM_S)
        resident = [resident_kib(pid)]
        for _ in range(round(seconds / LOOK_S)):
            time.sleep(LOOK_S)
            resident.append(resident_kib(pid))
        calls = calls_of(pid, seconds, server.folder)
        threads = len(os.listdir(f"/proc/{pid}/task"))
        process.stdin.close()
        rung, restarts = json.loads(process.stdout.readline())
        process.wait(20)
    report.row(what=f"{voice}: resident", rung=rung, restarts=restarts, threads=threads,
               anonymous_kib=" ".join(map(str, resident)))  # fmt: skip
    for (thread, name), count in sorted(calls.items(), key=lambda item: -item[1]):
        ours = thread == pid
        why = WHY.get(name, "") if ours else ""
        whose = "sound" if ours else "other"
        report.row(what=f"{voice}: system call", thread=whose, call=name, a_second=count / seconds, why=why)
    unexplained = sum(count for (thread, name), count in calls.items() if thread == pid and name not in WHY)
    others = sum(count for (thread, _), count in calls.items() if thread != pid)
    return float(resident[-1] - resident[0]), unexplained / seconds, others / seconds


def main() -> None:
    if "--control" in sys.argv:
        control(sys.argv[2])
        return
    parser = arguments("audit", __doc__)
    parser.add_argument("--seconds", type=float, metavar="N", help="how long memory is traced (120; 20 if quick)")
    args = parser.parse_args()
    report = Report("audit")
    rig.require("strace")
    seconds = args.seconds or (20.0 if args.quick else 120.0)
    for voice in VOICES:
        kept, later = traced(report, voice, seconds)
        grown, unexplained, others = plain(report, voice, min(seconds, 60.0))
        report.target(f"{voice}: Python memory kept, for each block of {seconds:.0f} s", kept, "bytes", "<= 4")
        report.target(f"{voice}: of it more in the second half than in the first", later, "bytes", "<= 8192")
        report.target(f"{voice}: resident memory grown", grown, "KiB", f"<= {STATE_KIB}")
        report.target(f"{voice}: other system calls of the thread that makes sound", unexplained, "1/s", "== 0")
        report.target(f"{voice}: system calls of other threads of the engine process", others, "1/s", "== 0")
    report.finish(args.json)


if __name__ == "__main__":
    main()
