"""Pitch-synchronous overlap-add against what it promises: pitch, formants, identity, any block split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from rtvc.kernels.psola import psola, psola_state

RATE_HZ = 48000
DELAY = 576
Sound = NDArray[np.float32]


def vowel(f0_hz: float, formants_hz: tuple[float, ...] = (700, 1200, 2600, 3500), seconds: float = 1.0) -> Sound:
    """Return pulses through resonances of 90 Hz bandwidth."""
    phase = np.cumsum(np.full(int(seconds * RATE_HZ), f0_hz / RATE_HZ))
    x = np.diff(np.floor(phase), prepend=0.0)
    for f in formants_hz:
        radius = np.exp(-np.pi * 90 / RATE_HZ)
        x = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * f / RATE_HZ), radius**2], x)
    return (0.5 * x / np.abs(x).max()).astype(np.float32)


def shift(x: Sound, own_hz: float, wanted_hz: float, ratio: float = 1.0, everywhere: bool = False) -> Sound:
    y = np.zeros_like(x)
    psola(psola_state(RATE_HZ, DELAY), x, own_hz, wanted_hz, ratio, everywhere, y)
    return y


def pitch_hz(x: Sound, low_hz: float = 50.0, high_hz: float = 1000.0) -> float:
    """Return the F0 of the middle of x by the autocorrelation's first strong peak, refined by a parabola."""
    middle = x[x.shape[0] // 2 :][:16384].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.shape[0]), 65536)) ** 2
    r = np.fft.irfft(spectrum)
    first, last = int(RATE_HZ / high_hz), int(RATE_HZ / low_hz)
    strong = np.flatnonzero(r[first:last] > 0.8 * r[first:last].max())[0] + first
    k = strong + int(np.argmax(r[strong : strong + 40]))
    a, b, c = r[k - 1 : k + 2]
    return float(RATE_HZ / (k + 0.5 * (a - c) / (a - 2 * b + c)))


def formant_hz(x: Sound, low_hz: float, high_hz: float) -> float:
    """Return the envelope's peak between two frequencies."""
    middle = x[x.shape[0] // 2 :][:16384]
    log_power = np.log(np.abs(np.fft.rfft(middle * np.hanning(16384), 16384)) ** 2 + 1e-9)
    cepstrum = np.fft.irfft(log_power)
    cepstrum[120:-120] = 0.0
    envelope = np.fft.rfft(cepstrum).real
    bins = slice(int(low_hz * 16384 / RATE_HZ), int(high_hz * 16384 / RATE_HZ))
    return float((bins.start + np.argmax(envelope[bins])) * RATE_HZ / 16384)


@pytest.mark.parametrize("own_hz", [90.0, 130.0, 220.0, 330.0])
@pytest.mark.parametrize("semitones", [-12.0, -5.0, 3.0, 7.0, 12.0])
def test_pitch_moves_by_the_wanted_interval(own_hz: float, semitones: float) -> None:
    wanted_hz = own_hz * 2 ** (semitones / 12)
    heard_hz = pitch_hz(shift(vowel(own_hz), own_hz, wanted_hz), 0.7 * wanted_hz, 1.5 * wanted_hz)
    assert abs(1200 * np.log2(heard_hz / wanted_hz)) < 8


@pytest.mark.parametrize("ratio", [0.75, 1.0, 1.3])
def test_formants_move_by_the_ratio_and_not_with_the_pitch(ratio: float) -> None:
    source = vowel(110.0)
    for wanted_hz in (85.0, 110.0, 160.0):
        heard_hz = formant_hz(shift(source, 110.0, wanted_hz, ratio), 1900 * ratio, 3000 * ratio)
        assert abs(heard_hz / (2600 * ratio) - 1) < 0.06


def test_unvoiced_sound_passes_unchanged_after_the_delay() -> None:
    x = np.random.default_rng(0).normal(0, 0.1, 20000).astype(np.float32)
    y = shift(x, 0.0, 100.0)
    np.testing.assert_allclose(y[DELAY + 2000 :], x[2000:-DELAY], atol=2e-6)


@pytest.mark.parametrize("semitones", [-7.0, 0.0, 7.0])
def test_level_stays_within_two_db(semitones: float) -> None:
    x = vowel(120.0)
    y = shift(x, 120.0, 120.0 * 2 ** (semitones / 12))
    half = x.shape[0] // 2
    assert abs(20 * np.log10(np.std(y[half:]) / np.std(x[half:]))) < 2.0


def test_robot_sets_noise_to_the_note() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, RATE_HZ).astype(np.float32)
    # every grain is another piece of noise, so look for the note in the level, not in the waveform
    y = shift(noise, 0.0, 100.0, everywhere=True)
    assert np.all(np.isfinite(y))
    assert np.std(y) > 0.03


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 900), min_size=1, max_size=40), st.floats(0.5, 2.0), st.sampled_from([0.0, 120.0]))
def test_any_block_size_gives_the_same_samples(sizes: list[int], ratio: float, own_hz: float) -> None:
    x = vowel(120.0, seconds=0.25)
    whole = shift(x, own_hz, 171.3, ratio)
    state, y, start = psola_state(RATE_HZ, DELAY), np.zeros_like(x), 0
    while start < x.shape[0]:
        for n in sizes:
            psola(state, x[start : start + n], own_hz, 171.3, ratio, False, y[start : start + n])
            start += n
    np.testing.assert_array_equal(y, whole)


def test_changes_of_voicing_leave_no_click() -> None:
    x = vowel(150.0, seconds=2.0)
    state, y = psola_state(RATE_HZ, DELAY), np.zeros_like(x)
    for k, start in enumerate(range(0, x.shape[0], 240)):
        own_hz = 150.0 if (k // 7) % 2 else 0.0
        psola(state, x[start : start + 240], own_hz, 200.0, 1.0, False, y[start : start + 240])
    assert np.abs(np.diff(y)).max() < 1.5 * np.abs(np.diff(x)).max()


@pytest.mark.parametrize("own_hz", [55.0, 800.0])
@pytest.mark.parametrize("wanted_hz", [35.0, 1600.0])
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_extreme_settings_stay_finite_and_bounded(own_hz: float, wanted_hz: float, ratio: float) -> None:
    x = np.sign(vowel(own_hz)).astype(np.float32)
    y = shift(x, own_hz, wanted_hz, ratio)
    assert np.all(np.isfinite(y))
    assert np.abs(y).max() < 8.0
