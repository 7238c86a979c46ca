from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.kernels.limiter import LimiterState, limit, limiter_state

RATE_HZ = 48000
CEILING = float(np.float32(10 ** (-1 / 20)))


def feed(state: LimiterState, x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    limit(state, x, y)
    return y


def delayed(x: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(frames, np.float32), x])[: len(x)]


def bursts(seed: int, frames: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** rng.uniform(-2, 1.5, frames // 50 + 1), 50)[:frames]
    return (rng.standard_normal(frames) * level).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(splits=st.lists(st.integers(0, 500), max_size=12), look_ahead=st.sampled_from([0, 1, 7, 64]))
def test_any_block_size_gives_the_same_samples(splits: list[int], look_ahead: int) -> None:
    x = bursts(1, 2000)
    state = limiter_state(RATE_HZ, look_ahead)
    parts = [feed(state, p) for p in np.split(x, sorted({min(s, 2000) for s in np.cumsum(splits, dtype=int)}))]
    np.testing.assert_array_equal(np.concatenate(parts), feed(limiter_state(RATE_HZ, look_ahead), x))


@settings(max_examples=200, deadline=None)
@given(
    x=st.lists(st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0, -1.0, 0.9])), max_size=80),
    repeats=st.integers(1, 12),
    look_ahead=st.sampled_from([0, 1, 2, 5, 33]),
    ceiling_dbfs=st.sampled_from([0.0, -0.1, -1.0, -6.0, -20.0]),
    release_ms=st.sampled_from([0.01, 1.0, 50.0]),
)
def test_the_ceiling_is_never_exceeded(
    x: list[float], repeats: int, look_ahead: int, ceiling_dbfs: float, release_ms: float
) -> None:
    signal = np.concatenate([np.repeat(np.array(x, np.float32), repeats), np.zeros(look_ahead, np.float32)])
    y = feed(limiter_state(RATE_HZ, look_ahead, ceiling_dbfs, release_ms), signal)
    assert np.abs(y).max(initial=0.0) <= np.float32(10 ** (ceiling_dbfs / 20))


@pytest.mark.parametrize("look_ahead", [0, 1, 48, 240])
def test_squares_impulses_and_bursts_stay_under_the_ceiling(look_ahead: int) -> None:
    square = np.where(np.arange(20000) // 37 % 2, 1.0, -1.0).astype(np.float32)
    impulses = np.zeros(20000, np.float32)
    impulses[::911] = 20.0
    for x in (square, impulses, bursts(2, 20000), 1000 * bursts(3, 20000)):
        assert np.abs(feed(limiter_state(RATE_HZ, look_ahead), x)).max() <= CEILING


@pytest.mark.parametrize("look_ahead", [0, 1, 48, 240])
def test_below_the_ceiling_it_is_a_delay_bit_for_bit(look_ahead: int) -> None:
    x = np.random.default_rng(4).uniform(-CEILING, CEILING, 5000).astype(np.float32)
    np.testing.assert_array_equal(feed(limiter_state(RATE_HZ, look_ahead), x), delayed(x, look_ahead))


def test_after_a_peak_it_becomes_a_bit_exact_delay_again() -> None:
    look_ahead, release_ms = 64, 20.0
    x = np.random.default_rng(5).uniform(-0.8, 0.8, 30000).astype(np.float32)
    x[1000:1200] *= 10
    y = feed(limiter_state(RATE_HZ, look_ahead, release_ms=release_ms), x)
    settled = 1200 + round(14 * release_ms * RATE_HZ / 1000) + 2 * look_ahead  # 14 time constants: 1e-6
    assert (y[1000:1200] != delayed(x, look_ahead)[1000:1200]).any()
    np.testing.assert_array_equal(y[settled:], delayed(x, look_ahead)[settled:])


@pytest.mark.parametrize("look_ahead", [0, 3, 48])
def test_agrees_with_the_plain_definition_within_1e_6(look_ahead: int) -> None:
    x, n, release_ms = bursts(6, 3000), look_ahead + 1, 5.0
    need = np.minimum(1.0, CEILING / np.maximum(np.abs(x.astype(np.float64)), 1e-30))
    lowest = np.array([need[max(0, i - n + 1) : i + 1].min() for i in range(len(x))])
    gain, held = 1.0, np.empty(len(x))
    for i, value in enumerate(lowest):
        gain += (1 - np.exp(-1000 / (release_ms * RATE_HZ))) * (1 - gain)
        gain = min(1.0 if gain > 1 - 1e-6 else gain, value)
        held[i] = gain
    mean = np.convolve(np.concatenate([np.ones(n - 1), held]), np.ones(n) / n, "valid")
    y = feed(limiter_state(RATE_HZ, look_ahead, release_ms=release_ms), x)
    np.testing.assert_allclose(y, delayed(x, look_ahead) * mean, rtol=1e-6, atol=1e-6)


def test_the_gain_has_no_steps() -> None:
    look_ahead = 48
    x = np.full(5000, 0.25, np.float32)
    x[2000] = 8.0
    gain = feed(limiter_state(RATE_HZ, look_ahead), x).astype(np.float64)[look_ahead:] / x[:-look_ahead]
    assert np.abs(np.diff(gain)).max() <= 1 / (look_ahead + 1) + 1e-6
    assert gain[1900] == 1.0 and gain[2000] <= CEILING / 8.0 < 0.12


def test_output_may_be_the_input() -> None:
    x = bursts(7, 1000)
    expected = feed(limiter_state(RATE_HZ, 20), x)
    y = x.copy()
    limit(limiter_state(RATE_HZ, 20), y, y)
    np.testing.assert_array_equal(y, expected)


def test_direct_current_subnormals_and_silence() -> None:
    state = limiter_state(RATE_HZ, 32)
    steady = feed(state, np.full(20000, 2.0, np.float32))[1000:]
    np.testing.assert_allclose(steady, CEILING, rtol=1e-6)
    assert steady.max() <= CEILING
    feed(state, np.zeros(100_000, np.float32))
    tiny = np.full(100, 1e-42, np.float32)
    np.testing.assert_array_equal(feed(state, tiny)[32:], tiny[32:])


@pytest.mark.parametrize(("rate_hz", "frames", "release_ms"), [(0, 10, 50.0), (48000, -1, 50.0), (48000, 10, 0.0)])
def test_impossible_settings_are_refused(rate_hz: float, frames: int, release_ms: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        limiter_state(rate_hz, frames, -1.0, release_ms)
