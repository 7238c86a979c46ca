"""The differentiable likeness hears what the speaker encoder hears, and a voice's long-term spectrum."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rtvc.train.shipped import shipped_speaker
from rtvc.voices import speaker
from rtvc.voices.likeness import PIECE_FRAMES, RATE_HZ, Likeness
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import read_recording


@pytest.fixture(scope="module")
def likeness() -> Likeness:
    return Likeness(shipped_speaker())


def voice(name: str) -> tuple[NDArray[np.float32], int]:
    return read_recording(Path(str(resources.files("rtvc.models"))) / "weights" / "voices" / f"{name}.ogg")


def second_and_a_half(name: str, start_s: float = 0.5) -> torch.Tensor:
    x = at_rate(*voice(name), RATE_HZ)
    return torch.tensor(x[round(start_s * RATE_HZ) :][:PIECE_FRAMES])[None]


def test_it_hears_at_24_khz_what_the_speaker_encoder_hears_at_16(likeness: Likeness) -> None:
    sound = second_and_a_half("emma")
    x = at_rate(sound[0].numpy(), RATE_HZ, speaker.RATE_HZ)
    x = x * np.float32(10 ** (speaker.LEVEL_DBFS / 20) / np.sqrt(np.mean(np.square(x))))
    rows = torch.tensor(speaker.mel(x)[None, : speaker.PIECE_ROWS])
    with torch.no_grad():
        wanted = shipped_speaker().heard(rows)[0][0]
        found = likeness.embedding(likeness.power(sound))[0]
    assert float(wanted @ found) > 0.995


def test_level_does_not_count(likeness: Likeness) -> None:
    sound = second_and_a_half("puck")
    with torch.no_grad():
        np.testing.assert_allclose(likeness.power(sound), likeness.power(0.01 * sound), rtol=1e-3, atol=1e-8)


def test_a_voice_is_liker_to_itself_than_to_another(likeness: Likeness) -> None:
    with torch.no_grad():
        embed = [likeness.embedding(likeness.power(second_and_a_half(*which)))[0]
                 for which in (("emma", 0.5), ("emma", 2.2), ("puck", 0.5))]  # fmt: skip
    assert float(embed[0] @ embed[1]) > float(embed[0] @ embed[2]) + 0.1


def test_the_long_term_spectrum_shows_a_filter_and_stops_at_the_band(likeness: Likeness) -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.1, 8 * PIECE_FRAMES)
    spectrum = np.fft.rfft(noise)
    hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    tilted = np.fft.irfft(spectrum * np.where(hz < 2000, 2.0, 1.0), len(noise))
    both = [torch.tensor(x.astype(np.float32).reshape(8, -1)) for x in (noise, tilted)]
    plain, coloured = (likeness.long_term(likeness.power(x), 4000.0) for x in both)
    assert plain.shape == (101,)
    step = (coloured - plain)[:45].mean() - (coloured - plain)[55:].mean()
    assert float(step) == pytest.approx(np.log(2.0), abs=0.03)


def test_it_carries_a_gradient(likeness: Likeness) -> None:
    sound = second_and_a_half("emma").requires_grad_(True)
    power = likeness.power(sound)
    (likeness.embedding(power).sum() + likeness.long_term(power, 8000.0).square().sum()).backward()
    assert sound.grad is not None and torch.isfinite(sound.grad).all() and bool(sound.grad.abs().max() > 0)
