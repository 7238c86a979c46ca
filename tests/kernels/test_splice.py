from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.kernels.splice import splice

RATE_HZ = 48000
FADE, SHORTEST, LONGEST = 192, 300, 600


def sine(frequency_hz: float, frames: int, level: float = 0.5, phase: float = 0.3) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * frequency_hz / RATE_HZ * np.arange(frames) + phase)).astype(np.float32)


def cut(
    x: NDArray[np.float32], shortest: int = SHORTEST, longest: int = LONGEST, fade: int = FADE
) -> NDArray[np.float32]:
    y = np.full(len(x) - shortest + 1, np.nan, np.float32)
    n = splice(x, shortest, longest, fade, y)
    assert len(x) - longest <= n <= len(x) - shortest
    assert np.isnan(y[n:]).all()
    return y[:n]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    more=st.integers(0, 500),
    fade=st.integers(1, 200),
    shortest=st.integers(0, 300),
    span=st.integers(0, 300),
)
def test_the_beginning_and_the_end_of_the_sound_stay_as_they_are(
    seed: int, more: int, fade: int, shortest: int, span: int
) -> None:
    longest = shortest + span
    x = np.random.default_rng(seed).standard_normal(longest + fade + more).astype(np.float32)
    y = cut(x, shortest, longest, fade)
    removed = len(x) - len(y)
    np.testing.assert_array_equal(y[fade:], x[removed + fade :])
    rising = (np.arange(fade) + 0.5) / fade
    expected = x[:fade] * (1 - rising) + x[removed : removed + fade] * rising
    np.testing.assert_allclose(y[:fade], expected, atol=2e-6)


@pytest.mark.parametrize("frequency_hz", [90.0, 123.4, 220.0, 440.0, 1000.0, 3000.0])
def test_a_tone_goes_on_without_a_click_or_a_dip(frequency_hz: float) -> None:
    # 12.5 ms hold a whole period of every voice above 80 Hz
    x = sine(frequency_hz, 2400)
    y = cut(x, 240 if frequency_hz > 200 else 300, 600)
    before = sine(frequency_hz, 1, phase=0.3 - 2 * np.pi * frequency_hz / RATE_HZ)
    step = np.abs(np.diff(np.concatenate([before, y]))).max()
    assert step <= 1.1 * 0.5 * 2 * np.pi * frequency_hz / RATE_HZ
    period = round(RATE_HZ / frequency_hz)
    tops = [np.abs(y[i : i + period]).max() for i in range(0, len(y) - period, 24)]
    assert min(tops) > 0.9 * 0.5


def test_whole_periods_are_taken_out_so_the_pitch_is_kept() -> None:
    frequency_hz = 160.0
    x = sine(frequency_hz, 2400)
    removed = len(x) - len(cut(x))
    assert removed % (RATE_HZ / frequency_hz) == pytest.approx(0, abs=1)


def test_in_silence_the_longest_cut_is_taken() -> None:
    assert len(cut(np.zeros(1000, np.float32))) == 1000 - LONGEST
    quiet = 1e-5 * np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert len(cut(quiet)) == 1000 - LONGEST


def test_the_shortest_possible_piece_is_allowed() -> None:
    x = sine(200.0, LONGEST + FADE)
    assert len(cut(x)) >= FADE


def test_a_fixed_cut_is_a_plain_cross_fade() -> None:
    x = sine(200.0, 2 * FADE)
    assert len(cut(x, FADE, FADE)) == FADE
