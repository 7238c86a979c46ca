"""Waiting until something is so. How soon it has to be is for benches to say: patience only ends a hopeless wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 120.0  # a first conversion compiles its kernels
Found = TypeVar("Found")


def _nap() -> None:
    time.sleep(0.01)


def wait_for(condition: Callable[[], Found], what: str, pause: Callable[[], object] = _nap) -> Found:
    """Call condition until what it returns is true, and return that. Raises TimeoutError after PATIENCE_S."""
    until_s = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > until_s:
            raise TimeoutError(f"never came: {what}")
        pause()
    return found
