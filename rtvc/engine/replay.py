"""Replay: a recorded flight through fresh engines, compared with what was said then, bit for bit.

It begins at the oldest state in the record and puts that into a fresh engine, hears what was heard and sets parameters
at the frames at which they were set. Where an engine began anew, so does the replay. On the same kind of processor
with the same versions every bit is the same, unless the networks ran on another provider than the CPU or failed. What
differs is told: from which frame on, how often and by how much.

A record names the user's own voices by their ids alone; who replays it has them, or there is nothing to replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.provenance.payload import payload_of, signs_of

from .build import build_engine
from .engine import Engine
from .flight import MARK_SET, OWN_CHOSEN, PARAMS_SET, RUNG_LIMITED, Flight, RecordedState
from .own_voice import id_of
from .params import PARAMS
from .state import StateError, restore
from .suppressor import installed_suppressor, suppression_missing
from .timbres import Timbre

BLOCK_FRAMES = 4800


@dataclass(frozen=True)
class Replayed:
    """What a replay gave: y (float32[n]) from frame `begin` on, and how it compares with the record."""

    begin: int
    y: NDArray[np.float32]
    compared: int  # frames
    differ_at: int | None  # first frame that is not the same, bit for bit
    differ: int  # frames that are not
    largest: float  # difference


def own_voices(flight: Flight) -> set[str]:
    """Return the ids of the user's own voices that a replay needs."""
    chosen = {id_of(int(row[2]), int(row[3])) for row in flight.inputs if row[1] == OWN_CHOSEN}
    made_as = [state.table.get("made_as") for state in flight.states]
    held = {str(made.get("own") or "") for made in made_as if isinstance(made, dict)}
    return (chosen | held) - {""}


def replay(
    flight: Flight,
    progress: Callable[[float], None] = lambda fraction: None,
    own: Mapping[str, Timbre] = MappingProxyType({}),
) -> Replayed:
    """Run the flight again; own holds the voices that `own_voices` names.

    Raises StateError if it holds no state or one that does not fit, and NetworkError.
    """
    if missing := own_voices(flight) - own.keys():
        raise StateError(f"the record speaks as a voice of your own that is not there: {', '.join(sorted(missing))}")
    if not flight.states:
        raise StateError("the record holds no state of the engine to begin from")
    first, end = flight.states[0], flight.begin + len(flight.x)
    y = np.zeros(end - first.frame, np.float32)
    begun = [first, *(state for state in flight.states[1:] if state.table["sample"] == 0)]
    for state, until in zip(begun, [*(state.frame for state in begun[1:]), end], strict=True):
        engine = _engine(state, own)
        for at, n in _blocks(flight, engine, state.frame, until, own):
            engine.process(flight.x[at - flight.begin :][:n], y[at - first.frame :][:n])
            progress((at + n - first.frame) / len(y))
    return _compared(flight, first.frame, y)


def _blocks(
    flight: Flight, engine: Engine, begin: int, end: int, own: Mapping[str, Timbre]
) -> Iterator[tuple[int, int]]:
    """Yield blocks (first frame, frames) from begin to end; between them tell the engine what it was told then."""
    changes = [row for row in flight.inputs if begin <= row[0] < end]
    for row, until in zip([None, *changes], [*(int(row[0]) for row in changes), end], strict=True):
        if row is not None:
            kind, one, two = (int(word) for word in row[1:4])
            if kind == PARAMS_SET:
                engine.set(row[4:].copy().view(np.float64))
            elif kind == RUNG_LIMITED:
                engine.limit(one, two)
            elif kind == OWN_CHOSEN:
                engine.set_own(own.get(id_of(one, two)))
            elif kind == MARK_SET:
                engine.set_mark(None if one < 0 else signs_of(payload_of(one)))
            begin = int(row[0])
        for at in range(begin, until, BLOCK_FRAMES):
            yield at, min(BLOCK_FRAMES, until - at)


def _engine(state: RecordedState, own: Mapping[str, Timbre]) -> Engine:
    """Return an engine that is where the recorded one was."""
    try:
        made_as = state.table["made_as"]
        values = np.array(made_as["values"], np.float64)
        if values.shape != (len(PARAMS),):
            raise StateError(f"frame {state.frame}: the engine had {len(values)} parameters, here it has {len(PARAMS)}")
        engine = _made(values, made_as)
        if made_as.get("own") is not None:
            engine.set_own(own.get(made_as["own"]))
        if made_as.get("mark") is not None:
            engine.set_mark(signs_of(payload_of(made_as["mark"])))
        restore(engine, state.table, state.data)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"frame {state.frame}: the engine's state is damaged: {error}") from error
    return engine


def _made(values: NDArray[np.float64], made_as: Mapping[str, Any]) -> Engine:
    """Return a fresh engine of the recorded one's make."""
    suppress = made_as.get("suppressor", False)
    if suppress and (why := suppression_missing()):
        raise StateError(f"the recorded engine could suppress noise, and this one cannot: {why}")
    if made_as["neural"]:
        return build_engine(values=values, point=made_as["point"], suppress=suppress)
    return Engine(values=values, suppressor=installed_suppressor() if suppress else None)


def _compared(flight: Flight, begin: int, y: NDArray[np.float32]) -> Replayed:
    then = flight.y[begin - flight.begin :]
    now = y[: len(then)]
    wrong = np.flatnonzero(then.view(np.int32) != now.view(np.int32))
    largest = float(np.abs(then - now).max()) if len(wrong) else 0.0
    return Replayed(begin, y, len(then), begin + int(wrong[0]) if len(wrong) else None, len(wrong), largest)
