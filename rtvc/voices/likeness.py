"""Whom sound is like, differentiably: the speaker encoder's embedding of sound at 24 kHz, and its long-term spectrum.

The encoder takes mel energies of 25 ms every 10 ms at 16 kHz (`speaker.mel`). At 24 kHz the same windows give bins of
40 Hz as well, so the same filters fit, and the sound needs no other rate. Pauses are not left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rtvc.kernels.mel import mel_filters
from rtvc.models.speaker import BANDS, PIECE_ROWS, SpeakerEncoder

from . import speaker

RATE_HZ = 24000
FRAME, HOP = speaker.FRAME * RATE_HZ // speaker.RATE_HZ, speaker.HOP * RATE_HZ // speaker.RATE_HZ
PIECE_FRAMES = PIECE_ROWS * HOP
FLOOR = 1e-7  # of the strongest bin's power: what lies lower is silence


class Likeness:
    """What is compared of two voices."""

    def __init__(self, network: SpeakerEncoder) -> None:
        self._network = network
        self._window = torch.hann_window(FRAME)
        filters = mel_filters(speaker.RATE_HZ, speaker.FRAME, BANDS, 0.0, speaker.RATE_HZ / 2).T
        self._filters = torch.tensor(filters, dtype=torch.float32)

    def power(self, sound: Tensor) -> Tensor:
        """Sound [b, n] at 24 kHz -> power [b, 301, 1 + n // HOP] in bins of 40 Hz, of sound brought to one level."""
        level = sound.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
        sound = sound * 10.0 ** (speaker.LEVEL_DBFS / 20.0) / level
        # as a window of the same duration at 16 kHz has it, where it holds fewer samples
        scale = (speaker.RATE_HZ / RATE_HZ) ** 2
        return scale * torch.stft(sound, FRAME, HOP, window=self._window, return_complex=True).abs().square()

    def embedding(self, power: Tensor) -> Tensor:
        """Power of PIECE_FRAMES or more -> the embedding of its first PIECE_ROWS rows, [b, EMBEDDING] of length 1."""
        bins = speaker.FRAME // 2 + 1
        mel = power[:, :bins, :PIECE_ROWS].transpose(1, 2) @ self._filters
        return self._network.heard(mel)[0]

    @staticmethod
    def long_term(power: Tensor, band_hz: float) -> Tensor:
        """Power -> log of its mean over time and batch, up to band_hz, without its own mean: [bins], nepers."""
        mean = power[:, : int(band_hz * FRAME / RATE_HZ) + 1].mean((0, 2))
        log_power = 0.5 * torch.log(mean + FLOOR * mean.max())
        return log_power - log_power.mean()
