"""A voice that nobody spoke: pitch, level and spectrum of phrases, and what the parameters make of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rtvc.engine.params import Value

COLUMN_S = 0.025
BANDS = 64
_MEL = 2595 * np.log10(1 + np.array([60.0, 12000.0]) / 700)
_BAND_HZ = 700 * (10 ** (np.linspace(_MEL[0], _MEL[1], BANDS) / 2595) - 1)
_FORMANTS_HZ = np.array([520, 1500, 2600, 3900])
_GAINS = (1.0, 0.7, 0.5, 0.3)


class Column(NamedTuple):
    """25 ms: pitch in Hz (0 where there is none), peak, and levels 0..255 of the bands."""

    hz: float
    peak_dbfs: float
    bands: list[int]


SILENCE = Column(0.0, -120.0, [0] * BANDS)


class MadeUpVoice:
    """Makes one column after the other; count is how many so far."""

    def __init__(self) -> None:
        self.count = 0
        self._random = np.random.default_rng(1)

    def columns(self, values: Mapping[str, Value], silent: bool) -> tuple[Column, Column]:
        """Return the next column of what comes in and of what goes out."""
        self.count += 1
        t = self.count * COLUMN_S
        phrase = t % 2.6
        syllable = 0.5 - 0.5 * math.cos(2 * math.pi * 3.3 * t)
        speaks = phrase < 2.0
        hz = 118 + 14 * math.sin(3.1 * t) - 8 * phrase if speaks and syllable > 0.22 else 0.0
        peak = -34 + 26 * syllable if speaks else -62.0
        vowel = 1 + 0.35 * math.sin(1.7 * t)
        heard = Column(hz, peak, self._bands(hz, peak, vowel))
        if silent:
            return heard, SILENCE
        made_hz = _shifted(hz, values)
        return heard, Column(made_hz, peak - 1, self._bands(made_hz, peak - 1, vowel * float(values["formant.ratio"])))

    def _bands(self, hz: float, peak: float, vowel: float) -> list[int]:
        if hz:
            formants = _FORMANTS_HZ * np.array([vowel, 2 - vowel * 0.8, 1, 1])
            widths = 90 + 0.12 * formants
            shape = (np.exp(-(((_BAND_HZ[:, None] - formants) / widths) ** 2)) * _GAINS).sum(1)
            shape *= np.maximum(0.45 + 0.55 * np.cos(2 * np.pi * _BAND_HZ / hz) * np.exp(-_BAND_HZ / 1500), 0.02)
        else:
            shape = 0.25 * np.exp(-(((_BAND_HZ - 6000) / 3000) ** 2))
        level = peak - 8 + 20 * np.log10(0.004 + shape) + self._random.normal(0, 2, BANDS)
        bands: list[int] = np.clip((level + 90) / 90 * 255, 0, 255).astype(int).tolist()
        return bands


def _shifted(hz: float, values: Mapping[str, Value]) -> float:
    mode, target = values["pitch.mode"], float(values["pitch.target_hz"])
    if not hz or mode == "shift":
        made = hz
    elif mode == "target":
        made = target * (hz / 112) ** float(values["pitch.intonation"])
    else:
        made = target
    return float(made * 2 ** (float(values["pitch.semitones"]) / 12))
