"""The shipped networks in PyTorch say what the shipped files say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.cli import main
from rtvc.engine.network import Network, NetworkError, weights_folder
from rtvc.engine.timbres import built_in_timbres
from rtvc.models.encoder import CODES, MEL_BANDS, WAIT_MS, ContentEncoder, newest_frame, phase
from rtvc.models.generator import CONTENT, INPUTS, Generator
from rtvc.models.speaker import SpeakerEncoder
from rtvc.train.loop import load_weights
from rtvc.train.shipped import shipped_codebook, shipped_encoder, shipped_generator, shipped_speaker
from rtvc.voices.speaker import Speaker, pieces


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


def test_a_training_can_begin_with_the_programs_own_weights(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", "shipped", str(tmp_path / "file")]) == 1
    assert main(["train", "shipped", str(tmp_path / "start")]) == 0
    assert main(["train", "shipped", str(tmp_path / "start")]) == 1  # nothing is written over
    made: dict[str, torch.nn.Module] = {
        "encoder": ContentEncoder(), "generator": Generator(), "speaker": SpeakerEncoder(),
    }  # fmt: skip
    for name, network in made.items():
        load_weights(network, tmp_path / "start" / f"{name}.pt")
    assert torch.equal(made["encoder"].heads[0].out.weight, shipped_encoder().heads[0].out.weight)
    assert float(made["speaker"].same_speaker) == pytest.approx(Speaker().same_speaker, abs=1e-6)
    codebook = np.load(tmp_path / "start" / "codebook.npy")
    network = Network("fast")
    network.listen(0)
    assert codebook.shape == (CODES, CONTENT) and np.any(np.all(codebook == network.content[:CONTENT], axis=1))


@pytest.mark.parametrize("point", list(WAIT_MS))
def test_its_content_is_that_of_the_live_encoder(point: str) -> None:
    rows = np.random.default_rng(0).normal(0.0, 0.3, (200, MEL_BANDS)).astype(np.float32)
    with torch.no_grad():
        wanted = shipped_encoder()(torch.tensor(rows)[None])[point][0].numpy()
    network, heard, said, codes = Network(point), 0, [], []
    for j in range(len(wanted)):
        while heard <= int(newest_frame(torch.tensor(j), WAIT_MS[point])):
            network.hear(rows[heard])
            heard += 1
        network.listen(int(phase(torch.tensor(j), WAIT_MS[point])))
        said.append((network.energy() / 4.0, float(network._also[0, 1])))
        codes.append(network.content[:CONTENT].copy())
    assert np.abs(np.array(said) - wanted[:, CODES:]).max() < 0.15  # products of bytes there, of floats here
    same = np.all(np.array(codes) == shipped_codebook()[wanted[:, :CODES].argmax(-1)], axis=1)
    assert same.mean() > 0.96


def test_the_speaker_encoder_hears_what_the_shipped_one_does() -> None:
    syllables = np.maximum(0.0, np.sin(2 * np.pi * 3 * np.arange(5 * 16_000) / 16_000))
    x = (syllables * np.random.default_rng(0).normal(0.0, 0.1, len(syllables))).astype(np.float32)
    heard = Speaker().hear(x, 16_000)
    with torch.no_grad():
        embedding, timbre = shipped_speaker()(torch.tensor(pieces(x, 16_000)))
    np.testing.assert_allclose(embedding.numpy(), heard.embedding, atol=1e-4)
    np.testing.assert_allclose(timbre.numpy(), heard.timbre, atol=1e-3)


def test_a_foreign_speaker_encoder_is_refused(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path / "w")
    shutil.copy(tmp_path / "w" / "encoder.int8.onnx", tmp_path / "w" / "speaker.onnx")
    with pytest.raises(NetworkError, match="is not this program's speaker encoder"):
        shipped_speaker(tmp_path / "w")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path / "w")
    shutil.copy(tmp_path / "w" / "encoder.int8.onnx", tmp_path / "w" / "decoder.int8.onnx")
    with pytest.raises(NetworkError, match="is not this program's decoder"):
        shipped_generator(tmp_path / "w")
    shutil.copy(tmp_path / "w" / "decoder.int8.onnx", tmp_path / "w" / "clear.int8.onnx")
    with pytest.raises(NetworkError, match="is not this program's head clear"):
        shipped_encoder(tmp_path / "w")
    (tmp_path / "w" / "decoder.int8.onnx").write_bytes(b"nothing")
    with pytest.raises(NetworkError, match="is not this program's decoder"):
        shipped_generator(tmp_path / "w")
