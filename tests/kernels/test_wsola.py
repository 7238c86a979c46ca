"""Sound played faster or slower: the pitch stays, nothing clicks, the speed is as asked for, splits change nothing."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray

from rtvc.kernels.wsola import (
    FADE_S,
    HOP_S,
    LONGEST_S,
    SHORTEST_S,
    WsolaState,
    wsola_clear,
    wsola_fill,
    wsola_gone,
    wsola_pull,
    wsola_push,
    wsola_skip,
    wsola_state,
)

RATE_HZ = 48000
LONGEST = round(LONGEST_S * RATE_HZ)
FADE = round(FADE_S * RATE_HZ)
LEVEL = 0.5
Sound = NDArray[np.float32]


def sine(frequency_hz: float, seconds: float, rate_hz: int = RATE_HZ) -> Sound:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (LEVEL * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def voice(hz: float, seconds: float, rate_hz: int = RATE_HZ) -> Sound:
    """Return a tone with overtones whose pitch wanders, like a spoken vowel."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * hz * (t + 0.02 * np.sin(2 * np.pi * 2.0 * t))
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 12))).astype(np.float32)


def line(x: Sound, rate_hz: float = RATE_HZ, shortest_s: float = SHORTEST_S) -> WsolaState:
    state = wsola_state(rate_hz, len(x) + 8192, shortest_s)
    assert wsola_push(state, x) == len(x)
    return state


def pull(state: WsolaState, frames: int, speed: float = 1.25, longest: int = LONGEST) -> Sound:
    y = np.zeros(frames, np.float32)
    return y[: wsola_pull(state, y, speed, longest)]


def test_at_speed_one_sound_comes_out_as_it_went_in_and_at_once() -> None:
    x = np.random.default_rng(0).normal(0, 0.1, 10_000).astype(np.float32)
    state = wsola_state(RATE_HZ, 4096)
    for start in range(0, len(x), 100):
        assert wsola_push(state, x[start : start + 100]) == 100
        np.testing.assert_array_equal(pull(state, 1000, 1.0), x[start : start + 100])
    assert wsola_fill(state) == 0
    assert wsola_gone(state) == (10_000, 0)


@functools.cache
def whole_at(speed: float) -> tuple[Sound, Sound]:
    """Return a vowel, and that vowel at a speed in one go."""
    x = voice(140, 1.0)
    return x, pull(line(x), 3 * len(x), speed)


@settings(max_examples=40, deadline=None)
@given(
    pushes=st.lists(st.integers(1, 5000), min_size=1, max_size=12),
    pulls=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    speed=st.sampled_from([0.5, 0.8, 1.0, 1.03, 1.1, 1.25, 2.0]),
)
def test_any_block_size_gives_the_same_samples(pushes: list[int], pulls: list[int], speed: float) -> None:
    x, whole = whole_at(speed)
    state = wsola_state(RATE_HZ, len(x))
    pieces, pushed, k = [], 0, 0
    while True:
        n = wsola_push(state, x[pushed : pushed + pushes[k % len(pushes)]])
        pushed += n
        piece = pull(state, pulls[k % len(pulls)], speed)
        pieces.append(piece)
        k += 1
        if pushed == len(x) and len(piece) == 0:
            break
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("speed", [0.5, 0.7, 0.95, 1.05, 1.15, 1.25, 1.5, 2.0])
@pytest.mark.parametrize("hz", [70.0, 123.4, 220.0, 440.0])
def test_it_is_as_much_faster_as_was_asked_for(speed: float, hz: float) -> None:
    state = line(voice(hz, 6.5), shortest_s=max(SHORTEST_S, HOP_S * abs(speed - 1.0)))
    y = pull(state, 3 * RATE_HZ, speed)
    taken, cuts = wsola_gone(state)
    assert len(y) == 3 * RATE_HZ
    assert (taken / len(y) - 1.0) == pytest.approx(speed - 1.0, abs=0.015)
    assert cuts > 3


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
@pytest.mark.parametrize("hz", [80.0, 123.4, 220.0, 440.0, 1000.0])
def test_a_tone_keeps_its_pitch_and_its_level_without_a_click(hz: float, speed: float) -> None:
    x = sine(hz, 4.5)
    y = pull(line(x), 2 * RATE_HZ, speed)
    assert np.abs(np.diff(y)).max() <= 1.05 * np.abs(np.diff(x)).max()
    period = round(RATE_HZ / hz)
    tops = [np.abs(y[i : i + period]).max() for i in range(0, len(y) - period, 24)]
    assert min(tops) > 0.97 * LEVEL
    crossings = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    # every cut takes whole periods, to a sample
    assert np.abs(np.diff(crossings) - RATE_HZ / hz).max() <= 1.5
    assert np.mean(np.diff(crossings)) == pytest.approx(RATE_HZ / hz, rel=2e-3)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.5, 2.0])
@pytest.mark.parametrize("period", [150, 401, 700])
def test_what_repeats_itself_to_the_sample_comes_out_untouched(period: int, speed: float) -> None:
    x = np.resize(voice(RATE_HZ / period, period / RATE_HZ), 3 * RATE_HZ)
    state = line(x)
    y = pull(state, RATE_HZ, speed)
    assert wsola_gone(state)[1] > 10
    np.testing.assert_allclose(y, x[:RATE_HZ], atol=1e-6)


def test_without_room_nothing_is_played_twice() -> None:
    state = wsola_state(RATE_HZ, 4096)
    x = sine(200, 1.0)
    wsola_push(state, x)
    np.testing.assert_array_equal(pull(state, 700, 0.5), x[:700])
    assert wsola_gone(state) == (700, 0)


def test_the_pitch_of_a_wandering_voice_is_kept() -> None:
    import pyworld

    def median_hz(y: Sound) -> float:
        f0, _ = pyworld.harvest(y.astype(np.float64), RATE_HZ)
        return float(np.median(f0[f0 > 0]))

    x = voice(140, 2.6)
    y = pull(line(x), 2 * RATE_HZ)  # five turns of the wandering in either
    assert median_hz(y) == pytest.approx(median_hz(x[: round(2.5 * RATE_HZ)]), rel=0.01)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 96000, 192000])
def test_any_rate_will_do(rate_hz: int) -> None:
    x = sine(200, 2.0, rate_hz)
    state = line(x, rate_hz)
    for speed in (1.25, 0.8):
        before = wsola_gone(state)[0]
        y = pull(state, 2 * rate_hz // 3, speed, round(LONGEST_S * rate_hz))
        assert (wsola_gone(state)[0] - before) / len(y) == pytest.approx(speed, abs=0.03)
        assert np.abs(np.diff(y)).max() <= 1.1 * np.abs(np.diff(x)).max()


def test_noise_and_silence_are_shortened_too_and_stay_what_they_are() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * RATE_HZ).astype(np.float32)
    state = line(noise)
    y = pull(state, 2 * RATE_HZ)
    assert wsola_gone(state)[0] / len(y) == pytest.approx(1.25, abs=0.02)
    assert np.std(y) == pytest.approx(0.1, rel=0.06)
    silent = line(np.zeros(RATE_HZ, np.float32))
    y = pull(silent, RATE_HZ // 2)
    assert not y.any()
    assert wsola_gone(silent)[0] / len(y) == pytest.approx(1.25, abs=0.04)


def test_an_onset_is_not_cut_while_a_better_place_comes_soon() -> None:
    # noise does not resemble itself: it is cut only where too much is owed, so later than a tone is
    tone, noise = line(sine(200, 0.5)), line(np.random.default_rng(2).normal(0, 0.1, 24000).astype(np.float32))
    for state in (tone, noise):
        pull(state, round(0.06 * RATE_HZ))
    assert wsola_gone(tone)[1] >= 1
    assert wsola_gone(noise)[1] == 0


def test_without_enough_sound_ahead_nothing_comes_but_speed_one_gives_what_there_is() -> None:
    x = sine(200, 0.05)
    state = line(x)
    fast = pull(state, len(x))
    assert 0 < len(fast) < len(x)
    assert wsola_fill(state) < LONGEST + FADE
    assert len(pull(state, 10)) == 0
    assert len(pull(state, len(x), 1.0)) == len(x) - len(fast)


def test_no_cut_is_longer_than_allowed() -> None:
    state = line(np.zeros(RATE_HZ, np.float32))
    longest, before, cuts = 150, 0, 0
    for _ in range(1000):
        pull(state, 16, longest=longest)
        gone, cut = wsola_gone(state)
        assert gone - before <= 16 + longest
        before, cuts = gone, cut
    assert cuts > 10
    assert wsola_gone(line(np.zeros(RATE_HZ, np.float32)))[1] == 0


@pytest.mark.parametrize("dropped", [1, 100, 383, 384, 5000])
def test_what_is_dropped_leaves_a_cross_fade(dropped: int) -> None:
    x = voice(140, 0.5)
    state = line(x)
    pull(state, 1000, 1.0)
    assert wsola_skip(state, dropped) == dropped
    y = pull(state, 4000, 1.0)
    rising = 0.5 - 0.5 * np.cos(np.pi * (np.arange(FADE) + 0.5) / FADE)
    old, new = x[1000 : 1000 + FADE], x[1000 + dropped : 1000 + dropped + FADE]
    np.testing.assert_allclose(y[:FADE], old + rising * (new - old), atol=1e-6)
    np.testing.assert_array_equal(y[FADE:], x[1000 + dropped + FADE : 5000 + dropped])


def test_no_more_is_dropped_than_leaves_a_fade() -> None:
    state = line(sine(200, 0.1))
    assert wsola_skip(state, 10**6) == 4800 - FADE
    assert wsola_skip(state, 10**6) == 0
    assert wsola_fill(state) == FADE


def test_after_all_was_dropped_the_sound_fades_in() -> None:
    state = line(np.full(4800, LEVEL, np.float32))
    assert wsola_clear(state) == 4800
    for _ in range(100):
        wsola_push(state, np.full(10, LEVEL, np.float32))
    y = pull(state, 4800, 1.0)
    assert len(y) == 1000
    assert np.abs(np.diff(y, prepend=0.0)).max() <= 1.01 * LEVEL * np.pi / 2 / FADE
    np.testing.assert_array_equal(y[FADE:], np.full(1000 - FADE, LEVEL, np.float32))
    assert wsola_clear(wsola_state(RATE_HZ, 4096)) == 0


def test_a_full_line_takes_no_more() -> None:
    state = wsola_state(RATE_HZ, 4096)
    assert wsola_push(state, np.zeros(5000, np.float32)) == 4096
    assert wsola_push(state, np.zeros(1, np.float32)) == 0


def test_it_allocates_nothing() -> None:
    x, y = voice(140, 2.0), np.zeros(RATE_HZ, np.float32)
    wsola_clear(line(x))
    state = line(x)
    pull(state, 1000)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    wsola_pull(state, y, 1.25, LONGEST)
    wsola_pull(state, y[:24000], 0.7, LONGEST)
    wsola_skip(state, 100)
    wsola_push(state, y)
    wsola_clear(state)
    assert wsola_gone(state)[1] > 25
    assert rtsys.get_allocation_stats().alloc - before < 30  # the arrays' own way in and out of Python


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="rate_hz must lie in 8000"):
        wsola_state(4000, 4096)
    with pytest.raises(ValueError, match="at least 1536 frames, got 100"):
        wsola_state(48000, 100)
