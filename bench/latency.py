"""How late the voice is, through real audio servers: from a fake microphone to the virtual one.

Private servers are started (`tests.rig`) and `rtvc live` runs as users run it. A player feeds the fake microphone; two
recorders, one on each microphone, stamp what arrives by one clock: the difference is the latency ("total_ms"). The
floor is the same path with a converter that only copies: inside the callback on JACK and PipeWire, by a thread within
half a millisecond on PulseAudio. On jackd both ends count the graph's own frames, so its figures are exact.

The speaker's own voice (same delay by design) carries chirps over a pilot tone: a matched filter finds each chirp, and
torn pilot counts as a glitch. The DSP voice carries speech: the envelope of 1-8 kHz is correlated in windows of 2 s.
The row "offline" shows the envelope's own error: there the delay is known.

declared_ms is what rtvc's status says it adds: the voice's delay and the sound in flight between the callbacks. Both
converters leave the same buffers to the host, so it is compared with total less the host's part: floor less what the
copy itself holds ("host_ms"). difference_ms is the median of that over chirps or windows, each against the status of
its moment. host_said_ms is what the host tells of its buffers; a null sink's monitor is ahead of the time told.
meter_ms is what rtvc's own meter read from the sound at the end, less what the host said; meter_difference_ms compares
it likewise.

The row "monitor" is from the virtual microphone to the output on which who speaks hears it too.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from bench.compute import voices
from bench.report import Cell, Report, arguments
from rtvc.audio.backend import open_streams, split_id
from rtvc.audio.link import (
    CAPTURE,
    CAPTURE_RING,
    PLAYBACK,
    PLAYBACK_PRIME,
    PLAYBACK_RING,
    link_memory,
    read_clock,
)
from rtvc.engine.engine import Engine
from rtvc.kernels.ring import ring_fill
from rtvc.voices.presets import find_preset
from tests import probe, rig

RATE_HZ = 48_000
PRESET = "feminine"
WINDOW_S = 2.0
LONGEST_S = 0.2
FIFO_PRIORITY = 20  # of the rig: what it adds is not ours to measure
SETTLE_S = 5.0
READY_S = 180.0  # the very first start of the engine compiles it

Sound = NDArray[np.float32]
HOSTS: tuple[tuple[str, Callable[[int], contextlib.AbstractContextManager[rig.Server]], tuple[int, ...]], ...] = (
    ("pipewire", lambda block_frames: rig.pipewire(block_frames, FIFO_PRIORITY), (256, 128)),
    ("pulse", lambda _: rig.pulseaudio(FIFO_PRIORITY), (256, 240)),
    ("jack", rig.jackd, (256,)),
)


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
        _copy_in_thread(playback_id, block_frames)
    else:
        _copy_in_callback(host, playback_id, block_frames)


def _tell(in_flight_ms: float) -> None:
    print(json.dumps({"state": "running", "in_flight_ms": in_flight_ms}), flush=True)


def _copy_in_thread(playback_id: str, block_frames: int) -> None:
    from tests.echo import Echo

    link = link_memory()
    link[PLAYBACK_PRIME] = block_frames // 2
    streams = open_streams(link.ctypes.data, "pulse:fake-mic", playback_id, RATE_HZ, block_frames)
    with contextlib.closing(streams), Echo(link, streams.block_frames):
        streams.start()
        while True:
            time.sleep(0.2)
            (_, in_ns, _), (_, out_ns, _) = (read_clock(link, side) for side in (CAPTURE, PLAYBACK))
            fill = ring_fill(link[CAPTURE_RING:][:16]) + ring_fill(link[PLAYBACK_RING:][:16])
            # what the microphone gathered since its callback, less what was played since that of playback
            _tell(1e3 * fill / RATE_HZ + (out_ns - in_ns) * 1e-6)


def _copy_in_callback(host: str, playback_id: str, block_frames: int) -> None:
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
        while True:
            _tell(0.0)
            time.sleep(0.2)


@dataclass
class Converter:
    """A running converter, its statuses, and when they came by time.monotonic()."""

    process: subprocess.Popen[str]
    statuses: list[dict[str, Any]] = field(default_factory=list)
    told_s: list[float] = field(default_factory=list)

    def at(self, name: str, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a number of the status as it was at some times."""
        told = [status[name] for status in self.statuses[: len(self.told_s)]]
        return np.asarray(np.interp(time_s, self.told_s, told), np.float64)


@contextlib.contextmanager
def running(server: rig.Server, *words: str) -> Iterator[Converter]:
    """Run a program that prints statuses; inside, sound is running."""
    with server.python(*words) as process:
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


def plain(server: rig.Server, host: str, block_frames: int) -> contextlib.AbstractContextManager[Converter]:
    """Run the copy."""
    return running(server, "-m", "bench.latency", "--pass-through", host, str(block_frames))


def live(
    server: rig.Server, host: str, block_frames: int, preset: str, *more: str
) -> contextlib.AbstractContextManager[Converter]:
    """Run `rtvc live`."""
    where = ["--no-virtual-mic", "--playback", "fake-call"] if host == "jack" else []
    devices = ["--host", host, "--capture", "fake-mic", *where, "--block", str(block_frames)]
    return running(server, "-m", "rtvc", "live", *devices, "--preset", preset, "--json", *more)


def _read(converter: Converter) -> None:
    assert converter.process.stdout is not None
    for line in converter.process.stdout:
        converter.statuses.append(json.loads(line))
        converter.told_s.append(time.monotonic())


@dataclass(frozen=True)
class Heard:
    """What both microphones gave, sample for sample on one clock, and when that was by time.monotonic()."""

    x: Sound
    y: Sound
    begin_s: float


@contextlib.contextmanager
def ends(server: rig.Server, sound: Sound) -> Iterator[Callable[[], Heard]]:
    """Be ready at both ends; inside, a call plays sound and returns what was heard."""
    if server.kind != "jackd":
        yield lambda: play(server, sound)
        return
    sent, heard = server.folder / "sent.raw", server.folder / "heard.raw"
    sound.tofile(sent)
    with server.python("-m", "tests.jack_mic", str(sent), str(heard)) as mic:
        assert mic.stdin is not None
        assert mic.stdout is not None
        say, answer = mic.stdin, mic.stdout
        answer.readline()

        def ask() -> Heard:
            begin_s = time.monotonic()
            print("play", file=say, flush=True)
            answer.readline()
            return Heard(sound, np.fromfile(heard, np.float32), begin_s)

        yield ask


def play(server: rig.Server, sound: Sound, heard_at: str = "rtvc-mic", sent_at: str = "fake-mic") -> Heard:
    """Play sound into the fake microphone and record two sources."""
    with rig.Recorder(server, sent_at) as before, rig.Recorder(server, heard_at) as after:
        server.play(sound).wait()
        time.sleep(0.5)
    begin, other = (float(recorder.arrival_s(np.zeros(1))[0]) for recorder in (before, after))
    late = round((other - begin) * RATE_HZ)
    return Heard(before.x[max(0, late) :], after.x[max(0, -late) :], max(begin, other))


@dataclass(frozen=True)
class Delays:
    """Delays in ms, and where in y (in s) each was found."""

    late_ms: NDArray[np.float64]
    at_s: NDArray[np.float64]

    def cells(self) -> dict[str, Cell]:
        p50, low, high = (float(f(self.late_ms)) for f in (np.median, np.min, np.max))
        return {"total_ms": p50, "min_ms": low, "max_ms": high, "found": len(self.late_ms)}


def chirp_delays(heard: Heard) -> Delays:
    """Return the delay of each chirp in y against the last one before it in x."""
    sent, came = probe.chirps(heard.x), probe.chirps(heard.y)
    if not len(sent) or not len(came):
        raise RuntimeError(f"of the chirps {len(sent)} were heard before and {len(came)} after the converter")
    late = came - sent[np.maximum(np.searchsorted(sent, came + 0.005 * RATE_HZ) - 1, 0)]
    return Delays(late * 1e3 / RATE_HZ, came / RATE_HZ)


def envelope(x: Sound) -> NDArray[np.float64]:
    """Return how loud 1-8 kHz of x is over time, smoothed to 60 Hz."""
    band = sosfiltfilt(butter(2, (1000, 8000), "bandpass", fs=RATE_HZ, output="sos"), x)
    smooth: NDArray[np.float64] = sosfiltfilt(butter(2, 60, fs=RATE_HZ, output="sos"), np.abs(band))
    return smooth


def speech_delays(x: Sound, y: Sound) -> Delays:
    """Return the delay of y's envelope against x's in each window that has speech."""
    a, b = envelope(x), envelope(y)
    size, longest = round(WINDOW_S * RATE_HZ), round(LONGEST_S * RATE_HZ)
    late, at = [], []
    for start in range(0, min(len(a), len(b) - longest) - size, size // 4):
        here, there = a[start : start + size], b[start : start + size + longest]
        if here.std() < 0.5 * a.std():
            continue
        n = 1 << (2 * size).bit_length()
        match = np.fft.irfft(np.fft.rfft(there - there.mean(), n) * np.conj(np.fft.rfft(here - here.mean(), n)), n)
        late.append(int(np.argmax(match[:longest])))
        at.append(start + size // 2)
    return Delays(np.array(late) * 1e3 / RATE_HZ, np.array(at) / RATE_HZ)


def measure(report: Report, server: rig.Server, host: str, block_frames: int, seconds: float) -> dict[str, float]:
    """Add the rows of one host and block; return what the targets need."""
    where: dict[str, Cell] = {"host": host, "block": block_frames}
    tone, speech = probe.probe(seconds), np.resize(voices(), round(seconds * RATE_HZ))
    with ends(server, tone) as hear, plain(server, host, block_frames) as copy:
        time.sleep(SETTLE_S)
        heard = hear()
    delays = chirp_delays(heard)
    holds_ms = copy.at("in_flight_ms", heard.begin_s + delays.at_s)
    floor = Floor(float(np.median(delays.late_ms)), float(np.median(delays.late_ms - holds_ms)))
    report.row(what="copy", **where, **delays.cells(), in_flight_ms=float(np.median(holds_ms)), host_ms=floor.host_ms,
               **torn(heard))  # fmt: skip
    with ends(server, tone) as hear, live(server, host, block_frames, "natural") as rtvc:
        time.sleep(SETTLE_S)
        heard = hear()
    own = chirp_delays(heard)
    own_figures = declared(rtvc, heard, own, floor)
    report.row(what="rtvc, own voice", **where, **own.cells(), **own_figures, **torn(heard))
    with ends(server, speech) as hear, live(server, host, block_frames, PRESET) as rtvc:
        time.sleep(SETTLE_S)
        heard = hear()
    dsp = speech_delays(heard.x, heard.y)
    dsp_figures = declared(rtvc, heard, dsp, floor)
    report.row(what="rtvc, DSP voice", **where, **dsp.cells(), **dsp_figures)
    differences = [own_figures["difference_ms"], dsp_figures["difference_ms"]]
    return {"minus_floor_ms": dsp_figures["minus_floor_ms"], "difference_ms": max(map(abs, differences))}


def measure_monitor(report: Report, server: rig.Server, host: str, block_frames: int, seconds: float) -> None:
    """Add the row of the monitor, which plays on the rig's speakers."""
    with live(server, host, block_frames, "natural", "--monitor"):
        time.sleep(SETTLE_S)
        heard = play(server, probe.probe(seconds), "speakers.monitor", "rtvc-mic")
    report.row(what="monitor", host=host, block=block_frames, **chirp_delays(heard).cells(), **torn(heard))


def torn(heard: Heard) -> dict[str, Cell]:
    return {"torn_in": probe.glitches(heard.x), "torn_out": probe.glitches(heard.y)}


@dataclass(frozen=True)
class Floor:
    """The copy's whole delay, and the part of it that lies outside the copy."""

    total_ms: float
    host_ms: float


def declared(rtvc: Converter, heard: Heard, delays: Delays, floor: Floor) -> dict[str, Any]:
    """Return what the status declared at the moments of the delays, against what was measured."""
    time_s = heard.begin_s + delays.at_s
    said_ms = rtvc.at("voice_delay_ms", time_s) + rtvc.at("in_flight_ms", time_s)
    before, after = rtvc.at("xruns", np.array([time_s[0] - 2.0, time_s[-1] + 2.0]))
    host_said_ms = [sum(status["device_ms"]) for status in rtvc.statuses if status["device_ms"] is not None]
    last, measured_ms = rtvc.statuses[-1], float(np.median(delays.late_ms)) - floor.host_ms
    meter_ms = last["measured_p50_ms"] - sum(last["device_ms"] or ()) if last["measured_confidence"] else None
    return {
        "meter_ms": meter_ms,
        "meter_difference_ms": None if meter_ms is None else measured_ms - meter_ms,
        "meter_confidence": last["measured_confidence"],
        "minus_floor_ms": float(np.median(delays.late_ms)) - floor.total_ms,
        "declared_ms": float(np.median(said_ms)),
        "difference_ms": float(np.median(delays.late_ms - floor.host_ms - said_ms)),
        "in_flight_ms": float(np.median(rtvc.at("in_flight_ms", time_s))),
        "host_said_ms": float(np.median(host_said_ms)) if host_said_ms else None,
        "xruns": round(after - before),
        "xruns_before": round(before),
    }


def offline(report: Report) -> None:
    """Add the envelope's reading of a delay that is known: the engine's own, without devices."""
    x = voices()
    engine = Engine(RATE_HZ, find_preset(PRESET).vector())
    y = np.zeros_like(x)
    engine.process(x, y)
    delays = speech_delays(x, y)
    difference_ms = float(np.median(delays.late_ms)) - engine.delay_ms
    report.row(what="offline, DSP voice", **delays.cells(), declared_ms=engine.delay_ms, difference_ms=difference_ms)


def main() -> None:
    if "--pass-through" in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the virtual microphone goes
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
                    if block_frames == blocks[0]:  # the meter's own error
                        twice = play(server, probe.probe(seconds), "fake-mic")
                        report.row(what="one source twice", host=host, **chirp_delays(twice).cells(), **torn(twice))
                found[host, block_frames] = measure(report, server, host, block_frames, seconds)
                if server.kind != "jackd" and block_frames == blocks[0]:
                    measure_monitor(report, server, host, block_frames, seconds)
    what = "PipeWire, 256 frames: DSP voice, microphone to virtual microphone, minus the floor, p50"
    report.target(what, found["pipewire", 256]["minus_floor_ms"], "ms", "<= 25")
    for host, _, blocks in HOSTS:
        worst = max(found[host, block_frames]["difference_ms"] for block_frames in blocks)
        report.target(f"{host}: declared delay against measured, worst row", worst, "ms", "<= 2")
    report.finish(args.json)


if __name__ == "__main__":
    main()
