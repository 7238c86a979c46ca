from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.kernels.mix import INPUT_LIMIT, delay, delay_state, mix, peak, sanitise, saturate, scale


def noise(frames: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(frames).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(delay_samples=st.integers(0, 300), splits=st.lists(st.integers(0, 400), max_size=10), in_place=st.booleans())
def test_the_delay_is_exact_for_any_split(delay_samples: int, splits: list[int], in_place: bool) -> None:
    x = noise(1000)
    state, parts = delay_state(delay_samples), []
    for part in np.split(x, sorted({min(s, 1000) for s in np.cumsum(splits, dtype=int)})):
        y = part.copy() if in_place else np.empty_like(part)
        delay(state, y if in_place else part, y)
        parts.append(y)
    expected = np.concatenate([np.zeros(delay_samples, np.float32), x])[:1000]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_a_delay_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="-1"):
        delay_state(-1)


def test_sanitise_replaces_what_no_device_would_give() -> None:
    x = np.array([0.5, np.nan, np.inf, -np.inf, 5.0, -1e30, INPUT_LIMIT, -INPUT_LIMIT, 1e-42, 0.0], np.float32)
    y = np.empty_like(x)
    assert sanitise(x, y) == 5
    expected = [0.5, 0, 0, 0, INPUT_LIMIT, -INPUT_LIMIT, INPUT_LIMIT, -INPUT_LIMIT, np.float32(1e-42), 0]
    np.testing.assert_array_equal(y, np.array(expected, np.float32))


def test_sanitise_leaves_sound_as_it_is_and_works_in_place() -> None:
    x = noise(1000).clip(-3.9, 3.9)
    y = x.copy()
    assert sanitise(y, y) == 0
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("target", ["new", "a", "b"])
def test_mix_is_the_weighted_sum_also_into_its_arguments(target: str) -> None:
    a, gain_a, b, gain_b = (noise(500, seed) for seed in range(4))
    expected = a.astype(np.float64) * gain_a + b.astype(np.float64) * gain_b
    y = {"new": np.empty(500, np.float32), "a": a, "b": b}[target]
    mix(a, gain_a, b, gain_b, y)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


def test_scale_multiplies_in_place() -> None:
    y, gain = noise(500), noise(500, 1)
    expected = y * gain
    scale(y, gain)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("drive", [0.1, 1.0, 8.0])
def test_saturate_is_tanh_with_unit_slope_at_zero(drive: float) -> None:
    x = noise(500)
    y = np.empty_like(x)
    saturate(x, drive, y)
    np.testing.assert_allclose(y, np.tanh(drive * x.astype(np.float64)) / drive, rtol=1e-6, atol=1e-7)
    quiet = np.full(3, 1e-6, np.float32)
    saturate(quiet, drive, quiet)
    np.testing.assert_allclose(quiet, 1e-6, rtol=1e-5)


def test_peak_is_the_largest_magnitude() -> None:
    x = noise(500)
    assert peak(x) == np.abs(x).max()
    assert peak(x[:0]) == 0.0
    x[77] = -9.0
    assert peak(x) == 9.0
