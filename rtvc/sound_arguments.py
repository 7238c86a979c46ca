"""The arguments that choose the sound: --preset, --voice, --latency, --pitch, --formant, --set PARAM=VALUE."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtvc.config import ConfigError, load_settings
from rtvc.engine.network import OPERATING_POINTS
from rtvc.engine.own_voice import OwnVoice, asks_for_own
from rtvc.engine.params import INDEX, MINE, PARAMS, TIMBRES, Value, to_vector
from rtvc.voices.errors import ConsentError, VoiceError
from rtvc.voices.presets import find_preset

if TYPE_CHECKING:
    from rtvc.voices.library import Library

_SHAPES = ("pitch", "formant", "tone", "breath", "whisper", "telephone")  # groups that the own voice passes by


@dataclass(frozen=True)
class ChosenSound:
    """Values float64[len(PARAMS)]; own: who "mine" means in it; library: the user's, if it was opened for that."""

    values: NDArray[np.float64]
    own: OwnVoice | None = None
    library: Library | None = None


def add_sound_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sound's arguments to parser, and the table of parameters to its epilog."""
    group = parser.add_argument_group("sound")
    group.add_argument("--preset", metavar="NAME", help="start from a preset (rtvc presets lists them)")
    names = ", ".join(TIMBRES)
    group.add_argument(
        "--voice", metavar="NAME", help=f"speak as this neural voice: {names}, or one of your own (rtvc voices list)"
    )
    group.add_argument(
        "--latency", choices=OPERATING_POINTS, help="of the neural voice: fast (about 43 ms) or clear (about 93 ms)"
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


def add_watermark_argument(parser: argparse.ArgumentParser) -> None:
    """Add --watermark and --no-watermark."""
    parser.add_argument(
        "--watermark",
        action=argparse.BooleanOptionalAction,
        help="carry an inaudible mark that rtvc verify finds again (on for your own voices that are a person's)",
    )


def chosen_sound(args: argparse.Namespace) -> ChosenSound:
    """Return the sound the arguments ask for: a preset, then overrides.

    Where no preset is named it is the settings' own; for a neural voice there is none then, since the pitch and the
    formants of a preset are meant for the speaker's voice.

    Raises ConfigError for an unknown name or a value out of range, VoiceError for an own voice that may not be used.
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
    own = named_by = ""
    if args.voice is not None:
        own = "" if args.voice in TIMBRES else args.voice
        overrides = {"voice.name": "neural", "voice.timbre": MINE if own else args.voice} | overrides
    # who asks for a pitch wants to hear it, though the preset passes the own voice
    start: Mapping[str, Value] = {}
    if args.preset or args.voice is None:
        preset = find_preset(args.preset or load_settings().voice.preset)
        start = preset.values
        if not own:
            own, named_by = preset.own, f"preset {preset.name}: "
    if any(name.split(".")[0] in _SHAPES for name in overrides) and start.get("voice.name") == "own":
        overrides.setdefault("voice.name", "dsp")
    try:
        values = to_vector(overrides, to_vector(start))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"--set: {error.args[0]}") from None
    if not asks_for_own(values):
        return ChosenSound(values)
    uses = {"convert": "files", "presets": None}
    return _with_own(values, own, uses.get(args.command, "live"), named_by)


def _with_own(values: NDArray[np.float64], name: str, use: str | None, named_by: str) -> ChosenSound:
    """Return the sound with the user's own voice of that name or id; use is one of consent.USES, None: only kept.

    named_by begins what is said of a voice that is not there.
    """
    from rtvc.voices.commands import open_own_library
    from rtvc.voices.library import library_exists, library_folder

    if not name:
        raise ConfigError(f"voice.timbre = {MINE}: say which of your own voices that is: --voice NAME")
    if not library_exists(library_folder()) and not named_by:
        raise ConfigError(f"--voice {name}: there is no such voice; there are {', '.join(TIMBRES)}")
    library = open_own_library()
    try:
        profile = library.use(name, use) if use else library.find(name)
    except ConsentError:
        raise
    except VoiceError as error:
        raise VoiceError(f"{named_by}{error}") from None
    for param, number in profile.sound.items():
        if values[INDEX[param]] == PARAMS[param].default:  # what is asked for besides wins
            values[INDEX[param]] = number
    return ChosenSound(values, profile.spoken, library)


def chosen_point(args: argparse.Namespace) -> str:
    """Return the neural voice's operating point: --latency, or the settings' own."""
    return args.latency or load_settings().voice.latency
