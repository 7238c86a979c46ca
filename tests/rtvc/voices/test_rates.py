"""Whole recordings at another rate stay in time and in tune."""

from __future__ import annotations

import numpy as np
import pytest

from rtvc.voices.rates import at_rate


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 16_000), (16_000, 48_000), (48_000, 24_000), (22_050, 24_000)])
def test_a_sine_is_the_same_sine_at_the_same_times(from_hz: int, to_hz: int) -> None:
    def sine(rate_hz: int) -> np.ndarray:
        return np.sin(2 * np.pi * 1000.0 * np.arange(rate_hz) / rate_hz).astype(np.float32)

    y = at_rate(sine(from_hz), from_hz, to_hz)
    assert y.dtype == np.float32 and len(y) == to_hz
    edge = to_hz // 50
    assert np.abs(y - sine(to_hz))[edge:-edge].max() < 2e-3


def test_equal_rates_and_nothing_are_left_alone() -> None:
    x = np.arange(10, dtype=np.float32)
    assert np.array_equal(at_rate(x, 8000, 8000), x)
    assert len(at_rate(x[:0], 8000, 48_000)) == 0
