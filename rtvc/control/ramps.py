"""Ramps: parameters that move to a value over a time, in steps of STEP_S, several at once.

Each step of all ramps is one revision of the sound; the engine smooths from step to step with the parameter's own
ramp. One task runs while there are ramps. If the event loop is late, a step is larger, never the ramp longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .sound import Change, Sound

STEP_S = 0.005


@dataclass
class _Ramp:
    start: float
    end: float
    begin_s: float
    duration_s: float
    smooth: bool
    by: str

    def at(self, now_s: float) -> float:
        share = min(1.0, (now_s - self.begin_s) / self.duration_s) if self.duration_s else 1.0
        if share >= 1.0:
            return self.end
        shape = share * share * (3.0 - 2.0 * share) if self.smooth else share
        return self.start + (self.end - self.start) * shape


class Ramps:
    """The ramps under way on one sound; committed is told of each step (the change, by whom)."""

    def __init__(self, sound: Sound, committed: Callable[[Change], None]) -> None:
        self._sound = sound
        self._committed = committed
        self._ramps: dict[str, _Ramp] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, param_id: str, end: float, duration_ms: float, smooth: bool, by: str) -> None:
        """Begin a ramp of one parameter from where it is; one that runs on it ends."""
        start = self._sound.number(param_id)
        self._ramps[param_id] = _Ramp(start, end, time.monotonic(), duration_ms * 1e-3, smooth, by)
        self._sound.remember({param_id: start}, {param_id: end}, by)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self, param_ids: Iterable[str]) -> None:
        """Forget the ramps of these parameters; they stay where they are."""
        for param_id in param_ids:
            self._ramps.pop(param_id, None)

    def end_all(self) -> None:
        """Forget every ramp."""
        self._ramps.clear()

    def running(self) -> list[str]:
        """Return the ids of the parameters that move."""
        return list(self._ramps)

    async def close(self) -> None:
        """Forget every ramp and wait for the task to end."""
        self.end_all()
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._ramps:
            now_s = time.monotonic()
            by_whom: dict[str, Change] = {}
            for param_id, ramp in list(self._ramps.items()):
                change = by_whom.setdefault(ramp.by, Change(ramp.by, "ramp", undoable=False))
                change.numbers[param_id] = ramp.at(now_s)
                if now_s - ramp.begin_s >= ramp.duration_s:
                    del self._ramps[param_id]
            for change in by_whom.values():
                self._committed(change)
            await asyncio.sleep(STEP_S)
