"""SIGTERM while a finalizer runs: Python swallows what it raises, and the command ends all the same, without a word."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal
from rtvc.termination import end_if_told, end_on_signals

class Owner:
    def __init__(self, act):
        self.act = act
    def __del__(self):
        self.act()

end_on_signals()
Owner(lambda: 1 / 0)
Owner(lambda: os.kill(os.getpid(), signal.SIGTERM))
print("swallowed", flush=True)
end_if_told()
print("went on")
"""


def test_a_signal_that_a_finalizer_swallows_ends_the_command_without_a_word() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (143, "swallowed\n")
    assert "ZeroDivisionError" in done.stderr and "SystemExit" not in done.stderr
