"""The speaker encoder: speech in; who it sounds like, and where in the decoder's timbre space that voice lies, out.

Three LSTMs over 40 mel energies (25 ms every 10 ms, 16 kHz, linear power), in pieces of 1.6 s. The embedding is the
direction of a linear layer's positive part on the last hidden state, its mean over pieces. The timbre is regressed
from mean and deviation of all hidden states by a small network: the TTS speaks with any timbre, so there is endless
speech whose timbre is known.

Sources: Wan et al., "Generalized End-to-End Loss for Speaker Verification" (2018); Resemblyzer 0.1.4 (Apache-2.0),
whose LSTMs and linear layer are where this one starts from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BANDS = 40
PIECE_ROWS = 160
HIDDEN = 256
LAYERS = 3
EMBEDDING = 256
POOLED = 2 * LAYERS * HIDDEN
TIMBRE = 128


class SpeakerEncoder(nn.Module):
    """Whom speech sounds like."""

    timbre_mean: Tensor
    timbre_scale: Tensor
    same_speaker: Tensor

    def __init__(self, width: int = 512) -> None:
        """width: of the network that regresses the timbre."""
        super().__init__()
        self.lstm = nn.ModuleList(nn.LSTM(BANDS if k == 0 else HIDDEN, HIDDEN, batch_first=True) for k in range(LAYERS))
        self.linear = nn.Linear(HIDDEN, EMBEDDING)
        self.norm = nn.LayerNorm(POOLED)
        self.regress = nn.Sequential(
            nn.Linear(POOLED, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1)
        )
        self.out = nn.Linear(width, TIMBRE)
        self.register_buffer("timbre_mean", torch.zeros(TIMBRE))
        self.register_buffer("timbre_scale", torch.ones(TIMBRE))
        self.register_buffer("same_speaker", torch.tensor(0.75))  # likeness from which on two voices count as one

    def heard(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """mel [pieces, PIECE_ROWS, BANDS] -> embedding [pieces, EMBEDDING] of length 1, pooled [pieces, POOLED]."""
        x, pooled = mel, []
        for lstm in self.lstm:
            x, _ = lstm(x)
            mean = x.mean(1)
            pooled += [mean, ((x - mean[:, None]) ** 2).mean(1).clamp_min(1e-8).sqrt()]
        direction = torch.relu(self.linear(x[:, -1]))
        return direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-6), torch.cat(pooled, dim=1)

    def timbre(self, pooled: Tensor) -> Tensor:
        """pooled [n, POOLED] -> timbre [n, TIMBRE], as the decoder takes it."""
        return self.timbre_mean + self.timbre_scale * self.out(self.regress(self.norm(pooled)))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """mel [pieces, PIECE_ROWS, BANDS] of one speaker -> embedding [EMBEDDING] of length 1, timbre [TIMBRE]."""
        directions, pooled = self.heard(mel)
        mean = directions.mean(0)
        return mean / mean.norm().clamp_min(1e-6), self.timbre(pooled.mean(0, keepdim=True))[0]
