"""A live session whose engine, devices or machine fail: silence, a name for it, and the voice again."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from rtvc.audio import link as fields
from rtvc.audio.link import FADE_FRAMES
from rtvc.audio.simulated import SimulatedClock
from rtvc.engine import live
from rtvc.engine.faults import SleepWatch
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from rtvc.engine.pump import CATCH_UP_S, DSP_MAX_AGE_S
from rtvc.kernels.ring import ring_fill, ring_push
from tests.rtvc.engine.studio import (
    LEVEL,
    RATE_HZ,
    SILENT,
    VOICE,
    Studio,
    alive,
    assert_no_raw_voice,
)
from tests.waiting import wait_for


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
