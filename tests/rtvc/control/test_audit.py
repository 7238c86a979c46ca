"""The audit log: who did what and when, in few lines, in files that do not grow for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtvc.control import audit
from rtvc.control.audit import KEPT, AuditLog


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_changes_are_noted_and_a_moving_slider_is_one_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "state" / "audit.jsonl")
    for value in range(50):
        log.note("anna#1", "operator", "127.0.0.1", "SetParam", {"id": "pitch.semitones", "value": value}, 100)
    log.note("anna#1", "operator", "127.0.0.1", "SetParam", {"id": "formant.ratio", "value": 1.1}, 100)
    log.note("bert#2", "admin", "127.0.0.1", "Panic", {"on": True}, 100)
    log.close()
    found = lines(log.path)
    assert [(line["who"], line["request"], line.get("times")) for line in found] == [
        ("anna#1", "SetParam", 50), ("anna#1", "SetParam", None), ("bert#2", "Panic", None),
    ]  # fmt: skip
    assert found[0]["data"] == {"id": "pitch.semitones", "value": 49}
    assert log.path.stat().st_mode & 0o077 == 0


def test_it_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FILE_BYTES", 300)
    for i in range(8):
        log = AuditLog(tmp_path / "audit.jsonl")
        log.note("anna#1", "admin", "::1", "SavePreset", {"name": f"p{i}", "doc": "x" * 100}, 100)
        log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.jsonl", *(f"audit.jsonl.{n}" for n in range(1, KEPT + 1))]
    assert lines(tmp_path / "audit.jsonl")[-1]["data"] == {"name": "p7", "doc": "x" * 100}


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = AuditLog(tmp_path / "file" / "audit.jsonl")
    log.note("anna#1", "admin", "::1", "Stop", None, 100)
    log.close()
    assert log.faults == 1
