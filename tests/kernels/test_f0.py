"""The F0 tracker against signals of known F0, YIN and pyworld's Harvest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import pyworld
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from rtvc.kernels.f0 import HOP, RATE_HZ, F0State, f0_delay_ms, f0_state, f0_track

Sound = NDArray[np.float32]
Track = NDArray[np.float64]


def track(x: NDArray[np.floating], state: F0State | None = None) -> NDArray[np.float32]:
    """Return F0 in Hz, voiced and confidence, float32[3, hops]."""
    out = np.zeros((3, (len(x) + HOP - 1) // HOP), np.float32)
    hops = f0_track(state or f0_state(), x.astype(np.float32), out[0], out[1], out[2])
    return out[:, :hops]


def harmonics(f0_hz: Track | float, numbers: range | None = None, seconds: float = 0.5) -> Track:
    """Return the sawtooth's harmonics below 7.5 kHz, or some of them; f0_hz is constant or given by the sample."""
    f0 = np.full(int(seconds * RATE_HZ), f0_hz) if np.isscalar(f0_hz) else np.asarray(f0_hz)
    phase = 2 * np.pi * np.cumsum(f0) / RATE_HZ
    parts = [np.sin(k * phase) / k for k in numbers or range(1, int(7500 / f0.max()) + 1)]
    x: Track = np.sum(parts, axis=0) * 0.3
    return x


def resonant(x: Track, formants_hz: tuple[float, ...] = (700, 1200, 2600)) -> Track:
    """Return x through resonances of 90 Hz bandwidth, peak 0.3."""
    for f in formants_hz:
        radius = np.exp(-np.pi * 90 / RATE_HZ)
        x = np.asarray(lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * f / RATE_HZ), radius**2], x))
    x *= 0.3 / np.abs(x).max()
    return x


def cents(f0_hz: NDArray[np.floating], true_hz: Track | float) -> Track:
    return 1200 * np.log2(np.asarray(f0_hz, float) / true_hz)


def glide(low_hz: float, high_hz: float, seconds: float) -> Track:
    return low_hz * (high_hz / low_hz) ** np.linspace(0, 1, int(seconds * RATE_HZ))


def yin(x: Track, window: int = 400, threshold: float = 0.15) -> Track:
    """Return YIN's F0 at each hop's end (de Cheveigne and Kawahara 2002, steps 1 to 5, no look-ahead)."""
    lags = np.arange(1, 293)
    f0_hz = []
    for end in range(HOP, len(x) + 1, HOP):
        if end < window + lags[-1]:
            f0_hz.append(np.nan)
            continue
        newest = x[end - window : end]
        d = np.array([np.sum((newest - x[end - window - lag : end - lag]) ** 2) for lag in lags])
        d = d * lags / np.cumsum(d)
        below = np.flatnonzero(d[19:291] < threshold)
        i = 19 + int(below[0] if len(below) else np.argmin(d[19:291]))
        while len(below) and i < 290 and d[i + 1] < d[i]:
            i += 1
        shift = 0.5 * (d[i - 1] - d[i + 1]) / (d[i - 1] - 2 * d[i] + d[i + 1])
        f0_hz.append(RATE_HZ / (lags[i] + shift))
    return np.array(f0_hz)


@pytest.mark.parametrize("f0_hz", [60, 100, 220, 440, 700])
def test_a_sawtooth_is_voiced_and_within_5_cents(f0_hz: float) -> None:
    found, voiced, confidence = track(harmonics(f0_hz))[:, 20:]
    assert voiced.all()
    assert confidence.min() > 0.9
    assert np.abs(cents(found, f0_hz)).max() < 5


@pytest.mark.parametrize("f0_hz", [58, 80, 130, 210, 330, 520, 790])
def test_a_pure_tone_is_voiced_and_within_5_cents(f0_hz: float) -> None:
    found, voiced, _ = track(harmonics(f0_hz, range(1, 2)))[:, 20:]
    assert voiced.all()
    assert np.abs(cents(found, f0_hz)).max() < 5


@pytest.mark.parametrize("f0_hz", [90, 150, 240])
@pytest.mark.parametrize("numbers", [range(2, 6), range(3, 7), range(2, 9, 3)])
def test_a_missing_fundamental_makes_no_octave_error(f0_hz: float, numbers: range) -> None:
    found, voiced, _ = track(harmonics(f0_hz, numbers))[:, 20:]
    assert voiced.all()
    assert np.abs(cents(found, f0_hz)).max() < 10


@pytest.mark.parametrize("uneven", [0.05, 0.1])
def test_periods_louder_and_softer_by_turns_do_not_halve_f0(uneven: float) -> None:
    """A rough voice; from about 0.12 on, the tracker takes the two periods for one."""
    x = harmonics(200.0, seconds=1.0)
    found, voiced, _ = track(x * (1 + uneven * np.sign(np.sin(np.pi * 200 * np.arange(len(x)) / RATE_HZ))))[:, 20:]
    assert voiced.all()
    assert np.abs(cents(found, 200)).max() < 30


def test_silence_is_unvoiced() -> None:
    f0_hz, voiced, confidence = track(np.zeros(RATE_HZ))
    assert not f0_hz.any()
    assert not voiced.any()
    assert confidence.max() < 0.1


@pytest.mark.parametrize("level_db", [-80, -50, -20, -6])
def test_white_noise_is_unvoiced(level_db: float) -> None:
    x = 10 ** (level_db / 20) * np.random.default_rng(0).standard_normal(10 * RATE_HZ)
    assert track(np.clip(x, -1, 1))[1].mean() < 0.002


def test_pink_noise_is_almost_always_unvoiced() -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(10 * RATE_HZ))
    x = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)) / 10, 20.0)))
    assert track(0.1 * x / x.std())[1].mean() < 0.02


def test_dc_is_unvoiced_and_changes_no_estimate() -> None:
    assert not track(np.full(RATE_HZ, 0.5))[1, 2:].any()
    x = harmonics(140.0)
    np.testing.assert_allclose(track(x + 0.4)[0, 60:], track(x)[0, 60:], rtol=1e-5)


def test_denormals_are_unvoiced_and_leave_none_behind() -> None:
    state = f0_state()
    assert not track(np.full(RATE_HZ, 1e-40), state)[1].any()
    track(harmonics(140.0), state)
    assert not track(np.zeros(RATE_HZ), state)[1, 5:].any()
    for array in (state.wide, state.low, state.energy, state.values):
        small = np.abs(array[array != 0])
        assert not small.size or small.min() > np.finfo(array.dtype).tiny


def test_a_full_scale_square_is_tracked() -> None:
    found, voiced, confidence = track(np.sign(np.sin(2 * np.pi * 125 * (np.arange(RATE_HZ) + 0.5) / RATE_HZ)))[:, 20:]
    assert voiced.all()
    assert np.isfinite(confidence).all()
    assert np.abs(cents(found, 125)).max() < 5


def test_the_level_does_not_matter_down_to_60_dbfs_below() -> None:
    x = resonant(harmonics(120.0))
    for gain in (3.0, 0.1, 0.01):
        found, voiced, _ = track(gain * x)[:, 20:]
        assert voiced.all()
        assert np.abs(cents(found, 120)).max() < 10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=30), st.integers(0, 2**32 - 1))
def test_any_block_split_gives_the_same_estimates(splits: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (
        resonant(harmonics(glide(rng.uniform(70, 500), rng.uniform(70, 500), 0.4))) + 0.01 * rng.standard_normal(6400)
    ).astype(np.float32)
    whole = track(x)
    state = f0_state()
    edges = np.minimum(np.cumsum([0, *splits, len(x)]), len(x))
    parts = [track(x[a:b], state) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_one_estimate_for_each_full_hop() -> None:
    state = f0_state()
    counts = [track(np.zeros(n), state).shape[1] for n in (79, 1, 0, 81, 79, 400)]
    assert counts == [0, 1, 0, 1, 1, 5]


@pytest.mark.parametrize("base_hz", [90, 110, 150, 220, 400])
def test_f0_is_as_late_as_declared(base_hz: float) -> None:
    late_ms = []
    for way in (1, -1):
        octaves = way * (np.arange(RATE_HZ) / RATE_HZ - 0.5)
        found = track(harmonics(base_hz * 2**octaves))[0, 20:]
        late_ms.append(1000 * way * np.mean(octaves[HOP - 1 :: HOP][20:] - np.log2(found / base_hz)))
    assert np.mean(late_ms) == pytest.approx(f0_delay_ms(base_hz), abs=1.0)


@pytest.mark.parametrize("f0_hz", [100, 150, 220, 300])
def test_voicing_comes_and_goes_with_a_vowel(f0_hz: float) -> None:
    rng = np.random.default_rng(0)
    on_ms, off_ms = [], []
    for formants_hz in ((700, 1200, 2600), (300, 2200, 2900), (320, 800, 2300)):
        for start in rng.integers(4000, 4080, 5):
            x = 1e-3 * rng.standard_normal(12000)
            x[start : start + 4000] += resonant(harmonics(f0_hz)[int(start) % 160 :][:4000], formants_hz)
            hops = np.flatnonzero(track(x)[1])
            on_ms.append((HOP * (hops[0] + 1) - start) / 16)
            off_ms.append((HOP * (hops[-1] + 2) - start - 4000) / 16)
    assert 0 < np.mean(on_ms) < 8 + 1500 / f0_hz
    assert 0 < np.mean(off_ms) < 15


def test_an_octave_leap_without_a_pause_is_followed_within_100_ms() -> None:
    for before_hz, after_hz in ((220.0, 440.0), (440.0, 220.0), (110.0, 440.0)):
        found = track(harmonics(np.repeat([before_hz, after_hz], RATE_HZ // 2)))[0]
        assert np.abs(cents(found[120:], after_hz)).max() < 5


@pytest.mark.parametrize("before_hz, after_hz", [(220, 90), (110, 280), (220, 600), (90, 700), (400, 80)])
def test_a_voice_that_comes_back_elsewhere_is_voiced_there(before_hz: float, after_hz: float) -> None:
    parts = [resonant(harmonics(before_hz, seconds=1.0)), np.zeros(1600), resonant(harmonics(after_hz, seconds=1.5))]
    x = np.concatenate(parts) + 1e-3 * np.random.default_rng(0).standard_normal(41600)
    found, voiced, confidence = track(x)
    # 0.1 s after it came its F0 is right and it is taken for a voice, 0.5 s after it came for a sure one
    assert np.abs(cents(found[240:500], after_hz)).max() < 50
    assert confidence[240:500].min() > 0.2
    assert voiced[320:500].all()


def test_gross_errors_on_a_noisy_glide_are_fewer_than_yins() -> None:
    rng = np.random.default_rng(0)
    errors = np.zeros(2)
    for low_hz, high_hz in ((80.0, 300.0), (300.0, 80.0), (150.0, 600.0)):
        truth = glide(low_hz, high_hz, 2.0)
        x = resonant(harmonics(truth))
        x += 10 ** (-5 / 20) * x.std() * rng.standard_normal(len(x))
        for i, found in enumerate((track(x)[0].astype(float), yin(x))):
            wrong = np.abs(found / truth[HOP - 1 :: HOP] - 1)[20:] > 0.2
            errors[i] += wrong.mean() / 3
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 0.05


def test_estimates_agree_with_harvest_on_a_vowel() -> None:
    truth = 160 * 2 ** (0.3 * np.sin(2 * np.pi * 1.5 * np.arange(2 * RATE_HZ) / RATE_HZ))
    gain = np.interp(np.arange(2 * RATE_HZ) / RATE_HZ, [0.3, 0.31, 1.7, 1.71], [0.0, 1.0, 1.0, 0.0])
    x = gain * resonant(harmonics(truth)) + 1e-4 * np.random.default_rng(0).standard_normal(2 * RATE_HZ)
    rough, times = pyworld.harvest(x, RATE_HZ, frame_period=1.0)
    reference = pyworld.stonemask(x, rough, times, RATE_HZ)
    found, voiced, _ = track(x)
    # 8 ms: the delay at 160 Hz
    reference = reference[5 * np.arange(1, len(found) + 1) - 8]
    both = (voiced > 0) & (reference > 0)
    error = cents(found[both], reference[both])
    assert both.sum() > 0.97 * voiced.sum()
    assert voiced.sum() == pytest.approx(1.4 * RATE_HZ / HOP, rel=0.03)
    assert np.median(np.abs(error)) < 10
    assert np.mean(np.abs(error) > 50) < 0.02
