"""Taps: the engine's sound, in and out, for whoever records or draws it in another process.

One ring of two tracks in shared memory, at the engine's rate: frame n of both tracks was made by the same engine
sample. The engine alone writes (`taps_push`, one call a block: no lock, no allocation, nothing waited for); one reader
takes (`taps_pop`). A reader that is late loses the newest frames, which are counted; the engine never notices.

LOST and BASE relate the ring's frames to the engine's sample clock: the frame that was written when WRITTEN = n is
engine sample n + LOST + BASE. After a loss this is exact again as soon as the ring has been emptied.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.atomics import load_acquire, store_release
from rtvc.kernels.ring import COUNTERS, READ, WRITTEN

CAPACITY = 1 << 17  # frames: 2.7 s at 48 kHz
LOST = COUNTERS  # frames that did not fit
BASE = COUNTERS + 1
_HEADER = COUNTERS + 8
TAPS_INT64 = _HEADER + CAPACITY  # two tracks of CAPACITY float32
TAPS_BYTES = TAPS_INT64 * 8


@njit(cache=True, nogil=True)
def _tracks(taps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return both tracks as a view, float32[2, CAPACITY]."""
    return taps[_HEADER : _HEADER + CAPACITY].view(np.float32).reshape((2, CAPACITY))


@njit(cache=True, nogil=True)
def taps_begin(taps: NDArray[np.int64], sample: int) -> None:
    """Say that the next frame pushed is engine sample `sample`. Engine only, once it starts."""
    store_release(taps, BASE, sample - taps[WRITTEN] - taps[LOST])


@njit(cache=True, nogil=True)
def taps_push(taps: NDArray[np.int64], x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Append what went in (x) and came out (y), both float32[n]; what does not fit is lost. Engine only."""
    tracks = _tracks(taps)
    mask = CAPACITY - 1
    written = taps[WRITTEN]
    n = min(x.shape[0], CAPACITY - (written - load_acquire(taps, READ)))
    for i in range(n):
        place = (written + i) & mask
        tracks[0, place] = x[i]
        tracks[1, place] = y[i]
    taps[LOST] += x.shape[0] - n
    store_release(taps, WRITTEN, written + n)


@njit(cache=True, nogil=True)
def taps_pop(taps: NDArray[np.int64], x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[int, int]:
    """Move up to n frames into x and y (float32[n]); return how many came and the engine sample after the last.

    Reader only.
    """
    tracks = _tracks(taps)
    mask = CAPACITY - 1
    read = taps[READ]
    n = min(x.shape[0], load_acquire(taps, WRITTEN) - read)
    for i in range(n):
        place = (read + i) & mask
        x[i] = tracks[0, place]
        y[i] = tracks[1, place]
    store_release(taps, READ, read + n)
    return n, read + n + taps[LOST] + taps[BASE]
