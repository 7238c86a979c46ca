"""MIDI to the registry: `rtvc control midi --learn TARGET` binds what you touch, `rtvc control midi` plays it.

A target is a parameter's id, mute, panic, preset:NAME or voice:NAME. A controller (0..127) moves a number through its
range, picks a choice, or turns a switch on from 64; a note turns a switch over or recalls a preset or voice. Bindings
are kept in control/midi.toml in the settings folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rtvc.config import ConfigError, config_folder, read_toml, toml_value, write_text_atomically
from rtvc.engine.params import PARAMS, find

from .client import Control, ControlError

Call = tuple[str, dict[str, Any]]


class MidiMessage(Protocol):
    """What a mido message has: type, and fields by type (channel, control, value, note, velocity)."""

    type: str


@dataclass(frozen=True)
class Binding:
    """One controller or note, and what it plays."""

    kind: str  # "control" or "note"
    channel: int
    number: int
    target: str

    def call(self, value: int) -> Call | None:
        """Return the request for a value of 0..127 (of a note: its velocity); None for a release."""
        name, _, argument = self.target.partition(":")
        if name in ("preset", "voice") and argument:
            return (("LoadPreset" if name == "preset" else "SwitchVoice"), {"name": argument}) if value else None
        if name in ("mute", "panic"):
            return self._switch(value, *(("SetMute", "muted") if name == "mute" else ("Panic", "on")))
        param = find(self.target)
        if param.switch:
            if self.kind == "note":
                return ("ToggleParam", {"id": param.id}) if value else None
            return "SetParam", {"id": param.id, "value": value >= 64}
        share = value / 127
        if param.choices:
            place = min(int(share * len(param.choices)), len(param.choices) - 1)
            return "SetParam", {"id": param.id, "value": param.choices[place]}
        number = param.minimum + share * (param.maximum - param.minimum)
        return "SetParam", {"id": param.id, "value": round(number, 4)}

    def _switch(self, value: int, request: str, field: str) -> Call | None:
        if self.kind == "control":
            return request, {field: value >= 64}
        if not value:
            return None
        return ("ToggleMute", {}) if request == "SetMute" else (request, {field: True})


def check_target(target: str) -> None:
    """Raise ConfigError unless target is one that a binding may have."""
    name, colon, argument = target.partition(":")
    if target in PARAMS or target in ("mute", "panic") or (colon and argument and name in ("preset", "voice")):
        return
    raise ConfigError(f"{target!r}: bind a parameter's id, mute, panic, preset:NAME or voice:NAME")


def bindings_path() -> Path:
    """Return the file of bindings; it need not exist."""
    return config_folder() / "control" / "midi.toml"


def load_bindings(path: Path | None = None) -> list[Binding]:
    """Return the bindings of path (the settings' own file by default). Raises ConfigError."""
    path = bindings_path() if path is None else path
    if not path.exists():
        return []
    found = []
    for entry in read_toml(path).get("bind", []):
        try:
            binding = Binding(str(entry["kind"]), int(entry["channel"]), int(entry["number"]), str(entry["target"]))
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f"{path}: each [[bind]] needs kind, channel, number and target") from None
        check_target(binding.target)
        found.append(binding)
    return found


def save_bindings(bindings: Iterable[Binding], path: Path | None = None) -> None:
    """Save bindings. Raises ConfigError."""
    tables = []
    for binding in bindings:
        fields = ("kind", "channel", "number", "target")
        tables.append("\n".join(["[[bind]]", *(f"{name} = {toml_value(getattr(binding, name))}" for name in fields)]))
    write_text_atomically(bindings_path() if path is None else path, "\n\n".join(tables) + "\n")


def source_of(message: MidiMessage) -> tuple[str, int, int, int] | None:
    """Return (kind, channel, number, value) of a controller or note message, None for any other."""
    fields: Any = message
    if message.type == "control_change":
        return "control", fields.channel, fields.control, fields.value
    if message.type in ("note_on", "note_off"):
        return "note", fields.channel, fields.note, fields.velocity if message.type == "note_on" else 0
    return None


def learn(messages: Iterable[MidiMessage], bindings: list[Binding], target: str) -> list[Binding]:
    """Bind the first controller or note that comes to target; return the new list. Raises ConfigError."""
    check_target(target)
    for message in messages:
        source = source_of(message)
        if source and source[3]:
            new = Binding(*source[:3], target)
            others = [b for b in bindings if (b.kind, b.channel, b.number) != source[:3]]
            return [*others, new]
    raise ConfigError("no controller or note came")


def play(messages: Iterable[MidiMessage], bindings: Iterable[Binding], control: Control) -> None:
    """Send what the messages mean until they end; what is refused is told on standard error."""
    by_source = {(binding.kind, binding.channel, binding.number): binding for binding in bindings}
    for message in messages:
        source = source_of(message)
        binding = by_source.get(source[:3]) if source else None
        call = binding.call(source[3]) if binding and source else None
        if call:
            try:
                control.request(*call)
            except ControlError as error:
                if not error.code:
                    raise
                print(f"rtvc: {error}", file=sys.stderr)


def open_input(name: str | None) -> Any:
    """Return an open mido input: of the system's own MIDI, or of JACK where that has none of that name.

    Raises ConfigError without mido and python-rtmidi, or without such a port.
    """
    try:
        import mido
        from mido.backends import rtmidi
    except ImportError:
        raise ConfigError("MIDI needs the packages mido and python-rtmidi: pip install 'rtvc[bridges]'") from None
    names, faults = [], []
    for api in rtmidi.get_api_names():
        backend = mido.Backend(f"mido.backends.rtmidi/{api}")
        try:
            found = backend.get_input_names()
        except Exception as error:  # python-rtmidi's own kind, which cannot be named without it
            faults.append(f"{api}: {error}")
            continue
        wanted = [port for port in found if name is None or name.lower() in port.lower()]
        if wanted:
            return backend.open_input(wanted[0])
        names += found
    there = f"there are: {', '.join(names) or 'none'}"
    raise ConfigError("; ".join([f"no MIDI input is named {name or 'anything'}", there, *faults]))
