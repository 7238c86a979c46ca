"""The shipped networks as PyTorch takes them; 8-bit weights as the numbers they stand for.

A voice is fitted through decoder and speaker encoder without any checkpoint, and a training that has none can begin
with them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from rtvc.engine.network import FILM_FILE, TIMBRE, NetworkError, read_card, weights_folder
from rtvc.models.encoder import WAIT_MS, ContentEncoder, Encoder, EncoderShape
from rtvc.models.generator import BLOCKS, INPUTS, TAPS, WIDTH, Generator
from rtvc.models.speaker import SpeakerEncoder

from . import TrainingError

ZERO = 128  # byte that stands for 0


Module = TypeVar("Module", bound=torch.nn.Module)
Result = TypeVar("Result")


def shipped_generator(folder: Path | None = None) -> Generator:
    """Return the decoder whose 8-bit weights lie in folder (the program's own if None), on the CPU, not to be trained.

    Raises TrainingError if the package onnx is missing, NetworkError if the weights are not this program's.
    """
    folder = folder or weights_folder()
    path = folder / read_card(folder)["files"]["int8"]["decoder"]
    return _filled(Generator(), path, "decoder", lambda nodes, held: _decoder_state(folder, nodes, held))


def shipped_encoder(folder: Path | None = None) -> ContentEncoder:
    """Return the content encoder with its heads, likewise. Raises as `shipped_generator` does."""
    folder = folder or weights_folder()
    files = read_card(folder)["files"]["int8"]
    hidden = _read(folder / files["fast"], "head fast", lambda _, held: len(held["now.recur.bias"]) // 3)
    shape = _read(folder / files["encoder"], "encoder", lambda _, held: _encoder_shape(held))
    content = ContentEncoder(shape._replace(head_width=hidden))
    _filled(content.encoder, folder / files["encoder"], "encoder", _encoder_state)
    for name, head in zip(WAIT_MS, content.heads, strict=True):
        _filled(head, folder / files[name], f"head {name}", _head_state)
    return content.eval().requires_grad_(False)


def shipped_codebook(folder: Path | None = None) -> NDArray[np.float32]:
    """Return the codes as latents, float32[CODES, CONTENT]. Raises as `shipped_generator` does."""
    folder = folder or weights_folder()
    path = folder / read_card(folder)["files"]["int8"]["fast"]
    return _read(path, "head fast", lambda _, held: np.asarray(held["codebook"], np.float32))


def shipped_speaker(folder: Path | None = None) -> SpeakerEncoder:
    """Return the speaker encoder whose weights lie in folder (the program's own if None), likewise.

    Raises as `shipped_generator` does.
    """
    folder = folder or weights_folder()
    about = read_card(folder).get("speaker", {})
    network = _filled(
        SpeakerEncoder(), folder / str(about.get("file", "speaker.onnx")), "speaker encoder", _speaker_state
    )
    network.same_speaker.fill_(float(about.get("same_speaker", network.same_speaker)))
    return network


def _filled(
    network: Module, path: Path, what: str, state_of: Callable[[list[Any], dict[str, Any]], dict[str, Any]]
) -> Module:
    """Give network what state_of makes of the nodes and the held arrays of a file."""

    def fill(nodes: list[Any], held: dict[str, Any]) -> None:
        network.load_state_dict({key: torch.tensor(value) for key, value in state_of(nodes, held).items()})

    _read(path, what, fill)
    return network.eval().requires_grad_(False)


def _read(path: Path, what: str, made: Callable[[list[Any], dict[str, Any]], Result]) -> Result:
    """Return what is made of the nodes and the held arrays of a file."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError:
        raise TrainingError("the package onnx is missing; pip install 'rtvc[train]'") from None
    try:
        graph = onnx.load(str(path)).graph
        return made(list(graph.node), {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer})
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, StopIteration, DecodeError) as error:
        what = f"is not this program's {what} ({type(error).__name__})"
        raise NetworkError(f"{path}: {what}; install rtvc again") from None


def _encoder_shape(held: dict[str, Any]) -> EncoderShape:
    return EncoderShape(len(held["conv1.bias"]), sum(name.startswith("attended.") for name in held))


def _encoder_state(nodes: list[Any], held: dict[str, Any]) -> dict[str, Any]:
    """Return the encoder's weights by name; the nodes come in the order in which it multiplies."""
    products = iter([_product(node, held) for node in nodes if node.op_type == "MatMulNBits"])
    state: dict[str, Any] = dict(held)
    for name in ("conv1", "conv2"):
        flat = next(products)
        state[f"{name}.weight"] = flat.reshape(len(flat), 3, -1).transpose(0, 2, 1)
    shape = _encoder_shape(held)
    scale = (shape.width // shape.heads) ** -0.5
    for k in range(shape.layers):
        query, key, value = np.split(next(products), 3)
        query_bias, _, value_bias = np.split(held[f"attended.{k}.bias"], 3)
        state |= {f"blocks.{k}.attn.{part}.weight": of for part, of in (("key", key), ("value", value))}
        state |= {f"blocks.{k}.attn.query.weight": query / scale, f"blocks.{k}.attn.query.bias": query_bias / scale}
        state[f"blocks.{k}.attn.value.bias"] = value_bias
        for part in ("attn.out", "mlp.0", "mlp.2"):
            state[f"blocks.{k}.{part}.weight"] = next(products)
    own = Encoder(shape).state_dict()
    return {name: value for name, value in state.items() if name in own}


def _head_state(nodes: list[Any], held: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of the head that a point reads first; it multiplies for reading, recurring and saying."""
    read, recur, out = [_product(node, held) for node in nodes if node.op_type == "MatMulNBits"][:3]
    state = {"gru.weight_ih_l0": read, "gru.weight_hh_l0": recur, "out.weight": out}
    for name, theirs in (("gru.bias_ih_l0", "read.bias"), ("gru.bias_hh_l0", "recur.bias"), ("out.bias", "out.bias")):
        state[name] = held[f"now.{theirs}"]
    return state | {"phase.weight": held["now.phase.weight"]}


def _speaker_state(nodes: list[Any], held: dict[str, Any]) -> dict[str, Any]:
    """Return the speaker encoder's weights by name."""
    own = SpeakerEncoder().state_dict()
    state = {name: value.numpy() for name, value in own.items() if not name.startswith("lstm.")}
    state |= {name: value for name, value in held.items() if name in own}
    for k, node in enumerate(node for node in nodes if node.op_type == "LSTM"):
        onto_input, onto_hidden, biases = (held[name][0] for name in node.input[1:4])
        for part, value in (
            ("weight_ih", onto_input),
            ("weight_hh", onto_hidden),
            ("bias_ih", biases[: len(biases) // 2]),
            ("bias_hh", biases[len(biases) // 2 :]),
        ):
            given, left, forgotten, cell = np.split(value, 4)  # onnx has i o f c, PyTorch i f g o
            state[f"lstm.{k}.{part}_l0"] = np.concatenate([given, forgotten, cell, left])
    return state


def _decoder_state(folder: Path, nodes: list[Any], held: dict[str, Any]) -> dict[str, Any]:
    """Return the decoder's weights by name; the nodes come in the order in which it multiplies.

    What a block adds is scaled by its second product, so its own scale is 1.
    """
    products = iter([_product(node, held) for node in nodes if node.op_type == "MatMulNBits"])
    state: dict[str, Any] = {"dec_in.weight": next(products).reshape(WIDTH, TAPS, INPUTS).transpose(0, 2, 1)}
    state |= {name: held[name] for name in ("dec_in.bias", "head.bias")}
    norms = [*(f"dec.{k}.norm" for k in range(BLOCKS)), "dec_norm"]
    for name, gain, shift in zip(norms, held["gain"], held["shift"], strict=True):
        state |= {f"{name}.weight": gain, f"{name}.bias": shift}
    for k in range(BLOCKS):
        taps = np.concatenate([held["past_taps"][k], held[f"now_taps.{k}"][None]])
        state |= {f"dec.{k}.dw.weight": taps.T[:, None], f"dec.{k}.dw.bias": held["mixed"][k, 0]}
        for part in ("pw1", "pw2"):
            state |= {f"dec.{k}.{part}.weight": next(products), f"dec.{k}.{part}.bias": held[f"{part}.{k}.bias"]}
        state[f"dec.{k}.gamma"] = np.ones(WIDTH, np.float32)
    state["head.weight"] = next(products)
    film = np.load(folder / FILM_FILE, allow_pickle=False).astype(np.float32)
    state["film.weight"] = film[:TIMBRE].T
    state["home"] = np.linalg.lstsq(film[:TIMBRE].T, -film[TIMBRE], rcond=None)[0]
    return state


def _product(node: Any, held: dict[str, Any]) -> NDArray[np.float32]:
    """Return the weight of a product held in 8 bits, float32[N, K]."""
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    levels, scales = held[node.input[1]], held[node.input[2]]
    values = (levels.astype(np.float32) - ZERO) * scales.reshape(*levels.shape[:2], 1)
    weight: NDArray[np.float32] = values.reshape(len(levels), -1)[:, : sizes["K"]]
    return weight
