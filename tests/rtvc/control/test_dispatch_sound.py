"""Requests that change the sound: undo, ramps, panic, presets, voices, bypass. No socket, no engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rtvc.control.asker import Asker
from rtvc.control.auth import Identity
from rtvc.control.sound import Vector
from rtvc.control.wire import Role, Status
from rtvc.engine.params import INDEX, TIMBRES, Value
from tests.rtvc.control.room import Play, Room


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
        assert set(voices) == {"dsp", "own", "silence", *TIMBRES} and listed["library"]["state"] == "none"
        assert voices["own"]["available"] is False and "control.bypass" in voices["own"]["reason"]
        assert voices["puck"]["sex"] == "male" and voices["puck"]["kind"] == "neural"
        assert listed["current"]["name"] == "dsp"
        await room.data("SwitchVoice", {"name": "emma"})
        assert (await room.data("ListVoices"))["current"]["name"] == "emma"
        await room.data("BlendVoices", {"first": "heart", "second": "puck", "blend": 0.25})
        current = {"name": "heart", "second": "puck", "blend": 0.25, "mine": None}
        assert (await room.data("ListVoices"))["current"] == current
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


def test_noise_suppression_that_is_not_installed_is_refused_with_what_to_install(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "suppress.on: noise suppression is not installed: pip install 'rtvc[suppress]'"
    monkeypatch.setattr("rtvc.control.sound.suppression_missing", lambda: told)

    async def story(room: Room) -> None:
        for request in ("SetParam", "ToggleParam"):
            answer = await room.ask(request, {"id": "suppress.on"} | ({"value": True} if request == "SetParam" else {}))
            assert (answer.status, answer.comment) == (Status.CANNOT_ACT, told)
        assert room.value("suppress.on") is False
        await room.data("SetParam", {"id": "suppress.on", "value": False})

    play(story)
