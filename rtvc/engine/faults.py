"""What can go wrong around an engine: the faults by name, how they are noticed, how often they came.

`EngineWatch` looks at a running engine from outside: it died, it hangs (no heartbeat), or it is stuck (it beats, but
takes no sound although the microphone gives some). `NetworkCrashes` counts the engines that the networks may have taken
with them, and bars the networks for a while when they are too many. `SleepWatch` notices that the machine slept, by a
clock that runs on meanwhile and one that does not. What devices lose, they tell themselves
(`rtvc.audio.backend.Lost`). FAULTS.md beside this file says for each fault what users hear and are told.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.kernels.ring import READ, WRITTEN
from rtvc.termination import told_to_end

from . import worker
from .ladder import LONGEST_S, QUARANTINE_S

ENGINE_DIED, ENGINE_HUNG, ENGINE_STUCK = "engine_died", "engine_hung", "engine_stuck"
NETWORKS_BARRED = "networks_barred"
SERVER_LOST, RATE_CHANGED, SUSPENDED = "server_lost", "rate_changed", "suspended"
FAULTS = (
    ENGINE_DIED,
    ENGINE_HUNG,
    ENGINE_STUCK,
    NETWORKS_BARRED,
    "device_lost",
    "device_silent",
    "device_taken",
    SERVER_LOST,
    RATE_CHANGED,
    SUSPENDED,
)

HUNG_S = 1.0
BY_SIGTERM = (-signal.SIGTERM, 255)  # exit codes; 255 where the fork server went with the engine
TOLD_S = 0.2  # the same SIGTERM reaches engine and control process so far apart
CRASHES, CRASHES_S = 3, 60.0
WARM_UP_S = 120.0  # the very first start compiles every kernel
SLEPT_S = 0.5  # shorter than any real suspend, longer than a clock is ever set back by


class FaultLog:
    """Counts faults by name and times how long the last one took to be over."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(FAULTS, 0)
        self.last = ""  # a sentence about the last one
        self.outage_ms = 0.0  # from the last fault's being noticed until sound could run again
        self._since_s: float | None = None
        self._during: set[str] = set()

    def add(self, fault: str, sentence: str) -> None:
        """Count one; the outage lasts from the first of several until `over`."""
        self.counts[fault] += 1
        self.last = sentence
        self._during.add(fault)
        if self._since_s is None:
            self._since_s = time.perf_counter()

    def add_once(self, fault: str, sentence: str) -> None:
        """Count one that may be met again and again in one outage."""
        if fault not in self._during:
            self.add(fault, sentence)

    def over(self) -> None:
        """Say that all is well again."""
        if self._since_s is not None:
            self.outage_ms = round(1e3 * (time.perf_counter() - self._since_s), 1)
            self._since_s = None
            self._during.clear()


class EngineWatch:
    """Watches over one engine process on a link (int64[LINK_INT64])."""

    def __init__(self, link: NDArray[np.int64], process: BaseProcess) -> None:
        self._link, self._process = link, process
        self._since_s = time.perf_counter()
        self._taken, self._taken_s = -1, self._since_s

    def failed(self) -> tuple[str, str] | None:
        """Return the fault and a sentence about it, None while the engine is well or has only just begun."""
        if not self._process.is_alive():
            if self._process.exitcode in BY_SIGTERM and told_to_end(TOLD_S):
                return None  # who ends a service sends that to all its processes: the session ends now too
            return ENGINE_DIED, "the engine process died and was replaced"
        link, now_s = self._link, time.perf_counter()
        age_s = now_s - self._since_s
        if link[fields.ENGINE_STATE] == worker.STATE_RUNNING:
            silent_s, limit_s = (time.perf_counter_ns() - int(link[fields.ENGINE_ALIVE_NS])) * 1e-9, HUNG_S
        else:
            silent_s, limit_s = age_s, WARM_UP_S
        if min(silent_s, age_s) > limit_s:
            return ENGINE_HUNG, f"the engine process hung for {silent_s:.1f} s and was replaced"
        written, taken = (int(link[fields.CAPTURE_RING + field]) for field in (WRITTEN, READ))
        waits = limit_s == HUNG_S and written > taken
        if taken != self._taken or not waits:
            self._taken, self._taken_s = taken, now_s
        if now_s - self._taken_s > HUNG_S:
            return ENGINE_STUCK, f"the engine took no sound for {now_s - self._taken_s:.1f} s and was replaced"
        return None


class NetworkCrashes:
    """Says whether the next engine may load the networks, from how engines that had them ended.

    CRASHES of them within CRASHES_S bar the networks for QUARANTINE_S. The next one is a trial: if it ends within
    CRASHES_S too, they are barred at once and for twice as long, up to LONGEST_S.
    """

    def __init__(self) -> None:
        self._ends_s: deque[float] = deque(maxlen=CRASHES)
        self._next_hold_s = QUARANTINE_S
        self._until_s = float("-inf")  # barred until then
        self._loaded = False
        self.kept_out = False  # of the engine that runs
        self.told = ""  # a sentence about the last bar

    def begin(self, wanted: bool) -> bool:
        """Note that an engine begins, which wants the networks or not; return whether it may load them."""
        self.kept_out = self.barred()
        self._loaded = wanted and not self.kept_out
        return not self.kept_out

    def ended(self) -> bool:
        """Note that the engine ended by itself; return whether that bars the networks."""
        if not self._loaded:
            return False
        now_s = time.perf_counter()
        relapsed = now_s - self._until_s < CRASHES_S
        self._ends_s.append(now_s)
        if not relapsed:
            if len(self._ends_s) < CRASHES or now_s - self._ends_s[0] > CRASHES_S:
                return False
            self._next_hold_s = QUARANTINE_S
        hold_s, self._next_hold_s = self._next_hold_s, min(2.0 * self._next_hold_s, LONGEST_S)
        self._until_s = now_s + hold_s
        self._ends_s.clear()
        again = "again" if relapsed else f"{CRASHES} times within {CRASHES_S:.0f} s"
        self.told = (
            f"the engine ended {again} with the neural voice: the DSP voice speaks in its place, "
            f"and the neural one is tried again after {hold_s:.0f} s"
        )
        return True

    def barred(self) -> bool:
        """Return whether an engine that begins now must do without the networks."""
        return time.perf_counter() < self._until_s


class SleepWatch:
    """Notices a suspend and resume; Linux only, for elsewhere there is no clock that tells."""

    def __init__(self, awake_s: Callable[[], float] | None = None, always_s: Callable[[], float] | None = None) -> None:
        """awake_s stands still while the machine sleeps, always_s does not."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        self._awake_s = awake_s or time.monotonic
        self._always_s = always_s or (time.monotonic if boottime is None else lambda: time.clock_gettime(boottime))
        self._apart_s = self._always_s() - self._awake_s()

    def slept_s(self) -> float:
        """Return how long the machine slept since the last call, 0 if it did not."""
        apart_s = self._always_s() - self._awake_s()
        slept_s, self._apart_s = apart_s - self._apart_s, apart_s
        return slept_s if slept_s > SLEPT_S else 0.0
