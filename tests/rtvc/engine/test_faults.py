"""Faults are told apart by what is seen from outside, counted by name, and timed."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.link import link_capture, link_memory
from rtvc.engine import faults, worker
from rtvc.engine.faults import CRASHES_S, FAULTS, QUARANTINE_S, EngineWatch, FaultLog, NetworkCrashes, SleepWatch
from rtvc.kernels.ring import READ, WRITTEN


class Process:
    """An engine process as far as a watch sees it."""

    alive, exitcode = True, -9

    def is_alive(self) -> bool:
        return self.alive


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds; moves when a test says so."""
    now_s = [1000.0]
    monkeypatch.setattr(faults.time, "perf_counter", lambda: now_s[0])
    monkeypatch.setattr(faults.time, "perf_counter_ns", lambda: round(1e9 * now_s[0]))
    return now_s


def running(clock: list[float]) -> tuple[NDArray[np.int64], Process, EngineWatch]:
    link, process = link_memory(), Process()
    link[fields.CAPTURE_CHANNELS] = 1
    link[fields.ENGINE_STATE] = worker.STATE_RUNNING
    link[fields.ENGINE_ALIVE_NS] = round(1e9 * clock[0])
    return link, process, EngineWatch(link, cast("faults.BaseProcess", process))


def beat(link: NDArray[np.int64], clock: list[float], seconds: float, take: bool = True) -> None:
    """Let time pass in which the microphone gives sound and the engine beats, and takes it or not."""
    clock[0] += seconds
    link[fields.ENGINE_ALIVE_NS] = round(1e9 * clock[0])
    link_capture(link, np.zeros(256, np.float32), 256, 1)
    if take:
        link[fields.CAPTURE_RING + READ] = link[fields.CAPTURE_RING + WRITTEN]


def test_an_engine_that_works_is_left_alone(clock: list[float]) -> None:
    link, _, watch = running(clock)
    for _ in range(100):
        beat(link, clock, 0.05)
        assert watch.failed() is None


def test_an_engine_that_is_gone_died(clock: list[float]) -> None:
    _, process, watch = running(clock)
    process.alive = False
    assert watch.failed() == ("engine_died", "the engine process died and was replaced")


@pytest.mark.parametrize("exitcode", faults.BY_SIGTERM)
@pytest.mark.parametrize("told", [True, False])
def test_an_engine_that_ends_by_the_sigterm_that_ends_us_is_no_fault(
    told: bool, exitcode: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, process, watch = running(clock)
    process.alive, process.exitcode = False, exitcode
    monkeypatch.setattr(faults, "told_to_end", lambda _within_s: told)
    assert (watch.failed() is None) is told


def test_an_engine_without_a_heartbeat_hangs(clock: list[float]) -> None:
    _, _, watch = running(clock)
    clock[0] += 0.9
    assert watch.failed() is None
    clock[0] += 0.3
    assert watch.failed() == ("engine_hung", "the engine process hung for 1.2 s and was replaced")


def test_an_engine_that_beats_and_takes_no_sound_is_stuck(clock: list[float]) -> None:
    link, _, watch = running(clock)
    for _ in range(21):
        beat(link, clock, 0.05, take=False)
        assert watch.failed() is None
    beat(link, clock, 0.05, take=False)
    fault, sentence = watch.failed() or ("", "")
    assert fault == "engine_stuck"
    assert "took no sound for 1.0 s" in sentence


def test_an_engine_that_takes_no_sound_because_there_is_none_is_not_stuck(clock: list[float]) -> None:
    link, _, watch = running(clock)
    for _ in range(100):
        clock[0] += 0.05
        link[fields.ENGINE_ALIVE_NS] = round(1e9 * clock[0])
        assert watch.failed() is None


def test_an_engine_that_warms_up_may_take_its_time_but_not_for_ever(clock: list[float]) -> None:
    link, _, watch = running(clock)
    link[fields.ENGINE_STATE] = worker.STATE_WARMING
    clock[0] += 119
    assert watch.failed() is None
    clock[0] += 2
    assert (watch.failed() or ("", ""))[0] == "engine_hung"


def test_the_log_counts_by_name_and_times_the_outage_from_its_first_fault(clock: list[float]) -> None:
    log = FaultLog()
    assert log.counts == dict.fromkeys(FAULTS, 0)
    log.over()
    assert log.outage_ms == 0.0
    log.add_once("server_lost", "no server")
    log.add_once("server_lost", "no server")
    clock[0] += 0.5
    log.add("engine_died", "it died")
    assert log.last == "it died"
    clock[0] += 0.25
    log.over()
    log.over()
    assert log.outage_ms == 750.0
    assert log.counts["server_lost"] == log.counts["engine_died"] == 1
    assert sum(log.counts.values()) == 2


def test_sleep_is_the_time_that_only_one_clock_saw() -> None:
    awake, always = [0.0], [50.0]
    watch = SleepWatch(lambda: awake[0], lambda: always[0])
    for _ in range(100):
        awake[0] += 0.05
        always[0] += 0.05 + 1e-6
        assert watch.slept_s() == 0.0
    awake[0] += 0.05
    always[0] += 3600.05
    assert watch.slept_s() == pytest.approx(3600, abs=0.01)
    assert watch.slept_s() == 0.0


def test_this_machine_does_not_seem_to_sleep() -> None:
    watch = SleepWatch()
    time.sleep(0.01)
    assert watch.slept_s() == 0.0


def crash(crashes: NetworkCrashes) -> bool:
    """Let an engine with the networks begin and end."""
    crashes.begin(True)
    return crashes.ended()


def test_a_few_crashes_within_a_minute_bar_the_networks(clock: list[float]) -> None:
    crashes = NetworkCrashes()
    for _ in range(10):
        clock[0] += 31.0
        assert not crash(crashes)  # never three within a minute
    clock[0] += 100.0
    assert [crash(crashes) for _ in range(3)] == [False, False, True]
    assert crashes.barred()
    clock[0] += QUARANTINE_S + 0.1
    assert not crashes.barred()


def test_a_relapse_bars_the_networks_at_once_and_for_longer_each_time(clock: list[float]) -> None:
    crashes = NetworkCrashes()
    for _ in range(3):
        crash(crashes)
    held_s = []
    for _ in range(6):
        begin_s = clock[0]
        while crashes.barred():
            clock[0] += 1.0
        held_s.append(clock[0] - begin_s)
        assert crash(crashes)
    assert held_s == [30.0, 60.0, 120.0, 240.0, 480.0, 480.0]


def test_networks_that_did_well_for_a_minute_are_trusted_as_before(clock: list[float]) -> None:
    crashes = NetworkCrashes()
    for _ in range(3):
        crash(crashes)
    clock[0] += QUARANTINE_S
    assert crash(crashes)
    clock[0] += 2 * QUARANTINE_S + CRASHES_S + 1.0
    assert [crash(crashes) for _ in range(3)] == [False, False, True]
    clock[0] += QUARANTINE_S
    assert not crashes.barred()


def test_engines_without_networks_may_end_as_often_as_they_like(clock: list[float]) -> None:
    crashes = NetworkCrashes()
    for _ in range(10):
        assert crashes.begin(False)
        assert not crashes.ended()
    assert [crash(crashes) for _ in range(3)] == [False, False, True]
    assert not crashes.begin(True)
    assert crashes.kept_out
    assert not crashes.ended()  # it had none
