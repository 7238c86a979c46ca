from __future__ import annotations

from math import pi, sqrt, tan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import bilinear, butter, sosfilt

from rtvc.kernels.biquad import (
    BiquadState,
    band_pass,
    biquad,
    biquad_set,
    biquad_state,
    high_pass,
    high_shelf,
    high_shelf_into,
    low_pass,
    low_shelf,
    low_shelf_into,
    peaking,
)

RATE_HZ = 48000.0
CASCADE = np.array(
    [
        high_pass(RATE_HZ, 60.0),
        low_shelf(RATE_HZ, 200.0, -6.0),
        peaking(RATE_HZ, 2500.0, 9.0, 2.0),
        high_shelf(RATE_HZ, 6000.0, 4.0),
    ]
)


def feed(state: BiquadState, x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    biquad(state, x, y)
    return y


def as_sos(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.insert(np.atleast_2d(coefficients), 3, 1.0, axis=1)


def noise(frames: int) -> NDArray[np.float32]:
    return np.asarray(np.random.default_rng(1).uniform(-1, 1, frames), np.float32)


@settings(max_examples=30, deadline=None)
@given(splits=st.lists(st.integers(0, 400), max_size=12))
def test_any_block_size_gives_the_same_samples_gliding_or_not(splits: list[int]) -> None:
    x = noise(2000)
    whole, split = biquad_state(CASCADE, 300), biquad_state(CASCADE, 300)
    expected, got = [], []
    for gain_db, half in ((3.0, x[:1000]), (-9.0, x[1000:])):
        for state in (whole, split):
            biquad_set(state, 1, low_shelf(RATE_HZ, 300.0, gain_db))
        expected.append(feed(whole, half))
        got += [feed(split, p) for p in np.split(half, sorted({min(s, 1000) for s in np.cumsum(splits, dtype=int)}))]
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(expected))


def test_agrees_with_sosfilt_within_1e_6() -> None:
    x = noise(20000)
    expected = sosfilt(as_sos(CASCADE), x.astype(np.float64))
    error = np.abs(feed(biquad_state(CASCADE), x) - expected).max()
    assert error < 1e-6 * np.abs(expected).max()


def test_low_and_high_pass_are_butterworth() -> None:
    for design, kind in ((low_pass, "low"), (high_pass, "high")):
        expected = butter(2, 1500.0, kind, fs=RATE_HZ, output="sos")
        np.testing.assert_allclose(as_sos(design(RATE_HZ, 1500.0)), expected, rtol=1e-9)


def test_the_others_are_the_bilinear_transforms_of_the_cookbook_prototypes() -> None:
    q, gain_db, hz = 0.9, 7.0, 3000.0
    a = 10 ** (gain_db / 40)
    r = sqrt(a) / q
    prototypes = (
        (band_pass(RATE_HZ, hz, q), [1 / q, 0.0], [1.0, 1 / q, 1.0]),
        (peaking(RATE_HZ, hz, gain_db, q), [1.0, a / q, 1.0], [1.0, 1 / (a * q), 1.0]),
        (low_shelf(RATE_HZ, hz, gain_db, q), [a, a * r, a * a], [a, r, 1.0]),
        (high_shelf(RATE_HZ, hz, gain_db, q), [a * a, a * r, a], [1.0, r, a]),
    )
    for coefficients, b, a_polynomial in prototypes:
        expected_b, expected_a = bilinear(b, a_polynomial, fs=0.5 / tan(pi * hz / RATE_HZ))
        np.testing.assert_allclose(coefficients[:3], expected_b, atol=1e-12)
        np.testing.assert_allclose(coefficients[3:], expected_a[1:], atol=1e-12)


def test_live_shelves_write_the_same_coefficients_in_place() -> None:
    out = np.empty(5)
    low_shelf_into(out, RATE_HZ, 250.0, -8.0, 0.7)
    np.testing.assert_array_equal(out, low_shelf(RATE_HZ, 250.0, -8.0, 0.7))
    high_shelf_into(out, RATE_HZ, 5000.0, 8.0, 0.7)
    np.testing.assert_array_equal(out, high_shelf(RATE_HZ, 5000.0, 8.0, 0.7))


def splatter(glide_frames: int) -> float:
    """Return the loudest sample above 8 kHz while a 1 kHz shelf goes from 0 to +12 dB under a 300 Hz tone."""
    x = (0.25 * np.sin(2 * np.pi * 300.0 / RATE_HZ * np.arange(9600))).astype(np.float32)
    state = biquad_state(low_shelf(RATE_HZ, 1000.0, 0.0), glide_frames)
    first = feed(state, x[:4840])  # a crest of the tone
    biquad_set(state, 0, low_shelf(RATE_HZ, 1000.0, 12.0))
    y = np.concatenate([first, feed(state, x[4840:])]).astype(np.float64)
    return float(np.abs(sosfilt(butter(8, 8000.0, "high", fs=RATE_HZ, output="sos"), y))[1000:].max())


def test_a_live_change_does_not_click() -> None:
    assert splatter(480) < 1e-4
    assert splatter(480) < 0.02 * splatter(1)


def test_a_glide_ends_on_the_target_and_setting_it_again_changes_nothing() -> None:
    state = biquad_state(CASCADE, 100)
    target = peaking(RATE_HZ, 1000.0, -12.0, 1.0)
    biquad_set(state, 2, target)
    feed(state, noise(99))
    assert (state.coefficients[2] != target).any()
    feed(state, noise(1))
    np.testing.assert_array_equal(state.coefficients[2], target)
    np.testing.assert_array_equal(np.delete(state.coefficients, 2, 0), np.delete(CASCADE, 2, 0))
    before = state.clock.copy()
    biquad_set(state, 2, target)
    np.testing.assert_array_equal(state.clock, before)


def test_output_may_be_the_input() -> None:
    x = noise(500)
    expected = feed(biquad_state(CASCADE), x)
    biquad(biquad_state(CASCADE), x, x)
    np.testing.assert_array_equal(x, expected)


def test_silence_ends_in_exact_zeros_and_extremes_stay_finite() -> None:
    state = biquad_state(CASCADE)
    assert np.isfinite(feed(state, np.sign(noise(5000)))).all()
    assert np.isfinite(feed(state, np.ones(5000, np.float32))).all()
    assert np.isfinite(feed(state, np.full(5000, 1e-42, np.float32))).all()
    assert not feed(state, np.zeros(200_000, np.float32))[-1000:].any()
    assert not state.memory.any()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="frequency"):
        low_pass(RATE_HZ, 24000.0)
    with pytest.raises(ValueError, match="q must"):
        band_pass(RATE_HZ, 100.0, 0.0)
    with pytest.raises(ValueError, match="sections"):
        biquad_state(np.zeros((2, 6)))
    with pytest.raises(ValueError, match="glide_frames"):
        biquad_state(CASCADE, 0)
