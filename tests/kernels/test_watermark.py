"""The mark says its signs under the sound, never before it, never in silence, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.kernels.watermark import (
    BANDS,
    FRAME,
    HIGH_HZ,
    LOW_HZ,
    RATE_HZ,
    RELEASE_MS,
    SYMBOLS,
    WatermarkState,
    band_edges_hz,
    watermark,
    watermark_state,
)

SIGNS = np.random.default_rng(0).choice((-1.0, 1.0), SYMBOLS).astype(np.float32)


def feed(state: WatermarkState, x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    watermark(state, x, y)
    return y


def noise(frames: int, level: float = 0.1) -> NDArray[np.float32]:
    return (level * np.random.default_rng(1).standard_normal(frames)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(splits=st.lists(st.integers(0, 700), max_size=12))
def test_any_block_size_gives_the_same_samples(splits: list[int]) -> None:
    x = noise(3000)
    state = watermark_state(SIGNS)
    parts = [feed(state, part) for part in np.split(x, sorted({min(s, 3000) for s in np.cumsum(splits, dtype=int)}))]
    np.testing.assert_array_equal(np.concatenate(parts), feed(watermark_state(SIGNS), x))


def test_in_place_gives_the_same_samples() -> None:
    x = noise(FRAME + 1000)
    y = x.copy()
    watermark(watermark_state(SIGNS), y, y)
    np.testing.assert_array_equal(y, feed(watermark_state(SIGNS), x))


def test_silence_stays_silence_and_the_mark_sinks_with_the_sound() -> None:
    x = np.concatenate((noise(RATE_HZ), np.zeros(RATE_HZ, np.float32)))
    mark = feed(watermark_state(SIGNS), x) - x
    assert np.max(np.abs(mark[RATE_HZ : RATE_HZ + 480])) > 0
    during = np.mean(mark[RATE_HZ // 2 : RATE_HZ] ** 2)
    for later_ms in (100, 200, 400):
        start = RATE_HZ + 48 * later_ms
        assert np.mean(mark[start : start + 960] ** 2) < 2 * during * np.exp(-later_ms / RELEASE_MS)
    x = np.concatenate((noise(RATE_HZ), np.zeros(3 * RATE_HZ, np.float32)))
    assert np.all(feed(watermark_state(SIGNS), x)[-RATE_HZ:] == 0.0)
    assert np.all(feed(watermark_state(SIGNS), np.zeros(5000, np.float32)) == 0.0)


def test_the_sound_is_not_delayed_and_the_mark_is_far_below_it_in_its_own_bands() -> None:
    x = noise(4 * FRAME)
    mark = (feed(watermark_state(SIGNS), x) - x)[FRAME:]
    power, host = (np.abs(np.fft.rfft(part)) ** 2 for part in (mark, x[FRAME:]))
    hz = np.fft.rfftfreq(len(mark), 1 / RATE_HZ)
    for low, high in zip(band_edges_hz()[:-1], band_edges_hz()[1:], strict=True):
        inside = (hz >= low) & (hz < high)
        assert -32 < 10 * np.log10(power[inside].sum() / host[inside].sum()) < -18
    outside = (hz < LOW_HZ / 1.5) | (hz > HIGH_HZ * 1.2)
    assert power[outside].sum() < 1e-2 * power.sum()


def test_a_loud_band_does_not_fill_quiet_ones() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 400 * np.arange(2 * FRAME) / RATE_HZ)).astype(np.float32)
    mark = (feed(watermark_state(SIGNS), tone) - tone)[FRAME:]
    power = np.abs(np.fft.rfft(mark)) ** 2
    hz = np.fft.rfftfreq(len(mark), 1 / RATE_HZ)
    assert power[hz > 1500].sum() < 1e-4 * power[hz < 800].sum()


def test_the_signs_turn_the_mark_and_repeat_with_the_frame() -> None:
    x = noise(2 * FRAME)
    plus, minus = (feed(watermark_state(signs), x) - x for signs in (SIGNS, -SIGNS))
    np.testing.assert_allclose(plus, -minus, atol=1e-6)


def test_a_bad_sample_does_no_lasting_harm() -> None:
    x = noise(3 * RATE_HZ)
    broken = x.copy()
    broken[1000] = np.nan
    y, reference = feed(watermark_state(SIGNS), broken), feed(watermark_state(SIGNS), x)
    np.testing.assert_allclose(y[RATE_HZ:], reference[RATE_HZ:], atol=1e-4)


@pytest.mark.parametrize("signs", [np.ones(SYMBOLS - 1), np.zeros(SYMBOLS), np.full(SYMBOLS, 2.0)])
def test_other_signs_are_refused(signs: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="256 numbers"):
        watermark_state(signs.astype(np.float32))


def test_every_band_is_wide_enough_to_carry_symbols() -> None:
    assert np.diff(band_edges_hz()).min() > 60
    assert len(np.diff(band_edges_hz())) == BANDS
