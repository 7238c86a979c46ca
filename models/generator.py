"""The decoder: content code, F0, energy and timbre in, five spectral parts of 601 bins out, causal, a frame of 12.5 ms
at a time.

A causal convolution, eight ConvNeXt blocks, a norm and one linear head say how one voice, `home`, would sound; a small
network that sees the timbre vector filters that: gains that are smooth over the spectrum (BANDS) and in time (SMOOTH
a frame), the same for all three magnitudes. Phases and the balance of tone and noise stay as they are: they were
trained adversarially, and what is lost of them does not come back. At the timbre of `home` the filter is flat by
construction. The parts are those of hibari-tts, whose weights it starts from: `rtvc.kernels.parts_synthesis` turns
them into sound. It is trained to say frame j when it has taken the input of frame j + AHEAD: that little future is
worth half a point of MOS.
Streaming: `hidden` takes and returns the last TAPS - 1 inputs of every convolution; a whole utterance through
`forward` gives the same numbers.

Sources: Liu et al., "A ConvNet for the 2020s" (2022); hibari-tts 0.2.1 (Apache-2.0) for the shape of the network and
the meaning of its parts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTENT = 128
INPUTS = CONTENT + 2  # log(f0_hz + 1) / 5 and energy / 5
WIDTH = 256
HIDDEN = 768
BLOCKS = 8
TAPS = 7
TIMBRE = 128
BINS = 601
PARTS = 5  # log harmonic magnitude, its phase before pi tanh, log noise magnitude, free magnitude (log), free phase
AHEAD = 1
BANDS = 40
MAGNITUDES = (0, 2, 3)
STEER_WIDTH = 384
SMOOTH = 0.95


class Block(nn.Module):
    """Depthwise causal convolution, then a pointwise network, scaled and added."""

    def __init__(self) -> None:
        super().__init__()
        self.dw = nn.Conv1d(WIDTH, WIDTH, TAPS, groups=WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.pw1 = nn.Linear(WIDTH, HIDDEN)
        self.pw2 = nn.Linear(HIDDEN, WIDTH)
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """x [b, t, w], past [b, TAPS - 1, w] -> [b, t, w]."""
        y = self.dw(torch.cat([past, x], dim=1).transpose(1, 2)).transpose(1, 2)
        return x + self.gamma * self.pw2(F.gelu(self.pw1(self.norm(y))))


def band_shapes() -> Tensor:
    """Return float32[BANDS, BINS]: triangles that overlap by half and sum to 1, narrow below, wide above."""
    hz = torch.arange(BINS) * (12000.0 / (BINS - 1))
    place = torch.log1p(hz / 1000.0)
    place = place / place[-1] * (BANDS - 1)
    return torch.clamp(1.0 - (place[None] - torch.arange(BANDS)[:, None]).abs(), min=0.0)


class Steering(nn.Module):
    """From what one voice would do and whose voice is wanted to gains (natural log) over the spectrum."""

    shapes: Tensor
    home: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH + TIMBRE, STEER_WIDTH)
        self.mid = nn.Linear(STEER_WIDTH, STEER_WIDTH)
        self.out = nn.Linear(STEER_WIDTH, BANDS)
        self.register_buffer("shapes", band_shapes())
        self.register_buffer("home", torch.zeros(TIMBRE))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor, timbre: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """hidden [b, t, WIDTH], timbre [b, 1, TIMBRE], last [b, 1, BANDS]: the bands of the frame before.

        Return gains [b, t, BINS] and the bands of the last frame.
        """
        wanted = self._bands(hidden, timbre) - self._bands(hidden, self.home.expand_as(timbre))
        smooth = []
        for frame in wanted.unbind(dim=1):
            last = SMOOTH * last + (1.0 - SMOOTH) * frame[:, None]
            smooth.append(last)
        return torch.cat(smooth, dim=1) @ self.shapes, last

    def _bands(self, hidden: Tensor, timbre: Tensor) -> Tensor:
        x = F.gelu(self.read(torch.cat([hidden, timbre.expand(-1, hidden.shape[1], -1)], dim=-1)))
        x = x + F.gelu(self.mid(x))
        return self.out(x)


class Generator(nn.Module):
    """The decoder network."""

    def __init__(self) -> None:
        super().__init__()
        self.dec_in = nn.Conv1d(INPUTS, WIDTH, TAPS)
        self.dec = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.dec_norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, PARTS * BINS)
        self.steering = Steering()

    def initial(self, batch: int = 1) -> list[Tensor]:
        """Return the memory of every convolution before the first frame."""
        shapes = [INPUTS] + [WIDTH] * BLOCKS
        return [torch.zeros(batch, TAPS - 1, width) for width in shapes]

    def hidden(self, x: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [b, t, INPUTS] -> hidden [b, t, WIDTH] and the memory after the last frame."""
        after = [torch.cat([memory[0], x], dim=1)[:, -(TAPS - 1) :]]
        y = self.dec_in(torch.cat([memory[0], x], dim=1).transpose(1, 2)).transpose(1, 2)
        for block, past in zip(self.dec, memory[1:], strict=True):
            after.append(torch.cat([past, y], dim=1)[:, -(TAPS - 1) :])
            y = block(y, past)
        return self.dec_norm(y), after

    def forward(self, x: Tensor, timbre: Tensor) -> Tensor:
        """x [b, t, INPUTS], timbre [b, TIMBRE] -> parts [b, t, PARTS * BINS]."""
        b = x.shape[0]
        return self.steered(self.hidden(x, self.initial(b))[0], timbre, torch.zeros(b, 1, BANDS))[0]

    def steered(self, hidden: Tensor, timbre: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """hidden [b, t, WIDTH], timbre [b, TIMBRE], last [b, 1, BANDS] -> parts [b, t, PARTS * BINS], the new last."""
        b, t, _ = hidden.shape
        gains, last = self.steering(hidden, timbre[:, None], last)
        still = torch.zeros_like(gains)
        moved = torch.stack([gains if k in MAGNITUDES else still for k in range(PARTS)], dim=2)
        return self.head(hidden) + moved.reshape(b, t, PARTS * BINS), last


def fold_causal(weight: Tensor) -> Tensor:
    """Return a centred kernel [..., TAPS] as a causal one of as many taps: the future's taps on the newest sample."""
    half = TAPS // 2
    causal = torch.zeros_like(weight)
    causal[..., half : TAPS - 1] = weight[..., :half]
    causal[..., TAPS - 1] = weight[..., half:].sum(-1)
    return causal
