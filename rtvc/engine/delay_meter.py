"""How late the voice is, measured while it speaks: from the sound itself and from the devices' sample clocks.

What the engine heard and said (the flight recorder's newest WINDOW_S) become envelopes: power of LOW_HZ to HIGH_HZ by
the millisecond, smoothed and compressed as loudness is (power to EXPONENT, after S. S. Stevens, "On the psychophysical
law", 1957), so that voices of other timbre and pitch have alike ones. Where their normalised cross-correlation is
largest is the engine's delay, to a part of a millisecond by a parabola through three points. To that comes what the
clocks tell of each block: the sound between the devices, and what the resamplers and the host hold.

The confidence is that correlation (median of the last MATCHES), 0 when there was no speech for FORGET_S. A window
counts if its envelope moves like speech and the peak stands out. For the DSP voice the error is under 1 ms; a neural
voice says each sound in its own way, which reads as 1 to 6 ms more than its delay.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.biquad import biquad, biquad_state, high_pass, low_pass

from .flight import BLOCK_COLUMNS, BLOCK_ROWS, latest_blocks, latest_sound
from .voice import ENGINE_RATE_HZ

WINDOW_S = 4.0
LONGEST_S = 0.5
EVERY_S = 1.0
FORGET_S = 30.0
LOW_HZ, HIGH_HZ = 1000.0, 8000.0
SMOOTH_MS = 10
EXPONENT = 0.15
MATCHES = 9
LEAST_LEVEL = 1e-3  # RMS of what was heard in the band, of full scale: less is no speech
LEAST_SPREAD = 0.15  # standard deviation of the envelope, by its mean: a tone or steady noise has less
LEAST_LIKENESS = 0.6
LEAST_PROMINENCE = 0.15  # of the peak above the correlations' median
BLOCKS_NS = 10_000_000_000
_STEP = ENGINE_RATE_HZ // 1000

Envelope = NDArray[np.float64]


@dataclass(frozen=True)
class DelayReading:
    """The delay from device to device over the last seconds, and how sure it is, 0 to 1."""

    p50_ms: float = 0.0
    p95_ms: float = 0.0
    confidence: float = 0.0


def envelope(x: NDArray[np.float32]) -> Envelope:
    """Return how loud x (float32[n] at the engine's rate) is, a value a millisecond: float64[n // 48]."""
    band = np.zeros_like(x)
    biquad(biquad_state(np.array([high_pass(ENGINE_RATE_HZ, LOW_HZ), low_pass(ENGINE_RATE_HZ, HIGH_HZ)])), x, band)
    n = len(band) // _STEP
    power = np.square(band[: n * _STEP], dtype=np.float64).reshape(n, _STEP).mean(axis=1)
    power = np.convolve(power, np.hanning(SMOOTH_MS + 2)[1:-1], "same")
    loudness: Envelope = power**EXPONENT
    return loudness


def match(a: Envelope, b: Envelope) -> tuple[float, float]:
    """Return how many values b lags behind a, and the normalised correlation there; (0, 0) if nothing stands out.

    b is longer than a by the longest lag that is looked for; both begin at the same time.
    """
    longest, size = len(b) - len(a), len(a)
    a, b = a - a.mean(), b - b.mean()
    fft = 1 << (len(b) + size).bit_length()
    products = np.fft.irfft(np.fft.rfft(b, fft) * np.conj(np.fft.rfft(a, fft)), fft)[:longest]
    sums, squares = np.cumsum(np.append(0.0, b)), np.cumsum(np.append(0.0, b * b))
    mean = (sums[size : size + longest] - sums[:longest]) / size
    spread = np.sqrt(np.maximum((squares[size : size + longest] - squares[:longest]) / size - mean * mean, 1e-12))
    likeness = products / (size * spread * max(float(a.std()), 1e-9))
    peak = int(np.argmax(likeness))
    if not 0 < peak < longest - 1 or likeness[peak] - np.median(likeness) < LEAST_PROMINENCE:
        return 0.0, 0.0
    left, top, right = (float(value) for value in likeness[peak - 1 : peak + 2])
    return peak + 0.5 * (left - right) / (left - 2.0 * top + right), top


class DelayMeter:
    """Watches one flight recorder; `reading` is the newest. Not in the engine's process."""

    def __init__(self) -> None:
        self.reading = DelayReading()
        self._next_at = 0
        self._matched_at = 0
        self._matches: deque[tuple[float, float]] = deque(maxlen=MATCHES)

    def look(self, flight: NDArray[np.int64], outside_ms: float) -> None:
        """Take a reading each EVERY_S; call it often. outside_ms is what the resamplers and the host add."""
        end = latest_sound(flight, 0)[0]
        if end < self._next_at:
            return
        self._next_at = end + round(EVERY_S * ENGINE_RATE_HZ)
        if found := self._match(flight):
            self._matches.append(found)
            self._matched_at = end
        elif end - self._matched_at > FORGET_S * ENGINE_RATE_HZ:
            self._matches.clear()
        self.reading = self._read(flight, outside_ms)

    def _match(self, flight: NDArray[np.int64]) -> tuple[float, float] | None:
        """Return the engine's delay in ms and the likeness, None if there is no speech to tell them from."""
        frames = round((WINDOW_S + LONGEST_S) * ENGINE_RATE_HZ)
        _, x, y = latest_sound(flight, frames)
        if len(x) < frames:
            return None
        heard, said = envelope(x)[: round(1000 * WINDOW_S)], envelope(y)
        if heard.mean() < LEAST_LEVEL ** (2 * EXPONENT) or heard.std() < LEAST_SPREAD * heard.mean():
            return None
        lag_ms, likeness = match(heard, said)
        return (lag_ms, likeness) if likeness >= LEAST_LIKENESS else None

    def _read(self, flight: NDArray[np.int64], outside_ms: float) -> DelayReading:
        blocks = latest_blocks(flight, BLOCK_ROWS // 2)
        if not self._matches or not len(blocks):
            return DelayReading()
        begin_ns, age_us = (blocks[:, BLOCK_COLUMNS.index(name)] for name in ("begin_ns", "in_flight_us"))
        ages_ms = 1e-3 * age_us[begin_ns > begin_ns[-1] - BLOCKS_NS]
        engine_ms, likeness = np.median(np.array(self._matches), axis=0)
        p50, p95 = np.quantile(ages_ms, (0.5, 0.95)) + engine_ms + outside_ms
        return DelayReading(round(float(p50), 2), round(float(p95), 2), round(float(likeness), 3))
