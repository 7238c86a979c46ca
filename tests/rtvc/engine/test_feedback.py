"""Feedback is found with its delay for every kind of voice, a howl is named, and speech alone is never taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.engine.build import build_engine
from rtvc.engine.engine import Engine
from rtvc.engine.feedback import Feedback, FeedbackWatch
from rtvc.engine.flight import FLIGHT_INT64, flight_hear, flight_say
from rtvc.engine.params import to_vector
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.kernels.biquad import band_pass, biquad, biquad_state
from rtvc.voices.presets import find_preset
from tests.rtvc.engine.test_delay_meter import X

RATE_HZ = ENGINE_RATE_HZ
Sound = NDArray[np.float32]
BLOCK = 240
LOOP_FRAMES = 31 * 48


def found(engine: Engine, x: Sound, gain: float, room_hz: float = 0.0) -> list[Feedback | None]:
    """Return what a watch finds each quarter second while the microphone also hears gain times what was said."""
    flight, watch, seen = np.zeros(FLIGHT_INT64, np.int64), FeedbackWatch(), []
    room = biquad_state(band_pass(RATE_HZ, room_hz or 1000.0, 20.0))
    y, heard = np.zeros(len(x) + LOOP_FRAMES, np.float32), np.zeros(BLOCK, np.float32)
    for number, start in enumerate(range(0, len(x) - BLOCK, BLOCK)):
        back = y[start : start + BLOCK].copy()
        if room_hz:
            biquad(room, back, back)
        heard[:] = x[start : start + BLOCK] + gain * back
        said = np.zeros(BLOCK, np.float32)
        flight_hear(flight, heard)
        engine.process(heard, said)
        flight_say(flight, said)
        y[start + LOOP_FRAMES :][:BLOCK] = said[: len(y) - start - LOOP_FRAMES]
        watch.look(flight)
        if number % 50 == 49:
            seen.append(watch.found)
    return seen


@pytest.mark.parametrize("preset", ["natural", "feminine", "deep", "robot", "whisper"])
def test_a_loop_is_found_with_its_delay(preset: str) -> None:
    seen = found(Engine(values=find_preset(preset).vector()), X[: 8 * RATE_HZ], 0.2)
    last = seen[-1]
    assert last is not None and last.late_ms == pytest.approx(31.0, abs=0.5)
    assert "use headphones" in str(last) and "31 ms later" in str(last)
    assert sum(entry is not None for entry in seen) > len(seen) / 2


def test_a_loop_with_a_neural_voice_is_found() -> None:
    seen = found(build_engine(values=to_vector({"voice.name": "neural"}), point="fast"), X[: 6 * RATE_HZ], 0.2)
    assert seen[-1] is not None and seen[-1].late_ms == pytest.approx(31.0, abs=0.5)


@pytest.mark.parametrize("preset", ["natural", "feminine", "deep", "robot", "whisper", "child"])
def test_speech_alone_is_no_loop(preset: str) -> None:
    assert not any(found(Engine(values=find_preset(preset).vector()), X, 0.0))


def test_silence_and_noise_are_no_loop() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(6 * RATE_HZ)).astype(np.float32)
    assert not any(found(Engine(), noise, 0.0)) and not any(found(Engine(), 0 * noise, 0.0))


def test_a_howl_is_named_with_its_frequency() -> None:
    x = X[: 6 * RATE_HZ].copy()
    x[RATE_HZ:] *= 0.01
    values = to_vector({"voice.name": "own", "level.match": False, "gate.threshold_db": -90})
    last = found(Engine(values=values), x, 4.0, room_hz=1200.0)[-1]
    assert last is not None and last.howl_hz == pytest.approx(1200.0, abs=60.0)
    assert "howls at 1" in str(last)
    assert "howls" not in str(Feedback(40.0, 0.0))
