"""The discriminators of the adversarial training: is this sound a recording, or the decoder's?

Each looks at a short-time spectrum of its own resolution (`RESOLUTIONS`, 24 kHz): harmonics stand apart in the long
ones, pulses and edges in the short ones. Real and imaginary part go in, compressed to the power POWER, so that phases
are judged as well as magnitudes. Strided convolutions over frequency, none over time, end in one score per place.
They are needed for training only: nothing here streams or is exported.

Sources: Jang et al., "UnivNet: A Neural Vocoder with Multi-Resolution Spectrogram Discriminators" (2021), section
2.2; Mao et al., "Least Squares Generative Adversarial Networks" (2017), for the scores' meaning: 1 real, 0 made.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESOLUTIONS = (2048, 1024, 512, 256)
POWER = 0.3
CHANNELS = 24
SLOPE = 0.1


class SpectrumDiscriminator(nn.Module):
    """Judges one resolution."""

    window: Tensor

    def __init__(self, fft_frames: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.fft_frames = fft_frames
        self.register_buffer("window", torch.hann_window(fft_frames))
        widths = [2, channels, channels, channels, channels]
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(a, b, (3, 9), stride=(1, 2), padding=(1, 4)))
            for a, b in pairwise(widths)
        )
        self.last = nn.utils.parametrizations.weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Sound [b, n] at 24 kHz -> scores [b, 1, t, f] and what every layer saw, for the feature-matching loss."""
        with torch.autocast(sound.device.type, enabled=False):
            spectrum = torch.stft(
                sound.float(), self.fft_frames, self.fft_frames // 4, window=self.window, return_complex=True
            )
            x = torch.stack([spectrum.real, spectrum.imag], dim=1).transpose(2, 3)
            power = x.square().sum(1, keepdim=True) + 1e-7
            x = x * power ** ((POWER - 1.0) / 2.0)
        seen = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            seen.append(x)
        return self.last(x), seen


class Discriminators(nn.Module):
    """One for each resolution."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.judges = nn.ModuleList(SpectrumDiscriminator(n, channels) for n in RESOLUTIONS)

    def forward(self, sound: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """Sound [b, n], n at least half the longest resolution -> each judge's scores and features."""
        return [judge(sound) for judge in self.judges]
