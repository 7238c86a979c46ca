"""Viterbi finds the path that was put there, and an encoder that hears well aligns what it hears."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.train import TrainingError
from rtvc.train.align import FLOOR, align, read_alignments, write_alignments
from rtvc.train.dataset import Item


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
    path.write_text("utt\tscore\tphones\tframes\ttext\nu\tgood\tx\t1 2\ty\n")
    with pytest.raises(TrainingError, match=r"a\.tsv"):
        read_alignments(path)
