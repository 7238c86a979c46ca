"""An engine that dies leaves its last minute behind, without the voice unless that was asked for."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from rtvc import crash_bundles
from rtvc.crash_bundles import CrashBundles
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from rtvc.engine.replay import replay
from rtvc.flight_bundle import read_bundle
from tests.rtvc.control.served import PLAIN, ToneDevices
from tests.waiting import wait_for


@pytest.mark.parametrize("sound", [False, True])
def test_a_killed_engine_leaves_a_bundle(sound: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = LiveSession(ToneDevices().open, to_vector(PLAIN | {"pitch.semitones": 4}))
    session.engine_failed = CrashBundles(session, sound, tmp_path / "crashes").engine_failed
    said = ""
    with session:
        wait_for(lambda: (flight := session.read_flight()) and len(flight.y) > 24_000, "half a second of sound")
        assert session.engine_pid
        os.kill(session.engine_pid, signal.SIGKILL)
        wait_for(lambda: list(tmp_path.glob("crashes/*.zip")), "a bundle")
        wait_for(lambda: session.status().state == "running", "the next engine")
        wait_for(lambda: len(flight.states) > 1 if (flight := session.read_flight()) else False, "its first state")
        after = session.read_flight()
    said = capsys.readouterr().err
    (path,) = tmp_path.glob("crashes/rtvc-crash-*.zip")
    found = read_bundle(path)
    assert "died" in found.about["reason"] and str(path) in said and "with" in said
    assert len(found.flight.blocks) > 50
    assert (len(found.flight.y) > 24_000) == sound
    if sound:
        assert replay(found.flight).differ_at is None
    assert after is not None
    assert [state.table["sample"] for state in after.states] == [0, 0], "one record over both engines"
    assert replay(replace(after, states=after.states[1:])).differ_at is None


def test_a_failing_engine_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = LiveSession(ToneDevices().open, to_vector(PLAIN))
    bundles = CrashBundles(session, False, tmp_path)
    written: list[str] = []
    monkeypatch.setattr(bundles, "_write", written.append)
    bundles.engine_failed("one")
    bundles.engine_failed("two")
    wait_for(lambda: written, "the first")
    assert written == ["one"]
    monkeypatch.undo()
    for number in range(15):
        (tmp_path / f"rtvc-crash-2020-01-{number:02}.zip").touch()
    (tmp_path / "mine.zip").touch()
    with session:
        bundles._write("three")
    assert len(list(tmp_path.glob("rtvc-crash-*.zip"))) == crash_bundles.KEPT
    assert (tmp_path / "mine.zip").exists()


def test_without_a_recorder_nothing_is_written(tmp_path: Path) -> None:
    session = LiveSession(ToneDevices().open, to_vector(PLAIN), flight=False)
    with session:
        assert session.read_flight() is None
        CrashBundles(session, True, tmp_path)._write("reason")
    assert not list(tmp_path.iterdir())
