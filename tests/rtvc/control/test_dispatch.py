"""Requests on a session that does not run: what each does, and how it is refused. No socket, no engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtvc.control.asker import Asker
from rtvc.control.auth import Identity
from rtvc.control.dispatch import HANDLERS
from rtvc.control.requests import REQUESTS
from rtvc.control.wire import Execution, Role, Status
from rtvc.engine.params import PARAMS
from tests.rtvc.control.room import Play, Room


def test_every_request_has_a_handler() -> None:
    assert set(HANDLERS) == set(REQUESTS)


def test_set_get_nudge_and_toggle(play: Play) -> None:
    async def story(room: Room) -> None:
        first = await room.data("SetParam", {"id": "pitch.semitones", "value": 5})
        assert first == {"values": {"pitch.semitones": 5.0}, "rev": 2, "applied_at": None}
        both = await room.data("SetParam", {"values": {"pitch.mode": "note", "level.match": True}})
        assert both["rev"] == 3
        assert (await room.data("GetParam", {"id": "pitch.mode"}))["value"] == "note"
        assert (await room.data("NudgeParam", {"id": "pitch.semitones", "by": -2.5}))["value"] == 2.5
        assert (await room.data("NudgeParam", {"id": "pitch.semitones", "by": 1000}))["value"] == 24.0
        assert (await room.data("ToggleParam", {"id": "level.match"}))["value"] is False
        again = await room.data("SetParam", {"id": "pitch.semitones", "value": 24})
        assert again["rev"] == (await room.data("GetVersion"))["rev"], "what is as it was is no new revision"
        listed = {entry["id"]: entry["value"] for entry in (await room.data("ListParams"))["params"]}
        assert set(listed) == set(PARAMS) and listed["pitch.semitones"] == 24.0

    play(story)


@pytest.mark.parametrize(
    ("request_type", "data", "status", "comment"),
    [
        (
            "SetParam",
            {"id": "pitch.semitones", "value": 99},
            402,
            "pitch.semitones = 99: must lie in -24..24 semitones",
        ),
        ("SetParam", {"id": "pitch.semitones", "value": "5"}, 401, "must be a number"),
        ("SetParam", {"id": "pitch.semitones", "value": True}, 401, "must be a number"),
        ("SetParam", {"id": "pitch.mode", "value": "up"}, 402, "shift, target, note, robot"),
        ("SetParam", {"id": "pitch.mode", "value": 1}, 401, "one of shift"),
        ("SetParam", {"id": "level.mute", "value": "on"}, 401, "true or false"),
        ("SetParam", {"id": "level.mute", "value": 2}, 402, "level.mute = 2"),
        ("SetParam", {"id": "pitch", "value": 1}, 600, "did you mean pitch."),
        ("SetParam", {"id": "pitch.semitones"}, 300, "needs value"),
        ("SetParam", {}, 300, "id and value, or values"),
        ("SetParam", {"id": "x", "value": 1, "values": {"x": 1}}, 300, "either"),
        ("SetParam", {"id": "pitch.semitones", "value": 1, "x": 1}, 400, "no field of SetParam"),
        ("SetParam", {"id": "voice.name", "value": "own"}, 703, "control.bypass = true"),
        ("NudgeParam", {"id": "pitch.mode", "by": 1}, 400, "only numbers"),
        ("ToggleParam", {"id": "pitch.mode"}, 400, "only switches"),
        ("RampParam", {"id": "level.mute", "value": 1, "duration_ms": 1}, 400, "only numbers"),
        ("RampParam", {"id": "pitch.semitones", "value": 99, "duration_ms": 1}, 402, "-24..24"),
        ("RampParam", {"id": "pitch.semitones", "value": 1, "duration_ms": 60001}, 402, "0..60000"),
        ("RampParam", {"id": "pitch.semitones", "value": 1, "duration_ms": 1, "curve": "odd"}, 402, "linear, smooth"),
        ("SwitchVoice", {"name": "nobody"}, 600, "heart"),
        ("SwitchVoice", {"name": "own"}, 703, "control.bypass"),
        ("BlendVoices", {"first": "heart", "second": "dsp", "blend": 0}, 402, "one of heart"),
        ("LoadPreset", {"name": "nothing"}, 600, "feminine"),
        ("LoadPreset", {"name": "natural"}, 703, "control.bypass"),
        ("SavePreset", {"name": "Bad Name"}, 400, "cannot name a preset"),
        ("SavePreset", {"name": "deep"}, 400, "comes with the program"),
        ("DeletePreset", {"name": "deep"}, 600, "comes with the program"),
        ("Undo", None, 703, "nothing to undo"),
        ("Redo", None, 703, "nothing to redo"),
        ("Stop", None, 501, "does not run"),
        ("SetBypass", {"active": True}, 703, "control.bypass"),
        ("SetDevice", {}, 300, "capture or playback"),
        ("SetDevice", {"capture": "usb"}, 600, "no such device"),
        ("SetMonitor", {}, 300, "on, level_db or device"),
        ("SetMonitor", {"on": True}, 703, "no monitor"),
        ("SetMonitor", {"level_db": 13}, 402, "-60..12"),
        ("SetMonitor", {"level_db": -61}, 402, "-60..12"),
        ("SetMonitor", {"on": 1}, 401, "true or false"),
        ("SetMonitor", {"device": "nowhere"}, 702, "no monitor"),
        ("StartRecord", None, 501, "Start it first"),
        ("StopRecord", None, 501, "nothing is recorded"),
        ("SaveFlight", None, 501, "Start it first"),
        ("CancelJob", {"job": "none"}, 600, "no such job"),
        ("StartJob", {"kind": "train", "input": "a", "output": "b"}, 402, "one of convert"),
        ("Fly", None, 204, "no request 'Fly'"),
        ("GetParm", None, 204, "did you mean GetParam"),
        ("GetVersion", [], 401, "requestData"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    play: Play, request_type: str, data: object, status: int, comment: str
) -> None:
    async def story(room: Room) -> None:
        before = room.desk.sound.vector()
        answer = await room.ask(request_type, data)
        assert (answer.status, comment in answer.comment) == (status, True), answer
        assert (room.desk.sound.vector() == before).all()

    play(story)


def test_roles_are_kept_to(play: Play) -> None:
    async def story(room: Room) -> None:
        for role in Role:
            asker = Asker(Identity("bert", role), "bert#1")
            for request in REQUESTS.values():
                if request.name in ("Start", "GetSchema"):
                    continue
                answer = await room.ask(request.name, {"wrong": 1}, asker)
                assert (answer.status == Status.ROLE_TOO_LOW) == (role < request.role), request.name

    play(story)


def test_an_operator_records_only_into_the_recordings_folder(play: Play) -> None:
    async def story(room: Room) -> None:
        status = replace(room.desk.session.status(), state="running")
        room.desk.session.status = lambda: status  # type: ignore[method-assign]
        operator = Asker(Identity("bert", Role.OPERATOR), "bert#1")
        for path in ("../out.flac", "/tmp/out.flac", "a/../../out.flac"):
            answer = await room.ask("StartRecord", {"path": path}, operator)
            assert answer.status == Status.ROLE_TOO_LOW
            answer = await room.ask("SaveFlight", {"path": path.replace("flac", "zip")}, operator)
            assert answer.status == Status.ROLE_TOO_LOW
        assert (await room.ask("SaveFlight", {"path": "flight.txt"})).status == Status.INVALID_REQUEST_FIELD
        answer = await room.ask("SaveFlight")
        assert answer.status == Status.CANNOT_ACT and "no flight recorder" in answer.comment

    play(story)


def test_a_batch_is_one_revision(play: Play) -> None:
    async def story(room: Room) -> None:
        calls = (
            ("SetParam", {"id": "pitch.semitones", "value": 1}),
            ("NudgeParam", {"id": "pitch.semitones", "by": 2}),
            ("ToggleParam", {"id": "level.match"}),
            ("GetParam", {"id": "pitch.semitones"}),
        )
        for execution in Execution:
            rev = room.desk.sound.rev
            answers = await room.batch(*calls, execution=execution)
            assert [answer.status for answer in answers] == [Status.SUCCESS] * 4
            assert {(answer.data or {})["rev"] for answer in answers} == {rev + 1}
            assert (answers[3].data or {})["value"] == 3.0 == room.value("pitch.semitones")

    play(story)


def test_a_batch_halts_at_a_failure_only_if_asked(play: Play) -> None:
    async def story(room: Room) -> None:
        good, bad = ("SetParam", {"id": "breath.amount", "value": 0.5}), ("SetParam", {"id": "x", "value": 1})
        last = ("SetParam", {"id": "whisper.amount", "value": 0.5})
        answers = await room.batch(good, bad, last, halt=True)
        assert [answer.status for answer in answers] == [100, 600]
        assert (room.value("breath.amount"), room.value("whisper.amount")) == (0.5, 0.0)
        assert [answer.status for answer in await room.batch(good, bad, last)] == [100, 600, 100]
        assert room.value("whisper.amount") == 0.5

    play(story)


def test_a_request_that_fails_half_way_changes_nothing(play: Play) -> None:
    async def story(room: Room) -> None:
        values = {"breath.amount": 0.5, "voice.name": "own"}
        assert (await room.ask("SetParam", {"values": values})).status == Status.CANNOT_ACT
        assert room.value("breath.amount") == 0.0

    play(story)


def test_where_there_can_be_no_monitor_that_is_said(play: Play) -> None:
    async def story(room: Room) -> None:
        monitor = await room.data("GetMonitor")
        assert (monitor["available"], monitor["reason"]) == (False, "a tone has no monitor")
        assert (await room.data("GetStatus"))["monitor"]["available"] is False
        quiet = await room.data("SetMonitor", {"level_db": -6})
        assert (quiet["level_db"], quiet["on"], quiet["playing"]) == (-6.0, False, False)
        assert room.ears.of("MonitorChanged")[-1]["level_db"] == -6.0

    play(story)


def test_an_error_of_our_own_is_answered_too(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(room: Room) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(room.desk.presets, "refresh", broken)
        answer = await room.ask("ListPresets")
        assert answer.status == Status.GENERIC_ERROR and "ListPresets failed" in answer.comment

    play(story)
