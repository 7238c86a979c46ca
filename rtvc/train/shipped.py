"""The shipped decoder as PyTorch takes it: its 8-bit weights as the numbers they stand for.

A voice is fitted through it without any checkpoint, and a training that has none can begin with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtvc.engine.network import FILM_FILE, TIMBRE, NetworkError, read_card, weights_folder
from rtvc.models.generator import BLOCKS, INPUTS, TAPS, WIDTH, Generator

from . import TrainingError

ZERO = 128  # byte that stands for 0


def shipped_generator(folder: Path | None = None) -> Generator:
    """Return the decoder whose 8-bit weights lie in folder (the program's own if None), on the CPU, not to be trained.

    Raises TrainingError if the package onnx is missing, NetworkError if the weights are not this program's.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError:
        raise TrainingError("the package onnx is missing; pip install 'rtvc[train]'") from None
    folder = folder or weights_folder()
    path = folder / read_card(folder)["files"]["int8"]["decoder"]
    try:
        graph = onnx.load(str(path)).graph
        held = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
        products = iter([_product(node, held) for node in graph.node if node.op_type == "MatMulNBits"])
        state = {name.removeprefix("generator."): value for name, value in held.items() if "generator." in name}
        network = Generator()
        network.load_state_dict({k: torch.tensor(v) for k, v in _state(folder, state, held, products).items()})
    except (OSError, ValueError, KeyError, RuntimeError, StopIteration, DecodeError) as error:
        what = f"is not this program's decoder ({type(error).__name__})"
        raise NetworkError(f"{path}: {what}; install rtvc again") from None
    return network.eval().requires_grad_(False)


def _state(
    folder: Path, state: dict[str, Any], held: dict[str, Any], products: Iterator[NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return the decoder's weights by name; products come in the order in which the graph multiplies."""
    taps = iter([value for name, value in held.items() if value.shape == (TAPS, WIDTH) and "generator." not in name])
    state["dec_in.weight"] = next(products).reshape(WIDTH, TAPS, INPUTS).transpose(0, 2, 1)
    for k in range(BLOCKS):
        state[f"dec.{k}.dw.weight"] = next(taps).T[:, None]
        state[f"dec.{k}.pw1.weight"], state[f"dec.{k}.pw2.weight"] = next(products), next(products)
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
