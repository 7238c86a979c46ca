"""The monitor by remote control, on a real sound server: switched, levelled and moved while the call goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rtvc.control.client import ControlError
from tests import rig
from tests.rtvc.control.robot import level_db, live


def test_it_is_switched_levelled_and_moved_and_the_call_does_not_change(pulseaudio: rig.Server) -> None:
    for name in ("headphones", "second"):
        pulseaudio.add_sink(name)
    with live(pulseaudio) as (control, _):
        assert control.request("GetMonitor") | {"rev": 0} == {
            "on": False, "level_db": 0.0, "device": "default", "available": True, "playing": False, "reason": "",
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
    with live(pulseaudio) as (control, _):
        state = control.request("GetMonitor")
        assert (state["on"], state["playing"], state["level_db"]) == (True, True, -3.0)


def test_without_a_virtual_microphone_live_says_that_there_is_none(pulseaudio: rig.Server) -> None:
    with live(pulseaudio, "--no-virtual-mic", "--playback", "speakers", "--monitor") as (control, _):
        assert "rtvc: no monitor: the voice goes to a device" in (pulseaudio.folder / "python.log").read_text()
        assert control.request("GetMonitor")["available"] is False
