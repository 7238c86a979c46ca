"""What is told of somebody's speech is what is in it: against vowels made with known figures, and against WORLD."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import pyworld
from scipy.signal import lfilter

from rtvc.voices.analysis import speech_statistics
from rtvc.voices.errors import VoiceError
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import Samples, read_recording

RATE_HZ = 16000
BANDWIDTHS_HZ = (60, 90, 150, 200, 250)
VOWELS = {  # mean formants of men: Peterson and Barney, 1952; the two highest are about anybody's
    "a": (730, 1090, 2440, 3500, 4500),
    "i": (270, 2290, 3010, 3700, 4600),
    "u": (300, 870, 2240, 3400, 4500),
}


def vowel(f0_hz: float, formants_hz: tuple[int, ...], seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    """Return pulses through resonators, with some noise."""
    pulses = np.diff(np.floor(np.arange(int(seconds * rate_hz) + 1) * f0_hz / rate_hz))
    y = lfilter([1.0], [1.0, -0.97], pulses)
    for hz, width_hz in zip(formants_hz, BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width_hz / rate_hz)
        y = lfilter([1.0], [1.0, -2.0 * radius * np.cos(2.0 * np.pi * hz / rate_hz), radius**2], y)
    noise = np.random.default_rng(0).normal(size=y.size)
    return (0.1 * y / np.std(y) + 1e-5 * noise).astype(np.float32)


def sample(name: str) -> tuple[Samples, int]:
    return read_recording(Path(str(resources.files("rtvc") / "samples" / f"{name}.flac")))


@pytest.mark.parametrize("f0_hz", [100.0, 150.0, 200.0])
@pytest.mark.parametrize("name", VOWELS)
def test_formants_of_vowels_are_found(name: str, f0_hz: float) -> None:
    said = speech_statistics(vowel(f0_hz, VOWELS[name], 3.0), RATE_HZ)
    for k, figure in enumerate(("f1_hz", "f2_hz", "f3_hz")):
        assert said[figure] == pytest.approx(VOWELS[name][k], rel=0.1, abs=20.0 if k else 30.0)
    assert said["f0_median_hz"] == pytest.approx(f0_hz, rel=0.01)


def test_the_rate_of_the_recording_does_not_matter() -> None:
    x = vowel(120.0, VOWELS["a"], 3.0)
    low, high = speech_statistics(x, RATE_HZ), speech_statistics(at_rate(x, RATE_HZ, 44100), 44100)
    for name, value in low.items():
        assert high[name] == pytest.approx(value, rel=0.03, abs=0.1)


@pytest.mark.parametrize("name", ["female", "male"])
def test_the_range_of_f0_is_as_world_finds_it(name: str) -> None:
    x, rate_hz = sample(name)
    f0_hz, times = pyworld.harvest(x.astype(np.float64), rate_hz, f0_floor=55.0, f0_ceil=800.0)
    f0_hz = pyworld.stonemask(x.astype(np.float64), f0_hz, times, rate_hz)
    reference = np.percentile(f0_hz[f0_hz > 0.0], [50.0, 5.0, 95.0, 25.0])
    said = speech_statistics(x, rate_hz)
    assert said["f0_median_hz"] == pytest.approx(reference[0], rel=0.03)
    assert said["f0_high_hz"] == pytest.approx(reference[2], rel=0.12)
    # creak at the ends of phrases is voiced for WORLD and not for our tracker
    assert reference[1] < said["f0_low_hz"] < reference[3]


@pytest.mark.parametrize("a_second", [2.5, 4.0, 5.0])
def test_syllables_are_counted(a_second: float) -> None:
    x = vowel(120.0, VOWELS["a"], 8.0)
    swell = 0.02 + 0.98 * np.square(np.sin(np.pi * a_second * np.arange(x.size) / RATE_HZ))
    assert speech_statistics((x * swell).astype(np.float32), RATE_HZ)["syllables_per_s"] == pytest.approx(
        a_second, rel=0.05
    )


@pytest.mark.parametrize(("name", "syllables"), [("female", 32), ("male", 33)])
def test_syllables_of_sentences_are_found_but_for_some(name: str, syllables: int) -> None:
    x, rate_hz = sample(name)
    found = speech_statistics(x, rate_hz)["syllables_per_s"] * len(x) / rate_hz
    assert 0.75 * syllables < found < 1.1 * syllables


def test_loudness_is_in_lufs() -> None:
    x, rate_hz = sample("female")  # -20.7 by samples.toml
    assert speech_statistics(x, rate_hz)["loudness_lufs"] == pytest.approx(-20.7, abs=0.3)
    assert speech_statistics(0.5 * x, rate_hz)["loudness_lufs"] == pytest.approx(-26.7, abs=0.3)


def test_a_whisper_is_refused() -> None:
    breath = 0.1 * np.random.default_rng(1).normal(size=5 * RATE_HZ).astype(np.float32)
    with pytest.raises(VoiceError, match="s of the speech are voiced, 1 s must be; speak, do not whisper"):
        speech_statistics(breath, RATE_HZ)
    with pytest.raises(VoiceError, match=r"only 0\.0 s"):
        speech_statistics(np.zeros(0, np.float32), RATE_HZ)
