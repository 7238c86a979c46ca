"""An independent watch over the machine: moments at which a core stood still for everybody, as virtual ones do.

A thread on each core, at higher priority than all sound, notes each time it woke more than STALL_MS late.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

STALL_MS = 3.0  # rtvc's slack at 256 frames is about 6 ms
BEFORE_S, NEAR_S = 0.02, 0.06  # sound is heard tens of ms after what tore it
WATCH_PRIORITY = 95


class Stall(NamedTuple):
    """A core that stood still, or an audio graph's cycle that was late."""

    where: str
    end_s: float  # by time.monotonic()
    length_s: float

    def explains(self, time_s: float) -> bool:
        """Return whether what tore at that time (time.monotonic()) was beside this stall."""
        return self.end_s - self.length_s - BEFORE_S <= time_s <= self.end_s + NEAR_S


def note(where: str, end_s: float, length_s: float) -> None:
    """Print a stall as a line of JSON, in one piece: several threads do."""
    os.write(1, f'["{where}", {end_s}, {length_s}]\n'.encode())


def parse(lines: Iterable[str]) -> list[Stall]:
    """Return the stalls of such lines; one that was cut off at the end is left out."""
    return [Stall(*json.loads(line)) for line in lines if line.endswith("]\n")]


def watch_cores() -> None:
    """Begin to print the stalls of all cores, in threads."""

    def watch(core: int) -> None:
        os.sched_setaffinity(0, {core})
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(WATCH_PRIORITY))
        last_s = time.monotonic()
        while True:
            time.sleep(0.001)
            now_s = time.monotonic()
            if now_s - last_s > 0.001 + STALL_MS * 1e-3:
                note("core", now_s, now_s - last_s)
            last_s = now_s

    for core in os.sched_getaffinity(0):
        threading.Thread(target=watch, args=(core,), daemon=True).start()


@contextlib.contextmanager
def core_stalls() -> Iterator[list[Stall]]:
    """Watch the cores from a process of its own; afterwards the list holds their stalls (none but on Linux)."""
    found: list[Stall] = []
    if sys.platform != "linux":
        yield found
        return
    with subprocess.Popen([sys.executable, "-m", "bench.stalls"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        try:
            yield found
        finally:
            process.kill()
            reader.join()
            found += parse(lines)


if __name__ == "__main__":
    watch_cores()
    threading.Event().wait()
