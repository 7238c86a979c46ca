"""The library's audit log: one JSON object a line, each bound to the one before. Lines are only ever added.

The mark of a line is HMAC-SHA256 over the mark before it and the line's own text, under a key that only the library's
key can make: nobody without it can change, drop, insert or reorder lines. That the end was not cut off shows the
head, a sealed record of how many lines and bytes there are and the last mark. A line is written before its deed.

Lines name voices by their ids, which are random: the log tells no names, and stays when a voice is erased.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .durable import append_to_file
from .errors import VoiceError
from .store import Store

HEAD, LOG = "audit.head", "audit.jsonl"
START = "0" * 64


@dataclass(frozen=True)
class Head:
    """Where the log ends."""

    lines: int = 0
    size: int = 0  # bytes
    mark: str = START


class AuditChain:
    """The log in a store's folder."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = store.derived_key("audit")
        self.path: Path = store.folder / LOG

    def append(self, deed: str, voice: str = "", detail: Mapping[str, str] | None = None) -> None:
        """Add a line. The store must be held. Raises VoiceError if the log was cut off or cannot be written.

        After a power cut the log ends with the whole line or without it.
        """
        head, _ = self._check_end(self._head())
        when = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"line": head.lines + 1, "time": when, "deed": deed, "voice": voice, "detail": dict(detail or {})}
        text = json.dumps(line, sort_keys=True, ensure_ascii=True)
        mark = self._mark(head.mark, text)
        data = f"{text[:-1]}, {json.dumps('mark')}: {json.dumps(mark)}}}\n".encode()
        append_to_file(self.path, data, head.size)
        self._set_head(Head(head.lines + 1, head.size + len(data), mark))

    def entries(self) -> list[dict[str, object]]:
        """Return all lines, every one checked. Raises VoiceError naming the first that is not as it was written."""
        head, end = self._check_end(self._head())
        found: list[dict[str, object]] = []
        mark = START
        for number, raw in enumerate(self._read()[:end].split(b"\n")[:-1], 1):
            text, given = _split(raw)
            mark = self._mark(mark, text)
            if not hmac.compare_digest(mark.encode(), given):
                raise VoiceError(f"{self.path}: line {number} was changed, or a line before it dropped or added")
            found.append(json.loads(text))
        if len(found) != head.lines or mark != head.mark:
            raise VoiceError(f"{self.path}: holds {len(found)} lines of {head.lines}; the rest was cut off")
        return found

    def _check_end(self, head: Head) -> tuple[Head, int]:
        """Return head with the line that a power cut kept from it, and the size of the log up to there."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < head.size:
            raise VoiceError(f"{self.path}: {size} bytes of {head.size}: its end was cut off; restore it from a backup")
        if size > head.size:
            with self.path.open("rb") as file:
                file.seek(head.size)
                more = file.read()
            if b"\n" in more:  # without one it is the beginning of a line that a power cut ended
                text, given = _split(more[:-1])
                mark = self._mark(head.mark, text)
                if not hmac.compare_digest(mark.encode(), given):
                    raise VoiceError(f"{self.path}: after line {head.lines} stands what rtvc did not write; cut it off")
                head = Head(head.lines + 1, size, mark)
        return head, head.size

    def _mark(self, before: str, text: str) -> str:
        return hmac.digest(self._key, (before + text).encode(), "sha256").hex()

    def _read(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _head(self) -> Head:
        data = self._store.read(HEAD)
        if data is not None:
            return Head(**json.loads(data))
        if self._read().count(b"\n") > 1:
            raise VoiceError(f"{self._store.folder / HEAD}: is missing beside a log; restore it from a backup")
        return Head()

    def _set_head(self, head: Head) -> None:
        self._store.write(HEAD, json.dumps(head.__dict__).encode())


def _split(raw: bytes) -> tuple[str, bytes]:
    """Return a line's text without its mark, and the mark."""
    text, _, mark = raw.rpartition(b', "mark": ')
    return text.decode("utf-8", "replace") + "}", mark.strip(b'"}')
