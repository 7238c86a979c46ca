"""An own voice in a live session with a real engine process: spoken, changed, marked, replayed bit for bit."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from rtvc.cli import main
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from rtvc.engine.replay import own_voices
from rtvc.flight_bundle import read_bundle, write_bundle
from rtvc.provenance.detect import RATE_HZ as DETECT_HZ
from rtvc.provenance.detect import best_of
from rtvc.provenance.payload import TOOL_LIVE, number_of_voice
from rtvc.voices import keys
from rtvc.voices.library import Library, make_library
from tests.rtvc.engine.recorded import speech
from tests.rtvc.engine.studio import RATE_HZ, Studio
from tests.rtvc.engine.test_own_voice import ANNA, BELLA, MINE, NEURAL
from tests.rtvc.voices.people import person
from tests.waiting import wait_for

PASSPHRASE = "correct horse battery"


def applied(session: LiveSession, rev: int) -> None:
    wait_for(lambda: (session.applied() or (0, 0))[0] >= rev, "the engine's answer")


def test_the_engine_takes_the_voice_out_of_the_slot_and_keeps_it_over_a_crash() -> None:
    studio = Studio(source=speech(60.0))
    with LiveSession(studio, to_vector(MINE), "fast", own=ANNA) as session:
        studio.await_sound(1.0)
        session.set_own(BELLA)
        studio.await_sound(1.0)
        assert session.engine_pid
        os.kill(session.engine_pid, signal.SIGKILL)
        wait_for(lambda: session.status().engine_restarts == 1 and session.status().state == "running", "a new engine")
        studio.await_sound(1.0)
        session.withdraw_own("george")
        studio.await_sound(1.0)
        flight = session.read_flight()
        assert session.own is None and session.status().neural == "speaks"
    assert flight and own_voices(flight) == {ANNA.id, BELLA.id}
    told = [state.table["made_as"]["own"] for state in flight.states]
    assert told[0] == ANNA.id and BELLA.id in told
    session.start()  # and once more, with nobody in the slot
    try:
        studio.await_sound(0.3)
    finally:
        session.stop()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(keys, "SCRYPT_N", 2**10)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("RTVC_VOICES_PASSPHRASE", PASSPHRASE)
    library = make_library(tmp_path / "data" / "rtvc" / "voices", PASSPHRASE)
    library.save(person("anna", timbre=ANNA.timbre.vector, home_hz=ANNA.timbre.home_hz))
    library.save(person("bella-w", timbre=BELLA.timbre.vector, home_hz=BELLA.timbre.home_hz))
    return library


def test_a_marked_session_is_replayed_bit_for_bit_with_the_library_and_refused_without(
    tmp_path: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    anna, bella = library.find("anna"), library.find("bella-w")
    studio = Studio(source=speech(60.0))
    with LiveSession(studio, to_vector(MINE), "fast", own=anna.spoken) as session:
        studio.await_sound(13.0)  # long enough to be read, and for a state in the middle
        session.set_own(bella.spoken)
        applied(session, session.set(to_vector(MINE | {"pitch.semitones": 2})))
        studio.await_sound(1.0)
        applied(session, session.set(to_vector(NEURAL)))
        studio.await_sound(1.0)
        flight = session.read_flight()
        status = dataclasses.asdict(session.status())
    assert flight
    heard = studio.heard()[RATE_HZ : 13 * RATE_HZ : RATE_HZ // DETECT_HZ]  # aliased, which the search stands
    found = best_of([np.ascontiguousarray(heard[start : start + 10 * DETECT_HZ]) for start in (0, 2 * DETECT_HZ)])
    assert found.payload and (found.payload.tool, found.payload.voice) == (TOOL_LIVE, number_of_voice(anna.id))
    path = tmp_path / "flight.zip"
    write_bundle(path, flight, "a test", status)
    bundle = read_bundle(path)
    assert own_voices(bundle.flight) == {anna.id, bella.id}
    raw = b"".join(state.data for state in bundle.flight.states)
    for profile in (anna, bella):
        assert all(profile.timbre[at : at + 4].tobytes() not in raw for at in range(124))
    assert main(["replay", str(path)]) == 0, capsys.readouterr()
    assert "the same, bit for bit" in capsys.readouterr().out
    library.revoke("anna")
    assert main(["replay", str(path)]) == 1
    assert "was revoked" in capsys.readouterr().err
    library.erase("bella-w")
    library.erase("anna")
    assert main(["replay", str(path)]) == 1
    assert "without the voice it cannot be replayed: you have no voice" in capsys.readouterr().err


def test_the_mark_follows_who_speaks_and_what_was_asked() -> None:
    def says(values: dict[str, object], watermark: bool | None = None) -> int | None:
        session = LiveSession(Studio(source=speech(20.0)), to_vector(values), "fast", own=ANNA, watermark=watermark)  # type: ignore[arg-type]
        with session:
            return None if session._own.mark is None else session._own.mark >> 17 & 0xFFF

    assert says({}) is None
    assert says({}, True) == 0
    assert says(dict(MINE)) == number_of_voice(ANNA.id)
    assert says(dict(MINE), False) is None
