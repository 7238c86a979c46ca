"""Which voice a recording sounds like, and how well the user can speak as it.

Every voice has an embedding: what the speaker encoder hears in its sample (built-in voices), in the speech it was
enrolled from, or, for a blend, the mean of its parts'. Voices are ranked by likeness to the recording; below the
threshold that the encoder was calibrated to there is no match. For each the pitch and the formants are proposed that
take it to the recording's.

With a recording of the user's own, the best ones are tried out: SELF_TEST_S of it are said as that voice by the live
engine, and it is measured how like the voice that is and how many words are lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rtvc.engine.network import Network, weights_folder
from rtvc.engine.params import TIMBRES
from rtvc.engine.timbres import Timbre, built_in_timbres
from rtvc.engine.voice import ENGINE_RATE_HZ

from .analysis import speech_statistics
from .consent_check import Recogniser, word_error
from .profile import Profile, timbre_of
from .rates import at_rate
from .recording_check import Samples, read_recording
from .speaker import Speaker, without_pauses
from .spoken import RATE_HZ, spoken_as

SELF_TEST_S = 5.0
FORMANTS = ("f1_hz", "f2_hz", "f3_hz")
FORMANT_RATIO = (0.8, 1.25)
ROUNDS, NEAREST, SHRINK = 12, 3, 0.8


@dataclass(frozen=True)
class Known:
    """A voice that can be spoken as, and what is known of its sound.

    sound: values of the registry that it is said with (see `tune`); embedding and statistics are without them.
    """

    name: str
    timbre: Timbre
    embedding: NDArray[np.float32]
    statistics: Mapping[str, float]
    sound: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One voice beside a recording. semitones and formant_ratio take the voice to the recording.

    They are what --pitch and --formant have to be, in the place of what a tuned voice is said with.
    """

    voice: Known
    likeness: float
    semitones: float
    formant_ratio: float


@dataclass(frozen=True)
class Suited:
    """How the user's own speech goes with a voice.

    f0_overlap: of the ranges of F0 (0..1). formant_distance: mean over formants, in octaves. likeness and word_error
    are measured on a self-test through the live engine.
    """

    f0_overlap: float
    formant_distance: float
    likeness: float
    word_error: float


def known_voices(speaker: Speaker, profiles: Sequence[Profile]) -> list[Known]:
    """Return the built-in voices and the user's own, but for blends of voices that are gone: they have no embedding."""
    found = list(_built_in(speaker))
    embeddings = {("", known.name): known.embedding for known in found}
    embeddings |= {(p.id, ""): p.embedding for p in profiles if p.embedding is not None}
    for profile in profiles:
        embedding = profile.embedding
        if embedding is None:
            parts = [(part.share, embeddings.get((part.id, "" if part.id else part.name))) for part in profile.lineage]
            if any(part is None for _, part in parts):
                continue
            mean = np.sum([share * part for share, part in parts if part is not None], axis=0)
            embedding = (mean / np.linalg.norm(mean)).astype(np.float32)
        found.append(Known(profile.name, timbre_of(profile), embedding, profile.statistics, profile.sound))
    return found


@cache
def _built_in(speaker: Speaker) -> tuple[Known, ...]:
    voices = []
    for name, timbre in zip(TIMBRES, built_in_timbres(), strict=True):
        x, rate_hz = read_recording(weights_folder() / "voices" / f"{name}.ogg")
        voices.append(Known(name, timbre, speaker.embed(x, rate_hz), speech_statistics(x, rate_hz)))
    return tuple(voices)


def rank(recording: Samples, rate_hz: int, voices: Sequence[Known], speaker: Speaker) -> list[Candidate]:
    """Return all voices, likest to the recording (float32[n], mono) first. Raises VoiceError if it holds no speech."""
    embedding = speaker.embed(recording, rate_hz)
    said = speech_statistics(recording, rate_hz)
    found = []
    for voice in voices:
        semitones = 12.0 * math.log2(said["f0_median_hz"] / voice.timbre.home_hz)
        low, high = FORMANT_RATIO
        octaves = octaves_between(voice.statistics, said)
        ratio = min(high, max(low, 2.0**octaves)) if math.isfinite(octaves) else 1.0
        found.append(Candidate(voice, float(embedding @ voice.embedding), semitones, ratio))
    return sorted(found, key=lambda candidate: -candidate.likeness)


def octaves_between(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return by how much the other's formants lie higher, mean over those known of both; NaN where none is."""
    both = [math.log2(other[name] / one[name]) for name in FORMANTS if one.get(name) and other.get(name)]
    return float(np.mean(both)) if both else math.nan


class Trial:
    """A self-test of the user's own speech, said as one voice after the other."""

    def __init__(self, own: Samples, rate_hz: int, speaker: Speaker, recogniser: Recogniser | None) -> None:
        """own: float32[n], mono; the first SELF_TEST_S of speech are taken. Words need a recogniser."""
        self._x = without_pauses(at_rate(own, rate_hz, RATE_HZ))[: round(SELF_TEST_S * RATE_HZ)]
        self._speaker, self._recogniser = speaker, recogniser
        self._said = speech_statistics(own, rate_hz)
        self._words = recogniser.words(self._x, RATE_HZ) if recogniser else ""
        self._network = Network("clear")

    def sound(self, timbre: Timbre) -> Samples:
        """Return what the self-test sounds like as a voice, at ENGINE_RATE_HZ."""
        return spoken_as(self._network, timbre, self._x)

    def suited(self, voice: Known) -> Suited:
        """Return how the user's speech goes with a voice."""
        y = self.sound(voice.timbre)
        lost = word_error(self._words, self._recogniser.words(y, ENGINE_RATE_HZ)) if self._recogniser else math.nan
        likeness = float(self._speaker.embed(y, ENGINE_RATE_HZ) @ voice.embedding)
        distance = [abs(octaves_between({name: self._said[name]}, voice.statistics)) for name in FORMANTS]
        return Suited(_overlap(self._said, voice.statistics), float(np.mean(distance)), likeness, lost)


def _overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the share that two ranges of F0 have in common of what either has, on a scale of octaves."""
    try:
        low = [math.log2(said["f0_low_hz"]) for said in (one, other)]
        high = [math.log2(said["f0_high_hz"]) for said in (one, other)]
    except KeyError:
        return math.nan
    return max(0.0, min(high) - max(low)) / max(1e-6, max(high) - min(low))


@dataclass(frozen=True)
class Round:
    """One round of `approach`: what was tried, and how like the recording the self-test then sounds."""

    what: str
    likeness: float
    kept: bool


def approach(
    recording: Samples,
    rate_hz: int,
    candidates: Sequence[Candidate],
    trial: Trial,
    speaker: Speaker,
    told: Callable[[Round], None],
) -> float:
    """Look for a timbre between and around the known ones with which the self-test sounds most like the recording.

    Extract (the speaker encoder's own guess), match (say the self-test, compare), adjust, match again. An adjustment
    mixes in one of the likest voices or moves along a direction in which known voices differ; what helped is kept, and
    steps shrink when nothing does. Return the likeness of the best one; told hears of every round.
    """
    heard = speaker.hear(recording, rate_hz)
    home_hz = speech_statistics(recording, rate_hz)["f0_median_hz"]
    known = np.array([candidate.voice.timbre.vector for candidate in candidates])
    directions = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2][: len(known) - 1]
    spread = float(np.linalg.norm(known - known.mean(axis=0), axis=1).mean())
    rng = np.random.default_rng(0)
    target, best, most, step = heard.embedding, heard.timbre, -1.0, 0.5

    def matched(vector: NDArray[np.float32]) -> float:
        y = trial.sound(Timbre(vector, home_hz))
        return float(speaker.embed(y, ENGINE_RATE_HZ) @ target)

    for k in range(ROUNDS):
        if k == 0:
            what, vector = "extracted", heard.timbre
        elif k <= NEAREST:
            near = candidates[k - 1].voice
            what, vector = f"with some of {near.name}", (1.0 - step) * best + step * near.timbre.vector
        else:
            way = rng.normal(size=len(directions)) @ directions
            what, vector = "moved", best + step * spread * way / np.linalg.norm(way)
        likeness = matched(vector.astype(np.float32))
        kept = likeness > most
        told(Round(what, likeness, kept))
        if kept:
            best, most = vector.astype(np.float32), likeness
        else:
            step *= SHRINK
    return most
