"""A signal while a finalizer runs: Python swallows what it raises; the command ends all the same, without a word."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from rtvc.termination import end_if_told, end_on_signals, interrupts_kept

class Owner:
    def __init__(self, act):
        self.act = act
    def __del__(self):
        self.act()

end_on_signals()
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with interrupts_kept():
        Owner(lambda: 1 / 0)
        Owner(lambda: os.kill(os.getpid(), signal.{name}))
        print("swallowed", flush=True)
        end_if_told()
        print("went on")
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    raise SystemExit(130)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_that_a_finalizer_swallows_ends_the_command_without_a_word(name: str, code: int) -> None:
    command = [sys.executable, "-c", SCRIPT.replace("{name}", name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "swallowed\n")
    assert "ZeroDivisionError" in done.stderr
    assert "SystemExit" not in done.stderr and "KeyboardInterrupt" not in done.stderr
