from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import freqz_sos, lfilter

from rtvc.kernels.loudness import (
    LoudnessState,
    integrated_loudness,
    k_weighting,
    loudness_gain_db,
    loudness_match,
    loudness_state,
)

RATE_HZ = 48000
SHELF = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])


def match(state: LoudnessState, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    out = y.copy()
    loudness_match(state, x, out)
    return out


def db(gain_db: float) -> np.float32:
    return np.float32(10 ** (gain_db / 20))


def tone(level_dbfs: float, seconds: float, rate_hz: float = RATE_HZ) -> NDArray[np.float32]:
    """Return a 1 kHz sine with its peak at level_dbfs."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 1000 * time), np.float32)


def speech(seconds: float, seed: int = 1) -> NDArray[np.float32]:
    """Return pink-ish noise in syllables of 200 ms with pauses, near -25 LUFS."""
    frames = round(seconds * RATE_HZ)
    noise = lfilter([0.1], [1.0, -0.9], np.random.default_rng(seed).standard_normal(frames))
    time = np.arange(frames) / RATE_HZ
    syllables = np.maximum(0.0, np.sin(2 * np.pi * 2.5 * time)) * (np.sin(2 * np.pi * 0.4 * time) > -0.5)
    return np.asarray(0.4 * noise * syllables, np.float32)


def by_the_book(x: NDArray[np.float32]) -> float:
    """BS.1770-4 at 48 kHz, one channel, straight from its text."""
    weighted = lfilter(*HIGH_PASS, lfilter(*SHELF, x.astype(np.float64)))
    power = np.array([np.mean(weighted[i : i + 19200] ** 2) for i in range(0, len(x) - 19199, 4800)])
    power = power[-0.691 + 10 * np.log10(power + 1e-30) > -70]
    power = power[-0.691 + 10 * np.log10(power) > -0.691 + 10 * np.log10(power.mean()) - 10]
    return float(-0.691 + 10 * np.log10(power.mean()))


def test_k_weighting_is_the_standards_at_48_khz_and_its_response_at_other_rates() -> None:
    expected = np.array([SHELF[0] + SHELF[1][1:], HIGH_PASS[0] + HIGH_PASS[1][1:]])
    np.testing.assert_allclose(k_weighting(48000), expected, atol=1e-12)
    frequency_hz = np.geomspace(20, 6000, 50)
    for rate_hz, bound_db in ((44100, 0.02), (96000, 0.05), (24000, 0.3)):
        responses = [
            20 * np.log10(np.abs(freqz_sos(np.insert(k_weighting(r), 3, 1.0, axis=1), frequency_hz, fs=r)[1]))
            for r in (48000, rate_hz)
        ]
        np.testing.assert_allclose(responses[1], responses[0], atol=bound_db)


@pytest.mark.parametrize("rate_hz", [16000, 22050, 44100, 48000, 96000])
def test_a_full_scale_tone_reads_minus_3_01(rate_hz: int) -> None:
    # BS.1770-4: 0 dBFS at 997 Hz in one channel reads -3.01 LKFS
    time = np.arange(5 * rate_hz) / rate_hz
    x = np.sin(2 * np.pi * 997 * time).astype(np.float32)
    assert abs(integrated_loudness(x, rate_hz) + 3.01) < 0.05


@pytest.mark.parametrize(
    "parts",
    [
        [(-23, 20)],
        [(-33, 20)],
        [(-36, 10), (-23, 60), (-36, 10)],
        [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
    ],
)
def test_ebu_tech_3341_signals_read_as_specified(parts: list[tuple[float, float]]) -> None:
    # one channel reads 3.01 LU under the two of the specification; its tolerance is 0.1 LU
    expected = max(level for level, _ in parts) - 3.01
    assert abs(integrated_loudness(np.concatenate([tone(*p) for p in parts]), RATE_HZ) - expected) < 0.1


def test_agrees_with_the_standards_text_within_a_thousandth_of_a_lu() -> None:
    x = speech(9.73)
    assert abs(integrated_loudness(x, RATE_HZ) - by_the_book(x)) < 1e-3


def test_silence_reads_minus_infinity_and_a_short_sound_counts_as_one_block() -> None:
    assert integrated_loudness(np.zeros(RATE_HZ, np.float32), RATE_HZ) == -np.inf
    assert integrated_loudness(np.zeros(0, np.float32), RATE_HZ) == -np.inf
    assert abs(integrated_loudness(tone(-20, 0.25), RATE_HZ) + 23.01) < 0.1
    assert np.isfinite(integrated_loudness(np.ones(1, np.float32), RATE_HZ))


@settings(max_examples=25, deadline=None)
@given(splits=st.lists(st.integers(0, 4000), max_size=12), delay=st.sampled_from([0, 1, 777]))
def test_any_block_size_gives_the_same_samples(splits: list[int], delay: int) -> None:
    x, y = speech(0.5), 3 * speech(0.5, seed=2)
    edges = sorted({min(s, len(x)) for s in np.cumsum(splits, dtype=int)})
    state = loudness_state(RATE_HZ, delay)
    parts = [match(state, a, b) for a, b in zip(np.split(x, edges), np.split(y, edges), strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), match(loudness_state(RATE_HZ, delay), x, y))


@pytest.mark.parametrize("offset_db", [-9.0, 0.0, 9.0])
def test_the_output_takes_the_loudness_of_the_reference(offset_db: float) -> None:
    x, y = speech(8), db(offset_db) * speech(8, seed=2)
    out = match(loudness_state(RATE_HZ), x, y)
    late = slice(3 * RATE_HZ, None)
    assert abs(integrated_loudness(out[late], RATE_HZ) - integrated_loudness(x[late], RATE_HZ)) < 0.5


def test_the_output_follows_when_the_speaker_becomes_quieter() -> None:
    fall = np.repeat(np.array([1.0, db(-8)], np.float32), 5 * RATE_HZ)
    out = match(loudness_state(RATE_HZ), speech(10) * fall, speech(10, seed=2))
    change = integrated_loudness(out[7 * RATE_HZ :], RATE_HZ) - integrated_loudness(
        out[2 * RATE_HZ : 5 * RATE_HZ], RATE_HZ
    )
    assert abs(change + 8) < 1


@pytest.mark.parametrize(("offset_db", "bound_db"), [(-30.0, 12.0), (30.0, -12.0)])
def test_the_gain_is_bounded(offset_db: float, bound_db: float) -> None:
    state = loudness_state(RATE_HZ, floor_lufs=-60)
    match(state, speech(4), db(offset_db) * speech(4, seed=2))
    assert abs(loudness_gain_db(state) - bound_db) < 1e-9


def test_the_gain_holds_in_silence_and_over_noise_far_below_the_speech() -> None:
    state = loudness_state(RATE_HZ)
    match(state, speech(3), db(-6) * speech(3, seed=2))
    before = loudness_gain_db(state)
    assert before > 4
    silence = np.zeros(2 * RATE_HZ, np.float32)
    assert not match(state, silence, silence).any()
    hiss = (1e-2 * np.random.default_rng(3).standard_normal(2 * RATE_HZ)).astype(np.float32)
    match(state, db(-20) * hiss, hiss)
    match(state, hiss, silence)
    assert loudness_gain_db(state) == before


def test_before_anything_is_heard_the_output_passes_bit_for_bit() -> None:
    y = speech(1)
    np.testing.assert_array_equal(match(loudness_state(RATE_HZ), np.zeros_like(y), y), y)


def test_normal_speech_counts_again_some_time_after_a_loud_bump() -> None:
    state = loudness_state(RATE_HZ)
    bump = np.ones(RATE_HZ, np.float32) * np.sign(np.sin(np.arange(RATE_HZ) * 0.1)).astype(np.float32)
    match(state, bump, bump)
    match(state, db(-6) * speech(25), db(-14) * speech(25))
    assert abs(loudness_gain_db(state) - 8) < 0.5


def test_the_gain_moves_smoothly() -> None:
    y = np.ones(4 * RATE_HZ, np.float32)
    y[1::2] = -1.0
    gain_db = 20 * np.log10(np.abs(match(loudness_state(RATE_HZ), speech(4), 0.5 * y)) / 0.5)
    assert np.abs(np.diff(gain_db)).max() * RATE_HZ < 25  # SLEW_DB_PER_S, straight in amplitude within a hop


def test_the_reference_can_be_delayed_to_meet_the_output() -> None:
    x, y = speech(3), speech(3, seed=2)
    late = np.concatenate([np.zeros(500, np.float32), x[:-500]])
    np.testing.assert_array_equal(match(loudness_state(RATE_HZ, 500), x, y), match(loudness_state(RATE_HZ), late, y))


def test_extremes_stay_finite_and_silence_clears_the_memory() -> None:
    state = loudness_state(RATE_HZ)
    for x in (np.ones(20000, np.float32), np.full(20000, 1e-42, np.float32), np.sign(speech(1))):
        assert np.isfinite(match(state, x, x)).all()
    silence = np.zeros(20 * RATE_HZ, np.float32)
    match(state, silence, silence)
    assert not state.memory.any()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="4000"):
        k_weighting(1000)
    with pytest.raises(ValueError, match="positive"):
        loudness_state(RATE_HZ, follow_s=0)
    with pytest.raises(ValueError, match="negative"):
        loudness_state(RATE_HZ, -1)
