"""The engine process: one thread, one pump, no Python garbage collector, real-time priority where allowed.

It attaches to the link and the parameter block by name, warms every kernel, then serves until told to stop or
until its parent is gone. What it has to say goes out as numbers in a stats block; it never logs and never waits
for anybody. Between blocks it sleeps until the next one is due.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.kernels.watermark import SYMBOLS
from rtvc.provenance.payload import payload_of, signs_of

from .build import build_engine, wants_neural
from .engine import Engine
from .flight import (
    BLOCK_COLUMNS,
    FLIGHT_INT64,
    MARK_SET,
    OWN_CHOSEN,
    RUNG_LIMITED,
    FlightStates,
    flight_block,
    flight_input,
    flight_params,
)
from .guard import guarded
from .ladder import BARRED, DSP, Ladder
from .network import NetworkError
from .own_voice import SLOT, SLOT_INT64, Slot, id_words, unpack_slot
from .param_block import PARAM_INT64, confirm_params, read_params
from .params import default_values, to_vector
from .pump import DSP_MAX_AGE_S, NEURAL_MAX_AGE_S, Pump
from .suppressor import installed_suppressor
from .taps import TAPS_INT64, taps_begin

POLL_S = 0.0005
HEARTBEAT_S = 0.05
FIFO_PRIORITY = 10
STATE_WARMING, STATE_RUNNING = 1, 2

# float64 words of the stats block, written by the engine, read by anybody
(
    STAT_IN_FLIGHT_MS,
    STAT_DRIFT_PPM,
    STAT_LOAD,
    STAT_BLOCK_MAX_MS,
    STAT_CUTS,
    STAT_DROPPED_FRAMES,
    STAT_DEEPER,
    STAT_REPLACED,
    STAT_FRAMES,
    STAT_OWN_HZ,
    STAT_IN_PEAK,
    STAT_OUT_PEAK,
    STAT_REALTIME,
    STAT_TARGET_MS,
    STAT_VOICE_DELAY_MS,
    STAT_NEURAL,
    STAT_ENGINE_DELAY_MS,
    STAT_AGE_PEAK_MS,  # oldest block of the last heartbeat
    STAT_MAX_AGE_MS,
    STAT_LATE_BLOCKS,
    STAT_CUT_MS,  # time taken out of the sound by cuts
    STAT_RUNG,  # index into ladder.RUNGS
    STAT_RUNG_REASON,  # index into ladder.REASONS
    STAT_RUNG_CHANGES,
    STAT_AGES,  # first of len(AGE_EDGES_MS) + 1: blocks by age
) = range(25)
STATS = 48
NEURAL_NONE, NEURAL_SPEAKS, NEURAL_FAILED = range(3)  # values of STAT_NEURAL


@dataclass(frozen=True)
class WorkerSettings:
    """What an engine process needs to know: names of shared memory and how to run the pump."""

    link: str
    params: str
    stats: str
    taps: str
    one_clock: bool
    margin_s: float
    max_age_s: float | None  # None: what suits the voice
    point: str  # operating point of the neural voice
    provider: str  # what onnxruntime runs it on
    flight: str = ""  # flight recorder; "" is none
    networks: bool = True  # whether the networks may be loaded
    own: str = ""  # slot for the user's own voice; "" is none


def warm_up() -> None:
    """Load or compile every kernel of the audio path, by running sound through a private link."""
    link = fields.link_memory()
    link[fields.CAPTURE_RATE_HZ] = link[fields.PLAYBACK_RATE_HZ] = 48000
    link[fields.CAPTURE_CHANNELS] = link[fields.PLAYBACK_CHANNELS] = 1
    engine = Engine()
    taps, flight = np.zeros(TAPS_INT64, np.int64), np.zeros(FLIGHT_INT64, np.int64)
    taps_begin(taps, 0)
    pump = Pump(link, engine, 0.001, 0.03, True, taps, flight)
    everything = to_vector({"breath.amount": 0.5, "whisper.amount": 0.5, "telephone.amount": 0.5, "pitch.semitones": 3})
    flight_input(flight, RUNG_LIMITED, DSP, DSP)
    block = (0.1 * np.sin(0.02 * np.arange(256))).astype(np.float32)
    for i in range(130):
        if i == 30:
            engine.set(everything)
            engine.set_mark(np.ones(SYMBOLS, np.float32))
            flight_input(flight, MARK_SET, -1, 0)
            flight_params(flight, 1, engine.sample, everything)
        fields.link_capture(link, block.copy(), 256, 1 + i * 5_333_333)
        fields.link_playback(link, np.zeros(256, np.float32), 256, 1 + i * 5_333_333)
        if i == 125:
            link[fields.CAPTURE_LOST] += 1  # as if the ring had been full
        if not (50 < i < 60 or 70 < i < 110):  # after the first stall sound is caught up with, after the second dropped
            pump.step(i * 0.005333)
            flight_block(flight, np.zeros(len(BLOCK_COLUMNS), np.int64))


def _ask_for_priority() -> bool:
    """Ask the system for real-time scheduling of this process; go on without where it says no."""
    if hasattr(os, "sched_setscheduler"):
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
        except OSError:
            return False
        return True
    if sys.platform == "win32":
        import ctypes

        task = ctypes.c_uint32(0)
        return bool(ctypes.windll.avrt.AvSetMmThreadCharacteristicsW("Pro Audio", ctypes.byref(task)))
    return False


def serve(settings: WorkerSettings) -> None:
    """Run an engine on the named shared memory until ENGINE_STOP is set or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shared = [SharedMemory(name) for name in (settings.link, settings.params, settings.stats, settings.taps)]
    shared += [SharedMemory(name) for name in (settings.flight, settings.own) if name]
    link: NDArray[np.int64] = np.ndarray((fields.LINK_INT64,), np.int64, shared[0].buf)
    params: NDArray[np.int64] = np.ndarray((PARAM_INT64,), np.int64, shared[1].buf)
    stats: NDArray[np.float64] = np.ndarray((STATS,), np.float64, shared[2].buf)
    taps: NDArray[np.int64] = np.ndarray((TAPS_INT64,), np.int64, shared[3].buf)
    flight: NDArray[np.int64] | None = None
    if settings.flight:
        flight = np.ndarray((FLIGHT_INT64,), np.int64, shared[4].buf)
    slot: NDArray[np.int64] | None = None
    if settings.own:
        slot = np.ndarray((SLOT_INT64,), np.int64, shared[-1].buf)
    link[fields.ENGINE_STATE] = STATE_WARMING
    stats[STAT_REALTIME] = _ask_for_priority()  # before warming up: a replacement must not queue behind a game
    warm_up()
    server = _Server(link, params, stats, taps, settings, flight, slot)
    with guarded(link):
        server.run()
    del server, link, params, stats, taps, flight, slot
    for memory in shared:
        memory.close()


class _Server:
    """The loop and its bookkeeping."""

    def __init__(
        self,
        link: NDArray[np.int64],
        params: NDArray[np.int64],
        stats: NDArray[np.float64],
        taps: NDArray[np.int64],
        settings: WorkerSettings,
        flight: NDArray[np.int64] | None = None,
        slot: NDArray[np.int64] | None = None,
    ) -> None:
        self._flight, self._slot = flight, slot
        self._slot_values, self._slot_rev, self._taken = np.zeros(SLOT), 0, Slot()
        self._states: FlightStates | None = None  # from the engine's beginning on
        self._link, self._params, self._stats = link, params, stats
        self._values = default_values()
        self._rev = 0
        self._engine = Engine(suppressor=installed_suppressor())
        self._take_params()
        self._neural = NEURAL_NONE
        self._barred = not settings.networks
        if wants_neural(self._values) and not self._barred:
            try:
                self._engine = build_engine(values=self._values, point=settings.point, provider=settings.provider)
                self._neural = NEURAL_SPEAKS
            except NetworkError:  # the control process has tried them before and said why
                self._neural = NEURAL_FAILED
        stats[STAT_NEURAL] = self._neural_state()  # before the state says running
        self._take_slot()
        self._engine.reset()
        taps_begin(taps, self._engine.sample)
        if flight is not None:
            made_as = {"values": self._values.tolist(), "neural": self._neural == NEURAL_SPEAKS,
                       "suppressor": self._engine.has_suppressor,
                       "point": settings.point, "provider": settings.provider, **self._told_by_slot()}  # fmt: skip
            self._states = FlightStates(flight, self._engine, made_as)
        self._block_row = np.zeros(len(BLOCK_COLUMNS), np.int64)
        max_age_s = settings.max_age_s or (NEURAL_MAX_AGE_S if self._neural == NEURAL_SPEAKS else DSP_MAX_AGE_S)
        self._pump = Pump(link, self._engine, settings.margin_s, max_age_s, settings.one_clock, taps, flight)
        self._ladder = Ladder(self._engine.rungs)
        self._block_s = 0.0

    def run(self) -> None:
        link = self._link
        gc.collect()
        gc.freeze()
        gc.disable()
        parent = parent_process()
        link[fields.ENGINE_ALIVE_NS] = time.perf_counter_ns()
        link[fields.ENGINE_STATE] = STATE_RUNNING
        beat_s = 0.0
        busy_s = 0.0
        while not link[fields.ENGINE_STOP]:
            begin_s, begin_cpu_s = time.perf_counter(), time.thread_time()
            self._take_params()
            self._take_slot()  # after them: who asks for the voice has put it there before
            due_s = self._due_s()  # before the step: a callback that comes after it must not be slept through
            moved = self._pump.step(begin_s)
            end_s = time.perf_counter()
            if moved:
                busy_s += end_s - begin_s
                self._block_s = max(self._block_s, end_s - begin_s)
                self._judge(moved, end_s - begin_s, time.thread_time() - begin_cpu_s, end_s)
                self._record(begin_s, end_s)
            if end_s - beat_s > HEARTBEAT_S:
                link[fields.ENGINE_ALIVE_NS] = time.perf_counter_ns()
                self._report(busy_s / (end_s - beat_s) if beat_s else 0.0)
                beat_s, busy_s = end_s, 0.0
                if parent is not None and not parent.is_alive():
                    return
            if self._states:
                self._states.take_if_due(due_s - end_s)
            time.sleep(min(max(due_s - time.perf_counter(), POLL_S), 0.02))

    def _neural_state(self) -> int:
        lacking = self._barred and wants_neural(self._values)
        return NEURAL_FAILED if lacking or self._engine.failure else self._neural

    def _take_params(self) -> None:
        rev = read_params(self._params, self._values, self._rev)
        if rev != self._rev:
            self._rev = rev
            self._engine.set(self._values)
            confirm_params(self._params, rev, self._engine.sample)
            if self._states and self._flight is not None:
                flight_params(self._flight, rev, self._engine.sample, self._values)
                self._states.changed()

    def _take_slot(self) -> None:
        """Take over whose voice lies in the slot, and what the watermark says."""
        if self._slot is None:
            return
        rev = read_params(self._slot, self._slot_values, self._slot_rev)
        if rev == self._slot_rev:
            return
        self._slot_rev = rev
        before, self._taken = self._taken, unpack_slot(self._slot_values)
        if self._taken.filling != before.filling:
            self._engine.set_own(self._taken.timbre)
            self._note(OWN_CHOSEN, *id_words(self._taken.id))
        if self._taken.mark != before.mark:
            self._engine.set_mark(None if self._taken.mark is None else signs_of(payload_of(self._taken.mark)))
            self._note(MARK_SET, -1 if self._taken.mark is None else self._taken.mark)

    def _told_by_slot(self) -> dict[str, str | int | None]:
        """Return what of the slot `replay` needs: id of the voice (None: there never was one), last mark's number."""
        was = self._states.made_as if self._states else {}
        return {
            "own": self._taken.id if self._taken.filling else None,
            "mark": was.get("mark") if self._taken.mark is None else self._taken.mark,
        }

    def _note(self, kind: int, one: int, two: int = 0) -> None:
        """Note what the engine was told in the flight recorder."""
        if self._states and self._flight is not None:
            flight_input(self._flight, kind, one, two)
            self._states.made_as |= self._told_by_slot()
            self._states.changed()

    def _record(self, begin_s: float, end_s: float) -> None:
        """Note a step in the flight recorder."""
        if self._flight is None:
            return
        row, pump = self._block_row, self._pump
        row[1], row[2] = round(1e9 * begin_s), round(1e9 * (end_s - begin_s))
        row[3], row[4] = round(1e6 * pump.in_flight_s), round(1e6 * pump.target_s())
        row[5] = self._link[fields.PLAYBACK_XRUNS]
        row[6], row[7] = pump.counters.dropped_frames, pump.counters.cuts
        row[8] = self._engine.rung
        flight_block(self._flight, row)

    def _judge(self, frames: int, busy_s: float, cpu_s: float, time_s: float) -> None:
        """Choose the rung by how long a block of so many captured frames took."""
        sound_s = frames / int(self._link[fields.CAPTURE_RATE_HZ])
        ladder, engine = self._ladder, self._engine
        changed = ladder.observe(busy_s, cpu_s, sound_s, max(sound_s, self._pump.target_s()), time_s)
        for rung in engine.failures:
            if rung == ladder.ready:
                ladder.failed(rung, time_s)
                changed = True
        if changed:
            engine.limit(ladder.heard, ladder.ready)
            self._note(RUNG_LIMITED, ladder.heard, ladder.ready)

    def _due_s(self) -> float:
        """Return when the next capture callback is due."""
        clock = fields.CAPTURE
        last_s = self._link[clock + fields.CLOCK_TIME_NS] * 1e-9
        return float(last_s + self._link[clock + fields.CLOCK_BLOCK_MAX] / self._link[fields.CAPTURE_RATE_HZ])

    def _report(self, load: float) -> None:
        stats, pump = self._stats, self._pump
        stats[STAT_IN_FLIGHT_MS] = 1e3 * pump.in_flight_s
        stats[STAT_TARGET_MS] = 1e3 * pump.target_s()
        stats[STAT_VOICE_DELAY_MS], stats[STAT_ENGINE_DELAY_MS] = 1e3 * pump.delay_s, self._engine.delay_ms
        stats[STAT_DRIFT_PPM] = 1e6 * pump.drift.correction
        stats[STAT_LOAD] = load
        stats[STAT_BLOCK_MAX_MS] = 1e3 * self._block_s
        stats[STAT_CUTS] = pump.counters.cuts
        stats[STAT_DROPPED_FRAMES] = pump.counters.dropped_frames
        stats[STAT_CUT_MS] = 1e3 * pump.counters.cut_frames / int(self._link[fields.CAPTURE_RATE_HZ])
        stats[STAT_LATE_BLOCKS] = pump.counters.late_blocks
        stats[STAT_DEEPER] = pump.counters.deeper
        stats[STAT_AGE_PEAK_MS] = 1e3 * max(pump.age_peak_s, pump.in_flight_s)
        pump.age_peak_s = 0.0
        stats[STAT_MAX_AGE_MS] = 1e3 * pump.max_age_s()
        stats[STAT_AGES : STAT_AGES + len(pump.ages)] = pump.ages
        stats[STAT_RUNG] = self._engine.rung
        lacking = self._barred and wants_neural(self._values)
        stats[STAT_RUNG_REASON] = self._ladder.reason or BARRED * lacking
        stats[STAT_RUNG_CHANGES] = self._ladder.changes
        stats[STAT_OWN_HZ] = self._engine.own_hz
        stats[STAT_IN_PEAK], stats[STAT_OUT_PEAK] = pump.in_peak, pump.out_peak
        pump.in_peak = pump.out_peak = 0.0
        counters = self._engine.counters
        stats[STAT_NEURAL] = self._neural_state()
        stats[STAT_REPLACED] = counters["replaced_samples"]
        stats[STAT_FRAMES] = counters["frames"]
