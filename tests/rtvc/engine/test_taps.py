"""The taps give what the engine heard and said, in order, with its clock; a late reader loses, and knows how much."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.engine.taps import CAPACITY, TAPS_INT64, taps_begin, taps_pop, taps_push


def pop(taps: NDArray[np.int64], n: int) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    x, y = np.zeros(n, np.float32), np.zeros(n, np.float32)
    got, at = taps_pop(taps, x, y)
    return x[:got], y[:got], at


def ramp(start: int, n: int) -> NDArray[np.float32]:
    return np.arange(start, start + n, dtype=np.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3000)), max_size=40))
def test_what_is_pushed_is_popped_in_order_with_its_clock(steps: list[tuple[bool, int]]) -> None:
    taps = np.zeros(TAPS_INT64, np.int64)
    taps_begin(taps, 1000)
    pushed = popped = 0
    for push, n in steps:
        if push:
            taps_push(taps, ramp(pushed, n), -ramp(pushed, n))
            pushed += n
        else:
            x, y, at = pop(taps, n)
            assert np.array_equal(x, ramp(popped, len(x))) and np.array_equal(y, -x)
            popped += len(x)
            assert at == 1000 + popped
            assert len(x) == n or popped == pushed


def test_a_late_reader_loses_the_newest_and_the_clock_is_right_again() -> None:
    taps = np.zeros(TAPS_INT64, np.int64)
    taps_begin(taps, 0)
    block = np.zeros(CAPACITY // 2 + 100, np.float32)
    for _ in range(3):
        taps_push(taps, block, block)
    x, _, _ = pop(taps, 2 * CAPACITY)
    assert len(x) == CAPACITY
    taps_push(taps, block[:10], block[:10])
    assert pop(taps, 100)[2] == 3 * len(block) + 10


def test_a_new_engine_begins_its_own_clock() -> None:
    taps = np.zeros(TAPS_INT64, np.int64)
    taps_begin(taps, 0)
    taps_push(taps, ramp(0, 500), ramp(0, 500))
    pop(taps, 1000)
    taps_begin(taps, 0)
    taps_push(taps, ramp(0, 20), ramp(0, 20))
    assert pop(taps, 1000)[2] == 20
