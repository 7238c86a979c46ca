"""The TTS's timbre space: voices read from Kokoro's style files, their mixtures, and the voices that we ship.

A style file is float32[510, 256]: one row for each length of a text in tokens, 128 numbers of timbre, then 128 of
prosody. A mixture is written a*NAME+b*NAME; factors may leave 0..1. Our decoder sees timbres SCALE times as large; a
voice as such is the mean over texts of usual length, ROWS.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from . import TrainingError
from .dataset import VOICED_HZ, Floats, TrainingSet

TIMBRE = 128
SCALE = 4.0
STYLE_ROWS, STYLE = 510, 256
ROWS = slice(60, 180)

_TERM = re.compile(r"(?:(?P<factor>[-+]?[\d.]+)\*)?(?P<name>[A-Za-z]\w*)")


class Timbres:
    """Voices by name."""

    def __init__(self, folder: Path) -> None:
        """Read every .bin file of folder. Raises TrainingError if there is none or one has another size."""
        self.styles: dict[str, Floats] = {}
        for path in sorted(folder.glob("*.bin")):
            style = np.fromfile(path, np.float32)
            if style.size != STYLE_ROWS * STYLE:
                raise TrainingError(f"{path}: holds {style.size} numbers, a voice has {STYLE_ROWS * STYLE}")
            self.styles[path.stem] = style.reshape(STYLE_ROWS, STYLE)
        if not self.styles:
            raise TrainingError(f"{folder}: no voices (*.bin) there; npm install kokoro-js brings them")

    def vector(self, mixture: str, tokens: int) -> Floats:
        """Return the timbre of a voice or mixture for a text of that many tokens, float32[128]."""
        row = min(max(tokens, 0), STYLE_ROWS - 1)
        total = np.zeros(TIMBRE, np.float32)
        for factor, name in parse_mixture(mixture):
            if name not in self.styles:
                raise TrainingError(f"there is no voice {name!r}; there are {', '.join(self.styles)}")
            total += np.float32(factor) * self.styles[name][row, :TIMBRE]
        return total

    def voice(self, name: str) -> Floats:
        """Return the timbre of a voice as such, as the decoder sees it, float32[128]."""
        self.vector(name, 0)
        mean: Floats = self.styles[name][ROWS, :TIMBRE].mean(axis=0) * np.float32(SCALE)
        return mean


def parse_mixture(mixture: str) -> list[tuple[float, str]]:
    """Return the factors and names of a mixture. Raises TrainingError if it is not one."""
    parts = [part for part in re.split(r"(?<=\w)\+", mixture) if part]
    found = [_TERM.fullmatch(part) for part in parts]
    if not found or not all(found):
        raise TrainingError(f"{mixture!r} is no voice and no mixture such as 0.3*af_sky+0.7*am_puck")
    return [(float(term["factor"] or 1.0), term["name"]) for term in found if term]


def shipped_voices(data: TrainingSet, timbres: Timbres, names: dict[str, str]) -> dict[str, dict[str, object]]:
    """Return for each of our names the timbre of a voice of the TTS and its home pitch, the median of what it says.

    names: ours to the TTS's. Of the set the house renditions count, which are at their own pitch: each sentence's first
    two. Raises TrainingError if the set has nothing of a voice.
    """
    found: dict[str, dict[str, object]] = {}
    for ours, theirs in names.items():
        items = [item for item in data.items if item.exact and item.speaker == theirs and item.utt[-2:] in ("/0", "/1")]
        medians = []
        for item in items:
            f0_hz = data.f0_hz[item.frame0 : item.frame0 + sum(item.frames)]
            medians.append(float(np.median(f0_hz[f0_hz > VOICED_HZ])) * item.f0_scale)
        if not medians:
            raise TrainingError(f"{data.folder}: nothing is said by {theirs} there")
        timbre = [round(float(value), 4) for value in timbres.voice(theirs)]
        found[ours] = {"home_hz": round(float(np.median(medians)), 1), "timbre": timbre, "kokoro": theirs}
    return found
