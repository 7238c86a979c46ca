"""SIGTERM, and SIGHUP of a terminal that is closed, end a command as an error does: everything is given back.

Python swallows what a signal raises while a finalizer or a foreign callback runs (of the compiler that loads a kernel,
say). Long work asks `end_if_told` now and then, and holds Ctrl-C in `interrupts_kept` so that it learns of that too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

_terminated: list[int] = []  # signals that asked us to end
_interrupted: list[int] = []  # by Ctrl-C, while interrupts are kept
_terminals: list[int] = []  # which of our outputs were one


def end_on_signals() -> None:
    """Let SIGTERM raise SystemExit in the main thread, and SIGHUP unless that is to be ignored (`nohup`)."""
    _terminals[:] = [number for number in (1, 2) if os.isatty(number)]
    signal.signal(signal.SIGTERM, _on_terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _on_hang_up)
    sys.unraisablehook = _on_unraisable


def _on_unraisable(what: sys.UnraisableHookArgs) -> None:
    """Say nothing of what finalizers raise or swallow once a signal has come: `end_if_told` raises the signal again.

    A finalizer that it cut in two may fail later, too, on the way out.
    """
    if not (_terminated or _interrupted):
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
    if _interrupted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Let `end_if_told` know of a Ctrl-C as well, in the main thread; nothing changes where it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    _interrupted.clear()
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _on_interrupt(number: int, _frame: object) -> None:
    _interrupted.append(number)
    raise KeyboardInterrupt
