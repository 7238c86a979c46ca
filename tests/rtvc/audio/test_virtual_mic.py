"""The virtual microphone on real servers: made, heard, removed, taken over after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rtvc.audio.backend import Device, DeviceError
from rtvc.audio.devices import best_host
from rtvc.audio.virtual_mic import VirtualMicrophone, find_cable, remove_leftovers
from tests import probe, rig

Inside = Callable[[rig.Server], None]
HOLD = """
import sys
from rtvc.audio.virtual_mic import VirtualMicrophone
with VirtualMicrophone(sys.argv[1]):
    print("made", flush=True)
    sys.stdin.read()
"""


def _modules(server: rig.Server) -> list[str]:
    return [line for line in server.run("pactl", "list", "short", "modules").splitlines() if "rtvc.microphone" in line]


def _crash(server: rig.Server, name: str) -> None:
    with server.python("-c", HOLD, name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        process.kill()


@pytest.mark.parametrize(
    ("sound_server", "host"), [("pulseaudio", ""), ("pipewire", ""), ("pipewire", "pulse")], indirect=["sound_server"]
)
def test_callers_hear_what_we_play_into_it(sound_server: rig.Server, inside: Inside, host: str) -> None:
    sound_server.plug_in()
    inside(sound_server)
    host = host or best_host().name
    with VirtualMicrophone(host=host) as microphone:
        assert microphone.heard_as == "rtvc-mic"
        with (
            sound_server.echo(f"{host}:fake-mic", microphone.playback_id, 30, 48000, 256, 256),
            rig.Recorder(sound_server, "rtvc-mic") as heard,
        ):
            sound_server.play(probe.probe(2.5)).wait()
            time.sleep(0.3)
    assert len(probe.chirps(heard.x)) >= 2
    assert probe.chirp_level(heard.x) == pytest.approx(1.0, rel=0.05)
    assert "rtvc-mic" not in sound_server.names("sources")
    assert _modules(sound_server) == []


def test_callers_see_a_microphone_and_no_monitor(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    with VirtualMicrophone("my-voice"):
        listed = sound_server.run("pactl", "list", "sources")
    entry = next(part for part in listed.split("Source #") if "Name: my-voice\n" in part)
    assert "Description: my-voice\n" in entry
    assert "Monitor of Sink: n/a\n" in entry


def test_the_users_default_devices_stay(sound_server: rig.Server, inside: Inside) -> None:
    sound_server.plug_in()
    sound_server.run("pactl", "set-default-source", "fake-mic")
    # the module that makes every new device the default one, the virtual ones too
    sound_server.run("pactl", "load-module", "module-switch-on-connect", "ignore_virtual=no")
    inside(sound_server)
    with VirtualMicrophone():
        time.sleep(0.5)
        assert sound_server.run("pactl", "get-default-source") == "fake-mic"
        assert sound_server.run("pactl", "get-default-sink") == "speakers"


def test_after_a_crash_it_is_taken_over_as_it_is(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    _crash(sound_server, "rtvc-mic")
    left = _modules(sound_server)
    assert left
    with VirtualMicrophone():
        assert _modules(sound_server) == left
    assert _modules(sound_server) == []


def test_half_of_a_microphone_is_made_whole(pulseaudio: rig.Server, inside: Inside) -> None:
    inside(pulseaudio)
    _crash(pulseaudio, "rtvc-mic")
    pulseaudio.unplug(next(line for line in _modules(pulseaudio) if "remap" in line).split("\t")[0])
    with VirtualMicrophone():
        assert "rtvc-mic" in pulseaudio.names("sources")
        assert len(_modules(pulseaudio)) == 2
    assert _modules(pulseaudio) == []


def test_leftovers_are_removed_and_what_is_used_stays(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    _crash(sound_server, "one")
    _crash(sound_server, "two")
    with VirtualMicrophone("used"):
        assert remove_leftovers() == ["one", "two"]
        assert {"one", "two", "used"} & set(sound_server.names("sources")) == {"used"}
    assert remove_leftovers() == []


def test_several_names_live_side_by_side_but_each_once(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    with VirtualMicrophone("one"), VirtualMicrophone("two"):
        assert {"one", "two"} <= set(sound_server.names("sources"))
        with pytest.raises(DeviceError, match="another rtvc already offers the microphone one"):
            VirtualMicrophone("one").__enter__()
    assert _modules(sound_server) == []


def test_a_foreign_device_of_that_name_is_left_alone(sound_server: rig.Server, inside: Inside) -> None:
    sound_server.plug_in("rtvc-mic")
    inside(sound_server)
    with pytest.raises(DeviceError, match="not ours"):
        VirtualMicrophone().__enter__()
    assert "rtvc-mic" in sound_server.names("sources")


def test_a_server_that_died_meanwhile_does_not_matter(pulseaudio: rig.Server, inside: Inside) -> None:
    inside(pulseaudio)
    with VirtualMicrophone():
        pulseaudio.kill()


def test_it_is_made_again_on_a_server_that_was_started_again(sound_server: rig.Server, inside: Inside) -> None:
    inside(sound_server)
    with VirtualMicrophone() as microphone:
        sound_server.kill()
        sound_server.start()
        assert "rtvc-mic" not in sound_server.names("sources")
        microphone.ensure()
        made = _modules(sound_server)
        microphone.ensure()
        assert _modules(sound_server) == made
        assert "rtvc-mic" in sound_server.names("sources")
    assert _modules(sound_server) == []


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a/b", "x" * 61])
def test_names_that_could_break_out_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a microphone"):
        VirtualMicrophone(name)


@pytest.mark.parametrize(
    ("platform", "cable", "install"),
    [("win32", "CABLE Input (VB-Audio Virtual Cable)", "VB-CABLE"), ("darwin", "BlackHole 2ch", "BlackHole")],
)
def test_windows_and_macos_use_an_installed_cable_or_say_how_to_get_one(
    platform: str, cable: str, install: str
) -> None:
    loudspeaker = Device("x:speakers", "Speakers", "playback", 2, 48000, True)
    found = Device("x:cable", cable, "playback", 2, 48000, False)
    assert find_cable([loudspeaker, found], platform) == found
    with pytest.raises(DeviceError, match=install):
        find_cable([loudspeaker], platform)


def test_without_a_sound_server_it_says_what_to_start(jackd: rig.Server, inside: Inside) -> None:
    inside(jackd)
    with pytest.raises(DeviceError, match="PulseAudio and PipeWire"):
        VirtualMicrophone(host="jack").__enter__()
