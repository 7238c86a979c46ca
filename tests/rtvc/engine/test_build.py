"""The engine gets the networks that its sound asks for and whose weights are there."""

from __future__ import annotations

import pytest

from rtvc.engine import build
from rtvc.engine.build import build_engine, neural_voice
from rtvc.engine.ladder import DSP, FP32, INT8, SILENCE
from rtvc.engine.network import CPU
from rtvc.engine.neural_voice import NeuralVoice
from rtvc.engine.params import to_vector

NEURAL = to_vector({"voice.name": "neural"})


def test_a_dsp_voice_loads_no_network() -> None:
    assert build_engine(values=to_vector({"voice.name": "dsp"})).rungs == (DSP, SILENCE)


def test_the_shipped_weights_are_of_8_bits() -> None:
    assert build_engine(values=NEURAL, point="fast").rungs == (INT8, DSP, SILENCE)


def test_fp32_weights_are_a_rung_of_their_own_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def loaded(point: str, precision: str = "int8", provider: str = CPU) -> NeuralVoice:
        asked.append(precision)
        return neural_voice(point, provider=provider)

    monkeypatch.setattr(build, "neural_voice", loaded)
    monkeypatch.setattr(build, "read_card", lambda _: {"files": {"int8": {}, "fp32": {}}})
    assert build_engine(values=NEURAL, point="fast").rungs == (FP32, INT8, DSP, SILENCE)
    assert asked == ["int8", "fp32"]
