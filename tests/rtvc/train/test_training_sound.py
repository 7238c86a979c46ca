"""What training hears and excites is what the live chain hears and excites."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rtvc.kernels import mel as live
from rtvc.kernels.content_mel import LEAST_PEAK, RANGE, TOP, normalise_rows
from rtvc.train.excitation import HIGHEST_HZ, pulse_train
from rtvc.train.mel import log_mel, normalise


def test_mel_rows_are_those_of_the_live_kernel() -> None:
    x = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    rows = np.zeros((200, 80), np.float32)
    count = live.log_mel(live.mel_state(16000), x, rows)
    wanted = rows[:count] / np.float32(np.log(10.0))
    found = log_mel(x)
    assert count == len(found) == 100
    assert np.abs(found - wanted).max() < 1e-3


def test_normalised_rows_do_not_depend_on_level_once_the_peak_is_found() -> None:
    rows = log_mel((0.3 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32))
    loud, soft = normalise(rows, -1.5), normalise(rows - 1.0, -1.5)
    assert np.abs(loud - soft)[50:].max() < 1e-4
    assert loud.max() <= TOP + 1e-6 and loud.min() >= TOP - RANGE / 4 - 1e-6
    assert (normalise(np.full((3, 80), -9.0, np.float32), LEAST_PEAK) < TOP).all()
    parts = rows.copy()
    peak = np.array([0.5])
    normalise_rows(peak, parts[:40])
    normalise_rows(peak, parts[40:])
    assert np.array_equal(parts, normalise(rows, 0.5))


@pytest.mark.parametrize("f0_hz", [80.0, 200.0, 333.0])
def test_every_harmonic_of_the_pulse_train_has_amplitude_1(f0_hz: float) -> None:
    x = pulse_train(torch.full((80,), f0_hz)).numpy()  # one second
    spectrum = np.abs(np.fft.rfft(x)) / 12000
    harmonics = np.arange(1, int(HIGHEST_HZ / f0_hz) + 1) * round(f0_hz)
    assert np.allclose(spectrum[harmonics], 1.0, atol=0.02)
    assert spectrum[int(HIGHEST_HZ) + 50 :].max() < 0.02


def test_there_are_no_pulses_where_there_is_no_voice() -> None:
    f0_hz = np.array([0.0] * 10 + [100.0] * 10 + [7.0] * 10, np.float32)
    x = pulse_train(torch.from_numpy(f0_hz)).numpy()
    assert not x[:2700].any() and not x[6300:].any() and np.abs(x[3300:5700]).max() > 50
