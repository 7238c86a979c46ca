"""Everything that can fail under a live voice, made to fail: what is heard, what is told, how long it takes.

First the engine process is killed (SIGKILL) again and again while speech goes in, on simulated devices whose callbacks
keep what they were given and when: "sinking_ms" is the sound left in the blocks that begin after the kill, "back_s" is
from the kill to the voice, both the worst of all kills. "rawest" is the largest correlation of any 0.1 s that were
heard with the 0.6 s of input before them; undisturbed conversion is measured the same way beside it, and the input
itself gives 1. Then the fault matrix: each fault once, on simulated devices or on a real private server, with
"told_s" from the fault to its name in the status, "back_s" from the moment the cause is gone (for a fault that ends by
itself: from the fault) to sound, and the message users see. At last, what is left in shared memory and on the server.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from bench.report import Report, arguments
from rtvc.audio.backend import DeviceError
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.demo import read_voice, sample_path
from rtvc.engine import live
from rtvc.engine.faults import SleepWatch
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from tests import rig

RATE_HZ, BLOCK_FRAMES = 48_000, 256
# a voice that changes every sound, so that what resembles the input is the input
VOICE = to_vector({"pitch.mode": "robot", "pitch.target_hz": 330.0, "formant.ratio": 1.3})
PATIENCE_S = 30.0
SOUND_DBFS, SILENCE = -40.0, 1e-3
WINDOW_S, BEFORE_S = 0.1, 0.6
RAW = 0.9  # no 0.1 s of that voice are so like the input

Sound = NDArray[np.float32]
Status = dict[str, Any]


def speech() -> Sound:
    """Return the bundled voice without its pauses, a whole number of blocks long."""
    x = read_voice(sample_path())
    x = x[: len(x) // 960 * 960].reshape(-1, 960)
    level = np.sqrt(np.mean(np.square(x), axis=1))
    dense = x[level > 0.15 * level.max()].ravel()
    return dense[: len(dense) // BLOCK_FRAMES * BLOCK_FRAMES]


class TimedStreams(SimulatedStreams):
    """Simulated devices that note when each played block was asked for."""

    def __init__(self, link: NDArray[np.int64], source: Sound, capture: SimulatedClock) -> None:
        super().__init__(link, source, capture, SimulatedClock(RATE_HZ), loop=True)
        self.asked_ns: list[int] = []

    def _play(self, now_ns: int) -> None:
        super()._play(now_ns)
        self.asked_ns.append(now_ns)

    def heard(self) -> tuple[NDArray[np.float64], Sound]:
        """Return when each block was asked for, s by perf_counter, and the blocks, float32[n, BLOCK_FRAMES]."""
        n = len(self.asked_ns)
        return np.array(self.asked_ns[:n]) * 1e-9, self.recorded().reshape(-1, BLOCK_FRAMES)[:n]


class Studio:
    """A session on simulated devices that can be pulled out, and the machine it may sleep on."""

    def __init__(self) -> None:
        self.source = speech()
        self.plugged_in = True
        self.rate_hz = RATE_HZ
        self.streams: list[TimedStreams] = []
        self.slept: list[float] = []
        self.session = LiveSession(self._open, VOICE)

    def _open(self, link: NDArray[np.int64]) -> TimedStreams:
        if not self.plugged_in:
            raise DeviceError("there is no microphone")
        self.streams.append(TimedStreams(link, self.source, SimulatedClock(self.rate_hz)))
        return self.streams[-1]

    def status(self) -> Status:
        return dataclasses.asdict(self.session.status())

    def pull_out(self) -> None:
        """Make the devices fail as unplugged ones do, until `put_back`."""
        self.plugged_in = False
        side = self.streams[-1]._capture
        side.clock = dataclasses.replace(side.clock, unplugged_s=((0.0, 1e9),))

    def put_back(self) -> None:
        self.plugged_in = True

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the session; inside, `slept` makes the machine seem to have slept."""
        studio = self

        class Sleeper(SleepWatch):
            def slept_s(self) -> float:
                return studio.slept.pop() if studio.slept else super().slept_s()

        original, live.SleepWatch = live.SleepWatch, Sleeper  # type: ignore[misc]
        try:
            with self.session:
                wait_for(lambda: sounds(self.status()), "the first sound")
                yield
        finally:
            live.SleepWatch = original  # type: ignore[misc]


def wait_for(condition: Callable[[], object], what: str) -> float:
    """Wait until something is so; return when, s by perf_counter."""
    deadline_s = time.perf_counter() + PATIENCE_S
    while not condition():
        if time.perf_counter() > deadline_s:
            raise TimeoutError(f"never came: {what}")
        time.sleep(0.005)
    return time.perf_counter()


def sounds(status: Status) -> bool:
    return status["state"] == "running" and status["out_peak_dbfs"] > SOUND_DBFS


def rawest(heard: Sound, source: Sound, said: int) -> tuple[float, int]:
    """Return the largest correlation of any window of heard with the input before it, and how many are above RAW.

    source is what the microphone repeats; heard[0] sounded when `said` frames of it had been said.
    """
    n, before = round(WINDOW_S * RATE_HZ), round(BEFORE_S * RATE_HZ)
    worst, above = 0.0, 0
    for start in range(0, len(heard) - n, n):
        y = heard[start : start + n].astype(np.float64)
        size = np.sqrt(np.sum(np.square(y)))
        if size < 0.01 * np.sqrt(n):
            continue
        x = np.take(source, np.arange(said + start - before, said + start + n), mode="wrap").astype(np.float64)
        energy = np.cumsum(np.concatenate([[0.0], np.square(x)]))
        norm = np.sqrt(np.maximum(energy[n:] - energy[:-n], 1e-9))
        like = float(np.max(np.abs(correlate(x, y, "valid", "fft")) / norm / size))
        worst, above = max(worst, like), above + (like > RAW)
    return worst, above


def kills(report: Report, times: int) -> dict[str, float]:
    """Kill the engine so many times during speech; add the rows and return the worst."""
    studio = Studio()
    killed_s = []
    with studio.running():
        time.sleep(5.0)
        undisturbed = len(studio.streams[-1].asked_ns)
        for k in range(times):
            killed_s.append(time.perf_counter())
            os.kill(studio.session.engine_pid or 0, signal.SIGKILL)
            wait_for(lambda k=k: studio.status()["engine_restarts"] == k + 1, "a new engine")  # type: ignore[misc]
            wait_for(lambda: sounds(studio.status()), "the voice again")
            time.sleep(0.3)
        status = studio.status()
        ours = [shared.memory.name for shared in studio.session._shared]
    asked_s, blocks = studio.streams[-1].heard()
    block_s = BLOCK_FRAMES / RATE_HZ
    sinking_s, back_s, between = [], [], []
    for at_s in killed_s:
        first = int(np.searchsorted(asked_s, at_s))
        level = np.abs(blocks[first : first + round(PATIENCE_S / block_s)])
        flat = level.ravel()
        silent = int(np.argmax(np.convolve(flat[:48_000] > SILENCE, np.ones(BLOCK_FRAMES), "valid") == 0))
        quiet = -(-silent // BLOCK_FRAMES)
        back = quiet + int(np.argmax(level[quiet:].max(axis=1) > 10 * SILENCE))
        sinking_s.append(silent / RATE_HZ)
        back_s.append(float(asked_s[first + back] - at_s))
        between.append(float(level[quiet:back].max(initial=0.0)))
    calm, disturbed = blocks[:undisturbed], blocks[undisturbed:]
    begun_frames = round((asked_s[0] - studio.streams[-1]._zero_ns * 1e-9) * RATE_HZ)
    figures: dict[str, float] = {
        "kills": times,
        "sinking_ms": 1e3 * max(sinking_s),
        "back_s": max(back_s),
        "back_p50_s": float(np.median(back_s)),
        "loudest_between": max(between),
    }
    figures["rawest"], figures["raw_windows"] = rawest(disturbed.ravel(), studio.source, begun_frames + calm.size)
    calm_worst, _ = rawest(calm.ravel(), studio.source, begun_frames)
    figures["shared_memory_left"] = sum(Path("/dev/shm", name).exists() for name in ours)
    report.row(what=f"engine killed {times} times", **figures, rawest_undisturbed=calm_worst,
               counted=status["faults"]["engine_died"])  # fmt: skip
    return figures


@dataclass
class Case:
    """One fault: how it is made, how its cause goes away again, and its name in the counters ("" if it has none)."""

    what: str
    fault: str
    make: Callable[[], object]
    end: Callable[[], object] | None = None
    lasts_s: float = 0.0


def try_case(report: Report, where: str, case: Case, status: Callable[[], Status]) -> float:
    """Make a fault, wait for the voice, add the row and return the seconds that took."""
    wait_for(lambda: sounds(status()), "sound before")
    time.sleep(1.0)
    before = status()
    begin_s = told_s = time.perf_counter()
    messages: list[str] = []

    def told() -> bool:
        now = status()
        for said in (now["fault_message"], now["message"]):
            if said and said not in messages and said != before["fault_message"]:
                messages.append(said)
        return bool(now["faults"].get(case.fault, 0) > before["faults"].get(case.fault, 0))

    case.make()
    if case.fault:
        told_s = wait_for(told, f"{case.fault} in the status")
    end_s = begin_s
    if case.end:
        time.sleep(case.lasts_s)
        told()
        case.end()
        end_s = time.perf_counter()
    else:
        time.sleep(0.1)  # what was measured before the fault does not count

    def back() -> bool:
        told()
        return sounds(status())

    back_s = wait_for(back, "sound again") - end_s
    noticed_s = told_s - begin_s if case.fault else None
    report.row(where=where, what=case.what, fault=case.fault or "(xrun)", told_s=noticed_s, back_s=back_s,
               outage_ms=status()["outage_ms"], message="; ".join(messages))  # fmt: skip
    return back_s


def simulated_cases(report: Report) -> list[float]:
    """Run the faults that need no server."""
    studio = Studio()

    def stop(seconds: float) -> None:
        pid = studio.session.engine_pid or 0
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def other_rate() -> None:
        studio.rate_hz = 44_100
        side = studio.streams[-1]._capture
        side.clock = dataclasses.replace(side.clock, unplugged_s=((0.0, 1e9),))

    cases = [
        Case("engine killed", "engine_died", lambda: os.kill(studio.session.engine_pid or 0, signal.SIGKILL)),
        Case("engine hangs (SIGSTOP)", "engine_hung", lambda: os.kill(studio.session.engine_pid or 0, signal.SIGSTOP)),
        Case("engine stalls for 150 ms", "", lambda: stop(0.15)),
        Case("engine stalls for 500 ms", "", lambda: stop(0.5)),
        Case("microphone pulled out for 2 s", "device_lost", studio.pull_out, studio.put_back, 2.0),
        Case("device comes back at 44.1 kHz", "rate_changed", other_rate),
        Case("machine slept", "suspended", lambda: studio.slept.append(60.0)),
    ]
    with studio.running():
        return [try_case(report, "simulated", case, studio.status) for case in cases]


def control(host: str) -> None:
    """Be a control process on a server's fake microphone and the virtual one; answer "status" lines, end at EOF."""
    from rtvc.audio.virtual_mic import VirtualMicrophone
    from rtvc.control.devices import HostDevices

    with VirtualMicrophone(host=host) as microphone:
        devices = HostDevices(host, f"{host}:fake-mic", microphone.playback_id, RATE_HZ, BLOCK_FRAMES, microphone)
        with LiveSession(devices.open, VOICE) as session:
            print("running", flush=True)
            for _ in sys.stdin:
                print(json.dumps(dataclasses.asdict(session.status())), flush=True)


class Rig:
    """A private sound server with speech playing into its fake microphone, and a control process on it."""

    def __init__(self, server: rig.Server, process: subprocess.Popen[str]) -> None:
        self._server, self._process = server, process
        self._module = server.plug_in()
        self._voice = np.tile(speech(), 60)

    def status(self) -> Status:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        status: Status = json.loads(self._process.stdout.readline())
        return status

    def speak(self) -> None:
        self._server.play(self._voice)

    def restart(self) -> None:
        """Start the server again, with what was plugged in."""
        self._server.start()
        self._module = self._server.plug_in()
        self.speak()

    def pull_out(self) -> None:
        self._server.unplug(self._module)

    def put_back(self) -> None:
        self._module = self._server.plug_in()

    def pulse_cases(self) -> list[Case]:
        run = self._server.run

        return [
            Case("microphone pulled out for 2 s", "device_lost", self.pull_out, self.put_back, 2.0),
            Case("server killed and started 1 s later", "server_lost", self._server.kill, self.restart, 1.0),
            Case(
                *("microphone given to another program for 3 s", "device_taken"),
                lambda: run("pactl", "suspend-source", "fake-mic", "1"),
                lambda: run("pactl", "suspend-source", "fake-mic", "0"),
                3.0,
            ),
        ]

    def pipewire_cases(self) -> list[Case]:
        run = self._server.run

        def unlink() -> None:
            for line in run("pw-link", "--links", "--id").splitlines():
                words = line.split()
                if "|<-" in words and any("fake-mic" in word for word in words):
                    with contextlib.suppress(RuntimeError):
                        run("pw-link", "-d", words[0])

        return [
            Case("microphone pulled out for 2 s", "device_lost", self.pull_out, self.put_back, 2.0),
            Case("another program cuts our connection", "device_taken", unlink),
            Case("server killed and started 1 s later", "server_lost", self._server.kill, self.restart, 1.0),
        ]


def rig_cases(report: Report, kind: str) -> list[float]:
    """Run the faults of a real server; at the end nothing of ours may be left there."""
    servers = {"pulse": rig.pulseaudio, "pipewire": rig.pipewire}
    with servers[kind]() as server:
        server.plug_in("spare")  # the default, so that ours may go
        with server.python("-m", "bench.faults", "--control", kind) as process:
            world = Rig(server, process)
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "running\n":
                raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
            world.speak()
            cases = world.pulse_cases() if kind == "pulse" else world.pipewire_cases()
            found = [try_case(report, kind, case, world.status) for case in cases]
            process.stdin.close()
            process.wait(20)
        left = [name for name in server.names("sources") + server.names("sinks") if "rtvc" in name]
    report.row(where=kind, what="left on the server at the end", left=len(left))
    return [*found, float("inf") if left else 0.0]


def main() -> None:
    if "--control" in sys.argv:
        control(sys.argv[2])
        return
    parser = arguments("faults", __doc__)
    parser.add_argument("--kills", type=int, metavar="N", help="how often the engine is killed (100; 5 if quick)")
    args = parser.parse_args()
    report = Report("faults")
    worst = kills(report, args.kills or (5 if args.quick else 100))
    back_s = [*simulated_cases(report), *rig_cases(report, "pulse"), *rig_cases(report, "pipewire")]
    block_ms = 1e3 * BLOCK_FRAMES / RATE_HZ
    report.target("sound left in the blocks that begin after a kill", worst["sinking_ms"], "ms", f"<= {block_ms:.2f}")
    report.target("voice back after a kill, worst", worst["back_s"], "s", "<= 2")
    report.target("windows that are the input", worst["raw_windows"], "", "== 0")
    report.target("shared memory left", worst["shared_memory_left"], "", "== 0")
    report.target("voice back after any other fault, nothing left behind, worst", max(back_s), "s", "<= 5")
    report.finish(args.json)


if __name__ == "__main__":
    main()
