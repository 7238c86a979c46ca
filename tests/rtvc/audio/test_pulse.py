"""PulseAudio through its native protocol, on a real private server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import pytest

from rtvc.audio.backend import DeviceError, open_streams
from rtvc.audio.link import link_memory
from tests import probe, rig

CAPTURE, PLAYBACK = "pulse:fake-mic", "pulse:rtvc-sink"


def _counters(lines: str) -> dict[str, object]:
    found = json.loads(lines.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def _times(recorder: rig.Recorder) -> np.ndarray:
    return recorder.arrival_s(probe.chirps(recorder.x))


def test_sound_arrives_whole(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    x = probe.probe(2.5)
    with (
        pulseaudio.echo(CAPTURE, PLAYBACK, 20, 48000, 240, 120),
        rig.Recorder(pulseaudio, "rtvc-sink.monitor") as out,
    ):
        pulseaudio.play(x).wait()
        time.sleep(0.3)
    assert len(probe.chirps(out.x)) >= 3
    assert probe.chirp_level(out.x) == pytest.approx(1.0, rel=0.05)


def test_each_stream_runs_at_its_devices_own_rate(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("slow", channels=2, rate_hz=44100)
    with pulseaudio.echo(CAPTURE, "pulse:slow", 1.0, 48000, 480) as echo:
        told = _counters(echo.communicate()[0])
    assert told["rates"] == [48000, 44100]
    assert told["channels"] == [1, 1]
    assert told["block_frames"] == 440  # 10 ms, in two equal halves


def test_a_stall_leaves_no_lasting_delay(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    x = probe.probe(5)
    with (
        pulseaudio.echo(CAPTURE, PLAYBACK, 20, 48000, 240, 120) as echo,
        rig.Recorder(pulseaudio, "fake-mic") as mic,
        rig.Recorder(pulseaudio, "rtvc-sink.monitor") as out,
    ):
        player = pulseaudio.play(x)
        time.sleep(2)
        rig.stall(echo, 0.5)
        player.wait()
        time.sleep(0.3)
    t_in, t_out = _times(mic), _times(out)
    early = probe.delay((mic.x, t_in[:3]), (out.x, t_out[:3]))
    late = probe.delay((mic.x, t_in[-3:]), (out.x, t_out[-3:]))
    assert abs(late.p50_ms - early.p50_ms) < 40  # the stall was 500 ms


def test_an_unplugged_microphone_is_reported_and_comes_back(pulseaudio: rig.Server) -> None:
    module = pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    with pulseaudio.echo(CAPTURE, PLAYBACK, 60) as echo:
        assert echo.stdout is not None
        pulseaudio.unplug(module)
        assert echo.stdout.readline() == "lost source fake-mic went away\n"
        pulseaudio.plug_in()
        assert echo.stdout.readline() == "running\n"
        with rig.Recorder(pulseaudio, "rtvc-sink.monitor") as out:
            pulseaudio.play(probe.probe(2.5)).wait()
            time.sleep(0.3)
    assert len(probe.chirps(out.x)) >= 2


def test_a_dead_server_is_reported_and_comes_back(pulseaudio: rig.Server) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    with pulseaudio.echo(CAPTURE, PLAYBACK, 60) as echo:
        assert echo.stdout is not None
        pulseaudio.kill()
        assert echo.stdout.readline() == "lost the PulseAudio server went away\n"
        pulseaudio.start()
        pulseaudio.plug_in()
        pulseaudio.add_sink("rtvc-sink")
        assert echo.stdout.readline() == "running\n"


def test_a_missing_device_is_named(pulseaudio: rig.Server, inside: Callable[[rig.Server], None]) -> None:
    inside(pulseaudio)
    link = link_memory()
    with pytest.raises(DeviceError, match="no source named fake-mic"):
        open_streams(link.ctypes.data, CAPTURE, "pulse:speakers")
    pulseaudio.plug_in()
    with pytest.raises(DeviceError, match="no sink named nowhere"):
        open_streams(link.ctypes.data, CAPTURE, "pulse:nowhere")


def test_two_hosts_do_not_mix() -> None:
    with pytest.raises(DeviceError, match="different hosts"):
        open_streams(0, "pulse:fake-mic", "jack:system")
