"""What the live networks hear in a recording: the decoder's inputs frame by frame, at the speaker's own pitch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtvc.engine.network import DECODER_UNITS, FRAME_UNITS, LATER_FRAMES, MEL_BANDS, WAIT_UNIT_MS, Network
from rtvc.engine.neural_voice import DECODER_FRAME, ENCODER_FRAME, RATE_HZ, REACH, UNVOICED_HZ
from rtvc.kernels.content_mel import START_PEAK, normalise_rows
from rtvc.kernels.f0 import HOP, f0_state, f0_track
from rtvc.kernels.f0_history import f0_at, f0_history, f0_remember
from rtvc.kernels.mel import log_mel, mel_state

from .recording_check import Samples

Floats = NDArray[np.float32]


class Said(NamedTuple):
    """What was heard, by decoder frame of 12.5 ms."""

    inputs: Floats
    """float32[frames, INPUTS], as the decoder takes them."""
    f0_hz: Floats
    """float32[frames], UNVOICED_HZ where no voice is heard."""


class Listener:
    """The encoder and one operating point's head over recordings, each from a fresh start."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def hear(self, x: Samples) -> Said:
        """Return what is heard in 16 kHz sound, len(x) // 200 frames."""
        network = self._network
        network.reset()
        wait = round(network.wait_ms * RATE_HZ / 1000.0)
        frames = len(x) // DECODER_FRAME
        x = np.pad(x, (0, wait + ENCODER_FRAME)).astype(np.float32)
        rows, pitch = _rows(x), _Pitch(x)
        inputs, f0_hz = [], np.full(frames, UNVOICED_HZ, np.float32)
        encoded = 0
        for j in range(frames):
            units = DECODER_UNITS * j + round(network.wait_ms / WAIT_UNIT_MS)
            while encoded < units // FRAME_UNITS:
                network.hear(rows[encoded])
                encoded += 1
            network.listen(units % FRAME_UNITS)
            now, later = pitch.at(DECODER_FRAME * j + wait, (j, j + LATER_FRAMES))
            f0_hz[j] = now if network.voiced() else UNVOICED_HZ
            later_hz = later if network.hears_later and network.voiced(1) else UNVOICED_HZ
            inputs.append(network.decoder_input(float(f0_hz[j]), later_hz).copy())
        return Said(np.array(inputs, np.float32), f0_hz)


def _rows(x: Samples) -> Floats:
    rows = np.zeros((len(x) // ENCODER_FRAME + 1, MEL_BANDS), np.float32)
    rows = rows[: log_mel(mel_state(RATE_HZ), x, rows)]
    rows *= np.float32(1.0 / np.log(10.0))
    normalise_rows(np.array([START_PEAK]), rows)
    return rows


class _Pitch:
    """The speaker's F0 as it is known at a time; where none is, the last one found."""

    def __init__(self, x: Samples) -> None:
        self._x, self._heard = x, 0
        self._state, self._history = f0_state(), f0_history()
        self._out = [np.zeros(8, np.float32) for _ in range(3)]
        self._last = [UNVOICED_HZ, UNVOICED_HZ]

    def at(self, until: int, frames: tuple[int, int]) -> list[float]:
        """Return the F0 of two frames as it is known once `until` samples were heard."""
        f0_hz, voiced, confidence = self._out
        while self._heard + HOP <= until:
            hops = f0_track(self._state, self._x[self._heard : self._heard + HOP], f0_hz, voiced, confidence)
            self._heard += HOP
            for hop in range(hops):
                f0_remember(self._history, self._heard - (hops - 1 - hop) * HOP, f0_hz[hop], confidence[hop])
        for k, frame in enumerate(frames):
            self._last[k] = float(f0_at(self._history, DECODER_FRAME * frame, REACH)) or self._last[k]
        return self._last
