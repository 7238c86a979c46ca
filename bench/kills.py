"""The engine process killed again and again during speech on a real PipeWire: what the virtual microphone gives.

A listener in the audio graph keeps what the fake and the virtual microphone gave in every cycle, and when it began. So
for each kill it is known, by one clock:

- "sinking_ms": sound left in the blocks that begin after the kill (the block under way may still be whole);
- "back_s": from the kill to the voice; "loudest_between": the largest sample between silence and voice;
- "rawest": the largest correlation of any 0.1 s of what was heard, from the first kill on, with the 0.6 s of the
  microphone before it, "rawest_undisturbed" the same before the first kill; the input itself gives 1.

Before, between and after, what the session holds is counted: its shared memory, its open files, and the server's
modules. The simulated twin of this bench, with all other faults, is `bench.faults`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.faults import SILENCE, rawest, sounds, speech, wait_for
from bench.faults import Rig as Controlled
from bench.graph_listener import BLOCK_FRAMES, listening
from bench.isolation import children
from bench.latency import FIFO_PRIORITY, RATE_HZ
from bench.report import Report, arguments
from tests import rig

BLOCK_S = BLOCK_FRAMES / RATE_HZ
SETTLE_S = 10.0
PAUSE_S = 0.5, 1.5  # between the voice's return and the next kill
LONGEST_S = 4.0  # one kill, its return and the pause
PATIENCE_S = 30.0

Sound = NDArray[np.float32]


def shared_memory_of(pid: int) -> set[Path]:
    """Return the shared memory that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]) for line in maps if "/dev/shm/psm_" in line}


def held(pid: int) -> dict[str, int]:
    """Return how many pieces of shared memory and how many open files a process has."""
    return {"shared_memory": len(shared_memory_of(pid)), "files": len(os.listdir(f"/proc/{pid}/fd"))}


def engine_of(control: subprocess.Popen[str]) -> int:
    """Return the engine's process id: the child of a child, the fork server."""
    (engine,) = [pid for child in children(control.pid) for pid in children(child)]
    return engine


def modules_of(server: rig.Server) -> int:
    """Return how many modules a server has; a module's arguments may have lines of their own."""
    return sum(line[:1].isdigit() for line in server.run("pactl", "list", "short", "modules").splitlines())


def judge(killed_s: list[float], begin_s: NDArray[np.float64], mic: Sound, heard: Sound) -> dict[str, Any]:
    """Return the figures of all kills; begin_s is when each block of mic and heard (float32[n, BLOCK_FRAMES]) began."""
    level = np.abs(heard)
    sinking_ms, silent_ms, back_s, between = [], [], [], []
    for at_s in killed_s:
        first = int(np.searchsorted(begin_s, at_s))  # of the blocks that begin after the kill
        flat = level[first : first + round(PATIENCE_S / BLOCK_S)].ravel()
        silent = int(np.argmax(np.convolve(flat[:RATE_HZ] > SILENCE, np.ones(BLOCK_FRAMES), "valid") == 0))
        quiet = first + -(-silent // BLOCK_FRAMES)
        loud = level[quiet:].max(axis=1) > 10 * SILENCE
        back = quiet + int(np.argmax(loud)) if loud.any() else len(level) - 1
        sinking_ms.append(1e3 * silent / RATE_HZ)
        silent_ms.append(1e3 * (begin_s[first] - at_s + silent / RATE_HZ))
        back_s.append(float(begin_s[back] - at_s) if loud.any() else float("inf"))
        between.append(float(level[quiet:back].max(initial=0.0)))
    calm = int(np.searchsorted(begin_s, killed_s[0]))
    x, flat = mic.ravel(), heard.ravel()
    worst, above = rawest(flat[calm * BLOCK_FRAMES :], x, calm * BLOCK_FRAMES)
    skipped = RATE_HZ  # there is no microphone before the first second
    return {
        "sinking_ms": max(sinking_ms),
        "sinking_p50_ms": float(np.median(sinking_ms)),
        "longer_than_a_block": sum(ms > 1e3 * BLOCK_S for ms in sinking_ms),
        "silent_ms": max(silent_ms),
        "back_s": max(back_s),
        "back_p50_s": float(np.median(back_s)),
        "loudest_between": max(between),
        "rawest": worst,
        "raw_windows": above,
        "rawest_undisturbed": rawest(flat[skipped : calm * BLOCK_FRAMES], x, skipped)[0],
        "microphone_itself": rawest(x[skipped : calm * BLOCK_FRAMES], x, skipped)[0],
    }


def kills(report: Report, times: int) -> dict[str, Any]:
    """Kill the engine so many times; add the row and return it."""
    random = np.random.default_rng(0)
    cycles = round((SETTLE_S + 10.0 + times * LONGEST_S) / BLOCK_S)
    killed_s: list[float] = []
    with rig.pipewire(BLOCK_FRAMES, FIFO_PRIORITY) as server:
        server.plug_in("spare")
        with server.python("-m", "bench.faults", "--control", "pipewire") as process:
            world = Controlled(server, process)
            assert process.stdout is not None
            assert process.stdin is not None
            if process.stdout.readline() != "running\n":
                raise RuntimeError((server.folder / "python.log").read_text()[-2000:])
            server.play(np.tile(speech(), 1 + round(cycles * BLOCK_FRAMES / len(speech()))))
            wait_for(lambda: sounds(world.status()), "the first sound")
            with listening(server, cycles, "fake-mic", "rtvc-mic") as heard:
                time.sleep(SETTLE_S)
                before, modules = held(process.pid), modules_of(server)
                ours = shared_memory_of(process.pid)
                for k in range(times):
                    engine = engine_of(process)
                    killed_s.append(time.monotonic())
                    os.kill(engine, signal.SIGKILL)
                    wait_for(lambda k=k: world.status()["engine_restarts"] == k + 1, "a new engine")  # type: ignore[misc]
                    wait_for(lambda: sounds(world.status()), "the voice again")
                    time.sleep(random.uniform(*PAUSE_S))
                after, modules_after = held(process.pid), modules_of(server)
                begin_s, sound = heard()
            status = world.status()
            process.stdin.close()
            process.wait(20)
        left = [name for name in server.names("sources") + server.names("sinks") if "rtvc" in name]
    found = judge(killed_s, begin_s, sound[:, 0], sound[:, 1])
    found |= {f"{name}_grown": after[name] - before[name] for name in before}
    found |= {"modules_grown": modules_after - modules, "modules_left": len(left)}
    found["shared_memory_left"] = sum(path.exists() for path in ours)
    report.row(what=f"engine killed {times} times on PipeWire", counted=status["faults"]["engine_died"], **found)
    return found


def main() -> None:
    parser = arguments("kills", __doc__)
    parser.add_argument("--kills", type=int, metavar="N", help="how often the engine is killed (100; 5 if quick)")
    args = parser.parse_args()
    report = Report("kills")
    worst = kills(report, args.kills or (5 if args.quick else 100))
    report.target(
        "sound left in the blocks that begin after a kill", worst["sinking_ms"], "ms", f"<= {1e3 * BLOCK_S:.2f}"
    )
    report.target("voice back after a kill, worst", worst["back_s"], "s", "<= 2")
    report.target("windows of 0.1 s that are the input", worst["raw_windows"], "", "== 0")
    leaked = sum(value for name, value in worst.items() if name.endswith(("_left", "_grown")))
    report.target("shared memory, files and modules leaked", leaked, "", "== 0")
    report.finish(args.json)


if __name__ == "__main__":
    main()
