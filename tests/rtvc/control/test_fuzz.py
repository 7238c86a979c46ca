"""Whatever is sent, the answer is an answer or a close with a reason, and the sound stays within its ranges."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from rtvc.audio.backend import DeviceError
from rtvc.control.asker import Asker
from rtvc.control.auth import Identity
from rtvc.control.codec import JsonCodec
from rtvc.control.jobs import Job
from rtvc.control.protocol import REASON_BYTES, Batch, Close, Peer, Reply, Single
from rtvc.control.wire import Role, Status
from rtvc.engine.params import PARAMS
from tests.rtvc.control.fuzz import Fuzzer
from tests.rtvc.control.served import Served
from tests.rtvc.control.test_dispatch import Room

CASES = 1000
SOCKET_CASES = 150
ANYBODY = Identity("anybody", Role.ADMIN)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def check_ranges(room: Room) -> None:
    for param, number in zip(PARAMS.values(), room.desk.sound.vector(), strict=True):
        high = len(param.choices) - 1 if param.choices else param.maximum
        assert param.minimum <= number <= high, param.id


async def play(room: Room, cases: int, seed: int) -> dict[str, int]:
    """Send so many messages to peers of a room; return how often each outcome came.

    Nothing is started by them: neither engine nor job.
    """

    def no_device() -> None:
        raise DeviceError("there is no device here")

    def no_process(*_: object) -> Job:
        raise OSError("no process can be started here")

    room.desk.session.start = no_device  # type: ignore[method-assign]
    room.desk.jobs.start = no_process  # type: ignore[method-assign]
    fuzzer, seen = Fuzzer(seed), {"reply": 0, "close": 0, "done": 0, "refused": 0}
    peer = Peer(JsonCodec(), None, ANYBODY)
    for case in range(cases):
        if peer.identity is None and case % 4:
            assert isinstance(peer.receive('{"op":1,"d":{"rpcVersion":1}}'), Reply)
        outcome = peer.receive(fuzzer.message())
        if isinstance(outcome, Close):
            assert 4002 <= outcome.code <= 4010 and 0 < len(outcome.reason.encode()) <= REASON_BYTES
            seen["close"] += 1
            peer = Peer(JsonCodec(), None, ANYBODY)
        elif isinstance(outcome, Reply):
            seen["reply"] += 1
        else:
            asker = Asker(ANYBODY, "anybody#1")
            answers = await _answers(room, outcome, asker)
            said = [answer.status for answer in answers]
            assert Status.GENERIC_ERROR not in said, outcome
            seen["done"] += said.count(Status.SUCCESS)
            seen["refused"] += len(said) - said.count(Status.SUCCESS)
            if isinstance(outcome, Single):
                peer.answer(outcome.call, answers[0])
            else:
                peer.answer_batch(outcome, answers)
        if case % 50 == 0:
            check_ranges(room)
    return seen


async def _answers(room: Room, outcome: Single | Batch, asker: Asker) -> list[Any]:
    if isinstance(outcome, Single):
        return [await asyncio.wait_for(room.dispatcher.single(outcome.call, asker), 20)]
    return await asyncio.wait_for(room.dispatcher.batch(outcome, asker), 20)


def test_wrong_messages_are_refused_and_right_ones_done(tmp_path: Path) -> None:
    async def told() -> dict[str, int]:
        room = Room(tmp_path, {}, False)
        try:
            return await play(room, CASES, 1)
        finally:
            await room.desk.close()
            assert len(asyncio.all_tasks()) == 1

    seen = asyncio.run(told())
    assert all(count > CASES / 100 for count in seen.values()), seen


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60) | st.builds(json.dumps, JSON_VALUES))
def test_a_peer_survives_anything(data: str | bytes) -> None:
    for identified in (False, True):
        peer = Peer(JsonCodec(), None, ANYBODY)
        if identified:
            peer.receive('{"op":1,"d":{"rpcVersion":1}}')
        outcome = peer.receive(data)
        assert isinstance(outcome, Close | Reply | Single | Batch)


def test_a_server_survives_them_over_sockets(still: Served) -> None:
    fuzzer = Fuzzer(2)
    for case in range(SOCKET_CASES // 5):
        with connect(still.url, compression=None) as connection:
            try:
                connection.recv(5)
                if case % 4:
                    connection.send('{"op":1,"d":{"rpcVersion":1}}')
                for _ in range(5):
                    data = fuzzer.message()
                    connection.send(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data,
                                    text=isinstance(data, str))  # fmt: skip
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code in (*range(4002, 4011), 1007)
    with still.control() as control:
        assert control.request("GetStats")["clients"] >= 1
