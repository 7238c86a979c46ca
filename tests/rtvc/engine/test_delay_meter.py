"""The delay meter finds a known delay from the sound itself, in simulation and for every preset, or says nothing."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from rtvc.engine.delay_meter import EVERY_S, FORGET_S, LONGEST_S, WINDOW_S, DelayMeter, envelope, match
from rtvc.engine.engine import Engine
from rtvc.engine.flight import FLIGHT_INT64, flight_block, flight_hear, flight_say
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.voices.presets import find_preset
from tests.rtvc.engine.recorded import Session

RATE_HZ = ENGINE_RATE_HZ
AGE_MS = 12.5
Sound = NDArray[np.float32]


def speech(name: str) -> Sound:
    x, rate_hz = soundfile.read(Path(str(resources.files("rtvc") / "samples" / f"{name}.flac")), dtype="float32")
    return np.asarray(soxr.resample(x, rate_hz, RATE_HZ), np.float32)


X = np.concatenate([speech("female"), speech("male")])


def measured(x: Sound, y: Sound, meter: DelayMeter | None = None) -> DelayMeter:
    """Let a meter watch x become y by the recorder, block by block."""
    meter, flight = meter or DelayMeter(), np.zeros(FLIGHT_INT64, np.int64)
    for start in range(0, len(x), 2400):
        flight_hear(flight, x[start : start + 2400])
        flight_say(flight, y[start : start + 2400])
        flight_block(
            flight, np.array([0, 50_000_000 * (start // 2400 + 1), 0, 1000 * AGE_MS, 0, 0, 0, 0, 0]).astype(int)
        )
        meter.look(flight, 2.0)
    return meter


def late(x: Sound, frames: int) -> Sound:
    return np.concatenate([np.zeros(frames, np.float32), x[: len(x) - frames]])


@pytest.mark.parametrize("delay_ms", [2.0, 20.25, 110.0, 430.0])
def test_a_known_delay_is_found_to_a_tenth_of_a_millisecond(delay_ms: float) -> None:
    reading = measured(X, 0.3 * late(X, round(delay_ms * 48))).reading
    assert reading.p50_ms == pytest.approx(delay_ms + AGE_MS + 2.0, abs=0.1)
    assert reading.confidence > 0.98


@pytest.mark.parametrize(
    "preset", ["natural", "feminine", "masculine", "deep", "child", "anonymous", "robot", "whisper", "telephone"]
)
def test_the_delay_of_every_preset_is_found_to_a_millisecond(preset: str) -> None:
    engine = Engine(values=find_preset(preset).vector())
    y = np.zeros_like(X)
    engine.process(X, y)
    reading = measured(X, y).reading
    assert reading.p50_ms == pytest.approx(engine.delay_ms + AGE_MS + 2.0, abs=1.0)
    assert reading.confidence > 0.8


def test_p95_tells_of_the_blocks_that_were_older() -> None:
    flight, meter, y = np.zeros(FLIGHT_INT64, np.int64), DelayMeter(), late(X, 960)
    for number, start in enumerate(range(0, len(X), 2400)):
        flight_hear(flight, X[start : start + 2400])
        flight_say(flight, y[start : start + 2400])
        age_us = 40_000 if number % 10 == 0 else 10_000
        flight_block(flight, np.array([0, 50_000_000 * number, 0, age_us, 0, 0, 0, 0, 0]))
        meter.look(flight, 0.0)
    assert meter.reading.p50_ms == pytest.approx(30.0, abs=0.1) and meter.reading.p95_ms == pytest.approx(60.0, abs=0.1)


def test_what_is_no_speech_or_not_the_same_gives_no_reading() -> None:
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal(len(X))).astype(np.float32)
    tone = (0.1 * np.sin(0.2 * np.arange(len(X)))).astype(np.float32)
    for x, y in ((noise, noise), (tone, tone), (0 * X, 0 * X), (X, 0 * X), (X, noise), (1e-5 * X, X)):
        assert measured(x, late(y, 960)).reading.confidence == 0.0
    female, male = (envelope(speech(name)) for name in ("female", "male"))
    for shift in range(0, len(male) - 4500, 250):
        assert match(female[:4000], male[shift : shift + 4500])[1] < 0.6


def test_it_keeps_the_last_reading_through_a_pause_and_then_forgets_it() -> None:
    silence = np.zeros(round((FORGET_S + WINDOW_S + LONGEST_S + 2 * EVERY_S) * RATE_HZ), np.float32)
    y = late(np.concatenate([X, silence]), 960)
    x = np.concatenate([X, silence])
    short = round(len(X) + 20.0 * RATE_HZ)
    assert measured(x[:short], y[:short]).reading.confidence > 0.9
    assert measured(x, y).reading.confidence == 0.0


def test_in_simulation_it_agrees_with_what_both_devices_saw() -> None:
    session = Session(9.0)
    session.x[:] = np.resize(X, len(session.x))
    session.begin({"voice.name": "own", "level.match": False, "gate.threshold_db": -90})
    meter = DelayMeter()
    outside_ms = 1e3 * session.pump.delay_s - session.engine.delay_ms
    for _ in range(80):
        session.run(0.1)
        meter.look(session.flight, outside_ms)
    y, rate_hz = session.streams.recorded(), RATE_HZ * (1 + 150e-6)
    window, longest = RATE_HZ, RATE_HZ // 5
    x = session.x[: len(y)]
    piece = y[-window:]
    start = len(y) - window - longest
    likeness = np.correlate(x[start:].astype(np.float64), piece.astype(np.float64), "valid")
    heard_at = start + int(np.argmax(likeness))
    # a device hands over or takes a block at the moment of its last frame; the listener is half a block late
    late_s = (len(y) - window + 128) / RATE_HZ - heard_at / rate_hz
    assert meter.reading.p50_ms == pytest.approx(1e3 * late_s, abs=0.5)
    assert meter.reading.confidence > 0.95
