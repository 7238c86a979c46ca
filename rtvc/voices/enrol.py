"""Makes a voice of recordings of its speaker.

Each recording is checked by itself, then against the others: by the mean of the embeddings of those that are alike, it
must be the same person in all. The voice is what the speaker encoder hears in all the speech joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioFileError

from .analysis import speech_statistics
from .consent import Consent
from .errors import VoiceError
from .library import today
from .profile import Profile, new_id
from .rates import at_rate
from .recording_check import SPEECH_MIN_S, Samples, SpeakerEncoder, check_recording, read_recording
from .speaker import RATE_HZ, Speaker

FILE_SPEECH_MIN_S = 2.0
LENGTH_MAX_S = 600.0

Recording = tuple[Samples, int]
"""Samples (float32[n], mono, -1..1) and their rate in Hz."""


def read_enrolment(paths: Sequence[Path]) -> tuple[list[tuple[str, Recording]], list[str]]:
    """Return what the files hold, by their names, and what is wrong with those that cannot be used.

    Reading ends once there is more than LENGTH_MAX_S.
    """
    found: list[tuple[str, Recording]] = []
    faults: list[str] = []
    for path in paths:
        try:
            found.append((str(path), read_recording(path)))
        except (AudioFileError, VoiceError) as error:
            faults.append(str(error))
        if _length_s(found) > LENGTH_MAX_S:
            break
    return found, faults


def check_enrolment(
    found: Sequence[tuple[str, Recording]],
    encoder: SpeakerEncoder,
    faults: Sequence[str] = (),
    told: Callable[[float], None] = lambda _: None,
) -> float:
    """Return how many seconds of one person's speech there are in the recordings that were found, each with its name.

    faults are what was wrong before; told hears the share that is done. Raises VoiceError that lists everything that
    must be recorded again, and why.
    """
    faults = list(faults)
    if (length_s := _length_s(found)) > LENGTH_MAX_S:
        faults.append(
            f"{length_s / 60:.1f} min or more in all; {LENGTH_MAX_S / 60:g} min is the most: give the best, and keep "
            "the rest for `rtvc voices adapt`"
        )
        raise _refused(faults)
    total_s = 0.0
    heard: list[tuple[str, float, NDArray[np.float32]]] = []
    for k, (name, (samples, rate_hz)) in enumerate(found):
        told(k / len(found))
        try:
            report = check_recording(samples, rate_hz, FILE_SPEECH_MIN_S, encoder)
            embedding = None if report.faults else encoder.embed(samples, rate_hz)
        except VoiceError as error:  # too little of it stands out of the noise for the encoder
            faults.append(f"{name}: {error}; record it again in a quiet room")
            continue
        faults += [f"{name}: {fault}" for fault in report.faults]
        total_s += report.speech_s
        if embedding is not None:
            heard.append((name, report.speech_s, embedding))
    if len(heard) > 1:
        names, speech_s, embeddings = zip(*heard, strict=True)
        likeness = _likeness(np.array(embeddings), np.array(speech_s), encoder)
        faults += [
            f"{name}: somebody else than in the other recordings seems to speak (likeness {alike:.2f}, at least "
            f"{encoder.same_speaker:.2f}); leave it out, or record it again"
            for name, alike in zip(names, likeness, strict=True)
            if not alike >= encoder.same_speaker
        ]
    if total_s < SPEECH_MIN_S:
        faults.append(f"{total_s:.1f} s of speech in all are too little; record {SPEECH_MIN_S:g} s, better 20 or more")
    if faults:
        raise _refused(faults)
    return total_s


def joined(recordings: Sequence[Recording]) -> Samples:
    """Return the recordings one after the other at RATE_HZ."""
    return np.concatenate([at_rate(samples, rate_hz, RATE_HZ) for samples, rate_hz in recordings])


def profile_of(
    name: str,
    recordings: Sequence[Recording],
    consents: Sequence[Consent],
    speaker: Speaker,
    doc: str = "",
    licence: str = "",
    source: str = "",
) -> Profile:
    """Return the voice of the person who speaks in recordings; they passed `check_enrolment`. Raises VoiceError."""
    speech = joined(recordings)
    heard = speaker.hear(speech, RATE_HZ)
    statistics = speech_statistics(speech, RATE_HZ)
    return Profile(
        id=new_id(),
        name=name,
        timbre=heard.timbre,
        home_hz=statistics["f0_median_hz"],
        made=today(),
        statistics=statistics,
        consents=tuple(consents),
        embedding=heard.embedding,
        doc=doc,
        licence=licence,
        source=source,
    )


def _refused(faults: Sequence[str]) -> VoiceError:
    return VoiceError("no voice can be made of this:" + "".join(f"\n  {fault}" for fault in faults))


def _length_s(found: Sequence[tuple[str, Recording]]) -> float:
    return sum(len(samples) / rate_hz for _, (samples, rate_hz) in found)


def _likeness(
    embeddings: NDArray[np.float32], speech_s: NDArray[np.float64], encoder: SpeakerEncoder
) -> NDArray[np.float64]:
    """Return how like each recording (embeddings: float32[n, k]) is to all those that are of one person."""
    alike = embeddings @ embeddings.T
    middle = int(np.argmax(alike @ speech_s))
    weights = speech_s * (alike[middle] >= encoder.same_speaker)
    whole = weights @ embeddings
    return np.asarray(embeddings @ (whole / max(float(np.linalg.norm(whole)), 1e-9)), np.float64)
