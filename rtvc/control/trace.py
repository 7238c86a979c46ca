"""Columns for the picture of a voice: pitch and a mel spectrogram of what goes in and what comes out.

A column each 25 ms: F0 by the engine's own tracker (0 where unvoiced), and 64 triangular mel bands from 60 Hz to
12 kHz of the newest 43 ms under a Hann window, -90..0 dBFS as 0..255 (a full-scale sine gives 255 in its band).
Runs in the control process on what the taps gave, and only while somebody looks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.kernels.decimate import decimate, decimator_state
from rtvc.kernels.f0 import HOP, f0_state, f0_track
from rtvc.kernels.mel import mel_filters

COLUMN_FRAMES = ENGINE_RATE_HZ // 40
FRAME = 2048
BANDS = 64
LOW_HZ, HIGH_HZ = 60.0, 12_000.0
FLOOR_DB = -90.0
VOICED_CONFIDENCE = 0.2
_FACTOR = 3  # to the tracker's 16 kHz

Sound = NDArray[np.float32]


class Trace:
    """One signal's columns."""

    def __init__(self) -> None:
        self._history = np.zeros(FRAME, np.float32)
        self._due = COLUMN_FRAMES
        self._window = np.hanning(FRAME + 1)[:-1]
        filters = mel_filters(ENGINE_RATE_HZ, FRAME, BANDS, LOW_HZ, HIGH_HZ)
        self._filters = filters / filters.max(axis=1, keepdims=True)
        self._decimator, self._tracker = decimator_state(_FACTOR), f0_state()
        self._low = np.zeros(COLUMN_FRAMES // _FACTOR + 1, np.float32)
        hops = len(self._low) // HOP + 1
        self._f0, self._voiced, self._confidence = (np.zeros(hops, np.float32) for _ in range(3))
        self._hz = 0.0

    def add(self, x: Sound) -> dict[str, list[Any]]:
        """Take x (float32[n] at the engine's rate) and return the columns that fell due: hz and bands."""
        hz: list[float] = []
        bands: list[list[int]] = []
        start = 0
        while start < len(x):
            piece = x[start : start + self._due]
            self._take(piece)
            start += len(piece)
            self._due -= len(piece)
            if self._due == 0:
                self._due = COLUMN_FRAMES
                hz.append(round(self._hz, 1))
                bands.append(self._column())
        return {"hz": hz, "bands": bands}

    def _take(self, x: Sound) -> None:
        n = len(x)
        self._history[:-n] = self._history[n:]
        self._history[-n:] = x
        low = self._low[: decimate(self._decimator, x, self._low)]
        hops = f0_track(self._tracker, low, self._f0, self._voiced, self._confidence)
        if hops:
            voiced = self._voiced[hops - 1] > 0 and self._confidence[hops - 1] > VOICED_CONFIDENCE
            self._hz = float(self._f0[hops - 1]) if voiced else 0.0

    def _column(self) -> list[int]:
        power = np.abs(np.fft.rfft(self._history * self._window) / (FRAME / 4)) ** 2
        level_db = 10.0 * np.log10(self._filters @ power + 1e-12)
        scaled = np.clip(255.0 * (1.0 - level_db / FLOOR_DB), 0, 255)
        return [int(v) for v in scaled.astype(np.uint8)]
