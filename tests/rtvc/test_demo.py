"""The demo without a sound card: a voice through the live path, heard, measured and reported."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtvc import demo
from rtvc.demo import lags_ms, read_voice, run_demo
from rtvc.engine.engine import Engine
from rtvc.engine.params import to_vector
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.sound_arguments import ChosenSound

RATE_HZ = ENGINE_RATE_HZ


def voice(rate_hz: int, seconds: float) -> NDArray[np.float32]:
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    buzz = sum(np.cos(2 * np.pi * 130 * k * t + k * k) / k for k in range(1, 25))
    noise = np.random.default_rng(0).standard_normal(len(t))
    rhythm = np.maximum(0.1, np.sin(2 * np.pi * 2.3 * t + np.sin(3 * t)))
    return (0.05 * rhythm * (buzz + 0.2 * noise)).astype(np.float32)


def test_a_sample_of_another_rate_is_brought_to_the_engines(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.cos(2 * np.pi * 440 * np.arange(24_000) / 24_000) / 2, 24_000)
    y = read_voice(tmp_path / "a.flac")
    assert abs(len(y) - RATE_HZ) <= 2
    middle = y[RATE_HZ // 4 : RATE_HZ // 4 + RATE_HZ // 2]  # half a second: bins of 2 Hz
    assert np.argmax(np.abs(np.fft.rfft(middle))) * 2 == 440


@pytest.mark.parametrize("lag_ms", [0, 1, 17, 104, 400])
@pytest.mark.parametrize("louder", [1.0, 0.1])
def test_the_lag_is_found_to_a_millisecond(lag_ms: int, louder: float) -> None:
    x = voice(RATE_HZ, 4.0)
    heard = louder * np.concatenate([np.zeros(lag_ms * RATE_HZ // 1000, np.float32), x, np.zeros(RATE_HZ, np.float32)])
    found = lags_ms(x, heard)
    assert len(found) == 4
    assert all(abs(lag - lag_ms) <= 1 for lag in found)


def demo_without_a_stall(folder: Path, values: NDArray[np.float64], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the demo, up to three times while the machine stands still and tears a second; return what it said."""
    for _ in range(3):
        assert run_demo(folder, ChosenSound(values), "clear", simulated=True) == 0
        out = capsys.readouterr().out
        if re.search(r"^Xruns +0$", out, re.MULTILINE):
            break
    return out


def test_the_demo_writes_what_was_heard_and_a_page_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "sample.flac", voice(24_000, 3.0), 24_000)
    monkeypatch.setattr(demo, "sample_path", lambda: tmp_path / "sample.flac")
    values = to_vector({"pitch.semitones": 5})
    out = demo_without_a_stall(tmp_path / "out", values, capsys)
    names = {"before.wav", "after.wav", "before.png", "after.png", "report.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    heard, rate_hz = soundfile.read(tmp_path / "out" / "after.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    assert len(heard) >= 3 * RATE_HZ
    # what was heard is the engine's own output for this voice, a little later
    source = read_voice(tmp_path / "sample.flac")
    engine = Engine(RATE_HZ, values)
    expected = np.zeros_like(source)
    engine.process(source, expected)
    lags = lags_ms(expected, heard)
    assert lags
    assert all(0 < lag < 250 for lag in lags)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "Xruns" in page
    assert "Xruns" in out
    assert "report.html" in out


def test_the_bundled_voice_is_there_and_is_speech_of_some_seconds() -> None:
    x = read_voice(demo.sample_path())
    assert 5 * RATE_HZ < len(x) < 60 * RATE_HZ
    assert np.max(np.abs(x)) > 0.05
