"""A small client: change and watch a running rtvc from Python.

```python
from rtvc.control.client import Control

with Control() as rtvc:                      # ws://127.0.0.1:4466, no token
    rtvc.set({"pitch.semitones": 4, "formant.ratio": 1.1})   # heard from one block on
    rtvc.ramp("breath.amount", 0.3, duration_ms=2000)
    rtvc.load_preset("deep")
    print(rtvc.status()["delay_ms"], rtvc.get("pitch.semitones"))
```

`AsyncControl` is the same for asyncio, and gives events:

```python
async with AsyncControl(events=Intent.PARAMS | Intent.METERS) as rtvc:
    async for name, data in rtvc.events():
        print(name, data)
```

Any other program can use any obs-websocket 5 client library with the same requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect as connect_sync

from rtvc.engine.params import Value

from .auth import answer_to, secret_of
from .codec import CodecError, Data, JsonCodec, Message
from .wire import ALL_EVENTS, DEFAULT_PORT, JSON_SUBPROTOCOL, RPC_VERSION, Op, Status

DEFAULT_URL = f"ws://127.0.0.1:{DEFAULT_PORT}/"
ANSWER_S = 30.0
_ANSWER_BYTES = 16 * 1024 * 1024

Event = tuple[str, dict[str, Any]]
Call = tuple[str, Mapping[str, Any]]


class ControlError(Exception):
    """The server cannot be reached, refuses, or answers with an error; the message says which."""

    def __init__(self, message: str, code: int = 0) -> None:
        """Code is the RequestStatus of a refused request, else 0."""
        super().__init__(message)
        self.code = code


class _Wire:
    """The client's side of the protocol, without a socket."""

    def __init__(self, token: str | None, events: int) -> None:
        self._codec = _AnswerCodec()
        self._token, self._events = token, events
        self._numbers = itertools.count(1)

    def identify(self, hello: Data) -> str:
        """Return the answer to Hello. Raises ControlError if it asks for a token that there is not."""
        data = self.read(hello)["d"]
        wanted: Message = {"rpcVersion": RPC_VERSION, "eventSubscriptions": self._events}
        if asked := data.get("authentication"):
            if not self._token:
                raise ControlError("this server needs a token (rtvc control token add NAME makes one)")
            wanted["authentication"] = answer_to(secret_of(self._token, asked["salt"]), asked["challenge"])
        return self._codec.encode({"op": int(Op.IDENTIFY), "d": wanted})

    def request(self, name: str, data: Mapping[str, Any]) -> tuple[str, str]:
        """Return a new request's id and message. Raises ControlError if a number in it is not finite."""
        number = str(next(self._numbers))
        entry: Message = {"requestType": name, "requestId": number, "requestData": dict(data)}
        return number, self._encoded(Op.REQUEST, entry)

    def batch(self, calls: Sequence[Call], halt: bool) -> tuple[str, str]:
        """Return a new batch's id and message. Raises ControlError if a number in it is not finite."""
        number = str(next(self._numbers))
        requests = [{"requestType": name, "requestData": dict(data)} for name, data in calls]
        entry: Message = {"requestId": number, "haltOnFailure": halt, "requests": requests}
        return number, self._encoded(Op.REQUEST_BATCH, entry)

    def _encoded(self, op: Op, entry: Message) -> str:
        try:
            return self._codec.encode({"op": int(op), "d": entry})
        except ValueError:
            raise ControlError(f"{entry.get('requestType', 'batch')}: only finite numbers can be sent") from None

    def read(self, data: Data) -> Message:
        """Return a message of the server. Raises ControlError."""
        try:
            return self._codec.decode(data)
        except CodecError as error:
            raise ControlError(f"the server's message cannot be read: {error}") from None


class _AnswerCodec(JsonCodec):
    """JSON without the limits that protect a server from its clients."""

    def decode(self, data: Data) -> Message:
        import json

        try:
            value = json.loads(data)
        except ValueError as error:
            raise CodecError(str(error)) from None
        if not isinstance(value, dict):
            raise CodecError("it is no object")
        return value


def _result(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response's data. Raises ControlError if the request was refused."""
    status = response["requestStatus"]
    if not status["result"]:
        comment = status.get("comment", "refused")
        raise ControlError(f"{response['requestType']}: {comment}", int(status["code"]))
    data: dict[str, Any] = response.get("responseData", {})
    return data


def _tls(url: str, fingerprint: str | None) -> ssl.SSLContext | None:
    """Return how to check the server: by its fingerprint, else by the system's authorities."""
    if not url.startswith("wss:"):
        return None
    context = ssl.create_default_context()
    if fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the fingerprint is compared instead, before anything is said
    return context


def _check_fingerprint(certificate: bytes | None, fingerprint: str | None) -> None:
    if fingerprint and hashlib.sha256(certificate or b"").hexdigest() != fingerprint.replace(":", "").lower():
        raise ControlError("the server's certificate has another fingerprint: it is not the server you mean")


def _closed(error: ConnectionClosed) -> ControlError:
    reason = f": {error.rcvd.reason} ({error.rcvd.code})" if error.rcvd and error.rcvd.reason else ""
    return ControlError(f"the connection was closed{reason}")


def _unreachable(url: str, error: Exception) -> ControlError:
    return ControlError(f"{url} cannot be reached ({error}); does `rtvc live` run there?")


class Control:
    """A connection to one rtvc. Use as a context manager, from one thread."""

    def __init__(
        self, url: str = DEFAULT_URL, token: str | None = None, events: int = 0, fingerprint: str | None = None
    ) -> None:
        """Connect. Events are `Intent` bits to receive; fingerprint is the SHA-256 of a certificate made by itself.

        Raises ControlError.
        """
        self._wire = _Wire(token, events)
        self._events: list[Event] = []
        self._closing = contextlib.ExitStack()
        try:
            connecting = connect_sync(
                url,
                ssl=_tls(url, fingerprint),
                subprotocols=[JSON_SUBPROTOCOL],  # type: ignore[list-item]
                max_size=_ANSWER_BYTES,
                compression=None,
            )
            self._socket = self._closing.enter_context(connecting)
        except (OSError, WebSocketException, ValueError) as error:
            raise _unreachable(url, error) from None
        try:
            if fingerprint:
                peer = self._socket.socket
                _check_fingerprint(peer.getpeercert(True) if isinstance(peer, ssl.SSLSocket) else None, fingerprint)
            self._socket.send(self._wire.identify(self._socket.recv(ANSWER_S)))
            self.role: str = self._wire.read(self._socket.recv(ANSWER_S))["d"].get("role", "admin")
        except (ConnectionClosed, TimeoutError) as error:
            self.close()
            raise _closed(error) if isinstance(error, ConnectionClosed) else _unreachable(url, error) from None
        except ControlError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._closing.close()

    def request(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send any request and return its responseData. Raises ControlError."""
        return _result(self._answer(*self._wire.request(name, data or {})))

    def batch(self, calls: Sequence[Call], halt: bool = True) -> list[dict[str, Any]]:
        """Send requests (name, data) that take effect at one block; return their responseData. Raises ControlError."""
        results = self._answer(*self._wire.batch(calls, halt))["results"]
        return [_result(result) for result in results]

    def get(self, param_id: str) -> Value:
        """Return a parameter's value."""
        value: Value = self.request("GetParam", {"id": param_id})["value"]
        return value

    def set(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Set parameters together; return values, rev and applied_at."""
        return self.request("SetParam", {"values": dict(values)})

    def nudge(self, param_id: str, by: float) -> float:
        """Move a number within its range; return where it is now."""
        return float(self.request("NudgeParam", {"id": param_id, "by": by})["value"])

    def toggle(self, param_id: str) -> bool:
        """Turn a switch over; return what it is now."""
        return bool(self.request("ToggleParam", {"id": param_id})["value"])

    def ramp(self, param_id: str, value: float, duration_ms: float, smooth: bool = False) -> None:
        """Move a number to value over a time."""
        curve = "smooth" if smooth else "linear"
        self.request("RampParam", {"id": param_id, "value": value, "duration_ms": duration_ms, "curve": curve})

    def switch_voice(self, name: str) -> None:
        """Speak as dsp, own, silence or a neural voice."""
        self.request("SwitchVoice", {"name": name})

    def load_preset(self, name: str) -> None:
        """Sound as a preset says."""
        self.request("LoadPreset", {"name": name})

    def mute(self, muted: bool = True) -> None:
        """Be silent, or not."""
        self.request("SetMute", {"muted": muted})

    def panic(self, on: bool = True) -> None:
        """Be silent at once and until it is taken back."""
        self.request("Panic", {"on": on})

    def status(self) -> dict[str, Any]:
        """Return the session's state, delay, levels and counters."""
        return self.request("GetStatus")

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        """Wait for an event and return its name and data; None if none comes in time. Raises ControlError."""
        if self._events:
            return self._events.pop(0)
        while True:
            try:
                message = self._wire.read(self._socket.recv(timeout_s))
            except TimeoutError:
                return None
            except ConnectionClosed as error:
                raise _closed(error) from None
            if message["op"] == Op.EVENT:
                return message["d"]["eventType"], message["d"]["eventData"]

    def _answer(self, number: str, said: str) -> Message:
        try:
            self._socket.send(said)
            while True:
                message = self._wire.read(self._socket.recv(ANSWER_S))
                data: Message = message["d"]
                if message["op"] == Op.EVENT:
                    self._events.append((data["eventType"], data["eventData"]))
                elif data.get("requestId") == number:
                    return data
        except ConnectionClosed as error:
            raise _closed(error) from None
        except TimeoutError:
            raise ControlError(f"no answer within {ANSWER_S:.0f} s", int(Status.GENERIC_ERROR)) from None


class AsyncControl:
    """The same for asyncio. Use as an async context manager; requests may run side by side."""

    def __init__(
        self, url: str = DEFAULT_URL, token: str | None = None, events: int = ALL_EVENTS, fingerprint: str | None = None
    ) -> None:
        """Events are `Intent` bits to receive; `__aenter__` connects and raises ControlError."""
        self._url, self._fingerprint = url, fingerprint
        self._wire = _Wire(token, events)
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._error = ControlError("the connection was closed")

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as closing:
            try:
                connecting = connect_async(
                    self._url,
                    ssl=_tls(self._url, self._fingerprint),
                    subprotocols=[JSON_SUBPROTOCOL],  # type: ignore[list-item]
                    max_size=_ANSWER_BYTES,
                    compression=None,
                )
                self._socket: ClientConnection = await closing.enter_async_context(connecting)
            except (OSError, WebSocketException, ValueError) as error:
                raise _unreachable(self._url, error) from None
            if self._fingerprint:
                tls = self._socket.transport.get_extra_info("ssl_object")
                _check_fingerprint(tls.getpeercert(True) if tls else None, self._fingerprint)
            try:
                await self._socket.send(self._wire.identify(await self._socket.recv()))
                self.role: str = self._wire.read(await self._socket.recv())["d"].get("role", "admin")
            except ConnectionClosed as error:
                raise _closed(error) from None
            self._closing = closing.pop_all()
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()
        await self._reader

    async def request(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send any request and return its responseData. Raises ControlError."""
        return _result(await self._answer(*self._wire.request(name, data or {})))

    async def batch(self, calls: Sequence[Call], halt: bool = True) -> list[dict[str, Any]]:
        """Send requests (name, data) that take effect at one block; return their responseData. Raises ControlError."""
        answer = await self._answer(*self._wire.batch(calls, halt))
        return [_result(result) for result in answer["results"]]

    async def set(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Set parameters together; return values, rev and applied_at."""
        return await self.request("SetParam", {"values": dict(values)})

    async def get(self, param_id: str) -> Value:
        """Return a parameter's value."""
        value: Value = (await self.request("GetParam", {"id": param_id}))["value"]
        return value

    async def events(self) -> AsyncIterator[Event]:
        """Yield each event's name and data until the connection ends."""
        while (event := await self._events.get()) is not None:
            yield event

    async def _answer(self, number: str, said: str) -> Message:
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            await self._socket.send(said)
            return await answer
        except ConnectionClosed as error:
            raise _closed(error) from None
        finally:
            self._answers.pop(number, None)

    async def _read(self) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):
                async for received in self._socket:
                    message = self._wire.read(received)
                    data = message["d"]
                    if message["op"] == Op.EVENT:
                        self._events.put_nowait((data["eventType"], data["eventData"]))
                    elif (waiter := self._answers.get(data.get("requestId"))) and not waiter.done():
                        waiter.set_result(data)
        finally:
            self._events.put_nowait(None)
            for waiter in self._answers.values():
                if not waiter.done():
                    waiter.set_exception(self._error)
