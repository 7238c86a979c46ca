"""`rtvc doctor --soak`: the smallest block this machine holds, with the voice that will speak, in hard times.

Blocks are tried from the smallest up, each in the real live path (engine process and all): first with every core kept
busy by other processes, then with devices that stall for 5 to 300 ms besides, then with a microphone that is unplugged
and comes back. The simulated devices drift by PPM against each other and jitter. A block is stable if no sound ran out
or was lost but within AFTER_STALL_S of a stall (what a device does not deliver, nobody can play), the delay came back
after each stall, and sound came back after the unplugging. The first stable block is then held for the rest of the
time, and, where there is a microphone, on the real devices too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.backend import DeviceError, Streams
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.demo import read_voice, sample_path
from rtvc.engine.flight import BLOCK_COLUMNS
from rtvc.engine.live import LiveSession
from rtvc.engine.network import Choice
from rtvc.engine.status import LiveStatus

BLOCKS_FRAMES = (64, 128, 256, 512, 1024)
RATE_HZ = 48_000
PPM, JITTER_MS = 200.0, 0.3
STALLS_MS = (60.0, 300.0, 5.0, 150.0, 20.0)  # in turn the microphone's and the listener's
STALL_EVERY_S = 2.2
SETTLE_S, AFTER_STALL_S, BACK_S = 1.0, 1.5, 1.5
LOOK_S = 0.05
LEAST_S = 9.0  # of a trial
BACK_MS = 25.0  # above the target: so near the delay must be BACK_S after a stall
FIFO_PRIORITY = 15  # of the simulated devices: above the engine's, as a sound card's is
_BUSY = """
import os, sys
sys.stdin.read(1)
if hasattr(os, "sched_setscheduler"):
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1000000):
        pass
"""

Open = Callable[[NDArray[np.int64]], Streams]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class SoakSettings:
    """The sound to soak (float64[len(PARAMS)]), the neural voice's operating point and provider."""

    values: Values
    point: str
    provider: Choice


@dataclass
class SoakTrial:
    """What one block size did; a reason for each thing that makes it unstable."""

    block_frames: int
    devices: str  # simulated, or the real ones' names
    seconds: float
    reasons: list[str] = field(default_factory=list)
    xruns: int = 0  # apart from stalls
    xruns_in_stalls: int = 0
    realtime: bool = False
    load: float = 0.0
    block_ms: Values = field(default_factory=lambda: np.zeros(0))  # how long each block took
    age_ms: Values = field(default_factory=lambda: np.zeros(0))  # how old the sound between the devices was

    @property
    def stable(self) -> bool:
        """Whether nothing went wrong."""
        return not self.reasons


class BusyCores:
    """One ordinary process for each core that computes from `begin` to `end`. Use as a context; they end with us."""

    def __enter__(self) -> Self:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        command = [sys.executable, "-S", "-E", "-c", _BUSY]
        self._processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(cores)]
        return self

    def begin(self) -> None:
        """Let them compute; they have been started before, which itself disturbs."""
        for process in self._processes:
            if process.stdin and not process.stdin.closed:
                process.stdin.write(b"x")
                process.stdin.close()

    def end(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()

    def __exit__(self, *exc: object) -> None:
        self.end()
        for process in self._processes:
            if process.stdin:
                process.stdin.close()
            process.wait()


@contextlib.contextmanager
def punctual() -> Iterator[None]:
    """Give this thread and those it starts, simulated devices among them, real-time priority where that is allowed."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


@dataclass(frozen=True)
class Plan:
    """When what happens in a trial, in seconds from its first sound."""

    seconds: float
    load_s: tuple[float, float]
    stalls_s: tuple[tuple[float, float], ...]  # of the microphone
    late_s: tuple[tuple[float, float], ...]  # of the listener
    unplug_s: float

    @classmethod
    def of(cls, seconds: float) -> Plan:
        """Return the plan for so many seconds: calm, load, load with stalls, unplugging, calm."""
        starts = np.arange(0.45 * seconds, 0.7 * seconds - 0.5 * STALL_EVERY_S, STALL_EVERY_S)
        stalls = [(float(start), 1e-3 * length) for start, length in zip(starts, itertools.cycle(STALLS_MS))]
        return cls(seconds, (0.1 * seconds, 0.7 * seconds), tuple(stalls[::2]), tuple(stalls[1::2]), 0.72 * seconds)

    def disturbed(self, at_s: float) -> bool:
        """Return whether a gap at that time is the devices' own doing."""
        stalls = (*self.stalls_s, *self.late_s, (self.unplug_s, 1.0))
        return at_s < 0.0 or any(begin - 0.2 <= at_s < begin + length + AFTER_STALL_S for begin, length in stalls)


class SoakedDevices:
    """Simulated devices that follow a plan the first time they are opened, and behave afterwards."""

    def __init__(self, plan: Plan, block_frames: int) -> None:
        self._plan, self._block_frames = plan, block_frames
        self._openings = itertools.count()
        self._voice = read_voice(sample_path())

    def __call__(self, link: NDArray[np.int64]) -> Streams:
        """Open them on link."""
        clock = SimulatedClock(RATE_HZ, PPM / 2, JITTER_MS, block_frames=self._block_frames)
        microphone, listener = clock, replace(clock, ppm=-PPM / 2)
        if next(self._openings) == 0:
            gone = ((self._plan.unplug_s, 1.0),)
            microphone = replace(microphone, stalls_s=self._plan.stalls_s, unplugged_s=gone)
            listener = replace(listener, stalls_s=self._plan.late_s)
        return SimulatedStreams(link, self._voice, microphone, listener, keep=False, loop=True)


def soak_block(settings: SoakSettings, block_frames: int, seconds: float) -> SoakTrial:
    """Run one block size on simulated devices by the plan."""
    plan = Plan.of(seconds)
    trial = SoakTrial(block_frames, "simulated", seconds)
    session = LiveSession(SoakedDevices(plan, block_frames), settings.values, settings.point, settings.provider)
    with BusyCores() as load, punctual(), session:
        status = _watch(session, plan, trial, load)
        _measure(session, trial)
    if status.state != "running" or status.device_reopens < 1:
        trial.reasons.append(f"after the microphone came back it was {status.state} ({status.message or 'no sound'})")
    return trial


def soak_devices(settings: SoakSettings, open_streams: Open, name: str, block_frames: int, seconds: float) -> SoakTrial:
    """Run one block size on real devices, first calm, then under load. Raises DeviceError."""
    plan = Plan(seconds, (0.3 * seconds, 0.9 * seconds), (), (), 10.0 * seconds)
    trial = SoakTrial(block_frames, name, seconds)
    session = LiveSession(open_streams, settings.values, settings.point, settings.provider)
    with BusyCores() as load, session:
        status = _watch(session, plan, trial, load)
        _measure(session, trial)
    trial.block_frames = status.block_frames
    if status.state != "running":
        trial.reasons.append(f"at the end it was {status.state}: {status.message}")
    return trial


def _watch(session: LiveSession, plan: Plan, trial: SoakTrial, load: BusyCores) -> LiveStatus:
    """Let the plan happen and count what went wrong; return the last status."""
    begin_s = time.perf_counter()
    before, lost = session.status(), 0
    checks = {begin + length + BACK_S for begin, length in (*plan.stalls_s, *plan.late_s)}
    while (at_s := time.perf_counter() - begin_s) < plan.seconds:
        if at_s >= plan.load_s[1]:
            load.end()
        elif at_s >= plan.load_s[0]:
            load.begin()
        time.sleep(LOOK_S)
        now = session.status()
        xruns = max(0, now.xruns - before.xruns)
        gone = max(0, now.lost_capture_frames - before.lost_capture_frames)
        gone += max(0, now.dropped_frames - before.dropped_frames)
        if plan.disturbed(at_s):
            trial.xruns_in_stalls += xruns
        elif at_s > SETTLE_S:
            trial.xruns += xruns
            lost += gone
        for check_s in [check_s for check_s in checks if check_s <= at_s]:
            checks.remove(check_s)
            late_ms = now.in_flight_ms - now.target_ms
            if now.state == "running" and late_ms > BACK_MS:
                trial.reasons.append(f"{BACK_S:.0f} s after a stall the delay was still {late_ms:.0f} ms too long")
        before = now
    if trial.xruns:
        trial.reasons.append(f"sound ran out {trial.xruns} times")
    if lost:
        trial.reasons.append(f"{1e3 * lost / RATE_HZ:.0f} ms of sound were lost")
    trial.realtime, trial.load = before.realtime, before.load
    return before


def _measure(session: LiveSession, trial: SoakTrial) -> None:
    """Take the timings of all blocks from the flight recorder."""
    if flight := session.read_flight():
        took, age = (flight.blocks[:, BLOCK_COLUMNS.index(name)] for name in ("took_ns", "in_flight_us"))
        trial.block_ms, trial.age_ms = took.astype(np.float64) * 1e-6, age.astype(np.float64) * 1e-3


def soak(
    settings: SoakSettings,
    seconds: float,
    real: tuple[Callable[[int], Open], str] | None,
    told: Callable[[str], None],
) -> list[SoakTrial]:
    """Search the smallest stable block within about so many seconds; return all trials, the last is the decisive one.

    real makes what opens real devices with blocks of so many frames, and names them; told hears what goes on.
    """
    trials: list[SoakTrial] = []
    until_s = time.perf_counter() + seconds
    each_s = max(LEAST_S, 0.12 * seconds)
    for block_frames in BLOCKS_FRAMES:
        told(f"blocks of {block_frames} frames for {each_s:.0f} s: load, drift, stalls, unplugging")
        trials.append(soak_block(settings, block_frames, each_s))
        if not trials[-1].stable:
            continue
        if real:
            told(f"blocks of {block_frames} frames on {real[1]}")
            try:
                trials.append(soak_devices(settings, real[0](block_frames), real[1], block_frames, each_s))
            except DeviceError as error:
                trials.append(SoakTrial(block_frames, real[1], 0.0, [str(error)]))
                return trials
        if trials[-1].stable and (rest_s := until_s - time.perf_counter()) >= LEAST_S:
            told(f"blocks of {block_frames} frames once more, for {rest_s:.0f} s")
            trials.append(soak_block(settings, block_frames, rest_s))
        if trials[-1].stable:
            return trials
    return trials
