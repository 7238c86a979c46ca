"""The shipped decoder in PyTorch says what the shipped file says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.engine.network import Network, NetworkError, weights_folder
from rtvc.engine.timbres import built_in_timbres
from rtvc.models.generator import INPUTS
from rtvc.train.shipped import shipped_generator


def test_its_parts_are_those_of_the_live_decoder() -> None:
    network, generator = Network("clear"), shipped_generator()
    vector = built_in_timbres()[3].vector
    network.film[:] = network.film_of(vector)
    given, said = [], []
    for row in np.random.default_rng(0).normal(0.0, 0.5, (20, INPUTS)).astype(np.float32):
        network.decoder_input(100.0, 100.0)[:] = row
        given.append(row)
        network._decoder.run()
        said.append(network.parts.copy())
        for into, new in network._decoder_carried:
            into[...] = new
    with torch.no_grad():
        wanted = generator(torch.tensor(np.array(given))[None], torch.tensor(vector)[None])[0].numpy()
    assert np.abs(np.array(said) - wanted).max() < 0.5  # products of bytes there, of floats here
    assert np.corrcoef(np.array(said).ravel(), wanted.ravel())[0, 1] > 0.9999


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path / "w")
    shutil.copy(tmp_path / "w" / "encoder.int8.onnx", tmp_path / "w" / "decoder.int8.onnx")
    with pytest.raises(NetworkError, match="is not this program's decoder"):
        shipped_generator(tmp_path / "w")
    (tmp_path / "w" / "decoder.int8.onnx").write_bytes(b"nothing")
    with pytest.raises(NetworkError, match="is not this program's decoder"):
        shipped_generator(tmp_path / "w")
