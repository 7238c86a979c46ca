"""Recordings that cannot make a voice are refused with what to record again."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from rtvc.audio.files import AudioFileError
from rtvc.voices.errors import VoiceError
from rtvc.voices.recording_check import Samples, check_recording, read_recording

RATE_HZ = 16000


def talk(seconds: float, noise: float = 0.001, level: float = 0.1, rate_hz: int = RATE_HZ) -> Samples:
    """Return bursts of a harmonic tone, 0.8 s on and 0.2 s off, in noise."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 8))
    rng = np.random.default_rng(1)
    return (level * tone * (t % 1.0 < 0.8) + noise * rng.normal(size=t.size)).astype(np.float32)


def test_a_good_recording_has_no_fault() -> None:
    report = check_recording(talk(15), RATE_HZ)
    assert not report.faults
    assert report.speech_s == pytest.approx(12.0, abs=0.3)
    assert report.length_s == 15
    assert report.snr_db == pytest.approx(20 * np.log10(np.std(talk(0.8)) / 0.001), abs=1)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "reason"),
    [
        (talk(5), RATE_HZ, "4.0 s of speech 10 dB above the noise; record at least 10 s"),
        (talk(15, noise=0.015), RATE_HZ, "15 dB below the voice; record in a quiet room"),
        (talk(15, noise=0.05), RATE_HZ, "0.0 s of speech"),
        (talk(15, noise=0.03), RATE_HZ, "in a quiet room"),
        (np.clip(8 * talk(15), -0.9, 0.9), RATE_HZ, "clipped; turn the microphone down"),
        (talk(15, noise=1e-5, level=0.001), RATE_HZ, "too quiet"),
        (talk(15, rate_hz=8000), 8000, "8000 Hz lacks the upper half"),
        (np.zeros(15 * RATE_HZ, np.float32), RATE_HZ, "0.0 s of speech"),
        (np.zeros(0, np.float32), RATE_HZ, "0.0 s of speech"),
        (0.1 * np.random.default_rng(2).normal(size=15 * RATE_HZ).astype(np.float32), RATE_HZ, "0.0 s of speech"),
    ],
    ids=["short", "noisy", "drowned", "nearly drowned", "clipped", "quiet", "narrow", "silent", "empty", "only noise"],
)
def test_the_fault_says_what_to_record_again(samples: Samples, rate_hz: int, reason: str) -> None:
    assert reason in "; ".join(check_recording(samples.astype(np.float32), rate_hz).faults)


class Ear:
    """Tells speakers apart by their loudness."""

    same_speaker = 0.8

    def embed(self, speech: Samples, rate_hz: int) -> np.ndarray:
        loud = float(np.std(speech)) > 0.15
        return np.array([1.0, 0.0] if loud else [0.0, 1.0], np.float32)


def test_two_speakers_are_found_by_an_encoder() -> None:
    one, two = talk(15), talk(15, level=0.3)
    assert not check_recording(one, RATE_HZ, encoder=Ear()).faults
    assert "more than one person" in check_recording(np.concatenate((one, two)), RATE_HZ, encoder=Ear()).faults[0]


def test_a_gigabyte_of_wav_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    size = 2**30
    head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 48000, 96000, 2, 16)
    with path.open("wb") as file:
        file.write(head + b"data" + struct.pack("<I", size))
        file.truncate(size + 44)
    with pytest.raises(VoiceError, match="186 min long; 30 min is the most"):
        read_recording(path)


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nonsense")
    with pytest.raises(AudioFileError, match="not an audio file"):
        read_recording(tmp_path / "a.wav")
