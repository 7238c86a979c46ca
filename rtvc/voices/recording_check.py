"""Whether recordings are good enough to make a voice of; if not, what to record again and why.

Speech is counted in frames of 20 ms: a frame is speech if its level is SPEECH_DB above the noise, which is the level
that a tenth of all frames stay below. SNR is the mean power of speech over that of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioReader

from .errors import VoiceError

RATE_MIN_HZ = 16_000
SPEECH_MIN_S = 10.0
FILE_MAX_S = 1800.0
SNR_MIN_DB = 20.0
CLIPPED_MAX = 1e-3  # share of samples
LEVEL_MIN_DB = -45.0
SPEECH_DB = 10.0
FRAME_S = 0.02
SPEAKER_WINDOW_S = 3.0

Samples = NDArray[np.float32]


class SpeakerEncoder(Protocol):
    """Tells speakers apart."""

    same_speaker: float
    """Cosine of two embeddings from which on they count as one speaker's."""

    def embed(self, speech: Samples, rate_hz: int) -> NDArray[np.float32]:
        """Return the embedding of speech (float32[n], mono): float32[k], of length 1."""
        ...


@dataclass(frozen=True)
class RecordingReport:
    """What was found in one recording; faults say what to record again and why, none if it is good."""

    rate_hz: int
    length_s: float
    speech_s: float
    snr_db: float
    clipped: float
    level_db: float
    faults: tuple[str, ...]


def read_recording(path: Path) -> tuple[Samples, int]:
    """Return the samples (float32[n], mono) and the rate in Hz of an audio file.

    Raises VoiceError if it is longer than FILE_MAX_S, before any of it is read, or holds samples that are no numbers,
    and AudioFileError.
    """
    with AudioReader(path) as reader:
        length_s = reader.frames / reader.rate_hz
        if length_s > FILE_MAX_S:
            raise VoiceError(f"{path}: {length_s / 60:.0f} min long; {FILE_MAX_S / 60:g} min is the most, cut it")
        samples = np.zeros(reader.frames, np.float32)
        count = reader.read(samples)
        if reader.nonfinite:
            raise VoiceError(
                f"{path}: {reader.nonfinite} samples are no numbers (NaN, infinite); record or save it again"
            )
        return samples[:count], reader.rate_hz


def check_recording(
    samples: Samples, rate_hz: int, speech_min_s: float = SPEECH_MIN_S, encoder: SpeakerEncoder | None = None
) -> RecordingReport:
    """Return what samples (float32[n], mono, -1..1) are good for; with an encoder also whether one person speaks."""
    frames = max(1, int(rate_hz * FRAME_S))
    count = len(samples) // frames
    power = np.mean(np.square(samples[: count * frames].reshape(count, frames), dtype=np.float64), axis=1) + 1e-12
    noise = float(np.quantile(power, 0.1)) if count else 1e-12
    speech = power > max(noise, 1e-9) * 10.0 ** (SPEECH_DB / 10.0)
    speech_s = float(np.count_nonzero(speech) * FRAME_S)
    loud = float(power[speech].mean()) if speech.any() else 1e-12
    rest = float(power[~speech].mean()) if (~speech).any() else noise
    snr_db, level_db = 10.0 * float(np.log10(loud / rest)), 10.0 * float(np.log10(loud))
    clipped = _clipped(samples)
    faults = []
    if rate_hz < RATE_MIN_HZ:
        faults.append(
            f"{rate_hz} Hz lacks the upper half of a voice; record at {RATE_MIN_HZ} Hz or more, best at 48000"
        )
    if speech_s < speech_min_s:
        faults.append(
            f"{speech_s:.1f} s of speech {SPEECH_DB:g} dB above the noise; record at least {speech_min_s:g} s in a "
            "quiet room, with pauses between sentences"
        )
    elif snr_db < SNR_MIN_DB:
        faults.append(
            f"noise is only {snr_db:.0f} dB below the voice; record in a quiet room, {SNR_MIN_DB:g} dB or more"
        )
    if clipped > CLIPPED_MAX:
        faults.append(f"{clipped:.1%} of the samples are clipped; turn the microphone down and record again")
    if speech_s > 0.0 and level_db < LEVEL_MIN_DB:
        faults.append(f"speech at {level_db:.0f} dBFS is too quiet; come closer or turn up, {LEVEL_MIN_DB:g} or more")
    if encoder is not None and speech_s >= 2.0 * SPEAKER_WINDOW_S:
        alike = _alike(samples[: count * frames].reshape(count, frames)[speech].ravel(), rate_hz, encoder)
        if alike < encoder.same_speaker:
            faults.append(f"more than one person seems to speak (likeness {alike:.2f}); record one alone")
    return RecordingReport(rate_hz, len(samples) / rate_hz, speech_s, snr_db, clipped, level_db, tuple(faults))


def _clipped(samples: Samples) -> float:
    """Return the share of samples that stand in a row of three or more at the recording's own peak."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    if len(samples) < 3 or peak < 0.1:
        return 0.0
    flat = np.abs(samples) >= 0.999 * peak
    rows = flat[:-2] & flat[1:-1] & flat[2:]
    return float(np.count_nonzero(rows) / len(samples))


def _alike(speech: Samples, rate_hz: int, encoder: SpeakerEncoder) -> float:
    """Return how like the two groups are that the windows of speech part into: around the two that are least alike."""
    window = int(SPEAKER_WINDOW_S * rate_hz)
    starts: Sequence[int] = range(0, len(speech) - window + 1, window)
    embeddings = np.array([encoder.embed(speech[start : start + window], rate_hz) for start in starts])
    likeness = embeddings @ embeddings.T
    one, other = np.unravel_index(np.argmin(likeness), likeness.shape)
    near = likeness[one] > likeness[other]
    means = embeddings[near].sum(axis=0), embeddings[~near].sum(axis=0)
    lengths = float(np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    return float(means[0] @ means[1]) / lengths if lengths > 0.0 else 1.0
