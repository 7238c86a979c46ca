"""The monitor: what the virtual microphone carries, in the headphones of who speaks, switched and levelled by itself.

It hears the virtual microphone as a call does, so it plays the converted voice, and silence when that is muted. A watch
opens it again when its output was unplugged or the server restarted, and follows the system's default output.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from .backend import DeviceError, split_id
from .pulse_monitor import PulseMonitor
from .pulse_server import PulseServer

WATCH_S = 1.0
DEFAULT_OUTPUT = "default"  # the device that is the system's own choice, whichever that is


@dataclass(frozen=True)
class MonitorState:
    """What is asked for (on, level_db, the output's id or DEFAULT_OUTPUT) and what comes of it."""

    on: bool = False
    level_db: float = 0.0
    device: str = DEFAULT_OUTPUT
    available: bool = True  # whether there can be a monitor with the devices in use
    playing: bool = False
    reason: str = ""  # why it is not available, or on and not playing


class Monitor:
    """Switches one PulseMonitor. Any thread may call; `state` never waits."""

    def __init__(self, source: Callable[[], str], level_db: float = 0.0, device: str = DEFAULT_OUTPUT) -> None:
        """Source returns the id of the source that carries the voice, or raises DeviceError saying why none does.

        device is the id of an output, or DEFAULT_OUTPUT.
        """
        self._source = source
        self._state = MonitorState(level_db=level_db, device=device)
        self._lock = threading.RLock()
        self._player: PulseMonitor | None = None
        self._plays: tuple[str, str] | None = None  # source and sink of the player
        self._ended = threading.Event()
        self._watch: threading.Thread | None = None

    @property
    def state(self) -> MonitorState:
        """What is asked for, and what comes of it."""
        try:
            self._source()
        except DeviceError as error:
            return replace(self._state, available=False, playing=False, reason=str(error))
        return self._state

    def delay_ms(self) -> float | None:
        """Return how much later than the virtual microphone it sounds; None while it does not, or is being changed."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._player.delay_ms() if self._player else None
        finally:
            self._lock.release()

    def set(self, on: bool | None = None, level_db: float | None = None, device: str | None = None) -> None:
        """Change what is given. Raises DeviceError, and all is as before then, if that cannot be."""
        with self._lock:
            before = self._state
            state = replace(
                before,
                on=before.on if on is None else on,
                level_db=before.level_db if level_db is None else float(level_db),
                device=before.device if device is None else device,
            )
            try:
                if device is not None:
                    self._wanted(device)
                self._state = state
                if self._player:
                    self._player.set_level(state.level_db)
                self._tend()
            except DeviceError:
                self._state = before
                if self._player:
                    self._player.set_level(before.level_db)
                raise
            if state.on and not self._watch:
                self._watch = threading.Thread(target=self._watch_over, name="monitor-watch", daemon=True)
                self._watch.start()

    def close(self) -> None:
        """End it for good."""
        self._ended.set()
        if self._watch:
            self._watch.join()
        with self._lock:
            self._end_player()

    def _wanted(self, device: str) -> tuple[str, str]:
        """Return the names of source and sink. Raises DeviceError."""
        host, source = split_id(self._source())
        if device == DEFAULT_OUTPUT:
            with PulseServer() as server:
                return source, server.info().default_sink
        device_host, sink = split_id(device)
        if device_host != host:
            raise DeviceError(f"{device} is no output of {host}: choose one of `rtvc devices`")
        with PulseServer() as server:
            if all(there.name != sink for there in server.sinks()):
                raise DeviceError(f"{device}: there is no such output; is it plugged in?")
        return source, sink

    def _tend(self) -> None:
        """Open, close or replace the player, as is wanted now. Raises DeviceError."""
        lost = self._player.failure() if self._player else None
        wanted = self._wanted(self._state.device) if self._state.on else None
        if lost or wanted != self._plays:
            self._end_player()
        if wanted and not self._player:
            self._player = PulseMonitor(*wanted, self._state.level_db)
            self._plays = wanted
        self._state = replace(self._state, playing=self._player is not None, reason="")

    def _end_player(self) -> None:
        if self._player:
            self._player.close()
        self._player = self._plays = None

    def _watch_over(self) -> None:
        while not self._ended.wait(WATCH_S):
            with self._lock:
                try:
                    self._tend()
                except DeviceError as error:
                    self._end_player()
                    self._state = replace(self._state, playing=False, reason=str(error))
