"""The teacher is cut where it says, foreign files are named, and Whisper's file is read by its layout."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rtvc.models.encoder import ContentEncoder, EncoderShape
from rtvc.models.generator import Generator
from rtvc.train import TrainingError
from rtvc.train.encoder import begin, content_of, load_whisper
from rtvc.train.loop import write_checkpoint
from rtvc.train.teacher import Teacher, decoder_input, package_folder
from rtvc.train.whisper_weights import read_encoder

LATENTS, DECODER_IN = "/norm/LayerNormalization_output_0", "/Concat_43_output_0"
HIDDEN = "/dec_norm/LayerNormalization_output_0"


def toy_teacher(path: Path) -> Path:
    """Write a graph with the teacher's names: a latent is 2 x its id, a hidden frame 3 x the decoder's input."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["x", "last"], ["y"]),
        helper.make_node("Mul", ["y", "two"], [LATENTS]),
        helper.make_node("Transpose", [LATENTS], ["t"], perm=[0, 2, 1]),
        helper.make_node("Identity", ["t"], [DECODER_IN]),
        helper.make_node("Transpose", [DECODER_IN], ["u"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["u", "three"], [HIDDEN]),
    ]
    values = {"last": np.array([2], np.int64), "two": np.full(128, 2, np.float32), "three": np.array(3, np.float32)}
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "n"])],
        [helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
        value_info=[
            helper.make_tensor_value_info(LATENTS, TensorProto.FLOAT, [1, "n", 128]),
            helper.make_tensor_value_info(DECODER_IN, TensorProto.FLOAT, [1, "width", "n"]),
        ],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_pieces_of_the_teacher_run_apart(tmp_path: Path) -> None:
    teacher = Teacher(toy_teacher(tmp_path / "toy.onnx"))
    z = teacher.latents([0, 5, 7, 0])
    assert z.shape == (4, 128) and z[:, 3].tolist() == [0, 10, 14, 0]
    f0_hz, energy = np.array([0.0, 100.0, 200.0, 7.0], np.float32), np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    hidden = teacher.hidden(z, f0_hz, energy)
    assert np.allclose(hidden, 3.0 * decoder_input(z, f0_hz, energy), atol=1e-5)
    assert np.allclose(hidden[:, 128], 3.0 * np.log(f0_hz + 1.0) / 5.0, atol=1e-5)
    assert np.allclose(hidden[:, 129], 3.0 * energy / 5.0, atol=1e-5)


def test_another_graph_and_another_file_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    with pytest.raises(TrainingError, match=r"a\.onnx"):
        Teacher(tmp_path / "a.onnx")
    empty = helper.make_graph([], "g", [], [])
    onnx.save(helper.make_model(empty), tmp_path / "b.onnx")
    with pytest.raises(TrainingError, match=r"b\.onnx: has no piece from ids"):
        Teacher(tmp_path / "b.onnx").latents([0, 0])


def test_a_package_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(TrainingError, match="no_such_package is not installed: pip install it"):
        package_folder("no_such_package", "pip install it")


def whisper_file(path: Path, shape: EncoderShape) -> dict[str, NDArray[np.float32]]:
    """Write random weights of that shape as CTranslate2 does; return them under OpenAI's names."""
    rng = np.random.default_rng(0)
    variables: list[tuple[str, NDArray[np.float32]]] = []
    wanted: dict[str, NDArray[np.float32]] = {}

    def add(theirs: str, *shape: int) -> NDArray[np.float32]:
        value = rng.standard_normal(shape).astype(np.float16).astype(np.float32)
        variables.append((f"encoder/{theirs}", value))
        return value

    w = shape.width
    for name, (rows, columns) in {"conv1": (w, 80), "conv2": (w, w)}.items():
        wanted[f"{name}.weight"] = add(f"{name}/weight", rows, columns, 3)
        wanted[f"{name}.bias"] = add(f"{name}/bias", rows)
    norms = [("layer_norm", "ln_post")]
    for k in range(shape.layers):
        theirs, ours = f"layer_{k}", f"blocks.{k}"
        norms += [
            (f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln"),
            (f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln"),
        ]
        stacked = add(f"{theirs}/self_attention/linear_0/weight", 3 * w, w)
        bias = add(f"{theirs}/self_attention/linear_0/bias", 3 * w)
        for part, name in enumerate(("query", "key", "value")):
            wanted[f"{ours}.attn.{name}.weight"] = stacked[part * w : (part + 1) * w]
            wanted[f"{ours}.attn.{name}.bias"] = bias[part * w : (part + 1) * w]
        for part, name, rows, columns in (
            ("self_attention/linear_1", "attn.out", w, w),
            ("ffn/linear_0", "mlp.0", 4 * w, w),
            ("ffn/linear_1", "mlp.2", w, 4 * w),
        ):
            wanted[f"{ours}.{name}.weight"] = add(f"{theirs}/{part}/weight", rows, columns)
            wanted[f"{ours}.{name}.bias"] = add(f"{theirs}/{part}/bias", rows)
    for part, name in norms:
        wanted[f"{name}.weight"] = add(f"{part}/gamma", w)
        wanted[f"{name}.bias"] = add(f"{part}/beta", w)

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, value in variables:
        raw = value.astype("<f2").tobytes()
        data += text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        data += struct.pack("<BI", 4, len(raw)) + raw
    path.write_bytes(data)
    return wanted


def test_whispers_file_is_read_under_openais_names_and_fits_the_encoder(tmp_path: Path) -> None:
    shape = EncoderShape(width=16, layers=2, head_width=8)
    wanted = whisper_file(tmp_path / "model.bin", shape)
    found = read_encoder(tmp_path / "model.bin")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    content = begin(EncoderShape(head_width=8), tmp_path / "model.bin")
    assert content.shape == shape
    assert np.array_equal(
        content.encoder.blocks[1].attn.key.weight.detach().numpy(), wanted["blocks.1.attn.key.weight"]
    )


def test_files_that_are_not_whispers_are_refused(tmp_path: Path) -> None:
    shape = EncoderShape(width=16, layers=1, head_width=8)
    whisper_file(tmp_path / "model.bin", shape)
    whole = (tmp_path / "model.bin").read_bytes()
    for data in (whole[: len(whole) // 2], b"\7" + whole[1:], b"", b"RIFF" * 100):
        (tmp_path / "bad.bin").write_bytes(data)
        with pytest.raises(TrainingError, match=r"bad\.bin"):
            begin(shape, tmp_path / "bad.bin")
    with pytest.raises(TrainingError, match=r"model\.bin: is no Whisper tiny model"):  # whole, but of another size
        load_whisper(ContentEncoder(EncoderShape(width=32, layers=1, head_width=8)).encoder, tmp_path / "model.bin")


def test_a_checkpoint_tells_the_encoders_size(tmp_path: Path) -> None:
    content = ContentEncoder(EncoderShape(width=128, layers=3, head_width=24))
    write_checkpoint(tmp_path / "encoder.pt", {"model": content.state_dict()})
    found = content_of(tmp_path / "encoder.pt")
    assert found.shape == content.shape and found.shape.heads == 2
    assert all(np.array_equal(value, content.state_dict()[name]) for name, value in found.state_dict().items())
    write_checkpoint(tmp_path / "generator.pt", {"model": Generator().state_dict()})
    with pytest.raises(TrainingError, match=r"generator\.pt: is of another network"):
        content_of(tmp_path / "generator.pt")
