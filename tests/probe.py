"""A test sound and what to read from recordings of it: when it arrived, and where it was torn.

The probe is a steady pilot tone with a chirp every half second, at jittered places so that a slip by a whole
period cannot hide. A matched filter finds the chirps; the delay of a path is the difference of the chirps' arrival
times in two recordings. A glitch is a jump of the pilot's phase or a loss of its level, in windows of 10 ms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

RATE_HZ = 48_000
PILOT_HZ = 1033.0
PILOT_LEVEL = 0.15
CHIRP_S = 0.006


def chirp() -> NDArray[np.float32]:
    """Return the chirp: 6 ms, 5 to 14 kHz, Hann window, peak 0.6."""
    t = np.arange(int(CHIRP_S * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * (5000 * t + (14_000 - 5000) / (2 * CHIRP_S) * t * t)
    return (0.6 * np.sin(phase) * np.hanning(len(t))).astype(np.float32)


def probe(seconds: float) -> NDArray[np.float32]:
    """Return the probe signal, float32 at 48 kHz."""
    n = int(seconds * RATE_HZ)
    x = (PILOT_LEVEL * np.sin(2 * np.pi * PILOT_HZ * np.arange(n) / RATE_HZ)).astype(np.float32)
    places = np.random.default_rng(7)
    c = chirp()
    for centre_s in np.arange(0.4, seconds - 0.4, 0.5):
        start = int((centre_s + places.uniform(-0.1, 0.1)) * RATE_HZ)
        x[start : start + len(c)] += c
    return x


def chirps(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return where the chirps begin in x, in samples."""
    c = chirp()
    match = np.abs(fftconvolve(x, c[::-1], "valid"))
    loud = np.flatnonzero(match > 0.4 * float(c @ c))
    found: list[float] = []
    for i in loud:
        if not found or i > found[-1] + 4800:
            found.append(float(i + np.argmax(match[i : i + 480])))
    return np.array(found)


def chirp_level(x: NDArray[np.float32]) -> float:
    """Return the typical level of the chirps in x, 1.0 as in the probe; a torn chirp does not change it."""
    c = chirp()
    match = np.abs(fftconvolve(x, c[::-1], "valid"))
    return float(np.median(match[chirps(x).astype(int)]) / (c @ c))


def glitches(x: NDArray[np.float32]) -> int:
    """Return how many times the pilot was torn between the first and the last chirp in x."""
    places = chirps(x)
    if len(places) < 2:
        raise ValueError("no probe in this recording")
    x = x[int(places[0]) : int(places[-1])]
    band = butter(2, (900, 1170), "bandpass", fs=RATE_HZ, output="sos")
    tone = sosfilt(band, x) * np.exp(-2j * np.pi * PILOT_HZ * np.arange(len(x)) / RATE_HZ)
    windows = tone[: len(tone) // 480 * 480].reshape(-1, 480).mean(axis=1)[10:]  # past the filter's start
    level = np.abs(windows)
    turned = np.abs(np.angle(windows[1:] * np.conj(windows[:-1])))
    torn = np.flatnonzero((turned > 0.15) | (level[1:] < 0.5 * np.median(level)))
    return int(np.sum(np.diff(torn, prepend=-99) > 8))


class Delay(NamedTuple):
    """The delays of all chirps found in both recordings, in ms, and the glitches in each."""

    p50_ms: float
    min_ms: float
    max_ms: float
    chirps: int
    glitches_in: int
    glitches_out: int


def delay(
    before: tuple[NDArray[np.float32], NDArray[np.float64]],
    after: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> Delay:
    """Return how much later the probe came in `after` than in `before`; each is (recording, its chirps' times in s).

    A chirp pairs with the last one before it, so delays may be -5 to +290 ms: chirps are 300 ms apart at least.
    """
    (x, t_in), (y, t_out) = before, after
    last = np.searchsorted(t_in, t_out + 0.005) - 1
    late_ms = (t_out - t_in[last])[last >= 0] * 1e3
    late_ms = late_ms[late_ms < 290]
    if len(late_ms) == 0:
        raise ValueError(f"{len(t_in)} and {len(t_out)} chirps do not pair")
    spread = float(np.median(late_ms)), float(late_ms.min()), float(late_ms.max())
    return Delay(*spread, len(late_ms), glitches(x), glitches(y))
