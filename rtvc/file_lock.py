"""A lock between processes: held on an open file, gone when that is closed or the process ends, however it ends."""

from __future__ import annotations

import sys


def try_lock(handle: int) -> bool:
    """Try to take the lock of an open file; return whether this process has it now. Never waits."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
