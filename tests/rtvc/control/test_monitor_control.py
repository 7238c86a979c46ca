"""The monitor by remote control, on a real sound server: switched, levelled and moved while the call goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rtvc.control.client import Control, ControlError
from rtvc.control.wire import Intent
from tests import rig

TONE = (0.3 * np.sin(2 * np.pi * 300 * np.arange(120 * rig.RATE_HZ) / rig.RATE_HZ)).astype(np.float32)


@contextmanager
def live(server: rig.Server, *argv: str) -> Iterator[Control]:
    """Run `rtvc live` as a robot that hears a tone; give a client of it."""
    server.plug_in()
    robot = ("--set", "pitch.mode=note", "--set", "pitch.target_hz=200", "--set", "voice.name=dsp")
    command = ("-m", "rtvc", "live", "--capture", "fake-mic", "--control-port", "0", *robot, *argv)
    with server.python(*command):
        log = server.folder / "python.log"
        deadline = time.monotonic() + 120
        while not (found := re.search(r"panel: (http://\S+)", log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        server.play(TONE)
        with Control(found[1].replace("http", "ws"), events=int(Intent.DEVICES)) as control:
            deadline = time.monotonic() + 30
            while control.status()["out_peak_dbfs"] < -30:
                assert time.monotonic() < deadline, control.status()
                time.sleep(0.05)
            yield control


def level_db(server: rig.Server, source: str) -> float:
    """Return how loud the robot's note is in half a second of what a source carries."""
    with rig.Recorder(server, source) as heard:
        time.sleep(0.8)
    x = heard.x[-rig.RATE_HZ // 2 :]
    power = np.square(np.abs(np.fft.rfft(x * np.hanning(len(x)))))
    return float(10 * np.log10(power[95:106].sum() + 1e-12))


def test_it_is_switched_levelled_and_moved_and_the_call_does_not_change(pulseaudio: rig.Server) -> None:
    for name in ("headphones", "second"):
        pulseaudio.add_sink(name)
    with live(pulseaudio) as control:
        assert control.request("GetMonitor") | {"rev": 0} == {
            "on": False, "level_db": 0.0, "device": None, "available": True, "playing": False, "reason": "",
            "delay_ms": None, "rev": 0,
        }  # fmt: skip
        call = level_db(pulseaudio, "rtvc-mic")
        answer = control.request("SetMonitor", {"on": True, "level_db": -10, "device": "pulse:headphones"})
        assert answer["playing"] and answer["device"] == "pulse:headphones"
        event = control.next_event(5)
        assert event and event[0] == "MonitorChanged" and event[1]["level_db"] == -10.0
        time.sleep(0.5)
        assert level_db(pulseaudio, "headphones.monitor") == pytest.approx(call - 10, abs=1)
        assert control.status()["monitor"]["delay_ms"] < 100
        control.request("SetMonitor", {"level_db": 3})
        time.sleep(0.2)
        assert level_db(pulseaudio, "headphones.monitor") == pytest.approx(call + 3, abs=1)
        control.request("SetMonitor", {"device": "pulse:second"})
        time.sleep(0.5)
        assert level_db(pulseaudio, "second.monitor") == pytest.approx(call + 3, abs=1)
        assert level_db(pulseaudio, "headphones.monitor") < call - 60
        with pytest.raises(ControlError, match="would be a loop"):
            control.request("SetMonitor", {"device": "pulse:rtvc-mic-sink"})
        assert control.request("GetMonitor")["playing"]
        control.panic()
        time.sleep(0.3)
        assert level_db(pulseaudio, "second.monitor") < call - 60
        control.panic(False)
        control.request("SetMonitor", {"on": False, "device": "default"})
        time.sleep(0.3)
        assert level_db(pulseaudio, "second.monitor") < call - 60
        assert level_db(pulseaudio, "rtvc-mic") == pytest.approx(call, abs=1)
        control.request("SetDevice", {"playback": "pulse:headphones"})
        away = control.request("GetMonitor")
        assert not away["available"] and "not to the virtual microphone" in away["reason"]
        with pytest.raises(ControlError, match="not to the virtual microphone"):
            control.request("SetMonitor", {"on": True})


def test_settings_turn_it_on(pulseaudio: rig.Server, tmp_path: Path) -> None:
    pulseaudio.add_sink("headphones")
    folder = Path(pulseaudio.env["XDG_CONFIG_HOME"]) / "rtvc"
    folder.mkdir()
    (folder / "config.toml").write_text('[monitor]\non = true\nlevel_db = -3\ndevice = "pulse:headphones"\n')
    with live(pulseaudio) as control:
        state = control.request("GetMonitor")
        assert (state["on"], state["playing"], state["level_db"]) == (True, True, -3.0)


def test_without_a_virtual_microphone_live_says_that_there_is_none(pulseaudio: rig.Server) -> None:
    with live(pulseaudio, "--no-virtual-mic", "--playback", "speakers", "--monitor") as control:
        assert "rtvc: no monitor: the voice goes to a device" in (pulseaudio.folder / "python.log").read_text()
        assert control.request("GetMonitor")["available"] is False
