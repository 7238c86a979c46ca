"""`rtvc voices enrol` from recordings to a voice: real speech and the real speaker encoder; words are heard as told."""

from __future__ import annotations

import builtins
import dataclasses
import json
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import soundfile

from rtvc.cli import main
from rtvc.voices import consent_check, recogniser, spoken_consent
from rtvc.voices.consent_check import Challenge
from rtvc.voices.library import open_library
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import Samples, read_recording
from tests import rig
from tests.rtvc.voices.conftest import PASSPHRASE

RATE_HZ = 24000
ANNA = ("--speaker", "Anna Nowak", "--purpose", "reading my letters")


def sound(path: str) -> Samples:
    samples, rate_hz = read_recording(Path(str(resources.files("rtvc.models" if "voices" in path else "rtvc"))) / path)
    assert rate_hz == RATE_HZ
    return samples


@dataclass
class Room:
    """A user at a terminal: answers are what is done, one after the other, when the program waits for Enter."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    phrases: list[str] = field(default_factory=list)
    answers: list[Callable[[], str]] = field(default_factory=list)
    late_s: float = 0.0
    mishears: bool = False

    def write(self, name: str, samples: Samples, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> Path:
        soundfile.write(self.folder / name, samples, rate_hz, subtype=subtype)
        return self.folder / name

    def says(self, samples: Samples, rate_hz: int = RATE_HZ) -> Callable[[], str]:
        def say() -> str:
            self.write("phrase.wav", samples, rate_hz)
            return ""

        return say

    def enrol(self, *words: str, code: int = 0) -> str:
        assert main(["voices", "enrol", "anna", *words]) == code
        out, error = self.capsys.readouterr()
        return str(out + error)

    def kept(self) -> list[Path]:
        return sorted(path for path in (self.folder / "data").rglob("*") if path.is_file())

    def temporary(self) -> list[str]:
        """Names in the temporary folder, without onnxruntime's own session id: a time and a random number."""
        return [path.name for path in (self.folder / "tmp").iterdir() if path.name != ".ses"]

    def input(self, prompt: str = "") -> str:
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)()

    def new_challenge(self, speaker: str, purpose: str) -> Challenge:
        challenge = consent_check.new_challenge(speaker, purpose)
        self.phrases.append(challenge.phrase)
        return dataclasses.replace(challenge, shown_at=challenge.shown_at - self.late_s)

    def words(self, speech: Samples, rate_hz: int) -> str:
        return "I agree to nothing" if self.mishears else self.phrases[-1]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Room:
    there = Room(tmp_path, capsys)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "data")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("RTVC_VOICES_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(builtins, "input", there.input)
    monkeypatch.setattr(spoken_consent, "new_challenge", there.new_challenge)
    monkeypatch.setattr(recogniser, "recogniser", lambda: there)
    return there


@pytest.fixture(scope="module")
def heart() -> Samples:
    return sound("weights/voices/heart.ogg")


@pytest.fixture(scope="module")
def fresh() -> Samples:
    """Other speech of the voice heart."""
    return sound("samples/female.flac")


@pytest.fixture
def anna(room: Room, heart: Samples) -> tuple[str, str]:
    """Two files that are enough for a voice."""
    more = np.concatenate((heart, np.zeros(RATE_HZ // 2, np.float32), sound("weights/voices/heart.ogg")[: 2 * RATE_HZ]))
    return str(room.write("a.wav", heart)), str(room.write("b.wav", more))


def consented(room: Room) -> tuple[str, ...]:
    return (*ANNA, "--consent", str(room.folder / "phrase.wav"))


def test_a_voice_is_made_and_nothing_else_is_kept(room: Room, anna: tuple[str, str], fresh: Samples) -> None:
    room.answers = [room.says(fresh)]
    text = room.enrol(*anna, *consented(room), "--doc", "warm", "--uses", "live,files,export", "--until", "2999-12-31")
    assert room.phrases[0] in text
    assert "anna: enrolled from 21 s of speech, 18" in text
    assert "rtvc live --voice anna" in text
    assert "rtvc voices adapt anna FILES" in text
    library = open_library(room.folder / "data" / "voices", lambda: PASSPHRASE)
    made = library.find("anna")
    assert made.doc == "warm"
    (given,) = made.consents
    assert (given.speaker, given.purpose, given.phrase) == ("Anna Nowak", "reading my letters", room.phrases[0])
    assert given.uses == ("live", "files", "export")
    assert given.expires.isoformat() == "2999-12-31"
    assert given.likeness > 0.85
    assert given.word_error == 0.0
    assert len(given.recording) == 64
    assert not room.temporary()
    assert {path.suffix for path in room.kept()} == {".json", ".voice", ".jsonl", ".head", ""}
    assert sum(path.stat().st_size for path in room.kept()) < 64 * 1024
    assert "exists; erase it first" in room.enrol(*anna, *consented(room), code=1)
    assert main(["voices", "show", "anna", "--json"]) == 0
    assert json.loads(room.capsys.readouterr().out)["statistics"]["f0_median_hz"] == pytest.approx(188, abs=5)


def test_a_voice_is_made_at_the_microphone(
    room: Room,
    heart: Samples,
    fresh: Samples,
    pulseaudio: rig.Server,
    inside: Callable[[rig.Server], None],
) -> None:
    pulseaudio.plug_in()
    inside(pulseaudio)

    def speak(samples: Samples) -> Callable[[], str]:
        def play() -> str:
            time.sleep(0.7)
            pulseaudio.play(at_rate(samples, RATE_HZ, rig.RATE_HZ)).wait()
            time.sleep(0.7)
            return ""

        return play

    cut = 5 * RATE_HZ // 2
    room.answers = [str, speak(np.concatenate((heart, fresh[:cut]))), str, speak(fresh[cut:])]
    text = room.enrol("--record", *ANNA)
    assert "anna: enrolled from 1" in text
    made = open_library(room.folder / "data" / "voices", lambda: PASSPHRASE).find("anna")
    assert made.consents[0].likeness > 0.85
    assert not room.temporary()


def test_who_and_what_for_are_asked(room: Room, anna: tuple[str, str], fresh: Samples) -> None:
    room.answers = [lambda: "Anna Nowak", lambda: "my letters", room.says(fresh)]
    room.enrol(*anna, "--consent", str(room.folder / "phrase.wav"))
    assert room.phrases[0].startswith("I, Anna Nowak, agree that my voice is used for my letters: ")


def test_what_was_wrong_is_told_and_three_tries_are_given(room: Room, anna: tuple[str, str], fresh: Samples) -> None:
    def mumble() -> str:
        room.mishears = True
        return room.says(fresh)()

    def speak_up() -> str:
        room.mishears = False
        return room.says(fresh)()

    room.answers = [room.says(np.zeros(5 * RATE_HZ, np.float32)), mumble, speak_up]
    text = room.enrol(*anna, *consented(room))
    assert "not accepted: the consent recording cannot be checked: 0.0 s of speech" in text
    assert "not accepted: 100% of the phrase was not heard as shown" in text
    assert "(1 left)" in text
    assert len(set(room.phrases)) == 3


def refused_consent(room: Room, files: tuple[str, str], answer: Callable[[], str]) -> str:
    room.answers = [answer] * 3
    text = room.enrol(*files, *consented(room), code=1)
    assert len(room.phrases) == 3
    assert "there is no consent, and nothing was kept" in text
    assert not room.kept()
    return text


def test_a_consent_that_does_not_hold_leaves_nothing(
    room: Room, anna: tuple[str, str], heart: Samples, fresh: Samples
) -> None:
    text = refused_consent(room, anna, room.says(heart[RATE_HZ : 7 * RATE_HZ]))
    assert "repeats a part of the enrolment" in text
    room.phrases.clear()
    text = refused_consent(room, anna, room.says(sound("weights/voices/michael.ogg")))
    assert "not spoken by the enrolled voice (likeness 0." in text
    room.phrases.clear()
    text = refused_consent(room, anna, room.says(at_rate(fresh, RATE_HZ, 8000), 8000))
    assert "8000 Hz lacks the upper half" in text
    room.phrases.clear()
    room.late_s = 601.0
    assert "shown more than 10 min ago" in refused_consent(room, anna, room.says(fresh))


def test_a_file_from_before_the_phrase_is_refused(room: Room, anna: tuple[str, str], fresh: Samples) -> None:
    def old() -> str:
        room.says(fresh)()
        os.utime(room.folder / "phrase.wav", (1.7e9, 1.7e9))
        return ""

    assert "is older than the phrase; record the words that are shown now" in refused_consent(room, anna, old)
    room.phrases.clear()
    (room.folder / "phrase.wav").unlink()
    assert "does not exist" in refused_consent(room, anna, lambda: "")


def test_an_interruption_and_an_end_of_input_leave_nothing(room: Room, anna: tuple[str, str], fresh: Samples) -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    room.answers = [interrupt]
    assert "interrupted" in room.enrol(*anna, *consented(room), code=130)
    assert "somebody must be at the terminal" in room.enrol(*anna, *consented(room), code=1)
    assert "somebody must be at the terminal" in room.enrol(*anna, code=1)
    assert not room.kept()
    assert not room.temporary()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda x: (np.zeros_like(x), RATE_HZ), "0.0 s of speech 10 dB above the noise"),
        (lambda x: (x[: 3 * RATE_HZ], RATE_HZ), "s of speech in all are too little; record 10 s"),
        (lambda x: (np.clip(x, -0.05, 0.05) * 15, RATE_HZ), "clipped; turn the microphone down"),
        (lambda x: (at_rate(x, RATE_HZ, 8000), 8000), "8000 Hz lacks the upper half of a voice"),
        (lambda x: (x + hiss(x, 12.0), RATE_HZ), "record in a quiet room"),
        (lambda x: (np.concatenate((x, sound("weights/voices/michael.ogg"))), RATE_HZ), "more than one person"),
        (lambda x: (np.where(np.arange(x.size) == 999, np.nan, x), RATE_HZ), "1 samples are no numbers (NaN"),
    ],
    ids=["silent", "short", "clipped", "8 kHz", "noisy", "two people", "NaN"],
)
def test_what_cannot_make_a_voice_is_named(
    room: Room, heart: Samples, make: Callable[[Samples], tuple[Samples, int]], reason: str
) -> None:
    samples, rate_hz = make(heart)
    path = room.write("a.wav", samples.astype(np.float32), rate_hz, "FLOAT")
    text = room.enrol(str(path), *consented(room), code=1)
    assert f"no voice can be made of this:\n  {path}: " in text or "\n  " in text
    assert reason in text
    assert not room.phrases
    assert not room.kept()


def hiss(x: Samples, snr_db: float) -> Samples:
    level = float(np.std(x)) * 10.0 ** (-snr_db / 20.0)
    return (level * np.random.default_rng(1).normal(size=x.size)).astype(np.float32)


def test_a_gigabyte_and_somebody_else_are_named_together(room: Room, anna: tuple[str, str]) -> None:
    huge = room.folder / "huge.wav"
    size = 2**30
    head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 48000, 96000, 2, 16)
    with huge.open("wb") as file:
        file.write(head + b"data" + struct.pack("<I", size))
        file.truncate(size + 44)
    other = room.write("other.wav", sound("weights/voices/michael.ogg"))
    text = room.enrol(*anna, str(huge), str(other), *consented(room), code=1)
    assert f"{huge}: 186 min long; 30 min is the most" in text
    assert f"{other}: somebody else than in the other recordings seems to speak" in text
    assert not room.kept()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "name recordings, or write --record"),
        (("a.wav", "--record"), "name recordings, or write --record"),
        (("--record", "-3"), "--record -3: must be seconds"),
        (("--record", "nan"), "--record nan: must be seconds"),
        (("a.wav", *ANNA, "--uses", "live,songs"), "uses = songs: choose of live, files, blend, export"),
        (("a.wav", *ANNA, "--until", "2020-01-01"), "expires on 2020-01-01, before it was given"),
        (("a.wav", "--speaker", "A" * 501, "--purpose", "b"), "speaker must be a line"),
        (("a.wav", "--speaker", "A", "--purpose", "b" * 480), "phrase must be a line"),
    ],
)
def test_a_wrong_command_line_is_told_before_any_work(room: Room, words: tuple[str, ...], reason: str) -> None:
    assert reason in room.enrol(*words, code=1)
    assert not room.kept()


def test_a_day_and_a_name_that_are_none(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["voices", "enrol", "anna", "a.wav", "--until", "tomorrow"])
    assert "'tomorrow' is no day; write it as 2027-12-31" in capsys.readouterr().err
    assert main(["voices", "enrol", "Anna Nowak", "a.wav"]) == 1
    assert "cannot name a voice" in capsys.readouterr().err


def test_a_short_passphrase_is_told_first(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTVC_VOICES_PASSPHRASE", "short")
    assert "at least 8 characters" in room.enrol("a.wav", *ANNA, "--passphrase", code=1)
