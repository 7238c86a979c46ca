"""A status is what shared memory says, in the units people read."""

from __future__ import annotations

import numpy as np
import pytest

from rtvc.audio.link import link_memory
from rtvc.engine import worker
from rtvc.engine.ladder import BUSY, DSP, INT8, SILENCE
from rtvc.engine.param_block import PARAM_INT64
from rtvc.engine.pump import AGE_EDGES_MS
from rtvc.engine.status import LiveStatus, engine_status


def status(own_voice: bool = False, **stats: float) -> LiveStatus:
    words = np.zeros(worker.STATS)
    words[worker.STAT_RUNG] = DSP
    for name, value in stats.items():
        words[getattr(worker, f"STAT_{name.upper()}")] = value
    found = engine_status(link_memory(), np.zeros(PARAM_INT64, np.int64), words, own_voice)
    return LiveStatus("running", **found)  # type: ignore[arg-type]


def test_the_words_of_the_stats_block_do_not_overlap() -> None:
    assert worker.STAT_AGES + len(AGE_EDGES_MS) + 1 <= worker.STATS
    assert len(status().ages) == len(AGE_EDGES_MS) + 1


def test_ages_and_rungs_are_told() -> None:
    found = status(age_peak_ms=42.0, max_age_ms=80.0, rung=INT8, ages=7, in_peak=0.1)
    assert (found.age_ms, found.max_age_ms, found.rung, found.rung_reason) == (42.0, 80.0, "neural 8-bit", "")
    assert found.ages[0] == 7
    assert found.in_peak_dbfs == pytest.approx(-20.0)
    assert status(rung=DSP, rung_reason=BUSY).rung_reason == "other programs take the processor"


def test_the_own_voice_is_called_so_unless_there_is_silence() -> None:
    assert status(own_voice=True).rung == "own"
    assert status(own_voice=True, rung=SILENCE).rung == "silence"
