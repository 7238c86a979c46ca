"""A live session: devices, link, engine process and the watch over them, seen from the control process.

The watch looks every WATCH_S: an engine that died or hangs is replaced by a fresh one (the link plays silence from its
next block on, never the raw voice); a device or server that went away, changed its rate or slept is closed and opened
again as soon as it is back. Each fault is named, counted and told (`faults`). Nothing here touches samples, so a busy
or stopped control process never disturbs the sound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.backend import Lost, ServerError, Streams

from . import worker
from .build import DEFAULT_POINT, wants_neural
from .delay_meter import DelayMeter
from .faults import (
    NETWORKS_BARRED,
    RATE_CHANGED,
    SERVER_LOST,
    SUSPENDED,
    WARM_UP_S,
    EngineWatch,
    FaultLog,
    NetworkCrashes,
    SleepWatch,
)
from .feedback import FeedbackWatch
from .flight import FLIGHT_BYTES, FLIGHT_INT64, Flight, has_room, read_flight
from .network import ON_CPU, Choice
from .own_slot import OwnSlot
from .own_voice import SLOT_BYTES, SLOT_INT64, OwnVoice, without_own
from .param_block import APPLIED_REV, APPLIED_SAMPLE, PARAM_BYTES, PARAM_INT64, write_params
from .params import INDEX, VOICES
from .process import engine_context, start_engine
from .shared_block import SharedBlock
from .status import LiveStatus, engine_status, host_ms
from .taps import TAPS_BYTES, TAPS_INT64, taps_pop
from .worker import WorkerSettings

WATCH_S = 0.05
LISTEN_S = 0.25
REOPEN_S = 0.5
ONE_CLOCK_MARGIN_S = 0.001
TWO_CLOCKS_MARGIN_S = 0.004

_VOICE, _OWN = INDEX["voice.name"], VOICES.index("own")

OpenStreams = Callable[[NDArray[np.int64]], Streams]


class LiveSession:
    """Microphone in, other voice out, until stopped. Use as a context manager."""

    def __init__(
        self,
        open_streams: OpenStreams,
        values: NDArray[np.float64],
        point: str = DEFAULT_POINT,
        provider: Choice = ON_CPU,
        max_age_ms: float | None = None,
        flight: bool = True,
        own: OwnVoice | None = None,
        watermark: bool | None = None,
    ) -> None:
        """open_streams opens both devices on the link it is given (see `rtvc.audio.backend`).

        It is called again after a device was lost, and may raise DeviceError while there is none. point and provider
        are the neural voice's operating point and what runs it; max_age_ms is the age that is promised (see `pump`),
        None for what suits the voice. flight says whether there is a flight recorder. own is who voice.timbre = mine
        means; watermark says whether the sound is marked, None: when it is a person's voice (see `marking`).
        """
        self.engine_failed: Callable[[str], None] = lambda reason: None  # told after each replacement
        self._has_recorder = flight
        self._point, self._provider = point, provider
        self._max_age_s = None if max_age_ms is None else 1e-3 * max_age_ms
        self._open_streams = open_streams
        self._values = values.copy()
        self._own = OwnSlot(own, watermark)
        self._context = engine_context()
        self._shared: list[SharedBlock] = []
        self._flight: SharedBlock | None = None
        self._streams: Streams | None = None
        self._process: BaseProcess | None = None
        self._engine_watch: EngineWatch | None = None
        self._faults = FaultLog()
        self._crashes = NetworkCrashes()
        self._threads: list[threading.Thread] = []
        self._transport = threading.RLock()  # of start and stop, which may be called from different threads
        self._stopping = threading.Event()
        self._reopen = threading.Event()
        self._lock = threading.Lock()  # of what callers of set and status touch, which stop takes away
        self._state, self._message = "stopped", ""
        self._restarts = self._reopens = 0

    def __enter__(self) -> LiveSession:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Open devices, start the engine, let sound run.

        Raises DeviceError if the devices cannot be opened, RuntimeError if the engine does not come up or the session
        runs already.
        """
        with self._transport:
            if self._shared:
                raise RuntimeError("this session runs already")
            self._stopping.clear()
            self._reopen.clear()
            try:
                with self._lock:
                    self._link = self._share(fields.LINK_BYTES, fields.LINK_INT64, np.int64)
                    self._params = self._share(PARAM_BYTES, PARAM_INT64, np.int64)
                    self._stats = self._share(worker.STATS * 8, worker.STATS, np.float64)
                    self._taps = self._share(TAPS_BYTES, TAPS_INT64, np.int64)
                    recorded = self._has_recorder and has_room()
                    self._flight = self._share(FLIGHT_BYTES, FLIGHT_INT64, np.int64) if recorded else None
                    self._state, self._message = "starting", ""
                    self._delay, self._feedback = DelayMeter(), FeedbackWatch()
                    self._slot = self._share(SLOT_BYTES, SLOT_INT64, np.int64)
                    self._own.open(self._slot.view, self._values)
                    write_params(self._params.view, self._values)
                self._streams = self._open_streams(self._link.view)
                self._start_engine()
                self._await_engine()
                self._streams.start()
            except BaseException:
                self.stop()
                raise
            self._state = "running"
            self._threads.append(threading.Thread(target=self._watch_over, name="live-watch", daemon=True))
            if self._flight:
                heard = (self._flight.view,)
                self._threads.append(threading.Thread(target=self._listen, args=heard, name="live-ears", daemon=True))
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Stop sound and engine and give devices and memory back. May be called twice."""
        self._stopping.set()
        with self._transport:  # a start under way gives up first
            for thread in self._threads:
                thread.join()
            self._threads.clear()
            self._close_streams()
            self._stop_engine(2.0)
            with self._lock:
                self._own.close()
                for shared in self._shared:
                    shared.free()
                self._shared.clear()
                self._state = "stopped"

    def set(self, values: NDArray[np.float64]) -> int:
        """Make the engine take over values (float64[len(PARAMS)]) as one change; return its revision.

        A session that does not run starts with them; their revision is 0 then.
        """
        with self._lock:
            self._values = values.copy()
            self._own.update_mark(self._values)
            return int(write_params(self._params.view, self._values)) if self._shared else 0

    @property
    def own(self) -> OwnVoice | None:
        """The voice of the user's own that voice.timbre = mine means."""
        return self._own.voice

    def set_own(self, own: OwnVoice | None) -> None:
        """Let voice.timbre = mine mean another voice, None: nobody; where it sounds, the engine glides there.

        Raises ValueError for a voice that has no room in the slot; then all stays as it is.
        """
        with self._lock:
            self._own.put(own, self._values)

    def withdraw_own(self, instead: str) -> None:
        """Speak as a built-in voice wherever the user's own one speaks, and empty the slot."""
        self.set(without_own(self._values, instead, self.own))
        self.set_own(None)

    def applied(self) -> tuple[int, int] | None:
        """Return the newest revision that the engine took over and its sample clock then, None if nothing runs."""
        with self._lock:
            if not self._shared:
                return None
            return int(self._params.view[APPLIED_REV]), int(self._params.view[APPLIED_SAMPLE])

    def read_taps(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[int, int]:
        """Take what the engine heard (x) and said (y) since the last call, both float32[n] at the engine's rate.

        Return how many frames came and the engine's sample clock after the last; one caller at a time. Who comes
        less often than every 2.7 s misses some.
        """
        with self._lock:
            return taps_pop(self._taps.view, x, y) if self._shared else (0, 0)

    def read_flight(self) -> Flight | None:
        """Return a copy of the last minute from the flight recorder; None if nothing runs or there is no recorder."""
        with self._lock:
            return read_flight(self._flight.view) if self._shared and self._flight else None

    def reopen_devices(self) -> None:
        """Close the devices and call open_streams again, as after a loss; sound starts anew within about a second."""
        self._reopen.set()

    def status(self) -> LiveStatus:
        """Return the session's state and counters."""
        with self._lock:
            runs = self._provider
            if not self._shared:
                return LiveStatus(
                    "stopped", provider=runs.provider, provider_reason=runs.reason,
                    faults=dict(self._faults.counts), outage_ms=self._faults.outage_ms,
                )  # fmt: skip
            own = bool(self._values[_VOICE] == _OWN)
            return LiveStatus(
                state=self._state,
                message=self._message,
                device_ms=self._streams.latency_ms() if self._streams else None,
                block_frames=self._streams.block_frames if self._streams else 0,
                provider=runs.provider,
                provider_reason=runs.reason,
                engine_restarts=self._restarts,
                device_reopens=self._reopens,
                faults=dict(self._faults.counts),
                fault_message=self._faults.last,
                outage_ms=self._faults.outage_ms,
                measured_p50_ms=self._delay.reading.p50_ms,
                measured_p95_ms=self._delay.reading.p95_ms,
                measured_confidence=self._delay.reading.confidence,
                feedback=str(self._feedback.found or ""),
                **engine_status(self._link.view, self._params.view, self._stats.view, own),  # type: ignore[arg-type]
            )

    @property
    def engine_pid(self) -> int | None:
        """Return the engine's process id while there is one."""
        return self._process.pid if self._process else None

    def _start_engine(self) -> None:
        assert self._streams is not None
        one_clock = self._streams.duplex
        self._link.view[fields.ENGINE_STATE] = 0
        self._link.view[fields.ENGINE_STOP] = 0
        settings = WorkerSettings(
            self._link.memory.name,
            self._params.memory.name,
            self._stats.memory.name,
            self._taps.memory.name,
            one_clock,
            ONE_CLOCK_MARGIN_S if one_clock else TWO_CLOCKS_MARGIN_S,
            self._max_age_s,
            self._point,
            self._provider.provider,
            self._flight.memory.name if self._flight else "",
            self._crashes.begin(wants_neural(self._values)),
            self._slot.memory.name,
        )
        process = self._context.Process(target=worker.serve, args=(settings,), name="rtvc-engine", daemon=True)  # type: ignore[attr-defined]
        try:
            start_engine(process)
        except (OSError, EOFError) as error:
            raise RuntimeError("the engine process cannot be started; run `rtvc doctor` to see why") from error
        self._process = process
        self._engine_watch = EngineWatch(self._link.view, process)

    def _await_engine(self) -> None:
        deadline_s = time.perf_counter() + WARM_UP_S
        while self._link.view[fields.ENGINE_STATE] != worker.STATE_RUNNING:
            if not self._process or not self._process.is_alive():
                self._engine_ended()
                raise RuntimeError("the engine process ended while starting; run `rtvc doctor` to see why")
            if time.perf_counter() > deadline_s:
                raise RuntimeError(f"the engine did not come up within {WARM_UP_S:.0f} s")
            if self._stopping.wait(0.005):
                raise RuntimeError("the session was stopped while its engine started")

    def _stop_engine(self, patience_s: float) -> None:
        """End the engine: by asking it for so long, then by force."""
        if self._process:
            self._link.view[fields.ENGINE_STOP] = 1
            self._process.join(patience_s)
            if self._process.is_alive():
                self._process.kill()
            self._process.join()
            self._process = self._engine_watch = None

    def _share(self, size: int, shape: int, dtype: type) -> SharedBlock:
        self._shared.append(SharedBlock.make(size, shape, dtype))
        return self._shared[-1]

    def _close_streams(self) -> None:
        with self._lock:
            streams, self._streams = self._streams, None
        if streams:
            streams.close()

    def _watch_over(self) -> None:
        sleep = SleepWatch()
        try:
            while not self._stopping.wait(WATCH_S):
                if slept_s := sleep.slept_s():
                    slept = f"the machine slept for {slept_s:.0f} s"
                    self._faults.add(SUSPENDED, slept)
                    self._replace_streams(slept)
                elif self._reopen.is_set():
                    self._reopen.clear()
                    self._replace_streams("other devices were chosen")
                elif self._streams is None:
                    self._replace_streams(self._message or "the devices are closed")
                elif lost := self._streams.failure():
                    self._faults.add(lost.fault, str(lost))
                    self._replace_streams(lost)
                elif failed := self._engine_watch.failed() if self._engine_watch else None:
                    fault, told = failed
                    self._message = told
                    self._faults.add(fault, told)
                    self._engine_ended()
                    self._replace_engine()
                    self.engine_failed(told)
                elif self._process is None:
                    self._replace_engine()
                elif self._lacks_networks():
                    self._message = "the engine was replaced by one with the neural voice"
                    self._replace_engine()
                elif self._link.view[fields.ENGINE_STATE] == worker.STATE_RUNNING:
                    self._state, self._message = "running", ""
                    if self._crashes.kept_out and wants_neural(self._values):
                        self._message = self._crashes.told
                    self._faults.over()
                    with self._lock:
                        self._own.update_mark(self._values)  # the hour goes on
        except BaseException as error:
            self._state, self._message = "failed", f"nobody watches over the session any more: {error}"
            raise

    def _listen(self, flight: NDArray[np.int64]) -> None:
        """Measure delay and feedback by the sound itself, apart from the watch, which must not wait for it."""
        stats = self._stats.view
        while not self._stopping.wait(LISTEN_S):
            with self._lock:
                device_ms = self._streams.latency_ms() if self._streams else None
            outside_ms = float(stats[worker.STAT_VOICE_DELAY_MS] - stats[worker.STAT_ENGINE_DELAY_MS])
            self._delay.look(flight, outside_ms + host_ms(device_ms))
            self._feedback.look(flight)

    def _lacks_networks(self) -> bool:
        """Return whether a neural voice is asked for and the engine was started without one."""
        running = self._link.view[fields.ENGINE_STATE] == worker.STATE_RUNNING
        without = self._crashes.kept_out or self._stats.view[worker.STAT_NEURAL] == worker.NEURAL_NONE
        return running and without and wants_neural(self._values) and not self._crashes.barred()

    def _engine_ended(self) -> None:
        """Note that the engine ended by itself; its networks may be why."""
        if self._crashes.ended():
            self._faults.add(NETWORKS_BARRED, self._crashes.told)

    def _replace_engine(self) -> None:
        self._restarts += 1
        self._state = "restarting engine"
        try:
            self._stop_engine(0.0)
            self._link.view[fields.ENGINE_GUARD] = fields.GUARD_ENDED
            self._start_engine()
        except RuntimeError as error:
            self._message = str(error)
            self._stopping.wait(REOPEN_S)

    def _replace_streams(self, reason: str) -> None:
        """Close what was lost, try to open it again, and give the engine a fresh start on the new clocks."""
        self._state, self._message = "waiting for devices", str(reason)
        rates = fields.rates_hz(self._link.view)
        self._close_streams()
        try:
            streams = self._open_streams(self._link.view)
            with self._lock:
                self._streams = streams
            self._stop_engine(1.0)
            fields.forget_sound(self._link.view)
            self._start_engine()
            self._await_engine()
            self._streams.start()
        except RuntimeError as error:  # DeviceError is one
            self._message = str(error)
            if isinstance(error, ServerError):
                self._faults.add_once(SERVER_LOST, str(error))
            self._close_streams()
            self._stopping.wait(REOPEN_S)
            return
        self._reopens += 1
        now = fields.rates_hz(self._link.view)
        if rates != now and not (isinstance(reason, Lost) and reason.fault == RATE_CHANGED):
            self._faults.add(RATE_CHANGED, "the devices came back with rates of {} and {} Hz".format(*now))
