"""Every layout is told by what lies there and read into who says what, where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtvc.audio.files import AudioFileError
from rtvc.train import TrainingError
from rtvc.train.corpora import LAYOUTS, Clip, SoundFiles, find_layout, read_corpus, read_tsv, resampled
from rtvc.train.set_commands import LAYOUTS as NAMES


def tone(seconds: float, rate_hz: int, hz: float = 300.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def write(path: Path, x: NDArray[np.float32], rate_hz: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x, rate_hz)


def test_librispeech_is_read_and_its_capitals_are_not_spelled_out(tmp_path: Path) -> None:
    chapter = tmp_path / "train" / "19" / "198"
    write(chapter / "19-198-0000.flac", tone(1.0, 16000))
    (chapter / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n19-198-0001 GONE\n")
    assert find_layout(tmp_path) == "librispeech"
    first, second = read_corpus(tmp_path)
    assert (first.name, first.speaker, first.text) == ("19-198-0000", "19", "Northanger abbey")
    assert first.clip.path == chapter / "19-198-0000.flac"
    with pytest.raises(AudioFileError, match="19-198-0001"):
        SoundFiles().read(second.clip, 16000)


def test_ljspeech_is_read_with_its_normalised_text(tmp_path: Path) -> None:
    write(tmp_path / "wavs" / "LJ001-0001.wav", tone(1.0, 22050), 22050)
    (tmp_path / "metadata.csv").write_text('LJ001-0001|In 1872, "he" said|In eighteen seventy-two, "he" said\n')
    assert find_layout(tmp_path) == "ljspeech"
    (one,) = read_corpus(tmp_path)
    assert one.text == 'In eighteen seventy-two, "he" said'
    assert len(SoundFiles().read(one.clip, 16000)) == 16000
    (tmp_path / "metadata.csv").write_text("no bar in it\n")
    with pytest.raises(TrainingError, match="no bar in it"):
        list(read_corpus(tmp_path))


def test_a_pack_is_cut_where_its_index_says(tmp_path: Path) -> None:
    x = np.concatenate([tone(1.0, 24000, 300.0), tone(0.5, 24000, 900.0)])
    write(tmp_path / "a.flac", x, 24000)
    rows = 'a.flac\tone\t0\t24000\tHello "you"\na.flac\ttwo\t24000\t12000\t\n'
    (tmp_path / "index.tsv").write_text(f"file\tutt\tstart_sample\tn_samples\ttext\n{rows}")
    assert find_layout(tmp_path) == "pack"
    one, two = read_corpus(tmp_path)
    assert (one.text, two.text, one.speaker) == ('Hello "you"', "", "a.flac")
    files = SoundFiles()
    assert np.array_equal(files.read(two.clip, 24000), files.read(Clip(tmp_path / "a.flac"), 24000)[24000:])
    peak = np.abs(np.fft.rfft(files.read(two.clip, 16000))).argmax() * 16000 / 8000
    assert peak == pytest.approx(900, abs=4)


def test_renditions_are_read_with_their_labels(tmp_path: Path) -> None:
    shard = tmp_path / "shard00"
    for q in range(2):
        write(shard / f"r{q}.flac", tone(1.0, 24000), 24000)
    labels = {"tok7": np.array([5, 6]), "dur7": np.array([3, 10, 20, 7]), "f0_7": np.full(80, 100.0)}
    np.savez(shard / "labels.npz", en0_7=np.zeros(80), en1_7=np.ones(80), **labels)
    head = "k\tstart_sample\tn_samples\tprosody\tphones\ttext\ttimbre0\tf0_scale0\ttimbre1\tf0_scale1"
    (shard / "index.tsv").write_text(f"{head}\n7\t0\t24000\tp\tx\tHi.\taf_a\t1.5\t0.5*af_a+0.5*am_b\t0.8\n")
    assert find_layout(tmp_path) == "pairs"
    one, two = read_corpus(tmp_path)
    assert one.labels is not None and two.labels is not None
    assert (one.name, two.name, two.speaker) == ("shard00/7/0", "shard00/7/1", "0.5*af_a+0.5*am_b")
    assert (one.labels.tokens, one.labels.frames) == ([0, 5, 6, 0], [6, 20, 40, 14])
    assert (one.labels.f0_scale, two.labels.f0_scale) == (1.5, 0.8)
    assert two.labels.energy.sum() == 80


def test_a_plain_folder_is_read_with_texts_where_there_are_any(tmp_path: Path) -> None:
    write(tmp_path / "anna" / "1.wav", tone(0.5, 48000), 48000)
    write(tmp_path / "ben" / "1.wav", tone(0.5, 8000), 8000)
    (tmp_path / "anna" / "1.txt").write_text("Good\nmorning.\n")
    (tmp_path / "notes.md").write_text("no sound")
    assert find_layout(tmp_path) == "folder"
    assert [(u.name, u.speaker, u.text) for u in read_corpus(tmp_path)] == [
        ("anna/1", "anna", "Good morning."),
        ("ben/1", "ben", ""),
    ]


def test_resampling_keeps_length_and_pitch() -> None:
    y = resampled(tone(1.0, 48000, 440.0), 48000, 16000)
    assert len(y) == 16000
    assert np.abs(np.fft.rfft(y)).argmax() == 440


def test_what_is_no_index_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "index.tsv").write_text("file\tutt\n")
    with pytest.raises(TrainingError, match="start_sample"):
        list(read_corpus(tmp_path))
    with pytest.raises(TrainingError, match="no such folder"):
        find_layout(tmp_path / "nothing")
    with pytest.raises(TrainingError, match=r"gone\.tsv"):
        read_tsv(tmp_path / "gone.tsv")


def test_the_command_line_offers_every_layout() -> None:
    assert set(NAMES) == set(LAYOUTS)
