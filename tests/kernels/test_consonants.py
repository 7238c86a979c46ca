from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from rtvc.kernels.consonants import ACTIVE, ConsonantState, consonant_delay_frames, consonant_state, consonants

RATE_HZ = 48000
DELAY = 2000
BAND = butter(6, [3500, 6500], "band", fs=RATE_HZ, output="sos")
Sound = NDArray[np.float32]


def vowel(seconds: float, f0_hz: float, level: float = 0.1) -> Sound:
    """Return a tone of falling harmonics, all below 3 kHz, of about that rms."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    parts = [np.sin(2 * np.pi * k * f0_hz * t) / k for k in range(1, int(2500 / f0_hz))]
    tone = np.sum(parts, axis=0)
    return (level * tone / np.sqrt(np.mean(tone**2))).astype(np.float32)


def hiss(seconds: float, level: float = 0.05, seed: int = 0) -> Sound:
    noise = sosfilt(BAND, np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)))
    return (level * noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def put(x: Sound, y: Sound, amount: float = 1.0, sizes: tuple[int, ...] = (240,)) -> Sound:
    """Return y, which belongs to the same moments as x, with x's consonants."""
    x = np.pad(x, (0, DELAY))
    out = np.pad(y, (DELAY, 0))
    state, start, k = consonant_state(RATE_HZ, DELAY), 0, 0
    share = np.full(len(x), amount, np.float32)
    while start < len(x):
        end = start + sizes[k % len(sizes)]
        consonants(state, x[start:end], share[start:end], out[start:end])
        start, k = end, k + 1
    return out[DELAY:]


def rms(y: Sound) -> float:
    return float(np.sqrt(np.mean(sosfilt(BAND, y)[len(y) // 4 : -len(y) // 4] ** 2)))


def likeness(a: Sound, b: Sound) -> float:
    """Return the coherence of two sounds in the band at the best of a few shifts, 0 to 1."""
    upper = [sosfilt(BAND, part) for part in (a, b)]
    norm = np.sqrt(np.sum(upper[0] ** 2) * np.sum(upper[1] ** 2))
    return max(abs(float(np.sum(np.roll(upper[0], k) * upper[1]))) for k in range(-40, 41)) / norm


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
def test_any_block_size_gives_the_same_samples(sizes: list[int]) -> None:
    x = np.concatenate((vowel(0.2, 120), hiss(0.1), vowel(0.1, 110)))
    y = np.concatenate((vowel(0.2, 220), hiss(0.1, seed=1), vowel(0.1, 200)))
    assert np.array_equal(put(x, y, sizes=tuple(sizes)), put(x, y))


def test_an_amount_of_nothing_leaves_every_frequency_at_its_level() -> None:
    click = np.zeros(8192, np.float32)
    click[100] = 1.0
    gains_db = 20 * np.log10(np.abs(np.fft.rfft(put(hiss(8192 / RATE_HZ), click, 0.0))))
    assert np.abs(gains_db).max() < 0.01


def test_low_frequencies_are_as_late_as_declared() -> None:
    pulse = np.hanning(480).astype(np.float32)
    y = np.pad(pulse, (1000, 3000))
    late = int(np.argmax(put(np.zeros_like(y), y))) - int(np.argmax(y))
    assert abs(late - consonant_delay_frames(RATE_HZ)) <= 1


@pytest.mark.parametrize("loudness", [0.01, 1.0, 3.0])
def test_hisses_are_the_speakers_at_the_level_of_the_voice(loudness: float) -> None:
    x = loudness * np.concatenate((vowel(0.5, 120), hiss(0.2), vowel(0.3, 120)))
    y = np.concatenate((vowel(0.5, 220), hiss(0.2, seed=1), vowel(0.3, 220)))
    said = put(x, y)
    during = slice(25000, 32000)
    assert likeness(said[during], x[during]) > 0.9
    assert likeness(said[during], y[during]) < 0.4
    assert rms(said[during]) == pytest.approx(rms(y[during]), rel=0.25)
    assert likeness(put(x, y, 0.0)[during], y[during]) > 0.95  # but for the phase


@pytest.mark.parametrize("change_db", [-30, 0, 30, 40])
def test_a_microphone_turned_up_makes_no_burst_and_turned_down_is_followed(change_db: float) -> None:
    gain = 10 ** (change_db / 20)
    x = np.concatenate(
        (vowel(1.0, 120), gain * np.concatenate((vowel(0.1, 120), hiss(0.2), vowel(4.0, 120), hiss(0.2))))
    )
    y = np.concatenate((vowel(1.1, 220), hiss(0.2, seed=1), vowel(4.0, 220), hiss(0.2, seed=1)))
    said, plain = put(x.astype(np.float32), y), put(x.astype(np.float32), y, 0.0)
    upper = [sosfilt(BAND, part) for part in (said, plain)]
    assert np.abs(upper[0]).max() < 2.5 * np.abs(upper[1]).max()
    during = slice(len(y) - 8500, len(y) - 1000)  # the last hiss, after 4 s of speech
    assert abs(20 * np.log10(rms(said[during]) / rms(y[during]))) < 7.0
    assert likeness(said[during], x[during]) > 0.8


def test_a_clap_in_a_hiss_comes_through_no_louder_than_the_hiss_may_be() -> None:
    x = np.concatenate((vowel(1.0, 120), hiss(0.3)))
    x[52800:53280] *= 10
    y = np.concatenate((vowel(1.0, 220), hiss(0.3, seed=1)))
    upper = [sosfilt(BAND, put(x, y, amount)) for amount in (1.0, 0.0)]
    assert np.abs(upper[0]).max() < 2.5 * np.abs(upper[1]).max()


def test_a_line_of_8_khz_leaves_the_voice_its_hisses() -> None:
    narrow = butter(8, 3600, fs=RATE_HZ, output="sos")
    broad = np.random.default_rng(0).standard_normal(RATE_HZ // 5)
    x = sosfilt(narrow, np.concatenate((vowel(0.5, 120), 0.05 * broad))).astype(np.float32)
    y = np.concatenate((vowel(0.5, 220), hiss(0.2, seed=1)))
    during = slice(25000, 32000)
    assert rms(put(x, y)[during]) > 0.9 * rms(put(x, y, 0.0)[during])


def test_where_the_speaker_is_silent_the_voice_keeps_its_hisses() -> None:
    x, y = np.concatenate((vowel(0.5, 120), np.zeros(24000, np.float32))), np.concatenate((vowel(0.5, 220), hiss(0.5)))
    during = slice(30000, 46000)
    assert likeness(put(x, y)[during], put(x, y, 0.0)[during]) > 0.99


def test_vowels_stay_the_voices() -> None:
    x, y = vowel(1.0, 120) + hiss(1.0, 0.005), vowel(1.0, 220) + hiss(1.0, 0.01, seed=1)
    during = slice(12000, 40000)
    assert likeness(put(x, y)[during], put(x, y, 0.0)[during]) > 0.99


def test_noise_does_not_come_through_where_the_voice_pauses() -> None:
    x = np.concatenate((vowel(0.5, 120), hiss(1.0, 0.1)))
    y = np.concatenate((vowel(0.5, 220), hiss(1.0, 1e-4, seed=1)))
    assert rms(put(x, y)[30000:]) < 3 * rms(y[30000:])


def test_who_has_not_spoken_yet_has_no_consonants_either() -> None:
    x, y = hiss(1.0), hiss(1.0, 1e-4, seed=1)  # noise, of which the voice says next to nothing
    assert ACTIVE > 1e-8
    assert likeness(put(x, y), put(x, y, 0.0)) > 0.99


def test_silence_and_extremes_stay_finite() -> None:
    nothing = np.zeros(RATE_HZ, np.float32)
    for x in (nothing, np.full(RATE_HZ, 4.0, np.float32), vowel(1.0, 120)):
        for y in (nothing, np.full(RATE_HZ, 4.0, np.float32), vowel(1.0, 220)):
            said = put(x, y)
            assert np.all(np.isfinite(said)) and np.abs(said).max() < 20.0


def test_a_delay_too_short_for_the_means_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 384 at 48000 Hz, got 383"):
        consonant_state(RATE_HZ, 383)
    with pytest.raises(ValueError, match="frequency must lie between 0 and 5000"):
        consonant_state(10000, 2000)


def again_and_again(state: ConsonantState, x: Sound, share: Sound, y: Sound, times: int) -> None:
    for _ in range(times):
        consonants(state, x, share, y)


def test_a_thousand_blocks_allocate_nothing() -> None:
    state, x, share = consonant_state(RATE_HZ, DELAY), vowel(0.01, 120), np.ones(480, np.float32)
    many, y = njit(again_and_again), x.copy()
    many(state, x, share, y, 1)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    many(state, x, share, y, 1000)
    assert rtsys.get_allocation_stats().alloc - before < 20
