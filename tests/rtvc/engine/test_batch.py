"""Many files: what becomes what, errors that stop only their own file, and a cancel that leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtvc.audio.files import AudioFileError
from rtvc.engine.batch import Job, convert_many, plan_jobs


def sound(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    x = 0.1 * np.sin(np.arange(round(48000 * seconds)) * 0.02)
    soundfile.write(path, x, 48000)
    return path


def test_one_file_goes_to_the_name_given(tmp_path: Path) -> None:
    assert plan_jobs([tmp_path / "a.wav"], tmp_path / "b.flac") == [Job(tmp_path / "a.wav", tmp_path / "b.flac")]


def test_one_file_into_a_folder_keeps_its_name(tmp_path: Path) -> None:
    jobs = plan_jobs([tmp_path / "a.flac"], tmp_path)
    assert jobs == [Job(tmp_path / "a.flac", tmp_path / "a.flac")]


def test_a_folder_keeps_its_tree_and_leaves_out_what_is_no_audio(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.wav", "deep/b.FLAC", "deep/er/c.mp3", "notes.txt", ".hidden/d.wav", "deep/.e.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    targets = {job.source.name: job.target for job in plan_jobs([folder], out)}
    assert targets == {"a.wav": out / "a.wav", "b.FLAC": out / "deep/b.FLAC", "c.mp3": out / "deep/er/c.wav"}
    assert {job.target.suffix for job in plan_jobs([folder], out, ".ogg")} == {".ogg"}


def test_an_output_folder_inside_the_input_is_not_converted_again(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "a.wav").touch()
    (tmp_path / "out" / "a.wav").touch()
    assert [job.source for job in plan_jobs([tmp_path], tmp_path / "out")] == [tmp_path / "a.wav"]


def test_two_inputs_for_one_output_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.mp3").touch()
    with pytest.raises(AudioFileError, match=r"a\.mp3 and .*a\.wav would both become"):
        plan_jobs([tmp_path], tmp_path / "out")


def test_a_folder_without_audio_and_a_file_as_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(AudioFileError, match="no audio file in this folder"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(AudioFileError, match="is a file; several inputs need a folder"):
        plan_jobs([tmp_path / "a.wav", tmp_path / "b.wav"], tmp_path / "file")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_file_stops_no_other(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "in"
    sound(folder / "a.wav")
    (folder / "b.wav").write_text("no sound")
    sound(folder / "deep/c.wav")
    seen: list[tuple[int, float]] = []
    jobs = plan_jobs([folder], tmp_path / "out")
    outcomes = convert_many(jobs, workers=workers, progress=lambda done, fraction: seen.append((done, fraction)))
    assert [outcome.job for outcome in outcomes] == jobs
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert "not an audio file" in str(outcomes[1].error)
    assert seen[-1] == (3, 1.0)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.wav", "c.wav"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cancel_ends_the_work_and_leaves_nothing_half_written(tmp_path: Path, workers: int) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for i in range(3):
        sound(folder / f"{i}.wav", 60.0)

    def interrupt(_done: int, fraction: float) -> None:
        if fraction > 0.01:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_many(plan_jobs([folder], out), workers=workers, progress=interrupt)
    assert not list(out.iterdir())
