"""What is put into a set comes out of it, and a set that was cut off in the middle is whole again when opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rtvc.train import TrainingError
from rtvc.train.dataset import LATENT, Item, SetWriter, TrainingSet
from tests.rtvc.train.toy import TOKENS, toy_latents, toy_set


def test_a_set_gives_back_what_it_was_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.9, 0.9, 4000).astype(np.float32)
    z = rng.standard_normal((3, LATENT)).astype(np.float32)
    f0, energy = rng.uniform(80, 200, (2, 20)).astype(np.float32)
    with SetWriter(tmp_path) as writer:
        start, n = writer.add_sound(x)
        row, frame0 = writer.add_latents(z), writer.add_melody(f0, energy)
        item = Item("s", "who", "u", "Tëxt", start, n, row, [0, 5, 0], [4, 10, 6], frame0=frame0, licence="CC0")
        writer.items.append(item)
        writer.note("s", "CC0", {"silent": 2})
    data = TrainingSet(tmp_path)
    assert data.items == [item]
    assert np.abs(data.sound(item) - x).max() < 1e-4
    assert np.array_equal(data.latents, z)
    assert np.array_equal(data.f0_hz, f0) and np.array_equal(data.energy, energy)
    assert data.rows(item).tolist() == [0] * 4 + [1] * 10 + [2] * 6
    assert data.token_of_row().tolist() == [0, 5, 0]
    about = data.manifest()["sources"]["s"]
    assert (about["licence"], about["items"], about["skipped"]) == ("CC0", 1, {"silent": 2})


def test_a_source_keeps_its_folder_and_its_licence(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "s", tmp_path / "b" / "s"
    with SetWriter(tmp_path) as writer:
        writer.claim("s", a, "CC0")
        writer.note("s", "CC0", {"silent": 2})
        writer.claim("s", a, "CC0")
        for folder, licence, said in ((b, "CC0", f"came from {a}, not from {b}"), (a, "mine", "'CC0', not 'mine'")):
            with pytest.raises(TrainingError, match=rf"its source 's' .*{said}.*rename"):
                writer.claim("s", folder, licence)
    about = TrainingSet(tmp_path).manifest()
    assert about["sources"]["s"]["skipped"] == {"silent": 2} and about["folders"] == {"s": str(a)}
    with SetWriter(tmp_path) as writer:  # of an earlier program, which noted no folders
        del writer.manifest["folders"]
        with pytest.raises(TrainingError, match="not 'mine'"):
            writer.claim("s", b, "mine")
        writer.claim("s", b, "CC0")
        assert writer.manifest["folders"] == {"s": str(b)}


def test_a_set_grows_over_several_openings(tmp_path: Path) -> None:
    for k in range(3):
        with SetWriter(tmp_path) as writer:
            start, n = writer.add_sound(np.full(100, 0.1 * (k + 1), np.float32))
            row = writer.add_latents(np.full((2, LATENT), k, np.float32))
            writer.items.append(Item("s", "who", str(k), "", start, n, row, [0, 0], [1, 1]))
    data = TrainingSet(tmp_path)
    assert [round(float(data.sound(item)[0]), 3) for item in data.items] == [0.1, 0.2, 0.3]
    assert [float(data.latents[item.row, 0]) for item in data.items] == [0.0, 1.0, 2.0]
    assert len(data.latents) == 6


def test_what_no_item_names_is_cut_off_when_a_set_is_opened_again(tmp_path: Path) -> None:
    toy = toy_set(tmp_path, seconds=4.0)
    samples, rows = len(toy.audio), len(toy.latents)
    writer = SetWriter(tmp_path)
    writer.add_sound(np.ones(500, np.float32))
    writer.add_latents(np.ones((7, LATENT), np.float32))
    for file in writer._files.values():  # as if the machine had lost power here
        file.close()
    writer._lock.close()
    with SetWriter(tmp_path) as writer:
        assert writer.holds() == {("toy", "0/0"), ("toy", "1/0")}
    again = TrainingSet(tmp_path)
    assert (len(again.audio), len(again.latents)) == (samples, rows)


def test_a_set_that_another_process_adds_to_is_left_alone(tmp_path: Path) -> None:
    toy = toy_set(tmp_path, seconds=4.0)
    size = (tmp_path / "audio.i16").stat().st_size
    with SetWriter(tmp_path) as writer:
        writer.add_sound(np.ones(500, np.float32))
        with pytest.raises(TrainingError, match="another rtvc train is adding to it"):
            SetWriter(tmp_path)
        assert len(TrainingSet(tmp_path).items) == len(toy.items)  # reading needs no lock
        writer.save()
        assert (tmp_path / "audio.i16").stat().st_size == size + 1000
    with SetWriter(tmp_path):
        pass


def test_held_out_items_are_not_among_those_to_learn_from(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=6.0)
    assert [item.utt for item in data.dev] == ["2/0"]
    assert [item.utt for item in data.train] == ["0/0", "1/0"]


def test_fields_of_another_program_are_passed_by(tmp_path: Path) -> None:
    toy_set(tmp_path, seconds=2.0)
    path = tmp_path / "items.json"
    path.write_text(path.read_text().replace('"source"', '"shard": "x", "source"'))
    assert TrainingSet(tmp_path).items[0].source == "toy"


def test_a_missing_or_broken_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"items\.json: no such file"):
        TrainingSet(tmp_path)
    (tmp_path / "items.json").write_text("[{]")
    with pytest.raises(TrainingError, match="cannot be read"):
        TrainingSet(tmp_path)
    (tmp_path / "items.json").write_text("[]")
    with pytest.raises(TrainingError, match=r"codebook\.npy"):
        _ = TrainingSet(tmp_path).codebook


def test_codes_of_the_toy_are_its_tokens(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=4.0)
    assert np.array_equal(data.code_idx[:, 0], data.token_of_row())
    assert np.allclose(data.code_p.sum(axis=1), 1.0, atol=1e-5)
    assert np.array_equal(data.codebook[: TOKENS + 1], toy_latents())
    assert dataclasses.is_dataclass(data.items[0])
