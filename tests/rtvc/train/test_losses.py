"""Losses have the values that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rtvc.train.losses import code_loss, known_bce, known_l1, relative_error, spectral_distance


def test_code_loss_of_a_uniform_guess_is_the_log_of_the_number_of_codes() -> None:
    index = torch.tensor([[[3, 5], [0, 1]]])
    share = torch.tensor([[[0.7, 0.3], [1.0, 0.0]]])
    assert float(code_loss(torch.zeros(1, 2, 16), index, share)) == pytest.approx(math.log(16))


def test_code_loss_of_the_shares_themselves_is_their_entropy() -> None:
    share = torch.tensor([[[0.75, 0.25]]])
    logits = torch.full((1, 1, 4), -1e9)
    logits[0, 0, [2, 0]] = torch.log(share[0, 0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(code_loss(logits, torch.tensor([[[2, 0]]]), share)) == pytest.approx(entropy, rel=1e-5)


def test_unknown_labels_do_not_count() -> None:
    target = torch.tensor([1.0, float("nan"), 0.0])
    assert float(known_l1(torch.tensor([3.0, 99.0, 0.5]), target)) == pytest.approx(1.25)
    assert float(known_bce(torch.tensor([0.0, 99.0, 0.0]), target)) == pytest.approx(math.log(2))
    nothing = torch.full((3,), float("nan"))
    assert float(known_l1(target, nothing)) == float(known_bce(target, nothing)) == 0.0


def test_relative_error_is_0_for_the_target_1_for_nothing_and_blind_to_the_start() -> None:
    target = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0))
    spoiled = target.clone()
    spoiled[:, :8] = 1e3
    assert float(relative_error(target, target)) == float(relative_error(spoiled, target)) == 0.0
    assert float(relative_error(0 * target, target, skip=0)) == pytest.approx(1.0)


def test_distance_of_spectra_is_0_at_the_target_and_grows_with_level_and_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 6000, generator=generator)
    louder, noisy = 2 * target, target + 0.1 * torch.randn(2, 6000, generator=generator)
    assert spectral_distance(target, target).item() == pytest.approx(0.0, abs=1e-5)
    assert spectral_distance(louder, target).item() == pytest.approx(math.log(2) + 0.2, rel=0.05)
    assert 0.0 < spectral_distance(noisy, target) < spectral_distance(target + 5 * (noisy - target), target)
    assert torch.isfinite(spectral_distance(0 * target, 0 * target))
