"""What the quality bench says of how well its figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.presets import Utterance
from bench.quality import _interval, _mean


def test_more_voices_of_the_same_speakers_make_a_figure_no_better_known() -> None:
    values = np.random.default_rng(0).normal(size=8)
    speakers = np.array([f"s{k}" for k in range(8)])
    once, four_times = _interval(values, speakers, _mean), _interval(np.tile(values, 4), np.tile(speakers, 4), _mean)
    others = _interval(np.tile(values, 4), np.array([f"s{k}" for k in range(32)]), _mean)
    assert once and others and four_times == pytest.approx(once) and others < 0.7 * once
    assert _interval(values, np.array(["s"] * 8), _mean) is None


def test_the_speaker_is_what_the_name_has_before_its_first_hyphen() -> None:
    sound = (np.zeros(1, np.float32), 16000)
    assert Utterance("1688-142285-0003", sound, "").speaker == "1688" and Utterance("male", sound, "").speaker == "male"
