"""OSC and MIDI: what a message means, and what is played through a real server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mido
import pytest
from pythonosc.udp_client import SimpleUDPClient

from rtvc.config import ConfigError
from rtvc.control import osc
from rtvc.control.client import ControlError
from rtvc.control.midi import Binding, learn, load_bindings, play, save_bindings
from rtvc.control.osc import call_of
from tests.rtvc.control.served import Served
from tests.waiting import wait_for


@pytest.mark.parametrize(
    ("address", "args", "call"),
    [
        ("/rtvc/param/pitch.semitones", [4.0], ("SetParam", {"id": "pitch.semitones", "value": 4.0})),
        ("/rtvc/param/level.mute", [1], ("SetParam", {"id": "level.mute", "value": True})),
        ("/rtvc/param/pitch.mode", ["note"], ("SetParam", {"id": "pitch.mode", "value": "note"})),
        ("/rtvc/nudge/pitch.semitones", [-1], ("NudgeParam", {"id": "pitch.semitones", "by": -1})),
        ("/rtvc/toggle/level.match", [], ("ToggleParam", {"id": "level.match"})),
        (
            "/rtvc/ramp/breath.amount",
            [0.5, 100],
            ("RampParam", {"id": "breath.amount", "value": 0.5, "duration_ms": 100}),
        ),
        ("/rtvc/preset", ["deep"], ("LoadPreset", {"name": "deep"})),
        ("/rtvc/voice", ["emma"], ("SwitchVoice", {"name": "emma"})),
        ("/rtvc/mute", [0], ("SetMute", {"muted": False})),
        ("/rtvc/panic", [1.0], ("Panic", {"on": True})),
    ],
)
def test_an_osc_message_means_a_request(address: str, args: Sequence[Any], call: tuple[str, dict[str, Any]]) -> None:
    assert call_of(address, args) == call


@pytest.mark.parametrize(
    ("address", "args"),
    [("/", []), ("/rtvc", []), ("/other/mute", [1]), ("/rtvc/mute", []), ("/rtvc/param/x", []), ("/rtvc/a/b/c", [1])],
)
def test_any_other_osc_message_is_an_error(address: str, args: Sequence[Any]) -> None:
    with pytest.raises(ControlError, match="no such OSC message"):
        call_of(address, args)


def test_osc_messages_are_passed_on(still: Served, capsys: pytest.CaptureFixture[str]) -> None:
    control = still.control()
    port = 39000 + time.monotonic_ns() % 20000
    threading.Thread(target=_serve, args=(control, port), daemon=True).start()
    client, told = SimpleUDPClient("127.0.0.1", port), []

    def heard() -> bool:
        client.send_message("/rtvc/param/pitch.semitones", 99.0)  # refused, told, and forgotten
        client.send_message("/rtvc/param/pitch.semitones", 5.0)
        told.append(capsys.readouterr().err)
        return still.desk.sound.value("pitch.semitones") == 5.0 and "must lie in" in "".join(told)

    with contextlib.closing(client._sock):
        wait_for(heard, "the change and the refusal")  # what comes before the bridge listens is lost, as with all UDP
    control.close()


def _serve(control: Any, port: int) -> None:
    with contextlib.suppress(ControlError, OSError):
        osc.serve(control, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("binding", "value", "call"),
    [
        (Binding("control", 0, 7, "pitch.semitones"), 0, ("SetParam", {"id": "pitch.semitones", "value": -24.0})),
        (Binding("control", 0, 7, "pitch.semitones"), 127, ("SetParam", {"id": "pitch.semitones", "value": 24.0})),
        (Binding("control", 0, 7, "pitch.mode"), 127, ("SetParam", {"id": "pitch.mode", "value": "robot"})),
        (Binding("control", 0, 7, "level.match"), 64, ("SetParam", {"id": "level.match", "value": True})),
        (Binding("note", 0, 7, "level.match"), 90, ("ToggleParam", {"id": "level.match"})),
        (Binding("note", 0, 7, "level.match"), 0, None),
        (Binding("note", 0, 7, "preset:deep"), 90, ("LoadPreset", {"name": "deep"})),
        (Binding("note", 0, 7, "voice:emma"), 90, ("SwitchVoice", {"name": "emma"})),
        (Binding("note", 0, 7, "mute"), 90, ("ToggleMute", {})),
        (Binding("control", 0, 7, "mute"), 127, ("SetMute", {"muted": True})),
        (Binding("note", 0, 7, "panic"), 90, ("Panic", {"on": True})),
    ],
)
def test_a_midi_binding_means_a_request(binding: Binding, value: int, call: tuple[str, dict[str, Any]] | None) -> None:
    assert binding.call(value) == call


def test_midi_is_learnt_kept_and_played(still: Served, tmp_path: Path) -> None:
    path = tmp_path / "midi.toml"
    assert load_bindings(path) == []
    touched = [mido.Message("clock"), mido.Message("control_change", channel=2, control=21, value=3)]
    bindings = learn(touched, [], "pitch.semitones")
    bindings = learn([mido.Message("note_on", note=60, velocity=9)], bindings, "preset:deep")
    save_bindings(bindings, path)
    assert load_bindings(path) == bindings == [
        Binding("control", 2, 21, "pitch.semitones"), Binding("note", 0, 60, "preset:deep"),
    ]  # fmt: skip
    assert learn(touched, bindings, "breath.amount")[-1] == Binding("control", 2, 21, "breath.amount")
    with still.control() as control:
        play([mido.Message("control_change", channel=2, control=21, value=127)], bindings, control)
        assert still.desk.sound.value("pitch.semitones") == 24.0
        play([mido.Message("note_on", note=60, velocity=9), mido.Message("note_off", note=60)], bindings, control)
        assert still.desk.current_preset == "deep"
    for target in ("pitch", "preset:", "x:y"):
        with pytest.raises(ConfigError, match="bind a parameter"):
            learn(touched, [], target)
