"""Texts for recordings that have none: Whisper base (Radford et al. 2022, MIT) through faster-whisper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import TrainingError
from .dataset import Floats


def transcriber(model: Path | str = "base", language: str = "en", threads: int = 1) -> Callable[[Floats], str]:
    """Return a function from 16 kHz sound to its text. model: a folder of CTranslate2, or a name it knows.

    Raises TrainingError if faster-whisper is not installed or has no such model.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise TrainingError("--transcribe needs faster-whisper: pip install 'rtvc[eval]'") from None
    try:
        whisper: Any = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=threads)
    except Exception as error:  # of many kinds: no such name, no network, a foreign folder
        raise TrainingError(f"{model}: Whisper cannot be loaded: {str(error).splitlines()[0]}") from error

    def text_of(x: Floats) -> str:
        segments, _ = whisper.transcribe(x, language=language, beam_size=5, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments)

    return text_of
