from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import firwin, freqz, lfilter, resample_poly

from rtvc.kernels.decimate import DecimatorState, decimate, decimator_delay_frames, decimator_state


def feed(state: DecimatorState, x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.full(x.shape[0] // 2 + 1, np.nan, np.float32)
    return y[: decimate(state, x, y)]


@settings(max_examples=30, deadline=None)
@given(splits=st.lists(st.integers(0, 500), max_size=12), factor=st.sampled_from([2, 3, 6]))
def test_any_block_size_gives_the_same_samples(splits: list[int], factor: int) -> None:
    x = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    state = decimator_state(factor)
    parts = [feed(state, part) for part in np.split(x, sorted({min(s, 2000) for s in np.cumsum(splits, dtype=int)}))]
    expected = feed(decimator_state(factor), x)
    assert len(expected) == 2000 // factor
    np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_flat_to_0_85_of_nyquist_and_60_db_down_from_1_08(factor: int) -> None:
    frequency, response = freqz(decimator_state(factor).taps.astype(np.float64), worN=20000)
    gain_db = 20 * np.log10(np.abs(response) + 1e-12)
    fraction = frequency * factor / np.pi
    assert np.abs(gain_db[fraction <= 0.85]).max() < 0.02
    assert gain_db[fraction >= 1.08].max() < -60


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_delay_is_exact(factor: int) -> None:
    state = decimator_state(factor)
    delay = decimator_delay_frames(state)
    assert delay == 15 * factor
    x = np.zeros(100 * factor, np.float32)
    x[20 * factor] = 1.0
    assert np.argmax(feed(state, x)) == 35
    radians = 0.3 * np.pi / factor
    y = feed(decimator_state(factor), np.sin(radians * np.arange(3000)).astype(np.float32))
    time = np.arange(len(y)) * factor - delay
    np.testing.assert_allclose(y[40:], np.sin(radians * time[40:]), atol=2e-3)  # 2e-3: the pass band's 0.014 dB


@pytest.mark.parametrize("factor", [2, 3])
def test_agrees_with_soxr_and_resample_poly_within_minus_55_db(factor: int) -> None:
    white = np.random.default_rng(2).standard_normal(30000)
    x = np.asarray(lfilter(firwin(801, 0.8 / factor, window=("kaiser", 10.0)), 1.0, white), np.float32)
    state = decimator_state(factor)
    y = feed(state, x).astype(np.float64)[1000:-1000]
    delayed = np.concatenate([np.zeros(decimator_delay_frames(state)), x])
    taps = firwin(200 * factor + 1, 1.0 / factor, window=("kaiser", 10.0))
    for reference in (
        soxr.resample(delayed, 48000, 48000 / factor, "VHQ"),
        resample_poly(delayed, 1, factor, window=taps),
    ):
        error = y - reference[1000 : 1000 + len(y)]
        assert 10 * np.log10(np.mean(error**2) / np.mean(y**2)) < -55


def test_direct_current_full_scale_and_silence() -> None:
    state = decimator_state(3)
    np.testing.assert_allclose(feed(state, np.ones(600, np.float32))[40:], 1.0, atol=1e-6)
    square = np.sign(np.random.default_rng(3).standard_normal(600)).astype(np.float32)
    assert np.abs(feed(state, square)).max() < 3.0
    assert not feed(state, np.zeros(600, np.float32))[32:].any()


@pytest.mark.parametrize(("factor", "taps_per_side"), [(1, 16), (3, 1)])
def test_impossible_settings_are_refused(factor: int, taps_per_side: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        decimator_state(factor, taps_per_side)
