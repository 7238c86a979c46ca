"""Tells clients what changed, without flooding them: changes by the same client for the same reason become one event.

At most one round of events every EVERY_S, in the order of the changes; a value that was changed again within the round
is left out. So after the last event every client holds the newest values.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rtvc.engine.params import Value

from .applied import AppliedWatch

EVERY_S = 0.03

Publish = Callable[[str, Mapping[str, Any]], None]


@dataclass
class _Group:
    by: str
    reason: str
    values: dict[str, Value]
    rev: int
    engine_rev: int


class ChangeEvents:
    """Collects changes and publishes ParamsChanged."""

    def __init__(self, publish: Publish, applied: AppliedWatch, beside: Callable[[], Mapping[str, Any]]) -> None:
        """Beside returns what every event tells as well, as it is then."""
        self._publish, self._applied, self._beside = publish, applied, beside
        self._groups: list[_Group] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, values: Mapping[str, Value], by: str, reason: str, rev: int, engine_rev: int) -> None:
        """Note that these values changed with revision rev."""
        last = self._groups[-1] if self._groups else None
        if last and (last.by, last.reason) == (by, reason):
            last.values.update(values)
            last.rev, last.engine_rev = rev, engine_rev
        else:
            self._groups.append(_Group(by, reason, dict(values), rev, engine_rev))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._groups:
            groups, self._groups = self._groups, []
            sample = await self._applied.sample_of(groups[-1].engine_rev)
            for group in _newest(groups):
                data = {"values": group.values, "rev": group.rev, "applied_at": sample}
                self._publish("ParamsChanged", {**data, "by": group.by, "reason": group.reason, **self._beside()})
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """Forget what was not told."""
        self._groups.clear()
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def _newest(groups: list[_Group]) -> list[_Group]:
    """Return groups without the values that a later one changes again, and without those that are empty then."""
    told: set[str] = set()
    for group in reversed(groups):
        group.values = {name: value for name, value in group.values.items() if name not in told}
        told |= group.values.keys()
    return [group for group in groups if group.values]
