"""The recogniser is Whisper's encoder, and the distance it finds is one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtvc.models.encoder import EncoderShape
from rtvc.train import TrainingError
from rtvc.train.augment import warped_filters
from rtvc.train.recogniser import FAR, Recogniser, recogniser_of, to_16k, whisper_mel
from tests.rtvc.train.toy import vowels

SHAPE = EncoderShape(width=128, layers=3)


def speech(rate_hz: int = 24000) -> Tensor:
    return torch.from_numpy(vowels([20, 20, 20, 20], [1, 3, 5, 7], rate_hz, 120.0))[None]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    torch.manual_seed(0)
    return Recogniser(SHAPE)


def whisper(weights: dict[str, Tensor], mel: Tensor) -> list[Tensor]:
    """Whisper's audio encoder as its paper has it, of weights under OpenAI's names; heads of 64 channels."""
    x = F.gelu(F.conv1d(mel, weights["conv1.weight"], weights["conv1.bias"], padding=1))
    x = F.gelu(F.conv1d(x, weights["conv2.weight"], weights["conv2.bias"], stride=2, padding=1)).mT
    t, w = x.shape[1:]
    rates = np.exp(-math.log(10000) / (w // 2 - 1) * np.arange(w // 2))
    angles = np.arange(t)[:, None] * rates
    x = x + torch.tensor(np.concatenate([np.sin(angles), np.cos(angles)], 1), dtype=torch.float32)

    def normed(y: Tensor, name: str) -> Tensor:
        return F.layer_norm(y, (w,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(y: Tensor, name: str) -> Tensor:
        return F.linear(y, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    found = []
    for k in range(SHAPE.layers):
        h = normed(x, f"blocks.{k}.attn_ln")
        q, key, v = (
            linear(h, f"blocks.{k}.attn.{n}").view(1, t, -1, 64).transpose(1, 2) for n in ("query", "key", "value")
        )
        mixed = torch.softmax(q @ key.mT / 8.0, dim=-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(1, t, w), f"blocks.{k}.attn.out")
        h = F.gelu(linear(normed(x, f"blocks.{k}.mlp_ln"), f"blocks.{k}.mlp.0"))
        x = x + linear(h, f"blocks.{k}.mlp.2")
        found.append(x)
    return [*found[:-1], normed(x, "ln_post")]


def test_its_layers_are_whispers(recogniser: Recogniser) -> None:
    sound = speech()
    mel = whisper_mel(to_16k(sound), torch.tensor(warped_filters(1.0, 400, 80)))
    wanted = whisper(recogniser.state_dict(), mel[..., : mel.shape[-1] // 2 * 2])
    found = recogniser(sound)
    assert len(found) == SHAPE.layers and found[0].shape == (1, 50, 128)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_its_mel_rows_are_centred_and_span_eight_decades(recogniser: Recogniser) -> None:
    x = torch.zeros(1, 16000)
    x[0, 8000] = 1.0
    mel = whisper_mel(x, torch.tensor(warped_filters(1.0, 400, 80)))
    assert mel.shape == (1, 80, 100)
    assert mel.sum(1).argmax() == 50
    assert float(mel.max() - mel.min()) == pytest.approx(2.0)


def test_sound_at_24_khz_becomes_the_same_at_16_khz() -> None:
    t = torch.arange(24000, dtype=torch.float64) / 24000
    found = to_16k(torch.sin(2 * math.pi * 440.0 * t)[None])[0]
    assert torch.allclose(found, torch.sin(2 * math.pi * 440.0 * torch.arange(16000, dtype=torch.float64) / 16000))


def test_equal_sounds_are_not_apart_and_noise_takes_them_apart(recogniser: Recogniser) -> None:
    wanted = speech()
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    clean, little, much = (float(recogniser.distance(wanted + g * noise, wanted)[0]) for g in (0.0, 0.003, 0.1))
    assert clean == 0.0 < little < much <= FAR


def test_a_gradient_reaches_the_sound_and_no_weight(recogniser: Recogniser) -> None:
    wanted = speech()
    made = (wanted + 0.01 * torch.randn(wanted.shape)).requires_grad_()
    torch.autograd.backward(recogniser.distance(made, wanted).sum())
    assert made.grad is not None and made.grad.abs().max() > 0 and bool(torch.isfinite(made.grad).all())
    assert all(p.grad is None for p in recogniser.parameters())


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(TrainingError, match=r"model\.bin: is no Whisper tiny model\.bin"):
        recogniser_of(tmp_path / "model.bin")
