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
import mimetypes
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.rtvc.control.panel.twin_desk import Data, Desk, Refused
from tests.rtvc.control.panel.twin_voice import MadeUpVoice

PANEL = Path(__file__).parents[4] / "rtvc" / "control" / "panel"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
TICK_S = 0.1  # half the real pace, so that slow machines have time for the tests
COLUMNS = 4
METERS, TRACE = 1 << 16, 1 << 17
BITS = {
    "ParamsChanged": 2,
    "OwnVoiceChanged": 2,
    "VoiceListChanged": 4,
    "PresetListChanged": 4,
    "PresetLoaded": 4,
    "DevicesChanged": 8,
    "MonitorChanged": 8,
    "RecordStateChanged": 16,
}
CHALLENGE, SALT = "a challenge", "a grain"


@dataclass(eq=False)
class _Client:
    """One connection and what it subscribed to."""

    socket: ServerConnection
    mask: int = 0

    async def send(self, op: int, d: Data) -> None:
        with suppress(ConnectionClosed):
            await self.socket.send(json.dumps({"op": op, "d": d}))


class Twin(Desk):
    """The server of one desk. Attributes may be changed before `start`, and by `call` afterwards."""

    def __init__(self, token: str = "", role: str = "admin", port: int = 0) -> None:
        super().__init__()
        self.token, self.role, self.port = token, role, port
        self.seen: list[tuple[str, Data]] = []
        self._clients: set[_Client] = set()
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        self._voice = MadeUpVoice()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    # from the test's thread

    def reset(self) -> None:
        """Be as at the beginning, and tell everybody who is connected."""
        rev = self.rev

        def work() -> None:
            self.seen.clear()  # first: pages ask again as soon as they are told
            self.forget()
            self.rev = rev
            self.write(self.values, "preset", undoable=False)
            self.publish("MuteChanged", {"muted": False})
            self.publish("PanicChanged", {"on": False})
            self.publish("OwnVoiceChanged", {"name": None, "reason": "", "instead": ""})
            self.publish("VoiceListChanged", {})
            self.publish("PresetLoaded", {"name": None})
            self.publish("PresetListChanged", {"presets": list(self.presets)})
            self.publish("DevicesChanged", dict(self.devices))
            self.publish("MonitorChanged", dict(self.monitor))
            self.publish("RecordStateChanged", dict(self.recording))
            self.set_state("running")

        self.call(work)

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
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the panel is."""
        return f"http://127.0.0.1:{self.port}/"

    def requests(self, type: str) -> list[Data]:
        """Return the data of all requests of a type, in their order."""
        return [data for seen, data in self.seen if seen == type]

    # serving

    async def _start(self) -> None:
        protocols = [Subprotocol("obswebsocket.json")]
        self._server = await serve(
            self._talk, "127.0.0.1", self.port, process_request=self._http, subprotocols=protocols
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._ticking = self._loop.create_task(self._tick())

    async def _stop(self) -> None:
        if self._server:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
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
            self.clients = len(self._clients)

    async def _message(self, client: _Client, message: Data) -> None:
        op, d = message["op"], message["d"]
        if op == 1:
            if self.token and d.get("authentication") != self._answer():
                await client.socket.close(4009, "authentication failed")
                return
            client.mask = d.get("eventSubscriptions", 0)
            self._clients.add(client)
            self.clients = len(self._clients)
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
        self.seen.append((d["requestType"], data))
        status: Data = {"result": True, "code": 100}
        answer: Data = {}
        try:
            answer = self.handle(d["requestType"], data)
        except Refused as refusal:
            status = {"result": False, "code": refusal.code, "comment": str(refusal)}
        ids = {"requestType": d["requestType"], "requestId": d["requestId"]}
        await client.send(7, ids | {"requestStatus": status, "responseData": answer})

    def publish(self, type: str, data: Data, bit: int = 0) -> None:
        """Send an event to all who subscribed; call it in the server's thread."""
        bit = bit or BITS.get(type, 1)
        event = {"eventType": type, "eventIntent": bit, "eventData": data}
        for client in self._clients:
            if client.mask & bit:
                self._loop.create_task(client.send(5, event))

    # what is heard

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.state != "running":
                continue
            silent = self.panic or bool(self.values["level.mute"])
            columns = [self._voice.columns(self.values, silent) for _ in range(COLUMNS)]
            heard, made = columns[-1]
            meters = {"in_peak_dbfs": heard.peak_dbfs, "out_peak_dbfs": made.peak_dbfs, "own_hz": heard.hz}
            self.publish("Meters", meters | {"delay_ms": self.delay_ms(), "xruns": 2, "load": 0.064}, METERS)
            sides = {
                name: {"hz": [pair[i].hz for pair in columns], "bands": [pair[i].bands for pair in columns]}
                for i, name in enumerate(("in", "out"))
            }
            self.publish("Trace", {"at": self._voice.count * 1200} | sides, TRACE)


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
