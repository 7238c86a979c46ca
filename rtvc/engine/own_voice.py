"""The voice of the user's own that a session may speak as, and the slot through which the engine gets it.

One such voice at a time lies in the slot: shared memory of the control and the engine process, a seqlock as in
`param_block`, with what the watermark says beside it. voice.timbre = mine means whoever lies there. The slot is the
only place outside the library where the voice is; records name its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .param_block import HEADER_INT64
from .params import INDEX, MINE, PARAMS, SPEAKERS, VOICES
from .timbres import Timbre

_VOICE, _NEURAL = INDEX["voice.name"], VOICES.index("neural")
_TIMBRE, _SECOND, _BLEND = INDEX["voice.timbre"], INDEX["voice.second"], INDEX["voice.blend"]
_MINE = SPEAKERS.index(MINE)

PERSONAL_MAX = 8192
_FILLING, _MARK, _HOME_HZ, _PERSONAL, _ID = range(5)  # words of the slot; the id takes four of 32 bits
_VECTOR = _ID + 4
_VECTOR_UNITS = 128
_PERSONAL_AT = _VECTOR + _VECTOR_UNITS
SLOT = _PERSONAL_AT + PERSONAL_MAX  # float64, in which float32 and 32 bits are exact
SLOT_INT64 = HEADER_INT64 + SLOT
SLOT_BYTES = SLOT_INT64 * 8


@dataclass(frozen=True, eq=False)
class OwnVoice:
    """A voice out of the user's library. id: 32 hex digits; person: whether it is somebody's, so marked by default.

    sound: values of the registry that it is said with, as numbers; whoever chooses the voice sets them. tempo: how much
    faster than its source it speaks, in files (`tempo`).
    """

    id: str
    timbre: Timbre = field(repr=False)
    person: bool = True
    sound: Mapping[str, float] = field(default_factory=dict)
    tempo: float = 1.0


@dataclass(frozen=True)
class Slot:
    """What the slot holds. filling: counts the voices that lay there; id "" and timbre None: nobody; mark: a number."""

    filling: int = 0
    id: str = ""
    timbre: Timbre | None = field(default=None, repr=False)
    mark: int | None = None


def pack_slot(filling: int, own: OwnVoice | None, mark: int | None) -> NDArray[np.float64]:
    """Return the slot's content, float64[SLOT]; mark is the payload's number, None for no mark.

    Raises ValueError for a voice that has no room in it.
    """
    slot = np.zeros(SLOT)
    slot[_FILLING], slot[_MARK] = filling, -1 if mark is None else mark
    if own:
        timbre = own.timbre
        slot[_HOME_HZ] = timbre.home_hz
        slot[_ID:_VECTOR] = [int(own.id[i : i + 8], 16) for i in range(0, 32, 8)]
        slot[_VECTOR:_PERSONAL_AT] = timbre.vector
        if timbre.personal is not None:
            units = len(timbre.personal)
            if units > PERSONAL_MAX:
                raise ValueError(f"voice {own.id}: {units} fitted movements, at most {PERSONAL_MAX} have room")
            slot[_PERSONAL] = units
            slot[_PERSONAL_AT : _PERSONAL_AT + units] = timbre.personal
    return slot


def unpack_slot(slot: NDArray[np.float64]) -> Slot:
    """Return what lies in the slot (float64[SLOT])."""
    filling, mark = int(slot[_FILLING]), int(slot[_MARK])
    known = None if mark < 0 else mark
    if not slot[_HOME_HZ]:
        return Slot(filling, mark=known)
    units = int(slot[_PERSONAL])
    personal = slot[_PERSONAL_AT : _PERSONAL_AT + units].astype(np.float32) if units else None
    timbre = Timbre(slot[_VECTOR:_PERSONAL_AT].astype(np.float32), float(slot[_HOME_HZ]), personal)
    return Slot(filling, "".join(f"{int(word):08x}" for word in slot[_ID:_VECTOR]), timbre, known)


def id_words(own_id: str) -> tuple[int, int]:
    """Return an id's halves as int64; (0, 0) for ""."""
    high, low = (own_id or "0" * 32)[:16], (own_id or "0" * 32)[16:]
    return tuple(int.from_bytes(bytes.fromhex(half), "big", signed=True) for half in (high, low))  # type: ignore[return-value]


def id_of(high: int, low: int) -> str:
    """Return the id of these halves; "" for (0, 0)."""
    if not high and not low:
        return ""
    return "".join(half.to_bytes(8, "big", signed=True).hex() for half in (high, low))


def asks_for_own(values: NDArray[np.float64]) -> bool:
    """Return whether this sound (float64[len(PARAMS)]) has the user's own voice as its voice or its second one."""
    return bool(values[_VOICE] == _NEURAL and _MINE in (values[_TIMBRE], values[_SECOND]))


def own_share(values: NDArray[np.float64]) -> float:
    """Return how much of this sound (float64[len(PARAMS)]) the user's own voice is, 0..1."""
    if values[_VOICE] != _NEURAL:
        return 0.0
    blend = float(values[_BLEND])
    return (1.0 - blend) * bool(values[_TIMBRE] == _MINE) + blend * bool(values[_SECOND] == _MINE)


def without_own(values: NDArray[np.float64], instead: str, own: OwnVoice | None = None) -> NDArray[np.float64]:
    """Return this sound (float64[len(PARAMS)]) with a built-in voice instead of the user's own and what it brought."""
    values = values.copy()
    for name, number in own.sound.items() if own else ():
        if values[INDEX[name]] == number:
            values[INDEX[name]] = PARAMS[name].default
    for place in (_TIMBRE, _SECOND):
        if values[place] == _MINE:
            values[place] = SPEAKERS.index(instead)
    return values
