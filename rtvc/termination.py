"""SIGTERM, and SIGHUP of a terminal that is closed, end a command as an error does: everything is given back."""

from __future__ import annotations

import os
import signal
import sys
import time

_terminated: list[int] = []  # signals that asked us to end
_terminals: list[int] = []  # which of our outputs were one


def end_on_signals() -> None:
    """Let SIGTERM raise SystemExit in the main thread, and SIGHUP unless that is to be ignored (`nohup`)."""
    _terminals[:] = [number for number in (1, 2) if os.isatty(number)]
    signal.signal(signal.SIGTERM, _on_terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _on_hang_up)
    sys.unraisablehook = _on_unraisable


def _on_unraisable(what: sys.UnraisableHookArgs) -> None:
    """Say nothing of a SystemExit that a finalizer swallowed: `end_if_told` raises it again."""
    if not (_terminated and isinstance(what.exc_value, SystemExit)):
        sys.__unraisablehook__(what)


def _on_terminate(number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; let everything be given back
    _terminated.append(number)
    raise SystemExit(128 + number)


def _on_hang_up(number: int, frame: object) -> None:
    """End; the terminal is gone, so what is said on the way out goes nowhere in place of failing."""
    signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for terminal in _terminals:
        os.dup2(nowhere, terminal)
    _on_terminate(number, frame)


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
