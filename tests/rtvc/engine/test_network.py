from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtvc.cli import main
from rtvc.engine import network as module
from rtvc.engine import timbres
from rtvc.engine.network import (
    CPU,
    FILM_FILE,
    PREFERRED,
    Choice,
    Network,
    NetworkError,
    choose_for_session,
    choose_provider,
    weights_folder,
)

ROWS = 0.3 * np.random.default_rng(1).standard_normal((80, 80)).astype(np.float32)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return Path(shutil.copytree(weights_folder(), tmp_path / "weights"))


def said(network: Network) -> np.ndarray:
    parts = []
    for k, row in enumerate(ROWS):
        network.hear(row)
        network.listen(k % 4)
        network.decode(150.0, 160.0)
        parts.append(network.parts.copy())
    return np.array(parts)


@pytest.mark.parametrize("point", ["fast", "clear"])
def test_a_reset_network_says_the_same_again(point: str) -> None:
    network = Network(point)
    first = said(network)
    assert np.all(np.isfinite(first))
    network.reset()
    assert np.array_equal(said(network), first)


def test_a_precision_that_is_not_there_is_refused() -> None:
    with pytest.raises(NetworkError, match="no fp32 weights, only int8"):
        Network(precision="fp32")


def test_the_operating_points_wait_as_their_card_says() -> None:
    assert Network("fast").wait_ms < Network("clear").wait_ms


def test_what_a_full_ring_forgets_does_not_matter() -> None:
    network = Network()
    for _ in range(3):
        said(network)
    assert np.all(np.isfinite(network.parts))
    assert not any(np.any(stream.unborn) for stream in network._streams)  # after 120 frames each the ring of 74 is full


def test_the_provider_that_is_measured_best_is_used_and_says_why() -> None:
    choice = choose_provider()
    assert choice.provider
    assert "ms a frame" in choice.reason


def test_a_provider_that_fails_or_lies_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    assert choose_provider().provider == CPU
    trial = module._trial

    def liar(network: Network) -> tuple[float, np.ndarray]:
        took_s, parts = trial(network)
        return (0.0, parts + 1.0) if network is not truth[0] else (took_s, parts)

    truth: list[Network] = []

    class Watched(Network):
        def __init__(self, *args: object, provider: str = CPU) -> None:
            super().__init__(*args[:3], provider=CPU)  # type: ignore[arg-type]
            truth.append(self)
            self.provider = "CUDAExecutionProvider" if len(truth) > 1 else CPU

    monkeypatch.setattr(module, "Network", lambda point, precision, folder, provider: Watched(point, precision, folder))
    monkeypatch.setattr(module, "_trial", liar)
    choice = choose_provider()
    assert choice.provider == CPU
    assert "gives other numbers" in choice.reason


def test_a_session_is_told_who_would_run_a_neural_voice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CPU])
    assert choose_for_session("fast", speaks=False) == Choice(CPU, "no other is installed")
    assert "ms a frame" in choose_for_session("fast", speaks=True).reason
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [PREFERRED[0], CPU])
    assert PREFERRED[0] in choose_for_session("fast", speaks=False).reason
    monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    assert "so there is no neural voice here" in choose_for_session("fast", speaks=False).reason
    with pytest.raises(NetworkError):
        choose_for_session("fast", speaks=True)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"network\.json"):
        Network(folder=tmp_path)


def test_a_missing_file_is_named(weights: Path) -> None:
    (weights / "encoder.int8.onnx").unlink()
    with pytest.raises(NetworkError, match=r"encoder\.int8\.onnx"):
        Network(folder=weights)


def test_a_file_that_is_cut_short_is_named(weights: Path) -> None:
    path = weights / "decoder.int8.onnx"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(NetworkError, match=r"decoder\.int8\.onnx: onnxruntime cannot use it; install rtvc again"):
        Network(folder=weights)


def test_a_file_that_is_no_model_is_named(weights: Path) -> None:
    (weights / "clear.int8.onnx").write_text("hello", "utf-8")
    with pytest.raises(NetworkError, match=r"clear\.int8\.onnx"):
        Network(folder=weights)


def test_a_foreign_model_is_refused(weights: Path) -> None:
    shutil.copyfile(weights / "decoder.int8.onnx", weights / "encoder.int8.onnx")
    with pytest.raises(NetworkError, match=r"encoder\.int8\.onnx: has no stem, so it is not this program's"):
        Network(folder=weights)


@pytest.mark.parametrize("lost", ["keys.0", "key.3", "values.2", "value.2"])
def test_an_encoder_that_would_forget_is_refused(weights: Path, lost: str) -> None:
    path = weights / "encoder.int8.onnx"
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        if value.name == lost:
            value.name = "other"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["other" if name == lost else name for name in names]
    onnx.save(model, str(path))
    with pytest.raises(NetworkError, match=rf"encoder\.int8\.onnx: has no {lost}"):
        Network(folder=weights)


def write_foreign_decoder(path: Path) -> None:
    """Write a graph with the decoder's names and other sizes."""
    shapes = {"x": [1, 1, 10], "film": [1, 20], "memory_in": [1, 6, 10], "memory": [8, 6, 20]}
    copies = {"parts": "x", "memory_in_out": "memory_in", "memory_out": "memory"}
    taken = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[of]) for name, of in copies.items()]
    nodes = [helper.make_node("Identity", [of], [name]) for name, of in copies.items()]
    graph, opset = helper.make_graph(nodes, "foreign", taken, made), helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))


def test_a_foreign_model_of_the_same_names_is_refused(weights: Path) -> None:
    write_foreign_decoder(weights / "decoder.int8.onnx")
    with pytest.raises(NetworkError, match=r"decoder\.int8\.onnx: x is \(1, 1, 10\), \(1, 1, 388\) was expected"):
        Network(folder=weights)


def test_another_format_is_refused(weights: Path) -> None:
    path = weights / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"format": 99}), "utf-8")
    with pytest.raises(NetworkError, match="format 99"):
        Network(folder=weights)


def test_heads_of_another_operating_point_are_refused(weights: Path) -> None:
    shutil.copyfile(weights / "fast.int8.onnx", weights / "clear.int8.onnx")
    with pytest.raises(NetworkError, match=r"clear\.int8\.onnx: also is \(1, 2\), \(2, 2\) was expected"):
        Network("clear", folder=weights)
    shutil.copyfile(weights_folder() / "clear.int8.onnx", weights / "fast.int8.onnx")
    with pytest.raises(NetworkError, match=r"fast\.int8\.onnx: also is \(2, 2\), \(1, 2\) was expected"):
        Network("fast", folder=weights)


def test_a_film_of_another_width_is_refused(weights: Path) -> None:
    film = np.load(weights / FILM_FILE)
    np.save(weights / FILM_FILE, film[:, :-2])
    with pytest.raises(NetworkError, match=r"film\.npy: makes films of 4606 numbers, decoder\.int8\.onnx takes 4608"):
        Network(folder=weights)
    np.save(weights / FILM_FILE, film.astype(str))
    with pytest.raises(NetworkError, match=r"film\.npy: is not this program's"):
        Network(folder=weights)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ([1, 2], "is of format None"),
        ({"wait_ms": None}, "has no wait_ms that this program can use"),
        ({"wait_ms": [65.0], "width": "384"}, "has no wait_ms, width that"),
        ({"positions": 0}, "has no positions"),
        ({"wait_ms": {"clear": "long"}}, "has no files or no wait_ms for clear"),
        ({"files": {"int8": {"encoder": "encoder.int8.onnx", "clear": "clear.int8.onnx"}}}, "has no files or no wait"),
        ({"files": {"int8": "encoder.int8.onnx"}}, "has no files or no wait_ms for clear"),
    ],
)
def test_a_card_that_is_not_whole_is_refused(weights: Path, card: object, said: str) -> None:
    path = weights / "network.json"
    if isinstance(card, dict):
        merged = json.loads(path.read_text("utf-8")) | card
        card = {key: value for key, value in merged.items() if value is not None}
    path.write_text(json.dumps(card), "utf-8")
    with pytest.raises(NetworkError, match=rf"network\.json: {said}"):
        Network(folder=weights)


def narrow_the_film(weights: Path) -> str:
    np.save(weights / FILM_FILE, np.load(weights / FILM_FILE)[:, :-2])
    return "film.npy: makes films of 4606 numbers"


def replace_the_decoder(weights: Path) -> str:
    write_foreign_decoder(weights / "decoder.int8.onnx")
    return "decoder.int8.onnx: x is (1, 1, 10)"


def replace_the_heads(weights: Path) -> str:
    shutil.copyfile(weights / "fast.int8.onnx", weights / "clear.int8.onnx")
    return "clear.int8.onnx: also is (1, 2)"


def cut_a_timbre(weights: Path) -> str:
    card = json.loads((weights / "network.json").read_text("utf-8"))
    card["voices"]["emma"]["timbre"].pop()
    (weights / "network.json").write_text(json.dumps(card), "utf-8")
    return "network.json: has no voice emma of 128 numbers"


def lose_the_voices(weights: Path) -> str:
    card = json.loads((weights / "network.json").read_text("utf-8")) | {"voices": ["emma"]}
    (weights / "network.json").write_text(json.dumps(card), "utf-8")
    return "network.json: has no voice heart"


@pytest.mark.parametrize("command", ["convert", "live"])
@pytest.mark.parametrize(
    "spoil", [narrow_the_film, replace_the_decoder, replace_the_heads, cut_a_timbre, lose_the_voices]
)
def test_a_command_says_in_a_line_what_is_wrong_with_the_weights(
    spoil: Callable[[Path], str],
    command: str,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = spoil(weights)
    for place in (module, timbres):
        monkeypatch.setattr(place, "weights_folder", lambda: weights)
    sample, target = str(resources.files("rtvc") / "samples" / "male.flac"), tmp_path / "out.wav"
    asked = [sample, str(target)] if command == "convert" else ["--simulated", "--no-control", "--seconds", "1"]
    assert main([command, *asked, "--voice", "emma", "--latency", "clear"]) == 1
    (line,) = [part for part in re.split(r"[\r\n]", capsys.readouterr().err) if "rtvc: " in part]
    assert said in line and line.endswith("install rtvc again")
    assert not target.exists()


def test_the_engine_and_the_trained_networks_mean_the_same_frames() -> None:
    from rtvc.engine import neural_voice
    from rtvc.models import encoder, generator, streaming

    assert module.PAST == streaming.PAST
    for name in ("MEL_BANDS", "STREAMS", "FRAME_UNITS", "DECODER_UNITS", "WAIT_UNIT_MS"):
        assert getattr(module, name) == getattr(encoder, name), name
    for name in ("CONTENT", "INPUTS", "LATER_FRAMES", "TIMBRE"):
        assert getattr(module, name) == getattr(generator, name), name
    assert generator.PARTS * generator.BINS == module.PARTS
    assert neural_voice.AHEAD == generator.AHEAD
    assert set(module.OPERATING_POINTS) == set(encoder.WAIT_MS)
    for point in module.OPERATING_POINTS:
        assert Network(point).wait_ms == encoder.WAIT_MS[point]


REPORTING = """
import os
from rtvc.engine.build import neural_voice
neural_voice()
print([os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if number > "2"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_onnxruntime_keeps_no_store_of_what_it_would_report() -> None:
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", REPORTING], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[")
    assert "onnxruntime.db" not in done.stdout
