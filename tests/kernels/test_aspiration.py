from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray
from scipy.signal import freqz, lfilter, welch

from rtvc.kernels.aspiration import AspirationState, aspiration, aspiration_delay, aspiration_state

RATE_HZ = 48000
FORMANTS_HZ = {
    "a": (730, 1090, 2440, 3500, 4500),
    "i": (270, 2290, 3010, 3700, 4500),
    "u": (300, 870, 2240, 3300, 4500),
}
BANDWIDTHS_HZ = (60, 90, 120, 175, 250)
SETTLED = 4800  # samples left out of level measurements


def resonator(formants_hz: tuple[float, ...]) -> NDArray[np.float64]:
    poles = np.ones(1)
    for hz, width_hz in zip(formants_hz, BANDWIDTHS_HZ, strict=False):
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        poles = np.convolve(poles, [1, -2 * radius * np.cos(2 * np.pi * hz / RATE_HZ), radius**2])
    return poles


def at_half_scale(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(x / np.abs(x).max() / 2).astype(np.float32)


@cache
def sung(vowel: str, f0_hz: float, seconds: float = 1.0) -> NDArray[np.float32]:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    source = sum(np.cos(2 * np.pi * f0_hz * k * t + 0.3 * k * k) for k in range(1, int(12000 / f0_hz)))
    return at_half_scale(lfilter([1], resonator(FORMANTS_HZ[vowel]), source))


def white(n: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(5).standard_normal(n)).astype(np.float32)


def whispered(x: NDArray[np.float32], formant_ratio: float = 1.0, seed: int = 1) -> NDArray[np.float32]:
    y = np.empty_like(x)
    aspiration(aspiration_state(RATE_HZ, seed), x, formant_ratio, y)
    return y


def level_db(x: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(x[SETTLED:].astype(np.float64) ** 2) + 1e-30))


NOISES = {
    "white": white(RATE_HZ * 2),
    "speech-coloured": at_half_scale(lfilter([1, -0.98], [1, -1.8, 0.83], white(RATE_HZ * 2))),
    "hiss above 4 kHz": at_half_scale(lfilter([1, -1.6, 0.64], [1, -0.5], white(RATE_HZ * 2))),
    "one formant": at_half_scale(lfilter([1], resonator((2000,)), white(RATE_HZ * 2))),
}


@pytest.mark.parametrize("formant_ratio", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("name", NOISES)
def test_noise_keeps_its_level_within_half_a_db(name: str, formant_ratio: float) -> None:
    x = NOISES[name]
    assert abs(level_db(whispered(x, formant_ratio)) - level_db(x)) <= 0.5


@pytest.mark.parametrize("f0_hz", [80, 110, 160, 220, 300])
@pytest.mark.parametrize("vowel", FORMANTS_HZ)
def test_a_vowel_keeps_its_level_within_half_a_db(vowel: str, f0_hz: int) -> None:
    x = sung(vowel, f0_hz)
    for formant_ratio in (0.8, 1.0, 1.25):
        assert abs(level_db(whispered(x, formant_ratio)) - level_db(x)) <= 0.5


@pytest.mark.parametrize(("f0_hz", "error_db"), [(80, 4.0), (110, 4.0), (160, 4.5), (220, 4.0)])
@pytest.mark.parametrize("vowel", FORMANTS_HZ)
def test_a_vowel_keeps_its_spectral_envelope(vowel: str, f0_hz: int, error_db: float) -> None:
    hz, power = welch(whispered(sung(vowel, f0_hz))[SETTLED:], RATE_HZ, nperseg=2048)
    want = 20 * np.log10(np.abs(freqz([1], resonator(FORMANTS_HZ[vowel]), hz, fs=RATE_HZ)[1]))
    speech = (hz > 200) & (hz < 6000)
    assert (10 * np.log10(power) - want)[speech].std() <= error_db


@pytest.mark.parametrize("f0_hz", [100, 200])
def test_no_pitch_is_left(f0_hz: int) -> None:
    def pitch_strength(x: NDArray[np.float32]) -> float:
        spectrum = np.abs(np.fft.rfft(lfilter([1, -0.97], [1], x[SETTLED:].astype(np.float64)))) ** 2
        correlation = np.fft.irfft(spectrum)
        period = RATE_HZ // f0_hz
        return float(correlation[period - 10 : period + 11].max() / correlation[0])

    x = sung("a", f0_hz, 2.0)
    assert pitch_strength(x) > 0.9
    assert pitch_strength(whispered(x)) < 0.15


@pytest.mark.parametrize("formant_ratio", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_a_formant_moves_by_the_ratio(formant_ratio: float) -> None:
    hz, power = welch(whispered(NOISES["one formant"], formant_ratio)[SETTLED:], RATE_HZ, nperseg=1024)
    smooth = np.convolve(power, np.ones(3), "same")
    assert hz[smooth.argmax()] == pytest.approx(2000 * formant_ratio, rel=0.05)


@pytest.mark.parametrize(("rate_hz", "delay"), [(48000, 512), (44100, 512), (96000, 1024), (24000, 256)])
def test_the_noise_of_a_click_is_centred_the_stated_delay_later(rate_hz: int, delay: int) -> None:
    state = aspiration_state(rate_hz)
    assert aspiration_delay(state) == delay
    clicks = np.arange(delay, 600 * 3 * delay, 3 * delay + 17)  # every place within a hop
    x = np.zeros(clicks[-1] + 3 * delay, np.float32)
    x[clicks] = 1
    y = np.empty_like(x)
    aspiration(state, x, 1.0, y)
    power = np.mean([y[click : click + 3 * delay] ** 2 for click in clicks], axis=0)
    centre = np.sum(np.arange(power.size) * power) / power.sum()
    assert centre == pytest.approx(delay, rel=0.01)
    assert delay / rate_hz <= 0.0117


@given(cuts=st.lists(st.integers(0, 3000), max_size=10), formant_ratio=st.sampled_from([0.5, 1.0, 1.3, 2.0]))
@settings(max_examples=30, deadline=None)
def test_any_block_size_gives_the_same_samples(cuts: list[int], formant_ratio: float) -> None:
    x = sung("a", 120, 0.0625)
    whole = whispered(x, formant_ratio)
    split = np.empty_like(x)
    state = aspiration_state(RATE_HZ)
    edges = sorted({0, x.size, *cuts})
    for start, end in pairwise(edges):
        aspiration(state, x[start:end], formant_ratio, split[start:end])
    assert np.array_equal(whole, split)


def test_single_samples_give_the_same_as_one_block() -> None:
    x = white(1500)
    split = np.empty_like(x)
    state = aspiration_state(RATE_HZ)
    for i in range(x.size):
        aspiration(state, x[i : i + 1], 1.1, split[i : i + 1])
    assert np.array_equal(whispered(x, 1.1), split)


def test_input_and_output_may_be_one_array() -> None:
    x = white(5000)
    y = whispered(x)
    aspiration(aspiration_state(RATE_HZ), x, 1.0, x)
    assert np.array_equal(x, y)


def test_equal_seeds_give_equal_noise_and_others_do_not() -> None:
    x = white(RATE_HZ)
    y, other = whispered(x, seed=1)[SETTLED:], whispered(x, seed=2)[SETTLED:]
    assert np.array_equal(y, whispered(x, seed=1)[SETTLED:])
    assert abs(np.corrcoef(y, other)[0, 1]) < 0.05


def test_the_input_itself_does_not_come_through() -> None:
    x = white(RATE_HZ)
    y = whispered(x)
    delays = np.fft.irfft(np.conj(np.fft.rfft(x, 2 * x.size)) * np.fft.rfft(y, 2 * x.size))
    assert np.abs(delays).max() < 0.05 * np.sqrt(np.sum(x.astype(np.float64) ** 2) * np.sum(y.astype(np.float64) ** 2))


def test_silence_stays_silent_and_sound_leaves_no_trace() -> None:
    assert not whispered(np.zeros(4000, np.float32)).any()
    x = white(8000)
    x[4000:] = 0
    assert not whispered(x)[4000 + 2 * 512 + 128 :].any()


@pytest.mark.parametrize("level", [1.0, -0.5, 1e-3])
def test_dc_makes_no_noise(level: float) -> None:
    y = whispered(np.full(9600, level, np.float32))
    assert level_db(y) < 20 * np.log10(abs(level)) - 100


@pytest.mark.parametrize("level", [1e-45, 1e-38, 1e-20, 1e-6])
def test_denormal_and_tiny_sound_stays_finite_and_tiny(level: float) -> None:
    y = whispered((white(9600) * 10 * level).astype(np.float32))
    assert np.isfinite(y).all()
    assert np.abs(y).max() <= 10 * level


def test_full_scale_stays_finite_and_at_its_level() -> None:
    square = np.where(np.arange(RATE_HZ) % 300 < 150, 1, -1).astype(np.float32)
    y = whispered(square, 2.0)
    assert np.isfinite(y).all()
    assert abs(level_db(y) - level_db(square)) <= 0.5


def test_ratios_outside_the_range_are_clipped() -> None:
    x = white(5000)
    assert np.array_equal(whispered(x, 0.0), whispered(x, 0.5))
    assert np.array_equal(whispered(x, 9.0), whispered(x, 2.0))


def test_rates_without_a_transform_are_refused() -> None:
    with pytest.raises(ValueError, match="FFT size"):
        aspiration_state(1000)


def again_and_again(state: AspirationState, x: NDArray[np.float32], y: NDArray[np.float32], times: int) -> None:
    for _ in range(times):
        aspiration(state, x, 1.1, y)


def test_a_thousand_blocks_allocate_nothing() -> None:
    state, x = aspiration_state(RATE_HZ), white(256)
    y = np.empty_like(x)
    many = njit(again_and_again)
    many(state, x, y, 1)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    many(state, x, y, 1000)
    assert rtsys.get_allocation_stats().alloc - before < 30
