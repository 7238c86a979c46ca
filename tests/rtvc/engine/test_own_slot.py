"""The control process's end of the slot: what the engine would read there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from rtvc.engine import marking
from rtvc.engine.own_slot import OwnSlot
from rtvc.engine.own_voice import PERSONAL_MAX, SLOT, SLOT_INT64, Slot, unpack_slot
from rtvc.engine.param_block import read_params
from rtvc.engine.params import to_vector
from rtvc.engine.shared_block import SharedBlock
from tests.rtvc.engine.test_own_voice import ANNA, BELLA, MINE, NEURAL

ANNAS, HEARTS = to_vector(MINE), to_vector(NEURAL)


def read(block: np.ndarray, known_rev: int = 0) -> tuple[int, Slot]:
    values = np.zeros(SLOT)
    return read_params(block, values, known_rev), unpack_slot(values)


def test_what_is_put_in_is_what_the_engine_reads_and_counts_as_a_new_filling() -> None:
    slot, block = OwnSlot(ANNA, None), np.zeros(SLOT_INT64, np.int64)
    slot.open(block, ANNAS)
    _, first = read(block)
    assert (first.filling, first.id, first.mark) == (1, ANNA.id, slot.mark) and first.mark is not None
    slot.put(BELLA, ANNAS)
    _, second = read(block)
    assert (second.filling, second.id) == (2, BELLA.id) and second.mark not in (None, first.mark)
    slot.put(None, ANNAS)
    assert read(block)[1] == Slot(3) and slot.voice is None


def test_what_was_put_in_while_there_was_no_block_lies_in_the_next_one() -> None:
    slot, block = OwnSlot(None, None), np.zeros(SLOT_INT64, np.int64)
    slot.put(ANNA, HEARTS)
    slot.update_mark(ANNAS)
    slot.open(block, ANNAS)
    assert read(block)[1].id == ANNA.id
    slot.close()
    slot.put(BELLA, ANNAS)
    assert read(block)[1].id == ANNA.id  # that block may be gone
    slot.open(again := np.zeros(SLOT_INT64, np.int64), ANNAS)
    assert (read(again)[1].filling, read(again)[1].id) == (2, BELLA.id)


def test_the_slot_is_written_anew_only_when_the_mark_says_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    slot, block = OwnSlot(ANNA, None), np.zeros(SLOT_INT64, np.int64)
    slot.open(block, HEARTS)
    rev, found = read(block)
    assert found.mark is None
    slot.update_mark(HEARTS)
    assert read(block, rev)[0] == rev
    slot.update_mark(ANNAS)
    rev, marked = read(block, rev)
    assert marked.mark is not None and marked.filling == found.filling  # the engine need not change the voice
    later = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(marking, "datetime", type("Later", (), {"now": staticmethod(lambda _zone: later)}))
    slot.update_mark(ANNAS)
    assert read(block, rev)[1].mark not in (None, marked.mark)


def test_a_voice_without_room_leaves_all_as_it_was() -> None:
    slot, block = OwnSlot(ANNA, None), np.zeros(SLOT_INT64, np.int64)
    slot.open(block, ANNAS)
    rev, _ = read(block)
    big = replace(BELLA, timbre=replace(BELLA.timbre, personal=np.zeros(PERSONAL_MAX + 1, np.float32)))
    with pytest.raises(ValueError, match="8193 fitted movements, at most 8192"):
        slot.put(big, ANNAS)
    assert slot.voice is ANNA and read(block, rev)[0] == rev


def test_a_shared_block_is_seen_by_its_name_and_overwritten_before_it_goes() -> None:
    block = SharedBlock.make(64, 8, np.int64)
    other = type(block.memory)(block.memory.name)
    block.view[3] = 7
    assert np.ndarray((8,), np.int64, other.buf)[3] == 7
    block.free()
    assert not any(other.buf)
    other.close()
    with pytest.raises(FileNotFoundError):
        type(other)(other.name)
