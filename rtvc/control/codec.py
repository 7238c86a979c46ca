"""Messages to and from bytes: JSON in text frames, MessagePack in binary ones, and nothing that is not plain data.

Refused with a reason: more than MESSAGE_BYTES, nesting deeper than DEPTH, more than ITEMS values, NaN and infinities,
integers beyond 64 bits, the same key twice, text that is no UTF-8, MessagePack's binary and extension types.

Sources: RFC 8259; the MessagePack specification.
"""

from __future__ import annotations

import json
import math
from typing import Any, Protocol

import msgpack

from .wire import JSON_SUBPROTOCOL, MESSAGE_BYTES, MSGPACK_SUBPROTOCOL

DEPTH = 12
ITEMS = 8192
_INT64 = 1 << 63

Data = str | bytes
Message = dict[str, Any]


class CodecError(ValueError):
    """A message cannot be read; the text says why."""


class Codec(Protocol):
    """One of the two forms on the wire."""

    subprotocol: str

    def encode(self, message: Message) -> Data:
        """Return message as one frame's payload."""

    def decode(self, data: Data) -> Message:
        """Return the message in data. Raises CodecError."""


class JsonCodec:
    """obswebsocket.json: one JSON object in a text frame."""

    subprotocol = JSON_SUBPROTOCOL

    def encode(self, message: Message) -> str:
        """Return message as JSON; ValueError if it holds NaN or an infinity."""
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def decode(self, data: Data) -> Message:
        """Return the JSON object in data. Raises CodecError."""
        if not isinstance(data, str):
            raise CodecError("a binary frame in a JSON session; send text frames")
        if len(data) > MESSAGE_BYTES:
            raise CodecError(f"the message has {len(data)} characters, more than {MESSAGE_BYTES}")
        try:
            value = _JSON.decode(data)
        except RecursionError:
            raise CodecError(f"nested deeper than {DEPTH}") from None
        except CodecError:
            raise
        except ValueError as error:
            raise CodecError(f"not JSON: {error}") from None
        return _checked(value)


class MsgpackCodec:
    """obswebsocket.msgpack: one MessagePack map in a binary frame."""

    subprotocol = MSGPACK_SUBPROTOCOL

    def encode(self, message: Message) -> bytes:
        """Return message as MessagePack."""
        packed: bytes = msgpack.packb(message)
        return packed

    def decode(self, data: Data) -> Message:
        """Return the MessagePack map in data. Raises CodecError."""
        if isinstance(data, str):
            raise CodecError("a text frame in a MessagePack session; send binary frames")
        if len(data) > MESSAGE_BYTES:
            raise CodecError(f"the message has {len(data)} bytes, more than {MESSAGE_BYTES}")
        try:
            value = msgpack.unpackb(
                data,
                object_pairs_hook=_object,
                strict_map_key=False,
                max_array_len=ITEMS,
                max_map_len=ITEMS,
                max_ext_len=0,
                max_bin_len=0,
            )
        except CodecError:
            raise
        except Exception as error:  # msgpack raises a dozen kinds, all for bad data
            raise CodecError(f"not MessagePack: {error or type(error).__name__}") from None
        return _checked(value)


CODECS: dict[str, Codec] = {codec.subprotocol: codec for codec in (JsonCodec(), MsgpackCodec())}


def _object(pairs: list[tuple[Any, Any]]) -> Message:
    found: Message = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise CodecError(f"the key {key!r:.40} is not text")
        if key in found:
            raise CodecError(f"the key {key!r:.40} appears twice")
        found[key] = value
    return found


def _not_a_number(word: str) -> float:
    raise CodecError(f"{word} is not a number that JSON allows")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise CodecError(f"{text:.40} is too large a number")
    return value


def _int(text: str) -> int:
    if len(text) > 20 or not -_INT64 <= (value := int(text)) < _INT64:
        raise CodecError(f"{text:.40} does not fit into 64 bits")
    return value


_JSON = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_not_a_number, parse_float=_float, parse_int=_int, strict=True
)


def _checked(value: object) -> Message:
    """Return value if it is a map of plain data within the limits."""
    if not isinstance(value, dict):
        raise CodecError("the message is not an object")
    items = 0
    level: list[object] = [value]
    for _ in range(DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item)
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            else:
                _check_plain(item)
        items += len(inner)
        if items > ITEMS:
            raise CodecError(f"the message holds more than {ITEMS} values")
        if not inner:
            return value
        level = inner
    raise CodecError(f"nested deeper than {DEPTH}")


def _check_plain(item: object) -> None:
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError:
            raise CodecError("text that is no Unicode (half a surrogate pair)") from None
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise CodecError(f"{item} is not a number that is allowed")
    elif isinstance(item, int):
        if not -_INT64 <= item < _INT64:
            raise CodecError("an integer that does not fit into 64 bits")
    elif item is not None:
        raise CodecError(f"data of type {type(item).__name__}; use objects, lists, text, numbers, true, false, null")
