"""Recordings make a voice only if they are good, enough, and all of one person: judged by the real speaker encoder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from rtvc.voices.enrol import Recording, check_enrolment, profile_of, read_enrolment
from rtvc.voices.errors import VoiceError
from rtvc.voices.recording_check import read_recording
from rtvc.voices.speaker import Speaker
from tests.rtvc.voices.people import consent


def voice(name: str) -> Recording:
    return read_recording(Path(str(resources.files("rtvc.models"))) / "weights" / "voices" / f"{name}.ogg")


def halves(name: str) -> tuple[Recording, Recording]:
    samples, rate_hz = voice(name)
    middle = len(samples) // 2
    return (samples[:middle], rate_hz), (samples[middle:], rate_hz)


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker()


def test_a_person_in_two_recordings_is_one(speaker: Speaker) -> None:
    first, second = halves("george")
    done: list[float] = []
    assert check_enrolment([("a", first), ("b", second)], speaker, (), done.append) == pytest.approx(10.7, abs=0.3)
    assert done == [0.0, 0.5]


@pytest.mark.parametrize("stranger", [0, 1, 2])
def test_another_persons_recording_is_named_wherever_it_is(speaker: Speaker, stranger: int) -> None:
    found = [("a.wav", part) for part in halves("heart")]
    found.insert(stranger, ("stranger.wav", halves("michael")[0]))
    with pytest.raises(VoiceError) as refused:
        check_enrolment(found, speaker)
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 1
    assert lines[0].startswith("  stranger.wav: somebody else than in the other recordings seems to speak (likeness 0.")


def test_all_faults_are_told_at_once(speaker: Speaker) -> None:
    (samples, rate_hz), good = halves("heart")
    found = [
        ("clipped.wav", (np.clip(samples, -0.02, 0.02) * 20, rate_hz)),
        ("short.wav", (samples[:rate_hz], rate_hz)),
        ("good.wav", good),
    ]
    with pytest.raises(VoiceError) as refused:
        check_enrolment(found, speaker, ["gone.wav: does not exist"])
    text = str(refused.value)
    assert "\n  gone.wav: does not exist\n  clipped.wav: " in text
    assert "turn the microphone down" in text
    assert "\n  short.wav: " in text
    assert "good.wav" not in text
    with pytest.raises(VoiceError, match=r"\d\.\d s of speech in all are too little; record 10 s"):
        check_enrolment([("good.wav", good)], speaker)
    with pytest.raises(VoiceError, match=r"^no voice can be made of this:\n  gone\.wav"):
        check_enrolment([], speaker, ["gone.wav: does not exist"])


def test_more_than_ten_minutes_are_not_read_on(speaker: Speaker, tmp_path: Path) -> None:
    import soundfile

    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(601 * 8000, np.int16), 8000)
    found, faults = read_enrolment([tmp_path / "gone.wav", tmp_path / "a.wav", tmp_path / "b.wav"])
    assert [name for name, _ in found] == [str(tmp_path / "a.wav")]
    assert "gone.wav" in faults[0]
    with pytest.raises(VoiceError, match="10 min is the most: give the best"):
        check_enrolment(found, speaker, faults)


def test_the_voice_is_what_is_heard(speaker: Speaker) -> None:
    recordings = list(halves("heart"))
    record = consent()
    made = profile_of("anna", recordings, [record], speaker, "warm", "private", "enrolled from 10 s of speech")
    heard = speaker.hear(*voice("heart"))
    assert made.consents == (record,)
    assert (made.doc, made.licence, made.source) == ("warm", "private", "enrolled from 10 s of speech")
    assert made.embedding is not None
    assert float(made.embedding @ heard.embedding) > 0.99
    assert float(np.linalg.norm(made.embedding)) == pytest.approx(1.0, abs=1e-3)
    assert made.home_hz == made.statistics["f0_median_hz"] == pytest.approx(188.0, abs=5.0)
    assert set(made.statistics) == {
        "f0_median_hz", "f0_low_hz", "f0_high_hz", "f1_hz", "f2_hz", "f3_hz", "syllables_per_s", "loudness_lufs",
    }  # fmt: skip
