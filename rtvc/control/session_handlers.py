"""Requests about the session: start, stop, status, devices, recording, jobs. Slow work runs in threads."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rtvc import __version__, flight_bundle
from rtvc.audio.backend import Device, DeviceError
from rtvc.audio.files import AudioFileError
from rtvc.config import ConfigError
from rtvc.engine.own_voice import OwnVoice, asks_for_own
from rtvc.engine.pump import AGE_EDGES_MS
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.live_view import latency_ms
from rtvc.voices.errors import VoiceError

from .asker import Answer, Asker, Data, Handler
from .desk import Desk
from .events import event_schemas
from .fields import shown
from .recorder import default_name
from .requests import REQUESTS, param_entries, request_schemas
from .sound import Change, Vector
from .wire import OBS_WEBSOCKET_VERSION, RPC_VERSION, RequestError, Role, Status

DEVICES_S = 6.0  # how long new devices may take


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
        **desk.editing,
        "recording": desk.recording(),
        "delay_ms": round(latency_ms(status), 2),
        "monitor": _monitor(desk),
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
        "age_ms": {
            "now": round(status.age_ms, 2),
            "promised": status.max_age_ms,
            "late_blocks": status.late_blocks,
            "histogram": {"edges": list(AGE_EDGES_MS), "counts": list(status.ages)},
        },
        "faults": dict(status.faults),
        "load": status.load,
        "uptime_s": round(desk.uptime_s, 1),
        "clients": desk.audience.count(),
    }


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


def _place(desk: Desk, asker: Asker, name: str) -> Path:
    """Return where a file of that name goes. Raises RequestError if the asker may not write there."""
    folder = desk.settings.recordings
    whole = (folder / name).resolve()
    if asker.identity.role < Role.ADMIN and not whole.is_relative_to(folder.resolve()):
        what = f"path = {shown(name)}: lies outside the recordings' folder, which needs the role admin"
        raise RequestError(Status.ROLE_TOO_LOW, what)
    return whole


def _monitor(desk: Desk) -> Answer:
    return {**asdict(desk.monitor.state), "delay_ms": desk.monitor.delay_ms()}


async def _get_monitor(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return _monitor(desk)


async def _set_monitor(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if not data:
        raise RequestError(Status.MISSING_REQUEST_FIELD, "SetMonitor needs on, level_db or device")
    state = desk.monitor.state
    if not state.available and data.get("on", state.on):
        raise RequestError(Status.CANNOT_ACT, state.reason)
    try:
        await asyncio.to_thread(desk.monitor.set, **data)
    except DeviceError as error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, str(error)) from None
    desk.tell_monitor()
    return asdict(desk.monitor.state)


async def _start_record(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if desk.session.status().state == "stopped":
        raise RequestError(Status.OUTPUT_NOT_RUNNING, "sound does not run; Start it first")
    whole = _place(desk, asker, data.get("path", default_name()))
    try:
        recorder = desk.start_recording(whole)
    except AudioFileError as error:
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


async def _save_flight(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    if desk.session.status().state == "stopped":
        raise RequestError(Status.OUTPUT_NOT_RUNNING, "sound does not run; Start it first")
    whole = _place(desk, asker, data.get("path", flight_bundle.default_name()))
    if whole.suffix.lower() != ".zip":
        raise RequestError(Status.INVALID_REQUEST_FIELD, f"path = {shown(str(whole.name))}: must end in .zip")
    if whole.exists():
        raise RequestError(Status.RESOURCE_ALREADY_EXISTS, f"path = {shown(str(whole))}: exists; choose another name")
    flight = await asyncio.to_thread(desk.session.read_flight)
    if flight is None:
        what = "there is no flight recorder: flight.recorder is false in the settings, or shared memory has no room"
        raise RequestError(Status.CANNOT_ACT, what)
    why, status = f"asked for by {asker.label}", asdict(desk.session.status())
    try:
        await asyncio.to_thread(flight_bundle.write_bundle, whole, flight, why, status, data.get("sound", True))
    except ConfigError as error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, str(error)) from None
    return {"path": str(whole), "seconds": round(len(flight.x) / ENGINE_RATE_HZ, 2)}


async def _unlock_voices(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    try:
        await asyncio.to_thread(desk.voices.unlock, data["passphrase"])
    except VoiceError as error:
        raise RequestError(Status.CANNOT_ACT, str(error)) from None
    desk.publish("VoiceListChanged", {})
    return {}


async def _list_jobs(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    return {"jobs": desk.jobs.list()}


async def _own_for_files(desk: Desk, values: Vector, named: str) -> OwnVoice | None:
    """Return the voice of the user's own that this sound has, if its consents allow files; named or in the slot."""
    if not asks_for_own(values):
        return None
    wanted = named or (desk.sound.own.id if desk.sound.own else "")
    if not wanted:
        raise RequestError(Status.CANNOT_ACT, "voice = 'mine': none of your own voices is chosen")
    return await desk.take_own(wanted, "files")


async def _start_job(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    preset = desk.presets.get(data["preset"]) if "preset" in data else None
    values = preset.vector() if preset else desk.sound.vector()
    own = await _own_for_files(desk, values, preset.own if preset else "")
    source, target = Path(data["input"]), Path(data["output"])
    try:
        job = await asyncio.to_thread(desk.jobs.start, source, target, values, desk.settings.point, own)
    except OSError as error:
        raise RequestError(Status.REQUEST_PROCESSING_FAILED, f"no process can be started: {error}") from None
    return {"job": job.job}


async def _cancel_job(desk: Desk, asker: Asker, data: Data, change: Change) -> Answer:
    desk.jobs.cancel(data["job"])
    return {"job": data["job"]}


SESSION_HANDLERS: Mapping[str, Handler] = {
    "GetVersion": _get_version,
    "GetSchema": _get_schema,
    "Start": _start,
    "Stop": _stop,
    "GetStatus": _get_status,
    "GetStats": _get_stats,
    "ListDevices": _list_devices,
    "SetDevice": _set_device,
    "GetMonitor": _get_monitor,
    "SetMonitor": _set_monitor,
    "StartRecord": _start_record,
    "StopRecord": _stop_record,
    "GetRecord": _get_record,
    "SaveFlight": _save_flight,
    "UnlockVoices": _unlock_voices,
    "ListJobs": _list_jobs,
    "StartJob": _start_job,
    "CancelJob": _cancel_job,
}
