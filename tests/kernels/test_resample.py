from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter, resample_poly

from rtvc.kernels.resample import (
    DIVISOR,
    MAX_CORRECTION,
    PHASE,
    ResamplerState,
    resample,
    resample_max_output,
    resampler_delay_frames,
    resampler_set_ratio,
    resampler_state,
)

RATES = [
    (48000, 44100),
    (44100, 48000),
    (48000, 16000),
    (16000, 48000),
    (24000, 48000),
    (48000, 24000),
    (44100, 16000),
    (192000, 48000),
]


def feed(state: ResamplerState, x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.full(resample_max_output(state, x.shape[0]) + 1, np.nan, np.float32)
    count = resample(state, x, y)
    assert not np.isnan(y[:count]).any()
    assert np.isnan(y[count:]).all()
    return y[:count]


def noise(frames: int, rate_hz: float, edge_hz: float) -> NDArray[np.float32]:
    """Return noise that has nothing above edge_hz."""
    white = np.random.default_rng(1).standard_normal(frames)
    return np.asarray(lfilter(firwin(801, edge_hz, fs=rate_hz, window=("kaiser", 12.0)), 1.0, white) / 4, np.float32)


def error_db(y: NDArray[np.float32], reference: NDArray[np.floating]) -> float:
    y, reference = y[500:-500].astype(np.float64), reference[500:-500].astype(np.float64)
    return float(10 * np.log10(np.mean((y - reference) ** 2) / np.mean(reference**2)))


@settings(max_examples=40, deadline=None)
@given(
    splits=st.lists(st.integers(0, 700), max_size=12),
    rates=st.sampled_from([*RATES, (48000, 48000), (47999.7, 48000.1), (48000, 11025)]),
    corrections=st.tuples(st.floats(-2e-3, 2e-3), st.floats(-2e-3, 2e-3)),
)
def test_any_block_size_gives_the_same_samples(
    splits: list[int], rates: tuple[float, float], corrections: tuple[float, float]
) -> None:
    x = np.random.default_rng(2).standard_normal(3000).astype(np.float32)
    whole, split = resampler_state(*rates), resampler_state(*rates)
    expected, got = [], []
    for correction, half in zip(corrections, (x[:1500], x[1500:]), strict=True):
        resampler_set_ratio(whole, correction)
        resampler_set_ratio(split, correction)
        expected.append(feed(whole, half))
        edges = sorted({min(s, 1500) for s in np.cumsum(splits, dtype=int)})
        got += [feed(split, part) for part in np.split(half, edges)]
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(expected))


def test_equal_rates_delay_bit_for_bit() -> None:
    x = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    state = resampler_state(48000, 48000)
    delay = resampler_delay_frames(state)
    assert delay == 16
    y = feed(state, x)
    np.testing.assert_array_equal(y, np.concatenate([np.zeros(delay, np.float32), x[:-delay]]))


@pytest.mark.parametrize(("in_hz", "out_hz"), [*RATES, (48000, 48000)])
def test_tones_up_to_0_825_of_nyquist_come_out_delayed_and_nothing_else(in_hz: int, out_hz: int) -> None:
    correction = 3e-4 if in_hz == out_hz else 0.0
    for fraction in (0.01, 0.2, 0.5, 0.7, 0.8, 0.825):
        state = resampler_state(in_hz, out_hz)
        resampler_set_ratio(state, correction)
        delay = resampler_delay_frames(state)
        radians = np.pi * fraction * min(in_hz, out_hz) / in_hz
        y = feed(state, np.sin(radians * np.arange(12000)).astype(np.float32))
        time = np.arange(len(y)) * in_hz / out_hz / (1 + correction) - delay
        inside = time > delay
        # -78 dB: everything at once, gain error (0.001 dB), images (-81 dB) and timing
        assert error_db(y[inside], np.sin(radians * time[inside])) < -78


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
def test_gain_is_flat_within_a_hundredth_of_a_db_up_to_0_85_of_nyquist(in_hz: int, out_hz: int) -> None:
    for fraction in (0.05, 0.4, 0.75, 0.85):
        state = resampler_state(in_hz, out_hz)
        delay = resampler_delay_frames(state)
        radians = np.pi * fraction * min(in_hz, out_hz) / in_hz
        y = feed(state, np.sin(radians * np.arange(12000)).astype(np.float32))
        wave = np.exp(1j * radians * (np.arange(len(y)) * in_hz / out_hz - delay))[1000:-1000]
        basis = np.stack([wave.real, wave.imag], 1)
        cosine, sine = np.linalg.lstsq(basis, y[1000:-1000].astype(np.float64))[0]
        assert abs(20 * np.log10(np.hypot(cosine, sine))) < 0.01


@pytest.mark.parametrize(("in_hz", "out_hz"), [r for r in RATES if r[0] > r[1]])
def test_aliases_from_1_175_of_nyquist_on_stay_under_minus_80_db(in_hz: int, out_hz: int) -> None:
    for fraction in (1.175, 1.3, 1.6, 1.95):
        radians = np.pi * fraction * out_hz / in_hz
        if radians < np.pi:
            y = feed(resampler_state(in_hz, out_hz), np.sin(radians * np.arange(20000)).astype(np.float32))
            assert 10 * np.log10(2 * np.mean(y[500:].astype(np.float64) ** 2)) < -80


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
def test_agrees_with_soxr_and_resample_poly_within_minus_78_db(in_hz: int, out_hz: int) -> None:
    x = noise(30000, in_hz, 0.8 * min(in_hz, out_hz) / 2)
    state = resampler_state(in_hz, out_hz)
    y = feed(state, x)
    delayed = np.concatenate([np.zeros(resampler_delay_frames(state), np.float32), x])
    by_soxr = soxr.resample(delayed.astype(np.float64), in_hz, out_hz, "VHQ")
    assert error_db(y, by_soxr[: len(y)]) < -78
    up, down = out_hz // np.gcd(in_hz, out_hz), in_hz // np.gcd(in_hz, out_hz)
    taps = firwin(200 * max(up, down) + 1, 1.0 / max(up, down), window=("kaiser", 10.0))
    by_scipy = resample_poly(delayed.astype(np.float64), up, down, window=taps)
    assert error_db(y, by_scipy[: len(y)]) < -78


@pytest.mark.parametrize("correction", [-1e-3, -2e-4, 2e-4, 1e-3])
def test_a_corrected_tone_has_exactly_the_corrected_pitch(correction: float) -> None:
    frequency_hz, rate_hz = 1000.0, 48000
    state = resampler_state(rate_hz, rate_hz)
    resampler_set_ratio(state, correction)
    x = np.sin(2 * np.pi * frequency_hz / rate_hz * np.arange(10 * rate_hz)).astype(np.float32)
    y = feed(state, x)[100:].astype(np.float64)
    expected_hz = frequency_hz / (1 + correction)
    beat = y * np.exp(-2j * np.pi * expected_hz / rate_hz * np.arange(len(y)))
    phase = np.unwrap(np.angle(beat[: len(y) // 480 * 480].reshape(-1, 480).mean(1)))
    slope_hz = np.polyfit(np.arange(len(phase)) * 480 / rate_hz, phase, 1)[0] / (2 * np.pi)
    assert abs(1200 * np.log2(1 + slope_hz / expected_hz)) < 1e-3


def test_a_moving_correction_never_breaks_the_phase() -> None:
    rate_hz, radians = 48000, 2 * np.pi * 3000 / 48000
    state = resampler_state(rate_hz, rate_hz)
    x = np.sin(radians * np.arange(48000)).astype(np.float32)
    time, parts, times = 0.0, [], []
    for block, correction in zip(x.reshape(-1, 250), np.random.default_rng(4).uniform(-1e-3, 1e-3, 192), strict=True):
        resampler_set_ratio(state, correction)
        part = feed(state, block)
        # an output already due keeps its time; the correction shapes the step after it
        parts.append(part)
        times.append(time + np.arange(len(part)) / (1 + correction))
        time += len(part) / (1 + correction)
    assert error_db(np.concatenate(parts), np.sin(radians * (np.concatenate(times) - 16))) < -80


def test_a_fixed_ratio_gathers_no_error() -> None:
    state = resampler_state(44100, 48000)
    period = np.random.default_rng(5).standard_normal(147).astype(np.float32)
    y = feed(state, np.tile(period, 4000))
    assert len(y) == 160 * 4000
    assert state.clock[PHASE] == 0 and state.clock[DIVISOR] == 160
    np.testing.assert_array_equal(y[-160:], y[1600:1760])


def test_output_count_follows_the_ratio_and_fits_the_bound() -> None:
    for in_hz, out_hz in RATES:
        for correction in (-1.0, 0.0, 1.0):
            state = resampler_state(in_hz, out_hz)
            resampler_set_ratio(state, correction)  # clamped
            clamped = min(max(correction, -MAX_CORRECTION), MAX_CORRECTION)
            for block in (1, 7, 256):
                assert len(feed(state, np.zeros(block, np.float32))) <= resample_max_output(state, block)
            count = 264 * out_hz / in_hz * (1 + clamped)
            total = len(feed(state, np.zeros(10000, np.float32))) + count
            assert abs(total - 10264 * out_hz / in_hz * (1 + clamped)) < 2


def test_direct_current_passes_without_ripple_and_silence_ends_in_zeros() -> None:
    state = resampler_state(48000, 44100)
    resampler_set_ratio(state, 1e-4)
    y = feed(state, np.ones(5000, np.float32))
    np.testing.assert_allclose(y[40:], 1.0, atol=1e-6)
    assert not feed(state, np.zeros(1000, np.float32))[40:].any()


def test_full_scale_and_subnormal_input_stay_finite_and_bounded() -> None:
    rng = np.random.default_rng(6)
    state = resampler_state(48000, 44100)
    assert np.abs(feed(state, np.sign(rng.standard_normal(5000)).astype(np.float32))).max() < 4.0
    assert np.abs(feed(state, np.full(5000, 1e-42, np.float32))[40:]).max() < 1e-41


@pytest.mark.parametrize(("rates", "taps"), [((0, 48000), 16), ((48000, -1), 16), ((48000, 48000), 0)])
def test_impossible_settings_are_refused(rates: tuple[float, float], taps: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        resampler_state(*rates, taps)


def test_a_time_a_hair_below_a_sample_stays_inside_the_table() -> None:
    """-1e-30 + 1 rounds to 1, which is the next input's time: taken for this one's, it reads past the last filter."""
    state = resampler_state(48000, 48000)
    one, y = np.ones(1, np.float32), np.zeros(4, np.float32)
    for correction in (1e-18, 1e-30, -1.1e-308, 1e-17, -1e-18):
        resampler_set_ratio(state, correction)
        assert [resample(state, one, y) for _ in range(9)] == [1] * 9
