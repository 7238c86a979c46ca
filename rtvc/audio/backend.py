"""What every audio host offers: open a capture and a playback device on a link, start, watch, stop.

A device id is `host:name`, for example `pipewire:alsa_input.usb-...`, `pulse:...`, `jack:system`, `wasapi:...`
(see `devices`). The host's own threads call the compiled callbacks of this package; nothing here runs per block.
Opening negotiates rates, channels and block sizes and writes them into the link's settings, so read them there
(CAPTURE_RATE_HZ and so on) before `start()`.

A device that goes away never raises in a callback. `failure()` tells it: poll it a few times a second. It answers
within about one second of the loss. Then close, and open again when the device is listed again.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .link import CAPTURE, LINK_INT64, PLAYBACK, read_clock

STALL_S = 0.6  # a device that called back and then is silent for so long is lost
START_S = 3.0  # the first callback may take so long: some hosts build graphs first


class DeviceError(RuntimeError):
    """A device cannot be opened, or was lost; the message names it and says what to do."""


class ServerError(DeviceError):
    """The sound server does not answer."""


Kind = Literal["capture", "playback"]
Fault = Literal["device_lost", "device_silent", "device_taken", "server_lost", "rate_changed"]


class Lost(str):
    """One sentence that says what was lost, with the fault's name in `fault`."""

    fault: Fault

    def __new__(cls, fault: Fault, sentence: str) -> Self:
        """Return sentence as a loss of that kind."""
        lost = super().__new__(cls, sentence)
        lost.fault = fault
        return lost


@dataclass(frozen=True)
class Device:
    """One device of a host. rate_hz is its own rate; `default` marks the one the system would take."""

    id: str
    name: str
    kind: Kind
    channels: int
    rate_hz: int
    default: bool


class Streams(Protocol):
    """A capture and a playback stream that feed one link."""

    duplex: bool  # both devices share one clock
    block_frames: int  # frames the host moves at a time, at the playback rate

    def start(self) -> None:
        """Let both streams run. Raises DeviceError if the host refuses."""

    def stop(self) -> None:
        """Halt both streams; `start` may follow."""

    def close(self) -> None:
        """Give the devices back, also after a failure. May be called twice."""

    def failure(self) -> Lost | None:
        """Return None while both streams run, else what was lost."""

    def latency_ms(self) -> tuple[float, float] | None:
        """Return the host's (capture, playback) latency, or None where it does not know."""


def link_at(address: int) -> NDArray[np.int64]:
    """Return the link at a memory address as int64[LINK_INT64]; the caller keeps the memory alive."""
    return np.ctypeslib.as_array((ctypes.c_int64 * LINK_INT64).from_address(address))


def split_id(device_id: str) -> tuple[str, str]:
    """Return (host, name) of a device id; raise DeviceError if it is none."""
    host, colon, name = device_id.partition(":")
    if not colon or not name:
        raise DeviceError(f"{device_id!r} is no device id: ids look like pulse:NAME (see `rtvc devices`)")
    return host, name


def open_streams(
    link_address: int, capture_id: str, playback_id: str, rate_hz: int = 48_000, block_frames: int = 256
) -> Streams:
    """Open two devices of one host on the link at link_address (int64[LINK_INT64], kept alive by the caller).

    rate_hz and block_frames are wishes: the devices' own rates win, and servers round blocks. Raises DeviceError.
    """
    host, capture = split_id(capture_id)
    playback_host, playback = split_id(playback_id)
    if host != playback_host:
        raise DeviceError(f"{capture_id} and {playback_id} belong to different hosts: choose two of one host")
    if host == "pulse":
        from .pulse import PulseStreams

        return PulseStreams(link_address, capture, playback, rate_hz, block_frames)
    if host in ("pipewire", "jack"):
        from .jack import JackStreams

        return JackStreams(link_address, host, capture, playback, rate_hz, block_frames)
    from .portaudio import PortAudioStreams

    return PortAudioStreams(link_address, host, capture, playback, rate_hz, block_frames)


class StallWatch:
    """Notices that a started device no longer calls back, from the clocks in the link."""

    def __init__(self, link: NDArray[np.int64], block_s: float) -> None:
        self._link = link
        self._limit_s = max(STALL_S, 4 * block_s)
        self._started_s = time.perf_counter()
        self._callbacks_before = [read_clock(link, side)[2] for side in (CAPTURE, PLAYBACK)]

    def stalled(self) -> Lost | None:
        """Return which side has not called back for too long, or None."""
        now_s = time.perf_counter()
        sides = zip(("capture", "playback"), (CAPTURE, PLAYBACK), self._callbacks_before, strict=True)
        for name, side, before in sides:
            _, time_ns, callbacks = read_clock(self._link, side)
            if callbacks == before:
                silent_s, limit_s = now_s - self._started_s, START_S
            else:
                silent_s, limit_s = now_s - time_ns * 1e-9, self._limit_s
            if silent_s > limit_s:
                return Lost("device_silent", f"the {name} device has not called back for {silent_s:.1f} s")
        return None
