"""Codes are where the points are; targets name the nearest ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.train.codebook import k_means, make_codes, soft_targets, token_given_code
from tests.rtvc.train.toy import TOKENS, toy_set


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
