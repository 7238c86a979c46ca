"""`rtvc live` and its neighbours on a real, private sound server: they start, tell, and leave nothing behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from rtvc.config import Audio, Devices, Settings
from rtvc.engine.status import LiveStatus
from rtvc.live_view import LiveChoice, choice_from, latency_ms, status_text
from tests import rig


def status(**fields: object) -> LiveStatus:
    return LiveStatus(**({"state": "running"} | fields))  # type: ignore[arg-type]


def test_settings_choose_what_is_opened() -> None:
    assert choice_from(Settings()) == LiveChoice()
    settings = Settings(Devices("USB", "out", "jack", False), Audio(44_100, 128))
    assert choice_from(settings) == LiveChoice("USB", "out", "jack", False, 44_100, 128)


def test_latency_is_the_sum_of_its_parts() -> None:
    assert latency_ms(status(voice_delay_ms=13.5, in_flight_ms=9.0)) == 22.5
    assert latency_ms(status(voice_delay_ms=13.5, in_flight_ms=9.0, device_ms=(5.0, 2.5))) == 30.0
    assert latency_ms(status(voice_delay_ms=13.5, in_flight_ms=9.0, device_ms=(-5.0, 7.5))) == 25.0
    assert latency_ms(status(voice_delay_ms=13.5, in_flight_ms=9.0, device_ms=(-19.0, 8.5))) == 22.5


def test_the_status_line_shows_latency_levels_and_xruns() -> None:
    quiet = status(voice_delay_ms=13.5, in_flight_ms=9, age_ms=14.2, in_peak_dbfs=-30, out_peak_dbfs=-90, xruns=3)
    assert status_text(quiet) == " 22.5 ms (age 14)  in |||||      out             3 xruns  load 0%"
    assert "  use headphones" in status_text(status(feedback="use headphones"))
    sure = status(measured_p50_ms=22.4, measured_p95_ms=24.0, measured_confidence=0.98)
    assert status_text(sure).endswith("  measured 22.4 ms, p95 24.0 (98% sure)")
    assert "2 restarts" in status_text(status(engine_restarts=2))
    assert "480 frames dropped" in status_text(status(dropped_frames=480))
    assert "dsp (the networks failed)" in status_text(status(rung="dsp", rung_reason="the networks failed"))


def live(server: rig.Server, *more: str) -> tuple[str, ...]:
    server.plug_in()
    return ("-m", "rtvc", "live", "--json", "--preset", "deep", "--capture", "fake-mic", *more)


def test_live_runs_for_the_time_given_and_tells_every_second(sound_server: rig.Server) -> None:
    with sound_server.python(*live(sound_server, "--seconds", "2.5")) as process:
        out, _ = process.communicate(timeout=120)
    statuses = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert len(statuses) >= 2
    assert {entry["state"] for entry in statuses} == {"running"}
    assert statuses[-1]["latency_ms"] > statuses[-1]["voice_delay_ms"] > 0
    assert "rtvc-mic" not in sound_server.names("sources")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_live_cleanly(pulseaudio: rig.Server, number: int) -> None:
    with pulseaudio.python(*live(pulseaudio)) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["state"] == "running"
        assert "rtvc-mic" in pulseaudio.names("sources")
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
    assert "rtvc-mic" not in pulseaudio.names("sources")


def test_closing_the_terminal_ends_live_cleanly(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    ours, theirs = pty.openpty()
    told = [sys.executable, "-m", "rtvc", "live", "--preset", "deep", "--capture", "fake-mic"]
    command = ["env", "--default-signal=HUP", "setsid", "--ctty", *told]  # nohup may be what runs the tests
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=pulseaudio.env) as process:
        os.close(theirs)
        try:
            shown = b""
            while b" ms (age" not in shown:
                shown += os.read(ours, 4096)
            assert "rtvc-mic" in pulseaudio.names("sources")
            os.close(ours)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    assert "rtvc-mic" not in pulseaudio.names("sources")


def test_a_device_that_is_not_there_is_named_with_those_that_are(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    with pulseaudio.python("-m", "rtvc", "live", "--capture", "Neumann") as process:
        process.communicate(timeout=60)
    said = (pulseaudio.folder / "python.log").read_text("utf-8")
    assert process.returncode == 1
    assert said.startswith("rtvc: no capture device is named 'Neumann'; there are:\n  fake-mic")


def test_devices_are_listed_for_people_and_for_scripts(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    with pulseaudio.python("-m", "rtvc", "devices", "--json") as process:
        listed = json.loads(process.communicate(timeout=60)[0])
    with pulseaudio.python("-m", "rtvc", "devices") as process:
        text = process.communicate(timeout=60)[0]
    assert listed["host"] == "pulse"
    assert {"capture", "playback"} == {device["kind"] for device in listed["devices"]}
    assert all(device["id"] in text for device in listed["devices"])


def test_the_virtual_microphone_is_back_in_time_for_the_next_run(pulseaudio: rig.Server) -> None:
    with pulseaudio.python(*live(pulseaudio)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
    with pulseaudio.python("-m", "rtvc", "live", "--json", "--capture", "fake-mic") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["state"] == "running"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert "rtvc-mic" not in pulseaudio.names("sources")
