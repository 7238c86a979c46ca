from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray

from rtvc.kernels.fft import FftPlan, fft_plan, fft_size, irfft, power_spectrum, rfft

POWERS_OF_TWO = [64, 128, 256, 512, 1024, 2048, 4096]
MIXED = [72, 90, 162, 250, 300, 450, 480, 600, 900, 960, 1200, 1250, 1500, 2400, 3000, 4050]
SIZES = POWERS_OF_TWO + MIXED
ERROR = 5e-7  # of the largest bin or sample
ROUND_TRIP_ERROR = 1e-6  # of the largest sample


def spectrum(plan: FftPlan, x: NDArray[np.float32]) -> NDArray[np.complex64]:
    re, im = np.full((2, x.size // 2 + 1), 9, np.float32)
    rfft(plan, x, re, im)
    return (re + 1j * im).astype(np.complex64)


def signals(n: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(n)
    t = np.arange(n)
    impulse = np.zeros(n)
    impulse[n // 3] = 1
    named = {
        "noise": rng.uniform(-1, 1, n),
        "full-scale square": np.where(t % 10 < 5, 1.0, -1.0),
        "sine between bins": np.sin(2 * np.pi * t * 7.37 / n),
        "impulse": impulse,
        "dc": np.ones(n),
        "nyquist": np.where(t % 2, -1.0, 1.0),
    }
    return {name: x.astype(np.float32) for name, x in named.items()}


@pytest.mark.parametrize("n", SIZES)
def test_forward_is_numpys_within_the_stated_error(n: int) -> None:
    plan = fft_plan(n)
    assert fft_size(plan) == n
    for name, x in signals(n).items():
        want = np.fft.rfft(x.astype(np.float64))
        assert np.abs(spectrum(plan, x) - want).max() <= ERROR * np.abs(want).max(), name


@pytest.mark.parametrize("n", SIZES)
def test_inverse_is_numpys_within_the_stated_error(n: int) -> None:
    plan = fft_plan(n)
    rng = np.random.default_rng(n)
    re, im = rng.standard_normal((2, n // 2 + 1)).astype(np.float32)
    x = np.empty(n, np.float32)
    irfft(plan, re, im, x)
    want = np.fft.irfft(re.astype(np.float64) + 1j * im, n)
    assert np.abs(x - want).max() <= ERROR * np.abs(want).max()


@pytest.mark.parametrize("n", SIZES)
def test_forward_and_inverse_give_the_signal_back(n: int) -> None:
    plan = fft_plan(n)
    re, im = np.empty((2, n // 2 + 1), np.float32)
    for name, x in signals(n).items():
        y = np.empty_like(x)
        rfft(plan, x, re, im)
        irfft(plan, re, im, y)
        assert np.abs(y - x).max() <= ROUND_TRIP_ERROR * np.abs(x).max(), name


@pytest.mark.parametrize("n", [256, 300])
def test_inputs_are_kept(n: int) -> None:
    plan = fft_plan(n)
    x = signals(n)["noise"]
    before = x.copy()
    z = spectrum(plan, x)
    re, im = z.real.copy(), z.imag.copy()
    irfft(plan, re, im, np.empty(n, np.float32))
    assert np.array_equal(x, before)
    assert np.array_equal(re, z.real)
    assert np.array_equal(im, z.imag)


@pytest.mark.parametrize("n", [512, 600, 1200])
def test_power_spectrum_is_the_squared_magnitude(n: int) -> None:
    plan = fft_plan(n)
    x = signals(n)["noise"]
    power, scratch = np.empty((2, n // 2 + 1), np.float32)
    power_spectrum(plan, x, power, scratch)
    want = np.abs(np.fft.rfft(x.astype(np.float64))) ** 2
    assert np.abs(power - want).max() <= 2 * ERROR * want.max()


def test_a_plan_carries_nothing_from_call_to_call() -> None:
    plan = fft_plan(256)
    x = signals(256)["noise"]
    fresh = spectrum(plan, x)
    spectrum(plan, np.full(256, 1e30, np.float32))
    assert np.array_equal(spectrum(plan, x), fresh)


@given(scale=st.sampled_from([0.0, 1e-45, 1e-40, 1e-20, 1.0, 1e15]), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_any_scale_from_silence_and_denormals_up_stays_finite(scale: float, seed: int) -> None:
    x = (np.random.default_rng(seed).uniform(-1, 1, 512) * scale).astype(np.float32)
    z = spectrum(fft_plan(512), x)
    assert np.isfinite(z).all()
    if not x.any():
        assert not z.any()


@pytest.mark.parametrize("n", [-128, 0, 1, 32, 62, 75, 375, 1125, 14 * 64, 1202, 4000 + 200, 8192])
def test_other_sizes_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"3\\*\\*b.* not {n}$"):
        fft_plan(n)


def transform_again_and_again(
    plan: FftPlan, x: NDArray[np.float32], re: NDArray[np.float32], im: NDArray[np.float32], times: int
) -> None:
    for _ in range(times):
        rfft(plan, x, re, im)
        irfft(plan, re, im, x)


@pytest.mark.parametrize("n", [1024, 1200])
def test_a_thousand_transforms_allocate_nothing(n: int) -> None:
    x = np.zeros(n, np.float32)
    re, im = np.zeros((2, n // 2 + 1), np.float32)
    plan = fft_plan(n)
    many = njit(transform_again_and_again)
    many(plan, x, re, im, 1)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    many(plan, x, re, im, 1000)
    assert rtsys.get_allocation_stats().alloc - before < 10
