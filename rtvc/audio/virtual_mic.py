"""The virtual microphone that calls and streams record from while rtvc plays into it.

For PipeWire's JACK library: one null-sink node of class Audio/Source/Virtual. For the Pulse protocol: a null sink
(norewinds=1: without it PulseAudio's is 2 s late) and a remap-source of its monitor, because browsers hide monitors.
Both are modules of the Pulse server, which outlive us: a marker in their arguments finds them again after a crash,
when they are taken over as they are, so that callers keep their microphone. A lock file tells a crash from a second
rtvc. Windows and macOS need a virtual cable that the user installs once: VB-CABLE, BlackHole.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple, Self

from rtvc.file_lock import try_lock

from .backend import Device, DeviceError
from .pulse_server import PulseModule, PulseServer, ServerInfo

_MARK = re.compile(r"rtvc\.microphone=([A-Za-z0-9._-]+)")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
_FORMAT = "rate=48000 channels=1 channel_map=mono"
_APPEAR_S = 3.0
_SETTLE_S = 0.3  # PipeWire's session manager chooses default devices after a while


class _Cable(NamedTuple):
    plays_into: str  # what the name of its playback side holds
    heard_as: str
    install: str


_CABLES = {
    "win32": _Cable("CABLE Input", "CABLE Output", "VB-CABLE from https://vb-audio.com/Cable/, then restart Windows"),
    "darwin": _Cable("BlackHole", "BlackHole", "BlackHole: brew install blackhole-2ch, then log in again"),
}


class VirtualMicrophone:
    """Make the virtual microphone on entry and remove it on exit.

    Inside the context `playback_id` is the device to play into and `heard_as` the name that callers see. Raises
    DeviceError where it cannot be made, ValueError for a name with other letters than A-Z a-z 0-9 . _ -
    """

    def __init__(self, name: str = "rtvc-mic", host: str = "") -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a microphone: use 1 to 60 letters, digits, dots, - and _")
        self._host = host
        self._lock: IO[str] | None = None
        self.heard_as = name
        self.playback_id = ""

    def __enter__(self) -> Self:
        from .devices import best_host, list_devices  # they need own_modules of this file

        self._host = self._host or best_host().name
        if self._host in ("pulse", "pipewire"):
            self._lock = _lock(self.heard_as)
            try:
                self.ensure()
            except BaseException:
                self._lock.close()
                raise
        else:
            cable = find_cable(list_devices(self._host), sys.platform)
            self.playback_id, self.heard_as = cable.id, _CABLES[sys.platform].heard_as
        return self

    def __exit__(self, *exc: object) -> None:
        if self._lock is None:
            return
        try:
            with PulseServer() as server:
                _remove(server, self.heard_as)
        except DeviceError:
            pass  # the server is gone, and the microphone with it
        finally:
            self._lock.close()

    def ensure(self) -> None:
        """Make the microphone again if a restart of the sound server took it away; quick if it is there."""
        if self._lock is None:
            return  # an installed cable stays
        name = self.heard_as
        with PulseServer() as server:
            before = server.info()
            if self._host == "pipewire":
                self.playback_id = f"{self._host}:{name}"
                node = f"media.class=Audio/Source/Virtual sink_name={name} {_FORMAT}"
                wanted = [("module-null-sink", f"{node} sink_properties={_properties(name, name)}")]
            else:
                sink = f"{name}-sink"
                self.playback_id = f"{self._host}:{sink}"
                quick = f"sink_name={sink} norewinds=1 format=float32le {_FORMAT}"
                heard = f"master={sink}.monitor source_name={name} channels=1 channel_map=mono master_channel_map=mono"
                wanted = [
                    ("module-null-sink", f"{quick} sink_properties={_properties(sink, name)}"),
                    ("module-remap-source", f"{heard} source_properties={_properties(name, name)}"),
                ]
            if _make_modules(server, name, wanted):
                _await_source(server, name)
                _keep_defaults(server, before, settle_s=_SETTLE_S if "PipeWire" in before.name else 0.0)


def own_modules(server: PulseServer) -> list[tuple[str, PulseModule]]:
    """Return (microphone name, module) of all modules that rtvc made for virtual microphones, last made first."""
    marked = ((_MARK.search(module.argument), module) for module in reversed(server.modules()))
    return [(mark.group(1), module) for mark, module in marked if mark]


def remove_leftovers() -> list[str]:
    """Remove the virtual microphones of crashed runs; return their names. Those in use stay."""
    removed = []
    with PulseServer() as server:
        for name in sorted({name for name, _ in own_modules(server)}):
            try:
                lock = _lock(name)
            except DeviceError:
                continue
            with lock:
                _remove(server, name)
            removed.append(name)
    return removed


def find_cable(devices: list[Device], platform: str) -> Device:
    """Return the playback side of an installed virtual cable; raise DeviceError that says how to install one."""
    cable = _CABLES.get(platform)
    if cable is None:
        raise DeviceError(
            "only PulseAudio and PipeWire can make a virtual microphone here: start one of them, or name a playback "
            "device and connect it yourself"
        )
    for device in devices:
        if device.kind == "playback" and cable.plays_into.lower() in device.name.lower():
            return device
    raise DeviceError(f"no virtual microphone is installed. Install {cable.install}")


def _lock(name: str) -> IO[str]:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    lock = open(folder / f"rtvc-{name}.lock", "w")  # noqa: SIM115  (held as long as the microphone)
    if not try_lock(lock.fileno()):
        lock.close()
        raise DeviceError(f"another rtvc already offers the microphone {name}: give this one another name")
    return lock


def _properties(description: str, name: str) -> str:
    return f'"device.description={description} rtvc.microphone={name}"'


def _remove(server: PulseServer, name: str) -> None:
    for owner, module in own_modules(server):
        if owner == name:
            server.unload_module(module.index)


def _make_modules(server: PulseServer, name: str, wanted: list[tuple[str, str]]) -> bool:
    """Return False if just these modules are there: callers that hold the microphone of a crashed run keep it."""
    found = [(module.name, module.argument) for owner, module in own_modules(server) if owner == name]
    if sorted(found) == sorted(wanted):
        return False
    _remove(server, name)
    if any(source.name == name for source in server.sources()):
        raise DeviceError(f"a source named {name} is there already and is not ours: give another name")
    for module_name, argument in wanted:
        server.load_module(module_name, argument)
    return True


def _await_source(server: PulseServer, name: str) -> None:
    deadline = time.monotonic() + _APPEAR_S
    while all(source.name != name for source in server.sources()):
        if time.monotonic() > deadline:
            raise DeviceError(f"{server.info().name} made no source {name} within {_APPEAR_S:.0f} s")
        time.sleep(0.02)


def _keep_defaults(server: PulseServer, before: ServerInfo, settle_s: float) -> None:
    """Give the default devices back if the server moved them to the new ones. A monitor was nobody's choice."""
    sinks = {sink.name for sink in server.sinks()}
    sources = {source.name for source in server.sources() if not source.monitor}
    deadline = time.monotonic() + settle_s
    while True:
        now = server.info()
        if now.default_sink != before.default_sink and before.default_sink in sinks:
            server.set_default_sink(before.default_sink)
        if now.default_source != before.default_source and before.default_source in sources:
            server.set_default_source(before.default_source)
        if time.monotonic() >= deadline:
            return
        time.sleep(0.05)
