"""Windows, macOS and bare ALSA by PortAudio (sounddevice), with compiled callbacks on both sides.

One duplex stream where capture and playback are the same device (one clock) or the host ties them (ASIO),
otherwise two streams. PortAudio reads its device list once, so it is started again before every look, unless our
own streams are open: that would end them. sounddevice is imported only when used: on Linux its PortAudio joins
a running JACK server, and aborts the process if that server dies.
Source: portaudio.h (PaStreamCallback); python-sounddevice, "_StreamBase".
"""

from __future__ import annotations

import sys
from typing import Any

from . import callbacks
from .backend import Device, DeviceError, Kind, Lost, StallWatch, link_at
from .link import CAPTURE_CHANNELS, CAPTURE_RATE_HZ, PLAYBACK_CHANNELS, PLAYBACK_RATE_HZ

_HOST_API = {
    "wasapi": "Windows WASAPI",
    "asio": "ASIO",
    "coreaudio": "Core Audio",
    "alsa": "ALSA",
}
_MAX_CHANNELS = 2

_SIDES: tuple[tuple[Kind, str], ...] = (("capture", "input"), ("playback", "output"))
_open_streams = 0  # how many PortAudioStreams hold PortAudio


def _devices(host: str) -> tuple[Any, dict[str, Any], list[tuple[int, dict[str, Any]]]]:
    """Return sounddevice, the host API and its (index, description) devices, as they are now if that can be."""
    if host not in _HOST_API:
        raise DeviceError(f"there is no audio host named {host}")
    stale = "sounddevice" in sys.modules and _open_streams == 0
    import sounddevice

    if stale:
        sounddevice._terminate()
        sounddevice._initialize()
    for number, api in enumerate(sounddevice.query_hostapis()):
        if api["name"] == _HOST_API[host]:
            found = [(i, d) for i, d in enumerate(sounddevice.query_devices()) if d["hostapi"] == number]
            return sounddevice, api, found
    raise DeviceError(f"this machine's PortAudio has no {_HOST_API[host]}")


def portaudio_devices(host: str) -> list[Device]:
    """Return the devices of a PortAudio host ("wasapi", "asio", "coreaudio", "alsa")."""
    _, api, found = _devices(host)
    return [
        Device(
            id=f"{host}:{raw['name']}",
            name=raw["name"],
            kind=kind,
            channels=raw[f"max_{side}_channels"],
            rate_hz=round(raw["default_samplerate"]),
            default=index == api[f"default_{side}_device"],
        )
        for kind, side in _SIDES
        for index, raw in found
        if raw[f"max_{side}_channels"] > 0
    ]


class PortAudioStreams:
    """`backend.Streams` on a PortAudio host; device names are PortAudio's."""

    def __init__(
        self, link_address: int, host: str, capture: str, playback: str, rate_hz: int, block_frames: int
    ) -> None:
        global _open_streams  # noqa: PLW0603  (PortAudio itself is global)
        self._api, _, found = _devices(host)
        _open_streams += 1
        self._closed = False
        self._streams: list[tuple[Any, str]] = []
        self._watch: StallWatch | None = None
        try:
            self._link = link_at(link_address)
            self._open(host, found, (capture, playback), rate_hz, block_frames)
        except self._api.PortAudioError as error:
            self.close()
            raise DeviceError(f"{capture} with {playback}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        host: str,
        found: list[tuple[int, dict[str, Any]]],
        names: tuple[str, str],
        rate_hz: int,
        block_frames: int,
    ) -> None:
        devices, channels, rates = [], [], []
        for (kind, side), name in zip(_SIDES, names, strict=True):
            index, raw = _named(found, name, kind, side)
            devices.append(index)
            channels.append(min(_MAX_CHANNELS, raw[f"max_{side}_channels"]))
            check = self._api.check_input_settings if kind == "capture" else self._api.check_output_settings
            try:
                check(device=index, channels=channels[-1], dtype="float32", samplerate=rate_hz)
                rates.append(rate_hz)
            except self._api.PortAudioError:
                rates.append(round(raw["default_samplerate"]))  # shared WASAPI runs at its mixer's rate only
        self._link[CAPTURE_CHANNELS], self._link[PLAYBACK_CHANNELS] = channels
        self._link[CAPTURE_RATE_HZ], self._link[PLAYBACK_RATE_HZ] = rates
        self.duplex = rates[0] == rates[1] and (host == "asio" or devices[0] == devices[1])
        self._block_s = block_frames / rate_hz
        blocks = [round(self._block_s * rate) for rate in rates]
        self.block_frames = blocks[1]
        if self.duplex:
            both = " and ".join(dict.fromkeys(names))
            self._add("duplex", callbacks.portaudio_duplex, devices, channels, rates[1], blocks[1], both)
            return
        sides = (callbacks.portaudio_capture, callbacks.portaudio_playback)
        for i, (_, side) in enumerate(_SIDES):
            self._add(side, sides[i], devices[i], channels[i], rates[i], blocks[i], names[i])

    def _add(
        self,
        kind: str,
        callback: Any,
        device: int | list[int],
        channels: int | list[int],
        rate_hz: int,
        block_frames: int,
        name: str,
    ) -> None:
        ffi = self._api._ffi
        stream = self._api._StreamBase(
            kind,
            samplerate=rate_hz,
            blocksize=block_frames,
            device=device,
            channels=channels,
            dtype="float32",
            latency=block_frames / rate_hz,
            callback=ffi.cast("PaStreamCallback*", callback.address),
            userdata=ffi.cast("void*", self._link.ctypes.data),
            wrap_callback=None,
        )
        self._streams.append((stream, name))

    def start(self) -> None:
        """Let the streams run."""
        for stream, name in self._streams:
            try:
                stream.start()
            except self._api.PortAudioError as error:
                raise DeviceError(f"{name} does not start: {error}") from error
        self._watch = StallWatch(self._link, self._block_s)

    def stop(self) -> None:
        """Halt the streams."""
        self._watch = None
        for stream, _ in self._streams:
            stream.abort(ignore_errors=True)

    def close(self) -> None:
        """Give the devices back."""
        global _open_streams  # noqa: PLW0603  (PortAudio itself is global)
        if self._closed:
            return
        self._closed = True
        _open_streams -= 1
        for stream, _ in self._streams:
            stream.close(ignore_errors=True)
        self._streams = []

    def failure(self) -> Lost | None:
        """Return None while the streams run, else what was lost."""
        if self._watch is None:
            return None
        for stream, name in self._streams:
            if not stream.active:
                return Lost("device_lost", f"{name} went away")
        return self._watch.stalled()

    def latency_ms(self) -> tuple[float, float] | None:
        """Return the host's latency of capture and playback."""
        found = [stream.latency for stream, _ in self._streams]
        capture, playback = found[0] if self.duplex else found
        return capture * 1e3, playback * 1e3


def _named(found: list[tuple[int, dict[str, Any]]], name: str, kind: Kind, side: str) -> tuple[int, dict[str, Any]]:
    for index, raw in found:
        if raw["name"] == name and raw[f"max_{side}_channels"] > 0:
            return index, raw
    raise DeviceError(f"there is no {kind} device named {name}: is it plugged in?")
