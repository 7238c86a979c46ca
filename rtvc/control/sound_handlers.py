"""Requests that change or tell the sound: parameters, voices, presets, mute, panic, bypass.

What they take and answer is declared in `requests`. A handler stages writes in the change it is given and returns its
answer; it stages before it first waits, so that one client's writes keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rtvc.engine.build import DEFAULT_PRECISION
from rtvc.engine.network import Network, NetworkError
from rtvc.engine.params import INDEX, PARAMS, TIMBRES, Value
from rtvc.engine.timbres import built_in_timbres

from .asker import Answer, Asker, Data, Handler
from .desk import Desk, shown_values
from .fields import shown
from .ramps import STEP_S
from .requests import param_entries
from .sound import MUTE, Change, check_number, find_param
from .wire import RequestError, Status

FEMALE = ("heart", "bella", "sarah", "emma")


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
    if desk.current_preset not in desk.presets.names():
        desk.current_preset = None
    modified = desk.editing["preset_modified"]
    return {"presets": desk.presets.entries(), "current": desk.current_preset, "modified": modified}


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
    name, overwrite = data["name"], data.get("overwrite", False)
    label, doc = data.get("label", ""), data.get("doc", "")
    vector = desk.sound.vector()
    for param_id, number in change.numbers.items():
        vector[INDEX[param_id]] = number
    vector[INDEX[MUTE]] = PARAMS[MUTE].default
    await asyncio.to_thread(desk.presets.save, name, vector, label, doc, overwrite)
    desk.current_preset = name
    desk.publish("PresetListChanged", {"presets": desk.presets.names()})
    return {"name": name}


async def _delete_preset(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    await asyncio.to_thread(desk.presets.delete, data["name"])
    if desk.current_preset == data["name"]:
        desk.current_preset = None
    desk.publish("PresetListChanged", {"presets": desk.presets.names()})
    return {"name": data["name"]}


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


SOUND_HANDLERS: Mapping[str, Handler] = {
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
    "SetMute": _set_mute,
    "ToggleMute": _toggle_mute,
    "Panic": _panic,
    "SetBypass": _set_bypass,
    "GetBypass": _get_bypass,
}
