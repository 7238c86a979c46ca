"""Sound must not suffer when Python does: live conversion beside a control process that is kept busy on purpose.

The control process runs a busy thread, a thread that writes and reads JSON, and full garbage collections over a heap
of a million objects. Row by row, on PipeWire at 256 frames: the rig with a C copy instead of rtvc and the same load in
another process; rtvc; and the same engine called from a Python callback of sounddevice in the busy process itself.

A steady tone goes through. It is torn where its phase jumps or its level falls within 10 ms, in the recording of the
fake microphone ("torn_in") or of the virtual one ("torn_out"). A virtual machine stops now and then for everybody: a
watch on each core, at higher priority than all sound, notes each time it woke more than STALL_MS late, and a listener
in the audio graph each cycle that came so late. What tears beside a torn microphone or such a stall is the machine's;
the rest, "ours", is the row's result. "xruns" is what rtvc counted itself, whatever the cause. "lost_s" is all torn
sound and, where a converter held up its part of the graph, what never came.

At last the engine process of `rtvc live` is killed in mid-stream, several times, and a listener in the audio graph
notes each cycle's beginning and what the virtual microphone gave in it. "silent_ms" is from the kill to silence, with
the rest of the block that the graph already had; "sinking_ms" is the sound in blocks that began after the kill;
"back_s" is from the kill to sound. All are the worst of all kills.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from bench.graph_listener import BLOCK_FRAMES, listening
from bench.latency import FIFO_PRIORITY, RATE_HZ, SETTLE_S, live, plain
from bench.report import Report, arguments
from bench.stalls import BEFORE_S, NEAR_S, STALL_MS, Stall, note, parse, watch_cores
from rtvc.engine.engine import Engine
from rtvc.voices.presets import find_preset
from tests import rig

PRESET = "natural"  # it passes the tone, and the engine computes the DSP voice beside it all the same
TONE_HZ, TONE_LEVEL = 1000.0, 0.15
WINDOW_FRAMES = 480
HEAP_OBJECTS = 1_000_000
START_S = 0.2  # recorders may start so far apart
KILL_EVERY_S = 4.0
CYCLE_GAPS = 256
CYCLE_WORDS = 4 + 2 * CYCLE_GAPS
SLICE_FRAMES = 16  # how finely sound is watched
SLICES = BLOCK_FRAMES // SLICE_FRAMES
HEARD_CYCLES = 1 << 15  # three minutes


def load() -> None:
    """Keep this process busy for ever with everything that holds the interpreter."""
    heap = [[i] for i in range(HEAP_OBJECTS)]

    def count() -> None:
        while True:
            sum(i * i for i in range(20_000))

    def write_json() -> None:
        table = [{"name": str(i), "values": list(range(20))} for i in range(300)]
        while True:
            table = json.loads(json.dumps(table))

    def collect() -> None:
        while heap:
            gc.collect()
            time.sleep(0.2)

    for work in (count, write_json, collect):
        threading.Thread(target=work, daemon=True).start()


def control(converter: str) -> None:
    """Be the control process: "rtvc", "python" (the engine in a Python callback) or "none".

    Says "running" when sound runs, then obeys lines: "load" and "xruns".
    """
    with contextlib.ExitStack() as stack:
        session = None
        if converter == "rtvc":
            from rtvc.audio.backend import open_streams
            from rtvc.audio.virtual_mic import VirtualMicrophone
            from rtvc.engine.live import LiveSession

            devices = "pipewire:fake-mic", stack.enter_context(VirtualMicrophone(host="pipewire")).playback_id

            def open_devices(link: NDArray[np.int64]) -> object:
                return open_streams(link.ctypes.data, *devices, RATE_HZ, BLOCK_FRAMES)

            session = stack.enter_context(LiveSession(open_devices, find_preset(PRESET).vector()))  # type: ignore[arg-type]
        elif converter == "python":
            stack.enter_context(_python_callback())
        print("running", flush=True)
        for line in sys.stdin:
            answer: object = None
            if line == "load\n":
                load()
            elif session and line == "xruns\n":
                answer = session.status().xruns
            print(json.dumps(answer), flush=True)


@contextlib.contextmanager
def _python_callback() -> Iterator[None]:
    """Run the engine as most Python programs do: in the callback of a sounddevice stream, on PipeWire's JACK."""
    os.environ["PIPEWIRE_QUANTUM"] = f"{BLOCK_FRAMES}/{RATE_HZ}"
    for library in glob.glob("/usr/lib/*/pipewire-0.3/jack/libjack.so.0"):
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    from rtvc.audio.virtual_mic import VirtualMicrophone

    with VirtualMicrophone(host="pipewire") as microphone:
        import sounddevice

        engine = Engine(RATE_HZ, find_preset(PRESET).vector())
        x, y = np.zeros(BLOCK_FRAMES, np.float32), np.zeros(BLOCK_FRAMES, np.float32)
        engine.process(x, y)

        def callback(indata: NDArray[np.float32], outdata: NDArray[np.float32], *_: object) -> None:
            x[:] = indata[:, 0]
            engine.process(x, y)
            outdata[:, 0] = y

        apis = [api["name"] for api in sounddevice.query_hostapis()]
        numbers = {d["name"]: d["index"] for d in sounddevice.query_devices() if "JACK" in apis[d["hostapi"]]}
        devices = numbers["fake-mic"], numbers[microphone.heard_as]
        with sounddevice.Stream(RATE_HZ, BLOCK_FRAMES, devices, 1, "float32", "low", callback=callback):
            yield


def watch_stalls() -> None:
    """Print (where, end in s, length in s) of each stall of a "core" and each gap between "cycle"s of the graph."""

    watch_cores()
    _watch_cycles()


def _watch_cycles() -> None:
    """Join the graph as a listener to the fake microphone that only looks at the time."""
    os.environ["PIPEWIRE_QUANTUM"] = f"{BLOCK_FRAMES}/{RATE_HZ}"
    from numba import carray, cfunc, types

    from rtvc.audio.jack import JackClient, libjack
    from rtvc.kernels.clock import now_ns

    lib = libjack("pipewire")
    longest_ns = round(1e9 * (BLOCK_FRAMES / RATE_HZ + STALL_MS * 1e-3))

    @cfunc(types.int32(types.uint32, types.voidptr))
    def cycle(frames, userdata):  # type: ignore[no-untyped-def]
        log = carray(userdata, (CYCLE_WORDS,), np.int64)  # last cycle, gaps so far, scratch, then (end, length) of each
        now = now_ns(log[2:4])
        if log[0] > 0 and now - log[0] > longest_ns:
            place = 4 + 2 * (log[1] % CYCLE_GAPS)
            log[place] = now
            log[place + 1] = now - log[0]
            log[1] += 1
        log[0] = now
        return 0

    with JackClient("pipewire") as client:
        log = np.zeros(CYCLE_WORDS, np.int64)
        lib.jack_port_register(client.handle, b"in", b"32 bit float mono audio", 1, 0)
        lib.jack_set_process_callback(client.handle, ctypes.c_void_p(cycle.address), ctypes.c_void_p(log.ctypes.data))
        lib.jack_activate(client.handle)
        client.connect(client.device_ports("fake-mic", output=True)[0], f"{client.name}:in")
        told = 0
        while True:
            for number in range(told, int(log[1])):
                end_ns, gap_ns = log[4:].reshape(-1, 2)[number % CYCLE_GAPS]
                note("cycle", end_ns * 1e-9, gap_ns * 1e-9)
            told = int(log[1])
            time.sleep(0.05)


class Control:
    """The control process, seen from the bench."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: TextIO = process.stdin  # type: ignore[assignment]
        self._out: TextIO = process.stdout  # type: ignore[assignment]

    def ask(self, what: str) -> float:
        """Send a line and return the answer, NaN where there is none."""
        print(what, file=self._in, flush=True)
        answer = json.loads(self._out.readline())
        return float("nan" if answer is None else answer)


@contextlib.contextmanager
def controlled(server: rig.Server, converter: str) -> Iterator[Control]:
    """Run a control process; inside, sound is running."""
    with server.python("-m", "bench.isolation", "--control", converter) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "running\n":
            raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
        yield Control(process)
        process.stdin.close()
        process.wait(20)


@contextlib.contextmanager
def stalls(server: rig.Server) -> Iterator[list[Stall]]:
    """Watch the machine; afterwards the list holds its stalls."""
    found: list[Stall] = []
    with server.python("-m", "bench.isolation", "--stalls") as process:
        yield found
        process.kill()
        assert process.stdout is not None
        found += parse(process.stdout)


class Stamped(rig.Recorder):
    """A recorder that tells when each sample really came, however unsteady the rig was."""

    def came_s(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when the samples so many seconds from the start arrived, by time.monotonic()."""
        ends = np.cumsum([len(chunk) for chunk in self._chunks]) / 4 / RATE_HZ
        return np.array(self._times)[np.minimum(np.searchsorted(ends, seconds, "right"), len(ends) - 1)]


def torn_s(x: NDArray[np.float32], seconds: float) -> NDArray[np.float64]:
    """Return the beginnings in s of torn windows in a tone of so many seconds, but for its first and last 50 ms."""
    windows = x[: len(x) // WINDOW_FRAMES * WINDOW_FRAMES].reshape(-1, WINDOW_FRAMES)
    turn = (2 * np.pi * TONE_HZ / RATE_HZ * np.arange(WINDOW_FRAMES)).astype(np.float32)
    heard = windows @ np.cos(turn) - 1j * (windows @ np.sin(turn))
    level = np.abs(heard)
    first = int(np.argmax(level > 0.25 * TONE_LEVEL * WINDOW_FRAMES)) + 5
    last = first + round(seconds * RATE_HZ / WINDOW_FRAMES) - 10
    heard, level = heard[first:last], level[first:last]
    turned = np.abs(np.angle(heard[1:] * np.conj(heard[:-1])))
    torn = np.flatnonzero((turned > 0.15) | (level[1:] < 0.25 * TONE_LEVEL * WINDOW_FRAMES))
    return np.asarray((first + 1 + torn) * (WINDOW_FRAMES / RATE_HZ), np.float64)


def events(torn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first of each run of torn windows."""
    return torn[np.diff(torn, prepend=-9.0) > NEAR_S]


def covered(spans: list[tuple[float, float]], begin_s: float, seconds: float) -> Iterator[float]:
    """Yield the lengths of a recording's parts that spans cover, overlaps once."""
    reached_s = begin_s
    for begin, end in sorted(spans):
        last = min(end, begin_s + seconds)
        if last > max(begin, reached_s):
            yield last - max(begin, reached_s)
            reached_s = last


def tone(seconds: float) -> NDArray[np.float32]:
    turns = 2 * np.pi * TONE_HZ / RATE_HZ * np.arange(round(seconds * RATE_HZ))
    wave: NDArray[np.float32] = (TONE_LEVEL * np.sin(turns)).astype(np.float32)
    return wave


def measure(report: Report, server: rig.Server, what: str, seconds: float, control: Control) -> int:
    """Put load on, play the tone through what runs, add the row, and return what tore for no reason but us."""
    control.ask("load")
    time.sleep(SETTLE_S)
    before = control.ask("xruns")
    with (
        stalls(server) as stalled,
        Stamped(server, "fake-mic") as microphone,
        Stamped(server, "rtvc-mic") as heard,
    ):
        begin_s = time.monotonic()
        server.play(tone(seconds)).wait()
        time.sleep(0.5)
    missing_s = max(0.0, (len(microphone.x) - len(heard.x)) / RATE_HZ - START_S)
    xruns = control.ask("xruns") - before
    torn_in, torn_out = (recorder.came_s(torn_s(recorder.x, seconds)) for recorder in (microphone, heard))
    excuses = [(t - NEAR_S, t + NEAR_S) for t in torn_in]
    excuses += [(stall.end_s - stall.length_s - BEFORE_S, stall.end_s + NEAR_S) for stall in stalled]
    unexcused = [t for t in torn_out if not any(begin <= t <= end for begin, end in excuses)]
    ours = len(events(np.array(unexcused)))
    report.row(
        what=what,
        seconds=seconds,
        torn_in=len(events(torn_in)),
        torn_out=len(events(torn_out)),
        lost_s=min(seconds, missing_s + len(torn_out) * WINDOW_FRAMES / RATE_HZ),
        xruns=None if np.isnan(xruns) else int(xruns),
        ours=ours,
        core_stalls=sum(stall.where == "core" for stall in stalled),
        late_cycles=sum(stall.where == "cycle" for stall in stalled),
        excused_share=sum(covered(excuses, begin_s, seconds)) / seconds,
        longest_stall_ms=1e3 * max((stall.length_s for stall in stalled), default=0.0),
    )
    return ours


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kills(report: Report, server: rig.Server, times: int) -> tuple[float, float]:
    """Kill the engine of `rtvc live` in mid-stream; add a row; return the worst sinking_ms and back_s."""
    killed_s = []
    with live(server, "pipewire", BLOCK_FRAMES, PRESET) as rtvc:
        time.sleep(SETTLE_S)
        with listening(server, HEARD_CYCLES, "rtvc-mic") as heard:
            player = server.play(tone((times + 1) * KILL_EVERY_S))
            for _ in range(times):
                time.sleep(KILL_EVERY_S)
                (engine,) = [pid for child in children(rtvc.process.pid) for pid in children(child)]
                killed_s.append(time.monotonic())
                os.kill(engine, signal.SIGKILL)
            player.wait()
            begin_s, sound = heard()
    level = np.abs(sound).reshape(-1, SLICE_FRAMES).max(axis=1)
    slice_s = SLICE_FRAMES / RATE_HZ
    at_s = (begin_s[:, None] + slice_s * np.arange(SLICES)).reshape(-1)
    silent_s, sinking_s, back_s, leaks = [], [], [], []
    for kill_s in killed_s:
        at = int(np.searchsorted(at_s, kill_s))
        first = SLICES * int(np.searchsorted(begin_s, kill_s))  # of the first block that began after the kill
        silent = at + int(np.argmax(level[at:] < 1e-3 * TONE_LEVEL))
        back = silent + int(np.argmax(level[silent:] > 0.5 * TONE_LEVEL))
        silent_s.append(float(at_s[silent] - kill_s))
        sinking_s.append(max(silent - first, 0) * slice_s)
        back_s.append(float(at_s[back] - kill_s) if back > silent else np.inf)
        leaks.append(float(level[silent : back - 15].max(initial=0.0)))
    report.row(what="engine killed", kills=times, silent_ms=1e3 * max(silent_s), sinking_ms=1e3 * max(sinking_s),
               back_s=max(back_s), loudest_between=max(leaks))  # fmt: skip
    return 1e3 * max(sinking_s), max(back_s)


def main() -> None:
    if "--control" in sys.argv:
        control(sys.argv[2])
        return
    if "--stalls" in sys.argv:
        watch_stalls()
        return
    parser = arguments("isolation", __doc__)
    parser.add_argument("--seconds", type=float, metavar="N", help="how long rtvc runs under load (600)")
    parser.add_argument("--kills", type=int, metavar="N", help="only kill the engine, so many times")
    args = parser.parse_args()
    report = Report("isolation")
    seconds = args.seconds or (20.0 if args.quick else 600.0)
    short = min(seconds, 60.0)
    with rig.pipewire(BLOCK_FRAMES, FIFO_PRIORITY) as server:
        server.plug_in()
        if not args.kills:
            with plain(server, "pipewire", BLOCK_FRAMES), controlled(server, "none") as load_only:
                measure(report, server, "C copy, load in another process", short, load_only)
            with controlled(server, "rtvc") as rtvc:
                ours = measure(report, server, "rtvc, load in its control process", seconds, rtvc)
            report.target(f"rtvc under load, {seconds:.0f} s: xruns caused by us", ours, "", "== 0")
            with controlled(server, "python") as python:
                measure(report, server, "Python callback, load in its process", short, python)
        sinking_ms, back_s = kills(report, server, args.kills or (3 if args.quick else 10))
    what = "engine killed: sound left in the blocks that begin after it, worst"
    report.target(what, sinking_ms, "ms", f"<= {1e3 * BLOCK_FRAMES / RATE_HZ:.2f}")
    report.target("engine killed: sound again after, worst", back_s, "s", "<= 2")
    report.finish(args.json)


if __name__ == "__main__":
    main()
