from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtvc.engine.speaker_pitch import (
    ADULTS,
    ADULTS_DEVIATION,
    BEGIN,
    BEGIN_S,
    CENTRE_S,
    GLIDE_S,
    HIGHEST_HZ,
    LOWEST_HZ,
    MODE_NOTE,
    MODE_ROBOT,
    MODE_SHIFT,
    MODE_TARGET,
    SETTLE_S,
    SPEECH_DEVIATION,
    SPEECH_S,
    SpeakerPitch,
)

TICK_S = 0.005
MAN_HZ, WOMAN_HZ = np.exp(ADULTS)


def speaker(*parts: tuple[float, float]) -> SpeakerPitch:
    """Return a tracker that has heard each (F0, seconds)."""
    pitch = SpeakerPitch(TICK_S)
    for own_hz, seconds in parts:
        for _ in range(round(seconds / TICK_S)):
            pitch.observe(own_hz)
    return pitch


def test_before_a_word_the_centre_is_the_usual_one() -> None:
    assert speaker().centre_hz() == pytest.approx(np.sqrt(MAN_HZ * WOMAN_HZ))
    assert speaker((0.0, 5.0)).centre_hz() == speaker().centre_hz()


def test_the_first_note_is_weighed_against_what_adults_voices_are() -> None:
    high = np.exp(BEGIN)  # as people begin
    assert MAN_HZ < speaker((140.0 * high, BEGIN_S)).centre_hz() < 140.0
    assert 190.0 < speaker((190.0 * high, BEGIN_S)).centre_hz() < WOMAN_HZ


@pytest.mark.parametrize(("own_hz", "usual_hz"), [(70.0, MAN_HZ), (300.0, WOMAN_HZ), (400.0, WOMAN_HZ)])
@pytest.mark.parametrize("seconds", [0.1, SETTLE_S, 30.0])
def test_who_is_unlike_all_is_believed_by_how_much_was_heard(own_hz: float, usual_hz: float, seconds: float) -> None:
    """Two normal distributions: what the usual centre still weighs is the share of its precision (Bayes)."""
    precision, heard = ADULTS_DEVIATION**-2, seconds / SPEECH_S * SPEECH_DEVIATION**-2
    mean_hz = own_hz * np.exp(-BEGIN * min(1.0, BEGIN_S / seconds))
    expected = mean_hz * (usual_hz / mean_hz) ** (precision / (precision + heard))
    assert 12 * abs(np.log2(speaker((own_hz, seconds)).centre_hz() / expected)) < 0.1


def test_the_first_seconds_count_fully() -> None:
    heard = 100 * 2 ** np.random.default_rng(0).uniform(-0.5, 0.5, 1000)
    pitch = SpeakerPitch(TICK_S)
    for own_hz in heard:
        pitch.observe(own_hz)
        pitch.observe(0.0)  # unvoiced ticks count for nothing
    levels = np.log(heard) - BEGIN * (np.cumsum(np.full(len(heard), TICK_S)) <= BEGIN_S)
    assert pitch.log_mean == pytest.approx(levels.mean())
    assert pitch.log_centre == pytest.approx(levels.mean(), abs=0.02)


def test_the_centre_makes_no_melody_of_its_own() -> None:
    """A melody around one note: less of it is lost to the centre than to a running mean, and none by leaps."""
    melody = np.log(130.0) + 0.25 * np.sin(np.arange(400) * TICK_S * 2 * np.pi * 0.7)
    pitch, centres = SpeakerPitch(TICK_S), []
    for own in melody:
        pitch.observe(float(np.exp(own)))
        centres.append(pitch.log_centre)
    mean = np.cumsum(melody) / np.arange(1, 401)
    assert np.corrcoef(melody, melody - centres)[0, 1] > np.corrcoef(melody, melody - mean)[0, 1] + 0.02
    assert np.abs(np.diff(centres[round(SETTLE_S / TICK_S) :])).max() < 0.005


def test_later_the_centre_follows_with_its_time_constants() -> None:
    moved = np.log2(speaker((100.0, 60.0), (200.0, CENTRE_S)).centre_hz() / 100.0)
    lag = CENTRE_S * np.exp(-1) - GLIDE_S * np.exp(-CENTRE_S / GLIDE_S)
    assert moved == pytest.approx(1 - lag / (CENTRE_S - GLIDE_S), abs=0.01)


def test_reset_forgets_the_speaker() -> None:
    pitch = speaker((300.0, 10.0))
    pitch.reset()
    pitch.observe(100.0)
    assert pitch.centre_hz() == speaker((100.0, TICK_S)).centre_hz()


@given(own_hz=st.floats(60, 500), semitones=st.floats(-12, 12))
def test_shift_moves_every_pitch_by_its_semitones(own_hz: float, semitones: float) -> None:
    wanted = speaker((150.0, 1.0)).wanted_hz(own_hz, MODE_SHIFT, semitones, 999.0, 1.0)
    assert 12 * np.log2(wanted / own_hz) == pytest.approx(semitones) or wanted in (LOWEST_HZ, HIGHEST_HZ)


@pytest.mark.parametrize("semitones", [0.0, 3.0])
def test_target_brings_the_centre_to_the_wanted_pitch_and_keeps_the_melody(semitones: float) -> None:
    pitch = speaker((120.0, 3.0))
    centre_hz = pitch.centre_hz()
    at_centre = pitch.wanted_hz(centre_hz, MODE_TARGET, semitones, 200.0, 1.0)
    assert at_centre == pytest.approx(200.0 * 2 ** (semitones / 12))
    assert pitch.wanted_hz(1.5 * centre_hz, MODE_TARGET, semitones, 200.0, 1.0) == pytest.approx(1.5 * at_centre)


@pytest.mark.parametrize("intonation", [0.0, 0.5, 1.0, 2.0])
def test_intonation_scales_the_melody_around_the_centre(intonation: float) -> None:
    pitch = speaker((120.0, 3.0))
    wanted = pitch.wanted_hz(150.0, MODE_SHIFT, 0.0, 200.0, intonation)
    assert np.log2(wanted / pitch.centre_hz()) == pytest.approx(intonation * np.log2(150.0 / pitch.centre_hz()))


@pytest.mark.parametrize("mode", [MODE_NOTE, MODE_ROBOT])
@pytest.mark.parametrize("own_hz", [0.0, 80.0, 400.0])
def test_note_and_robot_are_one_pitch_whatever_is_said(mode: int, own_hz: float) -> None:
    assert speaker((120.0, 3.0)).wanted_hz(own_hz, mode, 12.0, 110.0, 2.0) == pytest.approx(220.0)


@given(
    own_hz=st.floats(30, 1500),
    mode=st.integers(0, 3),
    semitones=st.floats(-24, 24),
    target_hz=st.floats(50, 800),
    intonation=st.floats(0, 2),
)
def test_no_setting_leaves_the_range_that_can_sound(
    own_hz: float, mode: int, semitones: float, target_hz: float, intonation: float
) -> None:
    wanted = speaker((90.0, 0.5)).wanted_hz(own_hz, mode, semitones, target_hz, intonation)
    assert LOWEST_HZ <= wanted <= HIGHEST_HZ


def test_formants_may_follow_the_centre_in_octaves() -> None:
    pitch = speaker((100.0, 3.0))
    assert pitch.shift_octaves(MODE_SHIFT, 6.0, 400.0) == pytest.approx(0.5)
    for mode in (MODE_TARGET, MODE_NOTE, MODE_ROBOT):
        assert pitch.shift_octaves(mode, 6.0, 4 * pitch.centre_hz()) == pytest.approx(2.5)
