"""MIDI over a real port: a controller that is a client of a real jackd."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rtvc.config import ConfigError
from rtvc.control.midi import open_input
from tests import rig
from tests.rtvc.control.served import Served

pytest.importorskip("rtmidi")

CHILD = """
import itertools, sys, threading, time
import mido
from rtvc.control.client import Control
from rtvc.control.midi import learn, open_input, play

knobs = mido.Backend("mido.backends.rtmidi/UNIX_JACK").open_output("knobs", virtual=True)

def turn():
    for value in itertools.cycle((5, 127)):
        knobs.send(mido.Message("control_change", channel=2, control=21, value=value))
        time.sleep(0.05)

threading.Thread(target=turn, daemon=True).start()
port = open_input("knobs")
bindings = learn(port, [], "pitch.semitones")
with Control(sys.argv[1]) as control:
    play(itertools.islice(port, 5), bindings, control)
    print(bindings[0].number, control.get("pitch.semitones"))
"""


def test_a_controller_is_learnt_and_played_over_jack(jackd: rig.Server, still: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, still.url], env=jackd.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    number, value = done.stdout.split()[-2:]
    assert number == "21" and float(value) in (24.0, pytest.approx(-24.0 + 48.0 * 5 / 127, abs=1e-3))


def test_a_port_that_is_not_there_is_an_error_that_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JACK_NO_START_SERVER", "1")
    with pytest.raises(ConfigError, match="no MIDI input is named nothing-like-it; there are: "):
        open_input("nothing-like-it")
