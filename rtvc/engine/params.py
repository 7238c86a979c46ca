"""The registry: every parameter of the sound, declared once.

The command line, presets, and every remote client are made from this table. Values travel as one float64
vector in registry order; switches are 0 or 1 and choices are indices, so a vector is a complete, copyable
state of the sound. The engine reads it at every tick and ramps towards it, so no change clicks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Value = float | bool | str


@dataclass(frozen=True)
class Param:
    """One parameter: identity, range, unit and how fast the engine moves to a new value."""

    id: str
    label: str
    doc: str
    default: float
    minimum: float = 0.0
    maximum: float = 1.0
    unit: str = ""
    ramp_ms: float = 20.0
    choices: tuple[str, ...] = ()
    switch: bool = False

    def to_number(self, value: Value) -> float:
        """Return value as the engine's number.

        Raises ValueError naming the parameter, the value and what is allowed.
        """
        if self.choices:
            if isinstance(value, str) and value in self.choices:
                return float(self.choices.index(value))
            raise ValueError(f"{self.id} = {value!r}: choose one of {', '.join(self.choices)}")
        if self.switch:
            words = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
            if isinstance(value, str) and value.lower() in words:
                return words[value.lower()]
            if isinstance(value, bool) or value in (0, 1):
                return float(value)
            raise ValueError(f"{self.id} = {value!r}: write on or off")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{self.id} = {value!r} is not a number") from None
        if not math.isfinite(number) or not self.minimum <= number <= self.maximum:
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(f"{self.id} = {value}: must lie in {self.minimum:g}..{self.maximum:g}{unit}")
        return number

    def from_number(self, number: float) -> Value:
        """Return the engine's number as a person would write it: text, on/off or a float."""
        if self.choices:
            return self.choices[int(number)]
        return bool(number) if self.switch else float(number)


PITCH_MODES = ("shift", "target", "note", "robot")
VOICES = ("dsp", "own", "silence", "neural")
TIMBRES = ("heart", "bella", "sarah", "emma", "michael", "puck", "fenrir", "george")
MINE = "mine"  # the voice of the user's own that lies in the session's slot, see `own_voice`
SPEAKERS = (*TIMBRES, MINE)

_TABLE = (
    Param(
        "voice.name", "Voice",
        "dsp: the speaker's voice, shaped; own: as it is, delayed alike; silence; neural: somebody else's voice",
        0, 0, 3, choices=VOICES, ramp_ms=30,
    ),
    Param(
        "voice.timbre", "Neural voice", "Who speaks when voice.name is neural; mine: the chosen one of your own voices",
        0, 0, 8, choices=SPEAKERS, ramp_ms=60,
    ),
    Param("voice.second", "Second voice", "Whom that voice is blended with", 4, 0, 8, choices=SPEAKERS, ramp_ms=60),
    Param("voice.blend", "Blend", "Share of the second voice", 0, 0, 1, "", 60),
    Param(
        "pitch.mode", "Pitch mode",
        "shift: by semitones, a neural voice from its own pitch; target: the speaker's median goes to target_hz; "
        "note: monotone at target_hz; robot: monotone through every sound",
        0, 0, 3, choices=PITCH_MODES,
    ),
    Param("pitch.semitones", "Pitch", "Shift on top of the mode", 0, -24, 24, "semitones", 30),
    Param("pitch.target_hz", "Target pitch", "Where target, note and robot put the voice", 160, 50, 800, "Hz", 30),
    Param("pitch.intonation", "Intonation", "Scale of the melody around its median; 0 is flat", 1, 0, 2, "", 30),
    Param("formant.ratio", "Formant", "Scale of the vocal tract's resonances; above 1 is smaller", 1, 0.5, 2, "x", 30),
    Param(
        "formant.follow", "Formant follows pitch",
        "Share of the pitch change (in octaves) that formants take part in; 0.28 is what people's bodies do",
        0, 0, 1, "", 30,
    ),
    Param("tone.brightness_db", "Brightness", "High shelf at 3 kHz", 0, -12, 12, "dB", 20),
    Param("breath.amount", "Breath", "Aspiration noise under the voice", 0, 0, 1, "", 20),
    Param("whisper.amount", "Whisper", "Replaces the voice's tone by noise", 0, 0, 1, "", 20),
    Param(
        "consonants.amount", "Own consonants",
        "How much of the hiss of s, f, t and the like is the speaker's own where a neural voice speaks: "
        "words are kept better, the voice is less pure",
        1, 0, 1, "", 20,
    ),
    Param("telephone.amount", "Telephone", "Band of a telephone line, with its grit", 0, 0, 1, "", 20),
    Param(
        "suppress.on", "Noise suppression",
        "Takes noise out before the voice, 30 ms later; for the DSP voice: neural ones lose words by it "
        "(needs the extra `suppress`)",
        0, switch=True,
    ),
    Param("gate.threshold_db", "Gate", "Sound below this level is silence; -90 is off", -60, -90, -20, "dBFS", 20),
    Param("level.match", "Match loudness", "The output follows the speaker's loudness", 1, switch=True),
    Param("level.energy", "Energy", "Scale of the loudness movement around its mean; 0 is even", 1, 0, 2, "", 30),
    Param("level.gain_db", "Gain", "Output gain", 0, -24, 24, "dB", 20),
    Param("level.mute", "Mute", "Silence, whatever is said", 0, switch=True, ramp_ms=5),
)  # fmt: skip

PARAMS: Mapping[str, Param] = {param.id: param for param in _TABLE}
INDEX: Mapping[str, int] = {param.id: i for i, param in enumerate(_TABLE)}


def default_values() -> NDArray[np.float64]:
    """Return the registry's defaults: float64[len(PARAMS)]."""
    return np.array([param.default for param in _TABLE], np.float64)


def find(param_id: str) -> Param:
    """Return the parameter of that id.

    Raises KeyError naming the id and the nearest ones that exist.
    """
    if param_id in PARAMS:
        return PARAMS[param_id]
    import difflib

    near = difflib.get_close_matches(param_id, PARAMS, 3, 0.4) or list(PARAMS)
    raise KeyError(f"no parameter {param_id!r}; did you mean {', '.join(near)}?")


def to_vector(values: Mapping[str, Value], base: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return base (or the defaults) with values set: float64[len(PARAMS)].

    Raises KeyError for an unknown id and ValueError for a value out of range.
    """
    vector = default_values() if base is None else base.copy()
    for param_id, value in values.items():
        vector[INDEX[find(param_id).id]] = find(param_id).to_number(value)
    return vector


def from_vector(vector: NDArray[np.float64]) -> Iterator[tuple[Param, Value]]:
    """Yield every parameter with its value as a person would write it."""
    for param, number in zip(_TABLE, vector, strict=True):
        yield param, param.from_number(float(number))
