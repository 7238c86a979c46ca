"""A recorded flight runs again bit for bit: over changes, stalls, crashes, and once the record's beginning is gone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rtvc.engine.engine import Engine
from rtvc.engine.flight import (
    FLIGHT_INT64,
    RECORDED_S,
    STATE_EVERY_S,
    Flight,
    FlightStates,
    RecordedState,
    flight_hear,
    flight_params,
    flight_say,
    read_flight,
)
from rtvc.engine.ladder import DSP, INT8, SILENCE
from rtvc.engine.params import Value, to_vector
from rtvc.engine.replay import replay
from rtvc.engine.state import FreshState, StateError, restore
from tests.rtvc.engine.recorded import Session, speech

CHANGES: tuple[dict[str, Value], ...] = (
    {"pitch.semitones": 4, "formant.ratio": 1.2, "breath.amount": 0.4},
    {"voice.name": "own", "level.match": False},
    {"pitch.mode": "robot", "telephone.amount": 1, "gate.threshold_db": -30},
    {"whisper.amount": 0.7, "tone.brightness_db": 6, "level.mute": True},
    {"pitch.mode": "target", "pitch.target_hz": 220, "pitch.intonation": 1.5},
)


def recorded(sound: dict[str, Value]) -> Flight:
    session = Session(12.0, stalls_s=((2.0, 0.12), (4.0, 0.5)))
    session.begin(sound)
    for change in CHANGES:
        session.run(1.0)
        session.set(sound | change)
    session.run(0.7)
    return read_flight(session.flight)


@pytest.fixture(scope="module")
def flight() -> Flight:
    return recorded({})


@pytest.mark.parametrize("first", range(6))
def test_the_dsp_voice_is_the_same_bit_for_bit_from_any_state_on(flight: Flight, first: int) -> None:
    kept = replace(flight, states=flight.states[first:])
    again = replay(kept)
    assert again.begin == kept.states[0].frame and (again.begin > 0) == (first > 0)
    assert again.compared == flight.begin + len(flight.y) - again.begin > 20_000
    assert np.abs(again.y).max() > 0.01
    assert (again.differ_at, again.differ, again.largest) == (None, 0, 0.0)


@pytest.fixture(scope="module")
def neural_flight() -> Flight:
    session = Session(9.0)
    neural: dict[str, Value] = {"voice.name": "neural", "voice.timbre": "emma"}
    session.begin(neural)
    session.run(1.5)
    session.set(neural | {"voice.second": "puck", "voice.blend": 0.4, "pitch.semitones": 3})
    session.run(1.5)
    session.set({"voice.name": "dsp"})
    session.run(1.0)
    session.set({"voice.name": "neural", "voice.timbre": "fenrir"})
    session.run(1.5)
    return read_flight(session.flight)


@pytest.mark.parametrize("first", [0, 3])
def test_the_neural_voice_is_the_same_bit_for_bit(neural_flight: Flight, first: int) -> None:
    again = replay(replace(neural_flight, states=neural_flight.states[first:]))
    assert again.compared > 48_000 and again.differ_at is None


@pytest.mark.parametrize("first", range(6))
def test_rungs_that_the_ladder_chose_are_replayed(ladder_flight: Flight, first: int) -> None:
    again = replay(replace(ladder_flight, states=ladder_flight.states[first:]))
    assert again.compared > 20_000 and again.differ_at is None


@pytest.fixture(scope="module")
def ladder_flight() -> Flight:
    session = Session(7.0)
    neural: dict[str, Value] = {"voice.name": "neural", "voice.timbre": "heart"}
    session.begin(neural)
    session.run(1.0)
    for heard, ready in ((DSP, DSP), (DSP, INT8), (INT8, INT8), (SILENCE, SILENCE)):
        session.limit(heard, ready)
        session.run(1.0)
    session.limit(INT8, INT8)
    session.set(neural | {"voice.timbre": "emma"})
    session.run(1.0)
    return read_flight(session.flight)


def test_when_the_session_is_older_than_the_record_a_minute_is_still_the_same_bit_for_bit() -> None:
    flight = np.zeros(FLIGHT_INT64, np.int64)
    engine = Engine()
    states = FlightStates(flight, engine, {"values": to_vector({}).tolist(), "neural": False})
    x, taken = speech(95.0, "male"), 0.0
    for number, start in enumerate(range(0, len(x), 4801)):
        block = x[start : start + 4801]
        y = np.zeros_like(block)
        flight_hear(flight, block)
        engine.process(block, y)
        flight_say(flight, y)
        if start / 48_000 > taken + STATE_EVERY_S:
            states.take()
            taken = start / 48_000
        if number % 50 == 49:
            values = to_vector({"pitch.semitones": number % 7, "breath.amount": 0.1 * (number % 10)})
            engine.set(values)
            flight_params(flight, number, engine.sample, values)
    found = read_flight(flight)
    again = replay(found)
    assert found.begin > 0 and again.begin > found.begin
    assert again.compared >= RECORDED_S * 48_000 and again.differ_at is None


def test_a_flight_over_a_crash_is_replayed_through_both_engines() -> None:
    session = Session(8.0)
    session.begin({"pitch.semitones": 5})
    session.run(1.5)
    session.begin({"pitch.semitones": -5})
    session.run(1.5)
    flight = read_flight(session.flight)
    assert [state.table["sample"] == 0 for state in flight.states] == [True, False, True, False]
    again = replay(flight)
    assert again.compared == len(flight.y) and again.differ_at is None


def test_the_block_that_an_engine_died_in_is_run_too(flight: Flight) -> None:
    died = replace(flight, y=flight.y[:-500])
    again = replay(died)
    assert len(again.y) == len(flight.x) and again.compared == len(flight.y) - 500
    assert np.array_equal(again.y, flight.y)


def test_what_differs_is_told_with_the_frame_from_which_on(flight: Flight) -> None:
    y = flight.y.copy()
    y[100_000] += 0.25
    y[100_500] = -y[100_500] + 0.5
    again = replay(replace(flight, y=y))
    assert (again.differ_at, again.differ) == (100_000, 2) and again.largest >= 0.24


def test_a_record_without_a_state_or_with_a_foreign_one_is_refused(flight: Flight) -> None:
    with pytest.raises(StateError, match="holds no state"):
        replay(replace(flight, states=()))
    state = flight.states[2]
    broken = (
        RecordedState(state.frame, state.table, state.data[:-100]),
        RecordedState(state.frame, state.table | {"values": {"_other": 1}}, state.data),
        RecordedState(state.frame, state.table | {"arrays": [["_other", "<f4", [1]]]}, state.data),
        RecordedState(state.frame, state.table | {"arrays": [["_gate.0", "<f4", [3]]]}, state.data),
        RecordedState(state.frame, state.table | {"arrays": [["_gate.0", "O", [3]]]}, state.data),
        RecordedState(state.frame, state.table | {"made_as": {"values": [1.0], "neural": False}}, state.data),
        RecordedState(state.frame, {}, b""),
    )
    for state in broken:
        with pytest.raises(StateError):
            replay(replace(flight, states=(state,)))


def test_a_state_holds_types_as_they_were() -> None:
    engine = Engine(values=to_vector({"pitch.semitones": 2}))
    fresh = FreshState(engine)
    x = speech(1.0)
    engine.process(x, np.zeros_like(x))
    engine._voice.wanted_hz = np.float32(0.1)  # type: ignore[assignment]
    table, arrays = fresh.take({})
    data = b"".join(array.tobytes() for array in arrays)
    other = Engine(values=to_vector({"pitch.semitones": 2}))
    restore(other, json.loads(table), data)
    assert type(other._voice.wanted_hz) is np.float32 and other._voice.wanted_hz == np.float32(0.1)
    assert other.sample == engine.sample == 48_000
