"""Our JACK client on a real private PipeWire and a real private jackd (dummy driver)."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from tests import probe, rig

PERIOD = 256


def _add_virtual(server: rig.Server) -> None:
    server.run(
        *("pactl", "load-module", "module-null-sink", "media.class=Audio/Source/Virtual", "sink_name=virtual"),
        *("channels=1", "channel_map=mono", "rate=48000"),
    )


@pytest.fixture
def call(pipewire: rig.Server) -> rig.Server:
    """Return a PipeWire with a virtual microphone."""
    _add_virtual(pipewire)
    return pipewire


@pytest.mark.parametrize("block_frames", [256, 128])
def test_pipewire_carries_sound_whole(call: rig.Server, block_frames: int) -> None:
    call.plug_in()
    with (
        call.echo("pipewire:fake-mic", "pipewire:virtual", 20, 48000, block_frames),
        rig.Recorder(call, "virtual") as out,
    ):
        call.play(probe.probe(2.5)).wait()
        time.sleep(0.3)
    assert len(probe.chirps(out.x)) >= 3
    assert probe.chirp_level(out.x) == pytest.approx(1.0, rel=0.05)


def test_pipewire_runs_at_the_block_asked_for_on_one_clock(call: rig.Server) -> None:
    call.plug_in()
    with call.echo("pipewire:fake-mic", "pipewire:virtual", 1.0, 48000, 128) as echo:
        told = json.loads(echo.communicate()[0].splitlines()[-1])
    assert told["block_frames"] == 128
    assert told["block_max"] == [128, 128]
    assert told["captured"] == told["played"] > 0
    assert told["duplex"] is True
    assert told["rates"] == [48000, 48000]


def test_any_description_will_do(call: rig.Server) -> None:
    """PortAudio's JACK side takes names as regular expressions and finds no ports on such a device."""
    call.plug_in("fake-mic", description="USB(HDMI)+[x]:mono")
    with (
        call.echo("pipewire:fake-mic", "pipewire:virtual", 20),
        rig.Recorder(call, "virtual") as out,
    ):
        call.play(probe.probe(2.5)).wait()
        time.sleep(0.3)
    assert len(probe.chirps(out.x)) >= 2


def test_pipewire_an_unplugged_microphone_is_reported_and_comes_back(call: rig.Server) -> None:
    module = call.plug_in()
    with call.echo("pipewire:fake-mic", "pipewire:virtual", 60) as echo:
        assert echo.stdout is not None
        call.unplug(module)
        assert echo.stdout.readline() == "lost fake-mic went away\n"
        call.plug_in()
        assert echo.stdout.readline() == "running\n"
        with rig.Recorder(call, "virtual") as out:
            call.play(probe.probe(2.5)).wait()
            time.sleep(0.3)
    assert len(probe.chirps(out.x)) >= 2


def test_a_dead_pipewire_is_reported_and_comes_back(call: rig.Server) -> None:
    call.plug_in()
    with call.echo("pipewire:fake-mic", "pipewire:virtual", 60) as echo:
        assert echo.stdout is not None
        call.kill()
        assert echo.stdout.readline().endswith("went away\n")  # its devices may go before it does
        call.start()
        call.plug_in()
        _add_virtual(call)
        assert echo.stdout.readline() == "running\n"


def test_jackd_adds_whole_periods(jackd: rig.Server) -> None:
    x = probe.probe(2.5)
    source, heard = jackd.folder / "x.raw", jackd.folder / "y.raw"
    x.tofile(source)
    with jackd.python("-m", "tests.jack_mic", str(source), str(heard)) as mic:
        assert mic.stdin is not None
        assert mic.stdout is not None
        assert mic.stdout.readline() == "ready\n"
        with jackd.echo("jack:fake-mic", "jack:fake-call", 20):
            mic.stdin.write("play\n")
            mic.stdin.flush()
            assert mic.stdout.readline() == "done\n"
    y = np.fromfile(heard, np.float32)
    played, arrived = probe.chirps(x), probe.chirps(y)
    # one period where the engine is in time; an engine that was late plays whole periods later from then on
    late = np.array([sample - played[played <= sample][-1] for sample in arrived])
    assert len(late) >= 3
    assert np.all(late % PERIOD == 0)
    assert np.all(late >= PERIOD)
    assert np.median(late) <= 4 * PERIOD


def test_jackd_a_client_that_leaves_is_reported_and_comes_back(jackd: rig.Server) -> None:
    silence = jackd.folder / "x.raw"
    np.zeros(480, np.float32).tofile(silence)
    words = ("-m", "tests.jack_mic", str(silence), str(jackd.folder / "y.raw"))
    with jackd.python(*words) as mic:
        assert mic.stdout is not None
        assert mic.stdout.readline() == "ready\n"
        with jackd.echo("jack:fake-mic", "jack:fake-call", 60) as echo:
            assert echo.stdout is not None
            mic.kill()
            assert echo.stdout.readline() in ("lost fake-mic went away\n", "lost fake-call went away\n")
            with jackd.python(*words):
                assert echo.stdout.readline() == "running\n"
            jackd.kill()
            assert "went away" in echo.stdout.readline()
