"""The speaker encoder knows voices again, whatever the level and the rate, and says where they lie."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from rtvc.engine.network import NetworkError, weights_folder
from rtvc.engine.params import TIMBRES
from rtvc.engine.timbres import built_in_timbres
from rtvc.voices.errors import VoiceError
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import Samples, read_recording
from rtvc.voices.speaker import LEVEL_DBFS, RATE_HZ, Speaker, pieces, without_pauses


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker()


def bundled(name: str) -> tuple[Samples, int]:
    return read_recording(Path(str(resources.files("rtvc.models"))) / "weights" / "voices" / f"{name}.ogg")


def test_a_voice_is_known_again_among_others(speaker: Speaker) -> None:
    halves = []
    for name in TIMBRES:
        x, rate_hz = bundled(name)
        middle = len(x) // 2
        halves.append([speaker.embed(part, rate_hz) for part in (x[:middle], x[middle:])])
    first, second = np.array(halves).transpose(1, 0, 2)
    likeness = first @ second.T
    assert list(likeness.argmax(axis=1)) == list(range(len(TIMBRES)))
    assert np.allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-5)


def test_the_timbre_is_nearest_that_of_the_voice_itself(speaker: Speaker) -> None:
    known = np.array([timbre.vector for timbre in built_in_timbres()])
    middle = known.mean(axis=0)
    right = 0
    for k, name in enumerate(TIMBRES):
        away = speaker.hear(*bundled(name)).timbre - middle
        cosine = (known - middle) @ away / np.linalg.norm(known - middle, axis=1) / np.linalg.norm(away)
        right += int(cosine.argmax() == k)
    assert right >= len(TIMBRES) - 1


@pytest.mark.parametrize(("gain", "rate_hz"), [(0.05, 24_000), (0.9, 48_000), (0.3, 44_100)])
def test_level_and_rate_change_nothing(speaker: Speaker, gain: float, rate_hz: int) -> None:
    x, own_hz = bundled("emma")
    again = gain * at_rate(x, own_hz, rate_hz)
    assert float(speaker.embed(again, rate_hz) @ speaker.embed(x, own_hz)) > 0.99


def test_pauses_are_left_out_and_the_level_is_set() -> None:
    x, rate_hz = bundled("puck")
    speech = at_rate(x, rate_hz, RATE_HZ)
    silence = np.zeros(3 * RATE_HZ, np.float32)
    kept = without_pauses(np.concatenate([silence, speech, silence]))
    assert len(kept) < len(speech) + RATE_HZ / 2
    assert 20 * np.log10(np.sqrt(np.mean(kept**2))) == pytest.approx(LEVEL_DBFS, abs=0.1)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.9])
def test_too_little_speech_is_refused(seconds: float) -> None:
    x = np.random.default_rng(0).normal(0.0, 0.1, round(seconds * 48_000)).astype(np.float32)
    with pytest.raises(VoiceError, match="too little to know a voice by"):
        pieces(x, 48_000)
    with pytest.raises(VoiceError, match="too little to know a voice by"):
        pieces(np.zeros(480_000, np.float32), 48_000)


def test_weights_without_it_or_with_another_file_are_refused(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path / "w")
    (tmp_path / "w" / "speaker.onnx").write_bytes(b"nothing")
    with pytest.raises(NetworkError, match=r"speaker\.onnx"):
        Speaker(tmp_path / "w")
    card = json.loads((tmp_path / "w" / "network.json").read_text("utf-8"))
    del card["speaker"]
    (tmp_path / "w" / "network.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(NetworkError, match="no speaker encoder"):
        Speaker(tmp_path / "w")
