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
    (tmp_path / "metadata.csv").write_text("a|In 1872|\nb|In 1873|  \nc|In 1874\nd||\n")
    assert [one.text for one in read_corpus(tmp_path)] == ["In 1872", "In 1873", "In 1874", ""]
    (tmp_path / "metadata.csv").write_text("a|b\nno bar in it\n")
    with pytest.raises(TrainingError, match=r"metadata\.csv, line 2: .*no bar in it"):
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


@pytest.mark.parametrize("name", ["1-2.trans.txt", "metadata.csv", "index.tsv", "a.txt"])
def test_text_that_is_not_utf_8_is_refused_with_file_and_line(name: str, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(0.5, 16000))
    (tmp_path / name).write_bytes("1-2-0000 OH|x\n1-2-0001 HÉ|x\n".encode("latin-1"))
    with pytest.raises(TrainingError, match=rf"{name}, line 2: the byte 0xc9 is not UTF-8"):
        list(read_corpus(tmp_path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.flac\ttwo\tten\t5", "start_sample is 'ten', not a whole number"),
        ("a.flac\ttwo\t0\t1.5", "n_samples is '1.5', not a whole number"),
        ("a.flac\ttwo\t-1\t5", "start_sample is '-1', not a whole number from 0 on"),
        ("a.flac\ttwo\t0", "has no n_samples"),
    ],
)
def test_a_bad_cell_of_a_pack_is_refused_with_file_and_line(row: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "index.tsv").write_text(f"file\tutt\tstart_sample\tn_samples\na.flac\tone\t0\t5\n\n{row}\n")
    with pytest.raises(TrainingError, match=rf"index\.tsv, line 4: {said}"):
        list(read_corpus(tmp_path))


def test_bad_cells_and_labels_of_renditions_are_refused_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "shard00").mkdir()
    labels = {f"{name}7": np.ones(2) for name in ("tok", "dur", "f0_", "en0_")}
    np.savez(tmp_path / "shard00" / "labels.npz", **labels)  # type: ignore[arg-type]
    for row, said in (
        ("7\t0\t9\tHi.\ta\tnan", "f0_scale0 is 'nan', not a number"),
        ("7\tx\t9\tHi.\ta\t1", "start_sample is 'x'"),
        ("8\t0\t9\tHi.\ta\t1", "labels.npz has no tok8, dur8, f0_8, en0_8"),
    ):
        head = "k\tstart_sample\tn_samples\ttext\ttimbre0\tf0_scale0"
        (tmp_path / "shard00" / "index.tsv").write_text(f"{head}\n{row}\n")
        with pytest.raises(TrainingError, match=rf"index\.tsv, line 2: {said}"):
            list(read_corpus(tmp_path))
    (tmp_path / "shard00" / "labels.npz").write_bytes(b"PK")
    with pytest.raises(TrainingError, match=r"labels\.npz: cannot be read"):
        list(read_corpus(tmp_path))


def test_the_command_line_offers_every_layout() -> None:
    assert set(NAMES) == set(LAYOUTS)
