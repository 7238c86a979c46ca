"""Remote control beside live sound: how soon a change is heard, and that clients of any kind disturb nobody.

A real engine runs on simulated devices at 256 frames, in a process of their own at real-time priority where that is
allowed; server and session are in one process, the clients in others.

- "heard": from just before SetParam is sent until the first changed sample is played. The tone repeats with the block,
  so a sample differs from the one a block before only where something changed; a sample is played when its block's
  callback ran plus its place in the block.
- "load": 20 clients send 200 SetParam a second between them; in every other part of the time one more is there that is
  subscribed to everything and never reads. The times are from request to answer, as the clients see them.
- "half-open": 1,000 connections that say nothing; the time of a request beside them.
- "fuzz": messages made wrong by chance, through protocol and handlers, beside the sound.

xruns are those of the engine's sound in that row, whatever the cause: a virtual machine stops now and then for
everybody. "ours" is the load's xruns but those beside a stall that an independent watch saw (`bench.stalls`;
excused_share is the share of the time that lies beside them), and `load_1min` says how busy the machine was.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import Report, arguments
from bench.stalls import BEFORE_S, NEAR_S, core_stalls
from rtvc.audio.link import (
    CAPTURE_CHANNELS,
    CAPTURE_RATE_HZ,
    LINK_INT64,
    PLAYBACK_CHANNELS,
    PLAYBACK_RATE_HZ,
    link_memory,
)
from rtvc.audio.simulated import SimulatedStreams
from rtvc.control.client import AsyncControl, ControlError
from rtvc.control.wire import ALL_EVENTS, HIGH_VOLUME
from tests.rtvc.control.served import RATE_HZ, Served, served, wait_for
from tests.rtvc.control.test_dispatch import Room
from tests.rtvc.control.test_fuzz import play

BLOCK_FRAMES = 256
TONE_HZ = RATE_HZ / BLOCK_FRAMES
CHANGED = 2e-3  # of a tone of 0.2; what drift control does to it stays below
CLIENTS, REQUESTS_PER_S = 20, 200
HALF_OPEN = 1000
DEVICE_PRIORITY = 20
GOAL_MS = 20.0 + 1e3 * BLOCK_FRAMES / RATE_HZ


class TimedStreams(SimulatedStreams):
    """Simulated devices that write down when the first sample was played that differs from the block before."""

    def __init__(self, link: NDArray[np.int64], changed_ns: NDArray[np.int64]) -> None:
        tone = 0.2 * np.sin(2 * np.pi * TONE_HZ / RATE_HZ * np.arange(RATE_HZ // BLOCK_FRAMES * BLOCK_FRAMES))
        super().__init__(link, tone.astype(np.float32), keep=False, loop=True)
        self._before = np.zeros(BLOCK_FRAMES, np.float32)
        self._changed_ns = changed_ns

    def _play(self, now_ns: int) -> None:
        super()._play(now_ns)
        differs = np.abs(self._y - self._before) > CHANGED
        if self._changed_ns[0] == 0 and differs.any():
            self._changed_ns[0] = time.perf_counter_ns() + round(int(np.argmax(differs)) * 1e9 / RATE_HZ)
        self._before[:] = self._y


def be_devices(link_name: str, changed_name: str, ready: Event, stop: Event) -> None:
    """Be the process of the devices, as prompt as the system allows."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(DEVICE_PRIORITY))
    memory = SharedMemory(link_name), SharedMemory(changed_name)
    link: NDArray[np.int64] = np.ndarray((LINK_INT64,), np.int64, memory[0].buf)
    changed: NDArray[np.int64] = np.ndarray((1,), np.int64, memory[1].buf)
    warm = TimedStreams(link_memory(), np.zeros(1, np.int64))
    warm.run_until(0.1)
    gc.disable()
    streams = TimedStreams(link, changed)
    ready.set()
    streams.start()
    stop.wait()
    streams.close()
    del streams, link, changed
    for block in memory:
        block.close()


class DeviceProcess:
    """`Streams` whose callbacks run in a process of their own, as a host's do: nothing here can hold them up."""

    duplex, block_frames = False, BLOCK_FRAMES

    def __init__(self, link: NDArray[np.int64], link_name: str, changed_name: str) -> None:
        link[CAPTURE_CHANNELS] = link[PLAYBACK_CHANNELS] = 1
        link[CAPTURE_RATE_HZ] = link[PLAYBACK_RATE_HZ] = RATE_HZ
        context = multiprocessing.get_context("spawn")
        self._ready, self._stop = context.Event(), context.Event()
        names = link_name, changed_name
        self._process = context.Process(target=be_devices, args=(*names, self._ready, self._stop), daemon=True)

    def start(self) -> None:
        self._process.start()
        self._ready.wait()

    def stop(self) -> None:
        self._stop.set()
        if self._process.is_alive():
            self._process.join()

    close = stop

    def failure(self) -> str | None:
        return None

    def latency_ms(self) -> tuple[float, float] | None:
        return None


def heard_ms(there: Served, changed_ns: NDArray[np.int64], count: int) -> list[float]:
    """Change the gain so many times; return how long each change took to be heard."""
    found = []
    with there.control() as control:
        for i in range(count):
            time.sleep(0.08 + 0.005 * (i % 11) / 11)  # past the parameter's own ramp, at any phase of a block
            changed_ns[0] = 0
            begin_ns = time.perf_counter_ns()
            control.set({"level.gain_db": -6.0 * ((i + 1) % 2)})
            wait_for(lambda: changed_ns[0] != 0, "the change")
            found.append((int(changed_ns[0]) - begin_ns) * 1e-6)
    return found


async def clients(url: str, seconds: float) -> None:
    """Be the clients; print when each request was sent (s, of perf_counter) and how long its answer took (ms)."""
    times: list[tuple[float, float]] = []

    async def one(number: int) -> None:
        async with AsyncControl(url, events=ALL_EVENTS) as control:
            period_s = CLIENTS / REQUESTS_PER_S
            due_s = time.perf_counter() + period_s * number / CLIENTS
            end_s = due_s + seconds
            while due_s < end_s:
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                begin_s = time.perf_counter()
                await control.set({"formant.ratio": 1.0 + 0.2 * ((begin_s * 3) % 1.0)})
                times.append((begin_s, 1e3 * (time.perf_counter() - begin_s)))
                due_s += period_s

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    print(json.dumps(times))


def run_clients(url: str, seconds: float) -> NDArray[np.float64]:
    """Run the clients in a process of their own; return when each request was sent and its answer time."""
    command = [sys.executable, "-m", "bench.control", "--be-clients", url, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout))


@contextlib.contextmanager
def stalled(there: Served) -> Iterator[socket.socket]:
    """Connect, subscribe to everything, and never read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", there.server.port))
    plain.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{there.server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    said = json.dumps({"op": 1, "d": {"rpcVersion": 1, "eventSubscriptions": int(ALL_EVENTS | HIGH_VOLUME)}}).encode()
    plain.sendall(b"\x81" + bytes([0x80 | len(said)]) + bytes(4) + said)
    with plain:
        yield plain


def resident_mb() -> float:
    """Return this process's resident memory in MB, NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * 4096 / 1e6


def xruns(there: Served) -> int:
    return there.session.status().xruns


def quantiles(times: list[float] | NDArray[np.float64]) -> dict[str, float]:
    return {f"p{q}_ms": float(np.percentile(times, q)) for q in (50, 99)} | {"max_ms": float(np.max(times))}


def watch_xruns(there: Served, done: threading.Event, times_s: list[float]) -> None:
    """Note when (time.monotonic()) each xrun came, until done."""
    seen = xruns(there)
    while not done.wait(0.01):
        now = xruns(there)
        times_s += [time.monotonic()] * (now - seen)
        seen = now


def measure_load(report: Report, there: Served, seconds: float) -> None:
    """Let 20 clients play; in every other part of the time one more is there that never reads."""
    part_s = max(3.0, seconds / 20)
    before = xruns(there)
    spans: list[tuple[float, float]] = []
    memory_mb: list[float] = []
    done = threading.Event()

    def disturb() -> None:
        while not done.wait(part_s):
            memory_mb.append(resident_mb())
            with stalled(there):
                begin_s = time.perf_counter()
                done.wait(part_s)
                spans.append((begin_s, time.perf_counter()))

    torn_s: list[float] = []
    threads = [
        threading.Thread(target=disturb), threading.Thread(target=watch_xruns, args=(there, done, torn_s)),
    ]  # fmt: skip
    with core_stalls() as stalls:
        for thread in threads:
            thread.start()
        sent_s, took_ms = run_clients(there.url, seconds).T
        done.set()
        for thread in threads:
            thread.join()
    excused = sum(stall.length_s + BEFORE_S + NEAR_S for stall in stalls) / seconds
    ours = sum(not any(stall.explains(t) for stall in stalls) for t in torn_s)
    beside = np.zeros(len(sent_s), bool)
    for begin_s, end_s in spans:
        beside |= (sent_s > begin_s) & (sent_s < end_s)
    torn = xruns(there) - before
    grown_mb = memory_mb[-1] - memory_mb[1] if len(memory_mb) > 2 else float("nan")
    for what, times in (("load", took_ms[~beside]), ("load, one stalled", took_ms[beside])):
        report.row(what=what, requests=len(times), seconds=seconds, xruns=torn, ours=ours, stalls=len(stalls),
                   excused_share=excused, grown_mb=grown_mb, load_1min=os.getloadavg()[0],
                   **quantiles(times))  # fmt: skip
    report.target("xruns under load", torn, "", "== 0")
    report.target("xruns under load beside no stall of the machine", ours, "", "== 0")
    report.target("memory grown under load", grown_mb, "MB", "<= 5")
    slower = float(np.percentile(took_ms[beside], 99) / np.percentile(took_ms[~beside], 99))
    report.target("p99 of answers with one stalled over without", slower, "", "<= 1.5")


def measure_half_open(report: Report, there: Served) -> None:
    before, times, refused = xruns(there), [], 0
    with contextlib.ExitStack() as stack, there.control() as control:
        for i in range(HALF_OPEN):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", there.server.port), timeout=5))
            with contextlib.suppress(OSError):
                plain.sendall(b"GET / HT")
            if i % 20 == 0:
                begin_s = time.perf_counter()
                control.request("GetStatus")
                times.append(1e3 * (time.perf_counter() - begin_s))
            plain.settimeout(0.001)
            with contextlib.suppress(OSError):
                refused += plain.recv(12) == b"HTTP/1.1 503"
    report.row(what="half-open connections", requests=len(times), refused=refused, xruns=xruns(there) - before,
               **quantiles(times))  # fmt: skip
    report.target("xruns beside half-open connections", xruns(there) - before, "", "== 0")


def measure_fuzz(report: Report, there: Served, cases: int) -> None:
    """Send the messages through protocol and handlers of a second desk in this process, beside the sound."""
    before, begin_s = xruns(there), time.perf_counter()
    slowest_ms = [0.0]

    async def told(folder: Path) -> dict[str, int]:
        room = Room(folder, {}, False)
        try:
            return await play(room, cases, 3)
        finally:
            await room.desk.close()

    done = threading.Event()

    def ask() -> None:
        with there.control() as control:
            while not done.wait(0.1):
                start_s = time.perf_counter()
                control.request("GetStatus")
                slowest_ms.append(1e3 * (time.perf_counter() - start_s))

    thread = threading.Thread(target=ask)
    thread.start()
    with tempfile.TemporaryDirectory() as name:
        seen = asyncio.run(told(Path(name)))
    done.set()
    thread.join()
    report.row(what="fuzz", requests=cases, seconds=time.perf_counter() - begin_s, xruns=xruns(there) - before,
               p50_ms=statistics.median(slowest_ms), max_ms=max(slowest_ms), **seen)  # fmt: skip
    report.target("fuzz cases without a crash", cases, "", ">= 100000")
    report.target("xruns beside the fuzzer", xruns(there) - before, "", "== 0")


def main() -> None:
    parser = arguments("control", __doc__)
    parser.add_argument("--seconds", type=float, metavar="N", help="length of the load (600, quick 20)")
    parser.add_argument("--cases", type=int, metavar="N", help="fuzzed messages (100000, quick 5000)")
    parser.add_argument("--be-clients", metavar="URL", help="(used by the bench itself)")
    args = parser.parse_args()
    seconds = args.seconds or (20.0 if args.quick else 600.0)
    if args.be_clients:
        asyncio.run(clients(args.be_clients, seconds))
        return
    report = Report("control")
    changed = SharedMemory(create=True, size=8)
    changed_ns: NDArray[np.int64] = np.ndarray((1,), np.int64, changed.buf)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="rtvc-bench-"))
        there = stack.enter_context(served(Path(name), values={"voice.name": "own"}, bypass=True))
        session = there.session
        session._open_streams = lambda link: DeviceProcess(link, session._link.memory.name, changed.name)
        session.start()
        time.sleep(3.0)  # until both clocks are known and drift control rests
        found = heard_ms(there, changed_ns, 100 if args.quick else 1000)
        report.row(what="heard", requests=len(found), xruns=xruns(there), **quantiles(found))
        p99_ms = float(np.percentile(found, 99))
        report.target("SetParam sent until first changed sample, p99", p99_ms, "ms", f"<= {GOAL_MS:.1f}")
        measure_load(report, there, seconds)
        measure_half_open(report, there)
        measure_fuzz(report, there, args.cases or (5_000 if args.quick else 100_000))
    del changed_ns
    changed.close()
    changed.unlink()
    report.finish(args.json)


if __name__ == "__main__":
    try:
        main()
    except ControlError as error:
        sys.exit(f"bench.control: {error}")
