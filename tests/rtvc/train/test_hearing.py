"""What training calls heard is what the live chain would hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rtvc.models.encoder import ContentEncoder, EncoderShape
from rtvc.train.dataset import FRAME_FRAMES, RATE_HZ
from rtvc.train.hearing import Hearing, hear, tracked
from tests.rtvc.train.toy import toy_set

SHAPE = EncoderShape(width=64, layers=1, heads=2, head_width=64)


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
    assert len(first.codes) == len(first.energy) == len(first.f0_hz) == item.n // FRAME_FRAMES
    assert hearing.of(item, rng) is first
    fast, clear = (hear(content, data.sound(item), point) for point in ("fast", "clear"))
    assert fast.codes.dtype == np.int64 and not np.array_equal(fast.energy, clear.energy)
