"""One source heard on one sink of a PulseAudio server (or PipeWire's pulse server), at a level of its own.

Both streams belong to this process's own connection, so the server ends them when the process ends, however it ends:
unlike a loopback module nothing is left behind. Sound goes on in libpulse's thread (`monitor_callbacks`).
"""

from __future__ import annotations

import ctypes as C
import time

import numpy as np

from .backend import DeviceError
from .pulse_client import ADJUST_LATENCY, EARLY_REQUESTS, UNSET, BufferAttr, PulseClient, named
from .pulse_server import PulseServer, libpulse
from .virtual_mic import own_modules

PIECE_S = 0.005
TARGET_S = 0.012
GROWTH_S = 0.004
TARGET_MAX_S = 0.06
DEEP_S = 0.04
_TLENGTH_S = 0.25  # only the scale that the server counts on
_SINK_S = 0.03  # what still waits is heard with a fade before the streams end


class PulseMonitor:
    """Plays what a source carries into a sink until `close`. Raises DeviceError where that cannot be."""

    def __init__(self, source: str, sink: str, level_db: float) -> None:
        with PulseServer() as server:
            own = {module.index for _, module in own_modules(server)}
            heard, played = named(server.sources(), "source", source), named(server.sinks(), "sink", sink)
        if played.module in own:
            raise DeviceError(f"{sink} is rtvc's own microphone: hearing it there would be a loop; choose headphones")
        libpulse()
        from . import monitor_callbacks as callbacks  # links to libpulse: only now

        rate_hz = heard.rate_hz
        self._state = np.zeros(callbacks.MONITOR_INT64, np.int64)
        self._gain = self._state.view(np.float64)[callbacks.GAIN : callbacks.GAIN + 1]
        self._xruns = self._state[callbacks.XRUNS : callbacks.XRUNS + 1]
        self.set_level(level_db)
        for name, seconds in (
            (callbacks.TLENGTH, _TLENGTH_S),
            (callbacks.TARGET, TARGET_S),
            (callbacks.TARGET_MAX, TARGET_MAX_S),
            (callbacks.GROWTH, GROWTH_S),
            (callbacks.DEEP, DEEP_S),
        ):
            self._state[name] = round(seconds * rate_hz)
        self._state[callbacks.RATE_HZ] = rate_hz
        address = C.c_void_p(self._state.ctypes.data)
        piece = 4 * round(PIECE_S * rate_hz)
        record = BufferAttr(UNSET, UNSET, UNSET, UNSET, piece)
        play = BufferAttr(UNSET, 4 * int(self._state[callbacks.TLENGTH]), 0, piece // 2, UNSET)
        self._client = PulseClient()
        try:
            playback = self._client.open("sink", played, rate_hz, play, EARLY_REQUESTS, title="monitor")
            capture = self._client.open("source", heard, rate_hz, record, ADJUST_LATENCY, title="monitor")
            self._state[callbacks.PLAY] = playback.handle.value or 0
            self._state[callbacks.TLENGTH] = self._client.tlength(playback) // 4
            self._client.run(playback, None, None)
            self._client.run(capture, C.c_void_p(callbacks.monitor_capture.address), address)
        except BaseException:
            self._client.close()
            raise

    def set_level(self, level_db: float) -> None:
        """Play so much louder (dB) than the source is, without a step."""
        self._gain[0] = 10.0 ** (level_db / 20.0)

    @property
    def xruns(self) -> int:
        """How often sound ran out."""
        return int(self._xruns[0])

    def failure(self) -> str | None:
        """Return None while both streams are there, else what was lost."""
        return self._client.failure()

    def delay_ms(self) -> float | None:
        """Return how much later than the source it sounds, by the server; None before it has measured."""
        found = self._client.latencies_ms()
        return round(sum(found), 1) if found else None

    def close(self) -> None:
        """Fade out and give both devices back. May be called twice."""
        self._gain[0] = 0.0
        time.sleep(_SINK_S)
        self._client.close()
