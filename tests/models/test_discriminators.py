from __future__ import annotations

import pytest
import torch

from rtvc.models.discriminators import RESOLUTIONS, Discriminators

torch.set_num_threads(1)


def cuts(kind: str, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == "noise":
        return 0.1 * torch.randn(count, 3000, generator=generator)
    f0_hz = 100.0 + 150.0 * torch.rand(count, 1, generator=generator)
    phase = 2 * torch.pi * f0_hz * torch.arange(3000) / 24000
    return 0.1 * torch.stack([torch.cos(k * phase) for k in range(1, 20)]).sum(0)


def test_each_judge_scores_every_place_of_a_cut_and_tells_what_it_saw() -> None:
    said = Discriminators(channels=4)(cuts("tone"))
    assert len(said) == len(RESOLUTIONS)
    for (scores, seen), frames in zip(said, RESOLUTIONS, strict=True):
        assert scores.shape[:3] == (2, 1, 3000 // (frames // 4) + 1)
        assert [layer.shape[1] for layer in seen] == [4] * 4


def test_they_learn_to_tell_a_voice_from_noise() -> None:
    torch.manual_seed(0)
    judges = Discriminators(channels=4)
    optimiser = torch.optim.AdamW(judges.parameters(), lr=1e-2)
    real, made = cuts("tone"), cuts("noise")
    for _ in range(40):
        pairs = zip(judges(real), judges(made), strict=True)
        loss = torch.stack([(1 - r).square().mean() + m.square().mean() for (r, _), (m, _) in pairs]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for (r, _), (m, _) in zip(judges(real), judges(made), strict=True):
        assert r.mean() > m.mean() + 0.3


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
def test_silence_and_any_level_have_finite_gradients(level: float) -> None:
    sound = (level * cuts("noise", 1)).requires_grad_()
    torch.stack([score.square().mean() for score, _ in Discriminators(channels=4)(sound)]).sum().backward()
    assert sound.grad is not None and bool(torch.isfinite(sound.grad).all())
