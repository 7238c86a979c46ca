"""SIGTERM ends a command as an error does: everything is given back on the way out."""

from __future__ import annotations

import signal
import sys
import time

_terminated: list[int] = []  # signals that asked us to end


def end_on_sigterm() -> None:
    """Let SIGTERM raise SystemExit in the main thread."""
    signal.signal(signal.SIGTERM, _on_terminate)
    sys.unraisablehook = _on_unraisable


def _on_unraisable(what: sys.UnraisableHookArgs) -> None:
    """Say nothing of a SystemExit that a finalizer swallowed: `end_if_told` raises it again."""
    if not (_terminated and isinstance(what.exc_value, SystemExit)):
        sys.__unraisablehook__(what)


def _on_terminate(number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; let everything be given back
    _terminated.append(number)
    raise SystemExit(128 + number)


def told_to_end(within_s: float) -> bool:
    """Return whether the signal has come to this process, or comes within so many seconds. Not for the main thread."""
    until_s = time.perf_counter() + within_s
    while not _terminated and time.perf_counter() < until_s:
        time.sleep(0.01)
    return bool(_terminated)


def end_if_told() -> None:
    """Raise again what was swallowed if the signal came while a finalizer or a foreign callback ran."""
    if _terminated:
        raise SystemExit(128 + _terminated[0])
