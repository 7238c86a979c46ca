"""`rtvc voices`: list, search, enrol, match, adapt, tune, blend, export, import, revoke and erase voices, read the log.

The key lies in the system's keyring; where there is none, or with --passphrase, a passphrase is asked for, or taken
from RTVC_VOICES_PASSPHRASE.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rtvc.provenance.payload import number_of_voice

from .adapting_commands import (
    add_adapt_arguments,
    add_match_arguments,
    add_tune_arguments,
    run_adapt,
    run_match,
    run_tune,
)
from .cards import Card, built_in_cards, card_of, search
from .errors import VoiceError
from .keys import check_passphrase, has_keyring
from .library import Library, erase_library, library_exists, library_folder, make_library, open_library
from .making_commands import add_enrol_arguments, run_enrol

PASSPHRASE, FILE_PASSPHRASE = "RTVC_VOICES_PASSPHRASE", "RTVC_VOICE_FILE_PASSPHRASE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc voices` to parser."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    raw = argparse.RawDescriptionHelpFormatter

    def verb(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text, formatter_class=raw, epilog=f"examples:\n{example}")

    add = verb(
        "list", "list all voices, or those that fit all words", "  rtvc voices list\n  rtvc voices list low blend"
    )
    add.add_argument("words", metavar="WORD", nargs="*", help="beginning of a word on its card")
    add.add_argument("--json", action="store_true", help="print JSON")
    add = verb("show", "show all that is kept of one of your voices", "  rtvc voices show anna")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--json", action="store_true", help="print JSON")
    add = verb("check", "say whether recordings are good enough to make a voice of", "  rtvc voices check anna*.wav")
    add.add_argument("files", metavar="FILE", nargs="+", type=Path)
    add.add_argument("--json", action="store_true", help="print JSON, an object a line")
    add = verb(
        "enrol", "make a voice of somebody's speech, with their consent, read aloud",
        "  rtvc voices enrol anna anna*.wav --speaker 'Anna Nowak' --purpose 'reading my letters'\n"
        "  rtvc voices enrol anna --record\n"
        "  rtvc voices enrol anna anna.wav --consent phrase.wav --uses live,files,export --until 2027-12-31",
    )  # fmt: skip
    add_enrol_arguments(add)
    _add_passphrase(add)
    add = verb(
        "match", "say which voices a recording is like, and try out which suit your own",
        "  rtvc voices match somebody.wav\n  rtvc voices match somebody.wav --source me.wav --limit 3",
    )  # fmt: skip
    add_match_arguments(add)
    add = verb(
        "adapt", "make an enrolled voice more like its speaker, from minutes of speech",
        "  rtvc voices adapt anna anna-reads-*.wav",
    )  # fmt: skip
    add_adapt_arguments(add)
    add = verb(
        "tune", "make a voice softer, older, breathier or slower; a new voice",
        "  rtvc voices tune heart soft --softness 0.6\n"
        "  rtvc voices tune anna older --age 0.7 --set pitch.intonation=0.9 --try me.wav\n"
        "  rtvc voices tune soft slow --tempo 0.85 --try me.wav\n"
        "of a person's voice only if the consent covers blends: rtvc voices enrol ... --uses live,files,blend",
    )  # fmt: skip
    add_tune_arguments(add)
    _add_passphrase(add)
    add = verb(
        "blend", "make a voice of several, by weight", "  rtvc voices blend mix heart=0.6 puck=0.4 --doc 'for calls'"
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("parts", metavar="VOICE=WEIGHT", nargs="+")
    add.add_argument("--doc", default="", metavar="TEXT", help="what it is for")
    _add_passphrase(add)
    add = verb("rename", "give one of your voices another name", "  rtvc voices rename mix calls")
    add.add_argument("name", metavar="NAME")
    add.add_argument("new_name", metavar="NEW")
    add = verb("consent", "show whose consent a voice rests on, for what and until when", "  rtvc voices consent anna")
    add.add_argument("name", metavar="NAME")
    add = verb("export", "write a voice to one file, sealed and signed", "  rtvc voices export mix mix.rtvcvoice")
    add.add_argument("name", metavar="NAME")
    add.add_argument("file", metavar="FILE", type=Path)
    add.add_argument("--force", action="store_true", help="replace a file that exists")
    add = verb(
        "import", "take a voice from an exported file",
        "  rtvc voices import mix.rtvcvoice --signer 0123-4567-89ab-cdef-0123-4567-89ab-cdef",
    )  # fmt: skip
    add.add_argument("file", metavar="FILE", type=Path)
    add.add_argument("--signer", default="", metavar="FINGERPRINT", help="of the sender, as they told you it")
    add.add_argument("--name", help="take it under another name")
    _add_passphrase(add)
    add = verb("revoke", "take a voice's consent back for good; the voice and its blends refuse to be used",
               "  rtvc voices revoke anna")  # fmt: skip
    add.add_argument("name", metavar="NAME")
    add = verb(
        "erase", "erase a voice, or everything of yours; needs no key for everything",
        "  rtvc voices erase anna --derived\n  rtvc voices erase --all --yes",
    )  # fmt: skip
    add.add_argument("name", metavar="NAME", nargs="?")
    add.add_argument("--derived", action="store_true", help="and the blends it went into")
    add.add_argument("--all", action="store_true", help="all voices, the log and the keys")
    add.add_argument("--yes", action="store_true", help="with --all: do not ask")
    add = verb("audit", "check the audit log and show it", "  rtvc voices audit\n  rtvc voices audit --json")
    add.add_argument("--json", action="store_true", help="print JSON, an object a line")


def run(args: argparse.Namespace) -> int:
    """Do what `rtvc voices` was told; return the exit code. Raises VoiceError."""
    return _VERBS[args.verb](args)


def open_own_library() -> Library:
    """Open the user's library, asking for the passphrase if it needs one. Raises VoiceError."""
    return open_library(library_folder(), lambda: ask_secret(PASSPHRASE, "passphrase of your voices"))


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passphrase", action="store_true", help="lock a new library with one, not with the keyring")


def _own_or_new_library(passphrase: bool) -> Library:
    return open_own_library() if library_exists(library_folder()) else _new_library(passphrase)()


def _new_library(passphrase: bool) -> Callable[[], Library]:
    """Return what makes a library; what it needs to know for that is asked at once."""
    if not passphrase and has_keyring():
        return lambda: make_library(library_folder(), None)
    secret = check_passphrase(ask_secret(PASSPHRASE, "new passphrase of your voices", twice=True))
    return lambda: make_library(library_folder(), secret)


def ask_secret(variable: str, what: str, twice: bool = False) -> str:
    """Return a secret from the environment or the terminal. Raises VoiceError if there is neither."""
    given = os.environ.get(variable)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise VoiceError(f"there is no terminal to ask for the {what}; set {variable}")
    secret = getpass.getpass(f"{what}: ")
    if twice and getpass.getpass("the same once more: ") != secret:
        raise VoiceError("the two were not the same; nothing was done")
    return secret


def _warn(messages: Sequence[str]) -> None:
    for message in messages:
        print(f"rtvc: {message}", file=sys.stderr)


def _list(args: argparse.Namespace) -> int:
    cards = built_in_cards()
    faults: list[str] = []
    if library_exists(library_folder()):
        try:
            library = open_own_library()
            profiles, faults = library.profiles()
            cards += [card_of(profile, library.refusal(profile)) for profile in profiles]
        except VoiceError as error:
            faults = [str(error)]
    cards = search(cards, args.words)
    if args.json:
        print(json.dumps([asdict(card) | {"register": card.register} for card in cards], ensure_ascii=False))
    for card in () if args.json else cards:
        print(_line(card))
    _warn(faults if cards else [*faults, f"no voice fits {' '.join(args.words)}"])
    return 1 if faults or not cards else 0


def _line(card: Card) -> str:
    state = f"  ({card.refusal})" if card.refusal else ""
    return f"{card.name:<20} {card.kind:<9} {card.register:<6} {card.home_hz:4.0f} Hz  {card.doc or card.source}{state}"


def _show(args: argparse.Namespace) -> int:
    profile = open_own_library().find(args.name)
    fields = {name: getattr(profile, name) for name in ("name", "id", "doc", "home_hz", "licence", "source")}
    fields |= {"made": profile.made.isoformat(), "statistics": dict(profile.statistics)}
    fields |= {"sound": dict(profile.sound), "tempo": profile.tempo, "adapted": profile.personal is not None}
    fields["mark"] = number_of_voice(profile.id)  # what rtvc verify calls it
    fields["lineage"] = [asdict(part) for part in profile.lineage]
    fields["consents"] = [asdict(consent) for consent in profile.consents]
    if args.json:
        print(json.dumps(fields, default=str, ensure_ascii=False))
        return 0
    for name in ("name", "id", "mark", "doc", "home_hz", "made", "licence", "source"):
        if fields[name]:
            print(f"{name:<10} {fields[name]:.1f}" if name == "home_hz" else f"{name:<10} {fields[name]}")
    for name, value in sorted(profile.sound.items()):
        print(f"{'said with':<10} {name} = {value:g}")
    if profile.tempo != 1.0:
        print(f"{'said with':<10} tempo = {profile.tempo:g} (in files; live it keeps your own)")
    for name, value in profile.statistics.items():
        print(f"{name:<10} {value:g}")
    for part in profile.lineage:
        print(f"{'part':<10} {part.share:6.1%} {part.name}{' (yours)' if part.id else ''}")
    for consent in profile.consents:
        print(f"{'consent':<10} {consent.speaker}, until {consent.expires}: {', '.join(consent.uses)}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from .recording_check import check_recording, read_recording

    poor = 0
    for path in args.files:
        report = check_recording(*read_recording(path))
        poor += bool(report.faults)
        if args.json:
            print(json.dumps({"file": str(path)} | asdict(report), ensure_ascii=False))
            continue
        verdict = "; ".join(report.faults) or "good"
        print(f"{path}: {report.speech_s:.1f} s of speech, SNR {report.snr_db:.0f} dB, {report.rate_hz} Hz: {verdict}")
    return 1 if poor else 0


def _enrol(args: argparse.Namespace) -> int:
    if library_exists(library_folder()):
        library = open_own_library()
        return run_enrol(args, library.profiles()[0], lambda: library)
    return run_enrol(args, [], _new_library(args.passphrase))


def _match(args: argparse.Namespace) -> int:
    return run_match(args, open_own_library() if library_exists(library_folder()) else None)


def _adapt(args: argparse.Namespace) -> int:
    return run_adapt(args, open_own_library())


def _tune(args: argparse.Namespace) -> int:
    return run_tune(args, _own_or_new_library(args.passphrase))


def _blend(args: argparse.Namespace) -> int:
    from .blending import blend

    weights: dict[str, float] = {}
    for text in args.parts:
        name, _, weight = text.partition("=")
        try:
            weights[name] = float(weight)
        except ValueError:
            raise VoiceError(f"{text}: write VOICE=WEIGHT, such as heart=0.6") from None
    profile = blend(_own_or_new_library(args.passphrase), args.name, weights, args.doc)
    print(f"{profile.name}: {profile.source}, {profile.home_hz:.0f} Hz")
    return 0


def _rename(args: argparse.Namespace) -> int:
    open_own_library().rename(args.name, args.new_name)
    print(f"{args.name} is now {args.new_name}")
    return 0


def _consent(args: argparse.Namespace) -> int:
    library = open_own_library()
    profile = library.find(args.name)
    if profile.synthetic:
        print(f"{args.name} is made of voices that come with the program and are nobody's; it needs no consent")
    revoked = library.revoked()
    for consent in profile.consents:
        state = "revoked" if consent.id in revoked else f"until {consent.expires}"
        print(f"{consent.speaker}, {state}\n  purpose  {consent.purpose}\n  uses     {', '.join(consent.uses)}")
        print(f"  given    {consent.given}, read aloud: {consent.phrase}")
        print(f"  checked  word error {consent.word_error:.0%}, likeness to the voice {consent.likeness:.2f}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from .exchange import export_voice

    library = open_own_library()
    passphrase = ask_secret(FILE_PASSPHRASE, "passphrase for the file", twice=True)
    signer = export_voice(library, args.name, args.file, passphrase, args.force)
    print(f"{args.file}\nsigned by {signer}: tell it and the passphrase to the receiver by another way than the file")
    return 0


def _import(args: argparse.Namespace) -> int:
    from .exchange import read_voice_file

    profile = read_voice_file(args.file, ask_secret(FILE_PASSPHRASE, "passphrase of the file"), args.signer, args.name)
    _own_or_new_library(args.passphrase).save(profile)
    print(f"{profile.name}: {profile.source or profile.doc}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    blends = open_own_library().revoke(args.name)
    print(f"revoked: {args.name} refuses to be used, and so does every copy that comes back here")
    if blends:
        print(f"and so do its blends: {', '.join(blend.name for blend in blends)}")
    return 0


def _erase(args: argparse.Namespace) -> int:
    if args.all == (args.name is not None):
        raise VoiceError("rtvc voices erase: name a voice, or write --all")
    if args.all:
        folder = library_folder()
        if not args.yes:
            if not sys.stdin.isatty():
                raise VoiceError(
                    "there is no terminal to ask on; write --yes to erase all voices, the log and the keys"
                )
            if input("erase all your voices, the audit log and the keys? (yes) ").strip() != "yes":
                print("nothing was erased")
                return 1
        print(f"erased {erase_library(folder)} files of {folder}")
        return 0
    blends = open_own_library().erase(args.name, args.derived)
    print(f"erased {args.name}")
    if blends:
        names = ", ".join(blend.name for blend in blends)
        print(f"erased its blends: {names}" if args.derived else f"its blends are left, unusable: {names}; erase each")
    return 0


def _audit(args: argparse.Namespace) -> int:
    library = open_own_library()
    entries = library.audit.entries()
    names = {profile.id: profile.name for profile in library.profiles()[0]}
    for entry in entries:
        voice = str(entry["voice"])
        if args.json:
            print(json.dumps(entry | {"name": names.get(voice)}, ensure_ascii=False))
            continue
        detail = entry["detail"]
        shown = " ".join(f"{key}={value}" for key, value in detail.items()) if isinstance(detail, dict) else ""
        print(f"{entry['line']:>5} {entry['time']} {entry['deed']:<8} {names.get(voice, voice)} {shown}".rstrip())
    print(f"{len(entries)} lines, all as they were written", file=sys.stderr)
    return 0


_VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "check": _check,
    "enrol": _enrol,
    "match": _match,
    "adapt": _adapt,
    "tune": _tune,
    "blend": _blend,
    "rename": _rename,
    "consent": _consent,
    "export": _export,
    "import": _import,
    "revoke": _revoke,
    "erase": _erase,
    "audit": _audit,
}
