"""The synthesis of whole batches is that of the live kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rtvc.kernels import parts_synthesis as live
from rtvc.models.generator import BINS, PARTS
from rtvc.train.excitation import pulse_train
from rtvc.train.synthesis import HOP, excitation, synthesise

FRAMES = 60


def parts(noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.standard_normal(BINS), np.ones(40) / 40, "same")
    one = np.stack([smooth + 1.0, 0.3 * smooth, np.full(BINS, noise), smooth - 3.0, smooth])
    return np.repeat(one[None], FRAMES, axis=0).astype(np.float32)


def kernel(frames: np.ndarray, f0_hz: float, lead: int) -> np.ndarray:
    state, y = live.parts_state(lead), np.zeros((FRAMES, HOP), np.float32)
    for frame, out in zip(frames, y, strict=True):
        live.synthesise(state, frame.reshape(-1), f0_hz, 1.0, out)
    return y.reshape(-1)


def batch(frames: np.ndarray, f0_hz: float, lead: int) -> np.ndarray:
    pulses = pulse_train(torch.full((1, FRAMES), f0_hz))
    whole = torch.from_numpy(frames.reshape(1, FRAMES, PARTS * BINS))
    return synthesise(whole, excitation(pulses), lead)[0].numpy()


@pytest.mark.parametrize("lead", [150, 300, 600])
def test_a_steady_voice_has_the_same_waveform(lead: int) -> None:
    frames = parts(noise=-40.0)
    a, b = batch(frames, 160.0, lead), kernel(frames, 160.0, lead)  # 150 samples a period: a hop is two of them
    middle = slice(20 * HOP, 40 * HOP)
    # where the pulses of the two stand differs, but both repeat with the period
    error = min(np.abs(np.roll(a, shift)[middle] - b[middle]).max() for shift in range(150))
    assert error < 0.02 * np.abs(b[middle]).max()


@pytest.mark.parametrize("f0_hz", [160.0, 7.0])
def test_free_phases_under_a_tone_are_taken_back_alike(f0_hz: float) -> None:
    frames = parts(noise=-40.0)
    frames[:, 3] = frames[:, 0] - 1.0
    a, b = batch(frames, f0_hz, 300), kernel(frames, f0_hz, 300)
    assert a[6000:-6000].std() == pytest.approx(b[6000:-6000].std(), rel=0.02)


@pytest.mark.parametrize("lead", [150, 300])
def test_noise_has_the_same_power(lead: int) -> None:
    torch.manual_seed(0)
    frames = parts(noise=2.0)
    frames[:, 0] = -40.0
    a, b = batch(frames, 7.0, lead), kernel(frames, 7.0, lead)
    assert a[3000:-3000].std() == pytest.approx(b[3000:-3000].std(), rel=0.05)


def test_gradients_reach_every_part_that_sounds() -> None:
    whole = torch.from_numpy(parts(noise=-1.0).reshape(1, FRAMES, PARTS * BINS)).requires_grad_()
    pulses = pulse_train(torch.full((1, FRAMES), 160.0))
    synthesise(whole, excitation(pulses), 300).square().sum().backward()
    assert whole.grad is not None
    moved = whole.grad.reshape(FRAMES, PARTS, BINS)[20:40].abs().sum((0, 2))
    assert bool((moved > 0).all()) and bool(torch.isfinite(moved).all())
