from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.kernels.stft import (
    Framer,
    OverlapAdd,
    framer_pull,
    framer_push,
    framer_state,
    hann,
    matched_synthesis,
    normalised,
    overlap_add,
    overlap_delay,
    overlap_pop,
    overlap_state,
    short_synthesis,
    sqrt_hann,
)

ERROR = 1e-6  # of full scale

PAIRS = {  # analysis, synthesis, hop, delay
    "sqrt-Hann 512/256": (sqrt_hann(512), matched_synthesis(sqrt_hann(512), 256), 256, 512),
    "Hann 512/128": (hann(512), matched_synthesis(hann(512), 128), 128, 512),
    "Hann 400/100": (hann(400), matched_synthesis(hann(400), 100), 100, 400),
    "Hann 1024/128, short": (hann(1024), short_synthesis(hann(1024), 128, 512, 256), 128, 512),
    "Hann 1200/300, short, early rise": (hann(1200), short_synthesis(hann(1200), 300, 900, 300), 300, 900),
    "sqrt-Hann 1024/64, shorter": (sqrt_hann(1024), short_synthesis(sqrt_hann(1024), 64, 192, 96), 64, 192),
    "hop that does not divide": (sqrt_hann(500), matched_synthesis(sqrt_hann(500), 120), 120, 500),
}


def noise(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


def run(framer: Framer, overlap: OverlapAdd, x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    """Pass x through both pieces unchanged; return the number of frames."""
    frame = np.zeros(framer.window.size, np.float32)
    frames = i = 0
    while i < x.size:
        taken = framer_push(framer, x[i:])
        overlap_pop(overlap, y[i : i + taken])
        if framer_pull(framer, frame):
            overlap_add(overlap, frame)
            frames += 1
        i += taken
    return frames


@pytest.mark.parametrize("name", PAIRS)
def test_the_signal_comes_back_after_the_stated_delay(name: str) -> None:
    analysis, synthesis, hop, delay = PAIRS[name]
    framer, overlap = framer_state(analysis, hop), overlap_state(synthesis)
    assert overlap_delay(overlap) == delay
    x = noise(8000)
    y = np.empty_like(x)
    assert run(framer, overlap, x, y) == x.size // hop
    assert np.abs(y[delay:] - x[:-delay]).max() <= ERROR
    assert np.abs(y[:delay]).max() <= ERROR


@given(
    cuts=st.lists(st.integers(0, 4000), max_size=12),
    name=st.sampled_from(["sqrt-Hann 512/256", "Hann 1024/128, short", "hop that does not divide"]),
)
@settings(max_examples=40, deadline=None)
def test_any_block_size_gives_the_same_samples(cuts: list[int], name: str) -> None:
    analysis, synthesis, hop, _ = PAIRS[name]
    x = noise(4000)
    whole, split = np.empty_like(x), np.empty_like(x)
    run(framer_state(analysis, hop), overlap_state(synthesis), x, whole)
    framer, overlap = framer_state(analysis, hop), overlap_state(synthesis)
    edges = sorted({0, x.size, *cuts})
    for start, end in pairwise(edges):
        run(framer, overlap, x[start:end], split[start:end])
    assert np.array_equal(whole, split)


def test_input_and_output_may_be_one_array() -> None:
    analysis, synthesis, hop, _ = PAIRS["Hann 512/128"]
    x = noise(3000)
    y = np.empty_like(x)
    run(framer_state(analysis, hop), overlap_state(synthesis), x, y)
    run(framer_state(analysis, hop), overlap_state(synthesis), x, x)
    assert np.array_equal(x, y)


def test_frames_are_the_newest_samples_windowed_zeros_before_the_first() -> None:
    x = noise(1000)
    framer = framer_state(hann(400), 160)
    padded = np.concatenate([np.zeros(400, np.float32), x])
    frame = np.full(512, 7, np.float32)
    i = count = 0
    while i < x.size:
        i += framer_push(framer, x[i : i + 33])
        if framer_pull(framer, frame):
            count += 1
            assert i == 160 * count
            assert np.array_equal(frame[:400], padded[i : i + 400] * hann(400).astype(np.float32))
    assert count == 6
    assert (frame[400:] == 7).all()


def test_a_due_frame_must_be_pulled_before_more_is_taken() -> None:
    framer = framer_state(hann(64), 16)
    x = noise(64)
    frame = np.empty(64, np.float32)
    assert not framer_pull(framer, frame)
    assert framer_push(framer, x) == 16
    assert framer_push(framer, x) == 0
    assert framer_pull(framer, frame)
    assert not framer_pull(framer, frame)
    assert framer_push(framer, x[:5]) == 5


def test_a_vocoder_adds_a_frame_and_pops_a_hop() -> None:
    analysis, hop = hann(1200), 300
    synthesis = short_synthesis(analysis, hop, 900, 300)
    overlap = overlap_state(synthesis)
    x = noise(9000)
    y = np.empty_like(x)
    padded = np.concatenate([np.zeros(1200 - hop, np.float32), x])
    for start in range(0, x.size, hop):
        overlap_add(overlap, padded[start : start + 1200] * analysis.astype(np.float32))
        overlap_pop(overlap, y[start : start + hop])
    # a hop comes out as soon as its frame goes in
    delay = 900 - hop
    assert np.abs(y[delay:] - x[:-delay]).max() <= ERROR


def test_silence_after_sound_becomes_exact_silence() -> None:
    analysis, synthesis, hop, delay = PAIRS["Hann 512/128"]
    x = noise(4096)
    x[2000:] = 0
    y = np.empty_like(x)
    run(framer_state(analysis, hop), overlap_state(synthesis), x, y)
    assert not y[2000 + delay + 512 :].any()


@pytest.mark.parametrize("level", [1.0, -1.0, 1e-40])
def test_dc_at_full_scale_and_denormal_dc_come_back(level: float) -> None:
    analysis, synthesis, hop, delay = PAIRS["Hann 1024/128, short"]
    x = np.full(6000, level, np.float32)
    y = np.empty_like(x)
    run(framer_state(analysis, hop), overlap_state(synthesis), x, y)
    assert np.abs(y[1024 + delay :] - x[1024 + delay :]).max() <= ERROR


def test_windows_and_hops_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="hop"):
        framer_state(hann(64), 0)
    with pytest.raises(ValueError, match="hop"):
        framer_state(hann(64), 65)
    with pytest.raises(ValueError, match="gaps"):
        matched_synthesis(sqrt_hann(512), 512)
    with pytest.raises(ValueError, match="gaps"):
        normalised(hann(512), np.ones(100), 128)
    with pytest.raises(ValueError, match="rise"):
        short_synthesis(hann(512), 64, 600, 100)
    with pytest.raises(ValueError, match="rise"):
        short_synthesis(hann(512), 64, 200, 200)
