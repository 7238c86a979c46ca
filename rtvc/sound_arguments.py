"""The arguments that choose the sound: --preset, --voice, --latency, --pitch, --formant, --set PARAM=VALUE."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtvc.config import ConfigError, load_settings
from rtvc.engine.network import OPERATING_POINTS
from rtvc.engine.params import PARAMS, TIMBRES, Value, to_vector
from rtvc.voices.presets import find_preset

_SHAPES = ("pitch", "formant", "tone", "breath", "whisper", "telephone")  # groups that the own voice passes by


def add_sound_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sound's arguments to parser, and the table of parameters to its epilog."""
    group = parser.add_argument_group("sound")
    group.add_argument("--preset", metavar="NAME", help="start from a preset (rtvc presets lists them)")
    names = ", ".join(TIMBRES)
    group.add_argument(
        "--voice", metavar="NAME", help=f"speak as this neural voice: {names}, or your own blend of two of them"
    )
    group.add_argument(
        "--latency", choices=OPERATING_POINTS, help="of the neural voice: fast (about 43 ms) or clear (about 96 ms)"
    )
    group.add_argument("--pitch", metavar="SEMITONES", help="shorthand for --set pitch.semitones=SEMITONES")
    group.add_argument("--formant", metavar="RATIO", help="shorthand for --set formant.ratio=RATIO")
    group.add_argument("--set", metavar="PARAM=VALUE", action="append", default=[], help="set a parameter; see below")
    lines = []
    for param in PARAMS.values():
        limits = f"{param.minimum:g}..{param.maximum:g} {param.unit}".strip()
        allowed = "|".join(param.choices) or ("on|off" if param.switch else limits)
        default = param.from_number(param.default)
        shown = ("off", "on")[default] if isinstance(default, bool) else default
        shown = f"{shown:g}" if isinstance(shown, float) else shown
        lines.append(f"  {param.id:<20} {allowed} (default {shown})\n      {param.doc}")
    parser.epilog = f"{parser.epilog}\n\nparameters for --set:\n" + "\n".join(lines)


def chosen_sound(args: argparse.Namespace) -> NDArray[np.float64]:
    """Return the sound the arguments ask for: a preset, then overrides.

    Where no preset is named it is the settings' own; for a neural voice there is none then, since the pitch and the
    formants of a preset are meant for the speaker's voice.

    Raises ConfigError for an unknown name or a value out of range.
    """
    overrides: dict[str, Value] = {}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: write --set PARAM=VALUE")
        overrides[name.strip()] = value.strip()
    for name, value in (("pitch.semitones", args.pitch), ("formant.ratio", args.formant)):
        if value is not None:
            overrides[name] = value
    if args.voice is not None:
        use = "files" if args.command == "convert" else "live"
        overrides = {"voice.name": "neural", **chosen_voice(args.voice, use)} | overrides
    # who asks for a pitch wants to hear it, though the preset passes the own voice
    start: Mapping[str, Value] = {}
    if args.preset or args.voice is None:
        start = find_preset(args.preset or load_settings().voice.preset).values
    if any(name.split(".")[0] in _SHAPES for name in overrides) and start.get("voice.name") == "own":
        overrides.setdefault("voice.name", "dsp")
    try:
        return to_vector(overrides, to_vector(start))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"--set: {error.args[0]}") from None


def chosen_voice(name: str, use: str) -> dict[str, Value]:
    """Return the parameters of a built-in voice or of the user's blend of two; use is one of consent.USES.

    Raises ConfigError if there is no such voice or the engine cannot say it, VoiceError if it may not be used.
    """
    if name in TIMBRES:
        return {"voice.timbre": name}
    from rtvc.voices.commands import open_own_library
    from rtvc.voices.library import library_exists, library_folder

    if not library_exists(library_folder()):
        raise ConfigError(f"--voice {name}: there is no such voice; there are {', '.join(TIMBRES)}")
    library = open_own_library()
    profile = library.find(name)
    if not profile.synthetic or len(profile.lineage) > 2:
        raise ConfigError(f"--voice {name}: so far the engine can speak as a blend of two built-in voices, not as this")
    library.use(name, use)
    first, *more = profile.lineage
    values: dict[str, Value] = {"voice.timbre": first.name}
    for second in more:
        values |= {"voice.second": second.name, "voice.blend": second.share}
    return values


def chosen_point(args: argparse.Namespace) -> str:
    """Return the neural voice's operating point: --latency, or the settings' own."""
    return args.latency or load_settings().voice.latency
