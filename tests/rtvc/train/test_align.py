"""Viterbi finds the path that was put there, and an encoder that hears well aligns what it hears."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.models.encoder import CODES, ContentEncoder, EncoderShape
from rtvc.train import TrainingError
from rtvc.train import align as align_module
from rtvc.train.align import FLOOR, Listener, align, align_set, read_alignments, tokens_of_codes, write_alignments
from rtvc.train.codebook import keep_codebook, make_codes
from rtvc.train.dataset import FRAME_FRAMES, Item, SetWriter, TrainingSet
from tests.rtvc.train.toy import TOKENS, toy_latents, toy_set


def posteriors(path: list[int], symbols: int, noise: float = 0.0) -> NDArray[np.float32]:
    scores = np.full((len(path), symbols), -8.0, np.float32)
    scores[np.arange(len(path)), path] = -0.1
    return scores + noise * np.random.default_rng(0).standard_normal(scores.shape).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_path_that_was_put_there_is_found(noise: float) -> None:
    tokens, durations = [0, 3, 1, 3, 2, 0], [5, 2, 7, 3, 2, 9]
    frames, score = align(posteriors(list(np.repeat(tokens, durations)), 5, noise), tokens)
    assert frames == durations
    assert score == pytest.approx(-0.1, abs=0.01 + noise)


def test_no_other_path_scores_higher() -> None:
    scores = np.log(np.random.default_rng(1).dirichlet(np.ones(3), 9)).astype(np.float32)
    frames, score = align(scores, [0, 1, 2])
    best = -np.inf
    for cuts in itertools.combinations(range(10), 2):
        durations = np.diff([0, *cuts, 9])
        if durations.min() >= 2:
            path = np.repeat([0, 1, 2], durations)
            best = max(best, float(np.maximum(scores, FLOOR)[np.arange(9), path].mean()))
    assert score == pytest.approx(best, abs=1e-5)
    assert sum(frames) == 9 and min(frames) >= 2


def test_one_impossible_frame_does_not_forbid_a_path() -> None:
    scores = posteriors([0] * 6 + [1] * 6, 2)
    scores[3] = -np.inf
    frames, score = align(scores, [0, 1])
    assert frames == [6, 6] and np.isfinite(score)


def test_too_few_frames_are_refused() -> None:
    assert align(posteriors([0, 0, 1, 1], 2), [0, 1])[0] == [2, 2]
    with pytest.raises(ValueError, match="3 frames are too few for 2 tokens"):
        align(posteriors([0, 0, 1], 2), [0, 1])


def test_alignments_are_read_as_they_were_written(tmp_path: Path) -> None:
    item = Item("s", "who", "u1", 'Say\t"hi".', 0, 1, 0, [0, 2, 1, 0], [3, 4, 5, 6], score=-0.5)
    exact = Item("s", "who", "u2", "", 0, 1, 0, [0, 0], [1, 1], frame0=0)
    path = tmp_path / "a.tsv"
    assert write_alignments(path, [item, exact], {"a": 1, "b": 2}) == 1
    (found,) = read_alignments(path).values()
    assert (found.score, found.phones, found.frames, found.text) == (-0.5, "ba", [3, 4, 5, 6], 'Say "hi".')
    for row, what in (
        ("u\tgood\tx\t1 2\ty", "score is 'good'"),
        ("u\t-1\tx\t1 b\ty", "'b'"),
        ("u\t-1\tx\t1 2", "has no text"),
    ):
        path.write_text(f"utt\tscore\tphones\tframes\ttext\n{row}\n")
        with pytest.raises(TrainingError, match=rf"a\.tsv, line 2: .*{what}"):
            read_alignments(path)


class Digits:
    """Phones that are digits."""

    def of_text(self, text: str) -> str:
        return text

    def tokens(self, phones: str) -> list[int]:
        return [0, *map(int, phones), 0]


class FakeTeacher:
    """A teacher with a latent for each token."""

    def latents(self, tokens: list[int]) -> NDArray[np.float32]:
        return toy_latents()[tokens]


def recordings(folder: Path, texts: list[str]) -> TrainingSet:
    with SetWriter(folder) as writer:
        for k, text in enumerate(texts):
            start, n = writer.add_sound(0.1 * np.ones(60 * FRAME_FRAMES, np.float32))
            writer.items.append(Item("s", "a", str(k), text, start, n))
    return TrainingSet(folder)


def test_what_codes_stand_for_comes_from_labels_or_else_from_texts_and_a_codebook(tmp_path: Path) -> None:
    toy = toy_set(tmp_path / "toy", seconds=6.0)
    folder = tmp_path / "set"
    known = Digits(), FakeTeacher()
    with pytest.raises(TrainingError, match="nothing has a text; make a set anew"):
        tokens_of_codes(recordings(tmp_path / "mute", [""]), *known)  # type: ignore[arg-type]
    data = recordings(folder, ["12345678", "", "8"])
    with pytest.raises(TrainingError, match="no codebook; rtvc train data --codebook"):
        tokens_of_codes(data, *known)  # type: ignore[arg-type]
    keep_codebook(folder, tmp_path / "toy" / "codebook.npy")
    chances = tokens_of_codes(data, *known)  # type: ignore[arg-type]
    labelled = tokens_of_codes(toy, *known)  # type: ignore[arg-type]
    assert chances.shape == labelled.shape == (CODES, TOKENS + 1)
    assert np.array_equal(chances[: TOKENS + 1].argmax(1), labelled[: TOKENS + 1].argmax(1))


def test_a_set_of_recordings_alone_is_aligned_by_an_encoder_with_its_codebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_set(tmp_path / "toy", seconds=4.0)
    folder = tmp_path / "set"
    recordings(folder, ["123", "77"])
    keep_codebook(folder, tmp_path / "toy" / "codebook.npy")
    monkeypatch.setattr(align_module, "Phones", Digits)
    monkeypatch.setattr(align_module, "Teacher", FakeTeacher)
    monkeypatch.setattr(
        Listener, "log_posteriors", lambda *_: posteriors([0] * 5 + [1] * 15 + [2] * 15 + [3] * 15 + [0] * 5, 9)
    )
    counts = align_set(folder, ContentEncoder(EncoderShape(width=64, layers=1, head_width=64)))
    assert counts == {"aligned": 1, "score too low": 1}
    assert make_codes(folder).startswith("codebook kept")
    (item,) = TrainingSet(folder).train
    assert (item.tokens, item.frames) == ([0, 1, 2, 3, 0], [5, 15, 15, 15, 5])
