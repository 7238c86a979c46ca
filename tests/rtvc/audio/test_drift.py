"""Clock models and drift control against simulated clocks: lock, residual level, calm, and devices that stop."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio.drift import (
    ACQUIRE_S,
    HITCH_S,
    MAX_CORRECTION,
    PATIENCE_S,
    ClockModel,
    DriftControl,
)

RATE_HZ, BLOCK = 48000, 256
TARGET_S = 0.009


def readings(
    ppm: float, seconds: float, jitter_s: float = 0.0, gap_s: tuple[float, float] = (0.0, 0.0), phase_s: float = 0.0
) -> NDArray[np.float64]:
    """Return (frames, time of the callback, time by the device's clock) of a device; in the gap it stands still."""
    period_s = BLOCK / (RATE_HZ * (1 + ppm * 1e-6))
    due_s = phase_s + period_s * np.arange(1, int(seconds / period_s))
    due_s = due_s[(due_s < gap_s[0]) | (due_s >= gap_s[0] + gap_s[1])]
    late_s = jitter_s * np.abs(np.random.default_rng(1).standard_normal(len(due_s)))
    return np.stack([BLOCK * np.arange(1, len(due_s) + 1), np.maximum.accumulate(due_s + late_s), due_s], axis=1)


def follow(model: ClockModel, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (time, error of the model in ms, error of its rate in ppm) after each reading."""
    out = []
    for frames, time_s, due_s in rows:
        model.observe(int(frames), time_s)
        out.append((due_s, 1e3 * (model.frames_at(due_s) - frames) / RATE_HZ, 1e6 * (model.rate_hz / RATE_HZ - 1)))
    return np.array(out)


@pytest.mark.parametrize("ppm", [0.0, 200.0, -200.0, 500.0, -500.0])
def test_a_steady_clock_is_known_within_two_seconds(ppm: float) -> None:
    seen = follow(ClockModel(RATE_HZ), readings(ppm, 10))
    settled = seen[seen[:, 0] > 2]
    assert np.abs(settled[:, 1]).max() < 0.01
    assert np.abs(settled[:, 2] - ppm).max() < 5


def test_jitter_is_smoothed_more_and_more() -> None:
    seen = follow(ClockModel(RATE_HZ), readings(200, 60, jitter_s=1e-3))
    early, settled = seen[(seen[:, 0] > 4) & (seen[:, 0] < 10)], seen[seen[:, 0] > 20]
    # lateness is never negative: its mean, 0.8 ms, is part of the clock; its spread (0.6 ms) is what must go
    assert np.abs(early[:, 1] + 0.8).max() < 0.3
    assert np.abs(early[:, 2] - 200).max() < 100
    assert np.abs(settled[:, 1] + 0.8).max() < 0.12
    assert np.abs(settled[:, 2] - 200).max() < 20


def test_the_same_reading_twice_counts_once() -> None:
    one, two = ClockModel(RATE_HZ), ClockModel(RATE_HZ)
    for frames, time_s, _ in readings(300, 3, jitter_s=1e-3):
        one.observe(int(frames), time_s)
        for _ in range(3):
            two.observe(int(frames), time_s)
    assert one.rate_hz == two.rate_hz
    assert one.frames_at(5.0) == two.frames_at(5.0)


def test_skipped_readings_do_no_harm() -> None:
    rows = readings(200, 10)
    seen = follow(ClockModel(RATE_HZ), rows[np.sort(np.random.default_rng(0).choice(len(rows), 600, replace=False))])
    assert np.abs(seen[seen[:, 0] > 3][:, 1]).max() < 0.02


@pytest.mark.parametrize("stop_s", [0.1, 0.3, 2.0, 60.0])
def test_a_device_that_stood_still_is_soon_followed_at_its_known_rate(stop_s: float) -> None:
    model = ClockModel(RATE_HZ)
    seen = follow(model, readings(200, 20 + stop_s, gap_s=(10, stop_s)))
    after = seen[seen[:, 0] >= 10 + stop_s + PATIENCE_S + 2 * BLOCK / RATE_HZ]
    assert np.abs(after[:, 1]).max() < 0.01
    assert np.abs(after[:, 2] - 200).max() < 3


@pytest.mark.parametrize("jitter_s", [0.0, 1e-3])
@pytest.mark.parametrize("late_s", [0.015, 0.08, 0.4])
@pytest.mark.parametrize("every", [1, 4, 1000])
def test_late_callbacks_that_come_in_a_burst_do_not_move_the_clock(late_s: float, every: int, jitter_s: float) -> None:
    rows = readings(200, 20, jitter_s)
    late = np.flatnonzero((rows[:, 1] > 10) & (rows[:, 1] < 10 + late_s))
    rows[late, 1] = 10 + late_s
    seen = follow(ClockModel(RATE_HZ), np.delete(rows, [i for n, i in enumerate(late[:-1]) if n % every], axis=0))
    before, after = seen[(seen[:, 0] > 9) & (seen[:, 0] < 10)], seen[seen[:, 0] > 10.01 + late_s]
    assert np.abs(after[:, 1] - before[:, 1].mean()).max() < 0.5
    assert np.abs(after[:, 2] - 200).max() < 80


def test_regular_unevenness_is_no_gap() -> None:
    # as of a server that hands on three blocks at a time
    rows = readings(200, 30)
    rows = rows[: len(rows) // 3 * 3]
    rows[:, 1] = np.repeat(rows[2::3, 1], 3)
    seen = follow(ClockModel(RATE_HZ), rows)
    settled = seen[seen[:, 0] > 10]
    assert np.ptp(settled[:, 1]) < 0.5
    assert np.abs(settled[:, 2] - 200).max() < 100


def test_a_device_that_counts_from_zero_again_is_followed() -> None:
    model = ClockModel(RATE_HZ)
    follow(model, readings(200, 5))
    rows = readings(200, 5)
    rows[:, 1:] += 7.0
    seen = follow(model, rows)
    assert np.abs(seen[:, 1]).max() < 0.01
    assert np.abs(seen[:, 2] - 200).max() < 3


def test_a_wild_clock_is_followed_no_further_than_one_percent() -> None:
    seen = follow(ClockModel(RATE_HZ), readings(50_000, 10))
    assert np.abs(seen[:, 2]).max() <= 10_000 + 1e-6


def run_loop(
    capture_ppm: float, playback_ppm: float, seconds: float, jitter_s: float = 0.0, start_s: float = 0.014
) -> NDArray[np.float64]:
    """Close the loop over two clocks; return (time, true level in ms, correction in ppm) at every capture."""
    capture = readings(capture_ppm, seconds, jitter_s)
    playback = readings(playback_ppm, seconds, jitter_s, phase_s=0.002)
    playback[:, 1] += 1e-7  # never at the same moment
    events = sorted([(row[1], 0, *row) for row in capture] + [(row[1], 1, *row) for row in playback])
    models, control = (ClockModel(RATE_HZ), ClockModel(RATE_HZ)), DriftControl(TARGET_S)
    moved, made, out = [0.0, 0.0], start_s * RATE_HZ, []
    for time_s, side, frames, _, due_s in events:
        if side == 0:
            made += (frames - moved[0]) * (1 + control.correction)
        moved[side] = frames
        models[side].observe(int(frames), time_s)
        if side == 0 and models[1].ready:
            since = [model.frames_at(time_s) - frames for model, frames in zip(models, moved, strict=True)]
            ratio = (1 + models[1].deviation()) / (1 + models[0].deviation()) - 1
            control.update((since[0] + made - moved[1] - since[1]) / RATE_HZ, ratio, time_s)
            played = (due_s - 0.002) * RATE_HZ * (1 + playback_ppm * 1e-6)
            out.append((time_s, 1e3 * (made - played) / RATE_HZ, 1e6 * control.correction))
    return np.array(out)


@pytest.mark.parametrize(
    "ppm", [(200, 0), (-200, 0), (0, 200), (500, 0), (-500, 0), (0, -500), (500, -500), (-500, 500)]
)
def test_the_level_locks_and_stays(ppm: tuple[float, float]) -> None:
    seen = run_loop(*ppm, seconds=30)
    wanted_ppm = 1e6 * ((1 + ppm[1] * 1e-6) / (1 + ppm[0] * 1e-6) - 1)
    locked = seen[seen[:, 0] > ACQUIRE_S]
    assert np.abs(locked[:, 1] - 1e3 * TARGET_S).max() < 0.1
    assert np.abs(locked[:, 2] - wanted_ppm).max() < 5


@pytest.mark.parametrize("ppm", [(200, 0), (-200, 0), (500, -500), (-500, 500)])
def test_under_jitter_the_level_moves_less_than_a_millisecond_and_the_pitch_less_than_a_tenth_of_a_cent(
    ppm: tuple[float, float],
) -> None:
    seen = run_loop(*ppm, seconds=60, jitter_s=1e-3)
    wanted_ppm = 1e6 * ((1 + ppm[1] * 1e-6) / (1 + ppm[0] * 1e-6) - 1)
    locked = seen[seen[:, 0] > ACQUIRE_S + 1]
    assert np.ptp(locked[:, 1]) < 1.0
    calm = seen[seen[:, 0] > 30]
    cents = 1200 * np.log2((1 + calm[:, 2] * 1e-6) / (1 + wanted_ppm * 1e-6))
    assert np.abs(cents).max() < 0.1


def locked(ratio: float = 0.0) -> tuple[DriftControl, float]:
    """Return a control that has found its level, and the time."""
    control, time_s = DriftControl(TARGET_S), 0.0
    while time_s < 2 * ACQUIRE_S:
        control.update(TARGET_S, ratio, time_s)
        time_s += BLOCK / RATE_HZ
    return control, time_s


@pytest.mark.parametrize("ratio", [0.0, 2e-4, -1e-3])
def test_at_its_level_it_makes_frames_at_the_ratio_of_the_clocks(ratio: float) -> None:
    assert locked(ratio)[0].correction == ratio


def test_once_locked_no_small_error_bends_the_pitch_by_a_cent() -> None:
    control, time_s = locked(2e-4)
    for error_s in (0.9 * HITCH_S, -0.9 * HITCH_S, 0.001, -0.001):
        for _ in range(100):
            correction = control.update(TARGET_S + error_s, 2e-4, time_s)
            assert abs(1200 * np.log2((1 + correction) / (1 + 2e-4))) < 1.0
            assert (correction - 2e-4) * error_s < 0
            time_s += BLOCK / RATE_HZ


@pytest.mark.parametrize("error_s", [0.012, -0.012, 0.002])
def test_what_a_hitch_left_is_steered_out_in_seconds_without_overshoot(error_s: float) -> None:
    control, time_s = locked()
    level_s, errors = TARGET_S + error_s, []
    for _ in range(int(10 * RATE_HZ / BLOCK)):
        level_s += control.update(level_s, 0.0, time_s) * BLOCK / RATE_HZ
        time_s += BLOCK / RATE_HZ
        errors.append(abs(level_s - TARGET_S))
        assert abs(control.correction) <= MAX_CORRECTION
    assert errors[int(4 * RATE_HZ / BLOCK)] < 0.001
    assert errors[-1] < 1e-4
    assert (level_s - TARGET_S) * error_s > -1e-9


def test_the_correction_has_a_bound() -> None:
    for level_s, ratio in ((1.0, 0.0), (-1.0, 0.0), (0.0, 0.3), (1.0, -0.004)):
        control = DriftControl(TARGET_S)
        assert abs(control.update(level_s, ratio, 0.0)) <= MAX_CORRECTION
