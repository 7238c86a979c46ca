"""A control server for tests, on a free port: over a session that does not run, or over a real engine.

`served()` is a context manager; `Served.control()` is a client of it. The sound that was heard is in `heard()`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.backend import Device, DeviceError, Streams
from rtvc.audio.simulated import SimulatedStreams
from rtvc.control.audit import AuditLog
from rtvc.control.client import Control
from rtvc.control.desk import Desk, DeskSettings
from rtvc.control.limits import Limits
from rtvc.control.server import ControlServer, ServerSettings
from rtvc.control.thread import ControlThread
from rtvc.control.tokens import TokenFile
from rtvc.engine.live import LiveSession
from rtvc.engine.params import Value, to_vector

RATE_HZ = 48000
TONE_HZ, LEVEL = 200.0, 0.2
PLAIN: dict[str, Value] = {"voice.name": "dsp", "gate.threshold_db": -90, "level.match": False}


@functools.cache
def tone(seconds: float, hz: float = TONE_HZ) -> NDArray[np.float32]:
    """Return a sine, the same array to all: nobody may write to it."""
    return (LEVEL * np.sin(2 * np.pi * hz / RATE_HZ * np.arange(round(seconds * RATE_HZ)))).astype(np.float32)


@dataclass
class ToneDevices:
    """Simulated devices: a microphone that hears a tone for two minutes, and a listener that remembers."""

    capture: str = "simulated:tone"
    playback: str = "simulated:listener"
    opened: list[SimulatedStreams] = field(default_factory=list)

    def listed(self) -> list[Device]:
        captures = [
            Device(f"simulated:{name}", name, "capture", 1, RATE_HZ, name == "tone") for name in ("tone", "high")
        ]
        return [*captures, Device("simulated:listener", "Listener", "playback", 1, RATE_HZ, True)]

    def open(self, link: NDArray[np.int64]) -> Streams:
        hz = TONE_HZ if self.capture == "simulated:tone" else 2 * TONE_HZ
        self.opened.append(SimulatedStreams(link, tone(120.0, hz)))
        return self.opened[-1]

    def monitored(self) -> str:
        raise DeviceError("a tone has no monitor")


@dataclass
class Served:
    """What a test needs of it."""

    desk: Desk
    server: ControlServer
    session: LiveSession
    devices: ToneDevices
    folder: Path
    audit: AuditLog

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/"

    def control(self, **given: Any) -> Control:
        return Control(self.url, **given)

    def heard(self) -> NDArray[np.float32]:
        return self.devices.opened[-1].recorded()


@contextlib.contextmanager
def served(
    folder: Path,
    *,
    running: bool = False,
    values: dict[str, Value] | None = None,
    bypass: bool = False,
    tokens: TokenFile | None = None,
    limits: Limits | None = None,
) -> Iterator[Served]:
    """Serve a session; running says whether it has an engine and sounds."""
    vector = to_vector(PLAIN | (values or {}))
    devices = ToneDevices()
    session = LiveSession(devices.open, vector)
    settings = DeskSettings(bypass, recordings=folder / "recordings", presets=folder / "presets")
    desk = Desk(session, vector, devices, settings)
    audit = AuditLog(folder / "audit.jsonl")
    thread = ControlThread(desk, ServerSettings(port=0, tokens=tokens, limits=limits or Limits()), audit)
    with contextlib.ExitStack() as stack:
        if running:
            stack.enter_context(session)
        stack.enter_context(thread)
        try:
            yield Served(desk, thread.server, session, devices, folder, audit)
        finally:
            session.stop()
