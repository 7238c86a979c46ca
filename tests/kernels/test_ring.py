from __future__ import annotations

import multiprocessing
import threading
import time
from collections import deque
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.ring import COUNTERS, READ, WRITTEN, ring_counters, ring_fill, ring_pop, ring_push, ring_skip

CAPACITY = 1024
FRAMES = 5_000_000
MODULUS = 1 << 24  # float32 counts exactly up to here


def numbers(start: int, n: int) -> NDArray[np.float32]:
    return np.arange(start, start + n, dtype=np.float32)


@settings(max_examples=200, deadline=None)
@given(
    capacity=st.sampled_from([1, 2, 8, 64]),
    start=st.integers(0, 200),
    steps=st.lists(st.tuples(st.sampled_from(["push", "pop", "skip"]), st.integers(0, 80)), max_size=40),
)
def test_a_ring_is_a_queue_of_limited_length(capacity: int, start: int, steps: list[tuple[str, int]]) -> None:
    counters, data, expected = ring_counters(), np.zeros(capacity, np.float32), deque[float]()
    counters[WRITTEN] = counters[READ] = start
    sent = 1
    for action, n in steps:
        if action == "push":
            taken = ring_push(counters, data, numbers(sent, n))
            assert taken == min(n, capacity - len(expected))
            expected.extend(range(sent, sent + taken))
            sent += taken
        elif action == "pop":
            y = np.full(n, -1.0, np.float32)
            came = ring_pop(counters, data, y)
            assert came == min(n, len(expected))
            assert y.tolist() == [expected.popleft() for _ in range(came)] + [-1.0] * (n - came)
        else:
            gone = ring_skip(counters, n)
            assert gone == min(n, len(expected))
            for _ in range(gone):
                expected.popleft()
        assert ring_fill(counters) == len(expected)


def test_a_full_ring_takes_nothing_and_an_empty_one_gives_nothing() -> None:
    counters, data, y = ring_counters(), np.zeros(8, np.float32), np.zeros(3, np.float32)
    assert ring_pop(counters, data, y) == 0
    assert ring_skip(counters, 3) == 0
    assert ring_push(counters, data, numbers(0, 20)) == 8
    assert ring_push(counters, data, numbers(0, 1)) == 0
    assert ring_fill(counters) == 8
    assert ring_pop(counters, data, y) == 3
    assert y.tolist() == [0, 1, 2]


def test_a_block_that_wraps_around_comes_back_in_order() -> None:
    counters, data, y = ring_counters(), np.zeros(8, np.float32), np.zeros(7, np.float32)
    for start in range(0, 700, 7):
        assert ring_push(counters, data, numbers(start, 7)) == 7
        assert ring_pop(counters, data, y) == 7
        np.testing.assert_array_equal(y, numbers(start, 7))


def test_counters_go_on_past_32_bits() -> None:
    counters, data, y = ring_counters(), np.zeros(8, np.float32), np.zeros(5, np.float32)
    counters[WRITTEN] = counters[READ] = 2**40 + 6
    assert ring_push(counters, data, numbers(1, 5)) == 5
    assert ring_pop(counters, data, y) == 5
    assert y.tolist() == [1, 2, 3, 4, 5]


def test_the_two_counters_lie_on_different_cache_lines() -> None:
    assert abs(WRITTEN - READ) * ring_counters().itemsize >= 64
    assert COUNTERS - max(WRITTEN, READ) >= 8  # whatever follows is not on the last one's line


@njit(cache=True, nogil=True)
def produce(
    counters: NDArray[np.int64], data: NDArray[np.float32], x: NDArray[np.float32], s: NDArray[np.int64]
) -> bool:
    """Push numbers s[0].. up to s[1] in blocks of pseudo-random length; False if the ring stayed full for a while."""
    tries = 0
    while s[0] < s[1] and tries < 1000:
        s[2] = (s[2] * 1103515245 + 12345) & 0x7FFFFFFF
        n = min((s[2] >> 8) % x.shape[0], s[1] - s[0])
        for i in range(n):
            x[i] = np.float32((s[0] + i) & (MODULUS - 1))
        taken = ring_push(counters, data, x[:n])
        s[0] += taken
        tries = 0 if taken > 0 else tries + 1
    return s[0] == s[1]


@njit(cache=True, nogil=True)
def consume(
    counters: NDArray[np.int64], data: NDArray[np.float32], y: NDArray[np.float32], s: NDArray[np.int64]
) -> bool:
    """Pop up to number s[1] and count what is out of sequence in s[3]; False if the ring stayed empty for a while."""
    tries = 0
    while s[0] < s[1] and tries < 1000:
        s[2] = (s[2] * 1103515245 + 12345) & 0x7FFFFFFF
        came = ring_pop(counters, data, y[: (s[2] >> 8) % y.shape[0]])
        for i in range(came):
            s[3] += y[i] != np.float32((s[0] + i) & (MODULUS - 1))
        s[0] += came
        tries = 0 if came > 0 else tries + 1
    return s[0] == s[1]


def produce_all(counters: NDArray[np.int64], data: NDArray[np.float32], frames: int) -> None:
    state, x = np.array([0, frames, 1, 0]), np.zeros(CAPACITY + 500, np.float32)
    while not produce(counters, data, x, state):
        time.sleep(1e-6)  # leave the core to the other side if there is but one


def consume_all(counters: NDArray[np.int64], data: NDArray[np.float32], frames: int) -> int:
    """Return how many frames were out of sequence."""
    state, y = np.array([0, frames, 2, 0]), np.zeros(CAPACITY + 500, np.float32)
    while not consume(counters, data, y, state):
        time.sleep(1e-6)
    return int(state[3])


def shared_ring(memory: SharedMemory) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return (
        np.ndarray((COUNTERS,), np.int64, memory.buf),
        np.ndarray((CAPACITY,), np.float32, memory.buf, COUNTERS * 8),
    )


def produce_in_process(name: str, frames: int) -> None:
    memory = SharedMemory(name)
    produce_all(*shared_ring(memory), frames)
    memory.close()


@pytest.mark.parametrize("capacity", [CAPACITY, 16])
def test_two_threads_pass_every_frame_in_order(capacity: int) -> None:
    counters, data = ring_counters(), np.zeros(capacity, np.float32)
    frames = FRAMES * capacity // CAPACITY
    producer = threading.Thread(target=produce_all, args=(counters, data, frames))
    producer.start()
    assert consume_all(counters, data, frames) == 0
    producer.join()
    assert ring_fill(counters) == 0
    assert counters[WRITTEN] == frames


def test_two_processes_pass_every_frame_in_order() -> None:
    memory = SharedMemory(create=True, size=COUNTERS * 8 + CAPACITY * 4)
    try:
        counters, data = shared_ring(memory)
        counters[:] = 0
        context = multiprocessing.get_context("spawn")
        producer = context.Process(target=produce_in_process, args=(memory.name, FRAMES))
        producer.start()
        assert consume_all(counters, data, FRAMES) == 0
        producer.join()
        assert producer.exitcode == 0
        assert ring_fill(counters) == 0
    finally:
        memory.close()
        memory.unlink()
