"""The control side of `rtvc live`: desk and server in a thread with an event loop of their own."""

from __future__ import annotations

import asyncio
import threading

from .audit import AuditLog
from .desk import Desk
from .server import ControlServer, ServerSettings

STOP_S = 5.0


class ControlThread:
    """Runs a control server beside a session. Use as a context manager."""

    def __init__(self, desk: Desk, settings: ServerSettings, audit: AuditLog | None = None) -> None:
        """Audit is the user's own log by default. Raises ValueError as `ControlServer` does."""
        self._desk = desk
        self._audit = audit or AuditLog()
        self.server = ControlServer(desk, settings, self._audit)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def __enter__(self) -> ControlThread:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._error:
            self._thread.join()
            self._audit.close()
            raise self._error

    def stop(self) -> None:
        """Close all connections and save the recording that runs."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_S)
            self._audit.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        try:
            self._desk.open()
            await self.server.start()
        except BaseException as error:
            self._error = error
            await self._desk.close()
            return
        finally:
            self._ready.set()
        await self._stopping.wait()
        await self.server.stop()
        await self._desk.close()
