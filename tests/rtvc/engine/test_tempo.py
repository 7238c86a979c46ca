"""A recording at another tempo: the length is right to a frame, the pitch stays, and its end is heard."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtvc.engine.tempo import check_tempo, stretched, stretched_frames

Sound = NDArray[np.float32]


def reader(x: Sound, block: int) -> Callable[[Sound], int]:
    """Return what reads x, at most block frames at a time."""
    done = 0

    def read(out: Sound) -> int:
        nonlocal done
        n = min(len(out), len(x) - done, block)
        out[:n] = x[done : done + n]
        done += n
        return n

    return read


def at(tempo: float, x: Sound, rate_hz: int = 48000, block: int = 16_384) -> Sound:
    return np.concatenate([y.copy() for y in stretched(reader(x, block), rate_hz, tempo)])


def noise(frames: int) -> Sound:
    return (0.1 * np.random.default_rng(0).standard_normal(frames)).astype(np.float32)


@pytest.mark.parametrize("tempo", [0.5, 0.7, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 192000])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.5, 3.21])
def test_the_length_is_the_sources_by_the_tempo(seconds: float, rate_hz: int, tempo: float) -> None:
    x = noise(max(1, round(seconds * rate_hz)))
    y = at(tempo, x, rate_hz)
    assert len(y) == stretched_frames(len(x), tempo) == max(1, round(len(x) / tempo))


def test_at_tempo_one_nothing_is_changed() -> None:
    x = noise(100_001)
    np.testing.assert_array_equal(at(1.0, x), x)


@pytest.mark.parametrize("tempo", [0.5, 0.7, 1.5, 2.0])
@pytest.mark.parametrize("hz", [100.0, 437.0, 2000.0])
def test_a_sine_keeps_its_frequency_and_its_level(hz: float, tempo: float) -> None:
    x = (0.3 * np.sin(2 * np.pi * hz * np.arange(4 * 48000) / 48000)).astype(np.float32)
    y = at(tempo, x)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)), 8 * len(y)))
    assert np.argmax(spectrum) * 48000 / (8 * len(y)) == pytest.approx(hz, rel=2e-3)
    assert np.std(y) == pytest.approx(np.std(x), rel=0.01)


def f0(sound: Sound, rate_hz: int) -> NDArray[np.float64]:
    import pyworld

    found: NDArray[np.float64] = pyworld.harvest(sound.astype(np.float64), rate_hz, frame_period=10.0)[0]
    return found


@cache
def sample(voice: str) -> tuple[Sound, int, NDArray[np.float64]]:
    """Return a bundled sample, its rate and its F0."""
    with resources.as_file(resources.files("rtvc.samples") / f"{voice}.flac") as path:
        x, rate_hz = soundfile.read(path, dtype="float32")
    return x, rate_hz, f0(x, rate_hz)


@pytest.mark.parametrize("tempo", [0.7, 0.85, 1.2, 1.5])
@pytest.mark.parametrize("voice", ["female", "male"])
def test_speech_keeps_its_pitch_and_says_everything_in_its_place(voice: str, tempo: float) -> None:
    def envelope(sound: Sound, frames: float) -> NDArray[np.float64]:
        ends = np.arange(0, 100) * frames
        return np.array([np.std(sound[round(a) : round(a + frames)]) for a in ends[ends + frames <= len(sound)]])

    x, rate_hz, before = sample(voice)
    y = at(tempo, x, rate_hz)
    after = f0(y, rate_hz)
    assert np.median(after[after > 0]) == pytest.approx(np.median(before[before > 0]), rel=0.02)
    assert np.mean(after > 0) == pytest.approx(np.mean(before > 0), abs=0.05)
    a, b = envelope(x, 0.1 * rate_hz), envelope(y, 0.1 * rate_hz / tempo)
    n = min(len(a), len(b))
    assert np.corrcoef(a[:n], b[:n])[0, 1] > 0.95


@pytest.mark.parametrize("tempo", [0.5, 1.0, 2.0])
def test_the_end_of_the_source_is_the_end_of_what_comes(tempo: float) -> None:
    t = np.arange(48000) / 48000
    x = (0.3 * np.sin(2 * np.pi * np.where(t < 0.9, 150, 1200) * t)).astype(np.float32)
    last = at(tempo, x)[-round(0.05 * 48000 / tempo) :]
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last))))
    assert np.argmax(spectrum) * 48000 / len(last) == pytest.approx(1200, rel=0.04)


@pytest.mark.parametrize("tempo", [0.6, 1.7])
@pytest.mark.parametrize("block", [100, 4801, 16_383])
def test_any_block_size_gives_the_same_samples(block: int, tempo: float) -> None:
    x = noise(100_000)
    np.testing.assert_array_equal(at(tempo, x, block=block), at(tempo, x))


@pytest.mark.parametrize("tempo", [0.49, 2.01, -1.0, 0.0, float("nan"), float("inf")])
def test_no_voice_speaks_so(tempo: float) -> None:
    with pytest.raises(ValueError, match=rf"tempo {tempo:g}: must lie in 0\.5\.\.2"):
        check_tempo(tempo)
