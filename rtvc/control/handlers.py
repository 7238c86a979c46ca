"""What each request does to the desk. What they take and answer is declared in `requests`; `HANDLERS` joins the two.

A handler stages writes in the change it is given and returns its answer; it must stage before it first waits, so that
one client's writes keep their order. Slow work (devices, files) runs in threads.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rtvc import __version__
from rtvc.audio.backend import Device, DeviceError
from rtvc.audio.files import AudioFileError
from rtvc.engine.build import DEFAULT_PRECISION
from rtvc.engine.network import Network, NetworkError
from rtvc.engine.params import PARAMS, TIMBRES, Value
from rtvc.engine.timbres import built_in_timbres
from rtvc.live_view import latency_ms

from .auth import Identity
from .desk import Desk, shown_values
from .events import event_schemas
from .fields import shown
from .ramps import STEP_S
from .recorder import default_name
from .requests import REQUESTS, param_entries, request_schemas
from .sound import MUTE, Change, check_number, find_param
from .wire import OBS_WEBSOCKET_VERSION, RPC_VERSION, RequestError, Role, Status

DEVICES_S = 6.0  # how long new devices may take
FEMALE = ("heart", "bella", "sarah", "emma")

Data = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Asker:
    """Who asks: identity, and the label under which changes are told."""

    identity: Identity
    label: str


Handler = Callable[[Desk, Asker, Data, Change], Awaitable[Answer]]


async def _get_version(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return {
        "obsVersion": OBS_WEBSOCKET_VERSION,
        "obsWebSocketVersion": OBS_WEBSOCKET_VERSION,
        "rpcVersion": RPC_VERSION,
        "availableRequests": list(REQUESTS),
        "supportedImageFormats": [],
        "platform": platform.system().lower(),
        "platformDescription": platform.platform(),
        "rtvcVersion": __version__,
    }


async def _get_schema(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return {"params": param_entries(), "requests": request_schemas(), "events": event_schemas()}


# parameters


async def _list_params(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    values = desk.sound.values()
    return {"params": [entry | {"value": values[entry["id"]]} for entry in param_entries()]}


async def _get_param(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    param = find_param(data["id"])
    return {"id": param.id, "value": desk.sound.value(param.id, change)}


async def _set_param(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if ("values" in data) == ("id" in data):
        raise RequestError(Status.MISSING_REQUEST_FIELD, "SetParam needs either id and value, or values")
    if "id" in data and "value" not in data:
        raise RequestError(Status.MISSING_REQUEST_FIELD, "SetParam needs value: what id shall become")
    given = data["values"] if "values" in data else {data["id"]: data["value"]}
    numbers = {find_param(name).id: check_number(find_param(name), value) for name, value in given.items()}
    for name, number in numbers.items():
        desk.sound.stage(change, name, number)
    return {"values": shown_values(numbers)}


async def _nudge_param(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    param = find_param(data["id"])
    if param.choices or param.switch:
        raise RequestError(Status.INVALID_REQUEST_FIELD, f"id = {param.id!r}: only numbers can be nudged")
    number = min(max(desk.sound.number(param.id, change) + data["by"], param.minimum), param.maximum)
    change.reason = "nudge"
    desk.sound.stage(change, param.id, number)
    return {"id": param.id, "value": number}


async def _toggle_param(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    param = find_param(data["id"])
    if not param.switch:
        raise RequestError(Status.INVALID_REQUEST_FIELD, f"id = {param.id!r}: only switches can be toggled")
    number = 1.0 - desk.sound.number(param.id, change)
    desk.sound.stage(change, param.id, number)
    return {"id": param.id, "value": bool(number)}


async def _ramp_param(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    param = find_param(data["id"])
    if param.choices or param.switch:
        raise RequestError(Status.INVALID_REQUEST_FIELD, f"id = {param.id!r}: only numbers can be ramped")
    number = check_number(param, data["value"])
    if desk.sound.panic:
        raise RequestError(Status.CANNOT_ACT, "panic is on; take it back first")
    desk.ramps.start(param.id, number, data["duration_ms"], data.get("curve") == "smooth", asker.label)
    await asyncio.sleep(2 * STEP_S)  # so that the answer's revision is the first step's
    return {"id": param.id, "value": number}


async def _undo(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    change.reason, change.undoable = "undo", False
    desk.sound.undo(change)
    return {"values": shown_values(change.numbers)}


async def _redo(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    change.reason, change.undoable = "redo", False
    desk.sound.redo(change)
    return {"values": shown_values(change.numbers)}


# voices and presets


def _missing_networks(point: str) -> str:
    """Return why the neural voices cannot be used, "" if they can."""
    try:
        built_in_timbres()
        Network(point, DEFAULT_PRECISION)
    except NetworkError as error:
        return str(error)
    return ""


async def _list_voices(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if desk.missing_networks is None:
        desk.missing_networks = await asyncio.to_thread(_missing_networks, desk.settings.point)
    own = "" if desk.sound.bypass_allowed else "letting the own voice through is off; set control.bypass = true"
    plain = {
        "dsp": ("Your voice, shaped", "Pitch, formants, breath and more as the parameters say", ""),
        "own": ("Your own voice", "As it is, delayed alike", own),
        "silence": ("Silence", "Nothing is heard", ""),
    }
    voices: list[Answer] = [
        {"name": name, "kind": name, "label": label, "sex": None, "doc": doc, "available": not why, "reason": why}
        for name, (label, doc, why) in plain.items()
    ]
    for name in TIMBRES:
        sex = "female" if name in FEMALE else "male"
        why = desk.missing_networks
        entry = {"name": name, "kind": "neural", "label": name.capitalize(), "sex": sex, "doc": f"A {sex} neural voice"}
        voices.append(entry | {"available": not why, "reason": why})
    sound = desk.sound
    spoken = sound.value("voice.name")
    current = {
        "name": sound.value("voice.timbre") if spoken == "neural" else spoken,
        "second": sound.value("voice.second"),
        "blend": sound.value("voice.blend"),
    }
    return {"voices": voices, "current": current}


def _stage_neural(desk: Desk, change: Change, first: str, second: str | None, blend: float) -> None:
    if desk.missing_networks:
        raise RequestError(Status.CANNOT_ACT, f"name = {first!r}: {desk.missing_networks}")
    wanted: dict[str, Value] = {"voice.name": "neural", "voice.timbre": first, "voice.blend": blend}
    if second:
        wanted["voice.second"] = second
    for name, value in wanted.items():
        desk.sound.stage(change, name, PARAMS[name].to_number(value))


async def _switch_voice(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    name = data["name"]
    change.reason = "voice"
    if name in ("dsp", "own", "silence"):
        desk.sound.stage(change, "voice.name", PARAMS["voice.name"].to_number(name))
    elif name in TIMBRES:
        _stage_neural(desk, change, name, None, 0.0)
    else:
        there = ", ".join(("dsp", "own", "silence", *TIMBRES))
        raise RequestError(
            Status.RESOURCE_NOT_FOUND, f"name = {shown(name)}: there is no such voice; there are {there}"
        )
    return {"name": name}


async def _blend_voices(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    change.reason = "voice"
    _stage_neural(desk, change, data["first"], data["second"], float(data["blend"]))
    return {"first": data["first"], "second": data["second"], "blend": data["blend"]}


async def _list_presets(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    desk.presets.refresh()
    return {"presets": desk.presets.entries(), "current": desk.current_preset}


async def _load_preset(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    preset = desk.presets.get(data["name"])
    change.reason = "preset"
    for (name, param), number in zip(PARAMS.items(), preset.vector(), strict=True):
        if name != MUTE or name in preset.values:
            desk.sound.stage(change, param.id, float(number))
    desk.current_preset = preset.name
    desk.publish("PresetLoaded", {"name": preset.name})
    return {"name": preset.name}


async def _save_preset(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    name, doc, overwrite = data["name"], data.get("doc", ""), data.get("overwrite", False)
    vector = desk.sound.vector()
    for param_id, number in change.numbers.items():
        vector[list(PARAMS).index(param_id)] = number
    vector[list(PARAMS).index(MUTE)] = PARAMS[MUTE].default
    await asyncio.to_thread(desk.presets.save, name, vector, doc, overwrite)
    desk.publish("PresetListChanged", {"presets": desk.presets.names()})
    return {"name": name}


async def _delete_preset(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    await asyncio.to_thread(desk.presets.delete, data["name"])
    if desk.current_preset == data["name"]:
        desk.current_preset = None
    desk.publish("PresetListChanged", {"presets": desk.presets.names()})
    return {"name": data["name"]}


# the session


async def _start(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    async with desk.transport:
        if desk.session.status().state != "stopped":
            raise RequestError(Status.OUTPUT_RUNNING, "sound runs already")
        try:
            await asyncio.to_thread(desk.session.start)
            desk.sound.engine_rev = 0  # the new engine counts its own
        except RuntimeError as error:  # DeviceError is one
            raise RequestError(Status.REQUEST_PROCESSING_FAILED, str(error)) from None
    return {}


async def _stop(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    async with desk.transport:
        if desk.session.status().state == "stopped":
            raise RequestError(Status.OUTPUT_NOT_RUNNING, "sound does not run")
        await asyncio.to_thread(desk.session.stop)
    return {}


async def _get_status(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    status = desk.session.status()
    also = {
        "muted": desk.muted,
        "panic": desk.sound.panic,
        "bypass": desk.bypass,
        "recording": desk.recording(),
        "delay_ms": round(latency_ms(status), 2),
        "devices": {"capture": desk.devices.capture, "playback": desk.devices.playback},
    }
    return asdict(status) | also


async def _get_stats(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    status = desk.session.status()
    return {
        "latency_ms": desk.latency.summary(),
        "xruns": status.xruns,
        "device_xruns": status.device_xruns,
        "block_max_ms": status.block_max_ms,
        "load": status.load,
        "uptime_s": round(desk.uptime_s, 1),
        "clients": desk.audience.count(),
    }


async def _set_mute(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    desk.sound.stage(change, MUTE, float(data["muted"]))
    return {"muted": data["muted"]}


async def _toggle_mute(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    muted = not desk.sound.value(MUTE, change)
    desk.sound.stage(change, MUTE, float(muted))
    return {"muted": muted}


async def _panic(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    desk.set_panic(data["on"])
    return {"on": data["on"]}


async def _set_bypass(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    name = str(desk.sound.value("voice.name", change))
    change.reason = "voice"
    if data["active"]:
        desk.sound.stage(change, "voice.name", PARAMS["voice.name"].to_number("own"))
        if name != "own":
            desk.voice_before_bypass = name
    elif name == "own":
        desk.sound.stage(change, "voice.name", PARAMS["voice.name"].to_number(desk.voice_before_bypass))
    return {"active": data["active"]}


async def _get_bypass(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return dict(desk.bypass)


# devices


async def _devices(desk: Desk) -> list[Device]:
    try:
        return await asyncio.to_thread(desk.devices.listed)
    except DeviceError as error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, str(error)) from None


async def _list_devices(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    devices = await _devices(desk)
    sides: Answer = {
        kind: [
            {"id": device.id, "label": device.name, "rate_hz": device.rate_hz, "default": device.default}
            for device in devices
            if device.kind == kind
        ]
        for kind in ("capture", "playback")
    }
    return sides | {"current": {"capture": desk.devices.capture, "playback": desk.devices.playback}}


async def _set_device(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if not data:
        raise RequestError(Status.MISSING_REQUEST_FIELD, "SetDevice needs capture or playback: the id of a device")
    async with desk.transport:
        there = {(device.kind, device.id) for device in await _devices(desk)}
        for kind, wanted in data.items():
            if (kind, wanted) not in there:
                what = f"{kind} = {shown(wanted)}: there is no such device (see ListDevices)"
                raise RequestError(Status.RESOURCE_NOT_FOUND, what)
        before = desk.devices.capture, desk.devices.playback
        _choose(desk, data.get("capture", before[0]), data.get("playback", before[1]))
        if error := await _reopened(desk):
            _choose(desk, *before)
            await _reopened(desk)
            raise RequestError(Status.REQUEST_PROCESSING_FAILED, error)
    chosen = {"capture": desk.devices.capture, "playback": desk.devices.playback}
    desk.publish("DevicesChanged", chosen)
    return chosen


def _choose(desk: Desk, capture: str, playback: str) -> None:
    desk.devices.capture, desk.devices.playback = capture, playback


async def _reopened(desk: Desk) -> str:
    """Open the devices anew if sound runs; return why that failed, "" if it did not."""
    status = desk.session.status()
    if status.state == "stopped":
        return ""
    before = status.device_reopens
    desk.session.reopen_devices()
    loop = asyncio.get_running_loop()
    until_s = loop.time() + DEVICES_S
    while loop.time() < until_s:
        await asyncio.sleep(0.05)
        status = desk.session.status()
        if status.device_reopens > before:
            return ""
    return status.message or f"the devices did not open within {DEVICES_S:.0f} s"


# recording and jobs


async def _start_record(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if desk.session.status().state == "stopped":
        raise RequestError(Status.OUTPUT_NOT_RUNNING, "sound does not run; Start it first")
    path = Path(data.get("path", default_name()))
    folder = desk.settings.recordings
    whole = (folder / path).resolve()
    if asker.identity.role < Role.ADMIN and not whole.is_relative_to(folder.resolve()):
        what = f"path = {shown(str(path))}: lies outside the recordings' folder, which needs the role admin"
        raise RequestError(Status.ROLE_TOO_LOW, what)
    try:
        recorder = desk.start_recording(whole)
    except (AudioFileError, OSError) as error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, str(error)) from None
    return {"path": str(recorder.path)}


async def _stop_record(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    recorder = desk.recorder
    if recorder is None:
        raise RequestError(Status.OUTPUT_NOT_RUNNING, "nothing is recorded")
    await asyncio.to_thread(recorder.stop)
    if recorder.error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, recorder.error)
    return {"path": str(recorder.path), "seconds": round(recorder.seconds, 2)}


async def _get_record(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return desk.recording()


async def _list_jobs(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return {"jobs": desk.jobs.list()}


async def _start_job(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    values = desk.presets.get(data["preset"]).vector() if "preset" in data else desk.sound.vector()
    source, target = Path(data["input"]), Path(data["output"])
    try:
        job = await asyncio.to_thread(desk.jobs.start, source, target, values, desk.settings.point)
    except OSError as error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, f"no process can be started: {error}") from None
    return {"job": job.job}


async def _cancel_job(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    desk.jobs.cancel(data["job"])
    return {"job": data["job"]}


HANDLERS: Mapping[str, Handler] = {
    "GetVersion": _get_version,
    "GetSchema": _get_schema,
    "ListParams": _list_params,
    "GetParam": _get_param,
    "SetParam": _set_param,
    "NudgeParam": _nudge_param,
    "ToggleParam": _toggle_param,
    "RampParam": _ramp_param,
    "ListVoices": _list_voices,
    "SwitchVoice": _switch_voice,
    "BlendVoices": _blend_voices,
    "ListPresets": _list_presets,
    "LoadPreset": _load_preset,
    "SavePreset": _save_preset,
    "DeletePreset": _delete_preset,
    "Undo": _undo,
    "Redo": _redo,
    "Start": _start,
    "Stop": _stop,
    "GetStatus": _get_status,
    "GetStats": _get_stats,
    "SetMute": _set_mute,
    "ToggleMute": _toggle_mute,
    "Panic": _panic,
    "SetBypass": _set_bypass,
    "GetBypass": _get_bypass,
    "ListDevices": _list_devices,
    "SetDevice": _set_device,
    "StartRecord": _start_record,
    "StopRecord": _stop_record,
    "GetRecord": _get_record,
    "ListJobs": _list_jobs,
    "StartJob": _start_job,
    "CancelJob": _cancel_job,
}
