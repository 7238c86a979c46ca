"""The audit log: who changed what and when, one JSON object a line, in the user's state folder.

Lines are collected and written by a thread once a second. A slider being moved is one line: changes of the same
parameters by the same client within a second are counted, the last value stands. The file is the owner's only and
rotated at FILE_BYTES; KEPT old ones stay. A log that cannot be written never stops anything; `faults` counts the lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

FILE_BYTES = 2 * 1024 * 1024
KEPT = 3
EVERY_S = 1.0
WAITING_LINES = 1000


def audit_path() -> Path:
    """Return where the log is; it need not exist."""
    return Path(platformdirs.user_state_path("rtvc", appauthor=False)) / "control-audit.jsonl"


class AuditLog:
    """Appends to one file."""

    def __init__(self, path: Path | None = None) -> None:
        """Path is the user's own log by default."""
        self.path = audit_path() if path is None else path
        self.faults = 0
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def note(self, who: str, role: str, address: str, request: str, data: object, status: int) -> None:
        """Add what a client did. Never waits for the disk."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"time": now, "who": who, "role": role, "address": address, "request": request, "data": data}
        entry["status"] = status
        with self._lock:
            last = self._waiting[-1] if self._waiting else None
            if last and _same(last, entry):
                last |= {"time": now, "data": data, "times": last.get("times", 1) + 1}
            elif len(self._waiting) < WAITING_LINES:
                self._waiting.append(entry)
            else:
                self.faults += 1

    def close(self) -> None:
        """Write what waits."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            entries, self._waiting = self._waiting, []
        if not entries:
            return
        lines = b"".join(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for entry in entries)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if self.path.stat().st_size + len(lines) > FILE_BYTES:
                    self._rotate()
            with open(os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
                file.write(lines)
        except OSError:
            self.faults += len(entries)

    def _rotate(self) -> None:
        for number in range(KEPT, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, self.path.with_name(f"{self.path.name}.{number}"))


def _same(last: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Return whether both are moves of the same parameters by the same client."""
    moves = entry["request"] in ("SetParam", "NudgeParam")
    return (
        moves
        and all(last[key] == entry[key] for key in ("who", "request", "status"))
        and (_targets(last["data"]) == _targets(entry["data"]))
    )


def _targets(data: object) -> object:
    if not isinstance(data, Mapping):
        return None
    values = data.get("values")
    return sorted(values) if isinstance(values, Mapping) else data.get("id")
