"""Simulated devices for live sessions in real time, and what can be awaited of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.backend import DeviceError
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.engine.params import to_vector
from tests.waiting import wait_for

RATE_HZ = 48000
TONE_HZ, LEVEL = 200.0, 0.2
VOICE = to_vector({"voice.name": "dsp", "pitch.semitones": 7, "gate.threshold_db": -90, "level.match": False})
SILENT = 1e-4


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone before, or while, it was read
        return False


@cache
def _tone() -> NDArray[np.float32]:
    """Return two minutes of what the microphone hears unless it is told otherwise."""
    tone = LEVEL * np.sin(2 * np.pi * TONE_HZ / RATE_HZ * np.arange(120 * RATE_HZ))
    return tone.astype(np.float32)


class Studio:
    """Opens simulated devices for a session and remembers them; `plugged_in` says whether there are any."""

    def __init__(
        self,
        capture: SimulatedClock | None = None,
        playback: SimulatedClock | None = None,
        source: NDArray[np.float32] | None = None,
    ) -> None:
        self.plugged_in = True
        self.opened: list[SimulatedStreams] = []
        self.clocks = capture, playback
        self.source = _tone() if source is None else source

    def __call__(self, link: NDArray[np.int64]) -> SimulatedStreams:
        if not self.plugged_in:
            raise DeviceError("there is no microphone")
        self.opened.append(SimulatedStreams(link, self.source, *self.clocks))
        return self.opened[-1]

    def heard(self) -> NDArray[np.float32]:
        return self.opened[-1].recorded()

    def await_sound(self, seconds: float = 0.1) -> None:
        """Wait for so much more to be played, the last of it with sound."""
        since = len(self.opened[-1].recorded()) if self.opened else 0
        wait_for(lambda: self._newest(since, seconds) > 0.1 * LEVEL, "sound")

    def await_silence(self, seconds: float = 0.1) -> None:
        """Wait for so much more to be played, the last of it silent."""
        since = len(self.opened[-1].recorded()) if self.opened else 0
        wait_for(lambda: 0.0 <= self._newest(since, seconds) < SILENT, "silence")

    def _newest(self, since: int, seconds: float) -> float:
        """Return the peak of the newest 50 ms, -1 while less than that much was played since then."""
        y = self.heard()
        return float(np.abs(y[-2400:]).max()) if len(y) >= max(since + seconds * RATE_HZ, 2400) else -1.0


def assert_no_raw_voice(y: NDArray[np.float32]) -> None:
    """Look for the microphone's own tone in every stretch of what was heard; the voice is 7 semitones above."""
    n = 4800
    for start in range(0, len(y) - n, n // 2):
        spectrum = np.abs(np.fft.rfft(y[start : start + n] * np.hanning(n))) / (n / 4)
        assert spectrum[round(TONE_HZ * n / RATE_HZ)] < 0.25 * LEVEL
