"""The desk: everything that clients do to one session comes together here. One event loop owns it.

It holds the sound and its ramps, presets, devices, the recording and the jobs, and every TICK_S it looks at the
session: takes the taps' sound, tells meters and trace to whoever wants them, and tells changes of state. It never
touches samples on their way: the sound does not depend on anything here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import platformdirs
from numpy.typing import NDArray

from rtvc.audio.monitor import Monitor, MonitorState
from rtvc.engine.build import DEFAULT_POINT
from rtvc.engine.live import LiveSession
from rtvc.engine.own_voice import OwnVoice, asks_for_own, without_own
from rtvc.engine.params import PARAMS, TIMBRES, Value, from_vector
from rtvc.engine.status import LiveStatus
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.live_view import latency_ms
from rtvc.voices.errors import ConsentError, VoiceError
from rtvc.voices.live_voices import LiveVoices, LockedError, Withdrawn

from .applied import AppliedWatch
from .changes import ChangeEvents
from .devices import DeviceChoice
from .jobs import Job, Jobs
from .latency import LatencyHistogram
from .presets import PresetShelf
from .ramps import Ramps
from .recorder import Recorder
from .sound import MUTE, Change, Sound, Vector
from .trace import Trace
from .wire import RequestError, Status

TICK_S = 0.05
PRESETS_EVERY_S = 1.0
PEAK_FLOOR = 1e-6
_TAKE_FRAMES = ENGINE_RATE_HZ

_log = logging.getLogger(__name__)


class Audience(Protocol):
    """Those who listen to events."""

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        """Tell an event to all who want it, without waiting."""

    def wants(self, event: str) -> bool:
        """Return whether anybody wants this event."""

    def count(self) -> int:
        """Return how many clients there are."""


class _Nobody:
    """The audience of a desk without a server."""

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        pass

    def wants(self, event: str) -> bool:
        return False

    def count(self) -> int:
        return 0


@dataclass(frozen=True)
class DeskSettings:
    """What clients may do and where files go."""

    bypass_allowed: bool = False
    recordings: Path = field(default_factory=lambda: platformdirs.user_music_path() / "rtvc")
    presets: Path | None = None  # the settings' own folder
    point: str = DEFAULT_POINT  # of a neural voice, for jobs


class Desk:
    """One session under remote control; the session may run or not."""

    def __init__(
        self,
        session: LiveSession,
        values: Vector,
        devices: DeviceChoice,
        settings: DeskSettings,
        monitor: Monitor | None = None,
        voices: LiveVoices | None = None,
    ) -> None:
        """Values is what the session was made with, float64[len(PARAMS)]; devices is what its open_streams opens.

        monitor is one of these devices; one that is off if None. voices are the user's own for this session.
        """
        self.voices = voices or LiveVoices(session)
        self._tell_withdrawn = self.voices.withdrawn
        self.session, self.devices, self.settings = session, devices, settings
        self.monitor = monitor or Monitor(devices.monitored)
        self.sound = Sound(values, session.set, settings.bypass_allowed, session.own, session.set_own)
        self.applied = AppliedWatch(session.applied)
        self.ramps = Ramps(self.sound, self.committed)
        self.presets = PresetShelf(settings.presets)
        self.latency = LatencyHistogram()
        self.jobs = Jobs(self._job_told)
        self.recorder: Recorder | None = None
        self.current_preset = self.presets.sounding(values, self.own_known_as)
        self.voice_before_bypass = "dsp"
        self.missing_networks: str | None = None  # why there is no neural voice; None while nobody has looked
        self._begin_s = time.monotonic()
        self.audience: Audience = _Nobody()
        self.changes = ChangeEvents(self.publish, self.applied, lambda: self.editing)
        self.transport = asyncio.Lock()  # of starting, stopping and changing devices: one at a time
        self._said: tuple[str, str] = ("", "")
        self._rung: tuple[str, str] = ("", "")
        self._faults: dict[str, int] = {}
        self._monitor_said: MonitorState = self.monitor.state
        self._presets_s = 0.0  # when the presets' folder is looked at next
        self._x, self._y = (np.zeros(_TAKE_FRAMES, np.float32) for _ in range(2))
        self._traces: tuple[Trace, Trace] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to watch the session; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self.voices.withdrawn = self._withdrawn
        self._task = self._loop.create_task(self._watch())

    async def close(self) -> None:
        """End ramps, jobs and the recording (which is saved). The session goes on."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.ramps.close()
        await self.changes.close()
        await self.applied.close()
        if self.recorder:
            await asyncio.to_thread(self.recorder.stop)
        await asyncio.to_thread(self.jobs.close)

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        """Tell an event to whoever wants it."""
        self.audience.publish(event, data)

    def committed(self, change: Change) -> None:
        """Commit change and tell everybody what is different."""
        if change.reason != "ramp":
            self.ramps.end(change.numbers)
        voice = self.sound.value("voice.name")
        values = self.sound.commit(change)
        if change.own:
            self.tell_own()
        if not values:
            return
        self.changes.add(values, change.by, change.reason, self.sound.rev, self.sound.engine_rev)
        if MUTE in values:
            self.publish("MuteChanged", {"muted": bool(values[MUTE])})
        if "voice.name" in values and "own" in (voice, values["voice.name"]):
            self.publish("BypassChanged", {"active": values["voice.name"] == "own"})

    async def take_own(self, name: str, use: str = "live") -> OwnVoice:
        """Return a voice of the user's own for one use, by name or id. Raises RequestError saying why not."""
        try:
            return await asyncio.to_thread(self.voices.take, name, use)
        except (LockedError, ConsentError) as error:
            raise RequestError(Status.CANNOT_ACT, str(error)) from None
        except VoiceError as error:
            raise RequestError(Status.RESOURCE_NOT_FOUND, str(error)) from None

    async def allow_own(self, change: Change, before: Change | None = None) -> None:
        """Take the voice in the slot once more if change lets it speak and before did not.

        Raises RequestError if there is none, or its consents do not allow it any more.
        """
        speaks = asks_for_own(self.sound.vector(change)) and not asks_for_own(self.sound.vector(before))
        if change.own or not speaks:
            return
        if self.sound.own is None:
            what = "voice = 'mine': none of your own voices is chosen; send SwitchVoice with its name"
            raise RequestError(Status.CANNOT_ACT, what)
        change.own = await self.take_own(self.sound.own.id)

    def tell_own(self, withdrawn: Withdrawn | None = None) -> None:
        """Tell everybody which voice of the user's own lies in the slot."""
        why = {"reason": withdrawn.reason, "instead": withdrawn.instead} if withdrawn else {"reason": "", "instead": ""}
        self.publish("OwnVoiceChanged", {"name": self.voices.name_of(self.sound.own), **why})

    def _withdrawn(self, withdrawn: Withdrawn) -> None:
        """Follow what the watch over the own voices has done; it calls this from its thread."""
        self._tell_withdrawn(withdrawn)
        self._soon(self._follow_withdrawn, withdrawn)

    def _follow_withdrawn(self, withdrawn: Withdrawn) -> None:
        if self.session.own is None:
            own, self.sound.own = self.sound.own, None
            vector = self.sound.vector()
            change = Change("rtvc", "voice", undoable=False)
            for param, value in from_vector(without_own(vector, withdrawn.instead, own)):
                if value != self.sound.value(param.id):
                    change.numbers[param.id] = param.to_number(value)
            self.committed(change)
        self.tell_own(withdrawn)

    @property
    def own_known_as(self) -> frozenset[str]:
        """Id and name of the voice of the user's own in the slot."""
        own = self.session.own
        return frozenset({own.id, self.voices.name_of(own) or own.id} if own else ())

    def noted(self, request: str, data: object) -> object:
        """Return a request's data as the audit log may hold it: no passphrase, no name of an own voice."""
        if request == "UnlockVoices" or not isinstance(data, dict):
            return None if request == "UnlockVoices" else data
        fields = ("name", "first", "second") if request in ("SwitchVoice", "BlendVoices") else ()
        return {name: self._noted(value, name in fields) for name, value in data.items()}

    def _noted(self, value: object, is_voice: bool) -> object:
        if isinstance(value, dict):
            return {name: self._noted(inner, False) for name, inner in value.items()}
        if not isinstance(value, str):
            return value
        own_id = self.voices.id_of(value)
        built_in = value in (*TIMBRES, "dsp", "own", "silence")
        return own_id or ("?" if is_voice and not built_in else value)

    def set_panic(self, on: bool) -> None:
        """Silence at once, whatever else goes on; or end that."""
        if on:
            self.ramps.end_all()
            self.jobs.cancel_all()
        if on != self.sound.panic:
            self.sound.set_panic(on)
            self.publish("PanicChanged", {"on": on})

    @property
    def editing(self) -> dict[str, bool]:
        """Whether there is something to undo and redo, and whether the sound is no longer the preset's."""
        name = self.current_preset
        modified = name is not None and self.presets.differs(name, self.sound.vector(), self.own_known_as)
        return {"can_undo": self.sound.can_undo, "can_redo": self.sound.can_redo, "preset_modified": modified}

    @property
    def bypass(self) -> dict[str, bool]:
        """Whether the own voice is let through, and whether clients may ask for that."""
        return {"allowed": self.sound.bypass_allowed, "active": self.sound.value("voice.name") == "own"}

    @property
    def uptime_s(self) -> float:
        """How long the desk has been there."""
        return time.monotonic() - self._begin_s

    @property
    def muted(self) -> bool:
        """Whether mute is on, apart from panic."""
        return bool(self.sound.value(MUTE))

    def recording(self) -> dict[str, Any]:
        """Return whether a recording runs, where to, and how long it is."""
        recorder = self.recorder
        if recorder is None:
            return {"active": False, "path": None, "seconds": 0.0}
        return {"active": True, "path": str(recorder.path), "seconds": round(recorder.seconds, 2)}

    def start_recording(self, path: Path, overwrite: bool = False) -> Recorder:
        """Begin to record. Raises RequestError if one runs, AudioFileError if path cannot be written."""
        if self.recorder:
            raise RequestError(Status.OUTPUT_RUNNING, f"a recording runs already: {self.recorder.path}")
        recorder = Recorder(path, lambda error: self._soon(self._recorded, recorder, error), overwrite)
        self.recorder = recorder
        self.publish("RecordStateChanged", self.recording())
        return recorder

    def _recorded(self, recorder: Recorder, error: str | None) -> None:
        """Tell that a recording has ended."""
        if self.recorder is recorder:
            self.recorder = None
        data = {"active": False, "path": str(recorder.path), "seconds": round(recorder.seconds, 2)}
        self.publish("RecordStateChanged", data | ({"error": error} if error else {}))

    def _job_told(self, job: Job) -> None:
        entry = job.entry()
        self._soon(lambda: self.publish("JobProgress", entry))

    def _soon(self, call: Callable[..., None], *args: object) -> None:
        """Do something in the event loop, from any thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    async def _watch(self) -> None:
        next_s = time.monotonic()
        while True:
            try:
                self._look()
            except Exception:  # one look that fails must not end meters, trace and recording for good
                _log.exception("looking at the session failed")
            now_s = time.monotonic()
            next_s = next_s + TICK_S if now_s < next_s + 2 * TICK_S else now_s
            await asyncio.sleep(max(0.0, next_s - now_s))

    def _look(self) -> None:
        """Look at the session once and tell what there is to tell."""
        status = self.session.status()
        self._tell_state(status)
        self.tell_monitor()
        if status.state == "running":
            self.latency.add(latency_ms(status))
        self._take_sound(status)
        now_s = time.monotonic()
        if now_s > self._presets_s:
            self._presets_s = now_s + PRESETS_EVERY_S
            if self.presets.refresh():
                self.publish("PresetListChanged", {"presets": self.presets.names()})
            if self.voices.has_changed():
                self.publish("VoiceListChanged", {})

    def _tell_state(self, status: LiveStatus) -> None:
        if (status.state, status.message) != self._said:
            self._said = status.state, status.message
            self.publish("StateChanged", {"state": status.state, "message": status.message})
        rung = status.rung, status.rung_reason
        if status.state == "running" and rung != self._rung:
            self._rung = rung
            self.publish("RungChanged", {"rung": status.rung, "reason": status.rung_reason})
        for fault, count in status.faults.items():
            if count > self._faults.get(fault, 0):
                self.publish("FaultNoticed", {"fault": fault, "count": count, "message": status.fault_message})
        self._faults = dict(status.faults)

    def tell_monitor(self) -> None:
        """Tell everybody how the monitor is, if that is news."""
        state = self.monitor.state
        if state != self._monitor_said:
            self._monitor_said = state
            self.publish("MonitorChanged", asdict(state))

    def _take_sound(self, status: LiveStatus) -> None:
        """Give what the taps hold to the recording, the meters and the trace."""
        n, at = self.session.read_taps(self._x, self._y)
        x, y = self._x[:n], self._y[:n]
        if n and self.recorder:
            self.recorder.add(y, at)
        if self.audience.wants("Meters"):
            self.publish("Meters", {
                "in_peak_dbfs": _peak_dbfs(x), "out_peak_dbfs": _peak_dbfs(y), "own_hz": round(status.own_hz, 1),
                "delay_ms": round(latency_ms(status), 2), "xruns": status.xruns, "load": round(status.load, 4),
            })  # fmt: skip
        if not self.audience.wants("Trace"):
            self._traces = None
        elif n:
            self._traces = self._traces or (Trace(), Trace())
            sides = {name: trace.add(z) for name, trace, z in zip(("in", "out"), self._traces, (x, y), strict=True)}
            if sides["in"]["hz"]:
                self.publish("Trace", {"at": at, **sides})


def shown_values(values: Mapping[str, float]) -> dict[str, Value]:
    """Return numbers by id as a person writes them."""
    return {name: PARAMS[name].from_number(number) for name, number in values.items()}


def _peak_dbfs(x: NDArray[np.float32]) -> float:
    peak = float(np.abs(x).max()) if len(x) else 0.0
    return round(20.0 * float(np.log10(max(peak, PEAK_FLOOR))), 1)
