"""Requests on a session that does not run: what each does, and how it is refused. No socket, no engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtvc.control.asker import Asker
from rtvc.control.auth import Identity
from rtvc.control.desk import Desk, DeskSettings
from rtvc.control.dispatch import HANDLERS, Dispatcher
from rtvc.control.events import EVENTS
from rtvc.control.protocol import Answer, Batch, Call
from rtvc.control.requests import REQUESTS, answer_fields
from rtvc.control.sound import Vector
from rtvc.control.wire import Execution, Role, Status
from rtvc.engine.live import LiveSession
from rtvc.engine.params import INDEX, PARAMS, Value, to_vector
from tests.rtvc.control.served import PLAIN, ToneDevices

ADMIN = Asker(Identity("anna", Role.ADMIN), "anna#1")


class Ears:
    """Remembers events."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        assert set(data) <= {field.name for field in EVENTS[event].tells}
        self.heard.append((event, dict(data)))

    def wants(self, event: str) -> bool:
        return False

    def count(self) -> int:
        return 1

    def of(self, event: str) -> list[dict[str, Any]]:
        return [data for name, data in self.heard if name == event]


class Room:
    """A desk in a running event loop."""

    def __init__(self, folder: Path, values: dict[str, Value], bypass: bool) -> None:
        vector, devices = to_vector(PLAIN | values), ToneDevices()
        settings = DeskSettings(bypass, recordings=folder / "recordings", presets=folder / "presets")
        self.desk = Desk(LiveSession(devices.open, vector), vector, devices, settings)
        self.ears = Ears()
        self.desk.audience = self.ears
        self.dispatcher = Dispatcher(self.desk)

    async def ask(self, request: str, data: object = None, asker: Asker = ADMIN) -> Answer:
        answer = await self.dispatcher.single(Call(request, "1", data), asker)
        if answer.status == Status.SUCCESS:
            assert answer.data is not None
            wanted = {field.name for field in answer_fields(REQUESTS[request]) if not field.optional}
            assert wanted <= set(answer.data), request
        else:
            assert answer.comment
        return answer

    async def data(self, request: str, data: object = None) -> dict[str, Any]:
        answer = await self.ask(request, data)
        assert answer.status == Status.SUCCESS, answer
        return dict(answer.data or {})

    async def batch(self, *calls: tuple[str, object], halt: bool = False, execution: int = 0) -> list[Answer]:
        made = tuple(Call(name, str(i), data) for i, (name, data) in enumerate(calls))
        return await self.dispatcher.batch(Batch("1", made, halt, Execution(execution)), ADMIN)

    def value(self, param_id: str) -> Value:
        return self.desk.sound.value(param_id)


Story = Callable[[Room], Coroutine[Any, Any, None]]
Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return what runs a story in a room of its own."""

    def run(story: Story, values: dict[str, Value] | None = None, bypass: bool = False) -> None:
        async def told() -> None:
            room = Room(tmp_path, values or {}, bypass)
            try:
                await story(room)
            finally:
                await room.desk.close()

        asyncio.run(told())

    return run


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


def test_undo_and_redo(play: Play) -> None:
    async def story(room: Room) -> None:
        await room.data("SetParam", {"id": "pitch.semitones", "value": 3})
        await room.data("LoadPreset", {"name": "deep"})
        assert (await room.data("Undo"))["values"]["pitch.target_hz"] == 160.0
        assert (await room.data("Undo"))["values"] == {"pitch.semitones": 0.0}
        assert (await room.data("Redo"))["values"] == {"pitch.semitones": 3.0}
        await room.data("SetMute", {"muted": True})
        assert (await room.data("Undo"))["values"] == {"pitch.semitones": 0.0}
        assert room.value("level.mute") is True, "an undo never makes anybody speak"
        await room.data("SetParam", {"id": "formant.ratio", "value": 1.2})
        assert (await room.ask("Redo")).status == Status.CANNOT_ACT
        for i in range(30):
            await room.data("SetParam", {"id": "breath.amount", "value": i / 30})
        assert (await room.data("Undo"))["values"] == {"breath.amount": 0.0}, "a slide is one step"

    play(story)


def test_a_ramp_arrives_counts_as_one_step_and_ends_when_something_else_is_written(play: Play) -> None:
    async def story(room: Room) -> None:
        await room.data("RampParam", {"id": "pitch.semitones", "value": 10, "duration_ms": 60})
        seen = []
        while room.desk.ramps.running():
            await asyncio.sleep(0.002)
            seen.append(float(room.value("pitch.semitones")))
        assert seen == sorted(seen) and seen[-1] == 10.0 and len(set(seen)) > 4
        assert (await room.data("Undo"))["values"] == {"pitch.semitones": 0.0}
        await room.data("RampParam", {"id": "pitch.semitones", "value": 10, "duration_ms": 5000, "curve": "smooth"})
        await room.data("SetParam", {"id": "pitch.semitones", "value": -1})
        await asyncio.sleep(0.03)
        assert room.value("pitch.semitones") == -1.0 and not room.desk.ramps.running()

    play(story)


def test_panic_lies_over_everything_until_it_is_taken_back(play: Play) -> None:
    async def story(room: Room) -> None:
        sent: list[float] = []
        publish = room.desk.sound._publish

        def watched(vector: Vector) -> int:
            sent.append(float(vector[INDEX["level.mute"]]))
            return publish(vector)

        room.desk.sound._publish = watched
        await room.data("RampParam", {"id": "breath.amount", "value": 1, "duration_ms": 5000})
        await room.data("Panic", {"on": True})
        assert not room.desk.ramps.running()
        await room.data("LoadPreset", {"name": "deep"})
        await room.data("SetMute", {"muted": False})
        await room.data("Undo")
        await room.batch(("SetParam", {"id": "level.mute", "value": False}))
        assert (await room.ask("RampParam", {"id": "breath.amount", "value": 1, "duration_ms": 5})).status == 703
        since = sent.index(1.0)
        assert set(sent[since:]) == {1.0}
        status = await room.data("GetStatus")
        assert (status["panic"], status["muted"]) == (True, False)
        await room.data("Panic", {"on": False})
        assert sent[-1] == 0.0
        assert room.ears.of("PanicChanged") == [{"on": True}, {"on": False}]

    play(story)


def test_a_preset_leaves_mute_as_it_is(play: Play) -> None:
    async def story(room: Room) -> None:
        assert (await room.data("ToggleMute"))["muted"] is True
        await room.data("LoadPreset", {"name": "robot"})
        assert room.value("level.mute") is True
        assert (await room.data("ListPresets"))["current"] == "robot"
        assert (await room.data("ToggleMute"))["muted"] is False
        assert (await room.data("ListPresets"))["current"] == "robot"
        assert room.ears.of("MuteChanged") == [{"muted": True}, {"muted": False}]

    play(story)


def test_a_preset_stays_the_current_one_and_is_modified_while_the_sound_differs(play: Play) -> None:
    async def story(room: Room) -> None:
        async def current() -> tuple[object, object]:
            listed = await room.data("ListPresets")
            assert (await room.data("GetStatus"))["preset_modified"] == listed["modified"]
            return listed["current"], listed["modified"]

        assert await current() == (None, False)
        await room.data("LoadPreset", {"name": "robot"})
        assert await current() == ("robot", False)
        await room.data("NudgeParam", {"id": "pitch.semitones", "by": 1})
        assert await current() == ("robot", True)
        await asyncio.sleep(0.05)
        assert room.ears.of("ParamsChanged")[-1]["preset_modified"] is True
        await room.data("Undo")
        assert await current() == ("robot", False)
        await room.data("Redo")
        await room.data("SavePreset", {"name": "mine", "label": "My robot"})
        assert await current() == ("mine", False)
        entry = {e["name"]: e for e in (await room.data("ListPresets"))["presets"]}["mine"]
        assert entry["label"] == "My robot"
        await room.data("DeletePreset", {"name": "mine"})
        assert await current() == (None, False)

    play(story)


def test_status_and_events_tell_whether_there_is_something_to_undo(play: Play) -> None:
    async def story(room: Room) -> None:
        async def steps() -> tuple[object, object]:
            status = await room.data("GetStatus")
            await asyncio.sleep(0.05)
            told = room.ears.of("ParamsChanged")
            assert not told or (told[-1]["can_undo"], told[-1]["can_redo"]) == (status["can_undo"], status["can_redo"])
            return status["can_undo"], status["can_redo"]

        assert await steps() == (False, False)
        await room.data("SetParam", {"id": "pitch.semitones", "value": 5})
        assert await steps() == (True, False)
        await room.data("Undo")
        assert await steps() == (False, True)
        await room.data("Redo")
        assert await steps() == (True, False)

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


def test_presets_are_saved_seen_changed_on_disk_and_deleted(play: Play, tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        await room.data("SetParam", {"id": "pitch.semitones", "value": 7})
        await room.data("SavePreset", {"name": "mine", "doc": "a try"})
        assert (await room.ask("SavePreset", {"name": "mine"})).status == Status.RESOURCE_ALREADY_EXISTS
        await room.data("SavePreset", {"name": "mine", "overwrite": True})
        entry = {e["name"]: e for e in (await room.data("ListPresets"))["presets"]}["mine"]
        assert entry["own"] is True and entry["values"]["pitch.semitones"] == 7.0
        (tmp_path / "presets" / "other.toml").write_text('[values]\n"breath.amount" = 0.25\n')
        await room.data("LoadPreset", {"name": "other"})
        assert room.value("breath.amount") == 0.25
        await room.data("DeletePreset", {"name": "mine"})
        assert (await room.ask("LoadPreset", {"name": "mine"})).status == Status.RESOURCE_NOT_FOUND
        assert room.ears.of("PresetListChanged")[-1]["presets"][-1] == "other"

    play(story)


def test_voices_are_listed_switched_and_blended(play: Play) -> None:
    async def story(room: Room) -> None:
        listed = await room.data("ListVoices")
        voices = {voice["name"]: voice for voice in listed["voices"]}
        assert set(voices) == {"dsp", "own", "silence", *PARAMS["voice.timbre"].choices}
        assert voices["own"]["available"] is False and "control.bypass" in voices["own"]["reason"]
        assert voices["puck"]["sex"] == "male" and voices["puck"]["kind"] == "neural"
        assert listed["current"]["name"] == "dsp"
        await room.data("SwitchVoice", {"name": "emma"})
        assert (await room.data("ListVoices"))["current"]["name"] == "emma"
        await room.data("BlendVoices", {"first": "heart", "second": "puck", "blend": 0.25})
        assert (await room.data("ListVoices"))["current"] == {"name": "heart", "second": "puck", "blend": 0.25}
        await room.data("SwitchVoice", {"name": "silence"})
        assert room.value("voice.name") == "silence"

    play(story)


def test_bypass_where_it_is_allowed(play: Play) -> None:
    async def story(room: Room) -> None:
        await room.data("SwitchVoice", {"name": "silence"})
        await room.data("SetBypass", {"active": True})
        assert (await room.data("GetBypass")) == {"allowed": True, "active": True, "rev": 3}
        await room.data("SetBypass", {"active": False})
        assert room.value("voice.name") == "silence"
        await room.data("LoadPreset", {"name": "natural"})
        assert [event["active"] for event in room.ears.of("BypassChanged")] == [True, False, True]

    play(story, bypass=True)


def test_changes_are_told_merged_in_their_order_and_once(play: Play) -> None:
    async def story(room: Room) -> None:
        bert = Asker(Identity("bert", Role.OPERATOR), "bert#2")
        await asyncio.sleep(0.05)
        for i in range(5):
            await room.ask("SetParam", {"id": "breath.amount", "value": i / 10})
        await room.ask("SetParam", {"values": {"breath.amount": 0.9, "formant.ratio": 1.5}}, bert)
        await room.ask("SetParam", {"id": "breath.amount", "value": 0.1})
        await asyncio.sleep(0.1)
        events = room.ears.of("ParamsChanged")
        assert len(events) <= 4
        held: dict[str, Value] = {}
        for event in events:
            held |= event["values"]
        assert held == {"breath.amount": 0.1, "formant.ratio": 1.5}
        assert ("bert#2", {"formant.ratio": 1.5}) in [(event["by"], event["values"]) for event in events]
        assert (events[-1]["by"], events[-1]["values"]) == ("anna#1", {"breath.amount": 0.1})
        assert events[-1]["rev"] == room.desk.sound.rev

    play(story)


def test_an_error_of_our_own_is_answered_too(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(room: Room) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(room.desk.presets, "refresh", broken)
        answer = await room.ask("ListPresets")
        assert answer.status == Status.GENERIC_ERROR and "ListPresets failed" in answer.comment

    play(story)
