"""`rtvc voices` as a user types it."""

from __future__ import annotations

import argparse
import json
from importlib import resources
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import soundfile

from rtvc.cli import main
from rtvc.config import ConfigError
from rtvc.engine.params import INDEX, to_vector
from rtvc.engine.timbres import built_in_timbres
from rtvc.provenance.payload import number_of_voice
from rtvc.sound_arguments import ChosenSound, add_sound_arguments, chosen_sound
from rtvc.voices import adapting_commands, commands, match
from rtvc.voices.adapt import Adapted, Score
from rtvc.voices.errors import ConsentError, VoiceError
from rtvc.voices.library import Library, make_library, open_library
from rtvc.voices.profile import Part
from tests.rtvc.voices.conftest import PASSPHRASE, KeyringInMemory
from tests.rtvc.voices.people import consent, person


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


def sound(*words: str, command: str = "convert") -> ChosenSound:
    parser = argparse.ArgumentParser()
    parser.set_defaults(command=command)
    add_sound_arguments(parser)
    return chosen_sound(parser.parse_args(words))


def test_any_own_voice_can_be_spoken_as(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no such voice; there are heart, bella"):
        sound("--voice", "mix")
    say(capsys, "blend", "mix", "heart=3", "puck=1", "emma=1")
    library = make_library_again(home)
    library.save(person(consents=(consent(uses=("live", "blend")),)))
    for name, of_a_person in (("mix", False), ("anna", True)):
        chosen = sound("--voice", name, "--pitch", "2", command="live")
        profile = library.find(name)
        assert chosen.own and (chosen.own.id, chosen.own.person) == (profile.id, of_a_person)
        assert np.array_equal(chosen.own.timbre.vector, profile.timbre) and chosen.own.timbre.home_hz == profile.home_hz
        wanted = to_vector({"voice.name": "neural", "voice.timbre": "mine", "pitch.semitones": 2})
        assert np.array_equal(chosen.values, wanted) and chosen.library
    with pytest.raises(ConsentError, match="covers live, blend, and not files"):
        sound("--voice", "anna")
    with pytest.raises(VoiceError, match="you have no voice 'ana'; there are anna"):
        sound("--voice", "ana")
    with pytest.raises(ConfigError, match="which of your own voices"):
        sound("--voice", "heart", "--set", "voice.second=mine")
    assert sound("--voice", "heart").own is None
    log = say(capsys, "audit")
    assert "used     mix use=live" in log and "refused  anna use=files" in log


def make_library_again(home: Path) -> Library:
    return open_library(home / "voices", lambda: PASSPHRASE)


def test_a_preset_holds_the_id_of_an_own_voice_and_says_when_it_is_gone(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    say(capsys, "blend", "mix", "heart=3", "puck=1")
    assert main(["presets", "save", "radio", "--voice", "mix", "--pitch", "1"]) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    mix = make_library_again(home).find("mix")
    assert f'own = "{mix.id}"' in text and "mix" not in text
    say(capsys, "rename", "mix", "evening")
    chosen = sound("--preset", "radio")
    assert chosen.own and chosen.own.id == mix.id
    assert np.array_equal(chosen.own.timbre.vector, mix.timbre)
    say(capsys, "erase", "evening")
    with pytest.raises(VoiceError, match=f"preset radio: you have no voice '{mix.id}'"):
        sound("--preset", "radio")


def test_a_file_is_converted_into_an_own_voice_and_marked_if_it_is_a_persons(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, "blend", "mix", "heart=3", "puck=1")
    library = make_library_again(home)
    vector = np.mean([timbre.vector for timbre in built_in_timbres()], axis=0)
    anna = person(timbre=vector)
    library.save(anna)
    source = home / "in.wav"
    x, rate_hz = soundfile.read(Path(commands.__file__).parents[1] / "samples" / "female.flac", dtype="float32")
    soundfile.write(source, np.resize(x, 11 * rate_hz), rate_hz)

    def converted(*words: str) -> str:
        target = home / "out.wav"
        assert main(["convert", str(source), str(target), "--force", "--latency", "fast", *words]) == 0
        capsys.readouterr()
        main(["verify", str(target)])
        return capsys.readouterr().out

    marked = f"rtvc convert, voice {number_of_voice(anna.id)} (of somebody's own library)"
    assert marked in converted("--voice", "anna")
    assert "no watermark found" in converted("--voice", "anna", "--no-watermark")
    assert "no watermark found" in converted("--voice", "mix")
    assert f"voice {number_of_voice(library.find('mix').id)}" in converted("--voice", "mix", "--watermark")
    assert f"mark       {number_of_voice(anna.id)}" in say(capsys, "show", "anna")


@pytest.mark.parametrize("verb", [(), *[(verb,) for verb in commands._VERBS]])
def test_every_verb_explains_itself(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["voices", *verb, "--help"])
    assert ended.value.code == 0
    assert f"  rtvc voices {verb[0] if verb else 'list'}" in capsys.readouterr().out


def bundled(name: str) -> Path:
    return Path(str(resources.files("rtvc.models"))) / "weights" / "voices" / f"{name}.ogg"


def test_a_recording_is_matched(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = say(capsys, "match", str(bundled("emma")), "--limit", "2")
    assert text.splitlines()[1].split()[:2] == ["emma", "1.00"] and len(text.splitlines()) == 3
    found = json.loads(say(capsys, "match", str(bundled("puck")), "--json"))
    assert found[0]["voice"] == "puck" and abs(found[0]["semitones"]) < 1.0
    assert found[0]["likeness"] > found[1]["likeness"] > found[-1]["likeness"]
    assert "--limit 0: must be 1 or more" in say(capsys, "match", str(bundled("puck")), "--limit", "0", code=1)


def breath(n: int) -> np.ndarray:
    """Return 16 kHz noise that comes and goes as whispered syllables do."""
    return (0.1 * np.random.default_rng(0).normal(size=n) * (np.arange(n) // 2400 % 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(80_000, np.float32), "0.0 s of speech are too little to know a voice by; record 1 s or more"),
        (breath(80_000), "only 0.0 s of the speech are voiced, 1 s must be; speak, do not whisper"),
        (np.full(1, 0.3, np.float32), "0.0 s of speech are too little to know a voice by; record 1 s or more"),
        (np.zeros(0, np.float32), "holds 0 frames of sound; record or copy it again"),
        (np.full(80_000, np.nan, np.float32), "80000 samples are no numbers (NaN, infinite); record or save it again"),
    ],
    ids=["silence", "whisper", "one sample", "nothing", "nan"],
)
def test_a_recording_without_voice_is_told_by_its_name(
    samples: np.ndarray,
    said: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, samples, 16_000, "FLOAT")
    monkeypatch.setattr(adapting_commands, "known_voices", lambda *_: [])
    assert f"{path}: {said}" in say(capsys, "match", str(path), code=1)
    monkeypatch.setattr(adapting_commands, "recogniser", lambda: None)
    text = say(capsys, "match", str(bundled("puck")), "--source", str(path), code=1)
    assert text.startswith(f"rtvc: {path}: ") and "; " in text and text.count("\n") == 1


def test_a_match_with_a_tuned_voice_says_what_it_is_said_with(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say(capsys, "tune", "puck", "older-puck", "--age", "1")
    found = json.loads(say(capsys, "match", str(bundled("puck")), "--json"))
    tuned, plain = (next(row for row in found if row["voice"] == name) for name in ("older-puck", "puck"))
    assert tuned["semitones"] == plain["semitones"] and "sound" not in plain
    assert tuned["sound"]["pitch.semitones"] == -3.0
    text = say(capsys, "match", str(bundled("puck")), "--limit", "2")
    assert "all without what it is said with: breath.amount 0.15, formant.ratio 0.871" in text
    assert "--pitch and --formant replace its own" in text
    # so much is what a conversion does
    assert sound("--voice", "older-puck", "--pitch", "2").values[INDEX["pitch.semitones"]] == 2.0


def test_a_stranger_is_no_match_and_is_approached(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(adapting_commands, "recogniser", lambda: None)
    monkeypatch.setattr(match, "SELF_TEST_S", 1.5)
    x, rate_hz = soundfile.read(bundled("puck"), dtype="float32")
    soundfile.write(tmp_path / "slow.wav", x, round(0.75 * rate_hz))  # a larger, lower speaker
    stranger, own = str(tmp_path / "slow.wav"), str(Path(commands.__file__).parents[1] / "samples" / "female.flac")
    assert main(["voices", "match", stranger, "--source", own, "--limit", "1"]) == 1
    text = capsys.readouterr().out
    assert "no match: the likest is" in text and "with your speech: pitch range" in text
    rounds = [line for line in text.splitlines() if line.startswith("   0.") or line.startswith("  0.")]
    assert len(rounds) == match.ROUNDS
    likeness = [float(line.split()[0]) for line in rounds]
    assert f"likest: {max(likeness):.2f}" in text


def test_a_voice_is_tuned_tried_and_left_as_it_was(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    x, rate_hz = soundfile.read(bundled("puck"), dtype="float32")
    soundfile.write(tmp_path / "me.wav", x[:rate_hz], rate_hz)
    text = say(capsys, "tune", "heart", "soft", "--softness", "0.5", "--age", "0.2", "--try", str(tmp_path / "me.wav"))
    assert "breath.amount        0.155" in text and "undo: rtvc voices erase soft" in text
    files = {path.name for path in tmp_path.glob("me-*")}
    assert files == {"me-heart.wav", "me-soft.wav", "me-soft.png"}
    assert sound("--voice", "soft").values[INDEX["breath.amount"]] == pytest.approx(0.155)
    assert sound("--voice", "soft", "--set", "breath.amount=0.5").values[INDEX["breath.amount"]] == 0.5
    assert json.loads(say(capsys, "show", "soft", "--json"))["lineage"] == [{"name": "heart", "share": 1.0, "id": ""}]
    say(capsys, "tune", "soft", "softer", "--softness", "0.2", "--set", "pitch.semitones=-1")
    assert "said with" in say(capsys, "show", "softer")
    assert "does not exist" in say(capsys, "tune", "heart", "x", "--try", str(tmp_path / "no.wav"), code=1)
    soundfile.write(tmp_path / "cut.wav", np.full(48_000, np.nan), 48_000, "FLOAT")
    said = say(capsys, "tune", "heart", "x", "--try", str(tmp_path / "cut.wav"), code=1)
    assert "48000 samples are no numbers (NaN, infinite)" in said
    (tmp_path / "me-x.png").write_bytes(b"mine")
    assert "me-x.png" in say(capsys, "tune", "puck", "x", "--try", str(tmp_path / "me.wav"), code=1)
    assert "you have no voice 'x'" in say(capsys, "show", "x", code=1)
    assert "must lie in -24..24" in say(capsys, "tune", "heart", "x", "--set", "pitch.semitones=100", code=1)
    say(capsys, "blend", "mild", "soft=1", "puck=1")
    assert json.loads(say(capsys, "show", "mild", "--json"))["sound"]["breath.amount"] == pytest.approx(0.0775)
    assert "--age 2: must lie in -1..1" in say(capsys, "tune", "heart", "x", "--age", "2", code=1)
    assert "level.mute does not belong to a voice" in say(capsys, "tune", "heart", "x", "--set", "level.mute=1", code=1)
    assert "write --set PARAM=VALUE" in say(capsys, "tune", "heart", "x", "--set", "level", code=1)
    assert "comes with the program" in say(capsys, "tune", "heart", "puck", code=1)
    assert "exists; erase it first" in say(capsys, "tune", "heart", "soft", code=1)


def test_a_voices_tempo_is_heard_in_files_and_told_of_live(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    x, rate_hz = soundfile.read(bundled("puck"), dtype="float32")
    soundfile.write(tmp_path / "me.wav", x[:rate_hz], rate_hz)
    text = say(capsys, "tune", "heart", "slow", "--tempo", "0.5", "--try", str(tmp_path / "me.wav"))
    assert "tempo                0.5 (in files; live it keeps your own)" in text
    assert [soundfile.info(tmp_path / f"me-{name}.wav").frames for name in ("heart", "slow")] == [rate_hz, 2 * rate_hz]
    assert "said with  tempo = 0.5" in say(capsys, "show", "slow")
    assert json.loads(say(capsys, "show", "slow", "--json"))["tempo"] == 0.5
    say(capsys, "tune", "slow", "soft", "--softness", "0.5")
    assert json.loads(say(capsys, "show", "soft", "--json"))["tempo"] == 0.5

    def frames(*words: str) -> int:
        target = tmp_path / "out.wav"
        assert main(["convert", str(tmp_path / "me.wav"), str(target), "--force", "--latency", "fast", *words]) == 0
        capsys.readouterr()
        return int(soundfile.info(target).frames)

    assert frames("--voice", "slow") == 2 * rate_hz
    assert frames("--voice", "slow", "--tempo", "1") == rate_hz
    assert frames("--voice", "slow", "--tempo", "1.25") == round(rate_hz / 1.25)
    live = ["live", "--simulated", "--no-control", "--seconds", "0.1", "--latency", "fast", "--voice"]
    for voice, told in (("slow", 1), ("heart", 0)):
        assert main([*live, voice]) == 0
        assert capsys.readouterr().err.count("tempo (0.5) is for files; live it keeps your own") == told
    said = say(capsys, "tune", "heart", "x", "--tempo", "3", code=1)
    assert "tempo 3: must lie in 0.5..2" in said and "you have no voice 'x'" in say(capsys, "show", "x", code=1)


def test_a_persons_tuned_voice_rests_on_the_same_consent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = make_library(home / "voices", PASSPHRASE)
    library.save(person())
    say(capsys, "tune", "anna", "older", "--age", "1")
    older = library.find("older")
    assert older.lineage == (Part("anna", 1.0, library.find("anna").id),) and not older.synthetic
    assert older.sound["pitch.semitones"] == -3.0
    say(capsys, "tune", "older", "oldest", "--age", "1")
    say(capsys, "erase", "older")
    assert [voice.name for voice in library.derived_from(library.find("anna"))] == ["oldest"]
    library.revoke("anna")
    assert "was revoked" in say(capsys, "tune", "oldest", "x", "--age", "1", code=1)


def test_the_log_tells_of_a_tried_voice_what_was_done_with_it_and_no_more(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(adapting_commands, "convert_file", lambda *_, **__: None)
    monkeypatch.setattr(adapting_commands, "picture", lambda drawing, _: drawing)
    library = make_library(home / "voices", PASSPHRASE)
    library.save(person())
    library.save(person("bert", consents=(consent(uses=("blend",)),)))

    def noted(name: str) -> list[str]:
        lines = say(capsys, "audit").splitlines()
        return [" ".join(line.split()[-3:]) for line in lines if f" {name} use=" in line]

    tried = "--try", str(bundled("puck"))
    say(capsys, "tune", "anna", "older", "--age", "1", *tried)
    assert noted("anna") == ["used anna use=blend", "used anna use=files"]
    assert noted("older") == ["used older use=files"]
    assert "covers blend, and not files" in say(capsys, "tune", "bert", "x", "--age", "1", *tried, code=1)
    assert noted("bert") == ["refused bert use=files"]


def test_adapting_tells_what_it_did(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_library(home / "voices", PASSPHRASE)
    library.save(person())
    before, after = Score(0.7, 0.5, 0.61), Score(0.8, 0.49, 0.62)
    monkeypatch.setattr(adapting_commands, "adapt", lambda *_: Adapted(before, after, 61.0, True))
    text = say(capsys, "adapt", "anna", str(bundled("puck")))
    assert "0.700 -> 0.800" in text and "0.610 -> 0.620" in text and "anna was adapted" in text
    assert "you have no voice 'bert'" in say(capsys, "adapt", "bert", str(bundled("puck")), code=1)
