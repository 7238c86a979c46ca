"""Fixtures: a control server without an engine for each test, and one with an engine for each file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtvc.engine.params import Value
from tests.rtvc.control.room import Play, Room, Story
from tests.rtvc.control.served import Served, served


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep settings, tokens and logs of the machine's user out of it."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Served]:
    """Return a server whose session does not run."""
    with served(tmp_path) as there:
        yield there


@pytest.fixture(scope="module")
def sounding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a server whose session runs on a real engine; a file's tests share it."""
    with served(tmp_path_factory.mktemp("control"), running=True) as there:
        yield there


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return what runs a story in a room of its own."""

    def run(story: Story, values: dict[str, Value] | None = None, bypass: bool = False) -> None:
        async def told() -> None:
            room = Room(tmp_path, values or {}, bypass)
            try:
                await story(room)
            finally:
                await room.desk.close()

        asyncio.run(told())

    return run
