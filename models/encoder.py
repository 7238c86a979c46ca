"""The content encoder: log-mel in, one of CODES content codes, energy and voicing out, causal throughout.

Whisper's encoder made to stream: both stem convolutions look only back (the second takes every other row, so one
frame lasts 20 ms), attention sees ATTENTION_FRAMES frames of the past and nothing ahead, and sinusoidal positions run
round POSITIONS. It hears everything twice, in two streams 10 ms apart that know nothing of each other, so that there is
a new frame with every mel row (`ContentEncoder.frames`). Two heads read these, each with a GRU at the decoder's pace of
12.5 ms: what sets them apart is how long after its centre they say what a decoder frame held, WAIT_MS: they read the
newest frame there is by then (`newest_frame`) and know how old it is (`phase`).

Streaming: `EncoderState` and a head's state go in and come out of `run`; a whole utterance through `forward` gives the
same numbers. Units: mel rows every 10 ms, encoder frames every 20 ms in each stream, decoder frames every 12.5 ms.

Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 2.2; Cho et
al., "Learning Phrase Representations using RNN Encoder-Decoder" (2014).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEL_BANDS = 80
CODES = 1024
ATTENTION_FRAMES = 75  # 1.5 s
ATTENTION_WIDTH = 64  # of a head, in every Whisper
POSITIONS = 1500
STREAMS = 2  # in which the encoder hears the same sound, 10 ms apart
WAIT_UNIT_MS = 2.5  # waits and frames are whole multiples of it: 10 = 4, 12.5 = 5
FRAME_UNITS, DECODER_UNITS = 4, 5  # FRAME_UNITS: from a frame of one stream to the next of the other
WAIT_MS = {"fast": 15.0, "clear": 65.0}


class EncoderShape(NamedTuple):
    """Sizes of one encoder; the defaults are those of Whisper tiny."""

    width: int = 384
    layers: int = 4
    head_width: int = 384
    """Of the GRUs of what says codes, not of attention."""

    @property
    def heads(self) -> int:
        """Heads of attention, ATTENTION_WIDTH wide."""
        return max(1, self.width // ATTENTION_WIDTH)


def newest_frame(decoder_frame: Tensor, wait_ms: float) -> Tensor:
    """Return the newest encoder frame that is complete wait_ms after the centre of each decoder frame (may be < 0)."""
    units = DECODER_UNITS * decoder_frame + round(wait_ms / WAIT_UNIT_MS)
    return torch.div(units, FRAME_UNITS, rounding_mode="floor") - 1


def phase(decoder_frame: Tensor, wait_ms: float) -> Tensor:
    """Return how old that newest frame is, in units of WAIT_UNIT_MS, 0..3.

    The shipped heads learnt with one stream, whose frames were older: their embeddings are those of 1 (`fast`) and 2
    (`clear`) units more.
    """
    return (DECODER_UNITS * decoder_frame + round(wait_ms / WAIT_UNIT_MS)) % FRAME_UNITS


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return Whisper's position encoding of each position: float32[..., width]."""
    half = width // 2
    rates = torch.exp(-math.log(10000.0) / (half - 1) * torch.arange(half))
    angles = positions[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention over a window of the past."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """x [b, t, w] attends to keys and values [b, s, w] where mask [t, s] is 0 (and not where it is -inf)."""
        b, t, w = x.shape
        s = keys.shape[1]
        q = self.query(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = keys.view(b, s, self.heads, -1).transpose(1, 2)
        v = values.view(b, s, self.heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
        return self.out(y.transpose(1, 2).reshape(b, t, w))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.attn = Attention(shape)
        self.attn_ln = nn.LayerNorm(shape.width)
        self.mlp = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width), nn.GELU(), nn.Linear(4 * shape.width, shape.width)
        )
        self.mlp_ln = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor, past_keys: Tensor, past_values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x [b, t, w] and the window's keys and values, past ones first, [b, s + t, w]."""
        h = self.attn_ln(x)
        keys = torch.cat([past_keys, self.attn.key(h)], dim=1)
        values = torch.cat([past_values, self.attn.value(h)], dim=1)
        x = x + self.attn(h, keys, values, mask)
        return x + self.mlp(self.mlp_ln(x)), keys, values


class EncoderState(NamedTuple):
    """What the encoder remembers between frames; make it with `Encoder.initial`."""

    mel: Tensor
    """Last two mel rows before this frame's: [b, 2, MEL_BANDS]."""
    stem: Tensor
    """Last output of the first convolution: [b, 1, width]."""
    keys: Tensor
    """[layers, b, ATTENTION_FRAMES, width]."""
    values: Tensor
    """Same shape as keys."""
    heard: Tensor
    """Frames so far, at most ATTENTION_FRAMES, and the next position: int64[2]."""


class Encoder(nn.Module):
    """Whisper's encoder, causal. forward: a whole utterance; run: any part of one, from a state."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.conv1 = nn.Conv1d(MEL_BANDS, shape.width, 3)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.ln_post = nn.LayerNorm(shape.width)

    def initial(self, batch: int = 1, position: int = 0) -> EncoderState:
        """Return the state of an encoder that has heard nothing."""
        w, layers = self.shape.width, self.shape.layers
        past = torch.zeros(layers, batch, ATTENTION_FRAMES, w)
        mel, stem = torch.zeros(batch, 2, MEL_BANDS), torch.zeros(batch, 1, w)
        return EncoderState(mel, stem, past, past.clone(), torch.tensor([0, position]))

    def forward(self, mel: Tensor, position: int = 0) -> Tensor:
        """Mel [b, 2 t, MEL_BANDS] -> frames [b, t, width], as if streamed from `initial`."""
        return self.run(mel, self.initial(mel.shape[0], position))[0]

    def run(self, mel: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Take any even number of mel rows; return the frames they complete and the state after them."""
        rows = torch.cat([state.mel, mel], dim=1)
        stem = F.gelu(self.conv1(rows.transpose(1, 2))).transpose(1, 2)
        # what stood before the first sound is silence in the stem too, not the convolution of zeros
        x = F.gelu(self.conv2(torch.cat([state.stem, stem], dim=1).transpose(1, 2))).transpose(1, 2)
        t = x.shape[1]
        heard, position = state.heard[0], state.heard[1]
        x = x + sinusoids((position + torch.arange(t)) % POSITIONS, self.shape.width)
        past, now = (
            ATTENTION_FRAMES - torch.arange(ATTENTION_FRAMES),
            torch.arange(t),
        )  # past: how long ago, before now 0
        ago = torch.cat([now[:, None] + past, now[:, None] - now], dim=1)
        born = torch.cat([past <= heard, torch.ones(t, dtype=torch.bool)])
        seen = (ago >= 0) & (ago < ATTENTION_FRAMES) & born
        mask = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))
        keys, values = [], []
        for k, block in enumerate(self.blocks):
            x, all_keys, all_values = block(x, state.keys[k], state.values[k], mask)
            keys.append(all_keys[:, -ATTENTION_FRAMES:])
            values.append(all_values[:, -ATTENTION_FRAMES:])
        heard_now = torch.stack([torch.clamp(heard + t, max=ATTENTION_FRAMES), (position + t) % POSITIONS])
        after = EncoderState(rows[:, -2:], stem[:, -1:], torch.stack(keys), torch.stack(values), heard_now)
        return self.ln_post(x), after


class Head(nn.Module):
    """One operating point: encoder frames at the decoder's pace -> codes, energy, voicing."""

    def __init__(self, shape: EncoderShape, wait_ms: float) -> None:
        super().__init__()
        self.wait_ms = wait_ms
        self.phase = nn.Embedding(FRAME_UNITS, shape.width)
        self.gru = nn.GRU(shape.width, shape.head_width, batch_first=True)
        self.out = nn.Linear(shape.head_width + shape.width, CODES + 2)

    def initial(self, batch: int = 1) -> Tensor:
        """Return the state before the first decoder frame, [1, b, head_width]."""
        return torch.zeros(1, batch, self.gru.hidden_size)

    def run(self, frames: Tensor, phases: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take the newest encoder frame of each decoder frame [b, t, width] and its phase [t].

        Return [b, t, CODES + 2] (code logits, then energy, then the logit of being voiced) and the state after them.
        """
        x = frames + self.phase(phases)
        h, state = self.gru(x, state)
        return self.out(torch.cat([h, x], dim=-1)), state

    def forward(self, encoded: Tensor) -> Tensor:
        """Read encoder frames [b, t, width] of both streams; return all decoder frames that these let it say."""
        units = FRAME_UNITS * encoded.shape[1] - round(self.wait_ms / WAIT_UNIT_MS)
        j = torch.arange(max(0, units // DECODER_UNITS + 1))
        newest = newest_frame(j, self.wait_ms)
        padded = torch.cat([torch.zeros_like(encoded[:, :1]), encoded], dim=1)
        index = torch.clamp(newest + 1, 0, encoded.shape[1])
        return self.run(padded[:, index], phase(j, self.wait_ms), self.initial(encoded.shape[0]))[0]


class ContentEncoder(nn.Module):
    """The encoder with one head for each operating point of WAIT_MS."""

    def __init__(self, shape: EncoderShape | None = None) -> None:
        super().__init__()
        self.shape = shape or EncoderShape()
        self.encoder = Encoder(self.shape)
        self.heads = nn.ModuleList(Head(self.shape, wait_ms) for wait_ms in WAIT_MS.values())

    def frames(self, mel: Tensor, position: int = 0) -> Tensor:
        """Mel [b, 2 t, MEL_BANDS] -> the frame that ends with each row, [b, 2 t, width], of the two streams by turns.

        The one that ends with row 0 begins with a row of zeros, as `Encoder.initial` has them.
        """
        late = torch.cat([torch.zeros_like(mel[:, :1]), mel[:, :-1]], dim=1)
        first, second = self.encoder(torch.cat([late, mel]), position).chunk(STREAMS)
        return torch.stack([first, second], dim=2).flatten(1, 2)

    def forward(self, mel: Tensor, position: int = 0) -> dict[str, Tensor]:
        """Mel [b, 2 t, MEL_BANDS] -> for each head [b, decoder frames, CODES + 2], all that the mel lets it say."""
        encoded = self.frames(mel, position)
        return {name: head(encoded) for name, head in zip(WAIT_MS, self.heads, strict=True)}
