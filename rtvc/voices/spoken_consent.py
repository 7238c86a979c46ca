"""Asks for a spoken consent: a fresh phrase is shown, read aloud, recorded and checked, up to TRIES times.

The recording comes from the microphone, or from a file that was written after the phrase was shown. A file's time can
be set by hand; that the words are fresh cannot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rtvc.audio.backend import DeviceError
from rtvc.audio.files import AudioFileError
from rtvc.audio.microphone import Microphone
from rtvc.progress import StatusLine, meter

from .consent import USES, Consent
from .consent_check import LENGTH_MAX_S, Recogniser, accept_consent, new_challenge
from .enrol import Recording
from .errors import ConsentError, VoiceError
from .rates import at_rate
from .recording_check import Samples, SpeakerEncoder, read_recording
from .speaker import RATE_HZ

TRIES = 3


def ask_consent(
    wanted: Consent,
    enrolment: Samples,
    record: Callable[[], Recording],
    recogniser: Recogniser,
    encoder: SpeakerEncoder,
) -> Consent:
    """Return the consent that was given aloud to what `wanted` says; enrolment is the speech at 16 kHz.

    record() waits for the recording of the phrase that was just shown. Raises ConsentError after TRIES failures.
    """
    print(f"{wanted.speaker} lets the voice be used until {wanted.expires}, to:")
    print("".join(f"    {USES[use]}\n" for use in wanted.uses), end="")
    for tries_left in reversed(range(TRIES)):
        challenge = new_challenge(wanted.speaker, wanted.purpose)
        print(f"\n{wanted.speaker}, to agree, read this aloud:\n\n    {challenge.phrase}\n", flush=True)
        try:
            recording, rate_hz = record()
            with StatusLine() as line:
                line.show("checking words and voice")
                return accept_consent(
                    challenge, recording, at_rate(enrolment, RATE_HZ, rate_hz), rate_hz, recogniser, encoder,
                    wanted.speaker, wanted.purpose, wanted.uses, wanted.expires,
                )  # fmt: skip
        except (VoiceError, AudioFileError, DeviceError) as error:
            if not tries_left:
                raise ConsentError(f"{error}; there is no consent, and nothing was kept") from error
            print(f"not accepted: {error}\nOnce more, with new words ({tries_left} left).", flush=True)
    raise AssertionError


def from_file(path: Path) -> Recording:
    """Wait for Enter; return what the file then holds. Raises ConsentError if it is older than the call."""
    shown_ns = time.time_ns()
    input(f"Record it to {path}, then press Enter: ")
    recording = read_recording(path)
    if path.stat().st_mtime_ns < shown_ns:
        raise ConsentError(f"{path} is older than the phrase; record the words that are shown now")
    return recording


def from_microphone(opened: Callable[[], Microphone]) -> Recording:
    """Wait for Enter twice; return what was said between. Raises DeviceError."""
    input("Press Enter to start recording, and Enter again when you are done: ")
    with opened() as microphone:
        return record(microphone, input, LENGTH_MAX_S)


def record(microphone: Microphone, until: Callable[[], object], longest_s: float) -> Recording:
    """Return what is said until until() returns, with a level meter meanwhile. Raises DeviceError."""
    with StatusLine() as line:

        def heard(seconds: float, peak_db: float) -> None:
            loud = "too loud" if peak_db > -1.0 else ""
            line.show(f"{microphone.name}: {seconds:5.1f} s  {meter(peak_db)}  {loud}")

        return microphone.record(until, longest_s, heard), microphone.rate_hz
