"""`rtvc live` with its control side, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtvc.config import Control as ControlConfig
from rtvc.control.client import Control
from rtvc.control.session import desk_settings
from rtvc.engine.network import choose_for_session
from rtvc.engine.params import to_vector


@contextmanager
def live(*argv: str) -> Iterator[tuple[subprocess.Popen[str], list[str], threading.Event]]:
    """Run it on simulated devices; the event tells that it said where its panel is, or why there is none."""
    command = [sys.executable, "-m", "rtvc", "live", "--simulated", "--json", *argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        said: list[str] = []
        told = threading.Event()

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if line.startswith(("panel: ", "rtvc: no remote")):
                    told.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield process, said, told
        finally:
            process.kill()
            reader.join()


def test_it_serves_a_panel_and_ends_cleanly() -> None:
    with live("--preset", "feminine", "--control-port", "0") as (process, said, told):
        assert told.wait(120), said
        found = re.search(r"panel: http://127\.0\.0\.1:(\d+)/", "".join(said))
        assert found, said
        with Control(f"ws://127.0.0.1:{found[1]}/") as control:
            status, expected = control.status(), choose_for_session("clear", speaks=False)
            assert status["state"] == "running"
            assert status["provider"] == expected.provider and status["provider_reason"]
            assert control.set({"pitch.semitones": 2})["applied_at"] is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_sigterm_to_all_its_processes_ends_it_as_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # as a service manager or `timeout` sends it
    with live("--control-port", "0") as (process, said, told):
        assert told.wait(120), said
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert "engine process died" not in "".join(said)
    assert not list(tmp_path.rglob("rtvc-crash-*"))


def test_a_taken_port_is_told_and_sound_goes_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with live("--seconds", "1.5", "--control-port", str(port)) as (process, said, told):
            assert told.wait(120), said
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["state"] == "running"
            assert process.wait(60) == 0
        text = "".join(said)
        assert f"no remote control: port {port} on 127.0.0.1 cannot be used" in text and "--control-port" in text


def test_the_own_voice_is_allowed_if_settings_say_so_or_it_is_the_first_sound() -> None:
    own, dsp = to_vector({"voice.name": "own"}), to_vector({})
    allowed = [(ControlConfig(bypass=bypass), values) for bypass in (None, True, False) for values in (own, dsp)]
    found = [desk_settings(control, values, "clear").bypass_allowed for control, values in allowed]
    assert found == [True, False, True, True, False, False]


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_out_of_range_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rtvc.cli import main

    assert main(["live", "--simulated", "--control-port", port]) == 1
    assert f"control.port = {port}: must lie in 0..65535" in capsys.readouterr().err
