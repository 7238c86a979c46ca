"""Every request, declared once: who may send it, what it takes and what it answers.

The checks, the JSON Schemas, the documents and the clients are made from this table; `sound_handlers` and
`session_handlers` do the work.
Besides what is listed every answer carries `rev`, and every one that changes the sound `applied_at`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rtvc.audio.monitor import DEFAULT_OUTPUT
from rtvc.config import MONITOR_DB
from rtvc.engine.params import PARAMS, Param, default_values, from_vector

from .fields import Field, object_schema
from .wire import Role

RAMP_MAX_MS = 60_000
CURVES = ("linear", "smooth")


@dataclass(frozen=True)
class Request:
    """One request. `writes` says that it may change the sound, `changes` that it is noted in the audit log."""

    name: str
    role: Role
    doc: str
    takes: tuple[Field, ...] = ()
    answers: tuple[Field, ...] = ()
    writes: bool = False
    changes: bool = False


REV = Field("rev", "integer", "revision of the parameters")
APPLIED_AT = Field(
    "applied_at",
    "integer",
    "engine sample (48 kHz) from which the change sounds; null without an engine",
    nullable=True,
)

_ID = Field("id", "text", "parameter id, such as pitch.semitones", longest=64)
_VALUE = Field("value", "value", "a number, true or false, or one of the choices")
_VALUES = Field("values", "values", "values by parameter id")
_NAME = Field("name", "text", "preset name", longest=40)
MODIFIED = Field("modified", "boolean", "whether the sound was changed since")
EDITING = (
    Field("can_undo", "boolean", "whether Undo has something to take back"),
    Field("can_redo", "boolean", "whether Redo has something to make again"),
    Field("preset_modified", "boolean", "as ListPresets.modified"),
)
_ACTIVE = Field("active", "boolean")
_JOB = Field("job", "text", "id of a job", longest=40)
_PATH = Field("path", "text", "audio file", longest=1000)
_ON = Field("on", "boolean", "whether the voice is played in the headphones")
_LEVEL_DB = Field("level_db", "number", "how much louder than the call hears it, dB", False, *MONITOR_DB)
_OUTPUT = Field("device", "text", f"id of an output, or {DEFAULT_OUTPUT}: the system's")
MONITOR = (
    _ON,
    _LEVEL_DB,
    _OUTPUT,
    Field("available", "boolean", "whether the devices in use allow a monitor"),
    Field("playing", "boolean", "whether it plays now"),
    Field("reason", "text", "why it is not available, or is on and does not play"),
)


def _optional(field: Field, doc: str = "") -> Field:
    return replace(field, doc=doc or field.doc, optional=True)


def _read(name: str, doc: str, takes: tuple[Field, ...] = (), answers: tuple[Field, ...] = ()) -> Request:
    return Request(name, Role.VIEWER, doc, takes, answers)


def _write(name: str, doc: str, takes: tuple[Field, ...] = (), answers: tuple[Field, ...] = ()) -> Request:
    return Request(name, Role.OPERATOR, doc, takes, answers, writes=True, changes=True)


def _act(
    name: str, doc: str, takes: tuple[Field, ...] = (), answers: tuple[Field, ...] = (), role: Role = Role.OPERATOR
) -> Request:
    return Request(name, role, doc, takes, answers, changes=True)


_TABLE = (
    _read("GetVersion", "Versions, and the names of all requests", (), (
        Field("obsVersion", "text"), Field("obsWebSocketVersion", "text"), Field("rpcVersion", "integer"),
        Field("availableRequests", "list"), Field("supportedImageFormats", "list"), Field("platform", "text"),
        Field("platformDescription", "text"), Field("rtvcVersion", "text"),
    )),
    _read("GetSchema", "Parameters, requests and events as data", (), (
        Field("params", "list"), Field("requests", "object"), Field("events", "object"),
    )),
    _read("ListParams", "All parameters with range, unit and value", (), (Field("params", "list"),)),
    _read("GetParam", "One parameter's value", (_ID,), (_ID, _VALUE)),
    _write("SetParam", "Set one parameter (id, value) or several (values)", (
        _optional(_ID), _optional(_VALUE), _optional(_VALUES),
    ), (_VALUES,)),
    _write("NudgeParam", "Move a number by so much, within its range", (_ID, Field("by", "number", "how far")),
           (_ID, _VALUE)),
    _write("ToggleParam", "Turn a switch over", (_ID,), (_ID, _VALUE)),
    _write("RampParam", "Move a number to a value over a time; a new write to it ends the ramp", (
        _ID, Field("value", "number", "where it ends"),
        Field("duration_ms", "number", "how long it takes", minimum=0, maximum=RAMP_MAX_MS),
        Field("curve", "text", "linear, or smooth (eased in and out)", True, choices=CURVES),
    ), (_ID, _VALUE)),
    _read("ListVoices", "The voices there are, and which one speaks", (), (
        Field("voices", "list", "kind mine: one of your own; available: whether it may speak now, else reason"),
        Field("current", "object", "mine: the own voice that voice.timbre = mine means, or null"),
        Field("library", "object", "of own voices; state: none, locked (see UnlockVoices), open or failed; reason"),
    )),
    _write("SwitchVoice", "Speak as: dsp, own, silence, or a neural voice by its name, built-in or of your own", (
        Field("name", "text", "voice", longest=40),
    ), (Field("name", "text"),)),
    _act("UnlockVoices", "Open your own voices; the passphrase is in no log", (
        Field("passphrase", "text", "of the library", longest=1000),
    )),
    _write("BlendVoices", "Speak as a mixture of two neural voices; one of them may be of your own", (
        Field("first", "text", "neural voice", longest=40),
        Field("second", "text", "neural voice", longest=40),
        Field("blend", "number", "share of the second", minimum=0, maximum=1),
    ), (Field("first", "text"), Field("second", "text"), Field("blend", "number"))),
    _read("ListPresets", "The presets there are, and which one was loaded or saved last", (), (
        Field("presets", "list"), Field("current", "text", nullable=True), MODIFIED,
    )),
    _write("LoadPreset", "Sound as a preset says; mute stays as it is unless the preset names it", (_NAME,), (_NAME,)),
    _act("SavePreset", "Save the sound of now as your own preset", (
        _NAME, Field("label", "text", "how it is shown; the name if absent", True, longest=80),
        Field("doc", "text", "what it is for", True), Field("overwrite", "boolean", "replace it", True),
    ), (_NAME,)),
    _act("DeletePreset", "Delete one of your own presets", (_NAME,), (_NAME,)),
    _write("Undo", "Take the last change of the sound back", (), (_VALUES,)),
    _write("Redo", "Make the change again that was taken back", (), (_VALUES,)),
    _act("Start", "Open the devices and let sound run"),
    _act("Stop", "Stop sound and give the devices back"),
    _read("GetStatus", "State, delay, levels and counters of the session", (), (
        Field("state", "text"), Field("muted", "boolean"), Field("panic", "boolean"), Field("bypass", "object"),
        *EDITING,
        Field("recording", "object"), Field("delay_ms", "number"), Field("monitor", "object", "as GetMonitor"),
        Field("devices", "object"), Field("provider", "text", "what onnxruntime runs the networks on"),
        Field("provider_reason", "text", "what was measured of it and of others"),
    )),
    _read("GetStats", "Latency histogram, xruns, load, up-time, clients", (), (
        Field("latency_ms", "object"), Field("xruns", "integer"), Field("device_xruns", "integer"),
        Field("block_max_ms", "number"), Field("load", "number"), Field("uptime_s", "number"),
        Field("clients", "integer"),
    )),
    _write("SetMute", "Silence, or not", (Field("muted", "boolean", "true is silence"),), (Field("muted", "boolean"),)),
    _write("ToggleMute", "Turn mute over", (), (Field("muted", "boolean"),)),
    _write("Panic", "Silence at once; ramps and jobs are cancelled; stays until it is taken back", (
        Field("on", "boolean", "true is panic"),
    ), (Field("on", "boolean"),)),
    _write("SetBypass", "Let the own voice through, where the settings allow it", (
        Field("active", "boolean", "true is the own voice"),
    ), (_ACTIVE,)),
    _read("GetBypass", "Whether the own voice is let through, and may be", (), (_ACTIVE, Field("allowed", "boolean"))),
    _read("ListDevices", "Microphones and outputs", (), (
        Field("capture", "list"), Field("playback", "list"), Field("current", "object"),
    )),
    _act("SetDevice", "Use another device; sound starts again on it", (
        Field("capture", "text", "id of a microphone", True), Field("playback", "text", "id of an output", True),
    ), (Field("capture", "text"), Field("playback", "text")), Role.ADMIN),
    _read("GetMonitor", "Whether the voice is played in the headphones as well, how loud, and where", (), (
        *MONITOR, Field("delay_ms", "number", "after the virtual microphone; null if it does not play", nullable=True),
    )),
    _act("SetMonitor", "Play what the virtual microphone carries in the headphones, or not; the call does not change", (
        _optional(_ON), _optional(_LEVEL_DB), _optional(_OUTPUT),
    ), MONITOR),
    _act("StartRecord", "Record what is heard, as flac or wav", (
        _optional(_PATH, "name in the recordings' folder; a path elsewhere needs the role admin"),
    ), (_PATH,)),
    _act("StopRecord", "End the recording", (), (_PATH, Field("seconds", "number"))),
    _read("GetRecord", "Whether a recording runs", (), (
        _ACTIVE, Field("path", "text", nullable=True), Field("seconds", "number"),
    )),
    _act("SaveFlight", "Save the flight recorder's last minute: sound in and out, parameters, timings", (
        _optional(_PATH, "name in the recordings' folder, ending in .zip; a path elsewhere needs the role admin"),
        Field("sound", "boolean", "with what was heard and said (true); without it nothing can be replayed", True),
    ), (_PATH, Field("seconds", "number"))),
    _read("ListJobs", "File conversions, running and done", (), (Field("jobs", "list"),)),
    _act("StartJob", "Convert a file beside the live sound", (
        Field("kind", "text", choices=("convert",)), Field("input", "text", "audio file", longest=1000),
        Field("output", "text", "file to write", longest=1000),
        Field("preset", "text", "its sound; that of now if absent", True, longest=40),
    ), (_JOB,), Role.ADMIN),
    _act("CancelJob", "Stop a conversion and remove what it wrote", (_JOB,), (_JOB,), Role.ADMIN),
)  # fmt: skip

REQUESTS: Mapping[str, Request] = {request.name: request for request in _TABLE}


def answer_fields(request: Request) -> tuple[Field, ...]:
    """Return all fields of a request's answer."""
    return (*request.answers, REV, APPLIED_AT) if request.writes else (*request.answers, REV)


def request_schemas() -> dict[str, Any]:
    """Return JSON Schemas of requestData and responseData, and the role, by request."""
    return {
        request.name: {
            "description": request.doc,
            "role": request.role.word,
            "requestData": object_schema(request.takes, strict=True),
            "responseData": object_schema(answer_fields(request)),
        }
        for request in REQUESTS.values()
    }


def param_entry(param: Param) -> dict[str, Any]:
    """Return one entry of the registry as data; values as a person writes them."""
    return {
        "id": param.id,
        "label": param.label,
        "doc": param.doc,
        "default": param.from_number(param.default),
        "minimum": param.minimum,
        "maximum": param.maximum,
        "unit": param.unit,
        "ramp_ms": param.ramp_ms,
        "choices": list(param.choices),
        "switch": param.switch,
    }


def param_entries() -> list[dict[str, Any]]:
    """Return the registry as data."""
    return [param_entry(param) for param in PARAMS.values()]


def values_schema() -> dict[str, Any]:
    """Return the JSON Schema of an object of values by parameter id."""
    properties = {}
    for param, default in from_vector(default_values()):
        entry: dict[str, Any] = {"title": param.label, "description": param.doc, "default": default}
        if param.choices:
            entry |= {"type": "string", "enum": list(param.choices)}
        elif param.switch:
            entry |= {"type": "boolean"}
        else:
            entry |= {"type": "number", "minimum": param.minimum, "maximum": param.maximum}
            entry |= {"unit": param.unit} if param.unit else {}
        properties[param.id] = entry
    return {"type": "object", "properties": properties, "additionalProperties": False}
