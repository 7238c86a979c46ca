"""Requests that change or tell the sound: parameters, voices, presets, mute, panic, bypass.

What they take and answer is declared in `requests`. A handler stages writes in the change it is given and returns its
answer; it stages before it first waits, so that one client's writes keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from rtvc.engine.build import DEFAULT_PRECISION
from rtvc.engine.network import Network, NetworkError
from rtvc.engine.own_voice import asks_for_own, without_own
from rtvc.engine.params import INDEX, MINE, PARAMS, TIMBRES, Value
from rtvc.engine.timbres import built_in_timbres

from .asker import Answer, Asker, Data, Handler
from .desk import Desk, shown_values
from .fields import shown
from .ramps import STEP_S
from .requests import param_entries
from .sound import MUTE, Change, check_number, find_param
from .wire import RequestError, Status

PLAIN = ("dsp", "own", "silence")
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
    await _restore_own(desk, change, desk.sound.undo(change), desk.sound.redo)
    return {"values": shown_values(change.numbers)}


async def _redo(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    change.reason, change.undoable = "redo", False
    await _restore_own(desk, change, desk.sound.redo(change), desk.sound.undo)
    return {"values": shown_values(change.numbers)}


async def _restore_own(desk: Desk, change: Change, own_id: str, back: Callable[[Change], object]) -> None:
    """Let the voice of the user's own that belongs to a step speak again; where it may not, the step is not taken."""
    try:
        if own_id:
            change.own = await desk.take_own(own_id)
        else:
            await desk.allow_own(change)
    except RequestError:
        back(Change(change.by))
        raise


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
    listed = await asyncio.to_thread(desk.voices.listed)
    for card in listed.cards:
        why = desk.missing_networks or card.refusal
        about = {"label": card.name, "sex": None, "doc": card.doc or card.source}
        voices.append({"name": card.name, "kind": "mine", **about, "available": not why, "reason": why})
    sound = desk.sound
    spoken = sound.value("voice.name")
    current = {
        "name": _named(desk, sound.value("voice.timbre")) if spoken == "neural" else spoken,
        "second": _named(desk, sound.value("voice.second")),
        "blend": sound.value("voice.blend"),
        "mine": desk.voices.name_of(sound.own),
    }
    library = {"state": listed.state, "reason": listed.reason, "faults": list(listed.faults)}
    return {"voices": voices, "current": current, "library": library}


def _named(desk: Desk, timbre: Value) -> Value:
    """Return the name of who speaks as that value of voice.timbre."""
    return (desk.voices.name_of(desk.sound.own) or MINE) if timbre == MINE else timbre


async def _stage_neural(desk: Desk, change: Change, first: str, second: str | None, blend: float) -> None:
    """Stage a neural voice, or a mixture of two; one of them may be of the user's own, which is asked for then."""
    if desk.missing_networks:
        raise RequestError(Status.CANNOT_ACT, f"name = {first!r}: {desk.missing_networks}")
    own = [name for name in (first, second) if name and name not in TIMBRES]
    if len(set(own)) > 1:
        what = f"{' and '.join(map(repr, own))}: only one of your own voices speaks at a time"
        raise RequestError(Status.CANNOT_ACT, f"{what}; make a blend of both: rtvc voices blend NAME A=0.5 B=0.5")
    leaving = desk.sound.own.sound if desk.sound.own and desk.sound.value("voice.timbre") == MINE else {}
    if own:
        change.own = await desk.take_own(own[0])
    for name, number in leaving.items():  # what the voice before brought along goes with it
        if desk.sound.value(name) == number:
            desk.sound.stage(change, name, PARAMS[name].default)
    for name, number in change.own.sound.items() if change.own and first in own else ():
        desk.sound.stage(change, name, number)
    wanted: dict[str, Value] = {"voice.name": "neural", "voice.timbre": MINE if first in own else first}
    wanted["voice.blend"] = blend
    if second:
        wanted["voice.second"] = MINE if second in own else second
    for name, value in wanted.items():
        desk.sound.stage(change, name, PARAMS[name].to_number(value))


async def _switch_voice(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    name = data["name"]
    change.reason = "voice"
    if name in PLAIN:
        desk.sound.stage(change, "voice.name", PARAMS["voice.name"].to_number(name))
    elif name in TIMBRES or await asyncio.to_thread(desk.voices.exist):
        await _stage_neural(desk, change, name, None, 0.0)
    else:
        what = f"name = {shown(name)}: there is no such voice; there are {', '.join((*PLAIN, *TIMBRES))}"
        raise RequestError(Status.RESOURCE_NOT_FOUND, what)
    return {"name": name}


async def _blend_voices(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    change.reason = "voice"
    for field in ("first", "second"):
        name = data[field]
        if name in PLAIN or (name not in TIMBRES and not await asyncio.to_thread(desk.voices.exist)):
            what = f"{field} = {shown(name)}: one of {', '.join(TIMBRES)}, or of your own voices"
            raise RequestError(Status.REQUEST_FIELD_OUT_OF_RANGE, what)
    await _stage_neural(desk, change, data["first"], data["second"], float(data["blend"]))
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
    if preset.own and asks_for_own(preset.vector()):
        try:
            change.own = await desk.take_own(preset.own)
        except RequestError as error:
            raise RequestError(error.status, f"preset {preset.name!r}: {error.comment}") from None
    for (name, param), number in zip(PARAMS.items(), preset.vector(), strict=True):
        if name != MUTE or name in preset.values:
            desk.sound.stage(change, param.id, float(number))
    desk.current_preset = preset.name
    desk.publish("PresetLoaded", {"name": preset.name})
    return {"name": preset.name}


async def _save_preset(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    name, overwrite = data["name"], data.get("overwrite", False)
    label, doc = data.get("label", ""), data.get("doc", "")
    vector, own = desk.sound.vector(change), change.own or desk.sound.own
    vector[INDEX[MUTE]] = PARAMS[MUTE].default
    own_id = own.id if own and asks_for_own(vector) else ""
    if not own_id:
        vector = without_own(vector, TIMBRES[0])
    await asyncio.to_thread(desk.presets.save, name, vector, label, doc, overwrite, own_id)
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
