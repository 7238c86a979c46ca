"""One connection's side of obs-websocket 5, without a socket: messages in, decisions out.

    peer = Peer(codec, ...); send(peer.hello())
    for data in the connection:
        match peer.receive(data):
            Reply -> send it;  Close -> close;  Single | Batch -> do the requests, then send peer.answer(...)

A broken message closes the connection with the protocol's code; a request that cannot be done is answered with its
RequestStatus and the connection goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtvc import __version__

from .auth import Identity
from .codec import Codec, CodecError, Data, Message
from .events import EVENTS
from .wire import (
    ALL_EVENTS,
    BATCH_REQUESTS,
    OBS_WEBSOCKET_VERSION,
    RPC_VERSION,
    CloseCode,
    Execution,
    Op,
    RequestError,
    Role,
    Status,
)

REASON_BYTES = 123  # RFC 6455, 5.5: what a close frame can hold
_ID_CHARACTERS = 200


class AuthenticationError(Exception):
    """Nobody's answer to the challenge, or no more tries for now; the text says which."""


@dataclass(frozen=True)
class Challenge:
    """What Hello asks a client to answer; check returns who it is or raises AuthenticationError."""

    challenge: str
    salt: str
    check: Callable[[str], Identity]


@dataclass(frozen=True)
class Reply:
    """Send this."""

    data: Data


@dataclass(frozen=True)
class Close:
    """End the connection."""

    code: int
    reason: str


@dataclass(frozen=True)
class Call:
    """One request as it came; error says that it cannot even be tried."""

    request_type: str
    request_id: str | int
    data: object
    error: RequestError | None = None


@dataclass(frozen=True)
class Single:
    """A request to do."""

    call: Call


@dataclass(frozen=True)
class Batch:
    """Requests to do together."""

    request_id: str | int
    calls: tuple[Call, ...]
    halt_on_failure: bool
    execution: Execution


Outcome = Reply | Close | Single | Batch


@dataclass(frozen=True)
class Answer:
    """What became of one call."""

    status: Status = Status.SUCCESS
    data: Mapping[str, Any] | None = None
    comment: str = ""


class _Refused(Exception):
    """The message breaks the protocol."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.close = Close(code, cut_reason(reason))


class Peer:
    """The server's view of one client."""

    def __init__(self, codec: Codec, challenge: Challenge | None, everybody: Identity) -> None:
        """Without a challenge every client is `everybody`."""
        self.codec = codec
        self.identity: Identity | None = None
        self.subscriptions = 0
        self._challenge, self._everybody = challenge, everybody

    def hello(self) -> Data:
        """Return the first message."""
        data: Message = {
            "obsWebSocketVersion": OBS_WEBSOCKET_VERSION,
            "rpcVersion": RPC_VERSION,
            "rtvcVersion": __version__,
        }
        if self._challenge:
            data["authentication"] = {"challenge": self._challenge.challenge, "salt": self._challenge.salt}
        return self._message(Op.HELLO, data)

    def receive(self, data: Data) -> Outcome:
        """Take one message and say what is to be done."""
        try:
            return self._receive(self.codec.decode(data))
        except CodecError as error:
            return Close(CloseCode.MESSAGE_DECODE_ERROR, cut_reason(str(error)))
        except _Refused as refused:
            return refused.close

    def answer(self, call: Call, answer: Answer) -> Data:
        """Return the RequestResponse to a single request."""
        return self._message(Op.REQUEST_RESPONSE, _response(call, answer))

    def answer_batch(self, batch: Batch, answers: Sequence[Answer]) -> Data:
        """Return the RequestBatchResponse; answers may be fewer than the calls if the batch was halted."""
        results = [_response(call, answer) for call, answer in zip(batch.calls, answers, strict=False)]
        return self._message(Op.REQUEST_BATCH_RESPONSE, {"requestId": batch.request_id, "results": results})

    def wants(self, event: str) -> bool:
        """Return whether the client is identified and subscribed to this event."""
        return self.identity is not None and bool(self.subscriptions & EVENTS[event].intent)

    def _receive(self, message: Message) -> Outcome:
        op = message.get("op")
        if op is None:
            raise _Refused(CloseCode.MISSING_DATA_FIELD, "op is missing")
        if not isinstance(op, int) or isinstance(op, bool):
            raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, "op must be a whole number")
        takes: dict[int, Callable[[Message], Outcome]] = {
            Op.IDENTIFY: self._identify,
            Op.REIDENTIFY: self._reidentify,
            Op.REQUEST: _single,
            Op.REQUEST_BATCH: _batch,
        }
        if op not in takes:
            raise _Refused(CloseCode.UNKNOWN_OP_CODE, f"op {op} is not one a client sends")
        if self.identity is None and op != Op.IDENTIFY:
            raise _Refused(CloseCode.NOT_IDENTIFIED, f"op {op} before Identify (op 1)")
        data = message.get("d")
        if data is None:
            raise _Refused(CloseCode.MISSING_DATA_FIELD, "d is missing")
        if not isinstance(data, dict):
            raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, "d must be an object")
        return takes[op](data)

    def _identify(self, data: Message) -> Outcome:
        if self.identity is not None:
            raise _Refused(CloseCode.ALREADY_IDENTIFIED, "Identify came twice; send Reidentify (op 3)")
        version = _integer(data, "rpcVersion")
        if version is None:
            raise _Refused(CloseCode.MISSING_DATA_FIELD, "rpcVersion is missing")
        if version != RPC_VERSION:
            raise _Refused(CloseCode.UNSUPPORTED_RPC_VERSION, f"rpcVersion {version}: this server speaks {RPC_VERSION}")
        subscriptions = self._subscriptions(data)
        identity = self._everybody
        if self._challenge:
            answer = data.get("authentication")
            if not isinstance(answer, str):
                raise _Refused(CloseCode.AUTHENTICATION_FAILED, "this server needs a token: authentication is missing")
            try:
                identity = self._challenge.check(answer)
            except AuthenticationError as error:
                raise _Refused(CloseCode.AUTHENTICATION_FAILED, str(error)) from None
        self.identity, self.subscriptions = identity, subscriptions
        return self._identified(identity.role)

    def _reidentify(self, data: Message) -> Outcome:
        self.subscriptions = self._subscriptions(data)
        assert self.identity is not None
        return self._identified(self.identity.role)

    def _identified(self, role: Role) -> Reply:
        return Reply(self._message(Op.IDENTIFIED, {"negotiatedRpcVersion": RPC_VERSION, "role": role.word}))

    def _subscriptions(self, data: Message) -> int:
        wanted = _integer(data, "eventSubscriptions")
        if wanted is not None and wanted < 0:
            raise _Refused(CloseCode.INVALID_DATA_FIELD_VALUE, f"eventSubscriptions = {wanted}: must be 0 or more")
        return ALL_EVENTS if wanted is None else wanted

    def _message(self, op: Op, data: Message) -> Data:
        return self.codec.encode({"op": int(op), "d": data})


def event_message(name: str, data: Mapping[str, Any]) -> Message:
    """Return the message of an event."""
    event = {"eventType": name, "eventIntent": int(EVENTS[name].intent), "eventData": dict(data)}
    return {"op": int(Op.EVENT), "d": event}


def cut_reason(reason: str) -> str:
    """Return reason, cut to what a close frame can hold."""
    return reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")


def _response(call: Call, answer: Answer) -> Message:
    status: Message = {"result": answer.status == Status.SUCCESS, "code": int(answer.status)}
    if answer.comment:
        status["comment"] = answer.comment
    response: Message = {"requestType": call.request_type, "requestId": call.request_id, "requestStatus": status}
    if answer.data is not None:
        response["responseData"] = dict(answer.data)
    return response


def _single(data: Message) -> Single:
    return Single(Call(_text(data, "requestType"), _request_id(data), data.get("requestData")))


def _batch(data: Message) -> Batch:
    request_id = _request_id(data)
    entries = data.get("requests")
    if entries is None:
        raise _Refused(CloseCode.MISSING_DATA_FIELD, "requests is missing")
    if not isinstance(entries, list):
        raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, "requests must be a list")
    if len(entries) > BATCH_REQUESTS:
        what = f"a batch of {len(entries)} requests: at most {BATCH_REQUESTS}"
        raise _Refused(CloseCode.INVALID_DATA_FIELD_VALUE, what)
    halt = data.get("haltOnFailure", False)
    if not isinstance(halt, bool):
        raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, "haltOnFailure must be true or false")
    execution = _integer(data, "executionType")
    try:
        kind = Execution(execution or 0)
    except ValueError:
        raise _Refused(CloseCode.INVALID_DATA_FIELD_VALUE, f"executionType = {execution}: must be 0, 1 or 2") from None
    if halt and kind == Execution.PARALLEL:
        raise _Refused(CloseCode.INVALID_DATA_FIELD_VALUE, "haltOnFailure needs a serial executionType (0 or 1)")
    return Batch(request_id, tuple(_entry(entry) for entry in entries), halt, kind)


def _entry(entry: object) -> Call:
    if not isinstance(entry, dict):
        raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, "each of requests must be an object")
    request_id = "" if entry.get("requestId") is None else _request_id(entry)
    request_type = entry.get("requestType")
    if not isinstance(request_type, str) or not request_type:
        missing = RequestError(Status.MISSING_REQUEST_TYPE, "requestType is missing")
        return Call("", request_id, None, missing)
    return Call(request_type[:_ID_CHARACTERS], request_id, entry.get("requestData"))


def _request_id(data: Message) -> str | int:
    """Return the id that the answer repeats: text, or a number as some clients send."""
    value = data.get("requestId")
    return value if isinstance(value, int) and not isinstance(value, bool) else _text(data, "requestId")


def _text(data: Message, name: str) -> str:
    value = data.get(name)
    if value is None:
        raise _Refused(CloseCode.MISSING_DATA_FIELD, f"{name} is missing")
    if not isinstance(value, str):
        raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, f"{name} must be text")
    if not 0 < len(value) <= _ID_CHARACTERS:
        what = f"{name} must have 1 to {_ID_CHARACTERS} characters"
        raise _Refused(CloseCode.INVALID_DATA_FIELD_VALUE, what)
    return value


def _integer(data: Message, name: str) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise _Refused(CloseCode.INVALID_DATA_FIELD_TYPE, f"{name} must be a whole number")
    return int(value)
