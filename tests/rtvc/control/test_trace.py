"""The picture's columns: one each 25 ms, the pitch in Hz, the level in its band; and the latency histogram."""

from __future__ import annotations

import numpy as np
import pytest

from rtvc.control.latency import LatencyHistogram
from rtvc.control.trace import BANDS, HIGH_HZ, LOW_HZ, Trace
from rtvc.kernels.mel import hz_from_mel, mel_from_hz
from tests.rtvc.control.served import tone


def band_of(hz: float) -> float:
    """Return where hz lies among the bands, counted from the lowest band's centre."""
    low, high = mel_from_hz(LOW_HZ), mel_from_hz(HIGH_HZ)
    return (mel_from_hz(hz) - low) / (high - low) * (BANDS + 1) - 1


def test_a_column_each_25_ms_however_it_is_split() -> None:
    x = tone(0.5)
    whole, split = Trace(), Trace()
    columns = whole.add(x)
    parts = [split.add(x[start : start + 777]) for start in range(0, len(x), 777)]
    assert len(columns["hz"]) == len(columns["bands"]) == 20
    assert [column for part in parts for column in part["bands"]] == columns["bands"]
    assert all(len(bands) == BANDS and min(bands) >= 0 and max(bands) <= 255 for bands in columns["bands"])


@pytest.mark.parametrize("hz", [120.0, 200.0, 350.0])
def test_a_tone_is_seen_at_its_pitch_and_level(hz: float) -> None:
    columns = Trace().add(tone(1.0, hz))
    assert columns["hz"][-1] == pytest.approx(hz, rel=0.02)
    last = columns["bands"][-1]
    assert abs(int(np.argmax(last)) - band_of(hz)) <= 1.0
    assert max(last) == pytest.approx(255 * (1 - 14.0 / 90.0), abs=12)  # a sine at -14 dBFS
    assert last[-1] < 60
    assert hz_from_mel(mel_from_hz(hz)) == pytest.approx(hz)


def test_silence_is_empty() -> None:
    columns = Trace().add(np.zeros(4800, np.float32))
    assert columns["hz"] == [0.0] * 4
    assert columns["bands"] == [[0] * BANDS] * 4


def test_the_histogram_knows_its_quantiles() -> None:
    histogram = LatencyHistogram()
    assert histogram.summary()["p50"] == 0.0
    for i in range(100):
        histogram.add(20.0 + i / 10)
    histogram.add(1e9)
    summary = histogram.summary()
    assert summary["p50"] == pytest.approx(25.0, abs=0.6)
    assert summary["p95"] == pytest.approx(29.5, abs=0.6)
    assert sum(summary["histogram"]["counts"]) == 101
    assert len(summary["histogram"]["edges"]) == len(summary["histogram"]["counts"]) + 1
    assert summary["max"] == 1e9
