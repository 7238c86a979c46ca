"""Which audio host to use, which devices it has, and which one a few letters of a name mean.

Device ids are `host:name` and stay the same from day to day: Pulse and PipeWire names (node names there), JACK client
names, and the names PortAudio shows. Monitors of loudspeakers and our own virtual microphones are not listed: the
first are no microphones, and capturing the second would be a loop.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from .backend import Device, DeviceError, Kind
from .jack import JackClient, check_jack, pipewire_jack_missing
from .pulse_server import PulseDevice, PulseServer
from .virtual_mic import own_modules

_NATIVE = {"win32": "wasapi", "darwin": "coreaudio"}


class Host(NamedTuple):
    """An audio host ("pipewire", "pulse", "jack", "wasapi", "coreaudio", "alsa") and why it was chosen."""

    name: str
    reason: str


def best_host() -> Host:
    """Return the host with the least latency that answers on this machine now.

    Raises DeviceError if what would find out hangs (see `check_jack`); PortAudio hangs then, too.
    """
    if sys.platform != "linux":
        native = _NATIVE.get(sys.platform, "alsa")
        return Host(native, f"{native} is this platform's own audio system")
    try:
        with PulseServer() as server:
            name = server.info().name
    except DeviceError as error:
        silent = str(error)
    else:
        if "PipeWire" not in name:
            return Host("pulse", f"the sound server is {name}: its native protocol adds about 15 ms")
        if missing := pipewire_jack_missing():
            return Host("pulse", f"the sound server is {name}, but {missing}: its Pulse side adds more latency")
        return Host("pipewire", f"the sound server is {name}: its JACK library adds one block")
    check_jack()
    try:
        with JackClient("jack"):
            return Host("jack", f"a JACK server answers ({silent})")
    except DeviceError as error:
        return Host("alsa", f"no sound server answers ({silent}; {error})")


def list_devices(host: str = "") -> list[Device]:
    """Return all devices of a host, of the best one if none is named. Raises DeviceError where it does not answer."""
    host = host or best_host().name
    if host in ("pulse", "pipewire"):
        return _pulse_devices(host)
    if host == "jack":
        return _jack_devices()
    from .portaudio import portaudio_devices

    return portaudio_devices(host)


def choose(devices: list[Device], kind: Kind, wanted: str = "") -> Device:
    """Return the device of this kind that `wanted` means: an id, a name, or a part that only one name has.

    Case does not matter. Without `wanted` it is the default device, or the first. Raises DeviceError that lists the
    candidates where none or several fit.
    """
    there = [device for device in devices if device.kind == kind]
    if not there:
        raise DeviceError(f"there is no {kind} device: is one plugged in?")
    if not wanted:
        return next((device for device in there if device.default), there[0])
    low = wanted.lower()
    for device in there:
        if device.id == wanted:
            return device
    named = [device for device in there if device.name.lower() == low]
    found = named or [device for device in there if low in device.name.lower() or low in device.id.lower()]
    if len(found) == 1:
        return found[0]
    listed = "".join(f"\n  {device.name}  [{device.id}]" for device in found or there)
    if not found:
        raise DeviceError(f"no {kind} device is named {wanted!r}; there are:{listed}")
    raise DeviceError(f"{len(found)} {kind} devices are named {wanted!r}; say which by id:{listed}")


def _pulse_devices(host: str) -> list[Device]:
    with PulseServer() as server:
        info, own = server.info(), {module.index for _, module in own_modules(server)}
        sources, sinks = server.sources(), server.sinks()

    def device(found: PulseDevice, kind: Kind, default: str) -> Device:
        name = found.description or found.name
        marked = found.name == default
        return Device(f"{host}:{found.name}", name, kind, found.channels, found.rate_hz, marked)

    return [
        device(source, "capture", info.default_source)
        for source in sources
        if not source.monitor and source.module not in own
    ] + [device(sink, "playback", info.default_sink) for sink in sinks if sink.module not in own]


def _jack_devices() -> list[Device]:
    found: list[Device] = []
    with JackClient("jack") as client:
        rate_hz = client.rate_hz()
        sides: tuple[tuple[Kind, bool], ...] = (("capture", True), ("playback", False))
        for kind, output in sides:
            channels: dict[str, int] = {}
            hardware: list[str] = []
            for port, physical in client.ports(output=output):
                name = port.rpartition(":")[0]
                channels[name] = channels.get(name, 0) + 1
                if physical and name not in hardware:
                    hardware.append(name)
            for name, count in channels.items():
                found.append(Device(f"jack:{name}", name, kind, count, rate_hz, name in hardware[:1]))
    return found
