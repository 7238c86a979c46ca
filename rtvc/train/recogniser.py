"""How far apart two sounds are to a speech recogniser: the distance between what its layers make of them.

The recogniser is the encoder of Whisper tiny.en as it is, frozen: its convolutions look ahead, every frame attends to
all. Its later layers tell phones apart and care little who speaks, so that made sound has to be understood as the
wanted one is. The first layer is left out: it still hears spectra, which other losses compare.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 2.2.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtvc.models.encoder import MEL_BANDS, Block, EncoderShape, sinusoids

from .augment import warped_filters
from .encoder import load_whisper

WINDOW, HOP = 400, 160  # samples at 16 kHz
EDGE = 5  # frames of 20 ms at either end of a cut that are not compared: they hear of its ends
FAR = 4.0  # what a distance is cut off at


class Recogniser(nn.Module):
    """Whisper's encoder, as trained."""

    def __init__(self, shape: EncoderShape | None = None) -> None:
        super().__init__()
        self._shape = shape or EncoderShape()
        width = self._shape.width
        self.conv1 = nn.Conv1d(MEL_BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(self._shape) for _ in range(self._shape.layers))
        self.ln_post = nn.LayerNorm(width)
        self._filters = torch.tensor(warped_filters(1.0, WINDOW, MEL_BANDS))
        self.requires_grad_(False)

    def forward(self, sound: Tensor) -> list[Tensor]:
        """Sound [b, n] at 24 kHz -> what every layer makes of it, [b, n // 960, width] each."""
        mel = whisper_mel(to_16k(sound.float()), self._filters)
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel[..., : mel.shape[-1] // 2 * 2])))).transpose(1, 2)
        x = x + sinusoids(torch.arange(x.shape[1]), x.shape[2])
        nothing, all_of_it = x[:, :0], torch.zeros(x.shape[1], x.shape[1])
        found = []
        for block in self.blocks:
            x, _, _ = block(x, nothing, nothing, all_of_it)
            found.append(x)
        return [*found[:-1], self.ln_post(x)]

    def distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Return how far sounds [b, n] at 24 kHz are apart, [b]: squares over the wanted one's variance over time.

        Mean over all layers but the first; 0 for equal sounds, FAR at most.
        """
        with torch.no_grad():
            of_wanted = self(wanted)
        found = []
        for a, b in zip(self(made)[1:], of_wanted[1:], strict=True):
            ours, theirs = a.float()[:, EDGE:-EDGE], b.float()[:, EDGE:-EDGE]
            varies = (theirs - theirs.mean(1, keepdim=True)).square().mean((1, 2))
            found.append((ours - theirs).square().mean((1, 2)) / varies.clamp_min(1e-3))
        return torch.stack(found).mean(0).clamp(max=FAR)


def recogniser_of(path: Path) -> Recogniser:
    """Return the recogniser of a Whisper tiny model.bin. Raises TrainingError if it is none."""
    recogniser = Recogniser()
    load_whisper(recogniser, path)
    return recogniser


def to_16k(sound: Tensor) -> Tensor:
    """Return sound [b, n] at 24 kHz as [b, 2 n / 3] at 16 kHz; n is cut to a multiple of 6."""
    n = sound.shape[1] // 6 * 6
    spectrum = torch.fft.rfft(sound[:, :n])[:, : n // 3 + 1]
    return torch.fft.irfft(spectrum, 2 * n // 3) * (2.0 / 3.0)


def whisper_mel(sound: Tensor, filters: Tensor) -> Tensor:
    """Return Whisper's own log-mel of sound [b, n] at 16 kHz: [b, MEL_BANDS, n // HOP]."""
    with torch.autocast(sound.device.type, enabled=False):
        window = torch.hann_window(WINDOW, device=sound.device)
        spectrum = torch.stft(sound, WINDOW, HOP, window=window, center=True, return_complex=True)[..., :-1]
        mel = torch.log10((filters @ spectrum.abs().square()).clamp_min(1e-10))
        return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0
