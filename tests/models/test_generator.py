"""The decoder says the same a frame at a time, moves only magnitudes by timbre, and begins as a fold of its teacher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from rtvc.models.generator import (
    BANDS,
    BINS,
    BLOCKS,
    INPUTS,
    MAGNITUDES,
    PARTS,
    TAPS,
    TIMBRE,
    WIDTH,
    Generator,
    band_shapes,
    fold_causal,
)
from rtvc.models.streaming import MEMORY, GeneratorStep


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator().eval()
    network.steering.out.weight.data += 0.05 * torch.randn_like(network.steering.out.weight)
    return network.requires_grad_(False)


def test_steps_give_the_frames_of_the_whole(generator: Generator) -> None:
    torch.manual_seed(1)
    x, timbre = torch.randn(1, 40, INPUTS), torch.randn(1, TIMBRE)
    step, frames = GeneratorStep(generator), []
    memory_in, memory = torch.zeros(1, MEMORY, INPUTS), torch.zeros(BLOCKS, MEMORY, WIDTH)
    bands = torch.zeros(1, 1, BANDS)
    for j in range(40):
        parts, memory_in, memory, bands = step(x[:, j : j + 1], timbre, memory_in, memory, bands)
        frames.append(parts)
    assert float((torch.cat(frames, dim=1) - generator(x, timbre)).abs().max()) < 1e-4


@pytest.mark.parametrize("size", [1, 5, 17])
def test_chunks_of_any_size_give_the_hidden_frames_of_the_whole(generator: Generator, size: int) -> None:
    x = torch.randn(2, 40, INPUTS, generator=torch.Generator().manual_seed(2))
    memory, chunks = generator.initial(2), []
    for start in range(0, 40, size):
        hidden, memory = generator.hidden(x[:, start : start + size], memory)
        chunks.append(hidden)
    whole, _ = generator.hidden(x, generator.initial(2))
    assert float((torch.cat(chunks, dim=1) - whole).abs().max()) < 1e-4


def test_timbre_moves_magnitudes_and_leaves_phases_alone(generator: Generator) -> None:
    x = torch.randn(1, 3, INPUTS, generator=torch.Generator().manual_seed(3))
    one, other = (generator(x, torch.full((1, TIMBRE), v)).reshape(3, PARTS, BINS) for v in (-1.0, 1.0))
    for part in range(PARTS):
        assert torch.equal(one[:, part], other[:, part]) == (part not in MAGNITUDES)


def test_fresh_steering_moves_nothing() -> None:
    gains = Generator().steering(torch.randn(1, 2, WIDTH), torch.randn(1, 1, TIMBRE), torch.zeros(1, 1, BANDS))[0]
    assert gains.shape == (1, 2, BINS) and not gains.any()


def test_the_home_voice_is_never_filtered_whatever_was_learnt(generator: Generator) -> None:
    home = torch.randn(TIMBRE, generator=torch.Generator().manual_seed(6))
    generator.steering.home.copy_(home)
    hidden = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(7))
    flat = torch.zeros(1, 1, BANDS)
    assert float(generator.steering(hidden, home[None, None], flat)[0].abs().max()) < 1e-5
    assert float(generator.steering(hidden, home[None, None] + 1.0, flat)[0].abs().max()) > 0.01
    generator.steering.home.zero_()


def test_bands_add_up_to_one_everywhere() -> None:
    assert torch.allclose(band_shapes().sum(0), torch.ones(BINS), atol=1e-5)


def test_a_folded_kernel_hears_the_future_as_more_of_the_newest_sample() -> None:
    kernel = torch.randn(4, 2, TAPS, generator=torch.Generator().manual_seed(4))
    x = torch.randn(1, 2, 30, generator=torch.Generator().manual_seed(5))
    folded = F.conv1d(F.pad(x, (TAPS - 1, 0)), fold_causal(kernel))
    half = TAPS // 2
    for t in (10, 20):
        seen = torch.cat([x[..., t - half : t + 1], x[..., t : t + 1].expand(-1, -1, half)], dim=-1)
        assert torch.allclose(folded[0, :, t], F.conv1d(seen, kernel)[0, :, 0], atol=1e-5)
