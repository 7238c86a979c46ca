"""What is said in a recording: Whisper through faster-whisper, on the CPU.

The model is tiny.en, which faster-whisper downloads once (75 MB) into Hugging Face's cache, or a folder with a Whisper
model of CTranslate2 that RTVC_WHISPER names. Sound is heard here and goes nowhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .consent_check import Recogniser
from .errors import VoiceError, missing_extra
from .rates import at_rate
from .recording_check import Samples

RATE_HZ = 16000
MODEL = "tiny.en"
VARIABLE = "RTVC_WHISPER"


def recogniser() -> Recogniser:
    """Return what hears words. Raises VoiceError if the package or the model is missing."""
    return _Whisper()


class _Whisper:
    def __init__(self) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise missing_extra(error) from None
        folder = os.environ.get(VARIABLE, "")
        if folder and not (Path(folder) / "model.bin").is_file():
            raise VoiceError(f"{VARIABLE}={folder}: there is no Whisper model (model.bin) in that folder")
        try:
            self._model: Any = WhisperModel(folder or MODEL, device="cpu", compute_type="int8")
        except Exception as error:  # CTranslate2 and the download raise many kinds, all of them about the model
            said = str(error).partition("\n")[0]
            raise VoiceError(
                f"the Whisper model {folder or MODEL} cannot be loaded ({said}); connect to the network once, or set "
                f"{VARIABLE} to a folder with a model"
            ) from error

    def words(self, speech: Samples, rate_hz: int) -> str:
        """Return what is said in speech (float32[n], mono), as Whisper writes it."""
        x = at_rate(speech, rate_hz, RATE_HZ)
        segments, _ = self._model.transcribe(x, language="en", beam_size=5, temperature=0.0, without_timestamps=True)
        return " ".join(segment.text.strip() for segment in segments)
