"""The quality ladder on made-up timings: one block down, slow up, quarantine, and never past silence."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rtvc.engine.ladder import (
    AS_WISHED,
    BUSY,
    CALM_S,
    DSP,
    FAILED,
    FP32,
    HOLD_S,
    INT8,
    LONGEST_S,
    QUARANTINE_S,
    SILENCE,
    SLOW,
    TRIAL_S,
    Ladder,
)

BLOCK_S, LIMIT_S = 0.005, 0.010


class Machine:
    """Feeds a ladder blocks of BLOCK_S whose cost is a share of real time, rung by rung."""

    def __init__(self, *rungs: int, **costs: float) -> None:
        self.ladder = Ladder(rungs)
        self.time_s = 1000.0
        self.costs = {FP32: 0.4, INT8: 0.2, DSP: 0.03, SILENCE: 0.0} | {
            {"fp32": FP32, "int8": INT8, "dsp": DSP}[name]: cost for name, cost in costs.items()
        }
        self.log: list[tuple[float, int, int]] = []

    def run(self, seconds: float) -> None:
        until_s = self.time_s + seconds
        while self.time_s < until_s:
            self.block(self.costs[self.ladder.ready] * BLOCK_S)

    def block(self, cpu_s: float, waited_s: float = 0.0) -> None:
        self.time_s += BLOCK_S
        if self.ladder.observe(cpu_s + waited_s, cpu_s, BLOCK_S, LIMIT_S, self.time_s):
            self.log.append((self.time_s, self.ladder.heard, self.ladder.ready))


def test_a_machine_that_is_fast_enough_stays_where_it_is() -> None:
    machine = Machine(INT8, DSP, SILENCE)
    machine.run(100)
    assert machine.ladder.heard == machine.ladder.ready == INT8
    assert machine.ladder.reason == AS_WISHED
    assert machine.ladder.load == pytest.approx(0.2, abs=0.01)
    assert machine.log == []


@pytest.mark.parametrize("rung", [FP32, INT8])
def test_one_block_that_takes_too_long_is_enough_to_go_to_the_dsp_voice(rung: int) -> None:
    machine = Machine(rung, DSP, SILENCE)
    machine.run(1)
    machine.block(0.012)
    assert machine.ladder.heard == machine.ladder.ready == DSP
    assert machine.ladder.reason == SLOW
    assert machine.ladder.changes == 1


def test_a_block_kept_waiting_by_others_is_forgiven_and_three_in_a_second_are_not() -> None:
    machine = Machine(INT8, DSP, SILENCE)
    for _ in range(5):
        machine.block(0.001, waited_s=0.3)
        machine.run(0.8)
    assert machine.ladder.heard == INT8
    for _ in range(3):
        machine.run(0.2)
        machine.block(0.001, waited_s=0.02)
    assert machine.ladder.heard == DSP
    assert machine.ladder.reason == BUSY


def test_the_dsp_voice_is_not_given_up_because_others_take_the_processor() -> None:
    machine = Machine(DSP, SILENCE)
    for _ in range(1000):
        machine.block(0.0002, waited_s=0.02)
    assert machine.ladder.heard == DSP


def test_a_few_blocks_of_the_dsp_voice_that_take_long_are_no_reason_for_silence() -> None:
    machine = Machine(DSP, SILENCE)
    for _ in range(20):
        machine.run(0.5)
        machine.block(0.3)  # the machine stood still and calls it computing
    assert machine.ladder.heard == DSP


def test_the_dsp_voice_gives_way_to_silence_where_it_cannot_be_computed_and_there_is_nothing_below() -> None:
    machine = Machine(DSP, SILENCE, dsp=1.5)
    machine.run(5)
    assert machine.ladder.heard == SILENCE
    machine.block(0.1)
    machine.block(0.1)
    assert machine.ladder.heard == SILENCE


def test_climbing_waits_tries_unheard_and_then_is_heard() -> None:
    machine = Machine(INT8, DSP, SILENCE)
    machine.block(0.012)
    down_s = machine.time_s
    machine.run(HOLD_S + CALM_S + TRIAL_S + 1)
    (_, *first), (trial_s, *trial), (up_s, *up) = machine.log
    assert first == [DSP, DSP]
    assert trial == [DSP, INT8]
    assert up == [INT8, INT8]
    assert trial_s - down_s >= HOLD_S
    assert up_s - trial_s >= TRIAL_S
    assert machine.ladder.reason == AS_WISHED


def test_a_trial_that_is_too_slow_is_never_heard_and_the_next_one_comes_later_each_time() -> None:
    machine = Machine(INT8, DSP, SILENCE, int8=1.2)
    machine.block(0.012)
    machine.run(2000)
    assert {heard for _, heard, _ in machine.log} == {DSP}
    trials = [time_s for time_s, _, ready in machine.log if ready == INT8]
    waits = [b - a for a, b in pairwise(trials)]
    assert len(trials) < 12
    assert all(b > 1.9 * a for a, b in pairwise(waits[:5]))
    assert waits[-1] == pytest.approx(LONGEST_S, abs=5)


def test_a_load_that_is_just_possible_is_not_climbed_to() -> None:
    machine = Machine(INT8, DSP, SILENCE, int8=0.8)
    machine.run(10)
    assert machine.ladder.heard == INT8  # it is kept while it works
    machine.block(0.012)
    machine.run(60)
    assert machine.ladder.heard == DSP


def test_relapses_make_the_climb_slower() -> None:
    machine = Machine(INT8, DSP, SILENCE)
    waits = []
    for _ in range(4):
        machine.block(0.012)
        fell_s = machine.time_s
        while machine.ladder.heard == DSP:
            machine.run(0.1)
        waits.append(machine.time_s - fell_s)
    assert all(b > 1.5 * a for a, b in pairwise(waits))
    machine.run(100)  # all is well for long: a new start
    machine.block(0.012)
    machine.run(HOLD_S + TRIAL_S + 1)
    assert machine.ladder.heard == INT8


def test_the_ladder_is_climbed_rung_by_rung() -> None:
    machine = Machine(FP32, INT8, DSP, SILENCE, fp32=2.0)
    machine.run(1)
    assert machine.ladder.heard == DSP
    machine.run(20)
    assert machine.ladder.heard == INT8
    assert machine.ladder.reason == SLOW  # it is still not what was wished
    machine.costs[FP32] = 0.3
    machine.run(1000)
    assert machine.ladder.heard == FP32
    assert machine.ladder.reason == AS_WISHED


def test_a_rung_that_fails_is_in_quarantine_and_is_tried_again() -> None:
    machine = Machine(INT8, DSP, SILENCE)
    machine.run(1)
    machine.ladder.failed(INT8, machine.time_s)
    assert machine.ladder.heard == machine.ladder.ready == DSP
    assert machine.ladder.reason == FAILED
    machine.run(QUARANTINE_S - 1)
    assert machine.ladder.ready == DSP
    machine.run(2)
    assert machine.ladder.ready == INT8
    machine.ladder.failed(INT8, machine.time_s)  # it fails again in its trial
    assert machine.ladder.heard == machine.ladder.ready == DSP
    machine.run(2 * QUARANTINE_S - 1)
    assert machine.ladder.ready == DSP
    machine.run(2 + TRIAL_S)
    assert machine.ladder.heard == INT8
