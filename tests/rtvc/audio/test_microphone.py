"""The microphone into memory, on a real private PulseAudio and PipeWire."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from rtvc.audio.backend import DeviceError
from rtvc.audio.microphone import Microphone
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import read_recording
from tests import rig

Enter = Callable[[rig.Server], None]


CHILD = """
import json, sys
import numpy as np
from rtvc.audio.microphone import Microphone

def until():
    print("ready", flush=True)
    input()

with Microphone(capture="fake-mic") as microphone:
    for take in range(2):
        levels = []
        heard = microphone.record(until, 30.0, lambda *said: levels.append(said))
        np.save(f"{sys.argv[1]}/{take}.npy", heard)
        print(json.dumps([microphone.rate_hz, levels]), flush=True)
"""


def test_what_is_said_is_taken_twice(sound_server: rig.Server, tmp_path: Path) -> None:
    sound_server.plug_in()
    speech, rate_hz = read_recording(Path(str(resources.files("rtvc") / "samples" / "female.flac")))
    speech = at_rate(speech[:rate_hz], rate_hz, rig.RATE_HZ)
    child = subprocess.Popen(  # a process of its own: one process has one JACK library
        [sys.executable, "-c", CHILD, str(tmp_path)], env=sound_server.env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with child:
        assert child.stdin and child.stdout
        for take in range(2):
            assert child.stdout.readline() == "ready\n"
            sound_server.play(speech).wait()
            time.sleep(0.5)
            child.stdin.write("\n")
            child.stdin.flush()
            rate_hz, levels = json.loads(child.stdout.readline())
            heard = np.load(tmp_path / f"{take}.npy")
            assert rate_hz == rig.RATE_HZ
            size = 1 << (len(heard) + len(speech)).bit_length()
            match = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(speech, size)))
            assert match.max() / np.linalg.norm(speech) == pytest.approx(np.linalg.norm(heard), rel=0.02)
            assert max(level for _, level in levels) == pytest.approx(20 * np.log10(np.abs(speech).max()), abs=1.0)
            assert levels[-1][0] == pytest.approx(len(heard) / rig.RATE_HZ + 0.1, abs=0.02)
    assert child.returncode == 0


def test_it_takes_no_more_than_the_longest(pulseaudio: rig.Server, inside: Enter) -> None:
    pulseaudio.plug_in()
    inside(pulseaudio)
    with Microphone() as microphone:
        heard = microphone.record(lambda: time.sleep(1.0), 0.5, lambda *_: None)
    assert len(heard) == round(0.4 * rig.RATE_HZ)


def test_a_lost_microphone_is_told(pulseaudio: rig.Server, inside: Enter) -> None:
    plug = pulseaudio.plug_in()
    inside(pulseaudio)
    with Microphone() as microphone, pytest.raises(DeviceError, match=r"fake-mic.*record again once it is back"):
        microphone.record(lambda: (pulseaudio.unplug(plug), time.sleep(1.0)), 5.0, lambda *_: None)


def test_no_microphone_is_told_before_anything(pulseaudio: rig.Server, inside: Enter) -> None:
    inside(pulseaudio)
    with pytest.raises(DeviceError, match="there is no capture device"):
        Microphone()


def test_an_interruption_gives_the_device_back(pulseaudio: rig.Server, inside: Enter) -> None:
    pulseaudio.plug_in()
    inside(pulseaudio)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Microphone() as microphone:
        microphone.record(interrupt, 5.0, lambda *_: None)
    time.sleep(0.2)
    streams = pulseaudio.run("pactl", "list", "short", "source-outputs").splitlines()
    assert all("module-remap-source" in stream for stream in streams)  # the fake microphone's own
