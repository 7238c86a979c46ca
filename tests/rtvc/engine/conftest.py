"""What tests of live sessions share."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from rtvc.engine import shared_block


@pytest.fixture
def blocks_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the shared memory that sessions make; at the end none of it may be left."""
    names = []

    class Recorded(SharedMemory):
        def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None:
            super().__init__(name, create, size)
            names.append(self.name)

    monkeypatch.setattr(shared_block, "SharedMemory", Recorded)
    yield names
    assert not [name for name in names if Path("/dev/shm", name).exists()]
