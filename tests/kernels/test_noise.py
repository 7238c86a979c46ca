from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from rtvc.kernels.noise import gaussian, noise_state

N = 1_000_000


def numbers(seed: int, n: int = N) -> NDArray[np.float32]:
    y = np.empty(n, np.float32)
    gaussian(noise_state(seed), y)
    return y


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_numbers_are_of_a_normal_distribution(seed: int) -> None:
    x = numbers(seed).astype(np.float64)
    assert abs(x.mean()) <= 5e-3
    assert abs(x.var() - 1) <= 1e-2
    assert abs(np.mean(x**4) - 3) <= 0.05
    assert kstest(x, "norm").statistic <= 3e-3


def test_numbers_are_independent_of_each_other() -> None:
    x = numbers(3).astype(np.float64)
    for lag in (1, 2, 3, 4, 5, 8, 601, 1202):
        assert abs(np.mean(x[lag:] * x[:-lag])) <= 5e-3
        assert abs(np.mean(np.abs(x[lag:] * x[:-lag])) - 2 / np.pi) <= 5e-3


def test_equal_seeds_give_equal_numbers_and_others_do_not() -> None:
    assert np.array_equal(numbers(7, 1000), numbers(7, 1000))
    assert abs(np.mean(numbers(7, 10000) * numbers(8, 10000))) <= 0.05


def test_a_second_call_goes_on() -> None:
    state = noise_state(5)
    parts = np.empty((2, 1000), np.float32)
    gaussian(state, parts[0])
    gaussian(state, parts[1])
    assert np.array_equal(parts.ravel(), numbers(5, 2000))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        noise_state(-1)
