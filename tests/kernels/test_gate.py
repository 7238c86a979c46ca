from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.kernels.gate import POWER, GateState, gate_detect, gate_set_thresholds, gate_state

RATE_HZ = 48000
LOOK_AHEAD = 96  # 2 ms


def gains(state: GateState, x: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.empty_like(x)
    gate_detect(state, x, out)
    return out


def tone(level_dbfs: float, frames: int, frequency_hz: float = 200.0) -> NDArray[np.float32]:
    """Return a sine whose mean square is level_dbfs, starting at its zero crossing."""
    amplitude = np.sqrt(2) * 10 ** (level_dbfs / 20)
    return np.asarray(amplitude * np.sin(2 * np.pi * frequency_hz / RATE_HZ * np.arange(frames)), np.float32)


def silence(frames: int) -> NDArray[np.float32]:
    return np.zeros(frames, np.float32)


@settings(max_examples=30, deadline=None)
@given(splits=st.lists(st.integers(0, 3000), max_size=12), seed=st.integers(0, 9))
def test_any_block_size_gives_the_same_gains(splits: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(20000) * np.repeat(10 ** rng.uniform(-4, 0, 20), 1000)).astype(np.float32)
    state = gate_state(RATE_HZ, LOOK_AHEAD, hold_ms=10, release_ms=20)
    parts = [gains(state, p) for p in np.split(x, sorted({min(s, 20000) for s in np.cumsum(splits, dtype=int)}))]
    expected = gains(gate_state(RATE_HZ, LOOK_AHEAD, hold_ms=10, release_ms=20), x)
    np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("level_dbfs", [-44.0, -30.0, -3.0])
@pytest.mark.parametrize("frequency_hz", [1000.0, 6000.0])
def test_the_gate_is_open_when_the_delayed_word_arrives(level_dbfs: float, frequency_hz: float) -> None:
    gain = gains(
        gate_state(RATE_HZ, LOOK_AHEAD, open_dbfs=-50),
        np.concatenate([silence(1000), tone(level_dbfs, 2000, frequency_hz)]),
    )
    assert not gain[:1000].any()
    np.testing.assert_array_equal(gain[1000 + LOOK_AHEAD :], 1.0)


def test_of_a_word_that_fades_in_only_what_lies_under_the_threshold_is_cut() -> None:
    word = tone(-20.0, 4800, 500.0) * np.linspace(0, 1, 4800, dtype=np.float32) ** 2
    x = np.concatenate([silence(500), word])
    gain = gains(gate_state(RATE_HZ, LOOK_AHEAD, open_dbfs=-50), x)
    delayed = np.concatenate([silence(LOOK_AHEAD), x])[: len(x)]
    assert np.abs(delayed[gain < 1]).max() < np.sqrt(2) * 10 ** (-50 / 20)


def test_the_end_of_a_word_passes_whole_then_the_gate_closes_to_zero() -> None:
    hold, release = 480, 960
    state = gate_state(RATE_HZ, LOOK_AHEAD, hold_ms=10, release_ms=20)
    gain = gains(state, np.concatenate([tone(-10.0, 4800), silence(9600)]))
    np.testing.assert_array_equal(gain[LOOK_AHEAD : 4800 + LOOK_AHEAD + hold], 1.0)
    fall = 0.001 * RATE_HZ * 12 * 10  # the level falls 46 dB at 10 ms a neper of power
    assert not gain[int(4800 + fall + LOOK_AHEAD + hold + release) :].any()


def test_between_the_thresholds_the_gate_stays_as_it_was() -> None:
    state = gate_state(RATE_HZ, 0, open_dbfs=-40, close_dbfs=-50, hold_ms=20)
    between = tone(-45.0, 24000)
    assert not gains(state, between).any()
    gains(state, tone(-30.0, 4800))
    np.testing.assert_array_equal(gains(state, between), 1.0)
    assert gains(state, tone(-60.0, 24000))[-1] == 0.0
    assert not gains(state, between).any()


def test_noise_under_the_threshold_never_opens_the_gate() -> None:
    noise = np.random.default_rng(1).standard_normal(10 * RATE_HZ) * 10 ** (-58 / 20)
    assert not gains(gate_state(RATE_HZ, 0, open_dbfs=-50), noise.astype(np.float32)).any()


def test_thresholds_can_be_moved_live() -> None:
    state = gate_state(RATE_HZ, 0, open_dbfs=-50, hold_ms=5, release_ms=5)
    hum = tone(-40.0, 9600)
    assert gains(state, hum)[-1] == 1.0
    gate_set_thresholds(state, -30.0, -36.0)
    assert gains(state, hum)[-1] == 0.0
    gate_set_thresholds(state, -50.0, -20.0)  # closing above opening counts as equal
    assert gains(state, hum)[-1] == 1.0


def test_the_gain_moves_no_faster_than_attack_and_release() -> None:
    x = np.concatenate([silence(100), tone(-10.0, 2000), silence(20000), tone(-10.0, 2000)])
    steps = np.diff(gains(gate_state(RATE_HZ, 0, attack_ms=2, hold_ms=5, release_ms=50), x).astype(np.float64))
    assert steps.max() <= 1 / 96 + 1e-7
    assert steps.min() >= -1 / 2400 - 1e-7


def test_extremes_stay_in_range_and_silence_ends_in_exact_zero() -> None:
    state = gate_state(RATE_HZ, 0)
    for x in (np.ones(5000, np.float32), np.full(5000, 1e-42, np.float32), -np.ones(5000, np.float32)):
        gain = gains(state, x)
        assert gain.min() >= 0.0 and gain.max() <= 1.0
    assert gains(state, silence(100_000))[-1] == 0.0
    assert state.values[POWER] == 0.0


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        gate_state(0, 0)
    with pytest.raises(ValueError, match="negative"):
        gate_state(RATE_HZ, -1)
