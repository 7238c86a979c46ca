"""Bad files are refused in words a user can act on; good ones survive the way through memory in blocks."""

from __future__ import annotations

import errno
import os
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtvc.audio import files
from rtvc.audio.files import AudioFileError, AudioReader, AudioWriter


def noise(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    shape = (frames, channels) if channels > 1 else frames
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def read_all(path: Path, block: int = 5000) -> tuple[NDArray[np.float32], AudioReader]:
    parts = []
    with AudioReader(path) as reader:
        out = np.zeros(block, np.float32)
        while n := reader.read(out):
            parts.append(out[:n].copy())
    return np.concatenate(parts), reader


def write_wav_promising(path: Path, data_bytes: int, promised_bytes: int) -> None:
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + promised_bytes & 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1,
                         48000, 96000, 2, 16, b"data", promised_bytes)  # fmt: skip
    path.write_bytes(header + bytes(data_bytes))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("rate_hz", [8000, 24000, 44100, 48000, 192000])
def test_what_is_written_comes_back_whole(tmp_path: Path, suffix: str, rate_hz: int) -> None:
    path, x = tmp_path / f"a{suffix}", noise(50_001)
    with AudioWriter(path, rate_hz, len(x)) as writer:
        for part in np.array_split(x, 7):
            writer.write(part)
    y, reader = read_all(path)
    assert (reader.rate_hz, reader.channels, len(y)) == (rate_hz, 1, len(x))
    if suffix != ".ogg":
        assert np.max(np.abs(y - x)) <= 2**-15
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_twenty_four_bits_stay_twenty_four_bits(tmp_path: Path) -> None:
    x = noise(1000)
    soundfile.write(tmp_path / "in.wav", x, 48000, "FLOAT")
    y, reader = read_all(tmp_path / "in.wav")
    with AudioWriter(tmp_path / "out.flac", 48000, len(y), reader.bits) as writer:
        writer.write(y)
    assert np.max(np.abs(soundfile.read(tmp_path / "out.flac")[0] - x)) <= 2**-23


def test_an_mp3_in_blocks_is_the_same_as_the_whole_mp3(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(100_000), 48000)
    whole, _ = soundfile.read(path, dtype="float32")
    y, _ = read_all(path, 777)
    assert np.array_equal(y, whole)


@pytest.mark.parametrize("channels", [2, 8, 64])
def test_channels_are_mixed_with_equal_weights_and_the_user_is_told(tmp_path: Path, channels: int) -> None:
    x = noise(20_000, channels)
    soundfile.write(tmp_path / "a.wav", x, 48000, "FLOAT")
    y, reader = read_all(tmp_path / "a.wav")
    assert np.max(np.abs(y - x.mean(axis=1, dtype=np.float64))) < 1e-7
    assert any(f"{channels} channels were mixed" in warning for warning in reader.warnings())


def test_samples_that_are_not_numbers_become_silence_and_are_counted(tmp_path: Path) -> None:
    x = noise(10_000, 2)
    x[100, 0], x[200, 1], x[9_999] = np.nan, -np.inf, np.inf
    soundfile.write(tmp_path / "a.wav", x, 48000, "FLOAT")
    y, reader = read_all(tmp_path / "a.wav")
    assert np.isfinite(y).all()
    assert reader.nonfinite == 4
    assert y[100] == x[100, 1] / 2
    assert any("4 samples that were not numbers" in warning for warning in reader.warnings())


def test_a_file_without_a_single_number_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((10_000, 2), np.nan), 48000, "FLOAT")
    with pytest.raises(AudioFileError, match=r"none of 20000 samples is a number \(NaN, infinite\); record or save"):
        read_all(tmp_path / "a.wav")


def test_one_sample_is_a_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), 48000)
    y, _ = read_all(tmp_path / "a.wav")
    assert y.tolist() == [0.5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", r"empty \(0 bytes\)"),
        ("text.wav", b"Dear diary, today I recorded nothing.\n" * 40, "not an audio file"),
        ("text.mp3", b"Dear diary, today I recorded nothing.\n" * 40, "not an audio file"),
        ("headless.raw", bytes(1000), "not an audio file"),
        ("riff.wav", b"RIFF", "not an audio file"),
    ],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioFileError, match=rf"{name}.*{message}"):
        AudioReader(tmp_path / name)


def test_a_header_without_frames_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 48000)
    with pytest.raises(AudioFileError, match="0 frames"):
        AudioReader(tmp_path / "a.wav")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"gone\.wav: does not exist"):
        AudioReader(tmp_path / "gone.wav")
    with pytest.raises(AudioFileError, match="is a folder"):
        AudioReader(tmp_path)


@pytest.mark.parametrize(("rate_hz", "channels", "message"), [(4000, 1, "4000 Hz"), (384000, 1, "384000 Hz"),
                                                              (48000, 65, "65 channels")])  # fmt: skip
def test_rates_and_channels_out_of_range_are_refused(tmp_path: Path, rate_hz: int, channels: int, message: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise(100, channels), rate_hz)
    with pytest.raises(AudioFileError, match=message):
        AudioReader(tmp_path / "a.wav")


def test_a_truncated_wav_names_both_lengths(tmp_path: Path) -> None:
    write_wav_promising(tmp_path / "a.wav", 1000, 96000)
    with pytest.raises(AudioFileError, match="promises 96000 bytes and the data holds 1000"):
        AudioReader(tmp_path / "a.wav")


@pytest.mark.parametrize("promised", [0x7FFFFFFF - 36, 0xFFFFFFFF - 36, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_promises_nothing_and_is_read_to_its_end(tmp_path: Path, promised: int) -> None:
    write_wav_promising(tmp_path / "a.wav", 2000, promised)
    y, _ = read_all(tmp_path / "a.wav")
    assert len(y) == 1000


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])
def test_a_truncated_stream_names_both_lengths(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, noise(200_000), 48000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioFileError, match=r"promises 200000 frames and the data holds [1-9]\d+;"):
        read_all(path)


def write_mp3_promising(path: Path, rate_hz: int, more_packets: int) -> None:
    """Write 100,000 frames under a header that counts so many packets more."""
    soundfile.write(path, noise(100_000), rate_hz)
    data = bytearray(path.read_bytes())
    count = slice(data.index(b"Xing") + 8, data.index(b"Xing") + 12)
    data[count] = (int.from_bytes(data[count], "big") + more_packets).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(("rate_hz", "packet"), [(48_000, 1152), (16_000, 576)])
def test_an_mp3_may_promise_two_packets_too_much_and_no_more(tmp_path: Path, rate_hz: int, packet: int) -> None:
    path = tmp_path / "a.mp3"
    for more, warned in ((1, False), (2, True)):
        write_mp3_promising(path, rate_hz, more)
        y, reader = read_all(path)
        assert 100_000 <= len(y) < 100_000 + packet
        assert any("may have been cut off" in warning for warning in reader.warnings()) == warned
    write_mp3_promising(path, rate_hz, 3)
    with pytest.raises(AudioFileError, match="cut short"):
        read_all(path)


def test_an_mp3_of_which_most_is_missing_is_refused_however_short(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(1000), 48000)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AudioFileError, match="promises 1000 frames and the data holds"):
        read_all(path)


def test_a_truncated_ogg_is_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    with AudioWriter(path, 48000, 200_000) as writer:
        writer.write(noise(200_000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    y, reader = read_all(path)
    assert 0 < len(y) < 200_000
    assert any("no end mark" in warning for warning in reader.warnings())


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_while_writing_leaves_nothing_and_keeps_the_old_file(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    with pytest.raises(failure), AudioWriter(path, 48000, 1000, overwrite=True) as writer:
        writer.write(noise(500))
        raise failure
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.wav"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_disk_that_takes_no_more_is_an_error_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with (
            pytest.raises(AudioFileError, match="disk full"),
            AudioWriter(tmp_path / f"a{suffix}", 48000, 400_000) as writer,
        ):
            writer.write(noise(400_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(AudioFileError, match=r"a\.wav: cannot be written: Read-only file system"):
        AudioWriter(tmp_path / "a.wav", 48000, 100)


def test_targets_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.wav").write_bytes(b"old")
    for name, message in (
        ("a.mp3", "cannot write .mp3"),
        ("a", "without suffix"),
        ("gone/a.wav", "no folder"),
        ("old.wav", "--force"),
    ):
        with pytest.raises(AudioFileError, match=message):
            AudioWriter(tmp_path / name, 48000, 100)
    with pytest.raises(AudioFileError, match="is a folder"):
        (tmp_path / "dir.wav").mkdir()
        AudioWriter(tmp_path / "dir.wav", 48000, 100)


def test_a_wav_too_long_for_its_header_gets_the_64_bit_one(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", 48000, frames=2**31, bits=24) as writer:
        writer.write(noise(1000))
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    assert len(read_all(tmp_path / "a.wav")[0]) == 1000


def test_written_files_have_the_users_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with AudioWriter(tmp_path / "a.wav", 48000, 10) as writer:
        writer.write(noise(10))
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "usual").stat().st_mode
