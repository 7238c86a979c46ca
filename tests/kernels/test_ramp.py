from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from rtvc.kernels.ramp import RampState, ramp_fill, ramp_set, ramp_state


def fill(state: RampState, frames: int) -> NDArray[np.float32]:
    out = np.empty(frames, np.float32)
    ramp_fill(state, out)
    return out


@settings(max_examples=40, deadline=None)
@given(
    exponential=st.booleans(),
    splits=st.lists(st.integers(0, 300), max_size=10),
    start=st.floats(-100, 100),
    targets=st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 700)), min_size=1, max_size=3),
)
def test_any_block_size_gives_the_same_curve(
    exponential: bool, splits: list[int], start: float, targets: list[tuple[float, int]]
) -> None:
    whole, split = ramp_state(start, exponential), ramp_state(start, exponential)
    edges = [0, *sorted(min(s, 500) for s in np.cumsum(splits, dtype=int)), 500]
    for target, samples in targets:
        ramp_set(whole, target, samples)
        ramp_set(split, target, samples)
        got = np.concatenate([fill(split, b - a) for a, b in pairwise(edges)])
        np.testing.assert_array_equal(got, fill(whole, 500))


def test_a_linear_ramp_is_a_straight_line() -> None:
    state = ramp_state(-2.0)
    ramp_set(state, 6.0, 480)
    np.testing.assert_allclose(fill(state, 480), np.linspace(-2.0, 6.0, 481)[1:], rtol=0, atol=1e-6)


def test_an_exponential_ramp_is_a_one_pole_curve_within_a_thousandth() -> None:
    state = ramp_state(1.0, exponential=True)
    ramp_set(state, 5.0, 480)
    one_pole = 5.0 - 4.0 * 1e-3 ** (np.arange(1, 481) / 480)
    np.testing.assert_allclose(fill(state, 480), one_pole, rtol=0, atol=4.1e-3)


@settings(max_examples=60, deadline=None)
@given(
    exponential=st.booleans(),
    start=st.floats(-1e3, 1e3),
    target=st.floats(-1e3, 1e3),
    samples=st.integers(1, 2000),
)
def test_a_ramp_lands_exactly_in_time_with_bounded_steps(
    exponential: bool, start: float, target: float, samples: int
) -> None:
    state = ramp_state(start, exponential)
    ramp_set(state, target, samples)
    curve = fill(state, samples + 5)
    np.testing.assert_array_equal(curve[samples - 1 :], np.float32(target))
    steps = np.abs(np.diff(np.concatenate([[np.float32(start)], curve]).astype(np.float64)))
    change = abs(target - start)
    bound = min(change, (7.0 if exponential else 1.0) * change / samples)
    rounding = np.spacing(np.float32(max(abs(start), abs(target))))
    assert steps.max() <= bound + rounding


@pytest.mark.parametrize("exponential", [False, True])
def test_a_new_target_starts_from_the_present_value(exponential: bool) -> None:
    state = ramp_state(0.0, exponential)
    ramp_set(state, 1.0, 1000)
    last = fill(state, 300)[-1]
    ramp_set(state, -1.0, 1000)
    curve = fill(state, 1000)
    assert abs(curve[0] - last) <= 7.0 * 2.0 / 1000
    assert curve[-1] == -1.0


def test_no_samples_means_a_jump_and_no_target_means_rest() -> None:
    state = ramp_state(0.25)
    np.testing.assert_array_equal(fill(state, 10), np.float32(0.25))
    ramp_set(state, 0.75, 0)
    np.testing.assert_array_equal(fill(state, 10), np.float32(0.75))


@pytest.mark.parametrize("exponential", [False, True])
def test_a_ramped_gain_does_not_click(exponential: bool) -> None:
    rate_hz = 48000
    tone = np.sin(2 * np.pi * 200 / rate_hz * np.arange(9600))
    state = ramp_state(0.0, exponential)
    gain = np.zeros(9600)
    ramp_set(state, 1.0, 960)
    gain[4860:] = fill(state, 4740)
    above = butter(8, 8000, "high", fs=rate_hz, output="sos")
    click = np.abs(sosfilt(above, tone * (np.arange(9600) >= 4860)))[1000:].max()
    ramped = np.abs(sosfilt(above, tone * gain))[1000:].max()
    assert ramped < 0.01 * click
