"""/metrics: ages, rungs and faults as Prometheus reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from rtvc.control.desk import Desk
from rtvc.control.metrics import prometheus
from rtvc.engine.pump import AGE_EDGES_MS
from rtvc.engine.status import LiveStatus


class Audience:
    def count(self) -> int:
        return 3


class Sound:
    panic, rev = False, 5


@dataclass
class Session:
    now: LiveStatus

    def status(self) -> LiveStatus:
        return self.now


class Bench:
    """As much of a desk as the metrics look at."""

    audience, sound, muted, recorder, uptime_s = Audience(), Sound(), False, None, 60.0

    def __init__(self, status: LiveStatus) -> None:
        self.session = Session(status)


def lines(status: LiveStatus) -> list[str]:
    return prometheus(cast(Desk, Bench(status))).splitlines()


def test_the_histogram_of_ages_adds_up_and_ends_in_infinity() -> None:
    found = lines(LiveStatus("running", ages=(5, 3, *[0] * (len(AGE_EDGES_MS) - 2), 2), age_ms=12.0))
    assert 'rtvc_block_age_seconds_bucket{le="0.01"} 5' in found
    assert 'rtvc_block_age_seconds_bucket{le="0.015"} 8' in found
    assert 'rtvc_block_age_seconds_bucket{le="0.25"} 8' in found
    assert 'rtvc_block_age_seconds_bucket{le="+Inf"} 10' in found
    assert "rtvc_block_age_seconds_count 10" in found
    assert "rtvc_age_seconds 0.012" in found


def test_one_rung_speaks_and_faults_have_names() -> None:
    found = lines(LiveStatus("running", rung="silence", faults={"engine_died": 2, "server_lost": 0}))
    assert [line for line in found if line.startswith("rtvc_rung{") and line.endswith(" 1")] == [
        'rtvc_rung{rung="silence"} 1'
    ]
    assert 'rtvc_faults_total{fault="engine_died"} 2' in found
    assert 'rtvc_faults_total{fault="server_lost"} 0' in found
