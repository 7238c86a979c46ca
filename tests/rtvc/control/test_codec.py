"""Messages to and from bytes: what may pass, and what is refused with a reason."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtvc.control.codec import DEPTH, ITEMS, CodecError, JsonCodec, MsgpackCodec
from rtvc.control.wire import MESSAGE_BYTES

JSON, MSGPACK = JsonCodec(), MsgpackCodec()

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e300, 1e300) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return {"d": value}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(TEXT, PLAIN, max_size=5))
def test_what_is_encoded_is_decoded(message: dict[str, Any]) -> None:
    assert JSON.decode(JSON.encode(message)) == message
    assert MSGPACK.decode(MSGPACK.encode(message)) == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("nonsense", "not JSON"),
        ("[]", "not an object"),
        ("1", "not an object"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 123456789012345678901234567890}', "64 bits"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": {"b": 1, "b": 2}}', "twice"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ('{"a": "\n"}', "not JSON"),
        ('{"a": ' + "[" * 30000 + "]" * 30000 + "}", "nested deeper"),
        (json.dumps(nested(DEPTH + 1)), "nested deeper"),
        (json.dumps({"a": [0] * (ITEMS + 1)}), f"more than {ITEMS} values"),
        ('{"a": "' + "x" * MESSAGE_BYTES + '"}', f"more than {MESSAGE_BYTES}"),
    ],
)
def test_bad_json_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        JSON.decode(text)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not MessagePack"),
        (b"\xc1", "not MessagePack"),
        (msgpack.packb([1]), "not an object"),
        (msgpack.packb({"a": float("nan")}), "nan is not"),
        (msgpack.packb({"a": float("inf")}), "inf is not"),
        (msgpack.packb({"a": 2**64 - 1}), "64 bits"),
        (b"\x82\xa1a\x01\xa1a\x02", "twice"),
        (b"\x81\x01\x02", "not text"),
        (b"\x81\xa1a\xa2\xff\xfe", "not MessagePack"),
        (msgpack.packb({"a": b"bytes"}), "not MessagePack"),
        (msgpack.packb({"a": msgpack.ExtType(5, b"xy")}), "not MessagePack"),
        (b"\x81\xa1a" + b"\x91" * 5000, "not MessagePack"),
        (msgpack.packb(nested(DEPTH + 1)), "nested deeper"),
        (msgpack.packb({"a": "x" * MESSAGE_BYTES}), f"more than {MESSAGE_BYTES}"),
        (msgpack.packb({"a": 1}) + b"\x00", "not MessagePack"),
    ],
)
def test_bad_msgpack_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        MSGPACK.decode(data)


def test_the_frame_must_be_of_the_sessions_kind() -> None:
    with pytest.raises(CodecError, match="binary frame"):
        JSON.decode(b"{}")
    with pytest.raises(CodecError, match="text frame"):
        MSGPACK.decode("{}")


def test_nothing_is_sent_that_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="JSON"):
        JSON.encode({"a": float("nan")})


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for decode in (lambda: MSGPACK.decode(data), lambda: JSON.decode(data.decode("utf-8", "surrogatepass"))):
        with contextlib.suppress(CodecError, UnicodeDecodeError):
            assert isinstance(decode(), dict)
