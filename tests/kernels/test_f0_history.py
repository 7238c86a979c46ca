from __future__ import annotations

import numpy as np

from rtvc.kernels.f0 import f0_lag_samples
from rtvc.kernels.f0_history import KEPT, NEAR, F0History, f0_at, f0_history, f0_remember

HOP = 80


def remembered(*estimates: tuple[int, float, float]) -> F0History:
    """Return a history of (the time an estimate speaks of, F0, confidence)."""
    history = f0_history()
    for time, f0_hz, confidence in estimates:
        f0_remember(history, time + f0_lag_samples(f0_hz), f0_hz, confidence)
    return history


def test_nothing_is_known_of_a_time_that_no_estimate_is_near_to() -> None:
    assert f0_at(f0_history(), 0, 480) == 0.0
    assert f0_at(remembered((1000, 120.0, 1.0)), 1481, 480) == 0.0
    assert f0_at(remembered((1000, 120.0, 1.0)), 1480, 480) == 120.0


def test_estimates_within_a_frame_are_smoothed_by_their_median() -> None:
    times = range(1000 - NEAR, 1000 + NEAR + 1, HOP)
    values = [120.0, 121.0, 60.0, 122.0, 123.0, 119.0]
    history = remembered(*((time, hz, 1.0) for time, hz in zip(times, values, strict=True)))
    assert f0_at(history, 1000, 480) == np.median(values)
    assert f0_at(remembered((1000, 100.0, 1.0), (1080, 110.0, 1.0)), 1040, 480) == 105.0


def test_estimates_that_are_not_sure_do_not_count() -> None:
    history = remembered((1000, 60.0, 0.4), (1080, 121.0, 0.6), (1400, 130.0, 0.9))
    assert f0_at(history, 1000, 480) == 121.0
    assert f0_at(history, 1700, 480) == 130.0


def test_only_the_newest_are_kept() -> None:
    history = f0_history()
    for hop in range(2 * KEPT):
        f0_remember(history, hop * HOP, 0.0, 1.0)  # unvoiced and sure of it: its own time
    f0_remember(history, 2 * KEPT * HOP + f0_lag_samples(100.0), 100.0, 1.0)
    assert f0_at(history, 2 * KEPT * HOP, 0) in (100.0, 0.0, 50.0)
    assert f0_at(history, 0, 480) == 0.0
