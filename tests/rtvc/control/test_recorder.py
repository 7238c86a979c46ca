"""A recording holds what came, keeps its length, and ends well when the disk does not."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtvc.audio.files import AudioFileError
from rtvc.control import recorder as module
from rtvc.control.recorder import Recorder
from tests.rtvc.control.served import tone
from tests.waiting import wait_for

Usage = namedtuple("Usage", "total used free")


class Ended:
    def __init__(self) -> None:
        self.reasons: list[str | None] = []

    def __call__(self, reason: str | None) -> None:
        self.reasons.append(reason)


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_what_came_is_in_the_file(tmp_path: Path, suffix: str) -> None:
    ended, y = Ended(), tone(1.0)
    recorder = Recorder(tmp_path / "new" / f"out.{suffix}", ended)
    for start in range(0, len(y), 2400):
        recorder.add(y[start : start + 2400], start + 2400 + 777)
    assert not recorder.path.exists()
    recorder.stop()
    recorder.stop()
    assert ended.reasons == [None]
    found, rate_hz = soundfile.read(recorder.path, dtype="float32")
    assert rate_hz == 48000 and recorder.seconds == 1.0
    assert np.abs(found - y).max() < 1e-4


def test_lost_time_becomes_silence(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.wav", Ended())
    recorder.add(np.ones(100, np.float32), 100)
    recorder.add(np.ones(100, np.float32), 250)
    recorder.add(np.ones(100, np.float32), 100)  # a new engine's clock
    recorder.stop()
    found, _ = soundfile.read(recorder.path)
    assert len(found) == 350 and not found[100:150].any() and found[150:].all()


def test_a_disk_that_fills_up_ends_it_with_the_file_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Ended()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(1, 1, 1000))
    recorder = Recorder(tmp_path / "out.flac", ended)
    recorder.add(np.zeros(2400, np.float32), 2400)
    wait_for(lambda: ended.reasons, "its end")
    assert "ended and saved" in str(ended.reasons[0]) and "free some space" in str(ended.reasons[0])
    assert soundfile.info(recorder.path).frames == 2400
    recorder.add(np.zeros(2400, np.float32), 4800)
    recorder.stop()


def test_a_disk_that_is_full_ends_it_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, x: object) -> None:
        raise AudioFileError("out.flac: writing stopped; is the disk full?")

    ended = Ended()
    monkeypatch.setattr(module.AudioWriter, "write", refuse)
    recorder = Recorder(tmp_path / "out.flac", ended)
    recorder.add(np.zeros(2400, np.float32), 2400)
    wait_for(lambda: ended.reasons, "its end")
    assert "is the disk full" in str(ended.reasons[0])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    for name in ("out.mp3", "out"):
        with pytest.raises(AudioFileError, match="cannot write"):
            Recorder(tmp_path / name, Ended())
    (tmp_path / "out.flac").write_text("")
    with pytest.raises(AudioFileError, match="exists"):
        Recorder(tmp_path / "out.flac", Ended())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioFileError, match="this folder cannot be made"):
        Recorder(tmp_path / "file" / "out.flac", Ended())
