"""The command line. Commands import what they need when they run, so that `rtvc --help` answers at once.

Exit codes: 0 all done; 1 something failed (standard error says what); 2 the command line was wrong; 130 interrupted.
Results go to standard output, as JSON with --json; progress, warnings and errors go to standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtvc import __version__
from rtvc.config import ConfigError, MonitorSettings, config_path, load_settings, settings_toml
from rtvc.output import print_json, warn
from rtvc.termination import end_on_signals


@dataclass(frozen=True)
class Command:
    """One word after `rtvc`: its line in the overview, its arguments, its examples and what it does."""

    summary: str
    examples: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    sound: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(argv).parse_args(argv)
    end_on_signals()
    try:
        return COMMANDS[args.command].run(args)
    except KeyboardInterrupt:
        print("rtvc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 0
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(f"rtvc: {error}", file=sys.stderr)
        return 1


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors whose message is all a user needs."""
    from rtvc.audio.backend import DeviceError
    from rtvc.audio.files import AudioFileError
    from rtvc.control.client import ControlError
    from rtvc.engine.network import NetworkError
    from rtvc.engine.state import StateError
    from rtvc.flight_bundle import BundleError
    from rtvc.train import TrainingError
    from rtvc.voices.errors import VoiceError

    expected = ConfigError, AudioFileError, ControlError, DeviceError, NetworkError, TrainingError
    return *expected, BundleError, StateError, VoiceError


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtvc",
        description="Real-time voice converter: from a microphone to a virtual microphone, and for files.",
        epilog="rtvc COMMAND --help explains a command and shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"rtvc {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        raw = argparse.RawDescriptionHelpFormatter
        sub = commands.add_parser(name, help=command.summary, description=command.summary, formatter_class=raw)
        if name in argv:  # the others' arguments would only cost time
            sub.epilog = f"examples:\n{command.examples}"
            if command.sound:
                from rtvc.sound_arguments import add_sound_arguments

                add_sound_arguments(sub)
            command.arguments(sub)
    return parser


# rtvc live


def _live_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--capture", metavar="DEVICE", help="microphone: a part of its name, or its id")
    parser.add_argument("--playback", metavar="DEVICE", help="with --no-virtual-mic: where the voice is played")
    parser.add_argument("--host", help="host, such as pipewire, pulse, jack, wasapi (best one present)")
    parser.add_argument("--rate", type=int, metavar="HZ", help="rate of the devices (48000)")
    parser.add_argument("--block", type=int, metavar="FRAMES", help="frames a block (256)")
    parser.add_argument(
        "--max-age", type=int, metavar="MS", help="how late sound may be beyond the voice's own delay (60; neural 80)"
    )
    parser.add_argument("--no-virtual-mic", action="store_true", help="play to a device instead")
    parser.add_argument("--monitor", type=float, nargs="?", const=math.nan, metavar="LEVEL_DB",
                        help="hear the voice in the headphones too, so much louder than the call does (0)")  # fmt: skip
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds")
    parser.add_argument("--json", action="store_true", help="print the status once a second, a JSON object a line")
    parser.add_argument("--simulated", action="store_true", help="use simulated devices that repeat a recorded voice")
    parser.add_argument("--no-control", action="store_true", help="without remote control and panel")
    parser.add_argument("--control-port", type=int, metavar="PORT", help="of remote control and panel (4466)")
    parser.add_argument("--control-bind", metavar="ADDRESS", help="where it listens (127.0.0.1: this machine only)")
    from rtvc.sound_arguments import add_watermark_argument

    add_watermark_argument(parser)


def _live(args: argparse.Namespace) -> int:
    from rtvc.engine.process import engine_context

    engine_context()  # warms up beside what follows
    from rtvc.live_view import choice_from, run_live
    from rtvc.sound_arguments import chosen_point, chosen_sound

    asked = {
        "capture": args.capture,
        "playback": args.playback,
        "host": args.host,
        "rate_hz": args.rate,
        "block_frames": args.block,
        "max_age_ms": args.max_age,
        "virtual_mic": False if args.no_virtual_mic else None,
        "seconds": args.seconds,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    settings = load_settings()
    told = {"port": args.control_port, "bind": args.control_bind, "enabled": False if args.no_control else None}
    try:
        control = dataclasses.replace(settings.control, **{k: v for k, v in told.items() if v is not None})
        dataclasses.replace(settings.audio, **{name: given[name] for name in vars(settings.audio) if name in given})
        monitor = _chosen_monitor(settings.monitor, args.monitor)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    choice = dataclasses.replace(
        choice_from(settings), as_json=args.json, simulated=args.simulated, control=control, monitor=monitor,
        watermark=args.watermark, **given,
    )  # fmt: skip
    return run_live(choice, chosen_sound(args), chosen_point(args))


def _chosen_monitor(settings: MonitorSettings, level_db: float | None) -> MonitorSettings:
    """Return the settings as --monitor changes them: None is not given, NaN is without a level. Raises ValueError."""
    if level_db is None:
        return settings
    return dataclasses.replace(settings, on=True, level_db=settings.level_db if math.isnan(level_db) else level_db)


# rtvc devices


def _devices_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="host to ask, such as pipewire, pulse, jack, alsa (best one present)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _devices(args: argparse.Namespace) -> int:
    from rtvc.audio.devices import best_host, list_devices

    host = args.host or best_host().name
    devices = list_devices(host)
    if args.json:
        print_json({"host": host, "devices": devices})
    for device in () if args.json else devices:
        mark = "*" if device.default else " "
        print(f"{mark} {device.kind:<9} {device.name:<40} {device.channels:>2} ch {device.rate_hz:>6} Hz  {device.id}")
    if not devices:
        warn([f"{host} has no audio device; rtvc doctor says what is missing"])
    return 0 if devices else 1


# rtvc presets


def _presets_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "show", "save", "delete"), default="list")
    parser.add_argument("name", nargs="?", help="of the preset to show, save or delete")
    parser.add_argument("--label", default="", help="with save: how it is shown")
    parser.add_argument("--doc", default="", help="with save: what it is for")
    parser.add_argument("--force", action="store_true", help="with save: replace one that exists")
    parser.add_argument("--json", action="store_true", help="with list and show: print JSON")


def _presets(args: argparse.Namespace) -> int:
    from rtvc.engine.params import from_vector
    from rtvc.sound_arguments import chosen_sound
    from rtvc.voices.presets import delete_preset, find_preset, load_presets, save_preset

    if args.action == "list":
        presets, faults = load_presets()
        if args.json:
            print_json([dataclasses.asdict(preset) for preset in presets.values()])
        for preset in () if args.json else presets.values():
            print(f"{preset.name:<16} {'yours' if preset.path else '':<6} {preset.doc or preset.label}")
        warn(faults)
        return 1 if faults else 0
    if args.name is None:
        raise ConfigError(f"rtvc presets {args.action}: name a preset")
    if args.action == "save":
        sound = chosen_sound(args)
        own = sound.own.id if sound.own else ""
        print(save_preset(args.name, sound.values, args.label, args.doc, overwrite=args.force, own=own))
    elif args.action == "delete":
        print(f"deleted {delete_preset(args.name)}")
    else:
        preset = find_preset(args.name)
        values = {param.id: value for param, value in from_vector(preset.vector())}
        if args.json:
            print_json(dataclasses.asdict(preset) | {"values": values})
        else:
            print(f"{preset.label}: {preset.doc}" if preset.doc else preset.label)
            print("\n".join(f"  {name:<20} {value}" for name, value in values.items()))
    return 0


# rtvc config


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("show", "path"), default="show")


def _config(args: argparse.Namespace) -> int:
    if args.action == "path":
        print(config_path())
    else:
        print(f"# {config_path()}\n{settings_toml(load_settings())}", end="")
    return 0


# rtvc doctor, rtvc demo


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=3.0, metavar="N", help="test each block size this long (3)")
    parser.add_argument("--loopback", action="store_true", help="measure the delay with bursts, on Linux (15 s more)")
    parser.add_argument("--soak", action="store_true", help="search the smallest block that holds under load, drift, "
                        "stalls and unplugging, with the sound chosen below, and save it in the settings")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=1.0, metavar="N", help="with --soak: about how long (1)")
    parser.add_argument("--picture", type=Path, default=Path("rtvc-soak.png"), metavar="PNG",
                        help="with --soak: where its histograms go (./rtvc-soak.png)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _doctor(args: argparse.Namespace) -> int:
    if args.soak:
        from rtvc.soak_report import run_soak
        from rtvc.sound_arguments import chosen_point, chosen_sound

        if not 0.1 <= args.minutes <= 600:
            raise ConfigError(f"--minutes {args.minutes:g}: must lie in 0.1..600")
        return run_soak(args.minutes, chosen_sound(args).values, chosen_point(args), args.picture, args.json)
    from rtvc.doctor import examine

    return examine(args.seconds, args.json, args.loopback)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="for wav and report (./out)")
    parser.add_argument("--simulated", action="store_true", help="use simulated devices though a sound card is there")


def _demo(args: argparse.Namespace) -> int:
    from rtvc.engine.process import engine_context

    engine_context()  # warms up beside what follows
    from rtvc.demo import run_demo
    from rtvc.sound_arguments import chosen_point, chosen_sound

    if args.voice is None:
        args.preset = args.preset or "feminine"
    return run_demo(args.out, chosen_sound(args), chosen_point(args), args.simulated)


def _elsewhere(module: str) -> tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]:
    """Return add_arguments and run of a module that is imported only when one of them is called."""
    return (
        lambda parser: importlib.import_module(module).add_arguments(parser),
        lambda args: int(importlib.import_module(module).run(args)),
    )


COMMANDS = {
    "live": Command(
        "convert the microphone's voice into a virtual microphone, now",
        "  rtvc live\n"
        "  rtvc live --preset feminine\n"
        "  rtvc live --voice emma --latency fast\n"
        "  rtvc live --voice anna                     (one of your own, see rtvc voices list)\n"
        "  rtvc live --capture USB --pitch 4 --formant 1.1\n"
        "  rtvc live --preset deep --monitor -6\n"
        "  rtvc live --no-virtual-mic --playback Headphones --block 128\n"
        "  rtvc live --simulated --control-port 4467",
        _live_arguments,
        _live,
        sound=True,
    ),
    "convert": Command(
        "convert files; length (but for --tempo), rate and loudness are kept, the result has one channel",
        "  rtvc convert talk.wav deep.wav --preset deep\n"
        "  rtvc convert interview.mp3 anonymous.flac --preset anonymous\n"
        "  rtvc convert text.wav heart.wav --voice heart --watermark\n"
        "  rtvc convert text.wav calm.wav --voice heart --tempo 0.85\n"
        "  rtvc convert recordings/ converted/ --pitch 5 --formant 1.15 --jobs 4\n"
        "  rtvc convert a.wav b.flac converted/ --format ogg --set breath.amount=0.2 --json",
        *_elsewhere("rtvc.convert_command"),
        sound=True,
    ),
    "verify": Command(
        "say whether files carry rtvc's watermark, how surely, and what it tells: tool, voice, hour",
        "  rtvc verify clip.mp3\n  rtvc verify a.wav b.opus --json",
        *_elsewhere("rtvc.provenance.verify"),
    ),
    "devices": Command(
        "list audio devices; * marks the default",
        "  rtvc devices\n  rtvc devices --host alsa --json",
        _devices_arguments,
        _devices,
    ),
    "presets": Command(
        "list, show, save and delete presets",
        "  rtvc presets\n"
        "  rtvc presets show deep\n"
        "  rtvc presets save mine --preset deep --pitch 1 --label 'My deep one'\n"
        "  rtvc presets delete mine",
        _presets_arguments,
        _presets,
        sound=True,
    ),
    "voices": Command(
        "your own voices: enrol, match, adapt, tune, blend, list, export, revoke, erase (needs the extra `voices`)",
        "  rtvc voices list\n"
        "  rtvc voices enrol anna anna.wav\n"
        "  rtvc voices match somebody.wav\n"
        "  rtvc voices adapt anna anna-reads-1.wav anna-reads-2.wav\n"
        "  rtvc voices blend mix heart=0.6 puck=0.4\n"
        "  rtvc voices check recording.wav\n"
        "  rtvc voices export mix mix.rtvcvoice\n"
        "  rtvc voices erase mix\n"
        "  rtvc voices audit",
        *_elsewhere("rtvc.voices.commands"),
    ),
    "config": Command(
        "show the settings in force, or where their file is",
        "  rtvc config\n  rtvc config path",
        _config_arguments,
        _config,
    ),
    "ctl": Command(
        "steer a running `rtvc live`: parameters, presets, voices, mute, panic, recording",
        "  rtvc ctl status\n"
        "  rtvc ctl set pitch.semitones=4 formant.ratio=1.1\n"
        "  rtvc ctl ramp breath.amount 0.4 2000\n"
        "  rtvc ctl preset deep\n"
        "  rtvc ctl mute\n"
        "  rtvc ctl --json watch Meters",
        *_elsewhere("rtvc.control.ctl"),
    ),
    "control": Command(
        "tokens for remote control, its documents, OSC and MIDI bridges",
        "  rtvc control token add phone\n  rtvc control docs\n  rtvc control osc\n  rtvc control midi",
        *_elsewhere("rtvc.control.commands"),
    ),
    "replay": Command(
        "run what `rtvc ctl flight` or a crash saved once more, and say whether every bit is the same",
        "  rtvc replay rtvc-flight-2026-07-01-120000.zip\n  rtvc replay flight.zip --out said-again.wav --json",
        *_elsewhere("rtvc.replay"),
    ),
    "doctor": Command(
        "check this machine, say what is missing and which block size it can hold",
        "  rtvc doctor\n  rtvc doctor --json\n  rtvc doctor --loopback\n  rtvc doctor --soak --voice emma --minutes 5",
        _doctor_arguments,
        _doctor,
        sound=True,
    ),
    "train": Command(
        "train the neural voice: data, alignment, networks, weights (needs the extra `train`)",
        "  rtvc train data --help\n  rtvc train encoder --help",
        *_elsewhere("rtvc.train.commands"),
    ),
    "demo": Command(
        "hear it: live with a sound card, else a recorded voice through the same path, with a report",
        "  rtvc demo\n  rtvc demo --simulated --out /tmp/rtvc-demo",
        _demo_arguments,
        _demo,
        sound=True,
    ),
}
