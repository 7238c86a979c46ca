"""What the decoder is given of a batch of windows: what the heads say of them, or the truth.

As live: the likeliest code goes in without a gradient, the mean of all codes by their probability, from which doubt
is told, and the energy with one. At `clear` what `fast` says of the later frame is given besides.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rtvc.engine.neural_voice import UNVOICED_HZ
from rtvc.models.encoder import CODES, WAIT_MS, ContentEncoder
from rtvc.models.generator import AHEAD, LATER_FRAMES

from .batches import SILENT_ENERGY
from .dataset import VOICED_HZ
from .encoder import ENERGY_SCALE
from .generator import TEACHER_REACH
from .windows import Cutting, Windows


class Given(NamedTuple):
    """For b windows."""

    x: Tensor
    """The decoder's inputs of the cut, AHEAD frames early: [b, frames, INPUTS]."""
    f0_hz: Tensor
    """F0 of the span, UNVOICED_HZ where there is no voice: [b, span]."""
    energy: Tensor
    """Energy of the span, likewise."""


def heads_of(content: ContentEncoder, windows: Windows, position: int, half_precision: bool) -> dict[str, Tensor]:
    """Return what each head says of the windows, float32[b, frames, CODES + 2]."""
    with torch.autocast(windows.mel.device.type, torch.bfloat16, enabled=half_precision):
        encoded = content.frames(windows.mel, position)
    # not in half precision, for on a GPU a GRU then computes in float16 and loses its small gradients
    encoded = encoded.float()
    return {name: head(encoded) for name, head in zip(WAIT_MS, content.heads, strict=True)}


def heard(windows: Windows, said: dict[str, Tensor], codebook: Tensor, cutting: Cutting) -> Given:
    """Return what is heard in windows of which heads said that (`heads_of`). codebook: [CODES, CONTENT]."""
    at = (windows.first[:, None] + torch.arange(cutting.span))[..., None].expand(-1, -1, CODES + 2)
    fast, clear = said["fast"].gather(1, at), said["clear"].gather(1, at)
    now = torch.where(windows.clear[:, None, None], clear, fast)
    code, mean, later = codebook[now[..., :CODES].argmax(-1)], _mean(now, codebook), _mean(fast, codebook)
    f0_hz, energy = _melody(now, windows.f0_hz[:, 0], windows.inside)
    x = _inputs(
        windows, cutting, code, mean - code, later, (f0_hz, energy), _melody(fast, windows.f0_hz[:, 1], windows.inside)
    )
    return Given(x, f0_hz, energy)


def true(windows: Windows, melody: Given, codebook: Tensor, cutting: Cutting) -> Given:
    """Return what an encoder would hear that never mistakes a code; F0 and energy are those of `melody`."""
    codes, now = codebook[windows.span_codes], (melody.f0_hz, melody.energy)
    x = _inputs(windows, cutting, codes, torch.zeros_like(codes), codes, now, now)
    return melody._replace(x=x)


def _inputs(
    windows: Windows,
    cutting: Cutting,
    code: Tensor,
    doubt: Tensor,
    later: Tensor,
    melody: tuple[Tensor, Tensor],
    later_melody: tuple[Tensor, Tensor],
) -> Tensor:
    """Return the decoder's inputs of the cut, of what is known of every frame of the span, [b, span, ..] each."""
    cut = slice(TEACHER_REACH + AHEAD, TEACHER_REACH + AHEAD + cutting.frames)
    soon = slice(cut.start + LATER_FRAMES, cut.stop + LATER_FRAMES)
    now = torch.cat([code, _scaled(*melody), doubt], dim=-1)[:, cut]
    then = torch.cat([later, _scaled(*later_melody)], dim=-1)[:, soon] * windows.clear[:, None, None]
    return torch.cat([now, then], dim=-1)


def _mean(said: Tensor, codebook: Tensor) -> Tensor:
    """Return the mean of all codes, each by its probability, [.., CONTENT]."""
    return torch.softmax(said[..., :CODES], dim=-1) @ codebook


def _melody(said: Tensor, f0_hz: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return F0, where a head says that there is voice, and its energy [b, t]; silence outside the utterance."""
    voiced = inside & (said[..., CODES + 1] > 0.0) & (f0_hz > VOICED_HZ)
    return f0_hz.where(voiced, UNVOICED_HZ), (ENERGY_SCALE * said[..., CODES]).where(inside, SILENT_ENERGY)


def _scaled(f0_hz: Tensor, energy: Tensor) -> Tensor:
    """Return F0 and energy [b, t] as the decoder takes them, [b, t, 2] (`teacher.decoder_input`)."""
    return torch.stack([torch.log(f0_hz + 1.0) / 5.0, energy / 5.0], dim=-1)
