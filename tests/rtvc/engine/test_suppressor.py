"""Noise suppression: late by what it declares, the same for any split, quieter where nobody speaks, no click."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.demo import read_voice, sample_path
from rtvc.engine import suppressor as module
from rtvc.engine.build import build_engine
from rtvc.engine.engine import Engine
from rtvc.engine.flight import read_flight
from rtvc.engine.network import NetworkError
from rtvc.engine.params import to_vector
from rtvc.engine.replay import replay
from rtvc.engine.suppressor import Suppressor, check_suppression, installed_suppressor, suppression_missing
from tests.rtvc.engine.recorded import Session, speech

RATE_HZ = 48_000
NOISY, CLEAN = (
    to_vector({"voice.name": "own", "level.match": False, "gate.threshold_db": -90, "suppress.on": on})
    for on in (False, True)
)


def noise(frames: int, level: float = 0.03) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0.0, level, frames).astype(np.float32)


def split(process: object, x: NDArray[np.float32], seed: int | None, most: int = 480) -> NDArray[np.float32]:
    """Run x through process(x, y), in blocks of `most` or, with a seed, of any size up to it."""
    random, y, start = np.random.default_rng(seed), np.zeros_like(x), 0
    while start < len(x):
        n = most if seed is None else int(random.integers(1, most + 1))
        process(x[start : start + n], y[start : start + n])  # type: ignore[operator]
        start += n
    return y


def delay_of(x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    size = 2 * len(x)
    return int(np.argmax(np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)))[: RATE_HZ // 2]))


def test_it_is_as_late_as_it_says_and_keeps_speech() -> None:
    x = read_voice(sample_path())
    y = split(Suppressor().process, x, None)
    assert delay_of(x, y) == Suppressor.delay_frames == 1439
    kept = y[Suppressor.delay_frames :]
    assert np.corrcoef(kept, x[: len(kept)])[0, 1] > 0.95


def test_any_split_gives_the_same_samples_and_a_reset_begins_anew() -> None:
    x = speech(2.0) + noise(2 * RATE_HZ)
    suppressor = Suppressor()
    first = split(suppressor.process, x, None)
    for seed in (1, 2):
        suppressor.reset()
        assert np.array_equal(split(suppressor.process, x, seed), first)


def test_noise_is_taken_out() -> None:
    y = split(Suppressor().process, noise(4 * RATE_HZ), None)
    loudness = np.sqrt(np.mean(np.square(y[RATE_HZ:])))
    assert loudness < 0.03 / 10


def test_two_streams_do_not_hear_each_other() -> None:
    x, other = speech(2.0) + noise(2 * RATE_HZ), noise(480, 0.5)
    alone = split(Suppressor().process, x, None)
    one, two = Suppressor(), Suppressor()

    def beside(block: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        two.process(other, np.zeros_like(other))
        one.process(block, y)

    assert np.array_equal(split(beside, x, None), alone)


def test_the_engine_declares_the_delay_only_while_it_is_on() -> None:
    engine = Engine(RATE_HZ, NOISY, suppressor=Suppressor())
    plain = engine.delay_frames
    assert Engine(RATE_HZ, CLEAN).delay_frames == plain  # there is nothing that could suppress
    assert Engine(RATE_HZ, CLEAN, suppressor=Suppressor()).delay_frames == plain + Suppressor.delay_frames
    x = speech(8.0)
    y = np.zeros_like(x)
    half = len(x) // 2
    engine.process(x[:half], y[:half])
    engine.set(CLEAN)
    engine.process(x[half:], y[half:])
    assert engine.delay_frames == plain + Suppressor.delay_frames
    assert delay_of(x[:half], y[:half]) == plain
    late = slice(half + RATE_HZ, None)
    assert delay_of(x[late], y[late]) == engine.delay_frames
    engine.set(NOISY)
    engine.process(x[:480], y[:480])
    assert engine.delay_frames == plain


@pytest.mark.parametrize("rate_hz", [48_000, 16_000])
def test_an_engine_that_suppresses_is_the_same_for_any_split(rate_hz: int) -> None:
    x = (speech(2.0) + noise(2 * RATE_HZ))[: 2 * rate_hz]
    whole = split(Engine(rate_hz, CLEAN, suppressor=Suppressor()).process, x, None, 4800)
    assert np.array_equal(split(Engine(rate_hz, CLEAN, suppressor=Suppressor()).process, x, 3, 700), whole)


def test_switching_it_does_not_click() -> None:
    x = (0.2 * np.sin(2 * np.pi * 220.0 / RATE_HZ * np.arange(4 * RATE_HZ))).astype(np.float32)
    engine = Engine(RATE_HZ, NOISY, suppressor=Suppressor())
    y = np.zeros_like(x)
    for number, start in enumerate(range(0, len(x), 480)):
        engine.set(CLEAN if number // 67 % 2 else NOISY)
        engine.process(x[start : start + 480], y[start : start + 480])
    steepest = 0.2 * 2 * np.pi * 220.0 / RATE_HZ
    assert np.abs(np.diff(y[4800:])).max() < 2.5 * steepest


def test_a_flight_with_suppression_is_replayed_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.rtvc.engine.recorded.Engine", lambda values: build_engine(values=values))
    session = Session(5.0)
    session.begin({"suppress.on": True, "pitch.semitones": 3})
    session.run(1.5)
    session.set({"suppress.on": False})
    session.run(1.0)
    session.set({"suppress.on": True})
    session.run(1.5)
    flight = read_flight(session.flight)
    assert [state.table["made_as"]["suppressor"] for state in flight.states] == [True] * len(flight.states)
    for first in (0, len(flight.states) - 1):
        again = replay(replace(flight, states=flight.states[first:]))
        assert (again.differ_at, again.differ) == (None, 0)


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "_library", module._library.__wrapped__)


@pytest.mark.usefixtures("not_installed")
def test_without_the_extra_it_is_refused_with_what_to_install() -> None:
    told = "suppress.on: noise suppression is not installed: pip install 'rtvc[suppress]'"
    assert suppression_missing() == told
    assert installed_suppressor() is None
    check_suppression(NOISY)
    for refused in (check_suppression, lambda values: build_engine(values=values)):
        with pytest.raises(NetworkError) as error:
            refused(CLEAN)
        assert str(error.value) == told
    assert not build_engine(values=NOISY).has_suppressor


def test_a_library_that_is_another_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModuleSpec("pyrnnoise", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(NetworkError, match="cannot be used; install pyrnnoise again"):
        module._library.__wrapped__()
    libc = next(Path("/lib").glob("*-linux-gnu/libm.so.6"), None)
    if libc:
        shutil.copy(libc, tmp_path / "librnnoise.so")
        with pytest.raises(NetworkError, match="install pyrnnoise again"):
            module._library.__wrapped__()


def test_a_state_goes_on_in_another_process_bit_for_bit() -> None:
    x = speech(1.0) + noise(RATE_HZ)
    one, two = Suppressor(), Suppressor()
    split(one.process, x, None)
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            getattr(two, name)[:] = value
    two._filled = one._filled
    assert not any(isinstance(value, int) for name, value in vars(one).items() if name != "_filled")  # no address
    assert np.array_equal(split(two.process, x, None), split(one.process, x, None))
