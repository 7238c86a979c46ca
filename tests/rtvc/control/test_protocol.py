"""The protocol without a socket: each message's consequence, each fault's close code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtvc.control.auth import Identity, answer_to, matching, nonce, secret_of
from rtvc.control.codec import JsonCodec
from rtvc.control.protocol import (
    Answer,
    AuthenticationError,
    Batch,
    Call,
    Challenge,
    Close,
    Outcome,
    Peer,
    Reply,
    Single,
    cut_reason,
    event_message,
)
from rtvc.control.wire import BATCH_REQUESTS, Execution, Role, Status

ANYBODY = Identity("anybody", Role.ADMIN)
TOKEN, SALT = "correct horse", "c2FsdA=="
ANNA = Identity("anna", Role.OPERATOR)


def peer(challenge: Challenge | None = None) -> Peer:
    return Peer(JsonCodec(), challenge, ANYBODY)


def identified(**identify: Any) -> Peer:
    found = peer()
    assert isinstance(tell(found, 1, {"rpcVersion": 1, **identify}), Reply)
    return found


def tell(to: Peer, op: object, data: object) -> Outcome:
    return to.receive(json.dumps({"op": op, "d": data}))


def said(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Reply) and isinstance(outcome.data, str)
    found: dict[str, Any] = json.loads(outcome.data)
    return found


def challenge(text: str) -> Challenge:
    def check(answer: str) -> Identity:
        identity = matching([(ANNA, secret_of(TOKEN, SALT))], text, answer)
        if identity is None:
            raise AuthenticationError("wrong token")
        return identity

    return Challenge(text, SALT, check)


def test_hello_names_versions_and_asks_for_nothing_without_tokens() -> None:
    hello = json.loads(str(peer().hello()))
    assert hello["op"] == 0
    assert hello["d"]["rpcVersion"] == 1
    assert hello["d"]["obsWebSocketVersion"] == "5.5.0"
    assert "authentication" not in hello["d"]


def test_identify_gives_role_and_subscriptions() -> None:
    found = peer()
    answer = said(tell(found, 1, {"rpcVersion": 1, "eventSubscriptions": 3}))
    assert answer == {"op": 2, "d": {"negotiatedRpcVersion": 1, "role": "admin"}}
    assert found.wants("MuteChanged") and found.wants("ParamsChanged") and not found.wants("PresetLoaded")
    assert said(tell(found, 3, {"eventSubscriptions": 1 << 16}))["op"] == 2
    assert found.wants("Meters") and not found.wants("MuteChanged")


def test_high_volume_events_come_only_when_asked_for() -> None:
    found = identified()
    assert found.wants("JobProgress") and not found.wants("Meters") and not found.wants("Trace")
    assert not peer().wants("MuteChanged")


def test_authentication_is_that_of_obs_websocket() -> None:
    # the worked example of the obs-websocket protocol's documents
    password, salt = "supersecretpassword", "lM1GncleQOaCu9lT1yeUZhFYnqhsLLP1G5lAGo3ixaI="
    asked = "+IxH4CnCiqpX1rM9scsNynZzbOe4KhDeYcTNS3PDaeY="
    assert answer_to(secret_of(password, salt), asked) == "1Ct943GAT+6YQUUX47Ia/ncufilbe6+oD6lY+5kaCu4="


def test_the_right_token_gets_in_with_its_role() -> None:
    found = peer(challenge("first"))
    hello = json.loads(str(found.hello()))["d"]["authentication"]
    assert hello == {"challenge": "first", "salt": SALT}
    right = answer_to(secret_of(TOKEN, SALT), "first")
    assert said(tell(found, 1, {"rpcVersion": 1, "authentication": right}))["d"]["role"] == "operator"
    assert found.identity == ANNA


@pytest.mark.parametrize("given", [None, 7, "", "wrong", answer_to(secret_of(TOKEN, SALT), "an older challenge")])
def test_a_wrong_missing_or_replayed_answer_is_4009(given: object) -> None:
    found = peer(challenge("fresh"))
    outcome = tell(found, 1, {"rpcVersion": 1, "authentication": given})
    assert isinstance(outcome, Close) and outcome.code == 4009
    assert found.identity is None


def test_nonces_differ() -> None:
    assert len({nonce() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 4002),
        ("{}", 4003),
        ('{"op": "1", "d": {}}', 4004),
        ('{"op": true, "d": {}}', 4004),
        ('{"op": 1}', 4003),
        ('{"op": 1, "d": []}', 4004),
        ('{"op": 99, "d": {}}', 4006),
        ('{"op": 0, "d": {}}', 4006),
        ('{"op": 6, "d": {}}', 4007),
        ('{"op": 3, "d": {}}', 4007),
        ('{"op": 1, "d": {}}', 4003),
        ('{"op": 1, "d": {"rpcVersion": "1"}}', 4004),
        ('{"op": 1, "d": {"rpcVersion": 1.5}}', 4004),
        ('{"op": 1, "d": {"rpcVersion": 2}}', 4010),
        ('{"op": 1, "d": {"rpcVersion": 1, "eventSubscriptions": -1}}', 4005),
    ],
)
def test_what_breaks_the_protocol_before_identify_closes_with_its_code(message: str, code: int) -> None:
    outcome = peer().receive(message)
    assert isinstance(outcome, Close)
    assert outcome.code == code
    assert outcome.reason


@pytest.mark.parametrize(
    ("op", "data", "code"),
    [
        (1, {"rpcVersion": 1}, 4008),
        (6, {"requestId": "1"}, 4003),
        (6, {"requestType": "GetVersion"}, 4003),
        (6, {"requestType": 3, "requestId": "1"}, 4004),
        (6, {"requestType": "", "requestId": "1"}, 4005),
        (6, {"requestType": "x" * 300, "requestId": "1"}, 4005),
        (6, {"requestType": "GetVersion", "requestId": {}}, 4004),
        (8, {"requestId": "1"}, 4003),
        (8, {"requestId": "1", "requests": {}}, 4004),
        (8, {"requestId": "1", "requests": [3]}, 4004),
        (8, {"requestId": "1", "requests": [{}] * (BATCH_REQUESTS + 1)}, 4005),
        (8, {"requestId": "1", "requests": [], "haltOnFailure": 1}, 4004),
        (8, {"requestId": "1", "requests": [], "executionType": 9}, 4005),
        (8, {"requestId": "1", "requests": [], "executionType": 2, "haltOnFailure": True}, 4005),
        (3, {"eventSubscriptions": "all"}, 4004),
    ],
)
def test_what_breaks_the_protocol_after_identify_closes_with_its_code(op: int, data: object, code: int) -> None:
    outcome = tell(identified(), op, data)
    assert isinstance(outcome, Close)
    assert outcome.code == code


def test_a_request_and_its_answer() -> None:
    found = identified()
    outcome = tell(found, 6, {"requestType": "GetParam", "requestId": 17, "requestData": {"id": "pitch.semitones"}})
    assert outcome == Single(Call("GetParam", 17, {"id": "pitch.semitones"}))
    assert isinstance(outcome, Single)
    answer = json.loads(str(found.answer(outcome.call, Answer(data={"value": 1}))))["d"]
    assert answer == {"requestType": "GetParam", "requestId": 17, "requestStatus": {"result": True, "code": 100},
                      "responseData": {"value": 1}}  # fmt: skip
    refused = json.loads(str(found.answer(outcome.call, Answer(Status.RESOURCE_NOT_FOUND, comment="no"))))["d"]
    assert refused["requestStatus"] == {"result": False, "code": 600, "comment": "no"}
    assert "responseData" not in refused


def test_a_batch_and_its_answer() -> None:
    found = identified()
    requests = [{"requestType": "Undo", "requestId": "a"}, {"requestId": "b"}, {"requestType": "Redo"}]
    outcome = tell(found, 8, {"requestId": "1", "requests": requests, "haltOnFailure": True, "executionType": 1})
    assert isinstance(outcome, Batch)
    assert (outcome.halt_on_failure, outcome.execution) == (True, Execution.SERIAL_FRAME)
    assert [call.request_type for call in outcome.calls] == ["Undo", "", "Redo"]
    assert outcome.calls[1].error is not None and outcome.calls[1].error.status == Status.MISSING_REQUEST_TYPE
    message = json.loads(str(found.answer_batch(outcome, [Answer(data={}), Answer(Status.MISSING_REQUEST_TYPE)])))
    assert message["op"] == 9
    assert [result["requestStatus"]["code"] for result in message["d"]["results"]] == [100, 203]


def test_an_event_carries_its_intent() -> None:
    message = event_message("Meters", {"load": 0.1})
    assert message == {"op": 5, "d": {"eventType": "Meters", "eventIntent": 1 << 16, "eventData": {"load": 0.1}}}


def test_a_reason_fits_into_a_close_frame() -> None:
    assert len(cut_reason("ü" * 200).encode()) <= 123
