"""The speaker encoder in onnxruntime: whom speech sounds like, and where in the decoder's timbre space that voice lies.

What it is given: 16 kHz sound, pauses left out, at LEVEL_DBFS, as 40 mel energies in pieces of 1.6 s that overlap by
half (see `models/speaker.py`). The figures that calibrate it lie in the weights' card: from which likeness on two
recordings are one speaker's, measured on speakers that it never learnt from.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtvc.engine.network import CPU, NetworkError, read_card, weights_folder
from rtvc.kernels.mel import mel_filters

from .errors import VoiceError
from .rates import at_rate
from .recording_check import FRAME_S, SPEECH_DB, Samples

RATE_HZ = 16000
FRAME, HOP, BANDS = 400, 160, 40
PIECE_ROWS = 160
STEP_ROWS = 80
LEVEL_DBFS = -30.0
BELOW_PEAK_DB = 40.0
HOLD_FRAMES = 4  # a pause shorter than twice this stays
LEAST_S = 1.0
HEARD_MAX_S = 180.0  # of a recording: no more is needed to know a voice


class Heard(NamedTuple):
    """What speech sounds like."""

    embedding: NDArray[np.float32]
    """float32[256] of length 1: the cosine of two is their likeness."""
    timbre: NDArray[np.float32]
    """float32[128]: the voice as the decoder takes it."""


class Speaker:
    """The speaker encoder with the weights that come with the program."""

    def __init__(self, folder: Path | None = None) -> None:
        """Load the weights. Raises NetworkError if they are missing or cannot be used."""
        import onnxruntime as ort

        folder = folder or weights_folder()
        about = read_card(folder).get("speaker")
        if about is None:
            raise NetworkError(f"{folder}: these weights have no speaker encoder; install rtvc again")
        self.same_speaker = float(about["same_speaker"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = folder / str(about["file"])
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[CPU])
        except Exception as error:  # onnxruntime raises many kinds, all of them about this file
            said = str(error).splitlines()[0]
            raise NetworkError(f"{path}: onnxruntime cannot use it; install rtvc again ({said})") from error

    def hear(self, speech: Samples, rate_hz: int) -> Heard:
        """Return what speech (float32[n], mono) sounds like. Raises VoiceError if there is too little of it."""
        rows = pieces(speech, rate_hz)
        embedding, timbre = self._session.run(["embedding", "timbre"], {"mel": rows})
        return Heard(embedding, timbre)

    def embed(self, speech: Samples, rate_hz: int) -> NDArray[np.float32]:
        """Return only the embedding."""
        return self.hear(speech, rate_hz).embedding


def pieces(speech: Samples, rate_hz: int) -> NDArray[np.float32]:
    """Return what the encoder is given: float32[pieces, PIECE_ROWS, BANDS]. Raises VoiceError if that is none."""
    x = without_pauses(at_rate(speech[: round(HEARD_MAX_S * rate_hz)], rate_hz, RATE_HZ))
    if len(x) < LEAST_S * RATE_HZ:
        raise VoiceError(
            f"{len(x) / RATE_HZ:.1f} s of speech are too little to know a voice by; record {LEAST_S:g} s or more"
        )
    rows = mel(x)
    if len(rows) < PIECE_ROWS:
        rows = np.tile(rows, (PIECE_ROWS // len(rows) + 1, 1))[:PIECE_ROWS]
    starts = range(0, len(rows) - PIECE_ROWS + 1, STEP_ROWS)
    return np.stack([rows[start : start + PIECE_ROWS] for start in starts])


def without_pauses(x: Samples) -> Samples:
    """Return the speech in 16 kHz sound, joined, at LEVEL_DBFS."""
    frame = round(FRAME_S * RATE_HZ)
    frames = x[: len(x) // frame * frame].reshape(-1, frame)
    if not len(frames):
        return x[:0]
    power = np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12
    floor = max(float(np.quantile(power, 0.1)), 1e-9) * 10.0 ** (SPEECH_DB / 10.0)
    loud = power > max(floor, float(power.max()) * 10.0 ** (-BELOW_PEAK_DB / 10.0))
    kept = np.convolve(loud, np.ones(2 * HOLD_FRAMES + 1), "same") > 0.0
    speech = frames[kept].ravel()
    level = float(np.sqrt(np.mean(np.square(speech, dtype=np.float64)))) if len(speech) else 1.0
    return speech * np.float32(10.0 ** (LEVEL_DBFS / 20.0) / max(level, 1e-6))


def mel(x: Samples) -> NDArray[np.float32]:
    """Return linear mel energies of 16 kHz sound: float32[len(x) // HOP + 1, BANDS]; row k's window is at HOP k."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, FRAME // 2), FRAME)[::HOP]
    window, filters = _analysis()
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1))).astype(np.float32)
    rows: NDArray[np.float32] = power @ filters
    return rows


@cache
def _analysis() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
    return window, mel_filters(RATE_HZ, FRAME, BANDS, 0.0, RATE_HZ / 2).T.astype(np.float32)
