"""From `rtvc convert --watermark` to `rtvc verify`, as a user sees it."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtvc.audio.files import AudioReader
from rtvc.cli import main
from rtvc.engine.engine import Engine
from rtvc.engine.params import TIMBRES, to_vector
from rtvc.provenance.detect import RATE_HZ
from rtvc.provenance.payload import FIRST_OF_LIBRARY, OWN_VOICE, TOOL_CONVERT, Payload, hour_of, signs_of
from rtvc.provenance.verify import voice_name, windows


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "talk.flac"
    path.write_bytes((resources.files("rtvc.samples") / "male.flac").read_bytes())
    return path


def test_a_marked_conversion_is_recognised_and_a_plain_one_is_not(
    tmp_path: Path, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked, plain = tmp_path / "marked.ogg", tmp_path / "plain.ogg"
    earliest = hour_of(datetime.now(UTC))
    assert main(["convert", str(sample), str(marked), "--preset", "deep", "--watermark"]) == 0
    assert main(["convert", str(sample), str(plain), "--preset", "deep"]) == 0
    capsys.readouterr()
    assert main(["verify", str(marked), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["found"] and told["tool"] == "rtvc convert" and told["voice_id"] == OWN_VOICE
    assert earliest <= hour_of(datetime.fromisoformat(told["hour"])) <= hour_of(datetime.now(UTC))
    assert told["confidence"] > 0.999999
    assert main(["verify", str(marked), str(plain)]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "marked.ogg: watermark found: rtvc convert" in first and "false alarm" in first
    assert "plain.ogg: no watermark found (score" in second and "7.7 s is short" in second


@pytest.mark.parametrize("tempo", ["0.7", "1.3"])
def test_the_mark_is_not_stretched_with_the_speech(tmp_path: Path, sample: Path, tempo: str) -> None:
    x, rate_hz = soundfile.read(sample, dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.resize(x, 14 * rate_hz), rate_hz)
    marked = str(tmp_path / "marked.ogg")
    argv = ["convert", str(tmp_path / "long.wav"), marked, "--preset", "deep", "--watermark", "--tempo", tempo]
    assert main(argv) == 0
    assert main(["verify", marked]) == 0


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "gone.wav")]) == 1
    assert "gone.wav: does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "lengths"), [(3, [3]), (10, [10]), (12, [10, 7]), (15, [10, 10]), (16, [10, 10, 6])]
)
def test_windows_overlap_by_half_and_leave_nothing_out(tmp_path: Path, seconds: int, lengths: list[int]) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.arange(seconds * RATE_HZ) / (seconds * RATE_HZ), RATE_HZ, "FLOAT")
    with AudioReader(path) as reader:
        found = list(windows(reader))
    assert [len(window) / RATE_HZ for window in found] == lengths
    for first, second in itertools.pairwise(found):
        np.testing.assert_array_equal(first[len(first) // 2 :][: len(second)], second[: 5 * RATE_HZ])


def test_the_engine_marks_without_delay_in_any_blocks_and_only_when_asked() -> None:
    x = (0.1 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    values = to_vector({"voice.name": "own"})
    signs = signs_of(Payload(TOOL_CONVERT, OWN_VOICE, 1))
    plain, marked, split = Engine(values=values), Engine(values=values, mark=signs), Engine(values=values, mark=signs)
    assert plain.delay_frames == marked.delay_frames
    a, b, c = (np.zeros_like(x) for _ in range(3))
    plain.process(x, a)
    marked.process(x, b)
    for start in range(0, len(x), 777):
        split.process(x[start : start + 777], c[start : start + 777])
    np.testing.assert_array_equal(b, c)
    difference = np.std((b - a)[5000:]) / np.std(a[5000:])
    assert 0.005 < difference < 0.1
    marked.reset()
    marked.process(x, c)
    np.testing.assert_array_equal(b, c)


def test_voices_have_names() -> None:
    assert [voice_name(1 + i) for i in range(len(TIMBRES))] == list(TIMBRES)
    assert voice_name(OWN_VOICE).startswith("the speaker's own") and voice_name(99) == "voice 99"
    assert voice_name(FIRST_OF_LIBRARY) == "voice 256 (of somebody's own library)"
