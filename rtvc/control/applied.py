"""When a revision sounds: waits for the engine to say that it took a revision over, and at which sample."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

POLL_S = 0.001
PATIENCE_S = 0.25  # an engine that is being replaced answers later than anybody wants to wait


class AppliedWatch:
    """One poller for all who wait."""

    def __init__(self, applied: Callable[[], tuple[int, int] | None]) -> None:
        """Applied returns the newest (revision, sample) that the engine took over, None while there is no engine."""
        self._applied = applied
        self._waiting: list[tuple[int, float, asyncio.Future[int | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def sample_of(self, engine_rev: int) -> int | None:
        """Return the engine sample at which engine_rev, or a later one, was taken over (0: the first).

        None if there is no engine or it does not answer within PATIENCE_S.
        """
        now = self._applied()
        if now is None:
            return None
        if now[0] >= engine_rev:
            return now[1]
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[int | None] = loop.create_future()
        self._waiting.append((engine_rev, loop.time() + PATIENCE_S, waiter))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._poll())
        return await waiter

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(POLL_S)
            now, time_s = self._applied(), loop.time()
            still = []
            for engine_rev, until_s, waiter in self._waiting:
                if waiter.done():
                    continue
                if now is None or time_s > until_s:
                    waiter.set_result(None)
                elif now[0] >= engine_rev:
                    waiter.set_result(now[1])
                else:
                    still.append((engine_rev, until_s, waiter))
            self._waiting = still

    async def close(self) -> None:
        """Let everybody go."""
        for _, _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
