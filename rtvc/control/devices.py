"""The devices a session uses, as clients see and change them: a host's own, or simulated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.backend import Device, DeviceError, Streams, open_streams
from rtvc.audio.devices import list_devices
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.audio.virtual_mic import VirtualMicrophone
from rtvc.demo import read_voice, sample_path
from rtvc.engine.voice import ENGINE_RATE_HZ


class DeviceChoice(Protocol):
    """Which devices are used; `open` is what a session calls whenever it needs them."""

    capture: str
    playback: str

    def listed(self) -> list[Device]:
        """Return all devices there are. Raises DeviceError."""

    def open(self, link: NDArray[np.int64]) -> Streams:
        """Open the chosen ones on link (int64[LINK_INT64]). Raises DeviceError."""

    def monitored(self) -> str:
        """Return the id of the source that a monitor plays. Raises DeviceError saying why there is none; is quick."""


class HostDevices:
    """Devices of one audio host; with a virtual microphone that is where the voice goes until another is chosen."""

    def __init__(
        self,
        host: str,
        capture: str,
        playback: str,
        rate_hz: int,
        block_frames: int,
        microphone: VirtualMicrophone | None = None,
    ) -> None:
        """Capture and playback are device ids; microphone is the virtual one if playback is its."""
        self.capture, self.playback = capture, playback
        self._host, self._rate_hz, self._block_frames = host, rate_hz, block_frames
        self._microphone = microphone

    def listed(self) -> list[Device]:
        """Return the host's devices, and the virtual microphone. Raises DeviceError."""
        devices = list_devices(self._host)
        if self._microphone:
            name = f"virtual microphone {self._microphone.heard_as}"
            devices.append(Device(self._microphone.playback_id, name, "playback", 1, self._rate_hz, False))
        return devices

    def open(self, link: NDArray[np.int64]) -> Streams:
        """Open the chosen devices. Raises DeviceError."""
        if self._microphone and self.playback == self._microphone.playback_id:
            self._microphone.ensure()  # a sound server that was restarted has forgotten it
        return open_streams(link.ctypes.data, self.capture, self.playback, self._rate_hz, self._block_frames)

    def monitored(self) -> str:
        """Return the virtual microphone, which must be where the voice goes. Raises DeviceError."""
        if self._host not in ("pulse", "pipewire"):
            raise DeviceError(
                f"{self._host} has no monitor: only with PulseAudio or PipeWire does rtvc make the virtual microphone "
                "that it could play; listen to the cable with your system's own means"
            )
        if not self._microphone or self.playback != self._microphone.playback_id:
            raise DeviceError("the voice goes to a device, not to the virtual microphone: it is heard there already")
        return f"{self._host}:{self._microphone.heard_as}"


class SimulatedDevices:
    """A microphone that repeats a bundled voice for ever, and a listener: for trying things without a sound card."""

    def __init__(self, block_frames: int = 256) -> None:
        self.capture, self.playback = "simulated:male", "simulated:listener"
        self._clock = SimulatedClock(ENGINE_RATE_HZ, block_frames=block_frames)
        self._voices: dict[str, Path] = {
            f"simulated:{name}": sample_path().with_name(f"{name}.flac") for name in ("male", "female")
        }

    def listed(self) -> list[Device]:
        """Return two voices and two listeners."""
        rate_hz = self._clock.rate_hz
        names = list(self._voices)
        microphones = [Device(n, f"Simulated voice, {n[10:]}", "capture", 1, rate_hz, n == names[0]) for n in names]
        listeners = [("simulated:listener", "Simulated listener"), ("simulated:second", "Simulated second listener")]
        outputs = [Device(id, name, "playback", 1, rate_hz, i == 0) for i, (id, name) in enumerate(listeners)]
        return [*microphones, *outputs]

    def open(self, link: NDArray[np.int64]) -> Streams:
        """Open the chosen voice, in real time."""
        voice = read_voice(self._voices[self.capture])
        return SimulatedStreams(link, voice, self._clock, self._clock, keep=False, loop=True)

    def monitored(self) -> str:
        """Raise DeviceError: nothing can be heard of simulated devices."""
        raise DeviceError("simulated devices make no sound that a monitor could play")
