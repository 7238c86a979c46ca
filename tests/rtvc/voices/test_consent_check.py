"""A spoken consent is taken only if it is fresh, says the phrase, and comes from the enrolled voice itself."""

from __future__ import annotations

import dataclasses
import io
import time
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtvc.voices.consent import Consent
from rtvc.voices.consent_check import (
    REPLAY_MAX,
    WORDS,
    Challenge,
    accept_consent,
    new_challenge,
    replay_peak,
    word_error,
)
from rtvc.voices.errors import ConsentError
from rtvc.voices.recording_check import Samples, read_recording

RATE_HZ = 24000


@dataclass
class Hearer:
    """A recogniser that hears what it is told to."""

    heard: str

    def words(self, speech: Samples, rate_hz: int) -> str:
        return self.heard


@dataclass
class Ear:
    """A speaker encoder that finds the recording so like the enrolment, by their lengths."""

    likeness: float
    enrolled: int
    same_speaker: float = 0.7

    def embed(self, speech: Samples, rate_hz: int) -> np.ndarray:
        angle = 0.0 if len(speech) == self.enrolled else np.arccos(self.likeness)
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


def bundled(name: str) -> Samples:
    samples, rate_hz = read_recording(Path(str(resources.files("rtvc.models"))) / "weights" / "voices" / f"{name}.ogg")
    assert rate_hz == RATE_HZ
    return samples


@pytest.fixture(scope="module")
def heart() -> Samples:
    return bundled("heart")


def accept(
    recording: Samples, enrolment: Samples, heard: str | None = None, likeness: float = 0.9, late_s: float = 0.0
) -> Consent:
    challenge = new_challenge("Anna Nowak", "reading letters")
    challenge = dataclasses.replace(challenge, shown_at=time.monotonic() - late_s)
    heard = challenge.phrase if heard is None else heard
    ear = Ear(likeness, len(enrolment))
    return accept_consent(
        challenge, recording, enrolment, RATE_HZ, Hearer(heard), ear, "Anna Nowak", "reading letters", ("live",),
        date(2999, 1, 1),
    )  # fmt: skip


def test_a_fresh_phrase_by_the_same_voice_is_taken(heart: Samples) -> None:
    middle = len(heart) // 2
    record = accept(heart[middle + 100 :], heart[:middle])
    assert record.speaker == "Anna Nowak"
    assert record.word_error == 0.0
    assert record.likeness == pytest.approx(0.9)
    assert record.phrase.endswith(".")
    assert len(record.recording) == 64


def test_a_phrase_is_never_the_same() -> None:
    phrases = {new_challenge("A", "b").phrase for _ in range(50)}
    assert len(phrases) == 50
    assert set(new_challenge("A", "b").fresh) <= set(WORDS)


def test_what_does_not_hold_is_named(heart: Samples) -> None:
    middle = len(heart) // 2
    recording, enrolment = heart[middle + 100 :], heart[:middle]
    with pytest.raises(ConsentError, match="more than 10 min ago"):
        accept(recording, enrolment, late_s=601.0)
    with pytest.raises(ConsentError, match="100% of the phrase was not heard"):
        accept(recording, enrolment, heard="")
    with pytest.raises(ConsentError, match="was not heard as shown"):
        accept(
            recording, enrolment, heard="I, Anna Nowak, agree that my voice is used for reading letters: one two three"
        )
    with pytest.raises(ConsentError, match="not spoken by the enrolled voice"):
        accept(recording, enrolment, likeness=0.4)
    with pytest.raises(ConsentError, match="not spoken by the enrolled voice"):
        accept(recording, enrolment, likeness=float("nan"))
    with pytest.raises(ConsentError, match="record at least 3 s"):
        accept(recording[:RATE_HZ], enrolment)
    with pytest.raises(ConsentError, match="longer than 120 s"):
        accept(np.tile(recording, 30), enrolment)


def encoded(samples: Samples, form: str, subtype: str) -> Samples:
    data = io.BytesIO()
    soundfile.write(data, samples, RATE_HZ, format=form, subtype=subtype)
    data.seek(0)
    return np.asarray(soundfile.read(data, dtype="float32")[0])


@pytest.mark.parametrize("how", ["as it is", "quiet", "inverted", "noise", "vorbis", "opus", "mp3", "spliced", "room"])
def test_the_enrolment_played_again_is_refused(heart: Samples, how: str) -> None:
    clip = heart[2 * RATE_HZ + 1001 : 7 * RATE_HZ]
    rng = np.random.default_rng(1)
    if how == "quiet":
        clip = 0.2 * clip
    elif how == "inverted":
        clip = -clip
    elif how == "noise":
        clip = clip + (0.03 * np.std(clip) * rng.normal(size=clip.size)).astype(np.float32)
    elif how in ("vorbis", "opus"):
        clip = encoded(clip, "OGG", how.upper())
    elif how == "mp3":
        clip = encoded(clip, "MP3", "MPEG_LAYER_III")
    elif how == "spliced":
        clip = np.concatenate((bundled("bella")[: 3 * RATE_HZ], clip[: 3 * RATE_HZ]))
    elif how == "room":  # as much direct as reverberant sound, RT60 0.4 s
        tail = rng.normal(size=RATE_HZ // 3) * np.exp(-6.9 * np.arange(RATE_HZ // 3) / (0.4 * RATE_HZ))
        tail[0] = np.sqrt(np.sum(tail[1:] ** 2))
        clip = (0.2 * np.convolve(clip, tail)[: clip.size] / tail[0]).astype(np.float32)
    assert replay_peak(clip, heart, RATE_HZ) > 1.5 * REPLAY_MAX
    if how != "room":
        with pytest.raises(ConsentError, match="repeats a part of the enrolment"):
            accept(clip.astype(np.float32), heart)


@pytest.mark.parametrize("name", ["heart", "bella", "michael", "sarah"])
def test_other_speech_of_the_voice_is_no_replay(name: str) -> None:
    speech = bundled(name)
    middle = len(speech) // 2
    assert replay_peak(speech[middle:], speech[:middle], RATE_HZ) < 0.7 * REPLAY_MAX
    assert replay_peak(speech, bundled("emma"), RATE_HZ) < 0.7 * REPLAY_MAX
    assert replay_peak(np.zeros(RATE_HZ * 4, np.float32), speech, RATE_HZ) < REPLAY_MAX


@pytest.mark.parametrize(
    ("shown", "heard", "error"),
    [
        ("one two three four", "One, two; THREE four!", 0.0),
        ("one two three four", "one three four", 0.25),
        ("one two three four", "one two three four five", 0.25),
        ("one two three four", "one too three for", 0.5),
        ("one two", "a b c d e f", 1.0),
        ("one two", "", 1.0),
    ],
)
def test_word_errors_are_edits(shown: str, heard: str, error: float) -> None:
    assert word_error(shown, heard) == error


def test_the_statement_alone_does_not_pass_for_the_fresh_words(heart: Samples) -> None:
    middle = len(heart) // 2
    long = Challenge("word " * 60, ("walnut", "river", "candle", "tiger"), time.monotonic())
    with pytest.raises(ConsentError, match="100% of the phrase"):
        accept_consent(
            long, heart[middle + 100 :], heart[:middle], RATE_HZ, Hearer("word " * 60), Ear(0.9, middle),
            "A", "b", ("live",), date(2999, 1, 1),
        )  # fmt: skip
