"""Augmentations do what they say: lengths, levels, bands, and warped formants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.train import augment

Signal = NDArray[np.float32]
RATE_HZ = augment.RATE_HZ


def speechlike(seconds: float = 1.0, seed: int = 0) -> Signal:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 40))
    return (0.1 * voice * (1 + np.sin(2 * np.pi * 3 * t)) + 1e-3 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.mark.parametrize(
    "change", [augment.level, augment.colour, augment.room, augment.clip, augment.band, augment.lose_packets]
)
def test_all_but_tempo_keep_length_type_and_their_input(
    change: Callable[[Signal, np.random.Generator], Signal],
) -> None:
    x = speechlike()
    before = x.copy()
    for seed in range(5):
        y = change(x, np.random.default_rng(seed))
        assert (y.shape, y.dtype) == (x.shape, np.float32)
        assert np.isfinite(y).all()
    assert np.array_equal(x, before)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_tempo_changes_length_and_pitch_alike(factor: float) -> None:
    x = np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    y = augment.tempo(x, factor)
    assert len(y) == int(len(x) / factor)
    assert np.abs(np.fft.rfft(y, RATE_HZ)).argmax() == pytest.approx(200 * factor, abs=1)


def test_level_puts_the_peak_between_minus_40_and_0_dbfs() -> None:
    peaks = [np.abs(augment.level(speechlike(), np.random.default_rng(seed))).max() for seed in range(50)]
    assert 0.0099 < min(peaks) < 0.03 and 0.4 < max(peaks) <= 1.001


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_lies_as_far_below_speech_as_was_asked(snr_db: float) -> None:
    x = np.random.default_rng(1).standard_normal(RATE_HZ).astype(np.float32)
    noise = augment.coloured_noise(RATE_HZ, np.random.default_rng(2))
    added = augment.add_noise(x, noise, snr_db) - x
    assert 10 * np.log10(np.mean(x**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=1.0)


def test_noise_shorter_than_speech_is_repeated_and_silence_stays_silent() -> None:
    assert len(augment.add_noise(speechlike(), np.ones(100, np.float32), 20.0)) == RATE_HZ
    assert not augment.add_noise(np.zeros(RATE_HZ, np.float32), np.ones(100, np.float32), 20.0).any()


def test_clipping_limits_the_peak_to_a_share_of_it() -> None:
    x = speechlike()
    share = np.abs(augment.clip(x, np.random.default_rng(0))).max() / np.abs(x).max()
    assert 0.15 <= share <= 0.8


def test_band_takes_away_what_lies_over_7_khz_and_leaves_what_lies_under_2() -> None:
    x = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    before, after = (np.abs(np.fft.rfft(s)) for s in (x, augment.band(x, np.random.default_rng(1))))
    assert np.allclose(before[:2000], after[:2000], rtol=0.02, atol=1e-2)
    assert after[7800:].mean() < 0.35 * before[7800:].mean()


def test_lost_packets_are_one_to_four_gaps_of_at_most_40_ms() -> None:
    for seed in range(10):
        lost = (augment.lose_packets(np.ones(RATE_HZ, np.float32), np.random.default_rng(seed)) == 0).sum()
        assert 0.010 * RATE_HZ - 1 <= lost <= 4 * 0.040 * RATE_HZ


def test_degraded_speech_repeats_with_its_seed_and_differs_without() -> None:
    x, noises = speechlike(), [speechlike(0.3, 5)]
    one, same, other = (augment.degrade(x, noises, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_warped_filters_hear_a_formant_where_the_ratio_puts_it() -> None:
    plain, warped = (augment.warped_filters(ratio, 512, 80) for ratio in (1.0, 1.15))
    heard = [int((f @ np.eye(257)[round(1000 / 31.25)]).argmax()) for f in (plain, warped)]
    wanted = int(augment.warped_filters(1.0, 512, 80)[:, round(1150 / 31.25)].argmax())
    assert heard[1] > heard[0]
    assert abs(heard[1] - wanted) <= 1
