"""Codes are where the points are; targets name the nearest ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rtvc.train import TrainingError
from rtvc.train.codebook import (
    k_means,
    keep_codebook,
    make_codes,
    read_codebook,
    soft_targets,
    token_given_code,
    token_near_code,
)
from rtvc.train.dataset import Item, SetWriter, TrainingSet
from tests.rtvc.train.toy import CODES, TOKENS, toy_latents, toy_set


def test_k_means_finds_clusters_that_are_there_and_repeats_with_its_seed() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 10.0 * torch.eye(6)
    points = centres.repeat(50, 1) + 0.1 * torch.randn(300, 6, generator=generator)
    found, explained = k_means(points, torch.ones(300), 12, seed=3)
    again, _ = k_means(points, torch.ones(300), 12, seed=3)
    assert torch.equal(found, again)
    assert explained > 0.99
    assert float(torch.cdist(centres, found).min(1).values.max()) < 0.3


def test_a_point_of_no_weight_pulls_nothing() -> None:
    points = torch.tensor([[0.0], [1.0], [100.0]])
    found, _ = k_means(points, torch.tensor([1.0, 3.0, 0.0]), 1, seed=0)
    assert float(found) == pytest.approx(0.75)


def test_soft_targets_name_the_nearest_code_first_and_share_by_distance() -> None:
    centres = torch.tensor([[float(k)] for k in range(20)])
    index, share = soft_targets(torch.tensor([[3.2], [7.5]]), centres, tau=1.0)
    assert index[0, 0] == 3 and set(index[1, :2]) == {7, 8}
    assert share[1, 0] == pytest.approx(share[1, 1], rel=1e-4)
    assert share[0, 1] / share[0, 0] == pytest.approx(np.exp(-(0.8**2 - 0.2**2) / 0.5), rel=1e-3)
    assert np.allclose(share.sum(1), 1.0, atol=1e-6)


def test_token_given_code_is_counted_over_frames(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=6.0)
    chances = token_given_code(data)
    assert np.allclose(np.diag(chances)[: TOKENS + 1], 1.0)
    assert chances.shape == (1024, TOKENS + 1)


def test_the_codebook_is_kept_once_it_is_there(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=4.0)
    before = np.array(data.codebook)
    assert make_codes(tmp_path, seed=9).startswith("codebook kept")
    assert np.array_equal(np.load(tmp_path / "codebook.npy"), before)
    (tmp_path / "codebook.npy").unlink()
    assert make_codes(tmp_path, seed=9, codes=TOKENS + 1).startswith("codebook made")
    assert np.load(tmp_path / "codebook.npy").shape == (TOKENS + 1, 128)


def unaligned(folder: Path) -> Path:
    with SetWriter(folder) as writer:
        writer.items.append(Item("s", "a", "u", "text", *writer.add_sound(np.ones(1000, np.float32))))
    return folder


def test_a_codebook_stays_in_a_set_without_alignments_and_no_other_replaces_it(tmp_path: Path) -> None:
    given = np.random.default_rng(0).standard_normal((CODES, 128)).astype(np.float32)
    np.save(tmp_path / "given.npy", given.astype(np.float64))
    np.save(tmp_path / "other.npy", given + 1)
    folder = unaligned(tmp_path / "set")
    for _ in range(2):  # the same one again is no second one
        keep_codebook(folder, tmp_path / "given.npy")
        assert make_codes(folder).startswith("no utterance is aligned yet")
    assert np.array_equal(TrainingSet(folder).codebook, given) and TrainingSet(folder).codebook.dtype == np.float32
    with pytest.raises(TrainingError, match=r"other\.npy: the set has another codebook already, .*make another set"):
        keep_codebook(folder, tmp_path / "other.npy")
    assert np.array_equal(np.load(folder / "codebook.npy"), given)


@pytest.mark.parametrize(
    ("codebook", "said"),
    [
        (np.zeros((CODES, 64), np.float32), r"holds float32\[1024, 64\], a codebook is float32\[1024, 128\]"),
        (np.zeros((7, 128), np.float32), r"holds float32\[7, 128\]"),
        (np.zeros((CODES, 128), np.int64), r"holds int64\[1024, 128\]"),
        (np.full((CODES, 128), np.nan, np.float32), "131072 of its 131072 numbers are not finite"),
        (np.full((CODES, 128), 1e300), "are not finite"),
        (np.array([None]), "is no .npy file of numbers"),
    ],
)
def test_what_is_no_codebook_is_refused(codebook: NDArray[Any], said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", codebook, allow_pickle=True)
    with pytest.raises(TrainingError, match=rf"c\.npy: .*{said}.*rtvc train shipped"):
        keep_codebook(unaligned(tmp_path / "set"), tmp_path / "c.npy")
    assert not (tmp_path / "set" / "codebook.npy").exists()


def test_a_codebook_that_is_not_there_or_is_another_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.npy: no such file"):
        keep_codebook(unaligned(tmp_path / "set"), tmp_path / "gone.npy")
    for held in (b"", b"no array", b"\x93NUMPY\x01\x00"):
        (tmp_path / "c.npy").write_bytes(held)
        with pytest.raises(TrainingError, match=r"c\.npy: is no \.npy file"):
            read_codebook(tmp_path / "c.npy")


def test_rows_without_codes_do_not_count_and_a_set_without_any_says_so(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=6.0)
    before = token_given_code(data)
    with SetWriter(tmp_path) as writer:  # an alignment that was interrupted before its codes were made
        new = Item("toy", "b", "u", "", 0, 1, writer.add_latents(toy_latents()[[0, 1, 0]]), [0, 1, 0], [9, 9, 9])
        writer.items.append(new)
    assert np.array_equal(token_given_code(TrainingSet(tmp_path)), before)
    with pytest.raises(TrainingError, match="has codes; rtvc train align"):
        token_given_code(TrainingSet(unaligned(tmp_path / "bare")))


def test_a_code_stands_for_the_token_that_the_teacher_puts_nearest(tmp_path: Path) -> None:
    latents, rng = toy_latents(), np.random.default_rng(0)
    codebook = np.concatenate([latents, latents[[4]] + 0.1]).astype(np.float32)  # the last is nearest to nothing said
    tokens = rng.integers(0, TOKENS + 1, 200)
    chances = token_near_code(codebook, latents[tokens], tokens)
    assert np.array_equal(chances.argmax(axis=1), [*range(TOKENS + 1), 4])
    assert np.allclose(chances.sum(axis=1), 1.0)
