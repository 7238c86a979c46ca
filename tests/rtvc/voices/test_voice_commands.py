"""`rtvc voices` as a user types it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from numpy.typing import NDArray

from rtvc.cli import main
from rtvc.config import ConfigError
from rtvc.sound_arguments import add_sound_arguments, chosen_sound
from rtvc.voices import commands
from rtvc.voices.library import make_library
from tests.rtvc.voices.conftest import PASSPHRASE, KeyringInMemory
from tests.rtvc.voices.people import person


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path)
    monkeypatch.setenv("RTVC_VOICES_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("RTVC_VOICE_FILE_PASSPHRASE", "battery staple")
    return tmp_path


def say(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["voices", *words]) == code
    out, error = capsys.readouterr()
    return out if code == 0 else out + error


def test_a_blend_from_its_making_to_its_end(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "heart" in say(capsys, "list")
    assert "you have no voices" in say(capsys, "show", "mix", code=1)
    assert "heart 60%, puck 40%" in say(capsys, "blend", "mix", "heart=0.6", "puck=0.4", "--doc", "for calls")
    assert "write VOICE=WEIGHT" in say(capsys, "blend", "mix2", "heart", code=1)
    assert say(capsys, "list", "calls").startswith("mix ")
    assert json.loads(say(capsys, "list", "calls", "--json"))[0]["register"] == "middle"
    assert "60.0% heart" in say(capsys, "show", "mix")
    assert json.loads(say(capsys, "show", "mix", "--json"))["lineage"][1]["name"] == "puck"
    assert "needs no consent" in say(capsys, "consent", "mix")
    say(capsys, "rename", "mix", "calls")
    file = str(home / "calls.rtvcvoice")
    signer = say(capsys, "export", "calls", file).split("signed by ")[1].split(":")[0]
    say(capsys, "erase", "calls")
    assert "ask the sender which fingerprint" in say(capsys, "import", file, code=1)
    say(capsys, "import", file, "--signer", signer)
    assert "used     calls use=export" in say(capsys, "audit")
    assert "no terminal to ask on" in say(capsys, "erase", "--all", code=1)
    assert "name a voice, or write --all" in say(capsys, "erase", code=1)
    say(capsys, "erase", "--all", "--yes")
    assert not (home / "voices").exists()


def test_a_persons_voice_is_shown_revoked_and_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_library(home / "voices", PASSPHRASE).save(person())
    assert "Anna Nowak, until" in say(capsys, "consent", "anna")
    say(capsys, "blend", "mix", "anna=1", "heart=1")
    assert "blends: mix" in say(capsys, "revoke", "anna")
    assert "was revoked" in say(capsys, "blend", "mix2", "anna=1", code=1)
    assert "was revoked" in say(capsys, "list", "enrolled")
    assert "Anna Nowak, revoked" in say(capsys, "consent", "anna")
    assert "left, unusable: mix" in say(capsys, "erase", "anna")


def test_the_keyring_is_used_where_there_is_one(
    home: Path, capsys: pytest.CaptureFixture[str], memory_keyring: KeyringInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RTVC_VOICES_PASSPHRASE")
    say(capsys, "blend", "mix", "heart=1", "puck=1")
    assert len(memory_keyring.kept) == 1
    assert say(capsys, "show", "mix")
    say(capsys, "erase", "--all", "--yes")
    assert "no terminal to ask" in say(capsys, "blend", "mix", "heart=1", "--passphrase", code=1)


def test_a_file_that_cannot_be_trusted_is_named_and_the_rest_listed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, "blend", "mix", "heart=1", "puck=1")
    (home / "voices" / "bad.voice").write_bytes(b"x")
    text = say(capsys, "list", code=1)
    assert "mix " in text
    assert "bad.voice: not what rtvc wrote there" in text


def test_recordings_are_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = str(Path(commands.__file__).parents[1] / "samples" / "female.flac")
    assert "s of speech 10 dB above the noise; record at least 10 s" in say(capsys, "check", sample, code=1)
    assert "does not exist" in say(capsys, "check", str(home / "no.wav"), code=1)


def test_a_blend_of_two_can_be_spoken_as(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sound(*words: str) -> NDArray[np.float64]:
        parser = argparse.ArgumentParser()
        parser.set_defaults(command="convert")
        add_sound_arguments(parser)
        return chosen_sound(parser.parse_args(words))

    with pytest.raises(ConfigError, match="no such voice; there are heart, bella"):
        sound("--voice", "mix")
    say(capsys, "blend", "mix", "heart=3", "puck=1")
    mixed = sound("--voice", "heart", "--set", "voice.second=puck", "--set", "voice.blend=0.25")
    assert np.array_equal(sound("--voice", "mix"), mixed)
    assert not np.array_equal(sound("--voice", "mix", "--pitch", "2"), mixed)
    say(capsys, "blend", "three", "heart=1", "puck=1", "emma=1")
    with pytest.raises(ConfigError, match="blend of two built-in voices"):
        sound("--voice", "three")
    assert "used     mix use=files" in say(capsys, "audit")


@pytest.mark.parametrize("verb", [(), *[(verb,) for verb in commands._VERBS]])
def test_every_verb_explains_itself(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["voices", *verb, "--help"])
    assert ended.value.code == 0
    assert f"  rtvc voices {verb[0] if verb else 'list'}" in capsys.readouterr().out
