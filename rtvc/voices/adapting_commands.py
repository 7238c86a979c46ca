"""`rtvc voices match`, `rtvc voices adapt` and `rtvc voices tune`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rtvc.audio.files import check_target
from rtvc.engine.convert import convert_file
from rtvc.engine.params import INDEX, MINE, PARAMS, TIMBRES, to_vector
from rtvc.progress import StatusLine, bar

from .adapt import adapt
from .errors import VoiceError
from .library import Library
from .match import Candidate, Round, Suited, Trial, approach, known_voices, rank
from .profile import SHAPING
from .recogniser import recogniser
from .recording_check import Samples, read_recording
from .speaker import Speaker
from .spectrograms import picture
from .tune import shaped, tune

SHOWN = 5
LENGTH_MAX_S = 900.0


def add_match_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc voices match` to parser."""
    parser.add_argument("file", metavar="FILE", type=Path, help="recording of the voice that is looked for")
    parser.add_argument(
        "--source", metavar="FILE", type=Path, help="of your own speech: the best voices are tried out with it"
    )
    parser.add_argument("--limit", type=int, default=SHOWN, metavar="N", help=f"voices shown ({SHOWN})")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_match(args: argparse.Namespace, library: Library | None) -> int:
    """Rank the voices; return 0 if there is a match, 1 if not. Raises VoiceError."""
    if args.limit < 1:
        raise VoiceError(f"--limit {args.limit}: must be 1 or more")
    speaker = Speaker()
    profiles = [] if library is None else [p for p in library.profiles()[0] if not library.refusal(p, "live")]
    x, rate_hz = read_recording(args.file)
    with _named(args.file):
        candidates = rank(x, rate_hz, known_voices(speaker, profiles), speaker)
    trial = None
    if args.source is not None:
        own, own_rate_hz = read_recording(args.source)
        with _named(args.source):
            trial = Trial(own, own_rate_hz, speaker, recogniser())
    shown = candidates[: args.limit]
    suited: list[Suited | None] = []
    with StatusLine() as line:
        for k, candidate in enumerate(shown):
            line.show(f"{bar(k / len(shown))} {candidate.voice.name}")
            suited.append(trial.suited(candidate.voice) if trial else None)
    if args.json:
        print(json.dumps([_facts(*pair) for pair in zip(shown, suited, strict=True)]))
    else:
        print("\n".join(_table(shown, suited)))
    if candidates[0].likeness >= speaker.same_speaker:
        return 0
    if not args.json:
        print(f"no match: the likest is {candidates[0].likeness:.2f} like it, {speaker.same_speaker:.2f} would be one")
        if trial is not None:
            mixed = [c for c in candidates if c.voice.name in TIMBRES or _may_be_mixed(library, c.voice.name)]
            _approach(x, rate_hz, mixed, trial, speaker)
        print("to make a voice of it, with its speaker's consent: rtvc voices enrol NAME FILES, then rtvc voices adapt")
    return 1


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let a VoiceError say which recording it is about."""
    try:
        yield
    except VoiceError as error:
        raise VoiceError(f"{path}: {error}") from None


def _may_be_mixed(library: Library | None, name: str) -> bool:
    return library is not None and not library.refusal(library.find(name), "blend")


def _approach(x: Samples, rate_hz: int, candidates: list[Candidate], trial: Trial, speaker: Speaker) -> None:
    print("looking for a voice between those known, each round said with your own speech:")

    def told(tried: Round) -> None:
        print(f"  {tried.likeness:5.2f} {'better' if tried.kept else '      '} {tried.what}", flush=True)

    likeness = approach(x, rate_hz, candidates, trial, speaker, told)
    print(f"likest: {likeness:.2f}")


def _facts(candidate: Candidate, suited: Suited | None) -> dict[str, object]:
    facts: dict[str, object] = {"voice": candidate.voice.name, "likeness": round(candidate.likeness, 4)}
    facts |= {"semitones": round(candidate.semitones, 2), "formant_ratio": round(candidate.formant_ratio, 3)}
    if candidate.voice.sound:
        facts["sound"] = dict(candidate.voice.sound)
    for name, value in () if suited is None else vars(suited).items():
        facts[name] = None if math.isnan(value) else round(value, 4)
    return facts


def _table(shown: list[Candidate], suited: list[Suited | None]) -> list[str]:
    lines = [f"{'voice':<20} likeness  pitch to it  formants to it"]
    for candidate, found in zip(shown, suited, strict=True):
        pitch, formants = f"{candidate.semitones:+.1f} semitones", f"{candidate.formant_ratio:.2f} x"
        lines.append(f"{candidate.voice.name:<20} {candidate.likeness:8.2f} {pitch:>15} {formants:>10}")
        if sound := candidate.voice.sound:
            values = ", ".join(f"{param} {number:.3g}" for param, number in sorted(sound.items()))
            lines.append(f"    all without what it is said with: {values}; --pitch and --formant replace its own")
        if found is not None:
            said = [f"likeness {found.likeness:.2f}"]
            if not math.isnan(found.f0_overlap):
                said = [
                    f"pitch range {found.f0_overlap:.0%} alike",
                    f"formants {found.formant_distance:.2f} octaves away",
                    *said,
                ]
            if not math.isnan(found.word_error):
                said.append(f"{found.word_error:.0%} of the words lost")
            lines.append(f"    with your speech: {', '.join(said)}")
    return lines


def add_adapt_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc voices adapt` to parser."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="recordings of its speaker, 1 to 10 min in all"
    )


def run_adapt(args: argparse.Namespace, library: Library) -> int:
    """Adapt a voice; return 0 if it became better, 1 if it was left as it was. Raises VoiceError."""
    library.find(args.name)
    recordings, length_s = [], 0.0
    for path in args.files:
        samples, rate_hz = read_recording(path)
        recordings.append((samples, rate_hz))
        length_s += len(samples) / rate_hz
        if length_s > LENGTH_MAX_S:
            raise VoiceError(
                f"up to {path} the recordings are {length_s / 60:.0f} min long; {LENGTH_MAX_S / 60:g} min is most"
            )
    with StatusLine() as line:
        found = adapt(library, args.name, recordings, Speaker(), lambda done, what: line.show(f"{bar(done)} {what}"))
    before, after = found.before, found.after
    print(f"{found.speech_s:.0f} s of speech; on half a minute of it, what was not fitted to first:")
    print(f"  likeness to the speaker   {before.likeness:.3f} -> {after.likeness:.3f}")
    print(f"  content heard again       {before.content:.1%} -> {after.content:.1%}")
    print(f"  distance of the spectra   {before.spectra:.3f} -> {after.spectra:.3f}")
    print(f"{args.name} was adapted" if found.kept else f"{args.name} was left as it was: it did not become better")
    return 0 if found.kept else 1


def add_tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc voices tune` to parser."""
    parser.add_argument("name", metavar="VOICE", help="built-in or your own; it stays as it is")
    parser.add_argument("new_name", metavar="NEW", help="name of the voice that is made of it")
    parser.add_argument("--softness", type=float, default=0.0, metavar="X", help="-1 (bright) to 1 (soft, with breath)")
    parser.add_argument(
        "--age", type=float, default=0.0, metavar="X", help="-1 (a smaller body) to 1 (a larger, older one)"
    )
    parser.add_argument("--breath", type=float, metavar="X", help="0 to 1")
    parser.add_argument("--tempo", type=float, metavar="R", help="0.5 (slow) to 2 (fast); for files, live keeps yours")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PARAM=VALUE", help=f"one of {', '.join(sorted(SHAPING))}"
    )
    parser.add_argument("--doc", default="", metavar="TEXT", help="what it is for")
    parser.add_argument(
        "--try", dest="sample", metavar="FILE", type=Path,
        help="recording to be said as both voices, in FILE-VOICE.wav and FILE-NEW.wav beside it",
    )  # fmt: skip


def run_tune(args: argparse.Namespace, library: Library) -> int:
    """Make the voice; return 0. Raises VoiceError, ConsentError."""
    more = {} if args.breath is None else {"breath.amount": args.breath}
    for text in args.set:
        param, _, value = text.partition("=")
        try:
            more[param] = float(value)
        except ValueError:
            raise VoiceError(f"--set {text}: write --set PARAM=VALUE, such as pitch.semitones=1") from None
    own = None if args.name in TIMBRES else library.find(args.name)
    if args.sample is not None:  # whatever can go wrong goes wrong before there is a new voice
        read_recording(args.sample)
        *sounds, drawing = _targets(args.sample, (args.name, args.new_name))
        for target in sounds:
            check_target(target, False)
        if drawing.exists():
            raise VoiceError(f"{drawing}: exists; move it, or try another recording")
        if own and library.refusal(own, "files"):
            library.use(args.name, "files")  # raises, and the log says so
    sound = own.sound if own else {}
    found = shaped(sound, args.softness, args.age, more)
    profile = tune(library, args.name, args.new_name, found, args.doc, args.tempo)
    for param, number in sorted(profile.sound.items()):
        print(f"{param:<20} {number:.3g} {PARAMS[param].unit}".rstrip())
    if profile.tempo != 1.0:
        print(f"{'tempo':<20} {profile.tempo:.3g} (in files; live it keeps your own)")
    if args.sample is not None:
        print("\n".join(str(path) for path in _tried(library, args.sample, (args.name, args.new_name))))
    print(f"speak as it: rtvc live --voice {profile.name}; undo: rtvc voices erase {profile.name}")
    return 0


def _targets(sample: Path, names: Sequence[str]) -> list[Path]:
    sounds = [sample.with_name(f"{sample.stem}-{name}.wav") for name in names]
    return [*sounds, sounds[-1].with_suffix(".png")]


def _tried(library: Library, sample: Path, names: Sequence[str]) -> list[Path]:
    """Write the sample as each voice, and a picture of both where matplotlib is installed; return the files."""
    *targets, drawing = _targets(sample, names)
    for name, target in zip(names, targets, strict=True):
        own = None if name in TIMBRES else library.use(name, "files").spoken
        values = to_vector({"voice.name": "neural", "voice.timbre": MINE if own else name})
        for param, number in own.sound.items() if own else ():
            values[INDEX[param]] = number
        convert_file(sample, target, values, own=own)
    try:
        return [*targets, picture(drawing, targets)]
    except ImportError:
        return targets
