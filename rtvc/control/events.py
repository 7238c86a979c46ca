"""Every event, declared once: the bit that subscribes to it and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtvc.engine.faults import FAULTS

from .fields import Field, object_schema
from .requests import APPLIED_AT, EDITING, MONITOR, REV
from .wire import HIGH_VOLUME, Intent


@dataclass(frozen=True)
class Event:
    """One event."""

    name: str
    intent: Intent
    doc: str
    tells: tuple[Field, ...] = ()

    @property
    def high_volume(self) -> bool:
        """Whether it comes many times a second and the newest is the only one that counts."""
        return bool(self.intent & HIGH_VOLUME)


_VALUES = Field("values", "values", "values by parameter id")
_TABLE = (
    Event("StateChanged", Intent.GENERAL, "The session started, stopped, lost a device, replaced its engine", (
        Field("state", "text"), Field("message", "text"),
    )),
    Event("RungChanged", Intent.GENERAL, "Another rung of the quality ladder speaks; reason: why not the best", (
        Field("rung", "text"), Field("reason", "text"),
    )),
    Event("FaultNoticed", Intent.GENERAL, "An engine, a device, a server failed and is being replaced", (
        Field("fault", "text", choices=FAULTS), Field("count", "integer", "how often it came so far"),
        Field("message", "text"),
    )),
    Event("PanicChanged", Intent.GENERAL, "Panic was pressed or taken back", (Field("on", "boolean"),)),
    Event("MuteChanged", Intent.GENERAL, "Mute was turned on or off", (Field("muted", "boolean"),)),
    Event("BypassChanged", Intent.GENERAL, "The own voice is let through, or no longer", (Field("active", "boolean"),)),
    Event("ExitStarted", Intent.GENERAL, "The program ends"),
    Event("ParamsChanged", Intent.PARAMS, "Parameters changed; by says who, reason how", (
        _VALUES, REV, APPLIED_AT, Field("by", "text"),
        Field("reason", "text", choices=("set", "nudge", "ramp", "preset", "undo", "redo", "voice")),
        *EDITING,
    )),
    Event("OwnVoiceChanged", Intent.PARAMS, "Another of your own voices is mine (voice.timbre), or none", (
        Field("name", "text", nullable=True), Field("reason", "text", "why the one before may not speak any more"),
        Field("instead", "text", "who speaks instead then"),
    )),
    Event("VoiceListChanged", Intent.PRESETS, "Your own voices changed, or were unlocked"),
    Event("PresetListChanged", Intent.PRESETS, "Presets were saved, deleted or edited", (Field("presets", "list"),)),
    Event("PresetLoaded", Intent.PRESETS, "A preset was loaded", (Field("name", "text"),)),
    Event("DevicesChanged", Intent.DEVICES, "Other devices are used", (
        Field("capture", "text"), Field("playback", "text"),
    )),
    Event("MonitorChanged", Intent.DEVICES, "The monitor was switched, levelled, lost or found", MONITOR),
    Event("RecordStateChanged", Intent.RECORD, "A recording began or ended; error says why it ended by itself", (
        Field("active", "boolean"), Field("path", "text", nullable=True), Field("seconds", "number"),
        Field("error", "text", optional=True),
    )),
    Event("JobProgress", Intent.JOBS, "A file conversion moved on", (
        Field("job", "text"), Field("kind", "text"),
        Field("state", "text", choices=("running", "done", "failed", "cancelled")),
        Field("progress", "number", minimum=0, maximum=1), Field("note", "text"),
    )),
    Event("Meters", Intent.METERS, "Levels, 20 times a second", (
        Field("in_peak_dbfs", "number"), Field("out_peak_dbfs", "number"), Field("own_hz", "number"),
        Field("delay_ms", "number"), Field("xruns", "integer"), Field("load", "number"),
    )),
    Event("Trace", Intent.TRACE, "Pitch and spectrum of what goes in and comes out: a column each 25 ms", (
        Field("at", "integer", "engine sample at the end of the last column"), Field("in", "object"),
        Field("out", "object"),
    )),
)  # fmt: skip

EVENTS: Mapping[str, Event] = {event.name: event for event in _TABLE}


def event_schemas() -> dict[str, Any]:
    """Return JSON Schemas of eventData, and the intent bit, by event."""
    return {
        event.name: {
            "description": event.doc,
            "eventIntent": int(event.intent),
            "eventData": object_schema(event.tells),
        }
        for event in EVENTS.values()
    }
