"""What training calls heard is what the live chain would hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rtvc.models.encoder import ContentEncoder, EncoderShape
from rtvc.models.generator import CONTENT, DOUBT, LATER, LATER_FRAMES, PLAIN
from rtvc.train.dataset import FRAME_FRAMES, RATE_HZ
from rtvc.train.hearing import Hearing, hear, known, tracked
from tests.rtvc.train.toy import toy_set

SHAPE = EncoderShape(width=64, layers=1, head_width=64)


def glide(from_hz: float, to_hz: float, seconds: float) -> np.ndarray:
    n = round(seconds * RATE_HZ)
    phase = 2 * np.pi * np.cumsum(np.linspace(from_hz, to_hz, n)) / RATE_HZ
    return (0.05 * sum(np.cos(k * phase) / k for k in range(1, 15))).astype(np.float32)


def test_f0_is_that_of_the_frames_centre_and_stays_where_no_voice_follows() -> None:
    voice = glide(120.0, 180.0, 1.0)
    x = np.concatenate([np.zeros(RATE_HZ // 2, np.float32), voice, np.zeros(RATE_HZ, np.float32)])
    found = tracked(x, 1000, len(x) // FRAME_FRAMES - 5)
    truth = 120.0 + 60.0 * (np.arange(len(found)) * FRAME_FRAMES - RATE_HZ // 2) / RATE_HZ
    middle = slice(45, 115)
    assert np.abs(found[middle] / truth[middle] - 1.0).max() < 0.02
    assert (found[:30] == 0.0).all()
    assert (found[150:] == found[150]).all() and found[150] > 165.0


def test_less_waiting_tells_the_pitch_of_an_onset_later() -> None:
    x = np.concatenate([np.zeros(RATE_HZ // 2, np.float32), glide(150.0, 150.0, 0.5)])
    soon, late = (np.flatnonzero(tracked(x, wait, 70))[0] for wait in (240, 1080))
    assert late <= soon


def test_an_utterance_is_heard_once_and_frame_by_frame(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=4.0)
    torch.manual_seed(0)
    content = ContentEncoder(SHAPE)
    item, rng = data.items[0], np.random.default_rng(0)
    hearing = Hearing(content, data)
    first = hearing.of(item, rng)
    frames = item.n // FRAME_FRAMES
    assert first.content.shape == (frames, 3 * CONTENT) and first.energy.shape == first.f0_hz.shape == (2, frames)
    assert hearing.of(item, rng) is first
    fast, clear = (hear(content, data.sound(item), point, np.array(data.codebook)) for point in ("fast", "clear"))
    assert not np.array_equal(fast.energy[0], clear.energy[0])
    assert clear.later and not fast.later and not fast.inputs()[:, LATER].any()


def test_what_clear_hears_of_the_later_frame_is_what_fast_hears_of_it_then(tmp_path: Path) -> None:
    data = toy_set(tmp_path, seconds=4.0)
    torch.manual_seed(0)
    content, codebook = ContentEncoder(SHAPE), np.array(data.codebook)
    fast, clear = (hear(content, data.sound(data.items[0]), point, codebook) for point in ("fast", "clear"))
    mean = fast.content[:, :CONTENT] + fast.content[:, CONTENT : 2 * CONTENT]
    assert np.allclose(clear.content[:-LATER_FRAMES, 2 * CONTENT :], mean[LATER_FRAMES:], atol=1e-4)
    assert np.allclose(clear.energy[1, :-LATER_FRAMES], fast.energy[0, LATER_FRAMES:], atol=1e-4)
    assert np.array_equal(clear.f0_hz[1, :-LATER_FRAMES], fast.f0_hz[0, LATER_FRAMES:])


def test_what_is_known_is_never_doubted() -> None:
    codes = np.random.default_rng(0).standard_normal((9, CONTENT)).astype(np.float32)
    hz, energy = np.linspace(100, 200, 9, dtype=np.float32), np.linspace(-1, 1, 9, dtype=np.float32)
    x = known(codes, hz, energy, later=True).inputs()
    assert not x[:, DOUBT].any()
    assert np.array_equal(x[:5, LATER], x[LATER_FRAMES:, :PLAIN]) and np.array_equal(x[7, LATER], x[8, :PLAIN])
