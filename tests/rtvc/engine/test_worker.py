"""The engine process on its own: warm before it serves, obedient, and gone when nobody needs it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.simulated import SimulatedStreams
from rtvc.engine import worker
from rtvc.engine.engine import Engine
from rtvc.engine.ladder import DSP, FAILED, INT8, SLOW
from rtvc.engine.network import CPU
from rtvc.engine.param_block import APPLIED_REV, PARAM_BYTES, PARAM_INT64, write_params
from rtvc.engine.params import to_vector
from rtvc.engine.pump import DSP_MAX_AGE_S, NEURAL_MAX_AGE_S
from rtvc.engine.speaker_pitch import SpeakerPitch
from rtvc.engine.taps import TAPS_BYTES, TAPS_INT64
from rtvc.engine.worker import WorkerSettings
from tests.waiting import PATIENCE_S, wait_for

LEVEL = 0.25


@dataclass
class Desk:
    """The shared memory of one engine, and how to start it."""

    link: NDArray[np.int64]
    params: NDArray[np.int64]
    stats: NDArray[np.float64]
    taps: NDArray[np.int64]
    settings: WorkerSettings

    def start(self) -> BaseProcess:
        process = multiprocessing.get_context("spawn").Process(target=worker.serve, args=(self.settings,))
        process.start()
        return process

    def running(self) -> bool:
        return bool(self.link[fields.ENGINE_STATE] == worker.STATE_RUNNING)


@pytest.fixture
def desk() -> Iterator[Desk]:
    sizes = (fields.LINK_BYTES, PARAM_BYTES, worker.STATS * 8, TAPS_BYTES)
    shared = [SharedMemory(create=True, size=size) for size in sizes]
    link: NDArray[np.int64] = np.ndarray((fields.LINK_INT64,), np.int64, shared[0].buf)
    params: NDArray[np.int64] = np.ndarray((PARAM_INT64,), np.int64, shared[1].buf)
    stats: NDArray[np.float64] = np.ndarray((worker.STATS,), np.float64, shared[2].buf)
    taps: NDArray[np.int64] = np.ndarray((TAPS_INT64,), np.int64, shared[3].buf)
    for view in (link, params, stats, taps):
        view[:] = 0
    link[fields.CAPTURE_RATE_HZ] = link[fields.PLAYBACK_RATE_HZ] = 48000
    link[fields.CAPTURE_CHANNELS] = link[fields.PLAYBACK_CHANNELS] = 1
    names = [memory.name for memory in shared]
    settings = WorkerSettings(*names, one_clock=False, margin_s=0.004, max_age_s=0.4, point="clear", provider=CPU)
    try:
        yield Desk(link, params, stats, taps, settings)
    finally:
        for memory in shared:
            memory.close()
            memory.unlink()


def test_it_serves_until_it_is_told_to_stop(desk: Desk) -> None:
    rev = write_params(desk.params, to_vector({"voice.name": "own", "level.match": False, "gate.threshold_db": -90}))
    tone = (LEVEL * np.sin(0.02 * np.arange(48000 * 100))).astype(np.float32)
    streams = SimulatedStreams(desk.link, tone)
    begun_ns = time.perf_counter_ns()
    process = desk.start()
    try:
        wait_for(desk.running, "the engine")
        assert desk.params[APPLIED_REV] == rev  # from its first sample on
        assert desk.link[fields.ENGINE_ALIVE_NS] > begun_ns  # by our clock
        streams.start()
        wait_for(lambda: desk.stats[worker.STAT_FRAMES] > 48000, "a second of sound")
        wait_for(lambda: desk.stats[worker.STAT_IN_PEAK] > 0.9 * LEVEL, "its peak")
        beat = int(desk.link[fields.ENGINE_ALIVE_NS])
        wait_for(lambda: desk.link[fields.ENGINE_ALIVE_NS] > beat, "another heartbeat")
        rev = write_params(desk.params, to_vector({"level.mute": True}))
        wait_for(lambda: desk.params[APPLIED_REV] == rev, "a change to be taken over")
        wait_for(lambda: desk.stats[worker.STAT_OUT_PEAK] == 0.0 < desk.stats[worker.STAT_IN_PEAK], "silence")
        assert desk.stats[worker.STAT_TARGET_MS] >= 1e3 * 256 / 48000 + 4
        assert 0 < desk.stats[worker.STAT_LOAD] < 1
        assert desk.stats[worker.STAT_REALTIME] in (0.0, 1.0)
    finally:
        desk.link[fields.ENGINE_STOP] = 1
        process.join(PATIENCE_S)
        streams.close()
    assert process.exitcode == 0
    heard = streams.recorded()
    assert np.abs(heard[12_000:40_000]).max() == pytest.approx(LEVEL, rel=0.05)


def test_an_engine_that_cannot_run_ends_with_an_error(desk: Desk) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=worker.serve, args=(replace(desk.settings, link="rtvc-no-such-memory"),)
    )
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 1
    assert desk.link[fields.ENGINE_STATE] != worker.STATE_RUNNING


def test_without_the_right_to_real_time_it_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(pid: int, policy: int, param: os.sched_param) -> None:
        asked.append((pid, policy, param.sched_priority))
        raise PermissionError("not allowed")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert worker._ask_for_priority() is False
    assert asked == [(0, os.SCHED_FIFO, worker.FIFO_PRIORITY)]


# run in fresh interpreters: after warm-up, neither another voice nor another rate nor any trouble compiles or loads
COMPILED = """
import sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from rtvc.audio import link as fields
from rtvc.engine import worker

def compiled():
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("rtvc.")]
    found = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}
    return {f"{d.__module__}.{d.__name__}": len(d.signatures) for d in found.values()}
"""
AFTER_WARM_UP = """
worker.warm_up()
before = compiled()

from rtvc.engine.engine import Engine
from rtvc.engine.params import PARAMS
from rtvc.engine.pump import Pump
from rtvc.engine.taps import TAPS_INT64
random = np.random.default_rng(0)
for in_hz, out_hz in ((48000, 48000), (44100, 96000), (16000, 44100)):
    link = fields.link_memory()
    link[fields.CAPTURE_RATE_HZ], link[fields.PLAYBACK_RATE_HZ] = in_hz, out_hz
    link[fields.CAPTURE_CHANNELS] = link[fields.PLAYBACK_CHANNELS] = 2
    engine = Engine()
    pump = Pump(link, engine, 0.004, 0.06, False, np.zeros(TAPS_INT64, np.int64))
    n, m = in_hz // 200, out_hz // 200
    for i in range(400):
        if i % 10 == 0:
            values = [random.uniform(p.minimum, p.maximum) for p in PARAMS.values()]
            engine.set(np.array([round(v) if p.choices or p.switch else v for v, p in zip(values, PARAMS.values())]))
        x = 0.2 * np.sin(0.02 * np.arange(n)) + 0.1 * random.standard_normal(n) * (i % 100 > 30)
        fields.link_capture(link, np.repeat(x, 2).astype(np.float32), n, 1 + i * 5_000_000)
        fields.link_playback(link, np.zeros(2 * m, np.float32), m, 1 + i * 5_000_000)
        if not (80 < i < 90 or 150 < i < 190):
            pump.step(i * 0.005)
    assert pump.counters.cuts > 0 and pump.counters.dropped_frames > 0
"""
AFTER_NEURAL_WARM_UP = """
from rtvc.engine.flight import FLIGHT_INT64
from rtvc.engine.param_block import PARAM_INT64, write_params
from rtvc.engine.params import PARAMS, to_vector
from rtvc.engine.taps import TAPS_INT64
from rtvc.engine.speaker_pitch import SpeakerPitch

link, params, stats = fields.link_memory(), np.zeros(PARAM_INT64, np.int64), np.zeros(worker.STATS)
link[fields.CAPTURE_RATE_HZ] = link[fields.PLAYBACK_RATE_HZ] = 48000
link[fields.CAPTURE_CHANNELS] = link[fields.PLAYBACK_CHANNELS] = 1
neural = {"voice.name": "neural"}
write_params(params, to_vector(neural))
settings = worker.WorkerSettings("", "", "", "", False, 0.004, None, "fast", "CPUExecutionProvider")
worker.warm_up()
server = worker._Server(link, params, stats, np.zeros(TAPS_INT64, np.int64), settings, np.zeros(FLIGHT_INT64, np.int64))
before = compiled()

random = np.random.default_rng(0)
for i in range(900):
    if i % 100 == 10:
        values = [random.uniform(p.minimum, p.maximum) for p in PARAMS.values()]
        values = [round(v) if p.choices or p.switch else v for v, p in zip(values, PARAMS.values())]
        write_params(params, to_vector(neural | {"suppress.on": i % 200 == 10}, np.array(values)))
    if i % 150 == 0:
        server._engine.failures.update({1: "as if its networks had failed"} if i == 600 else {})
    x = (0.2 * np.sin(0.02 * np.arange(256)) + 0.1 * random.standard_normal(256)).astype(np.float32)
    fields.link_capture(link, x, 256, 1 + i * 5_333_333)
    fields.link_playback(link, np.zeros(256, np.float32), 256, 1 + i * 5_333_333)
    server._take_params()
    moved = server._pump.step(i * 0.005333)
    slow = 0.1 if i % 300 == 299 else 0.001
    server._judge(moved or 256, slow, slow, 1.0 * i)
    server._record(0.0, 0.001)
    server._report(0.1)
    server._states.take_if_due(1.0)
assert server._ladder.changes > 2
"""
CHANGES = """
after = compiled()
print({name: count for name, count in after.items() if count != before.get(name)})
"""


@pytest.mark.parametrize("script", [AFTER_WARM_UP, AFTER_NEURAL_WARM_UP])
def test_after_warm_up_nothing_is_left_to_compile(script: str) -> None:
    words = [sys.executable, "-c", COMPILED + script + CHANGES]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "{}", done.stderr


class Enough(Exception):
    """Ends a server's loop from within a stand-in for sleep."""


def test_a_block_that_comes_while_it_works_is_not_slept_through(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    server = worker._Server(desk.link, desk.params, desk.stats, desk.taps, desk.settings)
    block = np.zeros(256, np.float32)
    fields.link_capture(desk.link, block, 256, time.perf_counter_ns() - 5_333_333)

    def step(time_s: float) -> int:
        fields.link_capture(desk.link, block, 256, time.perf_counter_ns())
        return 0

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise Enough

    monkeypatch.setattr(server._pump, "step", step)
    monkeypatch.setattr(worker.time, "sleep", sleep)
    monkeypatch.setattr(worker.gc, "freeze", lambda: None)
    monkeypatch.setattr(worker.gc, "disable", lambda: None)
    with pytest.raises(Enough):
        server.run()
    assert slept == [worker.POLL_S]


def test_it_declares_the_delay_of_engine_and_resamplers(desk: Desk) -> None:
    server = worker._Server(desk.link, desk.params, desk.stats, desk.taps, desk.settings)
    assert server._pump.delay_s == pytest.approx(0.0135 + 16 / 48000)


class Voice:
    """A stand-in for a neural voice; it may break."""

    delay_frames = 2000
    broken = False
    pitch = SpeakerPitch(0.01)

    def reset(self) -> None:
        pass

    def tick(self, values: NDArray[np.float64]) -> None:
        pass

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        if self.broken:
            raise RuntimeError("no more")
        y[:] = x


def with_voice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> tuple[worker._Server, Voice]:
    voice = Voice()
    monkeypatch.setattr(worker, "build_engine", lambda values, **_: Engine(48000, values, voice))  # type: ignore[arg-type]
    write_params(desk.params, to_vector({"voice.name": "neural"}))
    return worker._Server(desk.link, desk.params, desk.stats, desk.taps, desk.settings), voice


def test_a_block_that_takes_too_long_brings_the_dsp_voice_and_the_stats_say_why(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = with_voice(desk, monkeypatch)
    server._judge(256, 0.004, 0.004, 1.0)
    server._report(0.1)
    assert (desk.stats[worker.STAT_RUNG], desk.stats[worker.STAT_RUNG_CHANGES]) == (INT8, 0)
    server._judge(256, 0.03, 0.03, 2.0)
    server._report(0.1)
    assert (desk.stats[worker.STAT_RUNG], desk.stats[worker.STAT_RUNG_CHANGES]) == (DSP, 1)
    assert desk.stats[worker.STAT_RUNG_REASON] == SLOW
    assert server._engine.rung == DSP


def test_networks_that_fail_are_in_quarantine(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    server, voice = with_voice(desk, monkeypatch)
    block = np.zeros(480, np.float32)
    server._engine.process(block, block.copy())
    voice.broken = True
    server._engine.process(block, block.copy())
    server._judge(480, 0.001, 0.001, 1.0)
    server._report(0.1)
    assert (desk.stats[worker.STAT_RUNG], desk.stats[worker.STAT_RUNG_REASON]) == (DSP, FAILED)
    assert desk.stats[worker.STAT_NEURAL] == worker.NEURAL_FAILED
    server._judge(480, 0.001, 0.001, 2.0)
    assert server._ladder.changes == 1


def test_the_age_promised_suits_the_voice_unless_it_is_given(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.settings = replace(desk.settings, max_age_s=None)
    assert with_voice(desk, monkeypatch)[0]._pump.max_age_s() == NEURAL_MAX_AGE_S
    write_params(desk.params, to_vector({"voice.name": "dsp"}))
    server = worker._Server(desk.link, desk.params, desk.stats, desk.taps, desk.settings)
    assert server._pump.max_age_s() == DSP_MAX_AGE_S
    desk.settings = replace(desk.settings, max_age_s=0.1)
    server = worker._Server(desk.link, desk.params, desk.stats, desk.taps, desk.settings)
    assert server._pump.max_age_s() == 0.1
