"""The numbers of obs-websocket 5 that this program speaks, and the ones it adds.

Source: obs-websocket `docs/generated/protocol.md`, RPC version 1. Added here: RequestStatus 800 and 801, CloseCode 4012
and the meaning of the event bits, which count our own events.
"""

from __future__ import annotations

from enum import IntEnum

OBS_WEBSOCKET_VERSION = "5.5.0"
RPC_VERSION = 1
DEFAULT_PORT = 4466
JSON_SUBPROTOCOL = "obswebsocket.json"
MSGPACK_SUBPROTOCOL = "obswebsocket.msgpack"

MESSAGE_BYTES = 64 * 1024  # the largest message that is taken
WAITING_BYTES = 4 * 1024 * 1024  # more waiting for one client closes it
BATCH_REQUESTS = 128


class Op(IntEnum):
    """OpCode of a message."""

    HELLO = 0
    IDENTIFY = 1
    IDENTIFIED = 2
    REIDENTIFY = 3
    EVENT = 5
    REQUEST = 6
    REQUEST_RESPONSE = 7
    REQUEST_BATCH = 8
    REQUEST_BATCH_RESPONSE = 9


class CloseCode(IntEnum):
    """Why the server ends a connection."""

    UNKNOWN_REASON = 4000
    MESSAGE_DECODE_ERROR = 4002
    MISSING_DATA_FIELD = 4003
    INVALID_DATA_FIELD_TYPE = 4004
    INVALID_DATA_FIELD_VALUE = 4005
    UNKNOWN_OP_CODE = 4006
    NOT_IDENTIFIED = 4007
    ALREADY_IDENTIFIED = 4008
    AUTHENTICATION_FAILED = 4009
    UNSUPPORTED_RPC_VERSION = 4010
    SESSION_INVALIDATED = 4011
    TOO_SLOW = 4012


class Status(IntEnum):
    """RequestStatus: what became of one request."""

    SUCCESS = 100
    MISSING_REQUEST_TYPE = 203
    UNKNOWN_REQUEST_TYPE = 204
    GENERIC_ERROR = 205
    MISSING_REQUEST_FIELD = 300
    INVALID_REQUEST_FIELD = 400
    INVALID_REQUEST_FIELD_TYPE = 401
    REQUEST_FIELD_OUT_OF_RANGE = 402
    REQUEST_FIELD_EMPTY = 403
    OUTPUT_RUNNING = 500
    OUTPUT_NOT_RUNNING = 501
    RESOURCE_NOT_FOUND = 600
    RESOURCE_ALREADY_EXISTS = 601
    REQUEST_PROCESSING_FAILED = 702
    CANNOT_ACT = 703
    ROLE_TOO_LOW = 800
    TOO_MANY_REQUESTS = 801


class Execution(IntEnum):
    """RequestBatchExecutionType. Whichever it is, the writes of a batch sound from one block on."""

    SERIAL_REALTIME = 0
    SERIAL_FRAME = 1
    PARALLEL = 2


class Role(IntEnum):
    """What a client may do: watch, play, or also change the set-up."""

    VIEWER = 0
    OPERATOR = 1
    ADMIN = 2

    @property
    def word(self) -> str:
        """Return the role as users write it."""
        return self.name.lower()


class Intent(IntEnum):
    """Bits of eventSubscriptions. METERS and TRACE are high-volume: sent only when asked for by name."""

    GENERAL = 1 << 0
    PARAMS = 1 << 1
    PRESETS = 1 << 2
    DEVICES = 1 << 3
    RECORD = 1 << 4
    JOBS = 1 << 5
    METERS = 1 << 16
    TRACE = 1 << 17


HIGH_VOLUME = Intent.METERS | Intent.TRACE
ALL_EVENTS = (1 << 16) - 1  # what a client gets that does not say what it wants


class RequestError(Exception):
    """A request that is refused: its RequestStatus and a comment for a person."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status, self.comment = status, comment
