"""Adapts an enrolled voice to minutes of its speaker's speech, and keeps the result only if it is better.

    recordings -> utterances -> heard by the live networks -> fitted (`rtvc.voices.fitting`) -> judged -> kept or not

Judged on what was held out, topped up to half a minute if it is less: the live engine says it again as the voice was
and as it is now. Kept if that is more like the speaker (the speaker encoder's likeness to the enrolment) and no less of
what is said comes through: the share of frames in which the content encoder hears the same code again. That holds in
any language, and over half a minute it is surer than a recogniser's count of some seventy words. The likeness is what
was fitted to, so besides the spectra must not be much further from the recordings than they were. (Much: they are least
far where the sound is a blur, and that is not what a voice should be.)

A fit that is interrupted lies in the library, sealed as all else is, and the next one goes on from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgpack
import numpy as np

from rtvc.engine.network import CONTENT, Network
from rtvc.engine.timbres import Timbre
from rtvc.engine.voice import ENGINE_RATE_HZ

from .errors import ConsentError, VoiceError
from .library import FIT_SUFFIX, Library
from .listening import Listener
from .profile import FILM_UNITS, Profile
from .rates import at_rate
from .recording_check import FRAME_S, SPEECH_DB, Samples, check_recording
from .speaker import Speaker
from .spoken import RATE_HZ, spoken_as

if TYPE_CHECKING:
    from .fitting import Fitted, Pair

SPEECH_MIN_S = 30.0
PIECE_S = (4.0, 9.0)
SPEECH_SHARE = 0.3
HELD_OUT = 0.15  # share of the speech
JUDGED_S = 30.0
WORSE_CONTENT = 0.02  # less is chance: so much moves the share over half a minute
WORSE_SPECTRA = 1.1
BAND = 0.475  # of a recording's rate: what lies above is filter, not voice
BAND_MAX_HZ = 11_500.0
LEVEL = 0.05  # rms of what is fitted to
SOUND_RATE_HZ = 24000


class Score(NamedTuple):
    """What a voice makes of the held-out speech."""

    likeness: float
    content: float
    spectra: float
    """How far the spectra are from the recordings', at the speaker's own pitch (nepers)."""


class Adapted(NamedTuple):
    """The outcome; kept says whether the voice was changed."""

    before: Score
    after: Score
    speech_s: float
    kept: bool


def utterances(samples: Samples, rate_hz: int) -> list[Samples]:
    """Return the recording (float32[n], mono) in pieces PIECE_S long, cut where it is quietest, those with speech."""
    frame = round(FRAME_S * rate_hz)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    if not len(frames):
        return []
    power = np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12
    loud = power > max(float(np.quantile(power, 0.1)), 1e-9) * 10.0 ** (SPEECH_DB / 10.0)
    shortest, longest = (round(seconds / FRAME_S) for seconds in PIECE_S)
    smooth = np.append(np.convolve(power, np.ones(5), "same"), np.inf)  # at its end only where there is no other place
    found, begin = [], 0
    while len(frames) - begin >= shortest:
        end = begin + shortest + int(np.argmin(smooth[begin + shortest : begin + longest + 1], axis=0))
        if loud[begin:end].mean() > SPEECH_SHARE:
            found.append(samples[begin * frame : end * frame])
        begin = end
    return found


def adapt(
    library: Library,
    name: str,
    recordings: Sequence[tuple[Samples, int]],
    speaker: Speaker,
    told: Callable[[float, str], None],
) -> Adapted:
    """Fit the voice `name` to recordings (samples float32[n] mono, rate in Hz) of its speaker.

    told(share done, what) hears of the progress. Raises VoiceError if PyTorch or onnx is missing, the voice is a blend,
    or the recordings are too short or not its speaker's. Whatever ends a fit, a signal or a full disk,
    leaves the voice as it was and keeps what the fit has reached, for the next one.
    """
    _check_packages()
    profile = library.find(name)
    if refusal := library.refusal(profile):
        raise ConsentError(refusal)
    if profile.embedding is None:
        raise VoiceError(f"voice {name!r} is a blend; adapt a voice that was enrolled from speech")
    said = [(part, rate_hz) for samples, rate_hz in recordings for part in utterances(samples, rate_hz)]
    speech_s = sum(len(part) / rate_hz for part, rate_hz in said)
    if speech_s < SPEECH_MIN_S:
        raise VoiceError(f"{speech_s:.0f} s of speech are too little to adapt to; record {SPEECH_MIN_S:g} s or more")
    for number, (samples, rate_hz) in enumerate(recordings, 1):
        which = f"recording {number} of {len(recordings)}"
        likeness = float(speaker.embed(samples, rate_hz) @ profile.embedding)
        if likeness < speaker.same_speaker:
            raise VoiceError(
                f"{which} is not spoken by {name!r} (likeness {likeness:.2f}, at least "
                f"{speaker.same_speaker:.2f}); give only recordings of that speaker"
            )
        if faults := check_recording(samples, rate_hz, 0.0, speaker).faults:
            raise VoiceError(f"{which}: {'; '.join(faults)}")
    # pieces that do not sound like the speaker are somebody else's, or nobody's
    said = [piece for piece in said if float(speaker.embed(*piece) @ profile.embedding) >= speaker.same_speaker]
    like_s = sum(len(part) / rate_hz for part, rate_hz in said)
    if like_s < SPEECH_MIN_S:
        raise VoiceError(
            f"only {like_s:.0f} of {speech_s:.0f} s sound like {name!r}; record {SPEECH_MIN_S:g} s or more of that "
            "speaker alone"
        )
    held_out, rest = _split(said)
    first, fitted = _fitted(library, profile, rest, held_out, told)
    told(0.9, "judging")
    before, after = _judged(profile, (first, fitted), [*held_out, *rest], speaker)
    kept = (
        after.likeness > before.likeness
        and after.content >= before.content - WORSE_CONTENT
        and after.spectra <= WORSE_SPECTRA * before.spectra
    )

    def adapted(now: Profile) -> Profile:
        return dataclasses.replace(now, timbre=fitted.timbre, personal=fitted.personal)

    library.end_fit(profile.id, adapted if kept else None)
    return Adapted(before, after, like_s, kept)


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise VoiceError(f"adapting a voice needs PyTorch and onnx; pip install 'rtvc[train]' ({error})") from None


def _judged(
    profile: Profile, fits: tuple[Fitted, Fitted], pieces: list[tuple[Samples, int]], speaker: Speaker
) -> tuple[Score, Score]:
    """Return how the voice was and how it is now fitted, on the first JUDGED_S of pieces."""
    assert profile.embedding is not None
    judged = np.concatenate([at_rate(part, rate_hz, RATE_HZ) for part, rate_hz in pieces])
    judged = judged[: round(JUDGED_S * RATE_HZ)]
    network = Network("clear")
    listener, scores = Listener(network), []
    codes = listener.hear(judged).inputs[:, :CONTENT]
    for fit in fits:
        again = spoken_as(network, Timbre(fit.timbre, profile.home_hz, fit.personal), judged)
        heard = listener.hear(at_rate(again, ENGINE_RATE_HZ, RATE_HZ)).inputs[:, :CONTENT]
        same = float(np.all(heard[: len(codes)] == codes[: len(heard)], axis=1).mean())
        likeness = float(speaker.embed(again, ENGINE_RATE_HZ) @ profile.embedding)
        scores.append(Score(likeness, same, fit.spectra))
    before, after = scores
    return before, after


def _split(said: list[tuple[Samples, int]]) -> tuple[list[tuple[Samples, int]], list[tuple[Samples, int]]]:
    """Return every so many-th piece, held out, and the rest."""
    every = round(1.0 / HELD_OUT)
    return said[every // 2 :: every], [piece for k, piece in enumerate(said) if k % every != every // 2]


def _fitted(
    library: Library,
    profile: Profile,
    rest: list[tuple[Samples, int]],
    held_out: list[tuple[Samples, int]],
    told: Callable[[float, str], None],
) -> tuple[Fitted, Fitted]:
    """Return the voice as it was and as it is fitted to the rest."""
    from rtvc.train.shipped import shipped_generator, shipped_speaker

    from .fitting import Fit, FitPlan, Pair

    listener, count = Listener(Network("clear")), len(rest) + len(held_out)

    def heard(pieces: list[tuple[Samples, int]], done: int) -> list[Pair]:
        pairs = []
        for k, (x, rate_hz) in enumerate(pieces):
            told(0.3 * (done + k) / count, "listening")
            level = np.float32(LEVEL / max(float(np.sqrt(np.mean(np.square(x)))), 1e-6))
            said = listener.hear(level * at_rate(x, rate_hz, RATE_HZ))
            pairs.append(Pair(said, level * at_rate(x, rate_hz, SOUND_RATE_HZ)))
        return pairs

    pairs, held = heard(rest, 0), heard(held_out, len(rest))
    plan = FitPlan()
    band_hz = min(BAND_MAX_HZ, BAND * min(rate_hz for _, rate_hz in (*rest, *held_out)))
    fit = Fit(shipped_generator(), shipped_speaker(), pairs, held, *_own(profile), band_hz, plan)
    first = fit.first
    if (reached := _reached(library, profile)) is not None:
        fit.go_on_from(*reached)

    def looked(step: int, now: Fitted) -> None:
        told(0.3 + 0.6 * step / plan.steps, f"fitting, likeness {now.likeness:.2f} (was {first.likeness:.2f})")
        best = {name: getattr(fit.best, name).astype("<f4").tobytes() for name in ("timbre", "personal")}
        library.keep_fit(profile.id, msgpack.packb(best))

    return first, fit.run(looked)


def _own(profile: Profile) -> tuple[Samples, Samples]:
    """Return timbre and movements of the voice as it is."""
    return profile.timbre, np.zeros(FILM_UNITS, np.float32) if profile.personal is None else profile.personal


def _reached(library: Library, profile: Profile) -> tuple[Samples, Samples] | None:
    """Return timbre and movements that an interrupted fit had reached, if there was one."""
    kept = library.store.read(profile.id + FIT_SUFFIX)
    if kept is None:
        return None
    fields = msgpack.unpackb(kept)
    timbre, personal = (np.frombuffer(fields[name], "<f4").astype(np.float32) for name in ("timbre", "personal"))
    return timbre, personal
