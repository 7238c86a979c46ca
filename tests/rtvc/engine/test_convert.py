"""A converted file has the source's length, timing, rate and loudness; a failed one does not exist."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtvc.audio.files import AudioFileError
from rtvc.engine import convert
from rtvc.engine.build import build_engine
from rtvc.engine.convert import ConvertReport, convert_file
from rtvc.engine.engine import Engine
from rtvc.engine.network import Network
from rtvc.engine.params import to_vector
from rtvc.kernels.loudness import integrated_loudness

OWN = to_vector({"voice.name": "own", "gate.threshold_db": -90})
HIGHER = to_vector({"pitch.semitones": 5, "formant.ratio": 1.1})


def voice(rate_hz: int, seconds: float, level: float = 0.2) -> NDArray[np.float32]:
    """A buzz of 120 Hz with the rhythm of syllables and pauses, with a little noise."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    harmonics = range(1, min(30, int(rate_hz / 2 / 130)))
    buzz = np.sum([np.cos(2 * np.pi * 120 * k * t + k * k) / k for k in harmonics], axis=0)
    rhythm = np.maximum(0.0, np.sin(2 * np.pi * 3 * t)) * (np.sin(2 * np.pi * 0.4 * t) > -0.6)
    hiss = 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    return (level * (0.5 * buzz * rhythm + hiss)).astype(np.float32)


def converted(
    folder: Path, x: NDArray[np.float32], rate_hz: int, values: NDArray[np.float64] = HIGHER, subtype: str = "PCM_24"
) -> tuple[NDArray[np.float32], ConvertReport]:
    soundfile.write(folder / "in.wav", x, rate_hz, subtype)
    report = convert_file(folder / "in.wav", folder / "out.wav", values)
    y, rate_out = soundfile.read(folder / "out.wav", dtype="float32")
    assert rate_out == rate_hz
    return y, report


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 192000])
def test_length_rate_and_loudness_are_kept(tmp_path: Path, rate_hz: int) -> None:
    x = voice(rate_hz, 4.0)
    y, report = converted(tmp_path, x, rate_hz)
    assert y.shape == x.shape
    assert report.frames == len(x)
    assert abs(integrated_loudness(y, rate_hz) - integrated_loudness(x, rate_hz)) <= 0.5
    assert np.max(np.abs(y)) < 10 ** (-1 / 20)


@pytest.mark.parametrize("tempo", [0.5, 0.8, 1.5, 2.0])
@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_at_another_tempo_the_length_follows_and_loudness_and_rhythm_stay(
    tmp_path: Path, rate_hz: int, tempo: float
) -> None:
    x = voice(rate_hz, 4.0)
    soundfile.write(tmp_path / "in.wav", x, rate_hz, "PCM_24")
    seen: list[float] = []
    report = convert_file(tmp_path / "in.wav", tmp_path / "out.wav", OWN, tempo=tempo, progress=seen.append)
    y, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert len(y) == report.frames == round(len(x) / tempo)
    assert report.tempo == tempo
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert abs(integrated_loudness(y, rate_hz) - integrated_loudness(x, rate_hz)) <= 0.5
    steps = [np.array([np.std(part) for part in np.array_split(sound, 80)]) for sound in (x, y)]
    assert np.corrcoef(*steps)[0, 1] > 0.95


def test_a_tempo_that_no_voice_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", voice(48000, 1.0), 48000)
    with pytest.raises(ValueError, match=r"tempo 3: must lie in 0\.5\.\.2"):
        convert_file(tmp_path / "in.wav", tmp_path / "out.wav", tempo=3.0)
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("rate_hz", [8000, 24000, 44100, 48000, 96000])
def test_the_engines_delay_is_taken_out(tmp_path: Path, rate_hz: int) -> None:
    x = (0.1 * np.random.default_rng(0).standard_normal(2 * rate_hz)).astype(np.float32)
    y, report = converted(tmp_path, x, rate_hz, OWN)
    lags = np.arange(-200, 201)
    middle = slice(rate_hz // 2, 3 * rate_hz // 2)
    match = [float(np.dot(x[middle], np.roll(y, -lag)[middle])) for lag in lags]
    assert report.delay_frames > 0
    assert lags[int(np.argmax(match))] == 0


def test_a_hot_source_keeps_its_loudness_below_the_ceiling(tmp_path: Path) -> None:
    x = voice(48000, 4.0, 1.0)
    x *= 0.999 / np.max(np.abs(x))
    y, report = converted(tmp_path, x, 48000)
    assert np.max(np.abs(y)) < 10 ** (-1 / 20)
    assert abs(integrated_loudness(y, 48000) - integrated_loudness(x, 48000)) <= 0.5
    assert not report.warnings


def test_a_source_squashed_to_the_ceiling_is_not_matched_at_any_price_but_reported(tmp_path: Path) -> None:
    x = 0.999 * np.sign(voice(48000, 4.0))
    y, report = converted(tmp_path, x, 48000)
    assert np.max(np.abs(y)) < 10 ** (-1 / 20)
    assert any("LU from the source's" in warning for warning in report.warnings)


def test_a_gain_the_user_asks_for_is_given(tmp_path: Path) -> None:
    x = voice(48000, 4.0, 0.05)
    y, _ = converted(tmp_path, x, 48000, to_vector({"level.gain_db": 6}))
    assert integrated_loudness(y, 48000) - integrated_loudness(x, 48000) == pytest.approx(6, abs=0.5)


def test_one_sample_gives_one_sample(tmp_path: Path) -> None:
    y, report = converted(tmp_path, np.array([0.5], np.float32), 48000)
    assert len(y) == report.frames == 1


def test_silence_stays_silence(tmp_path: Path) -> None:
    y, report = converted(tmp_path, np.zeros(48000, np.float32), 48000)
    assert not y.any()
    assert report.loudness_in is report.loudness_out is report.peak_db is None


def test_eight_channels_become_one_and_the_report_says_so(tmp_path: Path) -> None:
    x = voice(48000, 2.0)
    y, report = converted(tmp_path, np.outer(x, np.ones(8)).astype(np.float32), 48000)
    assert y.shape == x.shape
    assert report.channels == 8
    assert any("8 channels were mixed" in warning for warning in report.warnings)


def test_nan_samples_are_replaced_and_reported(tmp_path: Path) -> None:
    x = voice(48000, 2.0)
    x[1000:1010] = np.nan
    x[2000] = np.inf
    y, report = converted(tmp_path, x, 48000, subtype="FLOAT")
    assert np.isfinite(y).all()
    assert any("11 samples that were not numbers" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("name", "content"), [("empty.wav", b""), ("text.wav", b"no sound\n" * 99), ("cut.flac", None), ("cut.wav", None)]
)
def test_a_bad_file_leaves_nothing_behind(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is None:
        soundfile.write(tmp_path / name, voice(48000, 3.0), 48000)
        content = (tmp_path / name).read_bytes()
        content = content[: len(content) * 2 // 3]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioFileError, match=name):
        convert_file(tmp_path / name, tmp_path / "out.wav")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_source_and_target_must_differ(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(48000, 1.0), 48000)
    (tmp_path / "link.wav").symlink_to(path)
    before = path.read_bytes()
    for target in (path, tmp_path / "link.wav"):
        with pytest.raises(AudioFileError, match="is the source itself"):
            convert_file(path, target, overwrite=True)
    assert path.read_bytes() == before


def test_an_existing_target_is_kept_unless_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", voice(48000, 1.0), 48000)
    (tmp_path / "out.wav").write_bytes(b"old")
    with pytest.raises(AudioFileError, match="--force"):
        convert_file(tmp_path / "in.wav", tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == b"old"
    convert_file(tmp_path / "in.wav", tmp_path / "out.wav", overwrite=True)
    assert soundfile.info(tmp_path / "out.wav").frames == 48000


def test_a_full_disk_is_named_and_nothing_stays(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", voice(48000, 3.0), 48000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(AudioFileError, match=r"out\.wav: cannot be written: File too large"):
            convert_file(tmp_path / "in.wav", tmp_path / "out.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.wav"]


def test_progress_runs_from_nought_to_one_without_going_back(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", voice(48000, 2.0), 48000)
    seen: list[float] = []
    convert_file(tmp_path / "in.wav", tmp_path / "out.wav", progress=seen.append)
    assert seen == sorted(seen)
    assert 0.0 < seen[0] < 1.0
    assert seen[-1] == 1.0


CANCEL_THREE_HOURS = """
import json, sys
from pathlib import Path
from rtvc.engine.convert import convert_file

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])

seen = []
def progress(fraction):
    seen.append((fraction, resident()))
    if fraction > 0.9 * 120 / 10800:
        raise KeyboardInterrupt

try:
    convert_file(Path(sys.argv[1]), Path(sys.argv[2]), progress=progress)
except KeyboardInterrupt:
    print(json.dumps(seen))
"""


def test_three_hours_are_converted_in_flat_memory_and_a_cancel_leaves_nothing(tmp_path: Path) -> None:
    frames = 3 * 3600 * 48000
    soundfile.write(tmp_path / "long.wav", np.zeros(1), 48000, "PCM_16")
    header = bytearray((tmp_path / "long.wav").read_bytes()[:44])
    header[4:8] = (36 + 2 * frames).to_bytes(4, "little")
    header[40:44] = (2 * frames).to_bytes(4, "little")
    (tmp_path / "long.wav").write_bytes(header)
    with (tmp_path / "long.wav").open("r+b") as file:
        file.truncate(44 + 2 * frames)
    command = [sys.executable, "-c", CANCEL_THREE_HOURS, str(tmp_path / "long.wav"), str(tmp_path / "out.wav")]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert seen[-1][0] > 0.9 * 120 / 10800
    early, late = seen[len(seen) // 4][1], seen[-1][1]
    assert late - early < 4096  # KiB over 90 seconds of sound, which as float32 are 16,875
    assert [entry.name for entry in tmp_path.iterdir()] == ["long.wav"]


def test_a_neural_voice_that_fails_in_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.wav"
    soundfile.write(source, 0.1 * np.random.default_rng(0).standard_normal(48000), 48000)

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    built = build_engine

    def build(*args: object, **named: object) -> Engine:
        engine = built(*args, **named)  # type: ignore[arg-type]
        monkeypatch.setattr(Network, "hear", broken)
        return engine

    monkeypatch.setattr(convert, "build_engine", build)
    report = convert_file(source, tmp_path / "out.wav", to_vector({"voice.name": "neural"}))
    assert any("out of memory" in warning and "DSP voice" in warning for warning in report.warnings)
