"""A live session on simulated devices in real time: it sounds, obeys, survives what dies, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.backend import DeviceError
from rtvc.audio.link import FADE_FRAMES
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.engine import live
from rtvc.engine.faults import SleepWatch
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from rtvc.engine.pump import CATCH_UP_S, DSP_MAX_AGE_S
from rtvc.kernels.ring import ring_fill, ring_push

RATE_HZ = 48000
TONE_HZ, LEVEL = 200.0, 0.2
VOICE = to_vector({"voice.name": "dsp", "pitch.semitones": 7, "gate.threshold_db": -90, "level.match": False})
PATIENCE_S = 60.0
SILENT = 1e-4


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait until something is so; how long it takes is nobody's promise here."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def blocks_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the shared memory that sessions make; at the end none of it may be left."""
    names = []

    class Recorded(SharedMemory):
        def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None:
            super().__init__(name, create, size)
            names.append(self.name)

    monkeypatch.setattr(live, "SharedMemory", Recorded)
    yield names
    assert not [name for name in names if Path("/dev/shm", name).exists()]


class Studio:
    """Opens simulated devices for a session and remembers them; `plugged_in` says whether there are any."""

    def __init__(
        self,
        capture: SimulatedClock | None = None,
        playback: SimulatedClock | None = None,
        source: NDArray[np.float32] | None = None,
    ) -> None:
        self.plugged_in = True
        self.opened: list[SimulatedStreams] = []
        self.clocks = capture, playback
        tone = LEVEL * np.sin(2 * np.pi * TONE_HZ / RATE_HZ * np.arange(120 * RATE_HZ))
        self.source = tone.astype(np.float32) if source is None else source

    def __call__(self, link: NDArray[np.int64]) -> SimulatedStreams:
        if not self.plugged_in:
            raise DeviceError("there is no microphone")
        self.opened.append(SimulatedStreams(link, self.source, *self.clocks))
        return self.opened[-1]

    def heard(self) -> NDArray[np.float32]:
        return self.opened[-1].recorded()

    def await_sound(self, seconds: float = 0.1) -> None:
        """Wait for so much more to be played, the last of it with sound."""
        since = len(self.opened[-1].recorded()) if self.opened else 0
        wait_for(lambda: self._newest(since, seconds) > 0.1 * LEVEL, "sound")

    def await_silence(self, seconds: float = 0.1) -> None:
        """Wait for so much more to be played, the last of it silent."""
        since = len(self.opened[-1].recorded()) if self.opened else 0
        wait_for(lambda: 0.0 <= self._newest(since, seconds) < SILENT, "silence")

    def _newest(self, since: int, seconds: float) -> float:
        """Return the peak of the newest 50 ms, -1 while less than that much was played since then."""
        y = self.heard()
        return float(np.abs(y[-2400:]).max()) if len(y) >= max(since + seconds * RATE_HZ, 2400) else -1.0


def assert_no_raw_voice(y: NDArray[np.float32]) -> None:
    """Look for the microphone's own tone in every stretch of what was heard; the voice is 7 semitones above."""
    n = 4800
    for start in range(0, len(y) - n, n // 2):
        spectrum = np.abs(np.fft.rfft(y[start : start + n] * np.hanning(n))) / (n / 4)
        assert spectrum[round(TONE_HZ * n / RATE_HZ)] < 0.25 * LEVEL


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
    assert len(blocks_made) == 5
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


def test_an_engine_that_is_killed_is_replaced_and_no_raw_voice_is_heard(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        pid = session.engine_pid
        assert pid is not None
        before = len(studio.heard())
        os.kill(pid, signal.SIGKILL)
        after = len(studio.heard())
        wait_for(lambda: session.status().engine_restarts == 1, "a new engine")
        wait_for(lambda: session.status().state == "running", "it to run")
        studio.await_sound()
        assert session.engine_pid != pid
        assert session.status().xruns >= 1
    y = studio.heard()
    quiet = np.abs(y) < SILENT
    runs = np.lib.stride_tricks.sliding_window_view(quiet[before:], 480).all(axis=1)
    # there is silence; how soon is measured by bench/isolation.py
    assert np.argmax(runs) < (DSP_MAX_AGE_S + CATCH_UP_S + 0.05) * RATE_HZ + (after - before)
    silence = before + int(np.argmax(runs))
    back = silence + int(np.argmax(~quiet[silence:]))
    assert (back - silence) / RATE_HZ < 5.0
    assert_no_raw_voice(y)
    assert np.abs(np.diff(y)).max() < 0.6 * LEVEL


def test_what_a_killed_engine_had_made_is_not_heard(blocks_made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        link, devices, start = session._link.view, studio.opened[-1], session._start_engine
        counters = link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16]
        devices.stop()  # time stands still for them: what waits now, waits

        def refuse() -> None:
            raise RuntimeError("no process can be started")

        monkeypatch.setattr(session, "_start_engine", refuse)
        os.kill(session.engine_pid or 0, signal.SIGKILL)
        wait_for(lambda: link[fields.ENGINE_GUARD] & fields.GUARD_ENDED, "the mark")
        ring_push(counters, fields.playback_data(link), studio.source[:4800])  # as if it had been that far ahead
        before = len(studio.heard())
        devices.run_until(devices.next_s() + 0.02)
        assert ring_fill(counters) == 0
        assert np.abs(studio.heard()[before + FADE_FRAMES :]).max() < 0.01 * LEVEL
        monkeypatch.setattr(session, "_start_engine", start)
        devices.start()
        wait_for(lambda: session.status().state == "running", "an engine")
        studio.await_sound()


def test_a_silent_voice_stays_silent_when_its_engine_dies(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, to_vector({"voice.name": "silence"})) as session:
        for restarts in (1, 2):
            wait_for(lambda: session.status().in_peak_dbfs > -30, "the engine to hear something")
            os.kill(session.engine_pid or 0, signal.SIGKILL)
            wait_for(lambda n=restarts: session.status().engine_restarts == n, "a new engine")  # type: ignore[misc]
            wait_for(lambda: session.status().state == "running", "the new engine")
    assert len(studio.heard()) > 0
    assert not studio.heard().any()


def test_the_new_engine_has_the_newest_parameters(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        rev = session.set(to_vector({"voice.name": "silence"}))
        wait_for(lambda: session.status().applied_rev == rev, "the change")
        studio.await_silence()
        heard = len(studio.heard())
        os.kill(session.engine_pid or 0, signal.SIGKILL)
        wait_for(lambda: session.status().engine_restarts == 1 and session.status().state == "running", "a new engine")
        studio.await_silence(0.5)
    assert np.abs(studio.heard()[heard:]).max() < SILENT


def test_an_engine_that_hangs_is_replaced(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        pid = session.engine_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: session.status().engine_restarts == 1, "a new engine")
        wait_for(lambda: not alive(pid), "the end of the old one")
        wait_for(lambda: session.status().state == "running", "it to run")
        studio.await_sound()
        assert session.engine_pid != pid
    assert_no_raw_voice(studio.heard())


def test_a_microphone_that_is_pulled_out_is_told_and_used_again_when_it_is_back(blocks_made: list[str]) -> None:
    studio = Studio(SimulatedClock(unplugged_s=((1.5, 1e9),)))
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        studio.plugged_in = False
        wait_for(lambda: session.status().state == "waiting for devices", "the loss to be noticed")
        wait_for(lambda: session.status().message == "there is no microphone", "the reason")
        assert session.status().device_ms is None
        # an engine that dies meanwhile is no trouble
        os.kill(session.engine_pid or 0, signal.SIGKILL)
        time.sleep(0.2)
        studio.clocks = None, None
        studio.plugged_in = True
        wait_for(lambda: session.status().state == "running", "the return")
        studio.await_sound()
        assert session.status().device_reopens == 1
        assert session.status().message == ""
    assert len(studio.opened) == 2


def test_what_was_in_flight_when_the_loudspeaker_went_is_not_heard_when_it_returns(blocks_made: list[str]) -> None:
    studio = Studio(None, SimulatedClock(unplugged_s=((1.5, 1e9),)))
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        studio.plugged_in = False
        wait_for(lambda: session.status().message == "there is no microphone", "the loss to be noticed")
        studio.clocks, studio.source = (None, None), np.zeros(1, np.float32)
        studio.plugged_in = True
        wait_for(lambda: session.status().state == "running", "the return")
        studio.await_silence(1.0)
    assert not studio.heard().any()


def test_devices_that_cannot_be_opened_leave_nothing_behind(blocks_made: list[str]) -> None:
    studio = Studio()
    studio.plugged_in = False
    session = LiveSession(studio, VOICE)
    with pytest.raises(DeviceError, match="no microphone"):
        session.start()
    assert session.status().state == "stopped"
    assert len(blocks_made) == 5
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


def test_an_engine_that_cannot_be_replaced_is_tried_again(
    blocks_made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio()
    session = LiveSession(studio, VOICE)
    with session:
        studio.await_sound()
        start, failures = session._start_engine, []

        def refuse() -> None:
            failures.append(1)
            raise RuntimeError("no process can be started")

        monkeypatch.setattr(session, "_start_engine", refuse)
        os.kill(session.engine_pid or 0, signal.SIGKILL)
        wait_for(lambda: session.status().message == "no process can be started", "the failure to be told")
        wait_for(lambda: len(failures) > 1, "a second try")
        monkeypatch.setattr(session, "_start_engine", start)
        wait_for(lambda: session.status().state == "running", "an engine")
        studio.await_sound()


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


def test_faults_are_counted_by_name_and_timed(blocks_made: list[str]) -> None:
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        assert set(session.status().faults.values()) == {0}
        os.kill(session.engine_pid or 0, signal.SIGKILL)
        wait_for(lambda: session.status().faults["engine_died"] == 1, "the fault to be counted")
        wait_for(lambda: session.status().outage_ms > 0, "its end")
        os.kill(session.engine_pid or 0, signal.SIGSTOP)
        wait_for(lambda: session.status().faults["engine_hung"] == 1, "the hang to be counted")
        wait_for(lambda: session.status().state == "running", "its end")
        studio.await_sound()
    assert sum(session.status().faults.values()) == 2  # they outlive the session


def test_after_a_sleep_of_the_machine_devices_and_engine_begin_anew(
    blocks_made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]

    class Sleepy(SleepWatch):
        def slept_s(self) -> float:
            return slept.pop() if slept else 0.0

    monkeypatch.setattr(live, "SleepWatch", Sleepy)
    studio = Studio()
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        slept.append(3600.0)
        wait_for(lambda: session.status().faults["suspended"] == 1, "the sleep to be noticed")
        wait_for(lambda: session.status().state == "running", "the session to run again")
        studio.await_sound()
    assert len(studio.opened) == 2


def test_a_device_that_comes_back_with_another_rate_is_told_and_goes_on(blocks_made: list[str]) -> None:
    studio = Studio(SimulatedClock(unplugged_s=((1.5, 1e9),)))
    with LiveSession(studio, VOICE) as session:
        studio.await_sound()
        studio.clocks = SimulatedClock(44_100), SimulatedClock(48_000)
        wait_for(lambda: session.status().faults["rate_changed"] == 1, "the new rate")
        wait_for(lambda: session.status().state == "running", "the session to run again")
        studio.await_sound()
        status = session.status()
        assert (status.capture_rate_hz, status.playback_rate_hz) == (44_100, 48_000)
        assert status.faults["device_lost"] == 1
    assert_no_raw_voice(studio.heard())


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
