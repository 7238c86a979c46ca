"""The networks one frame at a time, as they are exported to ONNX: state in and out, weights as plain products.

`EncoderStep` (every 20 ms of a stream), `PointStep` and `GeneratorStep` (every 12.5 ms) hold the weights of a trained
`Encoder`, its heads and a `Generator` and give the same numbers as those over a whole utterance. What attention
remembers stays outside the graph in a ring of PAST frames: nothing in a softmax depends on the order of keys, so a new
one replaces the oldest where it lies and nothing is moved. Convolutions and the GRU are written as products so that
their weights can be held in 8 bits like all others. A product of one row is soon done, and then what lies between
them counts: queries, keys and values are one product, all blocks' taps on the past one sum, a norm's gain and shift are
moved by the film before it is asked, and nothing that is large is an input in one piece of which a layer takes a part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import encoder, generator
from .encoder import ATTENTION_FRAMES, CODES, MEL_BANDS, Encoder, Head
from .generator import BLOCKS, HIDDEN, MELODY, PLAIN, TAPS, WIDTH, Generator

PAST = ATTENTION_FRAMES - 1
MEMORY = TAPS - 1


def _flat(conv: nn.Conv1d) -> nn.Linear:
    """Return a convolution as a product with all the rows it sees laid end to end."""
    linear = nn.Linear(conv.kernel_size[0] * conv.in_channels, conv.out_channels)
    linear.weight.data = conv.weight.data.permute(0, 2, 1).reshape(conv.out_channels, -1).contiguous()
    linear.bias.data = _bias(conv)
    return linear


def _attended(attention: encoder.Attention) -> nn.Linear:
    """Return queries, scaled, keys and values as one product."""
    query, key, value = attention.query, attention.key, attention.value
    scale = (query.out_features // attention.heads) ** -0.5
    linear = nn.Linear(query.in_features, 3 * query.out_features)
    linear.weight.data = torch.cat([query.weight.data * scale, key.weight.data, value.weight.data])
    linear.bias.data = torch.cat([query.bias.data * scale, torch.zeros_like(query.bias.data), value.bias.data])
    return linear


class EncoderStep(nn.Module):
    """One frame of the encoder."""

    def __init__(self, whole: Encoder) -> None:
        super().__init__()
        self.shape = whole.shape
        self.conv1, self.conv2 = _flat(whole.conv1), _flat(whole.conv2)
        self.blocks, self.ln_post = whole.blocks, whole.ln_post
        self.attended = nn.ModuleList(_attended(block.attn) for block in whole.blocks)  # type: ignore[arg-type]

    def forward(self, mel: Tensor, stem: Tensor, unborn: Tensor, place: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Take one frame.

        mel [1, 4, MEL_BANDS]: the two rows before this frame's, and its own two. stem [1, 1, w]: what the last frame
        returned. unborn [1, 1, PAST]: 0 where a place of the past holds a frame, very negative where not. place
        [1, 1, w]: the position encoding. past: keys of every layer, then values of every layer, each
        [heads, PAST, w / heads] in any order of time. Return the frame [1, 1, w], its stem, and the keys and values to
        be put over the oldest ones, in the same order, [heads, 1, w / heads].
        """
        heads, width, layers = self.shape.heads, self.shape.width, self.shape.layers
        rows = torch.cat([mel[:, 0:3].reshape(1, 1, 3 * MEL_BANDS), mel[:, 1:4].reshape(1, 1, 3 * MEL_BANDS)], dim=1)
        first = F.gelu(self.conv1(rows))
        x = F.gelu(self.conv2(torch.cat([stem, first], dim=1).reshape(1, 1, 3 * width))) + place
        new_keys, new_values = [], []
        for block, attended, keys, values in zip(self.blocks, self.attended, past[:layers], past[layers:], strict=True):
            assert isinstance(block, encoder.Block)
            told = attended(block.attn_ln(x)).reshape(3 * heads, 1, width // heads)
            query, key, value = torch.split(told, heads)
            new_keys.append(key)
            new_values.append(value)
            scores = torch.cat([query @ keys.transpose(1, 2) + unborn, query @ key.transpose(1, 2)], dim=-1)
            then, now = torch.split(torch.softmax(scores, dim=-1), [PAST, 1], dim=-1)
            x = x + block.attn.out((then @ values + now * value).reshape(1, 1, width))
            x = x + block.mlp(block.mlp_ln(x))
        return self.ln_post(x), first[:, 1:2], *new_keys, *new_values


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
        width = state.shape[-1]
        gates_x, new_x = torch.split(self.read(x), [2 * width, width], dim=-1)
        gates_h, new_h = torch.split(self.recur(state), [2 * width, width], dim=-1)
        reset, update = torch.split(torch.sigmoid(gates_x + gates_h), width, dim=-1)
        new = torch.tanh(new_x + reset * new_h)
        state = new + update * (state - new)
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
        blocks = [block for block in whole.dec if isinstance(block, generator.Block)]
        norms = [*(block.norm for block in blocks), whole.dec_norm]
        self.dec_in = _flat(whole.dec_in)
        taps = torch.stack([block.dw.weight.data.squeeze(1).T for block in blocks])
        self.past_taps = nn.Parameter(taps[:, :MEMORY].contiguous())
        self.now_taps = nn.ParameterList(tap.clone() for tap in taps[:, MEMORY])
        self.mixed = nn.Parameter(torch.stack([_bias(block.dw) for block in blocks])[:, None])
        self.gain = nn.Parameter(torch.stack([norm.weight.data for norm in norms]))
        self.shift = nn.Parameter(torch.stack([norm.bias.data for norm in norms]))
        self.eps = whole.dec_norm.eps
        self.pw1, self.pw2 = nn.ModuleList(block.pw1 for block in blocks), nn.ModuleList(map(_added, blocks))
        self.head = whole.head

    def forward(self, x: Tensor, film: Tensor, memory_in: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take one frame.

        x [1, 1, INPUTS], film [1, FILMS], memory_in [1, MEMORY, INPUTS], memory [BLOCKS, MEMORY, WIDTH] -> parts
        [1, 1, PARTS * BINS] and both memories after it. How a voice moves the norms is no part of the graph.
        """
        films = film.view(BLOCKS + 1, 2, WIDTH)
        scales = 1.0 + films[:, 0]
        gains = torch.split((self.gain * scales).reshape(-1), WIDTH)
        shifts = torch.split((self.shift * scales + films[:, 1]).reshape(-1), WIDTH)
        seen = torch.cat([memory_in, x], dim=1)
        y, told = self.dec_in(seen.reshape(1, 1, -1)), []
        before = torch.split((memory * self.past_taps).sum(1, keepdim=True) + self.mixed, 1)
        for k, (pw1, pw2) in enumerate(zip(self.pw1, self.pw2, strict=True)):
            told.append(y)
            mixed = y * self.now_taps[k] + before[k]
            y = y + pw2(F.gelu(pw1(F.layer_norm(mixed, (WIDTH,), gains[k], shifts[k], self.eps))))
        parts = self.head(F.layer_norm(y, (WIDTH,), gains[-1], shifts[-1], self.eps))
        return parts, seen[:, 1:], torch.cat([memory[:, 1:], torch.cat(told)], dim=1)


def _bias(conv: nn.Conv1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.data


def _added(block: generator.Block) -> nn.Linear:
    """Return a block's second product with the scale of what it adds."""
    linear = nn.Linear(HIDDEN, WIDTH)
    linear.weight.data = block.pw2.weight.data * block.gamma.data[:, None]
    linear.bias.data = block.pw2.bias.data * block.gamma.data
    return linear
