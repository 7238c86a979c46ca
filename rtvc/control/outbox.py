"""What waits to be sent to one client. Filling it never waits; a task of the client's own empties it.

Messages keep their order. Of a high-volume event only the newest waits (Trace columns of a client that is late are
lost). With more than WAITING_BYTES waiting the client is too slow and is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .codec import Data
from .wire import WAITING_BYTES


class Outbox:
    """A queue of encoded messages, and one place for each high-volume event."""

    def __init__(self, give_up: Callable[[], None]) -> None:
        """give_up is called once, when too much waits."""
        self._give_up = give_up
        self.too_slow = False
        self.waiting_bytes = 0
        self._messages: deque[Data] = deque()
        self._newest: dict[str, Data] = {}
        self._filled = asyncio.Event()

    def put(self, data: Data) -> None:
        """Add a message; give the client up if too much waits."""
        if self.too_slow:
            return
        self.waiting_bytes += len(data)
        if self.waiting_bytes > WAITING_BYTES:
            self.too_slow = True
            self._messages.clear()
            self._newest.clear()
            self._give_up()
        else:
            self._messages.append(data)
        self._filled.set()

    def put_newest(self, event: str, data: Data) -> None:
        """Put a high-volume event in place of one that still waits."""
        if not self.too_slow:
            self._newest[event] = data
            self._filled.set()

    async def next(self) -> Data | None:
        """Wait for the next message; return None once the client is given up."""
        while not self.too_slow:
            if self._messages:
                data = self._messages.popleft()
                self.waiting_bytes -= len(data)
                return data
            if self._newest:
                return self._newest.pop(next(iter(self._newest)))
            self._filled.clear()
            await self._filled.wait()
        return None
