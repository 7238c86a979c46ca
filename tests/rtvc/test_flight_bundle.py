"""A bundle gives back what was recorded, is its owner's, holds no voice unasked, and a foreign file is told so."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rtvc import flight_bundle
from rtvc.cli import main
from rtvc.engine.flight import Flight, read_flight
from rtvc.flight_bundle import BundleError, read_bundle, write_bundle
from tests.rtvc.engine.recorded import Session

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def flight() -> Flight:
    session = Session(4.0)
    session.begin({"pitch.semitones": 3})
    session.run(1.0)
    session.set({"pitch.semitones": -3, "breath.amount": 0.5})
    session.run(1.0)
    return read_flight(session.flight)


@pytest.fixture
def bundle(flight: Flight, tmp_path: Path) -> Path:
    path = tmp_path / "flight.zip"
    write_bundle(path, flight, "asked for by a test", {"state": "running"})
    return path


def changed(path: Path, name: str, data: bytes | None) -> Path:
    """Return a copy of a bundle in which one member is another, or missing."""
    other = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for member in source.namelist():
            if member != name:
                target.writestr(member, source.read(member))
        if data is not None:
            target.writestr(name, data)
    return other


def about(path: Path, **fields: Any) -> bytes:
    with zipfile.ZipFile(path) as file:
        return json.dumps(json.loads(file.read("flight.json")) | fields).encode()


def npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def test_what_was_recorded_comes_back_bit_for_bit(bundle: Path, flight: Flight) -> None:
    found = read_bundle(bundle)
    assert found.about["reason"] == "asked for by a test" and found.about["status"] == {"state": "running"}
    for name in ("x", "y", "inputs", "blocks"):
        assert getattr(found.flight, name).tobytes() == getattr(flight, name).tobytes()
    assert found.flight.states == flight.states and len(flight.states) == 3
    with zipfile.ZipFile(bundle) as file:
        heard, rate_hz = soundfile.read(io.BytesIO(file.read("heard.wav")))
    assert rate_hz == 48_000 and len(heard) == len(flight.x)


def test_only_the_owner_may_read_it(bundle: Path) -> None:
    assert bundle.stat().st_mode & 0o777 == 0o600


def test_without_sound_nothing_of_the_voice_is_in_it(flight: Flight, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "quiet.zip"
    write_bundle(path, flight, "a crash", {}, sound=False)
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == ["blocks.npy", "flight.json", "inputs.npy"]
        assert json.loads(file.read("flight.json"))["states"] == []
    found = read_bundle(path)
    assert len(found.flight.x) == 0 and len(found.flight.blocks) == len(flight.blocks)
    assert main(["replay", str(path)]) == 0
    assert "nothing to replay" in capsys.readouterr().out
    assert main(["replay", str(path), "--out", str(tmp_path / "out.wav")]) == 1
    assert "saved without sound" in capsys.readouterr().err


def test_replay_says_that_it_is_the_same_and_writes_it(bundle: Path, flight: Flight, capsys: Capture) -> None:
    out = bundle.with_name("again.wav")
    assert main(["replay", str(bundle), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "the same, bit for bit" in text and "1 changes of the sound" in text
    said, _ = soundfile.read(out, dtype="float32")
    assert np.abs(said - flight.y).max() < 1e-6
    assert main(["replay", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["replay"]["same"] is True and told["replay"]["compared_s"] == round(len(flight.y) / 48_000, 3)
    assert told["blocks"] == len(flight.blocks) and told["block_ms"]["p50"] == pytest.approx(0.4)


def test_replay_says_what_differs_and_on_what_it_was_made(flight: Flight, tmp_path: Path, capsys: Capture) -> None:
    y = flight.y.copy()
    y[48_000] += 0.5
    path = tmp_path / "other.zip"
    write_bundle(path, replace(flight, y=y), "test", {})
    machine = json.loads(about(path))["machine"]
    assert main(["replay", str(changed(path, "flight.json", about(path, machine=machine | {"numba": "0.1"})))]) == 1
    text = capsys.readouterr().out
    assert "differs from 1.000 s on, in 1 frames, by 0.5" in text and "it was made with numba 0.1 (here " in text


def test_a_file_that_is_cut_short_is_told_so(bundle: Path, capsys: Capture) -> None:
    data = bundle.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        bundle.write_bytes(data[:size])
        with pytest.raises(BundleError, match="cut short"):
            read_bundle(bundle)
    assert main(["replay", str(bundle)]) == 1
    assert "cut short" in capsys.readouterr().err


def test_flipped_bytes_never_crash_the_reader(bundle: Path) -> None:
    data, random = bundle.read_bytes(), np.random.default_rng(0)
    told = 0
    for _ in range(60):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 20):
            broken[place] ^= int(random.integers(1, 256))
        bundle.write_bytes(broken)
        try:
            read_bundle(bundle)
        except BundleError:
            told += 1
    assert told > 50, "what a checksum covers is noticed"


def test_a_foreign_file_is_told_so(bundle: Path, flight: Flight, monkeypatch: pytest.MonkeyPatch) -> None:
    values = flight.inputs.copy()
    values[0, 4:].view(np.float64)[0] = 99.0
    cases = {
        "no such file": bundle.with_name("missing.zip"),
        "flight.json is missing": changed(bundle, "flight.json", None),
    }
    for message, path in cases.items():
        with pytest.raises(BundleError, match=message):
            read_bundle(path)
    for name, data, message in (
        ("flight.json", b"[1, 2]", "is no flight bundle"),
        ("flight.json", b"{", "is damaged"),
        ("flight.json", about(bundle, format="other"), "is no flight bundle"),
        ("flight.json", about(bundle, version=2), "of version 2"),
        ("flight.json", about(bundle, params=["one"]), "whose parameters differ"),
        ("flight.json", about(bundle, heard=5), "frames at"),
        ("flight.json", about(bundle, begin=10**9), "do not fit together"),
        ("heard.wav", b"RIFF", "is damaged"),
        ("said.wav", None, "is damaged"),
        ("state-1.bin", None, "is damaged"),
        ("inputs.npy", npy(values), "out of range"),
        ("inputs.npy", npy(flight.inputs[:, :5]), "was expected"),
        ("blocks.npy", npy(flight.blocks.astype(np.float32)), "was expected"),
        ("blocks.npy", npy(np.array([{}], object)), "is damaged"),
    ):
        with pytest.raises(BundleError, match=message):
            read_bundle(changed(bundle, name, data))
    monkeypatch.setattr(flight_bundle, "LARGEST_BYTES", 1 << 20)
    with pytest.raises(BundleError, match="a flight bundle has at most 1"):
        read_bundle(changed(bundle, "more", bytes(2 << 20)))
