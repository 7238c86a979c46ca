"""Checks a spoken consent: fresh words, read aloud just now, by the person whose voice is to be used.

The phrase ends in random words, so no older recording can hold it. What was recorded must say it (a recogniser's word
error rate), must be spoken by the same voice as the enrolment (a speaker encoder's cosine), and must not be a part of
the enrolment played again: no two seconds of it may have a peak above REPLAY_MAX in their phase correlation with any
place of the enrolment (GCC-PHAT: Knapp and Carter, 1976). Different utterances of one voice have peaks of 9 to 23,
copies of 110 to 170, however loud and however encoded. A copy whose speed was changed, or that was played in an echoing
room, is not found so, but it does not say the fresh words either.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .consent import Consent
from .errors import ConsentError
from .library import today
from .profile import new_id
from .recording_check import Samples, SpeakerEncoder, check_recording

WORDS = (
    "anchor", "apple", "autumn", "basket", "beacon", "bottle", "bridge", "butter", "candle", "canyon", "carpet",
    "castle", "cherry", "circle", "copper", "cotton", "desert", "dinner", "dragon", "eagle", "engine", "fabric",
    "falcon", "feather", "finger", "forest", "garden", "ginger", "guitar", "hammer", "harbor", "honey", "island",
    "jacket", "jungle", "kettle", "ladder", "lemon", "lizard", "magnet", "marble", "meadow", "mirror", "monkey",
    "morning", "mountain", "napkin", "needle", "ocean", "orange", "paper", "parrot", "pencil", "pepper", "pillow",
    "planet", "pocket", "rabbit", "ribbon", "river", "rocket", "saddle", "salmon", "season", "shadow", "silver",
    "spider", "summer", "sunset", "table", "ticket", "timber", "tunnel", "turtle", "valley", "velvet", "violin",
    "walnut", "window", "winter",
)  # fmt: skip
FRESH_WORDS = 8
FRESH_S = 600.0
WORD_ERROR_MAX = 0.25
REPLAY_MAX = 40.0
SPEECH_MIN_S = 3.0
LENGTH_MAX_S = 120.0
REPLAY_RATE_HZ = 8000
REPLAY_WINDOW_S = 2.0
REPLAY_BAND_HZ = (150.0, 3000.0)


class Recogniser(Protocol):
    """Hears words."""

    def words(self, speech: Samples, rate_hz: int) -> str:
        """Return what is said in speech (float32[n], mono)."""
        ...


@dataclass(frozen=True)
class Challenge:
    """A phrase to be read aloud within FRESH_S of being shown; shown_at is time.monotonic()."""

    statement: str
    fresh: tuple[str, ...]
    shown_at: float

    @property
    def phrase(self) -> str:
        """The whole phrase, as it is shown."""
        return f"{self.statement} {', '.join(self.fresh)}."


def new_challenge(speaker: str, purpose: str) -> Challenge:
    """Return a phrase that was never shown before."""
    fresh = tuple(secrets.choice(WORDS) for _ in range(FRESH_WORDS))
    return Challenge(f"I, {speaker}, agree that my voice is used for {purpose}:", fresh, time.monotonic())


def accept_consent(
    challenge: Challenge,
    recording: Samples,
    enrolment: Samples,
    rate_hz: int,
    recogniser: Recogniser,
    encoder: SpeakerEncoder,
    speaker: str,
    purpose: str,
    uses: Sequence[str],
    expires: date,
) -> Consent:
    """Return the record of a consent spoken in recording (float32[n] like enrolment, both mono at rate_hz).

    Raises ConsentError saying what did not hold: too late, unusable sound, a replay, other words, another voice.
    """
    if time.monotonic() - challenge.shown_at > FRESH_S:
        raise ConsentError(f"the phrase was shown more than {FRESH_S / 60:g} min ago; ask for a new one")
    if len(recording) > LENGTH_MAX_S * rate_hz:
        raise ConsentError(f"the consent recording is longer than {LENGTH_MAX_S:g} s; read only the phrase")
    report = check_recording(recording, rate_hz, SPEECH_MIN_S)
    if report.faults:
        raise ConsentError(f"the consent recording cannot be checked: {'; '.join(report.faults)}")
    copied = replay_peak(recording, enrolment, rate_hz)
    if copied > REPLAY_MAX:
        raise ConsentError(
            f"the consent recording repeats a part of the enrolment (peak {copied:.0f}); read the phrase aloud"
        )
    heard = recogniser.words(recording, rate_hz)
    fresh_error = word_error(" ".join(challenge.fresh), " ".join(_words(heard)[-len(challenge.fresh) :]))
    error = max(fresh_error, word_error(challenge.phrase, heard))
    if error > WORD_ERROR_MAX:
        raise ConsentError(f"{error:.0%} of the phrase was not heard as shown; read it aloud again, slowly")
    likeness = float(encoder.embed(recording, rate_hz) @ encoder.embed(enrolment, rate_hz))
    if not likeness >= encoder.same_speaker:
        raise ConsentError(
            f"the phrase was not spoken by the enrolled voice (likeness {likeness:.2f}, at least "
            f"{encoder.same_speaker:.2f}); the speaker must read it"
        )
    digest = hashlib.sha256(np.ascontiguousarray(recording, "<f4").tobytes()).hexdigest()
    phrase, given = challenge.phrase, today()
    return Consent(new_id(), speaker, purpose, tuple(uses), given, expires, phrase, error, likeness, digest)


def word_error(shown: str, heard: str) -> float:
    """Return the word error rate of heard against shown: word edits over words shown, at most 1."""
    reference, hypothesis = _words(shown), _words(heard)
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return min(1.0, row[-1] / max(1, len(reference)))


def replay_peak(recording: Samples, enrolment: Samples, rate_hz: int) -> float:
    """Return the highest peak in the phase correlation of recording with enrolment, in multiples of its rms.

    Both are float32[n] at rate_hz; every REPLAY_WINDOW_S of recording is compared with twice as much of enrolment.
    """
    step = max(1, rate_hz // REPLAY_RATE_HZ)
    window = int(REPLAY_WINDOW_S * rate_hz / step)
    query, text = (_lower(samples, step, window) for samples in (recording, enrolment))
    size = 1 << (3 * window).bit_length()
    hz = np.fft.rfftfreq(size, step / rate_hz)
    band = (hz > REPLAY_BAND_HZ[0]) & (hz < REPLAY_BAND_HZ[1])
    places = [
        _phases(text[start : start + 2 * window], size, band) for start in range(0, len(text) - window + 1, window)
    ]
    quiet = 0.1 * float(np.sqrt(np.mean(np.square(query)) * window))
    best = 0.0
    for start in range(0, len(query) - window + 1, window // 2):
        part = query[start : start + window]
        if float(np.linalg.norm(part)) <= quiet:
            continue
        phases = np.conj(_phases(part, size, band))
        for place in places:
            correlation = np.fft.irfft(place * phases, size)
            best = max(best, float(np.max(np.abs(correlation)) / max(float(np.std(correlation)), 1e-12)))
    return best


def _lower(samples: Samples, step: int, frames_min: int) -> NDArray[np.float64]:
    """Return samples at a step-th of their rate, with silence at the end if they are too few."""
    count = len(samples) // step
    means = samples[: count * step].reshape(count, step).mean(axis=1, dtype=np.float64)
    return np.pad(means, (0, max(0, frames_min - count)))


def _phases(x: NDArray[np.float64], size: int, band: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Return the spectrum of x with all magnitudes 1 inside the band and 0 outside."""
    spectrum = np.fft.rfft(x, size)
    magnitude = np.abs(spectrum)
    return np.asarray(spectrum * band / (magnitude + 1e-9 * float(magnitude.max()) + 1e-30))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
