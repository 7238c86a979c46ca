"""`rtvc ctl`: steer a running rtvc from a shell, a hotkey or a script.

One connection a call. Answers go to standard output, as text for people or with --json as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from rtvc.engine.params import PARAMS, Value, find

from .client import DEFAULT_URL, Control, ControlError
from .requests import REQUESTS
from .wire import ALL_EVENTS, HIGH_VOLUME

_SWITCH = ("on", "off", "toggle")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc ctl` to parser."""
    parser.add_argument("--url", default=os.environ.get("RTVC_URL", DEFAULT_URL), help=f"server ({DEFAULT_URL})")
    parser.add_argument("--token", default=os.environ.get("RTVC_TOKEN"), help="if it needs one (or RTVC_TOKEN)")
    parser.add_argument("--fingerprint", metavar="SHA256", help="of the certificate of a wss:// server")
    parser.add_argument("--json", action="store_true", help="print answers as JSON")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    verb("get", "show parameters, all or some").add_argument("ids", metavar="PARAM", nargs="*")
    verb("set", "set parameters, all at one block").add_argument("values", metavar="PARAM=VALUE", nargs="+")
    nudge = verb("nudge", "move a number by so much")
    nudge.add_argument("id", metavar="PARAM")
    nudge.add_argument("by", type=float, metavar="BY")
    verb("toggle", "turn a switch over").add_argument("id", metavar="PARAM")
    ramp = verb("ramp", "move a number to a value over a time")
    ramp.add_argument("id", metavar="PARAM")
    ramp.add_argument("value", type=float, metavar="VALUE")
    ramp.add_argument("duration_ms", type=float, metavar="MS")
    ramp.add_argument("--smooth", action="store_true", help="ease in and out")
    verb("voice", "list the voices, your own too, or speak as one").add_argument("name", metavar="VOICE", nargs="?")
    verb("unlock", "open your own voices with their passphrase, asked for or from RTVC_VOICES_PASSPHRASE")
    verb("preset", "list the presets, or load one").add_argument("name", metavar="PRESET", nargs="?")
    verb("mute", "be silent: on, off or toggle").add_argument("how", choices=_SWITCH, nargs="?", default="toggle")
    verb("panic", "silence at once, until it is taken back").add_argument(
        "how", choices=_SWITCH[:2], nargs="?", default="on"
    )
    monitor = verb("monitor", "hear the voice in the headphones: on, off, how loud; alone it shows that")
    monitor.add_argument("how", choices=_SWITCH[:2], nargs="?")
    monitor.add_argument("level_db", type=float, metavar="LEVEL_DB", nargs="?", help="louder than the call hears it")
    record = verb("record", "record what is heard: start or stop")
    record.add_argument("how", choices=("start", "stop"))
    record.add_argument("path", metavar="FILE", nargs="?", help="flac or wav")
    flight = verb("flight", "save the last minute (sound, parameters, timings) for rtvc replay")
    flight.add_argument("path", metavar="FILE", nargs="?", help="zip")
    flight.add_argument("--no-sound", action="store_true", help="only parameters and timings")
    for name, text in (("undo", "take the last change back"), ("redo", "make it again"), ("start", "let sound run"),
                       ("stop", "stop sound"), ("status", "show state, delay and counters")):  # fmt: skip
        verb(name, text)
    watch = verb("watch", "print events as they come, a JSON object a line")
    watch.add_argument("events", metavar="EVENT", nargs="*", help="only these, such as ParamsChanged or Meters")
    raw = verb("raw", "send any request of the protocol")
    raw.add_argument("request", choices=tuple(REQUESTS), metavar="REQUEST")
    raw.add_argument("data", metavar="JSON", nargs="?", default="{}")


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code. Raises ControlError."""
    events = ALL_EVENTS | HIGH_VOLUME if args.verb == "watch" else 0
    with Control(args.url, args.token, events, args.fingerprint) as control:
        if args.verb == "watch":
            _watch(control, args.events)
        else:
            answer = _VERBS[args.verb](control, args)
            print(json.dumps(answer, ensure_ascii=False) if args.json else _text(answer), flush=True)
    return 0


def parse_value(param_id: str, text: str) -> Value:
    """Return text as the value of a parameter. Raises ControlError saying what is allowed."""
    try:
        param = find(param_id)
        return param.from_number(param.to_number(text))
    except (KeyError, ValueError) as error:
        raise ControlError(str(error.args[0])) from None


def _get(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    entries = {entry["id"]: entry["value"] for entry in control.request("ListParams")["params"]}
    if unknown := [name for name in args.ids if name not in entries]:
        parse_value(unknown[0], "")
    return {name: entries[name] for name in args.ids or entries}


def _set(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Value] = {}
    for text in args.values:
        name, equals, value = text.partition("=")
        if not equals:
            raise ControlError(f"{text}: write PARAM=VALUE")
        values[name] = parse_value(name, value)
    return control.set(values)


def _ramp(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    curve = "smooth" if args.smooth else "linear"
    return control.request(
        "RampParam", {"id": args.id, "value": args.value, "duration_ms": args.duration_ms, "curve": curve}
    )


def _voice(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    if args.name:
        return control.request("SwitchVoice", {"name": args.name})
    answer = control.request("ListVoices")
    voices = {voice["name"]: voice["doc"] if voice["available"] else voice["reason"] for voice in answer["voices"]}
    library = answer["library"]
    locked = {"your own voices": library["reason"]} if library["reason"] else {}
    return {"current": answer["current"]["name"], **voices, **locked}


def _unlock(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    from rtvc.voices.commands import PASSPHRASE, ask_secret

    return control.request("UnlockVoices", {"passphrase": ask_secret(PASSPHRASE, "passphrase of your voices")})


def _preset(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    if args.name:
        return control.request("LoadPreset", {"name": args.name})
    answer = control.request("ListPresets")
    return {"current": answer["current"], **{preset["name"]: preset["doc"] for preset in answer["presets"]}}


def _mute(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    return (
        control.request("ToggleMute")
        if args.how == "toggle"
        else control.request("SetMute", {"muted": args.how == "on"})
    )


def _monitor(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    if args.how is None:
        return control.request("GetMonitor")
    level = {} if args.level_db is None else {"level_db": args.level_db}
    return control.request("SetMonitor", {"on": args.how == "on"} | level)


def _record(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    if args.how == "stop":
        return control.request("StopRecord")
    return control.request("StartRecord", {"path": os.path.abspath(args.path)} if args.path else {})


def _flight(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    path = {"path": os.path.abspath(args.path)} if args.path else {}
    return control.request("SaveFlight", path | {"sound": not args.no_sound})


def _raw(control: Control, args: argparse.Namespace) -> dict[str, Any]:
    try:
        data = json.loads(args.data)
    except ValueError as error:
        raise ControlError(f"{args.data}: is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ControlError(f"{args.data}: must be an object")
    return control.request(args.request, data)


def _plain(request: str) -> Callable[[Control, argparse.Namespace], dict[str, Any]]:
    return lambda control, _args: control.request(request)


_VERBS: Mapping[str, Callable[[Control, argparse.Namespace], dict[str, Any]]] = {
    "get": _get,
    "set": _set,
    "nudge": lambda control, args: control.request("NudgeParam", {"id": args.id, "by": args.by}),
    "toggle": lambda control, args: control.request("ToggleParam", {"id": args.id}),
    "ramp": _ramp,
    "voice": _voice,
    "unlock": _unlock,
    "preset": _preset,
    "mute": _mute,
    "panic": lambda control, args: control.request("Panic", {"on": args.how == "on"}),
    "monitor": _monitor,
    "record": _record,
    "flight": _flight,
    "undo": _plain("Undo"),
    "redo": _plain("Redo"),
    "start": _plain("Start"),
    "stop": _plain("Stop"),
    "status": _plain("GetStatus"),
    "raw": _raw,
}


def _watch(control: Control, wanted: list[str]) -> None:
    quiet = {"Meters", "Trace"} - set(wanted)
    while event := control.next_event():
        name, data = event
        if name not in quiet and (not wanted or name in wanted):
            print(json.dumps({"event": name, **data}, ensure_ascii=False), flush=True)


def _text(answer: Mapping[str, Any]) -> str:
    """Return an answer as lines of name and value."""
    lines = []
    for name, value in answer.items():
        unit = PARAMS[name].unit if name in PARAMS else ""
        shown = ("off", "on")[value] if isinstance(value, bool) else value
        shown = json.dumps(shown, ensure_ascii=False) if isinstance(shown, dict | list) else shown
        lines.append(f"{name:<20} {f'{shown:g}' if isinstance(shown, float) else shown} {unit}".rstrip())
    return "\n".join(lines)
