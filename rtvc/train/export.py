"""Trained networks to the ONNX files that the live engine runs, in fp32 and with 8-bit weights.

The 8-bit files hold every matrix in blocks of 128 with a scale each (MatMulNBits, accuracy level 4: products of bytes).
After writing, the files are run through onnxruntime on random sound and compared with PyTorch; the differences
are returned, and go into the card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtvc.engine.network import FILM_FILE, FORMAT, OPERATING_POINTS
from rtvc.models.encoder import MEL_BANDS, POSITIONS, WAIT_MS, ContentEncoder
from rtvc.models.generator import BLOCKS, CONTENT, FILMS, INPUTS, WIDTH, Generator
from rtvc.models.speaker import BANDS, PIECE_ROWS, SpeakerEncoder
from rtvc.models.streaming import MEMORY, PAST, EncoderStep, GeneratorStep, PointStep

OPSET = 17
PRECISIONS = ("fp32", "int8")
BLOCK = 128
SPEAKER_FILE = "speaker.onnx"


@dataclass(frozen=True)
class Graph:
    """One graph to write: module, example inputs by name, output names."""

    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: tuple[str, ...]


def graphs(content: ContentEncoder, generator: Generator, codebook: NDArray[np.float32]) -> dict[str, Graph]:
    """Return the graphs by name: encoder, the heads of each operating point, decoder."""
    width, heads, hidden = content.shape.width, content.shape.heads, content.shape.head_width
    attended = [(name, k) for name in ("key", "value") for k in range(content.shape.layers)]
    found = {
        "encoder": Graph(
            EncoderStep(content.encoder),
            {
                "mel": torch.zeros(1, 4, MEL_BANDS),
                "stem": torch.zeros(1, 1, width),
                "unborn": torch.zeros(1, 1, PAST),
                "place": torch.zeros(1, 1, width),
                **{f"{name}s.{k}": torch.zeros(heads, PAST, width // heads) for name, k in attended},
            },
            ("frame", "stem_out", *(f"{name}.{k}" for name, k in attended)),
        ),
        "decoder": Graph(
            GeneratorStep(generator),
            {
                "x": torch.zeros(1, 1, INPUTS),
                "film": torch.zeros(1, FILMS),
                "memory_in": torch.zeros(1, MEMORY, INPUTS),
                "memory": torch.zeros(BLOCKS, MEMORY, WIDTH),
            },
            ("parts", "memory_in_out", "memory_out"),
        ),
    }
    fast, clear = content.heads
    for name, (now, later) in {"fast": (fast, None), "clear": (clear, fast)}.items():
        found[name] = Graph(
            PointStep(now, later, torch.from_numpy(codebook)),  # type: ignore[arg-type]
            {
                "frame": torch.zeros(1, 1, width),
                "phase": torch.zeros(1, dtype=torch.int64),
                "state": torch.zeros(1 if later is None else 2, 1, hidden),
            },
            ("content", "also", "state_out"),
        )
    return found


def export(
    folder: Path,
    content: ContentEncoder,
    generator: Generator,
    codebook: NDArray[np.float32],
    card: dict[str, Any],
    precisions: Sequence[str] = PRECISIONS,
) -> dict[str, float]:
    """Write all graphs in these precisions and network.json (with card's entries) into folder.

    What a timbre does to the decoder's norms goes into FILM_FILE: float16[TIMBRE + 1, FILMS], see `film_matrix`.
    Return the largest difference between onnxruntime and PyTorch of each file, on random input.
    """
    if codebook.shape[1] != CONTENT:
        raise ValueError(f"the codebook has {codebook.shape[1]} columns, the decoder takes {CONTENT}")
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, str]] = {precision: {} for precision in precisions}
    differences = {}
    for name, graph in graphs(content.eval(), generator.eval(), codebook).items():
        paths = {precision: folder / f"{name}.{precision}.onnx" for precision in PRECISIONS}
        _write(graph, paths["fp32"])
        _quantise(paths["fp32"], paths["int8"])
        for precision, path in paths.items():
            if precision in files:
                files[precision][name] = path.name
                differences[path.name] = difference(graph, path)
            else:
                path.unlink()
    np.save(folder / FILM_FILE, film_matrix(generator).astype(np.float16))
    about = {
        "format": FORMAT,
        "wait_ms": {name: WAIT_MS[name] for name in OPERATING_POINTS},
        "positions": POSITIONS,
        "width": content.shape.width,
        "files": files,
    }
    (folder / "network.json").write_text(json.dumps(about | card, indent=1) + "\n", "utf-8")
    return differences


def export_speaker(folder: Path, network: SpeakerEncoder) -> float:
    """Write the speaker encoder beside the networks in folder and into their network.json.

    Return the largest difference between onnxruntime and PyTorch on random input.
    """
    network = network.eval()
    graph = Graph(network, {"mel": torch.rand(3, PIECE_ROWS, BANDS)}, ("embedding", "timbre"))
    path = folder / SPEAKER_FILE
    _write(graph, path, {"mel": {0: "pieces"}})
    card = folder / "network.json"
    about = json.loads(card.read_text("utf-8"))
    about["speaker"] = {"file": SPEAKER_FILE, "same_speaker": round(float(network.same_speaker), 4)}
    card.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return difference(graph, path)


def film_matrix(generator: Generator) -> NDArray[np.float32]:
    """Return what makes a film of a timbre with a 1 at its end: float32[TIMBRE + 1, FILMS]."""
    with torch.no_grad():
        slope = generator.film.weight.T
        return torch.cat([slope, -generator.home[None] @ slope]).numpy()


def _write(graph: Graph, path: Path, axes: dict[str, dict[int, str]] | None = None) -> None:
    import warnings

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the older exporter, which needs nothing but onnx, says that it is older
        torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )


def _quantise(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import matmul_nbits_quantizer

    matmul_nbits_quantizer.logger.setLevel("WARNING")  # it tells of every node it leaves alone
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
        onnx.load(str(source)), bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    onnx.save(quantizer.model.model, str(target))


def difference(graph: Graph, path: Path, seed: int = 0) -> float:
    """Return the largest difference of any float output between PyTorch and the file, on random inputs."""
    import onnxruntime as ort

    generator = torch.Generator().manual_seed(seed)
    inputs = {
        name: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in graph.inputs.items()
    }
    if "unborn" in inputs:
        inputs["unborn"] = torch.zeros_like(inputs["unborn"])
    with torch.no_grad():
        wanted = graph.module(*inputs.values())
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(list(graph.outputs), {name: value.numpy() for name, value in inputs.items()})
    pairs = [(w.numpy(), g) for w, g in zip(wanted, got, strict=True) if w.is_floating_point()]
    return max(float(np.abs(w - g).max()) for w, g in pairs)
