"""How late the voice is, through real audio servers: player -> fake microphone -> rtvc -> virtual microphone -> recorder.

Private servers are started (`tests.rig`); `rtvc live` runs as users run it. Two recorders, one on the fake microphone and
one on the virtual one, stamp what arrives by one clock: the difference is the latency ("total_ms"). The floor is the
same path with a converter that only copies: inside the callback on JACK and PipeWire, by a thread within half a
millisecond on PulseAudio. On jackd both ends count the graph's own frames, so its figures are exact.

The speaker's own voice (same delay by design) carries chirps over a pilot tone: each chirp is found by a matched filter,
torn pilot counts as a glitch. The DSP voice carries speech: the envelope of 1-8 kHz is correlated in windows of 2 s.
The envelope's own error is in the row "offline", where the engine's delay is known.

declared_ms is the median of what the status says: voice, sound in flight and, where the host tells, its buffers. With
the buffers it is compared with total_ms, without them with minus_floor_ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from bench.compute import voices
from bench.report import Cell, Report, arguments
from rtvc.audio.backend import open_streams, split_id
from rtvc.audio.link import PLAYBACK_PRIME, link_memory
from rtvc.engine.engine import Engine
from rtvc.voices.presets import find_preset
from tests import probe, rig

RATE_HZ = 48_000
PRESET = "feminine"
WINDOW_S = 2.0
LONGEST_S = 0.2
FIFO_PRIORITY = 20
SETTLE_S = 5.0
READY_S = 180.0  # the very first start of the engine compiles it

Sound = NDArray[np.float32]
HOSTS: tuple[tuple[str, Callable[[int], contextlib.AbstractContextManager[rig.Server]], tuple[int, ...]], ...] = (
    ("pipewire", rig.pipewire, (256, 128)),
    ("pulse", lambda _: rig.pulseaudio(), (256, 240)),
    ("jack", rig.jackd, (256,)),
)


def steady(server: rig.Server) -> None:
    """Give every thread of the rig real-time priority where allowed: what the rig adds is not ours to measure."""
    for process in server.processes:
        for task in Path(f"/proc/{process.pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(int(task.name)) == os.SCHED_OTHER:
                    os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))


def pass_through(host: str, block_frames: int) -> None:
    """Copy the fake microphone to the virtual one until killed, with as little as the host allows in between."""
    if host == "jack":
        _copy(host, "jack:fake-call", block_frames)
        return
    from rtvc.audio.virtual_mic import VirtualMicrophone

    with VirtualMicrophone(host=host) as microphone:
        _copy(host, microphone.playback_id, block_frames)


def _copy(host: str, playback_id: str, block_frames: int) -> None:
    if host == "pulse":
        from tests.echo import Echo

        link = link_memory()
        link[PLAYBACK_PRIME] = block_frames // 2
        streams = open_streams(link.ctypes.data, "pulse:fake-mic", playback_id, RATE_HZ, block_frames)
        with Echo(link, streams.block_frames):
            streams.start()
            print("running", flush=True)
            sys.stdin.read()
        streams.close()
        return
    os.environ["PIPEWIRE_QUANTUM"] = f"{block_frames}/{RATE_HZ}"
    from numba import carray, cfunc, types

    from rtvc.audio.c_pointer import pointer
    from rtvc.audio.jack import JackClient, libjack

    lib = libjack(host)
    get_buffer = types.ExternalFunction("jack_port_get_buffer", types.voidptr(types.voidptr, types.uint32))

    @cfunc(types.int32(types.uint32, types.voidptr))
    def copy(frames, userdata):  # type: ignore[no-untyped-def]
        ports = carray(userdata, (2,), np.int64)
        x = carray(get_buffer(pointer(ports[0]), frames), (np.int64(frames),), np.float32)
        y = carray(get_buffer(pointer(ports[1]), frames), (np.int64(frames),), np.float32)
        y[:] = x
        return 0

    with JackClient(host) as client:
        kind = b"32 bit float mono audio"
        handles = [lib.jack_port_register(client.handle, *port, 0) for port in ((b"in", kind, 1), (b"out", kind, 2))]
        ports = np.array(handles, np.int64)
        lib.jack_set_process_callback(client.handle, ctypes.c_void_p(copy.address), ctypes.c_void_p(ports.ctypes.data))
        lib.jack_activate(client.handle)
        for source in client.device_ports("fake-mic", output=True):
            client.connect(source, f"{client.name}:in")
        for sink in client.device_ports(split_id(playback_id)[1], output=False):
            client.connect(f"{client.name}:out", sink)
        print("running", flush=True)
        sys.stdin.read()


@dataclass
class Converter:
    """A running converter and, if it is rtvc, its statuses, one a second."""

    process: subprocess.Popen[str]
    statuses: list[dict[str, Any]] = field(default_factory=list)

    def median(self, name: str) -> float:
        return float(np.median([status[name] for status in self.statuses]))

    def grown(self, name: str) -> int:
        """Return how much a counter grew while statuses were taken."""
        return int(self.statuses[-1][name]) - int(self.statuses[0][name])


@contextlib.contextmanager
def plain(server: rig.Server, host: str, block_frames: int) -> Iterator[Converter]:
    """Run the pass-through; inside, sound is running."""
    with server.python("-m", "bench.latency", "--pass-through", host, str(block_frames)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "running\n":
            raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
        yield Converter(process)
        process.stdin.close()
        process.wait(10)


@contextlib.contextmanager
def live(server: rig.Server, host: str, block_frames: int, *sound: str) -> Iterator[Converter]:
    """Run `rtvc live`; inside, sound is running."""
    where = ["--no-virtual-mic", "--playback", "fake-call"] if host == "jack" else []
    words = ["live", "--host", host, "--capture", "fake-mic", *where, "--block", str(block_frames), "--json", *sound]
    with server.python("-m", "rtvc", *words) as process:
        converter = Converter(process)
        reader = threading.Thread(target=_read, args=(converter,), daemon=True)
        reader.start()
        deadline = time.monotonic() + READY_S
        while not converter.statuses or converter.statuses[-1]["state"] != "running":
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
            time.sleep(0.02)
        yield converter
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        reader.join()


def _read(converter: Converter) -> None:
    assert converter.process.stdout is not None
    for line in converter.process.stdout:
        converter.statuses.append(json.loads(line))


@contextlib.contextmanager
def ends(server: rig.Server, sound: Sound) -> Iterator[Callable[[], tuple[Sound, Sound]]]:
    """Plug in both ends; inside, a call plays sound and returns both recordings on one clock, sample for sample."""
    if server.kind != "jackd":
        yield lambda: _play(server, sound)
        return
    sent, heard = server.folder / "sent.raw", server.folder / "heard.raw"
    sound.tofile(sent)
    with server.python("-m", "tests.jack_mic", str(sent), str(heard)) as mic:
        assert mic.stdin is not None
        assert mic.stdout is not None
        say, answer = mic.stdin, mic.stdout
        answer.readline()

        def play() -> tuple[Sound, Sound]:
            print("play", file=say, flush=True)
            answer.readline()
            return sound, np.fromfile(heard, np.float32)

        yield play


def _play(server: rig.Server, sound: Sound) -> tuple[Sound, Sound]:
    with rig.Recorder(server, "fake-mic") as before, rig.Recorder(server, "rtvc-mic") as after:
        player = server.play(sound)
        steady(server)
        player.wait()
        time.sleep(0.5)
    return aligned(before, after)


def aligned(before: rig.Recorder, after: rig.Recorder) -> tuple[Sound, Sound]:
    """Return both recordings from the moment on at which both run."""
    begin, other = (recorder.arrival_s(np.zeros(1))[0] for recorder in (before, after))
    late = round(float(other - begin) * RATE_HZ)
    return before.x[max(0, late) :], after.x[max(0, -late) :]


def chirp_delay(x: Sound, y: Sound) -> probe.Delay:
    return probe.delay((x, probe.chirps(x) / RATE_HZ), (y, probe.chirps(y) / RATE_HZ))


def envelope(x: Sound) -> NDArray[np.float64]:
    """Return how loud 1-8 kHz of x is over time, smoothed to 60 Hz."""
    band = sosfiltfilt(butter(2, (1000, 8000), "bandpass", fs=RATE_HZ, output="sos"), x)
    smooth: NDArray[np.float64] = sosfiltfilt(butter(2, 60, fs=RATE_HZ, output="sos"), np.abs(band))
    return smooth


def speech_delays_ms(x: Sound, y: Sound) -> NDArray[np.float64]:
    """Return the delay of y's envelope against x's in each window that has speech."""
    a, b = envelope(x), envelope(y)
    size, longest = round(WINDOW_S * RATE_HZ), round(LONGEST_S * RATE_HZ)
    found = []
    for start in range(0, min(len(a), len(b) - longest) - size, size // 4):
        here, there = a[start : start + size], b[start : start + size + longest]
        if here.std() < 0.5 * a.std():
            continue
        n = 1 << (2 * size).bit_length()
        match = np.fft.irfft(np.fft.rfft(there - there.mean(), n) * np.conj(np.fft.rfft(here - here.mean(), n)), n)
        found.append(int(np.argmax(match[:longest])) * 1e3 / RATE_HZ)
    return np.array(found)


def measure(report: Report, server: rig.Server, host: str, block_frames: int, seconds: float) -> dict[str, float]:
    """Add the rows of one host and block; return what the targets need."""
    where: dict[str, Cell] = {"host": host, "block": block_frames}
    tone, speech = probe.probe(seconds), np.resize(voices(), round(seconds * RATE_HZ))
    with ends(server, tone) as play, plain(server, host, block_frames):
        time.sleep(SETTLE_S)
        floor = chirp_delay(*play())
    report.row(what="pass-through", **where, total_ms=floor.p50_ms, min_ms=floor.min_ms, max_ms=floor.max_ms,
               found=floor.chirps, torn_in=floor.glitches_in, torn_out=floor.glitches_out)  # fmt: skip
    with ends(server, tone) as play, live(server, host, block_frames, "--preset", "natural") as rtvc:
        x, y = _settled(rtvc, play)
    own = chirp_delay(x, y)
    figures = _declared(rtvc, own.p50_ms, floor.p50_ms)
    differences = [figures["difference_ms"]]
    report.row(what="rtvc, own voice", **where, total_ms=own.p50_ms, min_ms=own.min_ms, max_ms=own.max_ms,
               found=own.chirps, torn_in=own.glitches_in, torn_out=own.glitches_out, **figures)  # fmt: skip
    with ends(server, speech) as play, live(server, host, block_frames, "--preset", PRESET) as rtvc:
        x, y = _settled(rtvc, play)
    late_ms = speech_delays_ms(x, y)
    figures = _declared(rtvc, float(np.median(late_ms)), floor.p50_ms)
    report.row(what="rtvc, DSP voice", **where, total_ms=float(np.median(late_ms)), min_ms=late_ms.min(),
               max_ms=late_ms.max(), found=len(late_ms), **figures)  # fmt: skip
    differences.append(figures["difference_ms"])
    return {"minus_floor_ms": figures["minus_floor_ms"], "difference_ms": max(map(abs, differences))}


def _settled(rtvc: Converter, play: Callable[[], tuple[Sound, Sound]]) -> tuple[Sound, Sound]:
    """Play once drift control is past its acquisition; keep the statuses of that time only."""
    time.sleep(SETTLE_S)
    del rtvc.statuses[:-1]
    return play()


def _declared(rtvc: Converter, total_ms: float, floor_ms: float) -> dict[str, float]:
    declared_ms = rtvc.median("latency_ms")
    buffers_known = rtvc.statuses[-1]["device_ms"] is not None
    return {
        "minus_floor_ms": total_ms - floor_ms,
        "declared_ms": declared_ms,
        "difference_ms": (total_ms if buffers_known else total_ms - floor_ms) - declared_ms,
        "in_flight_ms": rtvc.median("in_flight_ms"),
        "xruns": rtvc.grown("xruns"),
        "cuts": rtvc.grown("cuts"),
        "xruns_at_start": int(rtvc.statuses[0]["xruns"]),
    }


def offline(report: Report) -> None:
    """Add the envelope's reading of a delay that is known: the engine's own, without devices."""
    x = voices()
    engine = Engine(RATE_HZ, find_preset(PRESET).vector())
    y = np.zeros_like(x)
    engine.process(x, y)
    late_ms = speech_delays_ms(x, y)
    report.row(what="offline, DSP voice", total_ms=float(np.median(late_ms)), min_ms=late_ms.min(),
               max_ms=late_ms.max(), found=len(late_ms), declared_ms=engine.delay_ms,
               difference_ms=float(np.median(late_ms)) - engine.delay_ms)  # fmt: skip


def one_source(report: Report, server: rig.Server, host: str, seconds: float) -> None:
    """Add what two recorders on one source disagree by: the meter's own error."""
    with rig.Recorder(server, "fake-mic") as before, rig.Recorder(server, "fake-mic") as after:
        server.play(probe.probe(seconds)).wait()
        time.sleep(0.5)
    zero = chirp_delay(*aligned(before, after))
    report.row(what="one source twice", host=host, total_ms=zero.p50_ms, min_ms=zero.min_ms, max_ms=zero.max_ms,
               found=zero.chirps, torn_in=zero.glitches_in, torn_out=zero.glitches_out)  # fmt: skip


def main() -> None:
    if "--pass-through" in sys.argv:
        pass_through(sys.argv[2], int(sys.argv[3]))
        return
    args = arguments("latency", __doc__).parse_args()
    report = Report("latency")
    seconds = 6.0 if args.quick else 20.0
    offline(report)
    found = {}
    for host, start, blocks in HOSTS:
        for block_frames in blocks:
            with start(block_frames) as server:
                if server.kind != "jackd":
                    server.plug_in()
                    steady(server)
                    if block_frames == blocks[0]:
                        one_source(report, server, host, seconds)
                found[host, block_frames] = measure(report, server, host, block_frames, seconds)
    what = "PipeWire, 256 frames: DSP voice, microphone to virtual microphone, minus the floor, p50"
    report.target(what, found["pipewire", 256]["minus_floor_ms"], "ms", "<= 25")
    for host, _, blocks in HOSTS:
        worst = max(found[host, block_frames]["difference_ms"] for block_frames in blocks)
        report.target(f"{host}: declared delay against measured, worst row", worst, "ms", "<= 2")
    report.finish(args.json)


if __name__ == "__main__":
    main()
