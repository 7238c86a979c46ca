"""Exported networks give PyTorch's numbers, the engine runs them, and it refuses what is none of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.engine.network import FILM_FILE, Network, NetworkError
from rtvc.models.encoder import CODES, MEL_BANDS, WAIT_MS, ContentEncoder, EncoderShape, newest_frame, phase
from rtvc.models.generator import CONTENT, LATER_FRAMES, Generator
from rtvc.train.export import export
from rtvc.train.hearing import said_of

SHAPE = EncoderShape(width=128, layers=2, head_width=64)


class Exported:
    """Networks with random weights, and the folder of their files."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder = folder
        self.content, self.generator = ContentEncoder(SHAPE).eval(), Generator().eval()
        for parameter in self.content.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        for name, parameter in self.generator.named_parameters():
            if "norm" in name or "gamma" in name:
                parameter.data += 0.3 * torch.randn_like(parameter)
        self.generator.film.weight.data.normal_(std=0.01)
        self.codebook = torch.randn(CODES, CONTENT).numpy()
        card = {"voices": {"a": 1}}
        self.differences = export(folder, self.content, self.generator, self.codebook, card)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("weights"))


def test_fp32_files_give_pytorchs_numbers_and_8_bit_files_nearly(exported: Exported) -> None:
    names = {"encoder", "fast", "clear", "decoder"}
    assert set(exported.differences) == {f"{name}.{p}.onnx" for name in names for p in ("fp32", "int8")}
    for name, difference in exported.differences.items():
        assert difference < (1e-4 if "fp32" in name else 0.5), name
    exact, small = ((exported.folder / f"decoder.{p}.onnx").stat().st_size for p in ("fp32", "int8"))
    assert small < 0.4 * exact
    assert json.loads((exported.folder / "network.json").read_text())["voices"] == {"a": 1}


@pytest.mark.parametrize("point", list(WAIT_MS))
def test_the_engine_streams_what_pytorch_says_of_the_whole(exported: Exported, point: str) -> None:
    frames = 90
    mel = torch.randn(1, 2 * frames, MEL_BANDS, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        encoded = exported.content.frames(mel)
        said, later = exported.content(mel)[point][0].numpy(), point == "clear"
        n = len(said) - LATER_FRAMES
        soon = torch.arange(LATER_FRAMES, LATER_FRAMES + n)  # the quicker head, too, begins with the stream
        quick = encoded[:, newest_frame(soon, WAIT_MS["fast"])], phase(soon, WAIT_MS["fast"])
        fast = exported.content.heads[0]
        hz = np.linspace(80, 300, len(said), dtype=np.float32)
        timbre = torch.randn(1, 128, generator=torch.Generator().manual_seed(2))
        heard = said_of(said[:n], fast.run(*quick, fast.initial())[0][0].numpy(), exported.codebook, later)
        given = heard.inputs(np.stack([hz[:n], hz[LATER_FRAMES:]]))
        wanted = exported.generator(torch.tensor(given)[None], timbre)[0].numpy()
        film = exported.generator.film_of(timbre)[0].numpy()
    network = Network(point, "fp32", exported.folder)
    for _ in range(2):  # the second time after a reset, which has to be complete
        network.reset()
        network.film[:] = film
        assert np.abs(network.film_of(timbre[0].numpy()) - film).max() < 1e-3 * np.abs(film).max()  # float16 there
        heard = 0
        for j in range(n):
            while heard <= int(newest_frame(torch.tensor(j), WAIT_MS[point])):
                network.hear(mel[0, heard].numpy())
                heard += 1
            network.listen(int(phase(torch.tensor(j), WAIT_MS[point])))
            network.decode(float(hz[j]), float(hz[j + LATER_FRAMES]))
            assert np.abs(network.content[:CONTENT] - given[j, :CONTENT]).max() < 1e-6
            assert network.hears_later == later and network.voiced() == (said[j, CODES + 1] > 0.0)
            assert abs(network.energy() - 4.0 * said[j, CODES]) < 1e-4
            assert np.abs(network.parts - wanted[j]).max() < 1e-4


def damaged(exported: Exported, folder: Path, name: str, data: bytes) -> Path:
    shutil.copytree(exported.folder, folder)
    (folder / name).write_bytes(data)
    return folder


def test_a_file_cut_short_is_refused_by_name(exported: Exported, tmp_path: Path) -> None:
    whole = (exported.folder / "decoder.fp32.onnx").read_bytes()
    folder = damaged(exported, tmp_path / "cut", "decoder.fp32.onnx", whole[: len(whole) // 2])
    with pytest.raises(NetworkError, match=r"decoder\.fp32\.onnx"):
        Network("fast", "fp32", folder)


def test_a_file_that_is_no_network_is_refused_by_name(exported: Exported, tmp_path: Path) -> None:
    folder = damaged(exported, tmp_path / "noise", "fast.fp32.onnx", np.random.default_rng(0).bytes(5000))
    with pytest.raises(NetworkError, match=r"fast\.fp32\.onnx"):
        Network("fast", "fp32", folder)


def test_a_network_of_another_kind_is_refused(exported: Exported, tmp_path: Path) -> None:
    foreign = (exported.folder / "decoder.fp32.onnx").read_bytes()
    folder = damaged(exported, tmp_path / "foreign", "encoder.fp32.onnx", foreign)
    with pytest.raises(NetworkError):
        Network("fast", "fp32", folder)


def test_a_missing_file_or_card_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"network\.json"):
        Network("fast", "fp32", tmp_path)
    shutil.copytree(exported.folder, tmp_path / "gone")
    (tmp_path / "gone" / "clear.fp32.onnx").unlink()
    with pytest.raises(NetworkError, match=r"clear\.fp32\.onnx"):
        Network("clear", "fp32", tmp_path / "gone")


def test_a_film_that_is_cut_short_or_foreign_is_refused(exported: Exported, tmp_path: Path) -> None:
    whole = (exported.folder / FILM_FILE).read_bytes()
    for k, data in enumerate((whole[: len(whole) // 2], b"", np.random.default_rng(0).bytes(5000))):
        folder = damaged(exported, tmp_path / str(k), FILM_FILE, data)
        with pytest.raises(NetworkError, match=r"film\.npy"):
            Network("fast", "fp32", folder)


def test_a_codebook_of_another_width_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 columns"):
        export(tmp_path, exported.content, exported.generator, exported.codebook[:, :64], {})
