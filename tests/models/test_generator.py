"""The decoder says the same a frame at a time, is moved by timbre but at home, and begins as a fold of its teacher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from rtvc.models.generator import BLOCKS, INPUTS, PLAIN, TAPS, TIMBRE, WIDTH, Generator, fold_causal, widened
from rtvc.models.streaming import MEMORY, GeneratorStep


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator().eval()
    for name, parameter in network.named_parameters():
        if "norm" in name or "gamma" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    network.film.weight.data += 0.05 * torch.randn_like(network.film.weight)
    return network.requires_grad_(False)


def test_steps_give_the_frames_of_the_whole(generator: Generator) -> None:
    torch.manual_seed(1)
    x, timbre = torch.randn(1, 40, INPUTS), torch.randn(1, TIMBRE)
    film = generator.film_of(timbre)
    step, frames = GeneratorStep(generator), []
    memory_in, memory = torch.zeros(1, MEMORY, INPUTS), torch.zeros(BLOCKS, MEMORY, WIDTH)
    for j in range(40):
        parts, memory_in, memory = step(x[:, j : j + 1], film, memory_in, memory)
        frames.append(parts)
    assert float((torch.cat(frames, dim=1) - generator(x, timbre)).abs().max()) < 1e-4


@pytest.mark.parametrize("size", [1, 5, 17])
def test_chunks_of_any_size_give_the_hidden_frames_of_the_whole(generator: Generator, size: int) -> None:
    x = torch.randn(2, 40, INPUTS, generator=torch.Generator().manual_seed(2))
    film = generator.film_of(torch.randn(2, TIMBRE, generator=torch.Generator().manual_seed(8)))
    memory, chunks = generator.initial(2), []
    for start in range(0, 40, size):
        hidden, memory = generator.hidden(x[:, start : start + size], film, memory)
        chunks.append(hidden)
    whole, _ = generator.hidden(x, film, generator.initial(2))
    assert float((torch.cat(chunks, dim=1) - whole).abs().max()) < 1e-4


def test_every_voice_but_home_is_moved_whatever_was_learnt(generator: Generator) -> None:
    x = torch.randn(1, 3, INPUTS, generator=torch.Generator().manual_seed(3))
    fresh = Generator().eval()
    fresh.load_state_dict(generator.state_dict() | {"film.weight": torch.zeros_like(generator.film.weight)})
    home = generator.home[None]
    assert torch.equal(generator(x, home), fresh(x, home))
    assert float((generator(x, home + 1.0) - fresh(x, home + 1.0)).abs().max()) > 0.01


def test_what_was_learnt_on_plain_inputs_holds_on_wide_ones(generator: Generator) -> None:
    weight = torch.randn(WIDTH, PLAIN, TAPS, generator=torch.Generator().manual_seed(6))
    x = torch.randn(1, INPUTS, 20, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(F.conv1d(x, widened(weight)), F.conv1d(x[:, :PLAIN], weight), atol=1e-4)


def test_a_folded_kernel_hears_the_future_as_more_of_the_newest_sample() -> None:
    kernel = torch.randn(4, 2, TAPS, generator=torch.Generator().manual_seed(4))
    x = torch.randn(1, 2, 30, generator=torch.Generator().manual_seed(5))
    folded = F.conv1d(F.pad(x, (TAPS - 1, 0)), fold_causal(kernel))
    half = TAPS // 2
    for t in (10, 20):
        seen = torch.cat([x[..., t - half : t + 1], x[..., t : t + 1].expand(-1, -1, half)], dim=-1)
        assert torch.allclose(folded[0, :, t], F.conv1d(seen, kernel)[0, :, 0], atol=1e-5)
