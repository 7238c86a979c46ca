"""The microphone into memory: what is said until the speaker is done, with a level to look at.

The device is opened as `rtvc live` opens it, so the same microphones are there on every platform; the playback side
that this needs plays silence.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.ring import ring_pop

from . import link as fields
from .backend import DeviceError, Lost, open_streams
from .devices import best_host, choose, list_devices
from .link import capture_data, link_memory

RATE_HZ = 48_000
BLOCK_FRAMES = 512
POLL_S = 0.05
SETTLE_S = 0.1  # many devices begin with a click

Heard = Callable[[float, float], None]
"""Hears, a few times a second, how many seconds were recorded and the peak level of the last of them in dBFS."""


class Microphone:
    """The user's microphone. Use as a context."""

    def __init__(self, host: str = "", capture: str = "", playback: str = "") -> None:
        """Open it; names are what `choose` takes. Raises DeviceError."""
        host = host or best_host().name
        listed = list_devices(host)
        device = choose(listed, "capture", capture)
        self.name = device.name
        self._link = link_memory()
        output = choose(listed, "playback", playback)
        self._streams = open_streams(self._link.ctypes.data, device.id, output.id, RATE_HZ, BLOCK_FRAMES)
        self.rate_hz = int(self._link[fields.CAPTURE_RATE_HZ])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._streams.close()

    def record(self, until: Callable[[], object], longest_s: float, heard: Heard) -> NDArray[np.float32]:
        """Record while until() runs, at most longest_s; return float32[n], mono, at rate_hz.

        Raises DeviceError if the device was lost or what it gave could not be taken in time.
        """
        taken = _Taken(self._link, round(longest_s * self.rate_hz), self.rate_hz, heard, self._streams.failure)
        self._streams.start()
        taken.start()
        try:
            until()
        finally:
            taken.over.set()
            taken.join()
            with contextlib.suppress(DeviceError):  # that it is gone is told below
                self._streams.stop()
        if taken.lost:
            raise DeviceError(f"{self.name}: {taken.lost}")
        return taken.samples[round(SETTLE_S * self.rate_hz) : taken.frames].copy()


class _Taken(threading.Thread):
    """Takes what the device gives out of the link until it is over."""

    def __init__(
        self,
        link: NDArray[np.int64],
        frames_max: int,
        rate_hz: int,
        heard: Heard,
        failure: Callable[[], Lost | None],
    ) -> None:
        super().__init__(name="microphone", daemon=True)
        self.over = threading.Event()
        self.samples = np.zeros(frames_max, np.float32)
        self.frames = 0
        self.lost = ""
        self._link, self._rate_hz, self._heard, self._failure = link, rate_hz, heard, failure

    def run(self) -> None:
        counters = self._link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]
        piece = np.zeros(fields.CAPACITY, np.float32)
        ring_pop(counters, capture_data(self._link), piece)  # what an earlier recording left
        lost_before = int(self._link[fields.CAPTURE_LOST])
        while not self.lost:
            ends = self.over.wait(POLL_S)
            n = min(int(ring_pop(counters, capture_data(self._link), piece)), len(self.samples) - self.frames)
            self.samples[self.frames : self.frames + n] = piece[:n]
            self.frames += n
            peak = float(np.max(np.abs(piece[:n]), initial=0.0))
            self._heard(self.frames / self._rate_hz, 20.0 * float(np.log10(max(peak, 1e-6))))
            if lost := self._failure():
                self.lost = f"{lost}; record again once it is back"
            elif missed := int(self._link[fields.CAPTURE_LOST]) - lost_before:
                self.lost = (
                    f"{missed} frames were lost, for this machine is too busy; close other programs, record again"
                )
            if ends:
                return
