"""The guard tells that an engine has ended, also when nothing in it could say so."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio.link import ENGINE_GUARD, ENGINE_STATE, GUARD_ENDED, LINK_BYTES, LINK_INT64, link_memory
from rtvc.engine.guard import guarded


def ended(link: NDArray[np.int64]) -> bool:
    return bool(link[ENGINE_GUARD] & GUARD_ENDED)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory(create=True, size=LINK_BYTES)
    yield memory
    memory.close()
    memory.unlink()


def _stay_inside(name: str) -> None:
    memory = SharedMemory(name)
    link: NDArray[np.int64] = np.ndarray((LINK_INT64,), np.int64, memory.buf)
    with guarded(link):
        link[ENGINE_STATE] = 1
        threading.Event().wait()


def test_the_mark_is_away_while_an_engine_is_inside_and_set_when_it_leaves() -> None:
    link = link_memory()
    assert not ended(link)
    for _ in range(3):
        with guarded(link):
            assert not ended(link)
        assert ended(link)


def test_an_engine_that_fails_leaves_the_mark() -> None:
    link = link_memory()
    with pytest.raises(ValueError, match="trouble"), guarded(link):
        raise ValueError("trouble")
    assert ended(link)


def test_only_the_first_eight_words_are_used() -> None:
    link = link_memory()
    with guarded(link):
        link[ENGINE_GUARD : ENGINE_GUARD + 8] = 0
        assert not link.any()


def test_a_killed_engine_leaves_the_mark_and_another_takes_it_away(memory: SharedMemory) -> None:
    link: NDArray[np.int64] = np.ndarray((LINK_INT64,), np.int64, memory.buf)
    for _ in range(2):
        link[ENGINE_STATE] = 0
        process = multiprocessing.get_context("spawn").Process(target=_stay_inside, args=(memory.name,))
        process.start()
        while not link[ENGINE_STATE]:
            assert process.is_alive()
        assert not ended(link)
        process.kill()
        process.join()
        # elsewhere no kernel helps, and the session's watch sets it
        assert ended(link) == (sys.platform == "linux")
