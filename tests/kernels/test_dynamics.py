from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from rtvc.kernels.dynamics import REACH_DB, DynamicsState, dynamics, dynamics_set, dynamics_state

RATE_HZ = 48000
LATE = 1200
Signal = NDArray[np.float32]


def run(state: DynamicsState, x: Signal, y: Signal | None = None) -> Signal:
    out = x.copy() if y is None else y.copy()
    dynamics(state, x, out)
    return out


def steps(*levels_dbfs: float, seconds: float = 1.0) -> Signal:
    """Return a 1 kHz tone whose rms goes through these levels, each for so long."""
    tone = np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    return np.concatenate([10 ** (level / 20) * tone for level in levels_dbfs]).astype(np.float32)


def speech(seconds: float, seed: int = 1) -> Signal:
    frames = round(seconds * RATE_HZ)
    noise = lfilter([0.1], [1.0, -0.9], np.random.default_rng(seed).standard_normal(frames))
    return np.asarray(0.4 * noise * np.maximum(0.0, np.sin(5 * np.pi * np.arange(frames) / RATE_HZ)), np.float32)


def levels_db(x: Signal) -> NDArray[np.float64]:
    frames = x[: len(x) // 2400 * 2400].reshape(-1, 2400).astype(np.float64)
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-12))


def test_scale_one_changes_no_bit() -> None:
    x = speech(3.0)
    np.testing.assert_array_equal(run(dynamics_state(RATE_HZ, LATE), x), x)


def test_after_a_journey_to_another_scale_it_changes_no_bit_again() -> None:
    state, x = dynamics_state(RATE_HZ, LATE, 2.0), speech(1.0)
    run(state, x)
    dynamics_set(state, 1.0)
    run(state, x)
    np.testing.assert_array_equal(run(state, x), x)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.5, 2.0])
def test_a_level_off_the_mean_is_moved_by_the_scale(scale: float) -> None:
    x = steps(*[-30.0, -24.0] * 8, seconds=0.5)
    y = run(dynamics_state(RATE_HZ, 0, scale), x)
    moved = levels_db(y)[-10:].mean() - levels_db(y)[-20:-10].mean()
    # the mean follows the steps a little, so the step that comes out sags by the end of its half second
    assert moved == pytest.approx(6.0 * scale, abs=0.6)


def test_movements_of_speech_grow_and_shrink_with_the_scale() -> None:
    x = speech(6.0)
    spread = [float(np.std(levels_db(run(dynamics_state(RATE_HZ, LATE, scale), x))[60:])) for scale in (0, 0.5, 1, 1.5)]
    assert np.all(np.diff(spread) > 0.5), spread


@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_pauses_stay_as_they_are(scale: float) -> None:
    x = steps(-25.0, -25.0 - 2.0 * REACH_DB - 6.0)
    y = run(dynamics_state(RATE_HZ, LATE, scale), x)
    np.testing.assert_allclose(levels_db(y)[25:], levels_db(x)[25:], atol=0.01)


def test_no_gain_passes_the_reach() -> None:
    x = np.concatenate([steps(-50.0), steps(-3.0, seconds=0.2)])
    y = run(dynamics_state(RATE_HZ, LATE, 2.0), x, np.ones_like(x))
    assert np.abs(20 * np.log10(y)).max() <= REACH_DB + 0.01


@pytest.mark.parametrize("late", [960, 1200, 2400, 4320])
def test_the_gain_meets_the_sound_that_it_is_meant_for(late: int) -> None:
    x = steps(-40.0, -28.0)
    gain = run(dynamics_state(RATE_HZ, late, 2.0), x, np.ones_like(x))
    middle = np.flatnonzero(gain[24000:] > np.sqrt(gain[24000] * gain.max()))[0] + 24000
    window = RATE_HZ * 15 // 1000  # half of what the level is read over; the louder side wins the mean of powers
    assert -window <= middle - (RATE_HZ + late) <= 240


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=30), st.sampled_from([0.0, 0.7, 2.0]))
def test_any_split_gives_the_same_samples(cuts: list[int], scale: float) -> None:
    x = speech(0.5)
    whole = run(dynamics_state(RATE_HZ, LATE, scale), x)
    state, parts, start = dynamics_state(RATE_HZ, LATE, scale), [], 0
    for n in [*cuts, len(x)]:
        parts.append(run(state, x[start : start + n]))
        start += n
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_new_scale_does_not_click() -> None:
    x = steps(-40.0, -30.0, -30.0)
    state, cut = dynamics_state(RATE_HZ, LATE, 0.0), round(1.5 * RATE_HZ)
    gain = [run(state, x[:cut], np.ones(cut, np.float32))]
    dynamics_set(state, 2.0)
    gain.append(run(state, x[cut:], np.ones(len(x) - cut, np.float32)))
    log_gain = 20 * np.log10(np.concatenate(gain))
    assert np.abs(np.diff(log_gain[cut - 10 :])).max() < 0.05  # dB a sample: 12 dB in a hop


def test_silence_and_what_is_no_level_at_all() -> None:
    silence = np.zeros(48000, np.float32)
    np.testing.assert_array_equal(run(dynamics_state(RATE_HZ, LATE, 2.0), silence), silence)


@pytest.mark.parametrize("bad", [(0, 0, 1.0), (48000, -1, 1.0), (48000, 0, -0.1)])
def test_bad_arguments_are_refused(bad: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="none must be negative"):
        dynamics_state(*bad)
