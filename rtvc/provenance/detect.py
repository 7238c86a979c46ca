"""Finds the watermark in a recording. Offline, NumPy, 16 kHz.

1. Whitening: short-time spectra of 64 ms between LOW_HZ and HIGH_HZ keep their phase and lose their magnitude, so the
   voice's loud harmonics weigh no more than the gaps between them, where the mark is.
2. Search: every SEGMENT is correlated with the carrier's pilots at all offsets in the frame, and the segments are added
   along every clock deviation of the DRIFTS. The highest sum, in standard deviations of all, is the score.
3. Reading: at the CANDIDATES highest sums, offset and drift are refined, the carrier is taken off and all frames are
   added up symbol by symbol. The mark is found where the score passes SCORE_MIN and the decoded bits their CRC.

Long recordings are searched in windows of WINDOW_S, half overlapping. 0.1 s a window on one core.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.watermark import FRAME, HIGH_HZ, LOW_HZ, SYMBOLS, carrier
from rtvc.kernels.watermark import RATE_HZ as MARK_RATE_HZ

from .payload import CRC_BITS, PILOT_SIGNS, PILOTS, TOOL_BITS, TOOLS, Payload, decode

RATE_HZ = 16_000
WINDOW_S = 10.0
SPECTRUM = 1024
HOP = 256
SEGMENT = 5120
DRIFTS = np.arange(-160, 161, 20) * 1e-6
CANDIDATES = 3
SCORE_MIN = 5.5  # of 100 unmarked recordings one or two score so high

_PERIOD = FRAME * RATE_HZ // MARK_RATE_HZ
_FINE = 4  # carrier samples for one of the recording, when reading
_FINE_DRIFTS = np.array([-7, 0, 7]) * 1e-6
_FINE_OFFSETS = np.arange(-2, 3) / _FINE


@dataclass(frozen=True)
class Found:
    """The best of a recording: score in standard deviations, payload if it could be read, where its window begins."""

    score: float
    payload: Payload | None
    at_s: float = 0.0
    windows: int = 1  # searched

    @property
    def false_alarm(self) -> float:
        """At most how likely a recording without a mark is to score so high and be read: normal sums, chance bits."""
        score = min(1.0, len(DRIFTS) * _PERIOD * math.erfc(self.score / math.sqrt(2.0)))
        return min(1.0, self.windows * score * CANDIDATES * len(TOOLS) * 2.0 ** -(TOOL_BITS + CRC_BITS))


def detect(x: NDArray[np.float32]) -> Found:
    """Return what is found in one window, float32[n] at 16 kHz, n up to some 30 s."""
    white = whiten(x)
    scores = np.abs(_search(white))
    best = float(scores.max())
    if best < SCORE_MIN:
        return Found(best, None)
    tried: list[int] = []
    for flat in np.argsort(scores, axis=None)[::-1]:
        drift, offset = divmod(int(flat), _PERIOD)
        if any(abs(offset - other) < 8 for other in tried):
            continue
        tried.append(offset)
        payload = decode(_read(white, offset, DRIFTS[drift]))
        if payload is not None:
            return Found(best, payload)
        if len(tried) == CANDIDATES:
            break
    return Found(best, None)


def best_of(windows: Iterable[NDArray[np.float32]]) -> Found:
    """Return the best of windows that begin WINDOW_S / 2 after each other; of none, a score of 0."""
    best = Found(0.0, None)
    searched = 0
    for x in windows:
        one = detect(x)
        if (one.payload is not None, one.score) > (best.payload is not None, best.score):
            best = replace(one, at_s=searched * WINDOW_S / 2)
        searched += 1
    return replace(best, windows=max(searched, 1))


def whiten(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x (float32[n] at 16 kHz) with every spectral cell of the band at magnitude 1 and none outside."""
    window = np.sin(np.pi * np.arange(SPECTRUM) / SPECTRUM).astype(np.float32)
    padded = np.concatenate((np.zeros(SPECTRUM, np.float32), x, np.zeros(2 * SPECTRUM, np.float32)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, SPECTRUM)[::HOP]
    spectra = np.fft.rfft(frames * window)
    hz = np.arange(SPECTRUM // 2 + 1) * RATE_HZ / SPECTRUM
    magnitude = np.abs(spectra)
    spectra[:, (hz < LOW_HZ) | (hz > HIGH_HZ)] = 0.0
    spectra /= magnitude + np.float32(1e-6)
    white = np.zeros(len(padded), np.float32)
    pieces = np.fft.irfft(spectra).astype(np.float32) * window
    for k in range(SPECTRUM // HOP):
        lane = pieces[k :: SPECTRUM // HOP].reshape(-1)
        white[k * HOP : k * HOP + len(lane)] += lane
    return white[SPECTRUM : SPECTRUM + len(x)]


@cache
def _reference(rate_hz: int) -> NDArray[np.float32]:
    """Return one period of the carrier's band at rate_hz, float32[FRAME * rate_hz / 48000], rms 1."""
    n = FRAME * rate_hz // MARK_RATE_HZ
    spectrum = np.fft.rfft(carrier())
    hz = np.arange(len(spectrum)) * MARK_RATE_HZ / FRAME
    spectrum[(hz < LOW_HZ) | (hz > HIGH_HZ)] = 0.0
    kept = np.zeros(n // 2 + 1, complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    wave = np.fft.irfft(kept, n)
    scaled: NDArray[np.float32] = (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)
    return scaled


@cache
def _pilot_spectrum() -> NDArray[np.complex64]:
    signs = np.zeros(SYMBOLS, np.float32)
    signs[PILOTS] = PILOT_SIGNS
    return np.fft.rfft(_reference(RATE_HZ) * np.repeat(signs, _PERIOD // SYMBOLS)).astype(np.complex64)


def _search(white: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pilots' correlation at every drift and offset, float32[len(DRIFTS), _PERIOD], of variance 1."""
    count = -(-len(white) // SEGMENT)
    segments = np.zeros((count, _PERIOD), np.float32)
    for s in range(count):
        part = white[s * SEGMENT : (s + 1) * SEGMENT]
        segments[s, : len(part)] = part
    correlation = np.fft.irfft(np.conj(np.fft.rfft(segments)) * _pilot_spectrum(), _PERIOD).astype(np.float32)
    scores = np.zeros((len(DRIFTS), _PERIOD), np.float32)
    for s in range(count):
        middle = (s + 0.5) * SEGMENT
        for d, drift in enumerate(DRIFTS):
            shift = (s * SEGMENT + round(middle * drift)) % _PERIOD
            scores[d, : _PERIOD - shift] += correlation[s, shift:]
            scores[d, _PERIOD - shift :] += correlation[s, :shift]
    scores /= scores.std() + np.float32(1e-9)
    return scores


def _read(white: NDArray[np.float32], offset: int, drift: float) -> NDArray[np.float64]:
    """Return the symbols' soft signs, float64[SYMBOLS], at the best offset and drift near these."""
    fine = _reference(RATE_HZ * _FINE)
    size = len(fine) // SYMBOLS
    best, kept = -1.0, np.zeros(SYMBOLS)
    time = np.arange(len(white))
    for more in _FINE_DRIFTS:
        line = (offset + time * (1.0 + drift) + (time - len(white) / 2) * more) * _FINE
        for part in _FINE_OFFSETS:
            place = np.rint(line + part * _FINE).astype(np.int64) % len(fine)
            symbols = np.bincount(place // size, white * fine[place], SYMBOLS)
            pilot = float(symbols[PILOTS] @ PILOT_SIGNS)
            if abs(pilot) > best:
                best, kept = abs(pilot), symbols * np.sign(pilot)
    return kept
