"""The meter that reads in blocks says what the one that sees the whole signal says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtvc.engine.meter import LoudnessMeter
from rtvc.kernels.loudness import integrated_loudness

RATE_HZ = 16_000
SIGNAL = np.random.default_rng(0).standard_normal(5 * RATE_HZ + 123).astype(np.float32)
SIGNAL *= np.repeat([0.001, 0.3, 0.01, 0.1, 0.0, 0.2], RATE_HZ)[: len(SIGNAL)].astype(np.float32)


@given(st.lists(st.integers(0, len(SIGNAL)), max_size=30))
@settings(max_examples=30, deadline=None)
def test_any_split_gives_the_loudness_of_the_whole(cuts: list[int]) -> None:
    meter = LoudnessMeter(RATE_HZ)
    for block in np.split(SIGNAL, sorted(cuts)):
        meter.add(block)
    assert meter.frames == len(SIGNAL)
    assert meter.peak == np.max(np.abs(SIGNAL))
    assert meter.integrated() == pytest.approx(integrated_loudness(SIGNAL, RATE_HZ), abs=1e-9)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100, 192000])
@pytest.mark.parametrize("seconds", [0.001, 0.35, 0.399, 0.4, 0.55, 2.0])
def test_short_signals_and_odd_rates_agree_with_the_kernel(rate_hz: int, seconds: float) -> None:
    x = (0.1 * np.random.default_rng(1).standard_normal(round(seconds * rate_hz))).astype(np.float32)
    meter = LoudnessMeter(rate_hz)
    for block in np.array_split(x, 3):
        meter.add(block)
    assert meter.integrated() == pytest.approx(integrated_loudness(x, rate_hz), abs=1e-9)


def test_silence_and_nothing_have_no_loudness() -> None:
    meter = LoudnessMeter(RATE_HZ)
    assert meter.integrated() == -math.inf
    meter.add(np.zeros(RATE_HZ, np.float32))
    assert meter.integrated() == -math.inf
