"""The monitor on real servers: heard at its level, whole and soon, and nothing is left of it, whatever ends it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio.backend import DeviceError
from rtvc.audio.monitor import Monitor, MonitorState
from rtvc.audio.pulse_monitor import PulseMonitor
from rtvc.audio.virtual_mic import VirtualMicrophone
from tests import probe, rig
from tests.waiting import wait_for

Inside = Callable[[rig.Server], None]
HOLD = """
import sys
from rtvc.audio.pulse_monitor import PulseMonitor
monitors = [PulseMonitor("fake-mic", sink, float(level)) for sink, level in zip(sys.argv[1::2], sys.argv[2::2])]
print("on", flush=True)
sys.stdin.read()
"""


def _streams(server: rig.Server) -> int:
    """Return how many streams play and record on the server."""
    return sum(
        len(server.run("pactl", "list", "short", what).splitlines()) for what in ("sink-inputs", "source-outputs")
    )


def _level(x: NDArray[np.float32]) -> float:
    """Return the typical level of the probe's pilot in x, 1.0 as in the probe."""
    turns = np.exp(-2j * np.pi * probe.PILOT_HZ / rig.RATE_HZ * np.arange(480))
    levels = np.abs(x[: len(x) // 480 * 480].reshape(-1, 480) @ turns) / (240 * probe.PILOT_LEVEL)
    return float(np.median(levels[levels > 0.5 * levels.max()]))


def _recorded_level(server: rig.Server) -> float:
    """Return how loud the rig's recorder hears on sink speakers what is played there: PipeWire's mixes add 3 dB."""
    with rig.Recorder(server, "speakers.monitor") as heard:
        server.play(probe.probe(1.5), "speakers").wait()
        time.sleep(0.2)
    return _level(heard.x)


def test_it_is_heard_whole_at_its_level(sound_server: rig.Server) -> None:
    sound_server.plug_in()
    sound_server.add_sink("headphones", channels=2)
    one = _recorded_level(sound_server)
    with sound_server.python("-c", HOLD, "speakers", "-6", "headphones", "3") as monitors:
        assert monitors.stdout and monitors.stdout.readline() == "on\n"
        with (
            rig.Recorder(sound_server, "speakers.monitor") as softer,
            rig.Recorder(sound_server, "headphones.monitor") as louder,
        ):
            sound_server.play(0.5 * probe.probe(4)).wait()
            time.sleep(0.3)
    for heard, level_db in ((softer, -6.0), (louder, 3.0)):
        as_played = heard.x / np.float32(0.5 * one * 10 ** (level_db / 20))
        assert len(probe.chirps(as_played)) >= 5
        assert _level(as_played) == pytest.approx(1.0, rel=0.05)


def test_a_killed_monitor_leaves_nothing(sound_server: rig.Server) -> None:
    sound_server.plug_in()
    before = sound_server.run("pactl", "list", "short", "modules"), _streams(sound_server)
    with sound_server.python("-c", HOLD, "speakers", "0") as monitor:
        assert monitor.stdout and monitor.stdout.readline() == "on\n"
        assert _streams(sound_server) >= before[1] + 2
        os.kill(monitor.pid, signal.SIGKILL)
        monitor.wait()
        wait_for(lambda: _streams(sound_server) == before[1], "the end of both streams")
        assert sound_server.run("pactl", "list", "short", "modules") == before[0]


def test_a_stall_leaves_no_lasting_delay(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    with pulseaudio.python("-c", HOLD, "speakers", "0") as monitor:
        assert monitor.stdout and monitor.stdout.readline() == "on\n"
        with (
            rig.Recorder(pulseaudio, "fake-mic") as mic,
            rig.Recorder(pulseaudio, "speakers.monitor") as heard,
        ):
            player = pulseaudio.play(probe.probe(6))
            time.sleep(2)
            rig.stall(monitor, 0.5)
            player.wait()
            time.sleep(0.3)
    t_in, t_out = (recorder.arrival_s(probe.chirps(recorder.x)) for recorder in (mic, heard))
    early = probe.delay((mic.x, t_in[:3]), (heard.x, t_out[:3]))
    late = probe.delay((mic.x, t_in[-3:]), (heard.x, t_out[-3:]))
    assert abs(late.p50_ms - early.p50_ms) < 40  # the stall was 500 ms


def test_its_own_microphone_is_no_output(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    with VirtualMicrophone() as microphone, pytest.raises(DeviceError, match=r"would be a loop|no sink named"):
        PulseMonitor(microphone.heard_as, microphone.playback_id.partition(":")[2], 0.0)


def test_an_output_that_goes_away_is_told_and_taken_again(pulseaudio: rig.Server, inside: Inside) -> None:
    pulseaudio.plug_in()
    headphones = pulseaudio.add_sink("headphones")
    inside(pulseaudio)
    monitor = Monitor(lambda: "pulse:fake-mic", device="pulse:headphones")
    try:
        monitor.set(on=True, device="pulse:headphones")
        assert monitor.state.playing
        wait_for(monitor.delay_ms, "the delay")
        pulseaudio.unplug(headphones)
        wait_for(lambda: not monitor.state.playing, "the loss")
        assert monitor.state.on and "headphones" in monitor.state.reason
        pulseaudio.add_sink("headphones")
        wait_for(lambda: monitor.state.playing, "the headphones again")
        assert monitor.state.reason == ""
    finally:
        monitor.close()


def test_it_follows_the_default_output(pulseaudio: rig.Server, inside: Inside) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("headphones")
    inside(pulseaudio)
    before = _streams(pulseaudio)
    monitor = Monitor(lambda: "pulse:fake-mic")
    where = [line.split("\t") for line in pulseaudio.run("pactl", "list", "short", "sinks").splitlines()]
    numbers = {name: number for number, name, *_ in where}

    def plays_on(sink: str) -> bool:
        inputs = pulseaudio.run("pactl", "list", "short", "sink-inputs").splitlines()
        return any(line.split("\t")[1] == numbers[sink] for line in inputs)

    try:
        monitor.set(on=True)
        assert plays_on("speakers") and not plays_on("headphones")
        pulseaudio.run("pactl", "set-default-sink", "headphones")
        wait_for(lambda: plays_on("headphones") and not plays_on("speakers"), "the new default")
        monitor.set(on=False)
        assert not plays_on("headphones") and _streams(pulseaudio) == before and not monitor.state.playing
    finally:
        monitor.close()


def test_what_cannot_be_is_refused_and_changes_nothing(pulseaudio: rig.Server, inside: Inside) -> None:
    pulseaudio.plug_in()
    inside(pulseaudio)
    monitor = Monitor(lambda: "pulse:fake-mic")
    try:
        monitor.set(on=True, level_db=-3.0)
        for device, why in (
            ("pulse:nowhere", "no such output"),
            ("jack:system", "no output of pulse"),
            ("x", "no device id"),
        ):
            with pytest.raises(DeviceError, match=why):
                monitor.set(on=True, device=device)
            assert monitor.state == MonitorState(on=True, level_db=-3.0, playing=True)
    finally:
        monitor.close()
