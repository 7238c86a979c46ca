"""The registry: what values are taken, how they read, and that no change of them clicks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt

from rtvc.engine.engine import Engine
from rtvc.engine.params import INDEX, PARAMS, Param, Value, default_values, find, from_vector, to_vector

RATE_HZ = 48000
NUMBERS = [param for param in PARAMS.values() if not param.choices and not param.switch]
SWITCHES = [param for param in PARAMS.values() if param.switch]
CHOICES = [param for param in PARAMS.values() if param.choices]


@pytest.mark.parametrize("param", PARAMS.values(), ids=list(PARAMS))
def test_every_parameter_is_declared_in_full(param: Param) -> None:
    assert param.minimum <= param.default <= param.maximum
    assert param.minimum < param.maximum
    assert param.ramp_ms > 0
    assert param.label and param.doc
    assert param.id == param.id.lower() and param.id.count(".") == 1
    if param.choices:
        assert param.maximum == len(param.choices) - 1
        assert not param.switch


def test_the_vector_is_in_registry_order() -> None:
    assert list(INDEX) == list(PARAMS)
    assert list(INDEX.values()) == list(range(len(PARAMS)))
    assert default_values().tolist() == [param.default for param in PARAMS.values()]
    assert default_values().dtype == np.float64


def value_of(param: Param) -> st.SearchStrategy[Value]:
    if param.choices:
        return st.sampled_from(param.choices)
    return st.booleans() if param.switch else st.floats(param.minimum, param.maximum)


@settings(max_examples=50, deadline=None)
@given(values=st.fixed_dictionaries({}, optional={param.id: value_of(param) for param in PARAMS.values()}))
def test_values_go_into_a_vector_and_come_back_as_they_were(values: dict[str, Value]) -> None:
    back = {param.id: value for param, value in from_vector(to_vector(values))}
    defaults = {param.id: value for param, value in from_vector(default_values())}
    assert back == defaults | values


def test_a_vector_is_made_from_a_base_that_stays_as_it_is() -> None:
    base = to_vector({"pitch.semitones": 5, "level.mute": True})
    before = base.copy()
    vector = to_vector({"pitch.semitones": -5}, base)
    np.testing.assert_array_equal(base, before)
    assert vector[INDEX["pitch.semitones"]] == -5
    assert vector[INDEX["level.mute"]] == 1


@pytest.mark.parametrize("param", NUMBERS, ids=[param.id for param in NUMBERS])
def test_numbers_are_taken_as_text_too_and_only_within_their_range(param: Param) -> None:
    assert param.to_number(str(param.maximum)) == param.maximum
    assert param.to_number(param.minimum) == param.minimum
    wrong: list[Any] = [param.minimum - 0.01, param.maximum + 0.01, math.nan, math.inf, "loud", "", None, [1]]
    for value in wrong:
        with pytest.raises(ValueError, match=param.id):
            param.to_number(value)


@pytest.mark.parametrize("param", SWITCHES, ids=[param.id for param in SWITCHES])
def test_switches_are_taken_as_people_write_them(param: Param) -> None:
    for value in (True, 1, 1.0, "on", "ON", "true", "1"):
        assert param.to_number(value) == 1.0
    for value in (False, 0, 0.0, "off", "False", "0"):
        assert param.to_number(value) == 0.0
    wrong: list[Any] = [2, 0.5, "maybe", "", None]
    for value in wrong:
        with pytest.raises(ValueError, match=f"{param.id}.*on or off"):
            param.to_number(value)
    assert param.from_number(1.0) is True


@pytest.mark.parametrize("param", CHOICES, ids=[param.id for param in CHOICES])
def test_choices_are_taken_by_name_and_an_error_lists_them(param: Param) -> None:
    for i, choice in enumerate(param.choices):
        assert param.to_number(choice) == i
        assert param.from_number(float(i)) == choice
    wrong: list[Any] = ["nobody", 0, True, None]
    for value in wrong:
        with pytest.raises(ValueError, match=f"{param.id}.*{param.choices[-1]}"):
            param.to_number(value)


def test_an_unknown_id_is_told_with_the_nearest_that_exist() -> None:
    assert find("pitch.semitones") is PARAMS["pitch.semitones"]
    with pytest.raises(KeyError, match=r"pitch\.semitone.*did you mean pitch\.semitones"):
        find("pitch.semitone")
    with pytest.raises(KeyError, match=r"xyzzy.*level\.mute"):
        to_vector({"xyzzy": 1})


def some_values(params: list[Param]) -> st.SearchStrategy[dict[str, Value]]:
    return st.fixed_dictionaries({}, optional={param.id: value_of(param) for param in params})


def sounding(
    changes: list[tuple[int, dict[str, Value]]], level: float, base: dict[str, Value]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Run a sine through an engine while parameters change at odd moments; return input and output."""
    frames = 400 * (len(changes) + 1) + sum(wait for wait, _ in changes)
    x = (level * np.sin(2 * np.pi * 200 / RATE_HZ * np.arange(frames + 24_000))).astype(np.float32)
    y = np.zeros_like(x)
    values = to_vector(base)
    engine = Engine(RATE_HZ, values)
    start = 0
    for wait, change in [(24_000, {}), *changes, (400, {})]:
        end = min(start + wait, len(x))
        engine.process(x[start:end], y[start:end])
        start = end
        values = to_vector(change, values)
        engine.set(values)
    engine.process(x[start:], y[start:])
    return x, y


# all that acts on the level; what the gate does is its own affair
LEVELS = [PARAMS[name] for name in ("voice.name", "level.gain_db", "level.mute")]


@settings(max_examples=25, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(1, 3000), some_values(LEVELS)), min_size=1, max_size=20))
def test_level_changes_at_any_moments_keep_every_step_within_the_declared_ramps(
    changes: list[tuple[int, dict[str, Value]]],
) -> None:
    changes = [(wait, {k: v for k, v in change.items() if v != "dsp"}) for wait, change in changes]
    level, loudest = 0.03, 10 ** (PARAMS["level.gain_db"].maximum / 20)
    base: dict[str, Value] = {"voice.name": "own", "level.match": False, "gate.threshold_db": -90}
    _, y = sounding(changes, level, base)
    natural = 2 * np.pi * 200 / RATE_HZ
    ramps = sum(1 / (param.ramp_ms * RATE_HZ / 1000) for param in LEVELS)
    assert np.abs(np.diff(y)).max() <= level * loudest * (natural + ramps)


COLOURS = [
    param
    for param in PARAMS.values()
    if param.id.startswith(("pitch", "formant", "tone", "telephone", "level", "gate")) and param.id != "level.match"
]


@settings(max_examples=10, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(1, 4000), some_values(COLOURS)), min_size=1, max_size=15))
def test_changes_of_anything_at_any_moments_do_not_click(changes: list[tuple[int, dict[str, Value]]]) -> None:
    # a sine has nothing above 6 kHz, so what is there comes from a discontinuity; the loudest may be +24 dB
    base: dict[str, Value] = {"level.match": False, "gate.threshold_db": -90}
    _, y = sounding(changes, 0.02, base)
    high = sosfilt(butter(4, 6000, "high", fs=RATE_HZ, output="sos"), y.astype(np.float64))
    assert np.abs(high[24_000:]).max() < 0.02 * 10 ** (24 / 20) * 10 ** (-30 / 20)
