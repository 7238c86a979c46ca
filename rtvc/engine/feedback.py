"""Acoustic feedback: notices that the microphone hears what rtvc itself said a moment ago, and how much later.

What the engine heard is compared with what it had said, by cross-correlation with the phase transform (every
frequency counts alike; Knapp & Carter, "The generalized correlation method for estimation of time delay", 1976): a
voice that is only converted gives a peak where the engine's own delay is, before zero, and none after it, a loop gives
one at the loop's delay. Since the pitch of a vowel makes peaks as well, but ever at other places, a loop is believed
once AGREE of the last LOOKS peaks lie within NEAR_MS. A howl, which such a correlation cannot place, is believed once
in as many looks one narrow band held more than HOWL_SHARE of the power of both signals and the output was louder than
HOWL_LEVEL. Limits: the loop must
bring back about a tenth of the voice's amplitude or more; with the own voice, unchanged, a sound that repeats itself
exactly (a drum machine) is taken for a loop, because it looks the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .flight import latest_sound
from .voice import ENGINE_RATE_HZ

WINDOW_FRAMES = 1 << 16  # 1.4 s
EVERY_S = 0.5
LOW_HZ, HIGH_HZ = 200.0, 6000.0
SHORTEST_S, LONGEST_S = 0.012, 0.6  # of a loop, from what was said to what is heard
LEAST_LEVEL = 1e-3  # RMS of both: less is no sound to tell anything by
LEAST_PEAK = 10.0  # of the correlation, by its own RMS over all lags of a loop
LOOKS, AGREE, NEAR_MS = 6, 4, 1.5
HOWL_SHARE, HOWL_HZ, HOWL_LEVEL = 0.5, 40.0, 0.2

Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Feedback:
    """A loop: how much later the microphone hears what was said (0: not known), and where it howls (0: it does not)."""

    late_ms: float
    howl_hz: float

    def __str__(self) -> str:
        later = f" {self.late_ms:.0f} ms later" if self.late_ms else ""
        howls = f" and howls at {self.howl_hz:.0f} Hz" if self.howl_hz else ""
        return f"the microphone hears rtvc's own sound{later}{howls}: use headphones, or turn the loudspeaker down"


def loop_peak(heard: Sound, said: Sound) -> tuple[float, float]:
    """Return by how many ms heard follows said at the highest peak of their correlation, and that peak's height.

    Both are float32[WINDOW_FRAMES], of the same time. The height is by the correlation's RMS over all lags of a loop.
    """
    size, window = 2 * WINDOW_FRAMES, np.hanning(WINDOW_FRAMES)
    a, b = (np.fft.rfft(x * window, size) for x in (heard, said))
    cross = a * np.conj(b)
    hz = np.fft.rfftfreq(size, 1.0 / ENGINE_RATE_HZ)
    cross[(hz < LOW_HZ) | (hz > HIGH_HZ)] = 0.0
    cross /= np.abs(cross) + 1e-3 * float(np.abs(cross).max()) + 1e-12
    first, last = round(SHORTEST_S * ENGINE_RATE_HZ), round(LONGEST_S * ENGINE_RATE_HZ)
    likeness = np.abs(np.fft.irfft(cross, size)[first:last])
    peak = int(np.argmax(likeness))
    return 1e3 * (first + peak) / ENGINE_RATE_HZ, float(likeness[peak] / np.sqrt(np.mean(likeness**2)))


def howl_hz(heard: Sound, said: Sound) -> float:
    """Return the frequency that holds most of the power of both, 0 if there is none."""
    window = np.hanning(len(heard))
    hz = np.fft.rfftfreq(len(heard), 1.0 / ENGINE_RATE_HZ)
    powers = [np.abs(np.fft.rfft(x * window)) ** 2 for x in (heard, said)]
    centre = float(hz[int(np.argmax(powers[0]))])
    band = np.abs(hz - centre) < 0.5 * HOWL_HZ
    alike = all(float(power[band].sum()) > HOWL_SHARE * float(power.sum()) for power in powers)
    return centre if alike and centre > LOW_HZ else 0.0


class FeedbackWatch:
    """Watches one flight recorder; `found` is the loop there is now. Not in the engine's process."""

    def __init__(self) -> None:
        self.found: Feedback | None = None
        self._next_at = 0
        self._peaks_ms: deque[float] = deque(maxlen=LOOKS)
        self._howls_hz: deque[float] = deque(maxlen=LOOKS)

    def look(self, flight: NDArray[np.int64]) -> None:
        """Look for a loop each EVERY_S; call it often."""
        end = latest_sound(flight, 0)[0]
        if end < max(self._next_at, WINDOW_FRAMES):
            return
        self._next_at = end + round(EVERY_S * ENGINE_RATE_HZ)
        _, heard, said = latest_sound(flight, WINDOW_FRAMES)
        levels = [float(np.sqrt(np.mean(x * x))) for x in (heard, said)]
        late_ms, height = loop_peak(heard, said) if min(levels) > LEAST_LEVEL else (0.0, 0.0)
        self._peaks_ms.append(late_ms if height > LEAST_PEAK else 0.0)
        self._howls_hz.append(howl_hz(heard, said) if levels[1] > HOWL_LEVEL else 0.0)
        late_ms, howl = _agreed(self._peaks_ms, NEAR_MS), _agreed(self._howls_hz, HOWL_HZ)
        self.found = Feedback(late_ms, howl) if late_ms or howl else None


def _agreed(seen: Sequence[float], near: float) -> float:
    """Return the median of those that are not 0 if AGREE of them lie that near to it, else 0."""
    values = np.array([value for value in seen if value])
    if not len(values):
        return 0.0
    middle = float(np.median(values))
    return middle if np.count_nonzero(np.abs(values - middle) < near) >= AGREE else 0.0
