"""The flight recorder: what the engine heard, said, was told and how it did, over the last minute, in shared memory.

    heard, said    float32 at the engine's rate, FRAMES each; counted in frames since the session began
    inputs         what the engine was told, at the frame from which it knows: parameters, a limit to its rung, which
                   of the user's own voices lies in the slot (its id, never the voice), what the watermark says
    blocks         one row of BLOCK_COLUMNS a step of the pump
    states         the engine's whole state (see `state`) when an engine begins and every STATE_EVERY_S

The engine alone writes; each ring overwrites its oldest and its counter moves last, so whatever the engine dies in is
whole up to the counter. Sound is written before the engine works on it: the block that an engine died in is there.
Readers copy and then throw away what may have been overwritten meanwhile. Nothing is waited for and no file touched.
As a state is never older than the ring minus STATE_EVERY_S, at least RECORDED_S can be played again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.atomics import load_acquire, store_release

from .engine import Engine
from .params import PARAMS
from .state import FreshState
from .voice import ENGINE_RATE_HZ, TICK_FRAMES

RECORDED_S = 60
STATE_EVERY_S = 12.0
FRAMES = 76 * ENGINE_RATE_HZ
MARGIN_FRAMES = 8192  # that the engine may be writing while somebody reads
INPUT_ROWS, BLOCK_ROWS = 8192, 65536
STATES, STATE_BYTES = 8, 3 << 20
PARAMS_SET, RUNG_LIMITED, OWN_CHOSEN, MARK_SET = range(4)  # kinds of input
# compiled into what is cached below, and Numba watches this file alone: change it with PARAMS
INPUT_COLUMNS = 4 + len(PARAMS)  # frame, kind, two words that the kind gives a meaning, parameters
BLOCK_COLUMNS = (
    "frame",  # heard when the step ended
    "begin_ns",  # by the engine's clock
    "took_ns",
    "in_flight_us",  # age of the sound between the devices
    "target_us",
    "xruns",  # so far
    "dropped_frames",  # so far
    "cuts",  # so far
    "rung",  # which voice speaks: index into ladder.RUNGS
)

HEARD, SAID, INPUTS_WRITTEN, BLOCKS_WRITTEN, STATES_WRITTEN = range(5)
_HEARD_AT = 16
_SAID_AT = _HEARD_AT + FRAMES // 2
_INPUTS_AT = _SAID_AT + FRAMES // 2
_BLOCKS_AT = _INPUTS_AT + INPUT_ROWS * INPUT_COLUMNS
_STATES_AT = _BLOCKS_AT + BLOCK_ROWS * len(BLOCK_COLUMNS)
_STATE_INT64 = 4 + STATE_BYTES // 8  # frame, bytes of the table, bytes of the arrays, unused
FLIGHT_INT64 = _STATES_AT + STATES * _STATE_INT64
FLIGHT_BYTES = FLIGHT_INT64 * 8


def has_room() -> bool:
    """Return whether shared memory has room for the recorder; where none can be told, it has."""
    try:
        return shutil.disk_usage("/dev/shm").free > FLIGHT_BYTES * 3 // 2
    except OSError:
        return True


@njit(cache=True, nogil=True)
def _write_frames(flight: NDArray[np.int64], counter: int, track_at: int, x: NDArray[np.float32]) -> None:
    track = flight[track_at : track_at + FRAMES // 2].view(np.float32)
    written = flight[counter]
    place = written % FRAMES
    for i in range(x.shape[0]):
        track[place] = x[i]
        place += 1
        if place == FRAMES:
            place = 0
    store_release(flight, counter, written + x.shape[0])


@njit(cache=True, nogil=True)
def flight_hear(flight: NDArray[np.int64], x: NDArray[np.float32]) -> None:
    """Append what the engine is about to hear (float32[n])."""
    _write_frames(flight, HEARD, _HEARD_AT, x)


@njit(cache=True, nogil=True)
def flight_say(flight: NDArray[np.int64], y: NDArray[np.float32]) -> None:
    """Append what the engine made of it (float32[n])."""
    _write_frames(flight, SAID, _SAID_AT, y)


@njit(cache=True, nogil=True)
def flight_params(flight: NDArray[np.int64], rev: int, sample: int, values: NDArray[np.float64]) -> None:
    """Append values (float64[len(PARAMS)]), which the engine has from the next frame on."""
    written = flight[INPUTS_WRITTEN]
    at = _INPUTS_AT + (written % INPUT_ROWS) * INPUT_COLUMNS
    row = flight[at : at + INPUT_COLUMNS]
    row[0], row[1], row[2], row[3] = flight[HEARD], PARAMS_SET, rev, sample
    numbers = row[4:].view(np.float64)
    for i in range(numbers.shape[0]):
        numbers[i] = values[i]
    store_release(flight, INPUTS_WRITTEN, written + 1)


@njit(cache=True, nogil=True)
def flight_input(flight: NDArray[np.int64], kind: int, one: int, two: int) -> None:
    """Append what the engine was told but parameters, which it knows from the next frame on.

    The two words are for RUNG_LIMITED the heard and the ready rung, for OWN_CHOSEN the halves of the id (0, 0: nobody
    any more), for MARK_SET the payload's number (-1: no mark) and 0.
    """
    written = flight[INPUTS_WRITTEN]
    at = _INPUTS_AT + (written % INPUT_ROWS) * INPUT_COLUMNS
    row = flight[at : at + INPUT_COLUMNS]
    row[:] = 0
    row[0], row[1], row[2], row[3] = flight[HEARD], kind, one, two
    store_release(flight, INPUTS_WRITTEN, written + 1)


@njit(cache=True, nogil=True)
def flight_block(flight: NDArray[np.int64], block: NDArray[np.int64]) -> None:
    """Append one step of the pump, int64[len(BLOCK_COLUMNS)]; its frame is filled in here."""
    written = flight[BLOCKS_WRITTEN]
    at = _BLOCKS_AT + (written % BLOCK_ROWS) * block.shape[0]
    block[0] = flight[HEARD]
    for i in range(block.shape[0]):
        flight[at + i] = block[i]
    store_release(flight, BLOCKS_WRITTEN, written + 1)


@njit(cache=True, nogil=True)
def _counter(flight: NDArray[np.int64], counter: int) -> int:
    return load_acquire(flight, counter)


@njit(cache=True, nogil=True)
def _set_counter(flight: NDArray[np.int64], counter: int, value: int) -> None:
    store_release(flight, counter, value)


class FlightStates:
    """Writes the states of one engine into the ring. Engine process only."""

    def __init__(self, flight: NDArray[np.int64], engine: Engine, made_as: Mapping[str, Any]) -> None:
        """Begin with engine as it is before its first sample; made_as says how `replay` can make another."""
        self._flight, self._engine, self.made_as = flight, engine, dict(made_as)
        unsaid = int(flight[HEARD] - flight[SAID])  # the engine before this one ended in the middle of these frames
        if unsaid:
            flight_say(flight, np.zeros(unsaid, np.float32))
        self._fresh = FreshState(engine)
        self._changed_at = -TICK_FRAMES
        self._took_s = 1.0
        self.take()

    def changed(self) -> None:
        """Say that the engine was told something: no state is whole until the engine has taken them over at a tick."""
        self._changed_at = self._engine.sample

    def take_if_due(self, idle_s: float) -> None:
        """Take a state if it is time to, and if that takes less than idle_s, as far as is known."""
        settled = self._engine.sample - self._changed_at >= TICK_FRAMES and not self._engine.gliding
        if settled and idle_s > self._took_s and time.perf_counter() >= self._due_s:
            self.take()

    def take(self) -> None:
        """Write the engine's state now; one that is too large for its place is left out."""
        flight, begin_s = self._flight, time.perf_counter()
        table, arrays = self._fresh.take(self.made_as)
        size = sum(array.nbytes for array in arrays)
        if len(table) + size <= STATE_BYTES:
            written = int(flight[STATES_WRITTEN])
            at = _STATES_AT + (written % STATES) * _STATE_INT64
            flight[at], flight[at + 1], flight[at + 2] = flight[HEARD], len(table), size
            room = flight[at + 4 : at + _STATE_INT64].view(np.uint8)
            room[: len(table)] = np.frombuffer(table, np.uint8)
            start = len(table)
            for array in arrays:
                room[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
                start += array.nbytes
            _set_counter(flight, STATES_WRITTEN, written + 1)
        self._due_s = begin_s + STATE_EVERY_S
        self._took_s = min(self._took_s, time.perf_counter() - begin_s)  # the rest is the machine's, not ours


@dataclass(frozen=True)
class RecordedState:
    """An engine's state before it heard `frame`; see `state.restore`."""

    frame: int
    table: dict[str, Any]
    data: bytes


@dataclass(frozen=True)
class Flight:
    """What a flight recorder held: see the module. y is shorter than x if the engine died in a block."""

    begin: int  # frame of x[0] and y[0]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    inputs: NDArray[np.int64]  # [n, INPUT_COLUMNS]; the values are float64 by their bits
    blocks: NDArray[np.int64]  # [n, len(BLOCK_COLUMNS)]
    states: tuple[RecordedState, ...]


def read_flight(flight: NDArray[np.int64]) -> Flight:
    """Copy what the recorder holds, whether an engine writes to it or not."""
    heard, said, inputs, blocks, states = (_counter(flight, counter) for counter in range(STATES_WRITTEN + 1))
    # what may be overwritten while it is copied is left out, and what was all the same is thrown away
    begin = max(0, heard + MARGIN_FRAMES - FRAMES)
    x, y = (_unrolled(track, begin, end) for track, end in zip(_tracks(flight), (heard, said), strict=True))
    input_rows = _unrolled(_rows(flight, _INPUTS_AT, INPUT_ROWS), inputs + 16 - INPUT_ROWS, inputs)
    block_rows = _unrolled(_rows(flight, _BLOCKS_AT, BLOCK_ROWS), blocks + 256 - BLOCK_ROWS, blocks)
    first_state = max(0, states + 1 - STATES)
    found = [_read_state(flight, number) for number in range(first_state, states)]
    gone = max(0, _counter(flight, HEARD) + MARGIN_FRAMES // 2 - FRAMES - begin)
    found = found[max(0, _counter(flight, STATES_WRITTEN) + 1 - STATES - first_state) :]
    return Flight(
        begin + gone,
        x[gone:],
        y[gone:],
        input_rows,
        block_rows,
        tuple(RecordedState(frame, json.loads(table), data) for frame, table, data in found if frame >= begin + gone),
    )


def latest_sound(flight: NDArray[np.int64], frames: int) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """Return the newest frames (at most so many, FRAMES - MARGIN_FRAMES at most) that were said, and the last's end.

    Both are float32[n]: heard and said.
    """
    end = _counter(flight, SAID)
    begin = max(0, end - min(frames, FRAMES - MARGIN_FRAMES))
    x, y = (_unrolled(track, begin, end) for track in _tracks(flight))
    return int(end), x, y


def latest_blocks(flight: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return the newest rows of blocks, at most half of BLOCK_ROWS: int64[n, len(BLOCK_COLUMNS)]."""
    end = _counter(flight, BLOCKS_WRITTEN)
    return _unrolled(_rows(flight, _BLOCKS_AT, BLOCK_ROWS), end - min(rows, BLOCK_ROWS // 2), end)


def _tracks(flight: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Return what was heard and said as views, float32[FRAMES]."""
    return [flight[at : at + FRAMES // 2].view(np.float32) for at in (_HEARD_AT, _SAID_AT)]


def _rows(flight: NDArray[np.int64], at: int, rows: int) -> NDArray[np.int64]:
    """Return a table as a view, int64[rows, columns]."""
    columns = INPUT_COLUMNS if at == _INPUTS_AT else len(BLOCK_COLUMNS)
    return flight[at : at + rows * columns].reshape(rows, columns)


def _read_state(flight: NDArray[np.int64], number: int) -> tuple[int, bytes, bytes]:
    at = _STATES_AT + (number % STATES) * _STATE_INT64
    frame, table, size = (int(word) for word in flight[at : at + 3])
    data = flight[at + 4 : at + _STATE_INT64].view(np.uint8)[: table + size].tobytes()
    return frame, data[:table], data[table:]


def _unrolled(ring: NDArray[Any], begin: int, end: int) -> NDArray[Any]:
    """Return a copy of entries begin to end of a ring, oldest first; a begin below 0 counts as 0."""
    begin = max(0, begin)
    first, n = begin % len(ring), end - begin
    return np.concatenate([ring[first : first + n], ring[: max(0, first + n - len(ring))]])
