"""The shared parameter snapshot: never torn, whole batches, revisions that tell what was applied."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.engine.param_block import (
    APPLIED_REV,
    APPLIED_SAMPLE,
    PARAM_BYTES,
    PARAM_INT64,
    REV,
    SEQ,
    confirm_params,
    read_params,
    write_params,
)
from rtvc.engine.params import PARAMS, default_values, to_vector
from rtvc.kernels.atomics import load_acquire

STOP = 0  # of an int64 array behind the block


def block() -> NDArray[np.int64]:
    return np.zeros(PARAM_INT64, np.int64)


def test_what_is_written_is_read() -> None:
    shared, values = block(), np.zeros(len(PARAMS))
    assert shared.nbytes == PARAM_BYTES
    wanted = to_vector({"pitch.semitones": -7.5, "voice.name": "own", "level.mute": True})
    rev = write_params(shared, wanted)
    assert read_params(shared, values, 0) == rev == 1
    np.testing.assert_array_equal(values, wanted)


def test_each_change_has_the_next_revision_and_the_last_one_counts() -> None:
    shared, values = block(), np.zeros(len(PARAMS))
    assert [write_params(shared, default_values() + i) for i in range(5)] == [1, 2, 3, 4, 5]
    assert read_params(shared, values, 2) == 5
    np.testing.assert_array_equal(values, default_values() + 4)


def test_nothing_new_leaves_the_revision_and_the_values_alone() -> None:
    shared, values = block(), np.full(len(PARAMS), -1.0)
    assert read_params(shared, values, 0) == 0  # never written
    rev = write_params(shared, default_values())
    assert read_params(shared, values, rev) == rev
    assert (values == -1.0).all()


def test_a_reader_that_meets_a_write_under_way_keeps_what_it_knows() -> None:
    shared, values = block(), np.full(len(PARAMS), -1.0)
    write_params(shared, default_values())
    shared[SEQ] += 1  # as between the two halves of a write
    shared[REV] += 1
    assert read_params(shared, values, 0) == 0
    assert read_params(shared, values, 1) == 1
    assert (values == -1.0).all()
    shared[SEQ] += 1
    assert read_params(shared, values, 1) == 2


def test_the_engine_tells_what_it_applied_and_when() -> None:
    shared = block()
    write_params(shared, default_values())
    confirm_params(shared, 1, 48_000)
    assert (shared[APPLIED_REV], shared[APPLIED_SAMPLE]) == (1, 48_000)


@njit(cache=True, nogil=True)
def hammer(shared: NDArray[np.int64], stop: NDArray[np.int64], values: NDArray[np.float64], writes: int) -> bool:
    """Write batches in which all values are equal, to their revision, until told to stop; False after `writes`."""
    for _ in range(writes):
        if load_acquire(stop, STOP) != 0:
            return True
        values[:] = shared[REV] + 1
        write_params(shared, values)
    return False


@njit(cache=True, nogil=True)
def watch(shared: NDArray[np.int64], values: NDArray[np.float64], seen: NDArray[np.int64], tries: int) -> None:
    """Read; seen is (revision, snapshots, torn snapshots, revisions that went back)."""
    for _ in range(tries):
        rev = read_params(shared, values, seen[0])
        if rev != seen[0]:
            seen[1] += 1
            seen[3] += rev < seen[0]
            seen[0] = rev
            for i in range(values.shape[0]):
                if values[i] != rev:
                    seen[2] += 1
                    break


def hammer_in_process(name: str) -> None:
    memory = SharedMemory(name)
    shared: NDArray[np.int64] = np.ndarray((PARAM_INT64,), np.int64, memory.buf)
    stop: NDArray[np.int64] = np.ndarray((1,), np.int64, memory.buf, PARAM_BYTES)
    values = np.zeros(len(PARAMS))
    while not hammer(shared, stop, values, 10_000):
        time.sleep(1e-6)  # leave the core to the reader if there is but one
    memory.close()


def test_no_snapshot_is_torn_while_another_process_writes_as_fast_as_it_can() -> None:
    memory = SharedMemory(create=True, size=PARAM_BYTES + 8)
    try:
        shared: NDArray[np.int64] = np.ndarray((PARAM_INT64,), np.int64, memory.buf)
        stop: NDArray[np.int64] = np.ndarray((1,), np.int64, memory.buf, PARAM_BYTES)
        shared[:] = 0
        stop[STOP] = 0
        writer = multiprocessing.get_context("spawn").Process(target=hammer_in_process, args=(memory.name,))
        writer.start()
        seen, values = np.zeros(4, np.int64), np.zeros(len(PARAMS))
        deadline = time.monotonic() + 60
        while seen[1] < 2_000 and time.monotonic() < deadline:
            watch(shared, values, seen, 10_000)
            time.sleep(1e-6)
        stop[STOP] = 1
        writer.join()
        assert writer.exitcode == 0
        assert seen[1] >= 2_000
        assert seen[2:].tolist() == [0, 0]
        final = int(shared[REV])
        assert read_params(shared, values, 0) == final
        assert (values == final).all()
    finally:
        memory.close()
        memory.unlink()
