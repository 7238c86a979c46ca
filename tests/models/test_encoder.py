"""The encoder says the same whether it hears an utterance at once or a frame at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rtvc.models.encoder import (
    ATTENTION_FRAMES,
    MEL_BANDS,
    POSITIONS,
    WAIT_MS,
    ContentEncoder,
    EncoderShape,
    newest_frame,
    phase,
    sinusoids,
)
from rtvc.models.generator import LATER_FRAMES
from rtvc.models.streaming import PAST, EncoderStep, HeadStep

SHAPE = EncoderShape(width=128, layers=2, head_width=32)
FRAMES = 2 * ATTENTION_FRAMES + 10  # so that what attention remembers goes round


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def content() -> ContentEncoder:
    torch.manual_seed(0)
    network = ContentEncoder(SHAPE).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def mel() -> Tensor:
    return torch.randn(1, 2 * FRAMES, MEL_BANDS, generator=torch.Generator().manual_seed(1))


def near(a: Tensor, b: Tensor) -> bool:
    assert a.shape == b.shape
    return float((a - b).detach().abs().max()) < 1e-4


@pytest.mark.parametrize("rows", [2, 50, 94])
@pytest.mark.parametrize("position", [0, POSITIONS - 40])
def test_chunks_of_any_size_give_the_frames_of_the_whole(
    content: ContentEncoder, mel: Tensor, rows: int, position: int
) -> None:
    state, frames = content.encoder.initial(1, position), []
    for start in range(0, mel.shape[1], rows):
        out, state = content.encoder.run(mel[:, start : start + rows], state)
        frames.append(out)
    assert near(torch.cat(frames, dim=1), content.encoder(mel, position))


def test_a_batch_gives_what_each_of_its_utterances_gives(content: ContentEncoder, mel: Tensor) -> None:
    other = mel.flip(1)
    both = content.encoder(torch.cat([mel, other]))
    assert near(both[:1], content.encoder(mel)) and near(both[1:], content.encoder(other))


def test_every_row_ends_a_frame_of_a_stream_that_hears_it_at_once(content: ContentEncoder, mel: Tensor) -> None:
    frames = content.frames(mel)
    assert near(frames[:, 1::2], content.encoder(mel))
    late = torch.cat([torch.zeros(1, 1, MEL_BANDS), mel[:, :-1]], dim=1)
    assert near(frames[:, 0::2], content.encoder(late))


def test_what_comes_later_changes_nothing(content: ContentEncoder, mel: Tensor) -> None:
    changed = mel.clone()
    changed[:, 100:] = 0.0
    assert torch.equal(content.encoder(changed)[:, :50], content.encoder(mel)[:, :50])


def test_single_steps_over_a_ring_of_the_past_give_the_frames_of_the_whole(
    content: ContentEncoder, mel: Tensor
) -> None:
    step, position = EncoderStep(content.encoder), POSITIONS - 40
    past = [torch.zeros(SHAPE.heads, PAST, SHAPE.width // SHAPE.heads) for _ in range(2 * SHAPE.layers)]
    unborn = torch.full((1, 1, PAST), -1e9)
    stem, before, frames = torch.zeros(1, 1, SHAPE.width), torch.zeros(1, 2, MEL_BANDS), []
    for n in range(FRAMES):
        rows = torch.cat([before, mel[:, 2 * n : 2 * n + 2]], dim=1)
        place = sinusoids(torch.tensor([[(position + n) % POSITIONS]]), SHAPE.width)
        frame, stem, *new = step(rows, stem, unborn, place, *past)
        for ring, newest in zip(past, new, strict=True):
            ring[:, n % PAST] = newest[:, 0]
        unborn[..., n % PAST] = 0.0
        before = rows[:, 2:]
        frames.append(frame)
    assert near(torch.cat(frames, dim=1), content.encoder(mel, position))


@pytest.mark.parametrize("point", list(WAIT_MS))
def test_a_head_frame_by_frame_gives_what_it_gives_for_the_whole(
    content: ContentEncoder, mel: Tensor, point: str
) -> None:
    encoded, whole = content.frames(mel), content(mel)[point]
    step, state, rows = HeadStep(content.heads[list(WAIT_MS).index(point)]), torch.zeros(1, 1, SHAPE.head_width), []
    for j in range(whole.shape[1]):
        newest = int(newest_frame(torch.tensor(j), WAIT_MS[point]))
        frame = encoded[:, newest : newest + 1] if newest >= 0 else torch.zeros(1, 1, SHAPE.width)
        said, state = step(frame, phase(torch.tensor([j]), WAIT_MS[point]), state)
        rows.append(said)
    assert near(torch.cat(rows, dim=1), whole)


def test_both_heads_of_a_point_read_the_same_encoder_frame_at_the_same_phase() -> None:
    j = torch.arange(200)
    later = j + LATER_FRAMES
    assert torch.equal(newest_frame(j, WAIT_MS["clear"]), newest_frame(later, WAIT_MS["fast"]))
    assert torch.equal(phase(j, WAIT_MS["clear"]), phase(later, WAIT_MS["fast"]))


@pytest.mark.parametrize("point", list(WAIT_MS))
def test_no_frame_is_used_before_it_is_complete(point: str) -> None:
    j = torch.arange(200)
    newest, units = newest_frame(j, WAIT_MS[point]), phase(j, WAIT_MS[point])
    said_ms, ends_ms = 12.5 * j + WAIT_MS[point], 10.0 * (newest + 1)
    assert bool((ends_ms <= said_ms).all()) and bool((ends_ms + 10.0 > said_ms).all())
    assert torch.equal(2.5 * units, said_ms - ends_ms)


def test_the_whole_says_what_is_due_by_the_end_of_its_mel(content: ContentEncoder, mel: Tensor) -> None:
    for point, said in content(mel).items():
        assert 12.5 * (said.shape[1] - 1) + WAIT_MS[point] <= 20.0 * FRAMES < 12.5 * said.shape[1] + WAIT_MS[point]
