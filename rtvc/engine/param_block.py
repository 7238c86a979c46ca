"""The parameter snapshot that control and engine share: one writer, any number of readers, no lock.

A seqlock: the writer makes `seq` odd, changes the values, makes it even. A reader that sees an odd or a changed
`seq` keeps its last snapshot and tries again at the next tick, so the engine never waits and a batch of changes
is seen whole or not at all. The engine answers with the revision it took over and the sample at which it did.

Source: Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?" (MSPC 2012).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.atomics import fence_acquire, fence_release, load_acquire, store_release

from .params import PARAMS

SEQ, REV, APPLIED_REV, APPLIED_SAMPLE = 0, 1, 8, 9
HEADER_INT64 = 16
PARAM_INT64 = HEADER_INT64 + len(PARAMS)
PARAM_BYTES = PARAM_INT64 * 8


@njit(cache=True, nogil=True)
def write_params(block: NDArray[np.int64], values: NDArray[np.float64]) -> int:
    """Publish values (float64[n]) as one change; return its revision. One writer at a time."""
    shared = block[HEADER_INT64:].view(np.float64)
    seq = block[SEQ]
    store_release(block, SEQ, seq + 1)
    fence_release()
    for i in range(values.shape[0]):
        shared[i] = values[i]
    block[REV] += 1
    rev = block[REV]
    store_release(block, SEQ, seq + 2)
    return rev


@njit(cache=True, nogil=True)
def read_params(block: NDArray[np.int64], values: NDArray[np.float64], known_rev: int) -> int:
    """Copy the newest values out (float64[n]); return their revision, or known_rev if there is nothing new yet.

    When a write is under way values may hold a mixture: they are valid only if the returned revision differs
    from known_rev.
    """
    seq = load_acquire(block, SEQ)
    rev = block[REV]
    if seq & 1 or rev == known_rev:
        return known_rev
    shared = block[HEADER_INT64:].view(np.float64)
    for i in range(values.shape[0]):
        values[i] = shared[i]
    fence_acquire()
    return rev if load_acquire(block, SEQ) == seq else known_rev


@njit(cache=True, nogil=True)
def confirm_params(block: NDArray[np.int64], rev: int, sample: int) -> None:
    """Tell the control side that revision `rev` sounds from engine sample `sample` on. Engine only."""
    block[APPLIED_SAMPLE] = sample
    store_release(block, APPLIED_REV, rev)
