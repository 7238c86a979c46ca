"""What the encoder hears in a window is what it hears in the utterance, at the frames that belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtvc.models.encoder import ContentEncoder, EncoderShape
from rtvc.train.batches import Spoiling
from rtvc.train.dataset import Item, TrainingSet
from rtvc.train.generator import TEACHER_REACH
from rtvc.train.mel import log_mel, normalise
from rtvc.train.windows import PAST, PERIOD, UNKNOWN, Cutting, WindowBatches, Windows, WindowSet, stretch
from tests.rtvc.train.toy import toy_set

PLAIN = Spoiling(warp=0.0, degrade=False)
CUTTING = Cutting(frames=40, history=8, spoiling=PLAIN)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return toy_set(tmp_path_factory.mktemp("set"), seconds=24.0, utterance_s=6.0)


def cut_at(data: TrainingSet, begin: int, wanted: Item | None = None, cutting: Cutting = CUTTING) -> Windows:
    item = wanted or data.train[0]
    frames = sum(item.frames)
    drawn = WindowSet(data, (), cutting)._cut(item, wanted, frames, begin, np.random.default_rng(0))
    return Windows(*(torch.tensor(np.asarray(part))[None] for part in drawn))


def test_what_heads_say_of_a_window_is_what_they_say_of_the_utterance(data: TrainingSet) -> None:
    torch.manual_seed(0)
    content = ContentEncoder(EncoderShape(width=64, layers=1, head_width=64)).eval()
    for head in content.heads:  # its one layer hears 75 frames back; so that the GRUs forget as soon:
        torch.nn.init.constant_(head.gru.bias_ih_l0[64:128], -20.0)
    x = data.sound(data.train[0])
    rows = normalise(log_mel(x), 1.5)
    begin = 261
    windows = cut_at(data, begin)
    first = int(windows.first)
    start = begin - TEACHER_REACH - first
    assert start % PERIOD == 0 and PAST <= first < PAST + PERIOD
    heard = rows[start * 5 // 4 : start * 5 // 4 + CUTTING.window * 5 // 4]  # rows of 10 ms, frames of 12.5 ms
    with torch.no_grad():
        whole = content(torch.from_numpy(rows[: len(rows) // 2 * 2])[None], 100)
        part = content(torch.from_numpy(heard)[None], 100 + start * 5 // 8)
    for name, said in part.items():
        assert said.shape[1] >= first + CUTTING.span
        late = slice(first + 60, first + CUTTING.span)  # 140 decoder frames are 87 of the encoder, more than 75
        wanted = whole[name][:, start + late.start : start + late.stop]
        assert torch.allclose(said[:, late][:, : wanted.shape[1]], wanted, atol=2e-3)
        assert (wanted[:, 1:] - wanted[:, :-1]).abs().max() > 0.05


def test_a_windows_sound_codes_and_energy_are_those_of_its_frames(data: TrainingSet) -> None:
    item = data.train[0]
    codes = data.code_idx[data.rows(item), 0]
    windows = cut_at(data, 200)
    first = int(windows.first)
    start = 200 - TEACHER_REACH - first
    assert windows.codes[0].tolist() == codes[start : start + CUTTING.window].tolist()
    assert windows.span_codes[0].tolist() == codes[start + first : start + first + CUTTING.span].tolist()
    assert bool((windows.energy == 3.0).all()) and bool(windows.inside.all())
    assert windows.mel.shape == (1, CUTTING.window * 5 // 4, 80)


def test_outside_the_utterance_nothing_is_known(data: TrainingSet) -> None:
    windows = cut_at(data, -4)
    before = int(windows.first) + TEACHER_REACH + 4
    assert bool((windows.codes[0, :before] == UNKNOWN).all()) and bool((windows.codes[0, before:] != UNKNOWN).all())
    assert bool(torch.isnan(windows.energy[0, :before]).all())
    assert windows.inside[0].tolist() == [k >= TEACHER_REACH + 4 for k in range(CUTTING.span)]


def test_a_rendition_is_cut_where_its_window_is(data: TrainingSet) -> None:
    item = data.train[1]
    windows = cut_at(data, 100, item)
    sound = data.audio24[item.start24 + 30000 : item.start24 + 30000 + 12000].astype(np.float32) / 32768
    assert np.array_equal(windows.sound[0].numpy(), sound)
    assert not bool(windows.home) and float(windows.timbre.max()) == pytest.approx(0.4)
    f0_hz = float(data.melody(item)[0][0])
    assert torch.allclose(windows.f0_hz, torch.tensor(f0_hz))


def test_the_home_voice_gets_the_tracked_f0_at_another_median(data: TrainingSet) -> None:
    for share in (0.0, 1.0):
        windows = cut_at(data, 200, cutting=replace(CUTTING, clear=share))
        at_point, at_fast = windows.f0_hz[0]
        assert 130.0 < float(at_point.median()) < 300.0
        assert torch.allclose(at_point, at_fast, rtol=0.02) and torch.equal(at_point, at_fast) == (share == 0.0)


def test_shares_are_kept_and_recordings_are_said_by_the_home_voice(data: TrainingSet) -> None:
    mixed = TrainingSet(data.folder)
    mixed.items = [replace(item, frame0=-1) if k == 0 else item for k, item in enumerate(mixed.items)]
    drawn = WindowBatches(WindowSet(mixed, (), replace(CUTTING, home=0.5, recorded=1.0)), 24).of(0)
    real = torch.isnan(drawn.energy).all(1)
    assert 6 <= int(drawn.home.sum()) <= 18 and torch.equal(real, drawn.home)
    assert bool(drawn.sound[~drawn.home].abs().amax(1).min() > 0) and not bool(drawn.sound[drawn.home].any())


def test_a_steps_batch_is_the_same_whoever_makes_it_and_whenever(data: TrainingSet) -> None:
    windows = WindowSet(data, (), Cutting(frames=40, history=8), seed=3)
    alone, helped = WindowBatches(windows, 2), WindowBatches(windows, 2, workers=2)
    batches = [alone.of(step) for step in range(3)]
    for step in (0, 1, 2, 1):
        again = helped.of(step)
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(again, batches[step], strict=True))
    assert not torch.equal(batches[0].mel, batches[1].mel)
    assert not torch.equal(batches[0].mel[0], batches[0].mel[1])
    other = WindowBatches(WindowSet(data, (), Cutting(frames=40, history=8), seed=4), 2).of(0)
    assert not torch.equal(other.mel, batches[0].mel)


def test_a_stretch_of_an_array_reaches_over_its_ends() -> None:
    x = np.arange(1, 5)
    assert stretch(x, -2, 4, 0).tolist() == [0, 0, 1, 2]
    assert stretch(x, 3, 3, -1).tolist() == [4, -1, -1]
    assert stretch(x, -9, 3, 7).tolist() == stretch(x, 9, 3, 7).tolist() == [7, 7, 7]
    assert stretch(x, -1, 6, 0).tolist() == [0, 1, 2, 3, 4, 0]
