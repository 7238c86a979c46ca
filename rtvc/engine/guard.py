"""The guard: a mark in the link that the engine has ended, there at once even when it was killed.

A killed process takes 5 to 15 ms to go, and only then is its parent told. So on Linux the engine's thread holds a
robust mutex in the link: the first thing the kernel does for a thread that ends, however it ends, is to set
FUTEX_OWNER_DIED in the mutex's first word, and playback looks at that bit. Where there is no such mutex, the
session's watch sets the bit when it sees that the engine is gone.

Sources: Linux `Documentation/locking/robust-futex-ABI.rst`; pthread_mutexattr_setrobust(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.link import ENGINE_GUARD, GUARD_ENDED

_PROCESS_SHARED = _ROBUST = 1


@contextlib.contextmanager
def guarded(link: NDArray[np.int64]) -> Iterator[None]:
    """Take the mark away while this thread is inside, and set it when it leaves or dies."""
    link[ENGINE_GUARD] = 0
    mutex = ctypes.c_void_p(link[ENGINE_GUARD:].ctypes.data)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc:
        kind = ctypes.create_string_buffer(64)  # a pthread_mutexattr_t has 4 or 8 bytes, a pthread_mutex_t 40 or 48
        libc.pthread_mutexattr_init(kind)
        libc.pthread_mutexattr_setpshared(kind, _PROCESS_SHARED)
        libc.pthread_mutexattr_setrobust(kind, _ROBUST)
        libc.pthread_mutex_init(mutex, kind)
        libc.pthread_mutex_lock(mutex)
    try:
        yield
    finally:
        if libc:
            libc.pthread_mutex_unlock(mutex)  # before this memory goes: the kernel keeps its address
        link[ENGINE_GUARD] = GUARD_ENDED
