"""No parameter clicks on its way, whatever it goes through: a sine, and the spectral flux where the sine is not.

The flux is the growth of the spectrum above 4 kHz from one frame of 5.3 ms to the next, every 1.3 ms, in dB of the
sound's peak. A click shows there at once: the sine's level jumping by 3 % gives -32 dB.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.control.ramps import STEP_S
from rtvc.engine.engine import Engine
from rtvc.engine.params import INDEX, PARAMS, Param, Value, to_vector
from rtvc.engine.voice import ENGINE_RATE_HZ
from tests.rtvc.control.served import PLAIN, tone

FRAME, HOP = 256, 64
FIRST_BIN = 22  # 4.1 kHz
ALLOWED_DB = -50.0
BEGIN_S, RAMP_S, SECONDS = 0.35, 0.15, 0.8
AUDIBLE: dict[str, dict[str, Value]] = {  # settings in which a parameter makes a difference
    "pitch.target_hz": {"pitch.mode": "target"},
    "pitch.intonation": {"pitch.mode": "target"},
    "formant.follow": {"pitch.semitones": 7},
}

Sound = NDArray[np.float32]


def flux_db(y: Sound) -> float:
    """Return the largest growth of the spectrum above 4 kHz between two frames after the first 0.25 s."""
    frames = np.lib.stride_tricks.sliding_window_view(y[round(0.25 * ENGINE_RATE_HZ) :], FRAME)[::HOP]
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(FRAME)))[:, FIRST_BIN:] / (FRAME / 4)
    growth = np.maximum(0.0, np.diff(magnitudes, axis=0)).sum(axis=1)
    return float(20 * np.log10((growth.max() + 1e-9) / (np.abs(y).max() + 1e-9)))


def spoken(param: Param, path: Callable[[float], float]) -> Sound:
    """Return the tone with one parameter set each STEP_S to what path says."""
    x = tone(SECONDS)
    values = to_vector(PLAIN | AUDIBLE.get(param.id, {}))
    engine, y = Engine(ENGINE_RATE_HZ, values), np.zeros_like(x)
    step = round(STEP_S * ENGINE_RATE_HZ)
    for start in range(0, len(x), step):
        values[INDEX[param.id]] = path(start / ENGINE_RATE_HZ)
        engine.set(values)
        engine.process(x[start : start + step], y[start : start + step])
    return y


def span(param: Param) -> tuple[float, float]:
    return param.minimum, float(len(param.choices) - 1) if param.choices else param.maximum


@functools.cache
def at_rest_db(param: Param) -> float:
    """Return the flux where the parameter stays at either end: noise, where it makes noise."""
    return max(flux_db(spoken(param, lambda _, at=at: at)) for at in span(param))  # type: ignore[misc]


@pytest.mark.parametrize("param", [p for p in PARAMS.values() if not p.choices and not p.switch], ids=lambda p: p.id)
def test_a_ramp_through_the_whole_range_and_back_is_click_free(param: Param) -> None:
    low, high = span(param)
    middle_s = BEGIN_S + RAMP_S

    def path(time_s: float) -> float:
        return low + (high - low) * max(0.0, 1.0 - abs(time_s - middle_s) / RAMP_S)

    assert flux_db(spoken(param, path)) < max(ALLOWED_DB, at_rest_db(param) + 3.0)


@pytest.mark.parametrize("param", list(PARAMS.values()), ids=lambda p: p.id)
def test_a_jump_from_end_to_end_is_click_free(param: Param) -> None:
    low, high = span(param)

    def path(time_s: float) -> float:
        return high if BEGIN_S < time_s < BEGIN_S + RAMP_S else low

    assert flux_db(spoken(param, path)) < max(ALLOWED_DB, at_rest_db(param) + 3.0)


def test_the_measure_sees_a_small_click() -> None:
    y = spoken(PARAMS["level.gain_db"], lambda _: 0.0)
    assert flux_db(y) < -70.0
    crest = 25_000 + int(np.argmax(np.abs(y[25_000:25_240])))
    y[crest:] *= np.float32(0.97)
    assert flux_db(y) > -35.0
