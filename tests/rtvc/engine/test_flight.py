"""The flight recorder keeps the newest of everything, whole, whatever the engine dies in and however long it runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtvc.engine import flight as module
from rtvc.engine.engine import Engine
from rtvc.engine.flight import (
    BLOCK_COLUMNS,
    FLIGHT_INT64,
    FRAMES,
    INPUT_ROWS,
    MARGIN_FRAMES,
    RECORDED_S,
    STATE_EVERY_S,
    STATES,
    FlightStates,
    flight_block,
    flight_hear,
    flight_params,
    flight_say,
    latest_blocks,
    latest_sound,
    read_flight,
)
from rtvc.engine.params import default_values
from rtvc.engine.voice import ENGINE_RATE_HZ, TICK_FRAMES

MADE_AS = {"values": default_values().tolist(), "neural": False, "point": "clear"}


def ramp(start: int, n: int) -> np.ndarray:
    return (np.arange(start, start + n) % 10_000_019).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=30))
def test_what_was_heard_and_said_comes_back_in_order(blocks: list[int]) -> None:
    flight = np.zeros(FLIGHT_INT64, np.int64)
    for start, n in zip(np.cumsum([0, *blocks]), blocks, strict=False):
        flight_hear(flight, ramp(start, n))
        flight_say(flight, -ramp(start, n))
    found = read_flight(flight)
    assert found.begin == 0 and np.array_equal(found.x, ramp(0, sum(blocks))) and np.array_equal(found.y, -found.x)
    end, x, y = latest_sound(flight, 3000)
    assert end == sum(blocks) and np.array_equal(x, found.x[-3000:]) and np.array_equal(y, found.y[-3000:])


def test_the_oldest_is_overwritten_and_a_minute_always_stays() -> None:
    assert FRAMES - MARGIN_FRAMES > (RECORDED_S + STATE_EVERY_S) * ENGINE_RATE_HZ
    assert (STATES - 2) * STATE_EVERY_S >= RECORDED_S
    flight = np.zeros(FLIGHT_INT64, np.int64)
    block = 40_000
    for start in range(0, 2 * FRAMES + 123_456, block):
        flight_hear(flight, ramp(start, block))
        flight_say(flight, ramp(start, block))
    found = read_flight(flight)
    end = found.begin + len(found.x)
    assert len(found.x) == FRAMES - MARGIN_FRAMES
    assert np.array_equal(found.x, ramp(found.begin, len(found.x))) and np.array_equal(found.y, found.x)
    assert end == flight[module.HEARD]


def test_the_block_that_an_engine_died_in_is_there_and_the_next_engine_closes_the_gap() -> None:
    flight = np.zeros(FLIGHT_INT64, np.int64)
    flight_hear(flight, ramp(0, 100))
    flight_say(flight, ramp(0, 100))
    flight_hear(flight, ramp(100, 50))
    died = read_flight(flight)
    assert len(died.x) == 150 and len(died.y) == 100
    FlightStates(flight, Engine(), MADE_AS)
    flight_hear(flight, ramp(150, 10))
    flight_say(flight, ramp(150, 10))
    found = read_flight(flight)
    assert np.array_equal(found.y[100:], [*np.zeros(50), *ramp(150, 10)])
    assert [(state.frame, state.table["sample"]) for state in found.states] == [(150, 0)]


def test_parameters_and_blocks_are_kept_with_the_frame_at_which_they_were() -> None:
    flight = np.zeros(FLIGHT_INT64, np.int64)
    values = default_values()
    for i in range(INPUT_ROWS + 10):
        values[0] = i
        flight_params(flight, i, 7 * i, values)
        flight_hear(flight, ramp(i, 1))
        flight_block(flight, np.arange(len(BLOCK_COLUMNS)) + i)
    found = read_flight(flight)
    assert found.inputs[-1, :4].tolist() == [INPUT_ROWS + 9, 0, INPUT_ROWS + 9, 7 * (INPUT_ROWS + 9)]
    assert len(found.inputs) == INPUT_ROWS - 16 and (np.diff(found.inputs[:, 0]) == 1).all()
    assert np.array_equal(found.inputs[-1, 4:].copy().view(np.float64), values)
    assert found.blocks[-1, 0] == INPUT_ROWS + 10 and found.blocks[-1, 1] == 1 + INPUT_ROWS + 9
    assert np.array_equal(latest_blocks(flight, 5), found.blocks[-5:])


def test_a_state_waits_for_idle_time_and_for_parameters_to_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = np.zeros(FLIGHT_INT64, np.int64)
    engine = Engine()
    states = FlightStates(flight, engine, MADE_AS)
    monkeypatch.setattr(states, "_due_s", 0.0)
    monkeypatch.setattr(states, "_took_s", 0.001)
    states.changed()
    states.take_if_due(1.0)
    assert len(read_flight(flight).states) == 1
    engine.process(np.zeros(TICK_FRAMES, np.float32), np.zeros(TICK_FRAMES, np.float32))
    states.take_if_due(0.0005)
    assert len(read_flight(flight).states) == 1
    states.take_if_due(0.002)
    assert len(read_flight(flight).states) == 2
    states.take_if_due(1.0)
    assert len(read_flight(flight).states) == 2, "the next is not due yet"


def test_a_state_that_is_too_large_for_its_place_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATE_BYTES", 100)
    flight = np.zeros(FLIGHT_INT64, np.int64)
    FlightStates(flight, Engine(), MADE_AS)
    assert read_flight(flight).states == ()
