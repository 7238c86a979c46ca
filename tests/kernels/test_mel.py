from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray
from scipy.signal import get_window

from rtvc.kernels.mel import FLOOR, MelState, hz_from_mel, log_mel, mel_filters, mel_from_hz, mel_state

ERROR = 2e-5  # nepers


def signal(n: int, rate_hz: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / rate_hz)
    return np.asarray(tone + 0.1 * rng.standard_normal(n), np.float32)


def stream(state: MelState, x: NDArray[np.float32], edges: list[int]) -> NDArray[np.float32]:
    parts = []
    for start, end in pairwise(edges):
        rows = np.zeros((end - start + 1, state.bands.shape[0]), np.float32)
        parts.append(rows[: log_mel(state, x[start:end], rows)])
    return np.concatenate(parts)


def slaney_triangles(rate_hz: float, n: int, bands: int) -> NDArray[np.float64]:
    """Slaney's scale and norm written out a second way: by interpolation over a table of edges."""
    step = np.exp(np.log(6.4) / 27)
    hz_table = np.concatenate([np.arange(0, 1000, 200 / 3), 1000 * step ** np.arange(80)])
    edges = np.empty(bands + 2)
    top = np.log(rate_hz / 2 / 1000) / np.log(step) + 15
    for i, mel in enumerate(np.linspace(0, top, bands + 2)):
        whole = int(mel)
        edges[i] = hz_table[whole] + (mel - whole) * 200 / 3 if mel < 15 else hz_table[whole] * step ** (mel - whole)
    hz = np.fft.rfftfreq(n, 1 / rate_hz)
    return np.array([np.interp(hz, edges[b : b + 3], [0, 2 / (edges[b + 2] - edges[b]), 0]) for b in range(bands)])


@pytest.mark.parametrize(
    ("rate_hz", "hop_ms", "frame_ms", "bands"),
    [(16000, 10.0, 25.0, 80), (16000, 12.5, 25.0, 80), (24000, 12.5, 40.0, 80), (16000, 10.0, 25.0, 40)],
)
def test_rows_are_a_float64_log_mel_within_the_stated_error(
    rate_hz: int, hop_ms: float, frame_ms: float, bands: int
) -> None:
    x = signal(rate_hz, rate_hz)
    got = stream(mel_state(rate_hz, hop_ms, frame_ms, bands), x, [0, x.size])
    hop, frame = round(rate_hz * hop_ms / 1000), round(rate_hz * frame_ms / 1000)
    n = 2 ** int(np.ceil(np.log2(frame)))
    padded = np.concatenate([np.zeros(frame), x.astype(np.float64)])
    ends = np.arange(hop, x.size + 1, hop)
    frames = np.array([padded[end : end + frame] for end in ends]) * get_window("hann", frame)
    power = np.abs(np.fft.rfft(frames, n)) ** 2
    want = np.log(np.maximum(power @ slaney_triangles(rate_hz, n, bands).T, 1e-10))
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= ERROR


def test_filters_are_slaneys() -> None:
    want = slaney_triangles(16000, 512, 80)
    assert np.abs(mel_filters(16000, 512, 80, 0, 8000) - want).max() <= 1e-9


def test_the_scale_has_slaneys_landmarks_and_turns_back() -> None:
    assert mel_from_hz(1000) == pytest.approx(15)
    assert mel_from_hz(6400) == pytest.approx(42)
    assert mel_from_hz(500) == pytest.approx(7.5)
    for hz in (0.0, 440.0, 999.0, 1001.0, 7600.0):
        assert hz_from_mel(mel_from_hz(hz)) == pytest.approx(hz)


@given(cuts=st.lists(st.integers(0, 3000), max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_block_size_gives_the_same_rows(cuts: list[int]) -> None:
    x = signal(3000, 16000)
    whole = stream(mel_state(hop_ms=12.5), x, [0, x.size])
    split = stream(mel_state(hop_ms=12.5), x, sorted({0, x.size, *cuts}))
    assert np.array_equal(whole, split)
    assert len(whole) == 15


@pytest.mark.parametrize("level", [0.0, 1e-40, 1.0])
def test_silence_denormals_and_full_scale_give_finite_rows(level: float) -> None:
    x = level * np.where(np.arange(4000) % 50 < 25, 1, -1).astype(np.float32)
    rows = stream(mel_state(), x.astype(np.float32), [0, x.size])
    assert np.isfinite(rows).all()
    if level < 1e-3:
        assert (rows == np.float32(np.log(np.float32(FLOOR)))).all()


def test_sound_leaves_no_trace_after_a_frame_of_silence() -> None:
    x = signal(4000, 16000)
    x[2000:] = 0
    rows = stream(mel_state(), x, [0, x.size])
    assert (rows[15:] == rows[-1]).all()
    assert rows[-1] == pytest.approx(np.log(FLOOR))


def test_bands_that_hold_no_bin_and_empty_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        mel_state(bands=200)
    with pytest.raises(ValueError, match="Hz"):
        mel_state(high_hz=9000)
    with pytest.raises(ValueError, match="Hz"):
        mel_state(low_hz=500, high_hz=400)
    with pytest.raises(ValueError, match="hop"):
        mel_state(hop_ms=40)


def again_and_again(state: MelState, x: NDArray[np.float32], rows: NDArray[np.float32], times: int) -> None:
    for _ in range(times):
        log_mel(state, x, rows)


def test_a_thousand_blocks_allocate_nothing() -> None:
    state, x, rows = mel_state(), signal(160, 16000), np.zeros((2, 80), np.float32)
    many = njit(again_and_again)
    many(state, x, rows, 1)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    many(state, x, rows, 1000)
    assert rtsys.get_allocation_stats().alloc - before < 20
