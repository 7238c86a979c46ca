"""The networks one frame at a time, as they are exported to ONNX: state in and out, weights as plain products.

`EncoderStep` (every 20 ms of a stream), `PointStep` and `GeneratorStep` (every 12.5 ms) hold the weights of a trained
`Encoder`, its heads and a `Generator` and give the same numbers as those over a whole utterance. What attention
remembers stays outside the graph in a ring of PAST frames: nothing in a softmax depends on the order of keys, so a new
one replaces the oldest where it lies and nothing is moved. Convolutions and the GRU are written as products so that
their weights can be held in 8 bits like all others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import encoder, generator
from .encoder import ATTENTION_FRAMES, CODES, MEL_BANDS, Encoder, Head
from .generator import MELODY, PLAIN, TAPS, Generator

PAST = ATTENTION_FRAMES - 1
MEMORY = TAPS - 1


def _flat(conv: nn.Conv1d) -> nn.Linear:
    """Return a convolution over 3 rows as a product with those rows laid end to end."""
    linear = nn.Linear(3 * conv.in_channels, conv.out_channels)
    linear.weight.data = conv.weight.data.permute(0, 2, 1).reshape(conv.out_channels, -1).contiguous()
    assert conv.bias is not None
    linear.bias.data = conv.bias.data
    return linear


class EncoderStep(nn.Module):
    """One frame of the encoder."""

    def __init__(self, whole: Encoder) -> None:
        super().__init__()
        self.shape = whole.shape
        self.conv1, self.conv2 = _flat(whole.conv1), _flat(whole.conv2)
        self.blocks, self.ln_post = whole.blocks, whole.ln_post

    def forward(
        self, mel: Tensor, stem: Tensor, keys: Tensor, values: Tensor, unborn: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one frame.

        mel [1, 4, MEL_BANDS]: the two rows before this frame's, and its own two. stem [1, 1, w]: what the last frame
        returned. keys, values [layers, PAST, w] in any order. unborn [1, 1, PAST]: 0 where a place holds a frame,
        very negative where not. place [1, 1, w]: the position encoding. Return the frame [1, 1, w], its stem, and the
        keys and values to be put over the oldest ones, [layers, 1, w].
        """
        heads, width = self.shape.heads, self.shape.width
        part = width // heads
        rows = torch.cat([mel[:, 0:3].reshape(1, 1, 3 * MEL_BANDS), mel[:, 1:4].reshape(1, 1, 3 * MEL_BANDS)], dim=1)
        first = F.gelu(self.conv1(rows))
        x = F.gelu(self.conv2(torch.cat([stem, first], dim=1).reshape(1, 1, 3 * width))) + place
        new_keys, new_values = [], []
        for k, block in enumerate(self.blocks):
            assert isinstance(block, encoder.Block)
            h = block.attn_ln(x)
            query = block.attn.query(h).reshape(heads, 1, part) * part**-0.5
            key, value = block.attn.key(h), block.attn.value(h)
            new_keys.append(key)
            new_values.append(value)
            past_keys = keys[k].reshape(PAST, heads, part).permute(1, 2, 0)
            past_values = values[k].reshape(PAST, heads, part).permute(1, 0, 2)
            now = (query * key.reshape(heads, 1, part)).sum(-1, keepdim=True)
            weights = torch.softmax(torch.cat([query @ past_keys + unborn, now], dim=-1), dim=-1)
            y = weights[..., :PAST] @ past_values + weights[..., PAST:] * value.reshape(heads, 1, part)
            x = x + block.attn.out(y.reshape(1, 1, width))
            x = x + block.mlp(block.mlp_ln(x))
        return self.ln_post(x), first[:, 1:2], torch.cat(new_keys), torch.cat(new_values)


class HeadStep(nn.Module):
    """What one head says of one decoder frame."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.phase, self.out = head.phase, head.out
        width, hidden = head.gru.input_size, head.gru.hidden_size
        self.read, self.recur = nn.Linear(width, 3 * hidden), nn.Linear(hidden, 3 * hidden)
        trained = head.gru.state_dict()
        self.read.weight.data, self.read.bias.data = trained["weight_ih_l0"], trained["bias_ih_l0"]
        self.recur.weight.data, self.recur.bias.data = trained["weight_hh_l0"], trained["bias_hh_l0"]

    def forward(self, frame: Tensor, phase: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """frame [1, 1, w], phase int64[1], state [1, 1, h] -> [1, 1, CODES + 2] as `Head.run` says, the new state."""
        x = frame + self.phase(phase)
        reset_x, update_x, new_x = self.read(x).chunk(3, dim=-1)
        reset_h, update_h, new_h = self.recur(state).chunk(3, dim=-1)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        state = (1.0 - update) * new + update * state
        return self.out(torch.cat([state, x], dim=-1)), state


class PointStep(nn.Module):
    """One decoder frame's content at one operating point: its own head and, where it waits long enough, a quicker one.

    The quicker head has by then heard as much of the frame LATER_FRAMES later as it ever will, so both read the same
    encoder frame at the same phase.
    """

    def __init__(self, now: Head, later: Head | None, codebook: Tensor) -> None:
        super().__init__()
        self.now, self.later = HeadStep(now), None if later is None else HeadStep(later)
        self.codebook = nn.Parameter(codebook, requires_grad=False)

    def forward(self, frame: Tensor, phase: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """frame [1, 1, w], phase int64[1], state [heads, 1, h] -> content, also, the new state.

        content [1, 1, INPUTS]: the decoder's input but for F0 and energy, which are 0. also [heads, 2]: for each head,
        own first, energy / 4 and the logit of being voiced.
        """
        said, after = self.now(frame, phase, state[:1])
        logits = said[..., :CODES]
        code = self.codebook[logits.argmax(-1)]
        doubt = torch.softmax(logits, dim=-1) @ self.codebook - code
        melody = torch.zeros(1, 1, MELODY)
        also = said[0, :, CODES:]
        if self.later is None:
            return torch.cat([code, melody, doubt, torch.zeros(1, 1, PLAIN)], dim=-1), also, after
        later, later_after = self.later(frame, phase, state[1:])
        mean = torch.softmax(later[..., :CODES], dim=-1) @ self.codebook
        content = torch.cat([code, melody, doubt, mean, melody], dim=-1)
        return content, torch.cat([also, later[0, :, CODES:]]), torch.cat([after, later_after])


class GeneratorStep(nn.Module):
    """One frame of the decoder."""

    def __init__(self, whole: Generator) -> None:
        super().__init__()
        self.generator = whole

    def forward(self, x: Tensor, film: Tensor, memory_in: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take one frame.

        x [1, 1, INPUTS], film [1, FILMS], memory_in [1, MEMORY, INPUTS], memory [BLOCKS, MEMORY, WIDTH] -> parts
        [1, 1, PARTS * BINS] and both memories after it. How a voice moves the norms is no part of the graph.
        """
        g = self.generator
        films = generator.per_norm(film)
        seen = torch.cat([memory_in, x], dim=1)
        y = self._taps(seen, g.dec_in)
        after = []
        for k, block in enumerate(g.dec):
            assert isinstance(block, generator.Block) and block.dw.bias is not None
            window = torch.cat([memory[k : k + 1], y], dim=1)
            after.append(window[:, 1:])
            mixed = (window * block.dw.weight.squeeze(1).T).sum(1, keepdim=True) + block.dw.bias
            y = block.after(y, mixed, films[k])
        parts = g.head(generator.moved(g.dec_norm(y), films[-1]))
        return parts, seen[:, 1:], torch.cat(after)

    @staticmethod
    def _taps(seen: Tensor, conv: nn.Conv1d) -> Tensor:
        """Apply a full convolution to exactly TAPS rows, as one product."""
        flat = conv.weight.permute(0, 2, 1).reshape(conv.out_channels, -1)
        return F.linear(seen.reshape(1, 1, -1), flat, conv.bias)
