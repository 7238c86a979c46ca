from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.elementary import FAST, cos_turns, exp, sin_turns, tanh

ERROR = 3e-7

Values = NDArray[np.float64]


def over(function: Callable[[np.float32], np.float32], x: Values) -> tuple[Values, Values]:
    """Return x as float32 has it, and what a vectorised loop makes of it."""

    @njit(fastmath=FAST)
    def loop(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        for i in range(x.shape[0]):
            y[i] = function(x[i])

    narrow = x.astype(np.float32)
    y = np.empty_like(narrow)
    loop(narrow, y)
    return narrow.astype(np.float64), y.astype(np.float64)


def test_exp_keeps_the_stated_relative_error() -> None:
    x, y = over(exp, np.linspace(-87, 88, 1_000_001))
    assert np.abs(y / np.exp(x) - 1).max() <= ERROR


def test_exp_of_arguments_out_of_range_is_that_of_the_range_ends() -> None:
    _, y = over(exp, np.array([-1e30, -88.0, -87.0, 88.0, 89.0, 1e30]))
    assert y[0] == y[1] == y[2] == pytest.approx(np.exp(-87.0), rel=ERROR)
    assert y[3] == y[4] == y[5] == pytest.approx(np.exp(88.0), rel=ERROR)


def test_tanh_keeps_the_stated_error_up_to_any_argument() -> None:
    x, y = over(tanh, np.concatenate([np.linspace(-20, 20, 1_000_001), [-1e30, -100, 100, 1e30]]))
    assert np.abs(y - np.tanh(x)).max() <= ERROR


@pytest.mark.parametrize(("ours", "theirs"), [(sin_turns, np.sin), (cos_turns, np.cos)])
def test_sine_and_cosine_keep_the_stated_error_over_many_turns(
    ours: Callable[[np.float32], np.float32], theirs: Callable[[Values], Values]
) -> None:
    for turns in (1, 1000):
        x, y = over(ours, np.linspace(-turns, turns, 1_000_001))
        assert np.abs(y - theirs(2 * np.pi * (x - np.round(x)))).max() <= ERROR


def test_sine_near_zero_keeps_the_error_relative() -> None:
    x, y = over(sin_turns, np.geomspace(1e-30, 0.1, 100_001))
    assert np.abs(y / np.sin(2 * np.pi * x) - 1).max() <= ERROR


def test_quarter_turns_are_exact_or_nearly_so() -> None:
    turns = np.arange(-8, 9) / 4
    _, sine = over(sin_turns, turns)
    _, cosine = over(cos_turns, turns)
    assert np.abs(sine - np.round(np.sin(2 * np.pi * turns))).max() <= ERROR
    assert np.abs(cosine - np.round(np.cos(2 * np.pi * turns))).max() <= ERROR
