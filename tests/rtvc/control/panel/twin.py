"""A twin of the control server, for the panel's tests and for looking at the panel: the same contract, nothing real.

Values, voices and presets are the program's own; levels, pitch and spectra are made up from a synthetic melody that
follows the parameters. `python -m tests.rtvc.control.panel.twin` serves it on port 4466.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import math
import mimetypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from rtvc.engine.params import PARAMS, TIMBRES, Value
from rtvc.voices.presets import built_in_presets

PANEL = Path(__file__).parents[4] / "rtvc" / "control" / "panel"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; frame-ancestors 'none'"
TICK_S = 0.05
METERS, TRACE = 1 << 16, 1 << 17
BITS = {"ParamsChanged": 2, "PresetListChanged": 4, "PresetLoaded": 4, "DevicesChanged": 8, "RecordStateChanged": 16}
CHALLENGE, SALT = "a challenge", "a grain"
MEL = 2595 * np.log10(1 + np.array([60.0, 12000.0]) / 700)
BAND_HZ = 700 * (10 ** (np.linspace(MEL[0], MEL[1], 64) / 2595) - 1)

Data = dict[str, Any]


class Refused(Exception):
    """A request that is refused with a code and a comment."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(comment)
        self.code = code


@dataclass(eq=False)
class _Client:
    """One connection and what it subscribed to."""

    socket: ServerConnection
    mask: int = 0

    async def send(self, op: int, d: Data) -> None:
        with suppress(ConnectionClosed):
            await self.socket.send(json.dumps({"op": op, "d": d}))


@dataclass
class Seen:
    """One request that came: when (perf_counter), its type and its data."""

    at_s: float
    type: str
    data: Data


@dataclass
class Twin:
    """The server and what it holds. Attributes may be changed before `start`, and by `call` afterwards."""

    token: str = ""
    role: str = "admin"
    port: int = 0
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values: dict[str, Value] = {p.id: p.from_number(p.default) for p in PARAMS.values()}
        self.presets: dict[str, Data] = {
            p.name: {"name": p.name, "own": False, "doc": p.doc, "values": dict(p.values)}
            for p in built_in_presets().values()
        }
        self.preset: str | None = None
        self.state, self.message, self.neural = "running", "", "off"
        self.panic, self.bypass_allowed = False, False
        self.recording: Data = {"active": False, "path": None, "seconds": 0.0}
        self.devices = {"capture": "mic-1", "playback": "virtual"}
        self.rev = 1
        self._undo: list[dict[str, Value]] = []
        self._redo: list[dict[str, Value]] = []
        self._begun_s = time.perf_counter()
        self._clients: set[_Client] = set()
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        self._columns = 0
        self._random = np.random.default_rng(1)
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    # from the test's thread

    def call(self, work: Callable[[], Any]) -> Any:
        """Run work in the server's thread and return what it returns."""

        async def run() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def start(self) -> Twin:
        """Serve on port, or on a free one the first time."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Close every connection and the port; start() opens the same one again."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def url(self) -> str:
        """Where the panel is."""
        return f"http://127.0.0.1:{self.port}/"

    def requests(self, type: str) -> list[Data]:
        """Return the data of all requests of a type, in their order."""
        return [seen.data for seen in self.seen if seen.type == type]

    # serving

    async def _start(self) -> None:
        self._server = await serve(self._talk, "127.0.0.1", self.port, process_request=self._http, subprotocols=[Subprotocol("obswebsocket.json")])
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._ticking = self._loop.create_task(self._tick())

    async def _stop(self) -> None:
        if self._server:
            self._ticking.cancel()
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def _http(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ws" or "Upgrade" in request.headers:
            return None
        name = "index.html" if path == "/" else path.removeprefix("/panel/")
        file = PANEL / name
        if "/" in name or not file.is_file():
            return connection.respond(HTTPStatus.NOT_FOUND, "no such file\n")
        body = file.read_bytes()
        kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(name)[0] or "text/plain"
        headers = Headers()
        headers["Content-Type"] = kind + ("" if "svg" in kind else "; charset=utf-8")
        headers["Content-Length"] = str(len(body))
        headers["Content-Security-Policy"] = POLICY
        headers["Cache-Control"] = "no-cache"
        return Response(200, "OK", headers, body)

    async def _talk(self, socket: ServerConnection) -> None:
        client = _Client(socket)
        hello: Data = {"obsWebSocketVersion": "5.5.0", "rpcVersion": 1, "rtvcVersion": "twin"}
        if self.token:
            hello["authentication"] = {"challenge": CHALLENGE, "salt": SALT}
        await client.send(0, hello)
        try:
            async for text in socket:
                await self._message(client, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)

    async def _message(self, client: _Client, message: Data) -> None:
        op, d = message["op"], message["d"]
        if op == 1:
            if self.token and d.get("authentication") != self._answer():
                await client.socket.close(4009, "authentication failed")
                return
            client.mask = d.get("eventSubscriptions", 0)
            self._clients.add(client)
            await client.send(2, {"negotiatedRpcVersion": 1, "role": self.role})
        elif op == 3:
            client.mask = d["eventSubscriptions"]
            await client.send(2, {"negotiatedRpcVersion": 1, "role": self.role})
        elif op == 6:
            await self._request(client, d)

    def _answer(self) -> str:
        def digest(text: str) -> str:
            return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

        return digest(digest(self.token + SALT) + CHALLENGE)

    async def _request(self, client: _Client, d: Data) -> None:
        data = d.get("requestData") or {}
        self.seen.append(Seen(time.perf_counter(), d["requestType"], data))
        status: Data = {"result": True, "code": 100}
        answer: Data = {}
        try:
            name = "_on_" + d["requestType"]
            if not hasattr(self, name):
                raise Refused(204, f"there is no request {d['requestType']}")
            answer = getattr(self, name)(data) or {}
        except Refused as refusal:
            status = {"result": False, "code": refusal.code, "comment": str(refusal)}
        answer = answer | {"rev": self.rev, "applied_at": int(48000 * (time.perf_counter() - self._begun_s))}
        ids = {"requestType": d["requestType"], "requestId": d["requestId"]}
        await client.send(7, ids | {"requestStatus": status, "responseData": answer})

    def publish(self, type: str, data: Data, bit: int = 0) -> None:
        """Send an event to all who subscribed; call it in the server's thread."""
        bit = bit or BITS.get(type, 1)
        event = {"eventType": type, "eventIntent": bit, "eventData": data}
        for client in self._clients:
            if client.mask & bit:
                self._loop.create_task(client.send(5, event))

    def write(self, values: dict[str, Value], reason: str = "set", undoable: bool = True) -> None:
        """Take over values and tell everybody."""
        for name, value in values.items():
            try:
                PARAMS[name].to_number(value)
            except KeyError:
                raise Refused(600, f"id = {name!r}: there is no such parameter") from None
            except ValueError as error:
                raise Refused(402, str(error)) from None
        if undoable:
            self._undo.append(dict(self.values))
            self._redo.clear()
        self.values |= values
        self.rev += 1
        self.publish("ParamsChanged", {"values": values, "rev": self.rev, "applied_at": 0, "by": "twin", "reason": reason})

    # requests

    def _on_GetVersion(self, data: Data) -> Data:
        return {"rpcVersion": 1, "rtvcVersion": "twin"}

    def _on_ListParams(self, data: Data) -> Data:
        fields = ("id", "label", "doc", "minimum", "maximum", "unit", "ramp_ms", "switch")
        return {
            "params": [
                {name: getattr(p, name) for name in fields}
                | {"choices": list(p.choices), "default": p.from_number(p.default), "value": self.values[p.id]}
                for p in PARAMS.values()
            ]
        }

    def _on_SetParam(self, data: Data) -> Data:
        values = data["values"] if "values" in data else {data["id"]: data["value"]}
        self.write(values)
        if "level.mute" in values:
            self.publish("MuteChanged", {"muted": bool(values["level.mute"])})
        return {"values": values}

    def _on_ListVoices(self, data: Data) -> Data:
        own = self.bypass_allowed
        plain = [("dsp", "Your voice, shaped"), ("own", "Your own voice"), ("silence", "Silence")]
        voices: list[Data] = [
            {"name": n, "kind": n, "label": label, "sex": None, "doc": "", "available": n != "own" or own, "reason": ""}
            for n, label in plain
        ]
        for i, name in enumerate(TIMBRES):
            sex = "female" if i < 4 else "male"
            about = {"label": name.capitalize(), "sex": sex, "doc": f"A {sex} neural voice"}
            voices.append({"name": name, "kind": "neural", "available": True, "reason": ""} | about)
        return {"voices": voices, "current": {}}

    def _on_SwitchVoice(self, data: Data) -> None:
        name = data["name"]
        if name in TIMBRES:
            self.write({"voice.name": "neural", "voice.timbre": name, "voice.blend": 0.0}, "voice")
            self.neural = "speaks"
        else:
            self.write({"voice.name": name}, "voice")
            self.neural = "off"

    def _on_ListPresets(self, data: Data) -> Data:
        return {"presets": list(self.presets.values()), "current": self.preset}

    def _on_LoadPreset(self, data: Data) -> None:
        preset = self.presets.get(data["name"])
        if preset is None:
            raise Refused(600, f"name = {data['name']!r}: there is no such preset")
        values = {p.id: p.from_number(p.default) for p in PARAMS.values() if p.id != "level.mute"} | preset["values"]
        self.write(values, "preset")
        self.preset = data["name"]
        self.publish("PresetLoaded", {"name": data["name"]})

    def _on_SavePreset(self, data: Data) -> None:
        if data["name"] in self.presets and not data.get("overwrite"):
            raise Refused(601, f"name = {data['name']!r}: exists")
        entry = {"name": data["name"], "own": True, "doc": data.get("doc", ""), "values": dict(self.values)}
        self.presets[data["name"]] = entry
        self.publish("PresetListChanged", {"presets": list(self.presets)})

    def _on_DeletePreset(self, data: Data) -> None:
        self.presets.pop(data["name"])
        self.publish("PresetListChanged", {"presets": list(self.presets)})

    def _on_Undo(self, data: Data) -> Data:
        return self._swap(self._undo, self._redo, "undo")

    def _on_Redo(self, data: Data) -> Data:
        return self._swap(self._redo, self._undo, "redo")

    def _swap(self, take: list[dict[str, Value]], give: list[dict[str, Value]], reason: str) -> Data:
        if not take:
            raise Refused(703, f"there is nothing to {reason}")
        values = take.pop()
        give.append(dict(self.values))
        self.write(values, reason, undoable=False)
        return {"values": values}

    def set_state(self, state: str, message: str = "") -> None:
        """Go to a state and tell it."""
        self.state, self.message = state, message
        self.publish("StateChanged", {"state": state, "message": message})

    def _on_Start(self, data: Data) -> None:
        self.set_state("running")

    def _on_Stop(self, data: Data) -> None:
        self.set_state("stopped")

    def _on_SetMute(self, data: Data) -> None:
        self.write({"level.mute": data["muted"]})
        self.publish("MuteChanged", {"muted": data["muted"]})

    def _on_Panic(self, data: Data) -> None:
        self.panic = data["on"]
        self.publish("PanicChanged", {"on": self.panic})

    def _on_SetBypass(self, data: Data) -> None:
        if not self.bypass_allowed:
            raise Refused(703, "letting the own voice through is off")
        self.write({"voice.name": "own" if data["active"] else "dsp"}, "voice")
        self.publish("BypassChanged", {"active": data["active"]})

    def _on_GetStatus(self, data: Data) -> Data:
        if self.recording["active"]:
            self.recording["seconds"] = time.perf_counter() - self._recorded_s
        return {
            "state": self.state, "message": self.message, "neural": self.neural,
            "voice_delay_ms": 13.5, "in_flight_ms": 9.2, "delay_ms": self._delay_ms(), "xruns": 2, "device_xruns": 0,
            "engine_restarts": 0, "block_max_ms": 1.74, "drift_ppm": -12.3, "load": 0.064,
            "muted": bool(self.values["level.mute"]), "panic": self.panic,
            "bypass": {"allowed": self.bypass_allowed, "active": self.values["voice.name"] == "own"},
            "recording": dict(self.recording), "devices": dict(self.devices),
        }  # fmt: skip

    def _delay_ms(self) -> float:
        return 22.7 + 0.6 * math.sin(time.perf_counter())

    def _on_GetStats(self, data: Data) -> Data:
        edges = list(range(0, 82, 2))
        counts = [round(900 * math.exp(-(((edge - 23) / 3.4) ** 2)) + 30 * math.exp(-abs(edge - 31) / 3)) for edge in edges[1:]]
        histogram = {"edges": edges, "counts": counts}
        latency = {"p50": 22.9, "p95": 29.1, "p99": 34.0, "max": 41.5, "histogram": histogram}
        return {"latency_ms": latency, "xruns": 2, "device_xruns": 0, "block_max_ms": 1.74, "clients": len(self._clients)}

    def _on_ListDevices(self, data: Data) -> Data:
        def device(id: str, label: str, default: bool = False) -> Data:
            return {"id": id, "label": label, "rate_hz": 48000, "default": default}

        return {
            "capture": [device("mic-1", "USB microphone", True), device("mic-2", "Headset")],
            "playback": [device("virtual", "virtual microphone rtvc-mic"), device("speakers", "Speakers", True)],
            "current": dict(self.devices),
        }

    def _on_SetDevice(self, data: Data) -> None:
        self.devices |= data
        self.publish("DevicesChanged", dict(self.devices))

    def _on_StartRecord(self, data: Data) -> None:
        self._recorded_s = time.perf_counter()
        self.recording = {"active": True, "path": "recordings/talk-1.flac", "seconds": 0.0}
        self.publish("RecordStateChanged", dict(self.recording))

    def _on_StopRecord(self, data: Data) -> None:
        self.recording = {**self.recording, "active": False, "seconds": time.perf_counter() - self._recorded_s}
        self.publish("RecordStateChanged", dict(self.recording))

    # what is heard

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.state != "running":
                continue
            columns = [self._column() for _ in range(2)]
            (heard, loud, _), (made, out_loud, _) = columns[-1]
            silent = self.panic or self.values["level.mute"]
            meters = {"in_peak_dbfs": loud, "out_peak_dbfs": -120.0 if silent else out_loud, "own_hz": heard}
            meters |= {"delay_ms": self._delay_ms(), "xruns": 2, "load": 0.064 + 0.01 * self._random.random()}
            self.publish("Meters", meters, METERS)
            sides = {
                name: {"hz": [c[i][0] for c in columns], "bands": [c[i][2] for c in columns]}
                for i, name in enumerate(("in", "out"))
            }
            self.publish("Trace", {"at": self._columns * 1200} | sides, TRACE)

    def _column(self) -> tuple[tuple[float, float, list[int]], tuple[float, float, list[int]]]:
        """Return the next 25 ms of in and out: pitch (0 is unvoiced), peak in dBFS, 64 bands."""
        self._columns += 1
        t = self._columns * 0.025
        phrase = t % 2.6
        syllable = 0.5 - 0.5 * math.cos(2 * math.pi * 3.3 * t)
        voiced = phrase < 2.0 and syllable > 0.22
        hz = (118 + 14 * math.sin(3.1 * t) - 8 * phrase) if voiced else 0.0
        loudness = -60.0 if phrase > 2.05 else -34 + 26 * syllable
        vowel = 1 + 0.35 * math.sin(1.7 * t)
        heard = self._bands(hz, loudness, vowel)
        if self.panic or self.values["level.mute"]:
            return (hz, loudness, heard), (0.0, -120.0, [0] * 64)
        mode, target = self.values["pitch.mode"], float(self.values["pitch.target_hz"])
        out_hz = hz if mode == "shift" else target * (hz / 112) ** float(self.values["pitch.intonation"]) if hz else 0.0
        if mode in ("note", "robot") and hz:
            out_hz = target
        out_hz *= 2 ** (float(self.values["pitch.semitones"]) / 12)
        made = self._bands(out_hz, loudness - 1, vowel * float(self.values["formant.ratio"]))
        return (hz, loudness, heard), (out_hz, loudness - 1, made)

    def _bands(self, hz: float, loudness: float, vowel: float) -> list[int]:
        formants = np.array([520, 1500, 2600, 3900]) * np.array([vowel, 2 - vowel * 0.8, 1, 1])
        shape = sum(np.exp(-(((BAND_HZ - f) / (90 + 0.12 * f)) ** 2)) * g for f, g in zip(formants, (1, 0.7, 0.5, 0.3), strict=True))
        if hz:
            comb = 0.45 + 0.55 * np.cos(2 * np.pi * BAND_HZ / hz) * np.exp(-BAND_HZ / 1500)
        else:
            comb, shape = 0.5 + 0 * BAND_HZ, np.exp(-(((BAND_HZ - 6000) / 3000) ** 2)) * 0.5
        level = loudness - 8 + 20 * np.log10(0.004 + shape * np.maximum(comb, 0.02)) + self._random.normal(0, 2, 64)
        return [int(v) for v in np.clip((level + 90) / 90 * 255, 0, 255)]


def main() -> None:
    parser = argparse.ArgumentParser(description="serve the panel with a made-up engine")
    parser.add_argument("--port", type=int, default=4466)
    parser.add_argument("--token", default="")
    parser.add_argument("--role", default="admin")
    parser.add_argument("--bypass", action="store_true")
    arguments = parser.parse_args()
    twin = Twin(arguments.token, arguments.role, arguments.port)
    twin.bypass_allowed = arguments.bypass
    twin.start()
    print(twin.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
