"""Which host is chosen on real servers, what it lists, and what a name part means."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from rtvc import doctor
from rtvc.audio import jack
from rtvc.audio.backend import Device, DeviceError
from rtvc.audio.devices import best_host, choose, list_devices
from rtvc.audio.virtual_mic import VirtualMicrophone
from tests import rig

Inside = Callable[[rig.Server], None]
SHELF = [
    Device("pulse:usb1", "USB Microphone", "capture", 1, 48000, False),
    Device("pulse:usb2", "USB Microphone (2)", "capture", 1, 44100, False),
    Device("pulse:built-in", "Built-in Audio", "capture", 2, 48000, True),
    Device("pulse:built-in-out", "Built-in Audio", "playback", 2, 48000, True),
]


def test_without_a_wish_the_default_is_taken() -> None:
    assert choose(SHELF, "capture").id == "pulse:built-in"
    assert choose(SHELF[:2], "capture").id == "pulse:usb1"


@pytest.mark.parametrize(
    ("wish", "device"),
    [
        ("pulse:usb2", "pulse:usb2"),
        ("usb microphone", "pulse:usb1"),  # a whole name wins over a part of another
        ("BUILT", "pulse:built-in"),
        ("(2)", "pulse:usb2"),
        ("usb2", "pulse:usb2"),  # part of an id
    ],
)
def test_a_device_is_chosen_by_id_name_or_part(wish: str, device: str) -> None:
    assert choose(SHELF, "capture", wish).id == device


def test_an_ambiguous_name_lists_the_candidates() -> None:
    with pytest.raises(DeviceError, match=r"(?s)2 capture devices are named 'usb'.*pulse:usb1.*pulse:usb2") as caught:
        choose(SHELF, "capture", "usb")
    assert "built-in" not in str(caught.value)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(DeviceError, match=r"(?s)no playback device is named 'x'.*pulse:built-in-out"):
        choose(SHELF, "playback", "x")


def test_no_device_at_all_says_so() -> None:
    with pytest.raises(DeviceError, match="no playback device"):
        choose(SHELF[:3], "playback")


def test_pulseaudio_is_spoken_to_natively(pulseaudio: rig.Server, inside: Inside) -> None:
    inside(pulseaudio)
    host = best_host()
    assert host.name == "pulse"
    assert "pulseaudio" in host.reason


def test_pipewire_is_reached_through_its_jack_library(pipewire: rig.Server, inside: Inside) -> None:
    inside(pipewire)
    host = best_host()
    assert host.name == "pipewire"
    assert "PipeWire" in host.reason


def test_jackd_is_found_and_its_hardware_is_the_default(jackd: rig.Server, inside: Inside) -> None:
    inside(jackd)
    assert best_host().name == "jack"
    capture, playback = list_devices()
    assert capture == Device("jack:system", "system", "capture", 1, 48000, True)
    assert playback == Device("jack:system", "system", "playback", 1, 48000, True)


def test_microphones_and_sinks_are_listed_and_monitors_are_not(sound_server: rig.Server, inside: Inside) -> None:
    sound_server.plug_in()
    sound_server.run("pactl", "set-default-source", "fake-mic")
    inside(sound_server)
    host = best_host().name
    devices = {device.id: device for device in list_devices()}
    assert set(devices) == {f"{host}:fake-mic", f"{host}:hwmic", f"{host}:speakers"}
    assert devices[f"{host}:fake-mic"] == Device(f"{host}:fake-mic", "fake-mic", "capture", 1, 48000, True)
    speakers = devices[f"{host}:speakers"]
    assert (speakers.kind, speakers.channels, speakers.default) == ("playback", 2, True)


def test_our_own_microphone_is_not_offered_to_us(sound_server: rig.Server, inside: Inside) -> None:
    sound_server.plug_in()
    inside(sound_server)
    before = list_devices()
    with VirtualMicrophone() as microphone:
        sound_server.run("pactl", "set-default-source", microphone.heard_as)
        after = list_devices()
        assert [device.id for device in after] == [device.id for device in before]
        assert choose(after, "capture").name == "fake-mic"  # though calls now use rtvc-mic by default


def test_alsa_devices_come_from_portaudio(pulseaudio: rig.Server) -> None:
    ask = "from rtvc.audio.devices import list_devices; print([device.id for device in list_devices('alsa')])"
    assert "'alsa:fake_mic'" in pulseaudio.run(sys.executable, "-c", ask)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no JACK is asked")
def test_a_jack_library_that_hangs_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jack, "_ASK", "import time; time.sleep(60)")
    monkeypatch.setattr(jack, "ASK_S", 0.3)
    monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere")
    with pytest.raises(DeviceError, match=r"waits for what a crashed server left; .* rm -r /dev/shm/jack_db-"):
        list_devices()
    server = doctor.check_audio_server()
    assert server.state == "fail" and "crashed server" in server.advice
    assert doctor.check_virtual_microphone().state == "warn"


def test_a_portaudio_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ASK_PORTAUDIO", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "PORTAUDIO_S", 0.3)
    found = doctor.check_portaudio()
    assert found.state in ("warn", "fail") and found.found == "no answer within 0.3 s"
