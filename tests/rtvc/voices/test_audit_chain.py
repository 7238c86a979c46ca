"""The audit log shows every change to itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rtvc.voices.audit_chain import HEAD
from rtvc.voices.errors import VoiceError
from rtvc.voices.library import Library

Lines = list[bytes]


@pytest.fixture
def logged(library: Library) -> Library:
    with library.store.exclusive():
        for i in range(5):
            library.audit.append("used", f"{i:032x}", {"use": "live"})
    return library


def test_lines_come_back_as_they_were_written(logged: Library) -> None:
    entries = logged.audit.entries()
    assert [entry["line"] for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[2]["voice"] == f"{2:032x}"
    assert entries[2]["detail"] == {"use": "live"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [lines[0].replace(b"used", b"seen"), *lines[1:]], "line 1"),
        (lambda lines: [*lines[:2], lines[2].replace(b"live", b"file"), *lines[3:]], "line 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1"),
        (lambda lines: [*lines[:2], *lines[3:]], "cut off"),
        (lambda lines: lines[:4], "cut off"),
        (lambda lines: [], "cut off"),
        (lambda lines: [*lines, lines[4]], "after line 5"),
        (lambda lines: [*lines[:2], b"\xff" * (len(lines[2]) - 1) + b"\n", *lines[3:]], "line 3"),
    ],
    ids=["first", "middle", "order", "dropped", "end", "all", "added", "noise"],
)
def test_what_was_done_to_it_is_named(logged: Library, change: Callable[[Lines], Lines], reason: str) -> None:
    path = logged.audit.path
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(VoiceError, match=reason):
        logged.audit.entries()


def test_without_its_head_it_is_refused(logged: Library) -> None:
    (logged.folder / HEAD).unlink()
    with pytest.raises(VoiceError, match="is missing beside a log"):
        logged.audit.entries()


def test_the_beginning_of_a_line_that_a_power_cut_left_is_dropped(logged: Library) -> None:
    with logged.audit.path.open("ab") as file:
        file.write(b'{"deed": "us')
    assert len(logged.audit.entries()) == 5
    with logged.store.exclusive():
        logged.audit.append("used")
    assert len(logged.audit.entries()) == 6
