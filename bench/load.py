"""Minutes under load: every core busy with other programs of the same priority, on a real PipeWire at 256 frames.

The same dense speech goes through each converter in turn while one busy process for each core competes with it:

- rtvc with a neural voice and with the DSP voice, at the load's priority ("same") and in real time ("fifo");
- the DSP engine in a Python callback of sounddevice, as a plain Python program does it;
- the same neural voice behind a minimal callback-inference loop, the design of most such programs: the callback puts
  blocks into a queue, a thread of the same process converts them, a second queue feeds the output. It has no idea of
  age, so what it could not convert in time waits.

"gone" is the share of time in which the virtual microphone had no sound, whoever is to blame: 10 ms windows of silence
(the input has none), and what never came because a converter held up the audio graph. "missing" is how often the
converter's output had nothing for a block: xruns for rtvc. For rtvc the ages of all blocks and the time on each rung
of the quality ladder follow as histograms; for the loop the largest backlog.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import glob
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.faults import speech
from bench.latency import FIFO_PRIORITY
from bench.report import Report, arguments
from rtvc.engine.build import build_engine
from rtvc.engine.engine import Engine
from rtvc.engine.ladder import RUNGS
from rtvc.engine.params import to_vector
from rtvc.engine.pump import AGE_EDGES_MS
from tests import rig

RATE_HZ, BLOCK_FRAMES = 48_000, 256
NEURAL = to_vector({"voice.name": "neural"})
DSP = to_vector({"pitch.semitones": 4.0})
POINT = "fast"
WINDOW_FRAMES, SILENT = 480, 1e-4
SETTLE_S, LOOK_S = 3.0, 0.05


class Callback:
    """A sounddevice stream between the fake and the virtual microphone whose Python callback converts."""

    def __init__(self, stack: contextlib.ExitStack, engine: Engine, threaded: bool) -> None:
        """Threaded puts a queue and a thread of this process between the callback and the engine."""
        self.missing = self.backlog_most = 0
        self._engine, self._threaded = engine, threaded
        self._waiting: queue.SimpleQueue[NDArray[np.float32]] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[NDArray[np.float32]] = queue.SimpleQueue()
        os.environ["PIPEWIRE_QUANTUM"] = f"{BLOCK_FRAMES}/{RATE_HZ}"
        for library in glob.glob("/usr/lib/*/pipewire-0.3/jack/libjack.so.0"):
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        from rtvc.audio.virtual_mic import VirtualMicrophone

        microphone = stack.enter_context(VirtualMicrophone(host="pipewire"))
        import sounddevice

        self._y = np.zeros(BLOCK_FRAMES, np.float32)
        apis = [api["name"] for api in sounddevice.query_hostapis()]
        numbers = {d["name"]: d["index"] for d in sounddevice.query_devices() if "JACK" in apis[d["hostapi"]]}
        devices = numbers["fake-mic"], numbers[microphone.heard_as]
        if threaded:
            threading.Thread(target=self._convert, daemon=True).start()
        call = self._queued if threaded else self._direct
        stream = sounddevice.Stream(RATE_HZ, BLOCK_FRAMES, devices, 1, "float32", "low", callback=call)
        stack.enter_context(stream)

    def _direct(self, x: NDArray[np.float32], y: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        self.missing += bool(status)
        self._engine.process(np.ascontiguousarray(x[:, 0]), self._y)
        y[:, 0] = self._y

    def _queued(self, x: NDArray[np.float32], y: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        self._waiting.put(x[:, 0].copy())
        self.backlog_most = max(self.backlog_most, self._waiting.qsize() + self._ready.qsize())
        try:
            y[:, 0] = self._ready.get_nowait()
        except queue.Empty:
            y.fill(0.0)
            self.missing += 1

    def _convert(self) -> None:
        while True:
            x = self._waiting.get()
            y = np.zeros_like(x)
            self._engine.process(x, y)
            self._ready.put(y)


def control(converter: str) -> None:
    """Be one converter; say "running", then answer each line with what it counts, as JSON."""
    with contextlib.ExitStack() as stack:
        values = NEURAL if "neural" in converter else DSP
        if converter.startswith("rtvc"):
            from rtvc.audio.virtual_mic import VirtualMicrophone
            from rtvc.control.devices import HostDevices
            from rtvc.engine.live import LiveSession

            microphone = stack.enter_context(VirtualMicrophone(host="pipewire"))
            devices = HostDevices("pipewire", "pipewire:fake-mic", microphone.playback_id, RATE_HZ, BLOCK_FRAMES,
                                  microphone)  # fmt: skip
            session = stack.enter_context(LiveSession(devices.open, values, POINT))

            def count() -> dict[str, Any]:
                return dataclasses.asdict(session.status())
        else:
            engine = build_engine(RATE_HZ, values, POINT)
            warm = np.zeros(BLOCK_FRAMES, np.float32)
            engine.process(warm, warm.copy())
            callback = Callback(stack, engine, threaded="neural" in converter)

            def count() -> dict[str, Any]:
                return {"xruns": callback.missing, "backlog": callback.backlog_most}

        print("running", flush=True)
        for _ in sys.stdin:
            print(json.dumps(count()), flush=True)


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep so many cores busy with processes of this one's priority."""
    work = "while True: sum(i * i for i in range(20000))"
    processes = [subprocess.Popen([sys.executable, "-c", work]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def controlled(server: rig.Server, converter: str, realtime: bool) -> Iterator[subprocess.Popen[str]]:
    """Run a converter; without realtime it lacks the right to ask for priority, as users' programs mostly do."""
    words = ["-m", "bench.load", "--control", converter]
    if not realtime:
        drop = "import os, sys; os.execvp('setpriv', ['setpriv', '--bounding-set=-sys_nice', '--inh-caps=-sys_nice', "
        words = ["-c", drop + "sys.executable, *sys.argv[1:]])", *words]
    with server.python(*words) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "running\n":
            raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
        yield process
        process.stdin.close()
        process.wait(20)


def ask(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what the converter counts."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(file=process.stdin, flush=True)
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def measure(report: Report, server: rig.Server, converter: str, realtime: bool, seconds: float) -> dict[str, float]:
    """Run one converter for so long under load, add its row and return what targets need."""
    voice = np.tile(speech(), 1 + round((seconds + 30) * RATE_HZ / len(speech())))
    with controlled(server, converter, realtime) as process, busy(os.cpu_count() or 1):
        player = server.play(voice)
        time.sleep(SETTLE_S)
        before, on_rung, ages_ms = ask(process), dict.fromkeys(RUNGS, 0), [0.0]
        with rig.Recorder(server, "rtvc-mic") as heard:
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s:
                time.sleep(LOOK_S)
                now = ask(process)
                if "rung" in now:
                    on_rung[now["rung"]] += 1
                    ages_ms.append(now["age_ms"])
        after = ask(process)
        player.kill()
    windows = np.abs(heard.x[: len(heard.x) // WINDOW_FRAMES * WINDOW_FRAMES].reshape(-1, WINDOW_FRAMES)).max(axis=1)
    span_s = heard._times[-1] - heard._times[0]
    never_s = max(0.0, span_s - (len(heard.x) - len(heard._chunks[0]) / 4) / RATE_HZ)
    gone = (float(np.sum(windows < SILENT)) * WINDOW_FRAMES / RATE_HZ + never_s) / span_s
    figures = {"gone": gone, "missing": float(after["xruns"] - before["xruns"])}
    row: dict[str, Any] = {"what": converter, "priority": "fifo" if realtime else "same", "seconds": seconds} | figures
    if "ages" in after:
        counts = np.array(after["ages"]) - np.array(before["ages"])
        shares = counts / max(1, counts.sum())
        names = [*(f"age_to_{edge}" for edge in AGE_EDGES_MS), "age_above"]
        looks = max(1, sum(on_rung.values()))
        figures |= {"age_most_ms": max(ages_ms), "late_share": 0.0}
        late = after["late_blocks"] - before["late_blocks"]
        figures["late_share"] = late / max(1, counts.sum())
        row |= {"age_most_ms": max(ages_ms), "late_share": figures["late_share"]}
        row |= {f"on {name}": count / looks for name, count in on_rung.items() if count}
        row |= {"rung_changes": after["rung_changes"], "dropped_ms": after["dropped_frames"] / RATE_HZ * 1e3,
                "cut_ms": after["cut_ms"], "realtime": after["realtime"]}  # fmt: skip
        row |= {name: float(share) for name, share in zip(names, shares, strict=True) if share}
    else:
        row["backlog_ms"] = after["backlog"] * BLOCK_FRAMES / RATE_HZ * 1e3
    report.row(**row)
    return figures


def main() -> None:
    if "--control" in sys.argv:
        control(sys.argv[2])
        return
    parser = arguments("load", __doc__)
    parser.add_argument("--minutes", type=float, metavar="N", help="how long the first row runs (30; 0.5 if quick)")
    args = parser.parse_args()
    report = Report("load")
    seconds = 60.0 * (args.minutes or (0.5 if args.quick else 30.0))
    short = min(seconds, 60.0)
    with rig.pipewire(BLOCK_FRAMES, FIFO_PRIORITY) as server:
        server.plug_in()
        ours = measure(report, server, "rtvc neural", False, seconds)
        fifo = measure(report, server, "rtvc neural", True, short)
        dsp = measure(report, server, "rtvc dsp", False, short)
        measure(report, server, "rtvc dsp", True, short)
        plain = measure(report, server, "callback dsp", False, short)
        loop = measure(report, server, "loop neural", False, short)
    for name, figures in (("neural voice, same priority", ours), ("neural voice, real-time priority", fifo)):
        report.target(f"{name}: oldest sound", figures["age_most_ms"], "ms", "<= 250")
    report.target("sound gone, neural: ours over the loop's", ours["gone"] / max(loop["gone"], 1e-6), "", "<= 1")
    report.target("sound gone, DSP: ours over the callback's", dsp["gone"] / max(plain["gone"], 1e-6), "", "<= 1")
    report.finish(args.json)


if __name__ == "__main__":
    main()
