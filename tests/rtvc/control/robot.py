"""`rtvc live` as a robot on a real sound server: a tone goes in, another note comes out, so what is heard is known."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from rtvc.control.client import Control
from rtvc.control.wire import Intent
from tests import rig
from tests.waiting import wait_for

TONE = (0.3 * np.sin(2 * np.pi * 300 * np.arange(120 * rig.RATE_HZ) / rig.RATE_HZ)).astype(np.float32)


@contextmanager
def live(server: rig.Server, *argv: str) -> Iterator[tuple[Control, str]]:
    """Run `rtvc live` as a robot that hears a tone; give a client of it and its panel's address."""
    server.plug_in()
    robot = ("--set", "pitch.mode=note", "--set", "pitch.target_hz=200", "--set", "voice.name=dsp")
    command = ("-m", "rtvc", "live", "--capture", "fake-mic", "--control-port", "0", *robot, *argv)
    with server.python(*command):
        log = server.folder / "python.log"
        found = wait_for(lambda: re.search(r"panel: (http://\S+)", log.read_text()), "the panel's address")
        assert found
        server.play(TONE)
        with Control(found[1].replace("http", "ws"), events=int(Intent.DEVICES)) as control:
            wait_for(lambda: control.status()["out_peak_dbfs"] >= -30, "the robot's sound")
            yield control, found[1]


def level_db(server: rig.Server, source: str) -> float:
    """Return how loud the robot's note is in what a source carries, once two looks agree: a busy machine tears gaps."""
    for _ in range(10):
        last, now = _levels_db(server, source)
        if abs(now - last) < 0.5:
            break
    return now


def _levels_db(server: rig.Server, source: str) -> tuple[float, float]:
    """Return the note's level in each of two halves of a second, one after the other: the median of its tenths."""
    with rig.Recorder(server, source) as heard:
        time.sleep(1.2)
    tenths = heard.x[-rig.RATE_HZ :].reshape(10, -1)
    power = np.square(np.abs(np.fft.rfft(tenths * np.hanning(tenths.shape[1]))))[:, 18:23].sum(axis=1)
    first, second = (float(10 * np.log10(np.median(piece) + 1e-12)) for piece in (power[:5], power[5:]))
    return first, second
