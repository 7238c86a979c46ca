"""A live session on simulated devices in real time: it starts, sounds, obeys and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.backend import DeviceError
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from tests.rtvc.engine.studio import (
    LEVEL,
    RATE_HZ,
    TONE_HZ,
    VOICE,
    Studio,
    alive,
    assert_no_raw_voice,
)
from tests.waiting import PATIENCE_S, wait_for


def test_a_session_starts_sounds_and_stops_cleanly(blocks_made: list[str]) -> None:
    studio = Studio(SimulatedClock(ppm=100, jitter_ms=0.5), SimulatedClock(ppm=-50))
    session = LiveSession(studio, VOICE)
    assert session.status().state == "stopped"
    assert session.engine_pid is None
    session.start()
    pid = session.engine_pid
    assert pid is not None and alive(pid) and pid != os.getpid()
    studio.await_sound()
    wait_for(lambda: session.status().own_hz > 0, "the speaker's pitch")
    status = session.status()
    assert status.state == "running"
    assert status.own_hz == pytest.approx(TONE_HZ, rel=0.02)
    assert (status.capture_rate_hz, status.playback_rate_hz, status.block_frames) == (RATE_HZ, RATE_HZ, 256)
    assert status.target_ms >= 1e3 * 256 / RATE_HZ
    assert status.voice_delay_ms <= 15
    assert status.in_peak_dbfs == pytest.approx(20 * np.log10(LEVEL), abs=0.5)
    assert 0 < status.load < 1
    session.stop()
    wait_for(lambda: not alive(pid), "the engine's end")
    assert session.status().state == "stopped"
    assert len(blocks_made) == 6
    assert_no_raw_voice(studio.heard())
    heard = len(studio.heard())
    time.sleep(0.05)
    assert len(studio.heard()) == heard


def test_stop_may_be_called_twice_or_first_and_start_may_follow(blocks_made: list[str]) -> None:
    studio = Studio()
    session = LiveSession(studio, VOICE)
    session.stop()
    for _ in range(2):
        session.start()
        studio.await_sound()
        session.stop()
        session.stop()
    assert len(studio.opened) == 2
    with session:
        with pytest.raises(RuntimeError, match="already"):
            session.start()
        studio.await_sound()


def test_set_takes_effect_and_says_when(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        assert session.status().applied_rev == 1
        rev = session.set(to_vector({"level.mute": True}, VOICE))
        assert rev == 2
        wait_for(lambda: session.status().applied_rev == rev, "the engine to take it over")
        first = session.status().applied_sample
        assert first > 0
        studio.await_silence()
        for semitones in range(10):
            rev = session.set(to_vector({"pitch.semitones": semitones}, VOICE))
        wait_for(lambda: session.status().applied_rev == rev == 12, "the last of many")
        assert session.status().applied_sample >= first
        studio.await_sound()


def test_what_is_set_before_the_start_is_how_it_starts(blocks_made: list[str]) -> None:
    studio = Studio()
    session = LiveSession(studio, VOICE)
    assert session.set(to_vector({"voice.name": "silence"})) == 0
    with session:
        studio.await_silence(0.5)
    assert not studio.heard().any()


def test_devices_that_cannot_be_opened_leave_nothing_behind(blocks_made: list[str]) -> None:
    studio = Studio()
    studio.plugged_in = False
    session = LiveSession(studio, VOICE)
    with pytest.raises(DeviceError, match="no microphone"):
        session.start()
    assert session.status().state == "stopped"
    assert len(blocks_made) == 6
    studio.plugged_in = True
    with session:
        studio.await_sound()


def test_an_engine_that_cannot_start_leaves_nothing_behind(blocks_made: list[str]) -> None:
    opened: list[SimulatedStreams] = []

    def open_streams(link: NDArray[np.int64]) -> SimulatedStreams:
        opened.append(SimulatedStreams(link, np.zeros(1, np.float32)))
        link[fields.CAPTURE_RATE_HZ] = 0  # no engine can run at this rate
        return opened[-1]

    session = LiveSession(open_streams, VOICE)
    with pytest.raises(RuntimeError, match="engine process ended while starting"):
        session.start()
    assert session.engine_pid is None
    assert session.status().state == "stopped"
    assert len(opened[0].recorded()) == 0


def test_stop_does_not_wait_for_an_engine_that_comes_up_slowly(
    blocks_made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(SimulatedClock(unplugged_s=((0.5, 1e9),)))
    session = LiveSession(studio, VOICE)
    session.start()
    start = session._start_engine
    pids: list[int] = []

    def start_stopped() -> None:
        start()
        pids.append(session.engine_pid or 0)
        os.kill(pids[-1], signal.SIGSTOP)

    monkeypatch.setattr(session, "_start_engine", start_stopped)
    wait_for(lambda: pids, "the engine for the returned device")
    session.stop()
    wait_for(lambda: not any(map(alive, pids)), "the end of that engine")


def test_status_and_set_may_be_called_from_anywhere_while_it_starts_and_stops(blocks_made: list[str]) -> None:
    studio = Studio()
    session = LiveSession(studio, VOICE)
    done, states = threading.Event(), set()

    def ask() -> None:
        while not done.is_set():
            states.add(session.status().state)
            session.set(VOICE)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for _ in range(3):
        with session:
            studio.await_sound()
    done.set()
    for thread in asking:
        thread.join()
    assert {"stopped", "running"} <= states


def test_the_age_is_told_and_counted_block_by_block(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE, max_age_ms=50) as session:
        studio.await_sound(1.0)
        wait_for(lambda: session.status().age_ms > 0, "an age")
        status = session.status()
        assert status.max_age_ms == pytest.approx(50)
        assert sum(status.ages) > 50
        assert status.rung == "dsp"
        assert status.rung_reason == ""
        session.set(to_vector({"voice.name": "own"}, VOICE))
        assert session.status().rung == "own"


SCRIPT = """
import os, sys, time
import numpy as np
from rtvc.audio.simulated import SimulatedStreams
from rtvc.engine.live import LiveSession
from rtvc.engine.params import default_values

if __name__ == "__main__":
    session = LiveSession(lambda link: SimulatedStreams(link, np.zeros(1, np.float32)), default_values())
    session.start()
    shared = [block.memory.name for block in session._shared]
    print(session.engine_pid, *shared, flush=True)
    {end}
"""


def run_script(tmp_path: Path, end: str) -> subprocess.Popen[str]:
    path = tmp_path / "session.py"
    path.write_text(textwrap.dedent(SCRIPT).replace("{end}", end))
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, str(path)], stdout=pipe, stderr=pipe, text=True)


def test_a_session_that_ends_says_nothing_on_stderr(tmp_path: Path) -> None:
    script = run_script(tmp_path, "session.stop()")
    out, err = script.communicate(timeout=PATIENCE_S)
    assert err == ""
    assert script.returncode == 0
    pid, *shared = out.split()
    wait_for(lambda: not alive(int(pid)), "the engine's end")
    assert not [name for name in shared if Path("/dev/shm", name).exists()]


def test_a_control_process_that_is_killed_takes_everything_with_it(tmp_path: Path) -> None:
    with run_script(tmp_path, "time.sleep(1000)") as script:
        assert script.stdout is not None
        pid, *shared = script.stdout.readline().split()
        assert alive(int(pid))
        assert all(Path("/dev/shm", name).exists() for name in shared)
        script.kill()
        wait_for(lambda: not alive(int(pid)), "the engine's end")
        wait_for(lambda: not [name for name in shared if Path("/dev/shm", name).exists()], "the memory's end")


def test_an_interrupt_from_the_keyboard_does_not_stop_the_engine(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        os.kill(session.engine_pid or 0, signal.SIGINT)
        studio.await_sound(0.5)
        assert session.status().engine_restarts == 0


def test_a_start_under_way_is_ended_by_a_stop_from_another_thread(blocks_made: list[str]) -> None:
    studio = Studio()
    session = LiveSession(studio, VOICE)
    for pause_s in (0.0, 0.002, 0.02, 0.1):
        said: list[str] = []

        def start(said: list[str] = said) -> None:
            try:
                session.start()
            except RuntimeError as error:
                said.append(str(error))

        starter = threading.Thread(target=start)
        starter.start()
        time.sleep(pause_s)
        session.stop()
        starter.join()
        session.stop()
        assert session.status().state == "stopped"
        assert all("stopped while its engine started" in text for text in said)
