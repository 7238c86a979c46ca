"""`rtvc voices enrol`: a voice of somebody's own speech, with their spoken consent.

Nothing is written before the consent is accepted, and no sound is ever written.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rtvc.config import load_settings
from rtvc.progress import StatusLine, bar

from .consent import USES, Consent
from .consent_check import new_challenge
from .errors import VoiceError
from .library import Library, today
from .profile import Profile, check_voice_name, new_id

if TYPE_CHECKING:
    from rtvc.audio.microphone import Microphone

    from .enrol import Recording

DEFAULT_USES = "live,files"
DEFAULT_DAYS = 365
RECORD_MAX_S = 600.0


def add_enrol_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc voices enrol` to parser."""
    parser.add_argument("name", metavar="NAME", help="of the new voice")
    parser.add_argument(
        "files", metavar="FILE", nargs="*", type=Path, help="recordings of the speaker, 10 s to 10 min in all"
    )
    parser.add_argument(
        "--record", metavar="SECONDS", nargs="?", type=float, const=0.0,
        help="from the microphone instead of files; so long, or until Enter",
    )  # fmt: skip
    parser.add_argument("--speaker", metavar="NAME", help="whose voice it is; asked for if not given")
    parser.add_argument("--purpose", metavar="TEXT", help="what the voice is for; asked for if not given")
    parser.add_argument("--until", metavar="DATE", type=_day, help="last day of the consent, as 2027-12-31 (a year on)")
    parser.add_argument(
        "--uses", metavar="USES", default=DEFAULT_USES, help=f"of {', '.join(USES)}, with commas ({DEFAULT_USES})"
    )
    parser.add_argument(
        "--consent",
        metavar="FILE",
        type=Path,
        help="recording of the phrase that will be shown, instead of the microphone",
    )
    parser.add_argument("--doc", default="", metavar="TEXT", help="what the voice is like")
    parser.add_argument("--licence", default="", metavar="TEXT", help="what others may do with it")


def run_enrol(args: argparse.Namespace, there: Sequence[Profile], library: Callable[[], Library]) -> int:
    """Make a voice beside those that are there; library() returns where it goes, and is called at the very end.

    Return the exit code. Raises VoiceError, AudioFileError, DeviceError, NetworkError.
    """
    if (args.record is None) != bool(args.files):
        raise VoiceError("rtvc voices enrol: name recordings, or write --record")
    if args.record is not None and not 0.0 <= args.record <= RECORD_MAX_S:
        raise VoiceError(f"--record {args.record:g}: must be seconds, at most {RECORD_MAX_S:g}")
    check_voice_name(args.name)
    if any(profile.name == args.name for profile in there):
        raise VoiceError(f"voice {args.name!r} exists; erase it first, or use another name")
    try:
        profile = _made(args, _wanted(args))
    except EOFError:
        raise VoiceError(
            "the input ended: somebody must be at the terminal to read the phrase; the rest can be given as --speaker "
            "and --purpose. Nothing was kept"
        ) from None
    library().save(profile)
    print(
        f"{profile.name}: {profile.source}, {profile.home_hz:.0f} Hz; {profile.consents[0].speaker} agreed until "
        f"{profile.consents[0].expires}\n"
        f"speak as it:            rtvc live --voice {profile.name}\n"
        f"voices that are like it: rtvc voices match FILE\n"
        f"make it more like:      rtvc voices adapt {profile.name} FILES (1 to 10 min of the same speaker)"
    )
    return 0


def _made(args: argparse.Namespace, wanted: Consent) -> Profile:
    """Return the voice with an accepted consent."""
    from .enrol import check_enrolment, joined, profile_of, read_enrolment
    from .recogniser import recogniser
    from .speaker import Speaker
    from .spoken_consent import ask_consent, from_file, from_microphone

    with StatusLine() as line:
        line.show("loading the networks (the first time, the speech recogniser is downloaded: 75 MB)")
        speaker, hearer = Speaker(), recogniser()
    if args.consent is None or args.record is not None:
        with _microphone():
            pass  # one that is missing is told before anybody speaks
    found, faults = read_enrolment(args.files)
    if args.record is not None:
        found = [("the recording", _recorded(args.record))]
    with StatusLine() as line:
        speech_s = check_enrolment(found, speaker, faults, lambda done: line.show(f"{bar(done)} checking"))
        line.show("listening to the voice")
        recordings = [recording for _, recording in found]
        source = f"enrolled from {speech_s:.0f} s of speech"
        profile = profile_of(args.name, recordings, (wanted,), speaker, args.doc, args.licence, source)
    print(f"{speech_s:.0f} s of good speech")

    def answer() -> Recording:
        return from_microphone(_microphone) if args.consent is None else from_file(args.consent)

    given = ask_consent(wanted, joined(recordings), answer, hearer, speaker)
    return dataclasses.replace(profile, consents=(given,))


def _microphone() -> Microphone:
    """Return the microphone of the settings, opened. Raises DeviceError."""
    from rtvc.audio.microphone import Microphone

    devices = load_settings().devices
    return Microphone(devices.host or "", devices.capture or "")


def _wanted(args: argparse.Namespace) -> Consent:
    """Return the consent that is asked for, as it will be but for what is heard. Raises ConsentError."""
    speaker = args.speaker or input("Whose voice is it? First and last name: ").strip()
    purpose = args.purpose or input("What is it for? My voice is used for: ").strip()
    uses = tuple(dict.fromkeys(use.strip() for use in args.uses.split(",")))
    expires = args.until or today() + timedelta(DEFAULT_DAYS)
    phrase = new_challenge(speaker, purpose).phrase
    return Consent(new_id(), speaker, purpose, uses, today(), expires, phrase, 0.0, 1.0, "")


def _recorded(seconds: float) -> Recording:
    """Return the speech to be enrolled, from the microphone."""
    from .spoken_consent import record

    ends = f"it ends after {seconds:g} s" if seconds else "and Enter again when you are done"
    print("Read anything aloud in your everyday voice, with pauses between sentences: 10 s or more, better 30.")
    input(f"Press Enter to start recording, {ends}: ")
    with _microphone() as microphone:
        return record(microphone, (lambda: time.sleep(seconds)) if seconds else input, RECORD_MAX_S)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2027-12-31") from None
