"""The doctor finds what is there, says what to do about what is not, and recommends a block that ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rtvc import doctor
from rtvc.audio.backend import Device
from rtvc.audio.devices import Host
from rtvc.checks import Check
from rtvc.doctor import (
    BlockTrial,
    check_audio_server,
    check_devices,
    check_loopback,
    check_virtual_microphone,
    examine,
)
from rtvc.loopback import Loopback
from tests import rig

Inside = Callable[[rig.Server], None]
STATES = {"ok", "warn", "fail"}


def trial(block_frames: int, stable: bool) -> BlockTrial:
    return BlockTrial(block_frames, stable, int(not stable), 9.0, 0.05, 1.0)


def examined(capsys: pytest.CaptureFixture[str], as_json: bool = True) -> tuple[int, Any]:
    code = examine(0.3, as_json)
    out = capsys.readouterr().out
    return code, json.loads(out) if as_json else out


def test_the_smallest_stable_block_is_recommended() -> None:
    assert doctor.recommended_block([trial(64, False), trial(128, True), trial(256, True)]) == 128
    assert doctor.recommended_block([trial(64, False)]) is None
    assert doctor.recommended_block([]) is None


def test_a_whole_examination_runs_the_live_path_and_can_be_read_by_scripts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "BLOCKS_FRAMES", (1024,))
    _, result = examined(capsys)
    assert {check["state"] for check in result["checks"]} <= STATES
    assert {"Python", "Numba cache", "Audio files", "PortAudio", "Audio server"} <= {
        c["what"] for c in result["checks"]
    }
    assert all(check["advice"] for check in result["checks"] if check["state"] != "ok")
    entry = result["blocks"][0]
    assert entry["block_frames"] == 1024
    assert entry["in_flight_ms"] > 1024 / 48
    assert result["recommended_block_frames"] in (1024, None)


def test_the_exit_code_and_the_text_follow_the_checks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "try_block", lambda block_frames, _seconds: trial(block_frames, True))
    monkeypatch.setattr(doctor, "CHECKS", (lambda: Check("Thing", "warn", "old", "renew it"),))
    for check in doctor.CHECKS:
        check.__name__ = "check_thing"
    code, text = examined(capsys, as_json=False)
    assert code == 0
    assert "warn  Thing" in text
    assert "-> renew it" in text
    assert "--block 64" in text
    monkeypatch.setattr(doctor, "try_block", lambda block_frames, _seconds: trial(block_frames, False))
    code, text = examined(capsys, as_json=False)
    assert code == 1
    assert "fail  Block size" in text


def test_a_sound_server_and_its_devices_are_found(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    assert check_devices().state == "warn"
    sound_server.plug_in()
    assert check_audio_server().state == "ok"
    assert check_devices().state == "ok"
    assert check_devices().found.startswith("1 to capture from")
    assert check_virtual_microphone().state == "ok"


def test_a_device_with_a_dull_rate_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [
        Device(f"pulse:{name}", name, "capture", 1, rate, False) for name, rate in (("USB", 48000), ("BT", 16000))
    ]
    monkeypatch.setattr("rtvc.audio.devices.list_devices", lambda: devices)
    check = check_devices()
    assert check.state == "warn" and "BT (16000 Hz)" in check.found and "--capture" in check.advice
    monkeypatch.setattr("rtvc.audio.devices.list_devices", lambda: devices[:1])
    assert check_devices().state == "ok" and "at 48000 Hz" in check_devices().found


@pytest.mark.parametrize(
    ("late_ms", "state", "text"),
    [
        ((20.0, 20.1, 20.0, 19.9), "ok", "20.0 ms +- 0.1 from microphone to virtual microphone (19.9 to 20.1; 4 of 4"),
        ((20.0,), "warn", "1 of 4 bursts"),
        ((), "warn", "0 of 4 bursts"),
    ],
)
def test_the_loopback_says_how_sure_it_is(
    late_ms: tuple[float, ...], state: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Loopback("pipewire", 256, 4, late_ms, 20.3)
    monkeypatch.setattr("rtvc.loopback.measure_loopback", lambda bursts: found)
    check = check_loopback()
    assert check.state == state and text in check.found and bool(check.advice) == (state == "warn")


def test_a_loopback_that_cannot_be_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtvc.audio.devices.best_host", lambda: Host("alsa", "no server"))
    monkeypatch.setattr("rtvc.loopback.best_host", lambda: Host("alsa", "no server"))
    assert check_loopback().state == "warn" and "alsa: only PulseAudio and PipeWire" in check_loopback().found


def test_without_a_sound_server_the_doctor_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("XDG_RUNTIME_DIR", "HOME", "PULSE_RUNTIME_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")
    check = check_audio_server()
    assert (check.state, check.what) == ("warn", "Audio server")
    assert "apt-get install" in check.advice
    assert check_virtual_microphone().advice
