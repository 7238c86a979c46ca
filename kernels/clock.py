"""Monotonic nanoseconds inside njit code, on the same clock as Python's `time.perf_counter_ns`.

POSIX: clock_gettime (CLOCK_MONOTONIC on Linux, CLOCK_UPTIME_RAW on macOS). Windows: QueryPerformanceCounter,
which has ticked at 10 MHz since Windows 10 1809 (Microsoft, "Acquiring high-resolution time stamps").
The symbols are looked up by name in the running process, so functions that use them can be cached.
"""

from __future__ import annotations

import sys

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

if sys.platform == "win32":
    _query = types.ExternalFunction("QueryPerformanceCounter", types.int32(types.voidptr))

    @njit(cache=True, nogil=True)
    def now_ns(scratch: NDArray[np.int64]) -> int:
        """Return monotonic time in ns; scratch is int64[>=2] that the call may overwrite."""
        _query(scratch.ctypes)
        return scratch[0] * 100

else:
    _CLOCK = 8 if sys.platform == "darwin" else 1
    _clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.voidptr))

    @njit(cache=True, nogil=True)
    def now_ns(scratch: NDArray[np.int64]) -> int:
        """Return monotonic time in ns; scratch is int64[>=2] that the call may overwrite."""
        _clock_gettime(types.int32(_CLOCK), scratch.ctypes)
        return scratch[0] * 1_000_000_000 + scratch[1]
