"""Simulated devices: their clocks run as declared, in virtual and in real time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.link import CAPTURE, PLAYBACK, capture_data, link_memory, playback_data, read_clock
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.kernels.ring import ring_fill, ring_pop, ring_push
from tests.waiting import wait_for


def noise(frames: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(frames).astype(np.float32)


def pass_on(link: NDArray[np.int64]) -> None:
    x = np.zeros(fields.CAPACITY, np.float32)
    n = ring_pop(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16], capture_data(link), x)
    ring_push(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16], playback_data(link), x[:n])


def frames(link: NDArray[np.int64], side: int) -> int:
    return read_clock(link, side)[0]


def run(streams: SimulatedStreams, link: NDArray[np.int64], until_s: float) -> list[tuple[float, int, int]]:
    """Step through every callback; return (time, frames captured, frames played) after each."""
    seen = []
    while streams.next_s() <= until_s:
        time_s = streams.next_s()
        streams.run_until(time_s)
        seen.append((time_s, frames(link, CAPTURE), frames(link, PLAYBACK)))
    return seen


def test_the_source_is_captured_sample_by_sample_and_then_silence() -> None:
    link, x = link_memory(), noise(1000)
    streams = SimulatedStreams(link, x)
    streams.run_until(0.1)
    y = np.zeros(10_000, np.float32)
    n = ring_pop(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16], capture_data(link), y)
    assert n == frames(link, CAPTURE) == int(0.1 * 48000 / 256) * 256
    np.testing.assert_array_equal(y[:1000], x)
    assert not y[1000:].any()


@pytest.mark.parametrize("duplex", [False, True])
def test_what_is_played_is_recorded(duplex: bool) -> None:
    link, x = link_memory(), noise(48000)
    streams = SimulatedStreams(link, x, duplex=duplex)
    while streams.next_s() < 1.0:
        streams.run_until(streams.next_s())
        pass_on(link)
    y = streams.recorded()
    start = int(np.argmax(y != 0))
    source = int(np.argmax(x == y[start + 200]))  # past the fade-in
    np.testing.assert_array_equal(y[start + 200 : start + 40_000], x[source : source + 39_800])


def test_without_keep_nothing_is_recorded() -> None:
    streams = SimulatedStreams(link_memory(), noise(100), keep=False)
    streams.run_until(1.0)
    assert len(streams.recorded()) == 0


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
@pytest.mark.parametrize("ppm", [-500.0, 0.0, 200.0])
def test_each_side_runs_at_its_own_rate(rate_hz: int, ppm: float) -> None:
    link = link_memory()
    streams = SimulatedStreams(link, noise(1), SimulatedClock(rate_hz, ppm), SimulatedClock(48000), keep=False)
    streams.run_until(100.0)
    assert frames(link, CAPTURE) == pytest.approx(100 * rate_hz * (1 + ppm * 1e-6), abs=256)
    assert frames(link, PLAYBACK) == pytest.approx(100 * 48000, abs=256)
    assert (link[fields.CAPTURE_RATE_HZ], link[fields.PLAYBACK_RATE_HZ]) == (rate_hz, 48000)


def test_duplex_runs_both_sides_on_one_clock() -> None:
    link = link_memory()
    streams = SimulatedStreams(
        link, noise(1), SimulatedClock(ppm=300, jitter_ms=1), SimulatedClock(ppm=-300), duplex=True
    )
    assert streams.duplex
    for _, captured, played in run(streams, link, 5.0):
        assert captured == played


def test_jitter_makes_callbacks_late_but_never_reorders_or_loses_them() -> None:
    link = link_memory()
    streams = SimulatedStreams(link, noise(1), SimulatedClock(jitter_ms=3), SimulatedClock(), keep=False)
    seen = np.array([(time_s, captured) for time_s, captured, _ in run(streams, link, 20.0)])
    times, captured = seen[np.flatnonzero(np.diff(seen[:, 1], prepend=0))].T
    late = times - captured / 48000  # of the last one, where several came at once
    assert (late > -1e-9).all()
    assert 1e-3 < late.mean() < 5e-3
    assert captured[-1] == pytest.approx(20 * 48000, abs=5 * 256)


def test_a_stall_delays_callbacks_into_a_burst() -> None:
    link = link_memory()
    streams = SimulatedStreams(link, noise(1), SimulatedClock(stalls_s=((1.0, 0.5),)), keep=False)
    streams.run_until(1.49)
    assert frames(link, CAPTURE) == pytest.approx(48000, abs=256)
    assert frames(link, PLAYBACK) == pytest.approx(1.49 * 48000, abs=512)
    streams.run_until(1.501)
    assert frames(link, CAPTURE) == pytest.approx(1.5 * 48000, abs=256)


def test_an_unplugged_device_loses_its_time_and_says_so() -> None:
    link = link_memory()
    streams = SimulatedStreams(link, noise(1), SimulatedClock(unplugged_s=((1.0, 0.5),)), keep=False)
    streams.run_until(0.9)
    assert streams.failure() is None
    streams.run_until(1.2)
    assert streams.failure() == "the simulated capture device is unplugged"
    streams.run_until(2.0)
    assert streams.failure() is None
    assert frames(link, CAPTURE) == pytest.approx(1.5 * 48000, abs=256)
    assert frames(link, PLAYBACK) == pytest.approx(2.0 * 48000, abs=256)


def test_the_same_seed_gives_the_same_world() -> None:
    worlds = []
    for seed in (1, 1, 2):
        link = link_memory()
        streams = SimulatedStreams(link, noise(1), SimulatedClock(jitter_ms=1), SimulatedClock(jitter_ms=1), seed=seed)
        worlds.append(run(streams, link, 1.0))
    assert worlds[0] == worlds[1] != worlds[2]


def test_in_real_time_callbacks_follow_the_real_clock() -> None:
    link = link_memory()
    streams = SimulatedStreams(link, noise(48000))
    begun_ns = time.perf_counter_ns()
    streams.start()
    wait_for(lambda: frames(link, PLAYBACK) >= 24_000, "half a second of sound")
    streams.stop()
    for side in (CAPTURE, PLAYBACK):
        _, time_ns, callbacks = read_clock(link, side)
        stamps_ns = [begun_ns, time_ns, time.perf_counter_ns()]
        assert stamps_ns == sorted(stamps_ns)
        assert callbacks * 256 == frames(link, side)
    assert abs(frames(link, CAPTURE) - frames(link, PLAYBACK)) <= 256


def test_stop_halts_and_start_goes_on_where_it_stopped() -> None:
    link = link_memory()
    streams = SimulatedStreams(link, noise(48000))
    for target in (5_000, 10_000):
        streams.start()
        wait_for(lambda target=target: frames(link, CAPTURE) >= target, "the sound")
        streams.stop()
        halted = frames(link, CAPTURE)
        time.sleep(0.05)
        assert frames(link, CAPTURE) == halted
    streams.close()
    streams.close()
    y = np.zeros(halted, np.float32)
    assert ring_fill(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]) == halted
    ring_pop(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16], capture_data(link), y)
    np.testing.assert_array_equal(y[: min(halted, 48000)], noise(48000)[:halted])
