"""The monitor's arithmetic without a server: what is written for what was recorded, whatever the two clocks do."""

from __future__ import annotations

import os

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio.backend import DeviceError
from rtvc.audio.pulse_server import libpulse

try:
    libpulse()
except (DeviceError, OSError):
    pytest.skip("no libpulse on this machine", allow_module_level=True)
finally:
    os.environ.pop("PULSE_MEMPOOL_DISABLE", None)

from rtvc.audio import monitor_callbacks as m

RATE_HZ, PIECE = 48_000, 240


def fresh(target: int = 576) -> NDArray[np.int64]:
    state = np.zeros(m.MONITOR_INT64, np.int64)
    values = {m.RATE_HZ: RATE_HZ, m.TARGET: target, m.TARGET_MAX: 2880, m.GROWTH: 192, m.DEEP: 1920, m.STARTED: 1}
    for name, value in values.items():
        state[name] = value
    state.view(np.float64)[m.QUEUED] = target
    state.view(np.float64)[m.GAIN] = state.view(np.float64)[m.GAIN_NOW] = 1.0
    return state


@pytest.mark.parametrize("ppm", [-300.0, 0.0, 300.0])
def test_two_clocks_that_differ_keep_the_queue_where_it_shall_be(ppm: float) -> None:
    state, queued = fresh(), 576.0
    for _ in range(RATE_HZ // PIECE * 60):
        silence, n = m.frames_out(state, PIECE, round(queued))
        assert silence == 0
        queued += n - PIECE * (1 + ppm * 1e-6)
    assert abs(queued - 576) < 40
    assert state[m.XRUNS] == 0


def test_a_tone_stretched_by_a_frame_stays_a_tone() -> None:
    state = fresh()
    x = np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(PIECE * 200)).astype(np.float32)
    made = []
    for i in range(200):
        y = np.zeros(PIECE + (i % 3) - 1, np.float32)
        m.pass_on(state, x[i * PIECE : (i + 1) * PIECE], y)
        made.append(y)
    y = np.concatenate(made)
    assert np.abs(np.diff(y, 2)).max() < 1.5 * np.abs(np.diff(x, 2)).max() + 1e-4
    assert np.abs(y).max() == pytest.approx(1.0, abs=0.01)


def test_a_level_moves_without_a_step_and_never_beyond_full_scale() -> None:
    state = fresh()
    x, y = np.full(PIECE, 0.5, np.float32), np.zeros(PIECE, np.float32)
    m.pass_on(state, x, y)
    np.testing.assert_array_equal(y, x)
    state.view(np.float64)[m.GAIN] = 4.0
    m.pass_on(state, x, y)
    assert np.diff(y, prepend=np.float32(0.5)).max() < 0.01
    assert y[-1] == 1.0


def test_a_dry_queue_is_filled_and_grows_and_a_deep_one_is_cut() -> None:
    state = fresh()
    silence, n = m.frames_out(state, PIECE, -1000)
    assert (silence, n) == (576 + 192 + 1000, PIECE)
    assert state[m.XRUNS] == 1 and state[m.TARGET] == 768
    assert m.frames_out(state, PIECE, 768 + 1921) == (0, 0)
    assert m.frames_out(state, PIECE, 1000) == (0, 0)
    assert m.frames_out(state, PIECE, 700)[1] in (PIECE, PIECE + 1)
    for _ in range(100):
        m.frames_out(state, PIECE, 0)
    assert state[m.TARGET] == 2880


def test_after_a_cut_the_sound_comes_back_over_what_was_heard_last() -> None:
    state = fresh()
    x, y = np.full(PIECE, 0.5, np.float32), np.zeros(PIECE, np.float32)
    m.pass_on(state, x, y)
    m.frames_out(state, PIECE, 5000)
    m.frames_out(state, PIECE, 500)
    m.pass_on(state, x, y)
    assert abs(y[0] - 0.5) < 0.03 and np.abs(np.diff(y)).max() < 0.05
