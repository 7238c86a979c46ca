from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtvc.engine.speaker_pitch import (
    CENTRE_S,
    HIGHEST_HZ,
    LOWEST_HZ,
    MODE_NOTE,
    MODE_ROBOT,
    MODE_SHIFT,
    MODE_TARGET,
    START_HZ,
    SpeakerPitch,
)

TICK_S = 0.005


def speaker(*parts: tuple[float, float]) -> SpeakerPitch:
    """Return a tracker that has heard each (F0, seconds)."""
    pitch = SpeakerPitch(TICK_S)
    for own_hz, seconds in parts:
        for _ in range(round(seconds / TICK_S)):
            pitch.observe(own_hz)
    return pitch


def test_before_a_word_the_centre_is_the_usual_one() -> None:
    assert speaker().centre_hz() == pytest.approx(START_HZ)
    assert speaker((0.0, 5.0)).centre_hz() == pytest.approx(START_HZ)


def test_the_first_words_count_fully() -> None:
    assert speaker((220.0, TICK_S)).centre_hz() == pytest.approx(220.0)
    heard = 100 * 2 ** np.random.default_rng(0).uniform(-0.5, 0.5, 200)
    pitch = SpeakerPitch(TICK_S)
    for own_hz in heard:
        pitch.observe(own_hz)
        pitch.observe(0.0)  # unvoiced ticks count for nothing
    assert pitch.centre_hz() == pytest.approx(np.exp(np.log(heard).mean()))


def test_later_the_centre_follows_with_its_time_constant() -> None:
    moved = np.log2(speaker((100.0, 60.0), (200.0, CENTRE_S)).centre_hz() / 100.0)
    assert moved == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_reset_forgets_the_speaker() -> None:
    pitch = speaker((300.0, 10.0))
    pitch.reset()
    assert pitch.centre_hz() == pytest.approx(START_HZ)
    pitch.observe(100.0)
    assert pitch.centre_hz() == pytest.approx(100.0)


@given(own_hz=st.floats(60, 500), semitones=st.floats(-12, 12))
def test_shift_moves_every_pitch_by_its_semitones(own_hz: float, semitones: float) -> None:
    wanted = speaker((150.0, 1.0)).wanted_hz(own_hz, MODE_SHIFT, semitones, 999.0, 1.0)
    assert 12 * np.log2(wanted / own_hz) == pytest.approx(semitones) or wanted in (LOWEST_HZ, HIGHEST_HZ)


@pytest.mark.parametrize("semitones", [0.0, 3.0])
def test_target_brings_the_centre_to_the_wanted_pitch_and_keeps_the_melody(semitones: float) -> None:
    pitch = speaker((120.0, 3.0))
    at_centre = pitch.wanted_hz(120.0, MODE_TARGET, semitones, 200.0, 1.0)
    assert at_centre == pytest.approx(200.0 * 2 ** (semitones / 12))
    assert pitch.wanted_hz(180.0, MODE_TARGET, semitones, 200.0, 1.0) == pytest.approx(1.5 * at_centre)


@pytest.mark.parametrize("intonation", [0.0, 0.5, 1.0, 2.0])
def test_intonation_scales_the_melody_around_the_centre(intonation: float) -> None:
    pitch = speaker((120.0, 3.0))
    wanted = pitch.wanted_hz(150.0, MODE_SHIFT, 0.0, 200.0, intonation)
    assert np.log2(wanted / 120.0) == pytest.approx(intonation * np.log2(150.0 / 120.0))


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
        assert pitch.shift_octaves(mode, 6.0, 400.0) == pytest.approx(2.5)
