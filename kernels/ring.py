"""Lock-free single-producer single-consumer ring of float32 samples.

Two int64 counters count frames ever written and ever read; they never wrap (2**63 frames at 48 kHz is six
million years), and `counter & (capacity - 1)` is the place in the buffer, so capacity is a power of two.
The producer alone stores `written` (release) after the samples; the consumer alone stores `read` (release)
after it has copied them out; each loads the other's counter with acquire. Counters sit 64 bytes apart, so
producer and consumer do not fight over one cache line. Any thread or process may hold either end.

Source: Lamport, "Specifying Concurrent Program Modules" (1983); PortAudio `pa_ringbuffer.c` for the layout idea.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .atomics import load_acquire, store_release

WRITTEN = 0
READ = 8
COUNTERS = 16


def ring_counters() -> NDArray[np.int64]:
    """Return the zeroed counters of an empty ring: int64[16], WRITTEN and READ on separate cache lines."""
    return np.zeros(COUNTERS, np.int64)


@njit(cache=True, nogil=True)
def ring_fill(counters: NDArray[np.int64]) -> int:
    """Return how many frames can be read now."""
    return load_acquire(counters, WRITTEN) - load_acquire(counters, READ)


@njit(cache=True, nogil=True)
def ring_push(counters: NDArray[np.int64], data: NDArray[np.float32], x: NDArray[np.float32]) -> int:
    """Append as much of x (float32[n]) as fits; return the number of frames written. Producer only."""
    capacity = data.shape[0]
    mask = capacity - 1
    written = counters[WRITTEN]
    n = min(x.shape[0], capacity - (written - load_acquire(counters, READ)))
    start = written & mask
    first = min(n, capacity - start)
    for i in range(first):
        data[start + i] = x[i]
    for i in range(first, n):
        data[i - first] = x[i]
    store_release(counters, WRITTEN, written + n)
    return n


@njit(cache=True, nogil=True)
def ring_pop(counters: NDArray[np.int64], data: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    """Move up to len(y) frames into y (float32[n]); return how many came. Consumer only."""
    capacity = data.shape[0]
    mask = capacity - 1
    read = counters[READ]
    n = min(y.shape[0], load_acquire(counters, WRITTEN) - read)
    start = read & mask
    first = min(n, capacity - start)
    for i in range(first):
        y[i] = data[start + i]
    for i in range(first, n):
        y[i] = data[i - first]
    store_release(counters, READ, read + n)
    return n


@njit(cache=True, nogil=True)
def ring_skip(counters: NDArray[np.int64], n: int) -> int:
    """Throw away up to n of the oldest frames; return how many went. Consumer only."""
    read = counters[READ]
    n = min(n, load_acquire(counters, WRITTEN) - read)
    store_release(counters, READ, read + n)
    return n
