"""The decoder: content, F0, energy and timbre in, five spectral parts of 601 bins out, causal, a frame of 12.5 ms at a
time.

A causal convolution, eight ConvNeXt blocks, a norm and one linear head. The timbre vector scales and shifts what every
norm gives out (FiLM), by how far it is from the timbre of `home`, the voice of the TTS whose decoder this one grew
from: there nothing is moved. A voice may bring movements of its own besides, which were fitted to it. The parts are
those of hibari-tts: `rtvc.kernels.parts_synthesis` turns them into sound.

A frame's input, INPUTS numbers:
- what it is taken for: the likeliest code, log(f0_hz + 1) / 5, energy / 5 (as the TTS's own decoder takes them);
- `DOUBT`: the mean of all codes, each by its probability, less the likeliest: how sure it is, and what else it may be;
- `LATER`: the mean, F0 and energy of the frame LATER_FRAMES later, as far as it can be heard already; 0 where nothing
  of it can (the operating point `fast`).
It is trained to say frame j when it has taken the input of frame j + AHEAD: that little future is worth half a point
of MOS. Streaming: `hidden` takes and returns the last TAPS - 1 inputs of every convolution; a whole utterance through
`forward` gives the same numbers.

Sources: Liu et al., "A ConvNet for the 2020s" (2022); Perez et al., "FiLM: Visual Reasoning with a General Conditioning
Layer" (2018); hibari-tts 0.2.1 (Apache-2.0) for the shape of the network and the meaning of its parts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTENT = 128
MELODY = 2
PLAIN = CONTENT + MELODY  # inputs of the TTS's own decoder
DOUBT = slice(PLAIN, PLAIN + CONTENT)
LATER = slice(PLAIN + CONTENT, 2 * PLAIN + CONTENT)
INPUTS = 2 * PLAIN + CONTENT
LATER_FRAMES = 4
WIDTH = 256
HIDDEN = 768
BLOCKS = 8
TAPS = 7
TIMBRE = 128
BINS = 601
FILMS = (BLOCKS + 1) * 2 * WIDTH  # how a voice moves every norm: scale less 1 and shift of each channel
PARTS = 5  # log harmonic magnitude, its phase before pi tanh, log noise magnitude, free magnitude (log), free phase
AHEAD = 1


class Block(nn.Module):
    """Depthwise causal convolution, then a pointwise network, scaled and added."""

    def __init__(self) -> None:
        super().__init__()
        self.dw = nn.Conv1d(WIDTH, WIDTH, TAPS, groups=WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.pw1 = nn.Linear(WIDTH, HIDDEN)
        self.pw2 = nn.Linear(HIDDEN, WIDTH)
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor, past: Tensor, film: Tensor) -> Tensor:
        """x [b, t, w], past [b, TAPS - 1, w], film [b, 2, w] -> [b, t, w]."""
        mixed = self.dw(torch.cat([past, x], dim=1).transpose(1, 2)).transpose(1, 2)
        y = moved(self.norm(mixed), film)
        return x + self.gamma * self.pw2(F.gelu(self.pw1(y)))


def per_norm(film: Tensor) -> tuple[Tensor, ...]:
    """Return film [b, FILMS] for each norm, [b, 2, WIDTH] each."""
    return film.view(-1, BLOCKS + 1, 2, WIDTH).unbind(1)


def moved(x: Tensor, film: Tensor) -> Tensor:
    """Return x [b, t, w] scaled and shifted by film [b, 2, w]."""
    return x * (1.0 + film[:, :1]) + film[:, 1:]


class Generator(nn.Module):
    """The decoder network."""

    home: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.dec_in = nn.Conv1d(INPUTS, WIDTH, TAPS)
        self.dec = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.dec_norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, PARTS * BINS)
        self.film = nn.Linear(TIMBRE, FILMS, bias=False)
        self.register_buffer("home", torch.zeros(TIMBRE))
        nn.init.zeros_(self.film.weight)

    def initial(self, batch: int = 1) -> list[Tensor]:
        """Return the memory of every convolution before the first frame."""
        shapes = [INPUTS] + [WIDTH] * BLOCKS
        return [torch.zeros(batch, TAPS - 1, width) for width in shapes]

    def film_of(self, timbre: Tensor) -> Tensor:
        """Return how timbre [b, TIMBRE] moves the norms, [b, FILMS]."""
        return self.film(timbre - self.home)

    def hidden(self, x: Tensor, film: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [b, t, INPUTS], film [b, FILMS] -> hidden [b, t, WIDTH] and the memory after the last frame."""
        films = per_norm(film)
        after = [torch.cat([memory[0], x], dim=1)[:, -(TAPS - 1) :]]
        y = self.dec_in(torch.cat([memory[0], x], dim=1).transpose(1, 2)).transpose(1, 2)
        for block, past, move in zip(self.dec, memory[1:], films, strict=False):
            after.append(torch.cat([past, y], dim=1)[:, -(TAPS - 1) :])
            y = block(y, past, move)
        return moved(self.dec_norm(y), films[-1]), after

    def forward(self, x: Tensor, timbre: Tensor) -> Tensor:
        """x [b, t, INPUTS], timbre [b, TIMBRE] -> parts [b, t, PARTS * BINS]."""
        return self.head(self.hidden(x, self.film_of(timbre), self.initial(x.shape[0]))[0])


def fold_causal(weight: Tensor) -> Tensor:
    """Return a centred kernel [..., TAPS] as a causal one of as many taps: the future's taps on the newest sample."""
    half = TAPS // 2
    causal = torch.zeros_like(weight)
    causal[..., half : TAPS - 1] = weight[..., :half]
    causal[..., TAPS - 1] = weight[..., half:].sum(-1)
    return causal


def widened(weight: Tensor) -> Tensor:
    """Return a first convolution's weight for PLAIN inputs [WIDTH, PLAIN, TAPS] for all of INPUTS, the rest 0."""
    wide = torch.zeros(weight.shape[0], INPUTS, weight.shape[2])
    wide[:, :PLAIN] = weight
    return wide
