"""The user's own voices over the protocol: listed, unlocked, spoken as, blended, in presets, refused, withdrawn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from rtvc.control.client import Control, ControlError
from rtvc.control.ctl import run as run_ctl
from rtvc.control.jobs import Jobs
from rtvc.control.wire import Status
from rtvc.engine.own_voice import OwnVoice
from rtvc.engine.timbres import built_in_timbres
from rtvc.voices import keys, live_voices
from rtvc.voices.library import Library, make_library
from rtvc.voices.live_voices import LiveVoices, nearest
from tests.rtvc.control.room import Play, Room
from tests.rtvc.control.served import Served
from tests.rtvc.voices.people import consent, person
from tests.waiting import wait_for

PASSPHRASE = "correct horse battery"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Anna (of a person), Bella (whose consent does not cover live), and nothing of the machine's user."""
    monkeypatch.setattr(keys, "SCRYPT_N", 2**10)
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "data")
    monkeypatch.setenv("RTVC_VOICES_PASSPHRASE", PASSPHRASE)
    library = make_library(tmp_path / "data" / "voices", PASSPHRASE)
    vector = np.mean([timbre.vector for timbre in built_in_timbres()], axis=0).astype(np.float32)
    library.save(person("anna", timbre=vector, home_hz=120.0))
    library.save(person("bella-w", timbre=vector, consents=(consent("Bella", uses=("files",)),)))
    library.save(person("carla", 3, timbre=vector * np.float32(0.9)))
    yield library


def test_own_voices_are_listed_with_what_refuses_them(play: Play, library: Library) -> None:
    async def story(room: Room) -> None:
        listed = await room.data("ListVoices")
        mine = {voice["name"]: voice for voice in listed["voices"] if voice["kind"] == "mine"}
        assert list(mine) == ["anna", "bella-w", "carla"] and listed["library"]["state"] == "open"
        assert mine["anna"]["available"] and mine["anna"]["doc"] == "warm and quick"
        assert "covers files, and not live" in mine["bella-w"]["reason"] and not mine["bella-w"]["available"]

    play(story)


def test_a_locked_library_says_how_to_unlock_it(play: Play, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTVC_VOICES_PASSPHRASE")

    async def story(room: Room) -> None:
        listed = await room.data("ListVoices")
        assert not [voice for voice in listed["voices"] if voice["kind"] == "mine"]
        assert listed["library"]["state"] == "locked" and "rtvc ctl unlock" in listed["library"]["reason"]
        answer = await room.ask("SwitchVoice", {"name": "anna"})
        assert answer.status == Status.CANNOT_ACT and "rtvc ctl unlock" in answer.comment
        answer = await room.ask("UnlockVoices", {"passphrase": "wrong horse battery"})
        assert answer.status == Status.CANNOT_ACT and "passphrase is wrong" in answer.comment
        await room.data("UnlockVoices", {"passphrase": PASSPHRASE})
        assert room.ears.of("VoiceListChanged") == [{}]
        await room.data("SwitchVoice", {"name": "anna"})

    play(story)


def test_an_own_voice_is_switched_to_blended_and_undone(play: Play, library: Library) -> None:
    ids = {name: library.find(name).id for name in ("anna", "carla")}

    async def story(room: Room) -> None:
        def now() -> tuple[object, str | None]:
            return room.value("voice.timbre"), room.desk.session.own.id if room.desk.session.own else None

        await room.data("SwitchVoice", {"name": "emma"})
        await room.data("SwitchVoice", {"name": "anna"})
        assert now() == ("mine", ids["anna"]) and room.value("voice.name") == "neural"
        assert room.ears.of("OwnVoiceChanged") == [{"name": "anna", "reason": "", "instead": ""}]
        assert (await room.data("ListVoices"))["current"]["name"] == "anna"
        rev = room.desk.sound.rev
        await room.data("SwitchVoice", {"name": "carla"})
        assert now() == ("mine", ids["carla"]) and room.desk.sound.rev == rev + 1
        await room.data("Undo")
        assert now() == ("mine", ids["anna"])
        await room.data("Undo")
        assert now()[0] == "emma"
        await room.data("Redo")
        await room.data("Redo")
        assert now() == ("mine", ids["carla"])
        await room.data("BlendVoices", {"first": "heart", "second": "anna", "blend": 0.3})
        assert (await room.data("ListVoices"))["current"] == {
            "name": "heart", "second": "anna", "blend": 0.3, "mine": "anna",
        }  # fmt: skip
        answer = await room.ask("BlendVoices", {"first": "carla", "second": "anna", "blend": 0.3})
        assert answer.status == Status.CANNOT_ACT and "only one of your own" in answer.comment
        used = [entry["deed"] for entry in library.audit.entries()].count("used")
        assert used == 6

    play(story)


def test_no_way_leads_around_the_consent(play: Play, library: Library) -> None:
    async def story(room: Room) -> None:
        for request, data in (
            ("SetParam", {"values": {"voice.name": "neural", "voice.timbre": "mine"}}),
            ("BlendVoices", {"first": "heart", "second": "nobody", "blend": 1}),
            ("SwitchVoice", {"name": "bella-w"}),
        ):
            answer = await room.ask(request, data)
            assert answer.status in (Status.CANNOT_ACT, Status.RESOURCE_NOT_FOUND), request
        assert room.value("voice.name") == "dsp" and room.desk.session.own is None
        await room.data("SwitchVoice", {"name": "anna"})
        await room.data("SwitchVoice", {"name": "emma"})
        library.revoke("anna")
        answers = [
            await room.ask("Undo"),
            await room.ask("SetParam", {"id": "voice.timbre", "value": "mine"}),
            await room.ask("SetParam", {"id": "voice.second", "value": "mine"}),
            *await room.batch(("SetParam", {"id": "voice.timbre", "value": "mine"})),
        ]
        for answer in answers:
            assert answer.status == Status.CANNOT_ACT and "was revoked" in answer.comment
        assert room.value("voice.timbre") == "emma" and room.desk.sound.can_undo

    play(story)


def test_presets_name_own_voices_by_id_and_load_them(play: Play, library: Library, tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        await room.data("SwitchVoice", {"name": "anna"})
        await room.data("SavePreset", {"name": "radio"})
        text = (tmp_path / "presets" / "radio.toml").read_text()
        assert f'own = "{library.find("anna").id}"' in text and "anna" not in text
        assert not (await room.data("ListPresets"))["modified"]
        await room.data("SwitchVoice", {"name": "carla"})
        assert (await room.data("ListPresets"))["modified"]
        await room.data("SwitchVoice", {"name": "dsp"})
        await room.data("LoadPreset", {"name": "radio"})
        assert (await room.data("ListVoices"))["current"]["name"] == "anna"
        (tmp_path / "presets" / "by-hand.toml").write_text(
            'own = "carla"\n[values]\n"voice.name" = "neural"\n"voice.timbre" = "mine"\n'
        )
        await room.data("LoadPreset", {"name": "by-hand"})
        assert (await room.data("ListVoices"))["current"]["name"] == "carla"
        library.erase("anna")
        answer = await room.ask("LoadPreset", {"name": "radio"})
        assert answer.status == Status.RESOURCE_NOT_FOUND and "preset 'radio': you have no voice" in answer.comment
        await room.data("SwitchVoice", {"name": "dsp"})
        await room.data("SavePreset", {"name": "plain"})
        assert "mine" not in (tmp_path / "presets" / "plain.toml").read_text()

    play(story)


def test_a_voice_brings_its_own_values_and_takes_them_along(play: Play, library: Library) -> None:
    library.save(person("soft", 3, sound={"breath.amount": 0.25, "formant.ratio": 0.9}))

    async def story(room: Room) -> None:
        await room.data("SwitchVoice", {"name": "soft"})
        assert room.value("breath.amount") == 0.25 and room.value("formant.ratio") == 0.9
        await room.data("SetParam", {"id": "formant.ratio", "value": 1.1})
        await room.data("SwitchVoice", {"name": "emma"})
        assert room.value("breath.amount") == 0.0 and room.value("formant.ratio") == 1.1

    play(story)


def test_a_job_asks_for_the_use_files(play: Play, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[OwnVoice | None] = []
    monkeypatch.setattr(Jobs, "start", lambda self, *given: started.append(given[-1]) or _NamedJob())

    async def story(room: Room) -> None:
        job = {"kind": "convert", "input": "in.wav", "output": "out.wav"}
        await room.data("SwitchVoice", {"name": "anna"})
        await room.data("StartJob", job)
        assert started[-1] and started[-1].id == library.find("anna").id
        assert [entry["detail"] for entry in library.audit.entries()][-1] == {"use": "files"}
        library.revoke("anna")
        assert (await room.ask("StartJob", job)).status == Status.CANNOT_ACT

    play(story)


class _NamedJob:
    job = "convert-1"


def test_one_that_is_revoked_while_it_speaks_is_withdrawn_and_told(play: Play, library: Library) -> None:
    async def story(room: Room) -> None:
        room.desk.open()
        await room.data("SwitchVoice", {"name": "anna"})
        assert await asyncio.to_thread(room.desk.voices.check) is None
        library.revoke("anna")
        withdrawn = await asyncio.to_thread(room.desk.voices.check)
        assert withdrawn and withdrawn.name == "anna" and "was revoked" in withdrawn.reason
        assert room.desk.session.own is None
        await asyncio.sleep(0.05)
        assert room.value("voice.timbre") == withdrawn.instead != "mine" and room.value("voice.name") == "neural"
        assert room.ears.of("OwnVoiceChanged")[-1] == {
            "name": None, "reason": withdrawn.reason, "instead": withdrawn.instead,
        }  # fmt: skip
        assert room.ears.of("ParamsChanged")[-1]["values"] == {"voice.timbre": withdrawn.instead}

    play(story)


def test_the_watch_notices_by_itself(still: Served, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_voices, "WATCH_S", 0.05)
    with LiveVoices(still.session) as voices, still.control() as control:
        told: list[str] = []
        still.desk.voices._session.set_own(voices.take("anna"))
        voices.withdrawn = lambda withdrawn: told.append(withdrawn.reason)
        library.erase("anna")
        wait_for(lambda: told, "the end of anna")
        assert told == ["the voice was erased"] and still.session.own is None
        assert control.status()["state"] == "stopped"


def test_consent_that_ends_with_the_day_is_noticed_without_a_change_on_disk(
    still: Served, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtvc.voices import library as module

    voices = LiveVoices(still.session)
    still.session.set_own(voices.take("anna"))
    assert voices.check() is None
    tomorrow = module.today().replace(year=module.today().year + 1)
    monkeypatch.setattr(module, "today", lambda: tomorrow)
    withdrawn = voices.check()
    assert withdrawn and "ended on" in withdrawn.reason


def test_neither_names_nor_passphrases_get_into_the_log(still: Served, library: Library) -> None:
    anna = library.find("anna").id
    with still.control() as control:
        with pytest.raises(ControlError):
            control.request("SwitchVoice", {"name": "carla-secret"})
        control.request("ListVoices")
        control.switch_voice("anna")
        control.request("UnlockVoices", {"passphrase": PASSPHRASE})
        control.request("BlendVoices", {"first": "anna", "second": "heart", "blend": 0.5})
        with pytest.raises(ControlError):
            control.set({"voice.timbre": "anna"})
        control.request("SavePreset", {"name": "radio"})
    still.audit.close()
    text = still.audit.path.read_text()
    assert "anna" not in text.replace("annamm", "") and "carla" not in text and PASSPHRASE not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["data"] for line in lines][:4] == [
        {"name": "?"}, {"name": anna}, None, {"first": anna, "second": "heart", "blend": 0.5},
    ]  # fmt: skip
    presets = "".join(path.read_text() for path in (still.folder / "presets").glob("*.toml"))
    assert anna in presets and "anna" not in presets.replace(anna, "")


def test_ctl_lists_switches_and_unlocks(
    still: Served, library: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtvc.cli import main

    assert main(["ctl", "--url", still.url, "unlock"]) == 0
    assert main(["ctl", "--url", still.url, "voice", "anna"]) == 0
    capsys.readouterr()
    assert main(["ctl", "--url", still.url, "voice"]) == 0
    out = capsys.readouterr().out
    assert "current              anna" in out and "warm and quick" in out and "not live" in out
    assert run_ctl.__doc__
    with Control(still.url) as control:
        assert control.get("voice.timbre") == "mine"


def test_the_nearest_built_in_voice_steps_in(library: Library) -> None:
    low, high = library.find("anna").spoken, library.find("carla").spoken
    assert nearest(low) in ("michael", "puck", "fenrir", "george")
    assert nearest(high) in ("heart", "bella", "sarah", "emma")
