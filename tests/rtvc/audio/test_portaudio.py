"""PortAudio with compiled callbacks, through ALSA's Pulse plug-in on a real private PulseAudio."""

from __future__ import annotations

import json
import time

import pytest

from tests import probe, rig

TWO_DEVICES = ("alsa:fake_mic", "alsa:rtvc_sink")
ONE_DEVICE = ("alsa:loop", "alsa:loop")


@pytest.mark.parametrize("devices", [TWO_DEVICES, ONE_DEVICE])
def test_sound_arrives_whole(pulseaudio: rig.Server, devices: tuple[str, str]) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    with (
        pulseaudio.echo(*devices, 20, 48000, 480, 480),
        rig.Recorder(pulseaudio, "rtvc-sink.monitor") as out,
    ):
        pulseaudio.play(probe.probe(2.5)).wait()
        time.sleep(0.3)
    assert len(probe.chirps(out.x)) >= 3
    assert probe.chirp_level(out.x) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("devices", "duplex"), [(TWO_DEVICES, False), (ONE_DEVICE, True)])
def test_one_device_is_one_clock(pulseaudio: rig.Server, devices: tuple[str, str], duplex: bool) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    with pulseaudio.echo(*devices, 1.0, 48000, 480) as echo:
        told = json.loads(echo.communicate()[0].splitlines()[-1])
    assert told["duplex"] is duplex
    assert told["block_frames"] == 480
    assert told["block_max"] == [480, 480]
    assert told["channels"] == [2, 2]
    assert told["failure"] is None


@pytest.mark.parametrize("devices", [TWO_DEVICES, ONE_DEVICE])
def test_a_dead_host_is_reported(pulseaudio: rig.Server, devices: tuple[str, str]) -> None:
    pulseaudio.plug_in()
    pulseaudio.add_sink("rtvc-sink")
    with pulseaudio.echo(*devices, 60, 48000, 480) as echo:
        assert echo.stdout is not None
        pulseaudio.kill()
        assert echo.stdout.readline().startswith("lost ")


def test_a_missing_device_is_named(pulseaudio: rig.Server) -> None:
    with (
        pytest.raises(RuntimeError, match="no capture device named nothing: is it plugged in"),
        pulseaudio.echo("alsa:nothing", "alsa:loop", 1),
    ):
        pass


def test_an_unknown_host_is_named(pulseaudio: rig.Server) -> None:
    with (
        pytest.raises(RuntimeError, match="no audio host named gramophone"),
        pulseaudio.echo("gramophone:horn", "gramophone:horn", 1),
    ):
        pass
