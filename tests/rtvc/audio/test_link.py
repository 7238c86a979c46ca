"""The link between device callbacks and the engine: what is played, when, and what is counted."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.link import (
    CAPACITY,
    CAPTURE,
    FADE_FRAMES,
    LINK_BYTES,
    LINK_INT64,
    PLAYBACK,
    capture_data,
    link_capture,
    link_memory,
    link_playback,
    playback_data,
    publish_clock,
    read_clock,
)
from rtvc.kernels.ring import ring_fill, ring_pop, ring_push

RATE_HZ = 48000
SINK = 0.05  # share of its value that the ended sound loses a sample


def make_link(capture_channels: int = 1, playback_channels: int = 1, prime: int = 0) -> NDArray[np.int64]:
    link = link_memory()
    link[fields.CAPTURE_CHANNELS], link[fields.PLAYBACK_CHANNELS] = capture_channels, playback_channels
    link[fields.CAPTURE_RATE_HZ] = link[fields.PLAYBACK_RATE_HZ] = RATE_HZ
    link[fields.PLAYBACK_PRIME] = prime
    return link


def captured(link: NDArray[np.int64]) -> NDArray[np.float32]:
    y = np.zeros(CAPACITY, np.float32)
    return y[: ring_pop(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16], capture_data(link), y)]


def deliver(link: NDArray[np.int64], x: NDArray[np.float32]) -> int:
    return ring_push(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16], playback_data(link), x)


def waiting(link: NDArray[np.int64]) -> int:
    return ring_fill(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16])


def play(link: NDArray[np.int64], frames: int, now_ns: int = 0) -> NDArray[np.float32]:
    y = np.full(frames * int(link[fields.PLAYBACK_CHANNELS]), np.nan, np.float32)
    link_playback(link, y, frames, now_ns)
    assert np.isfinite(y).all()
    return y


def sine(frames: int, frequency_hz: float = 200.0, level: float = 0.5, start: int = 0) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * frequency_hz / RATE_HZ * (start + np.arange(frames)))).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_microphone_is_mixed_down_to_the_mean_of_its_channels(channels: int) -> None:
    link = make_link(capture_channels=channels)
    x = np.random.default_rng(0).standard_normal((300, channels)).astype(np.float32)
    device = x.reshape(-1).copy()
    link_capture(link, device, 200, 1)
    link_capture(link, device[200 * channels :], 100, 2)
    np.testing.assert_array_equal(device, x.reshape(-1))  # the device's buffer is its own
    np.testing.assert_allclose(captured(link), x.astype(np.float64).mean(axis=1), atol=1e-6)
    assert read_clock(link, CAPTURE) == (300, 2, 2)


def test_one_channel_arrives_bit_exact() -> None:
    link, x = make_link(), np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    link_capture(link, x.copy(), 1000, 1)
    np.testing.assert_array_equal(captured(link), x)


def test_what_does_not_fit_is_counted_as_lost_and_the_older_sound_stays() -> None:
    link = make_link()
    for i in range(3):
        link_capture(link, np.full(30_000, i + 1, np.float32), 30_000, i)
    assert link[fields.CAPTURE_LOST] == 90_000 - CAPACITY
    got = captured(link)
    assert len(got) == CAPACITY
    assert set(got[:30_000]) == {1.0}
    assert read_clock(link, CAPTURE)[0] == 90_000  # the device's clock counts them all the same


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_every_channel_of_a_loudspeaker_gets_the_same_sound(channels: int) -> None:
    link = make_link(playback_channels=channels)
    link[fields.PLAYBACK_STATE], link[fields.PLAYBACK_FADED_IN] = 1, FADE_FRAMES
    x = sine(700)
    deliver(link, x)
    y = np.concatenate([play(link, 300), play(link, 400)]).reshape(-1, channels)
    for channel in range(channels):
        np.testing.assert_array_equal(y[:, channel], x)


def test_without_an_engine_there_is_silence_whatever_is_captured() -> None:
    link = make_link(capture_channels=2, playback_channels=2)
    for i in range(1000):
        link_capture(link, np.repeat(sine(256, start=256 * i), 2), 256, i)
        assert not play(link, 256, i).any()
    assert link[fields.PLAYBACK_XRUNS] == 0  # nothing was promised yet
    assert link[fields.PLAYBACK_MISSING] == 256_000


def test_sound_starts_once_enough_waits_and_at_the_level_asked_for() -> None:
    link = make_link(prime=500)
    deliver(link, sine(755))
    assert not play(link, 256).any()
    assert waiting(link) == 755
    deliver(link, sine(101, start=755))
    assert play(link, 256).any()
    assert waiting(link) == 500


def test_a_surplus_of_blocks_is_left_for_the_engine_to_catch_up_on() -> None:
    link = make_link(prime=500)
    deliver(link, sine(5000))
    play(link, 256)
    assert waiting(link) == 5000 - 256


def test_sound_fades_in_over_the_declared_frames_whatever_the_blocks() -> None:
    ones, expected = np.ones(400, np.float32), np.minimum(np.arange(400) / FADE_FRAMES, 1.0)
    for block in (1, 7, 96, 400):
        link = make_link()
        deliver(link, ones)
        y = np.concatenate([play(link, min(block, 400 - i)) for i in range(0, 400, block)])
        np.testing.assert_allclose(y, expected, atol=1e-6)


def test_an_end_without_warning_sinks_to_silence_and_is_counted_once() -> None:
    link = make_link(prime=44)
    deliver(link, np.ones(300, np.float32))
    y = np.concatenate([play(link, 256) for _ in range(5)])
    assert y[299] == 1.0
    assert np.abs(np.diff(y[FADE_FRAMES:])).max() <= SINK + 1e-6
    assert np.abs(y[300 + FADE_FRAMES :]).max() < 0.01
    assert np.abs(y[-256:]).max() < 1e-6
    assert link[fields.PLAYBACK_XRUNS] == 1
    assert link[fields.PLAYBACK_MISSING] == 5 * 256 - 300
    assert not play(link, 256).any()


def test_after_an_end_sound_waits_for_its_level_again() -> None:
    link = make_link(prime=300)
    deliver(link, sine(600))
    for _ in range(3):
        play(link, 256)
    assert link[fields.PLAYBACK_STATE] == 0
    deliver(link, sine(400))
    play(link, 256)
    assert waiting(link) == 400
    deliver(link, sine(300))
    play(link, 256)
    assert waiting(link) == 300
    assert link[fields.PLAYBACK_XRUNS] == 1


@pytest.mark.parametrize("prime", [0, 256])
def test_when_the_engine_has_ended_the_next_block_sinks_and_what_waited_is_never_heard(prime: int) -> None:
    link = make_link(prime=prime)
    deliver(link, sine(3000))
    before = play(link, 256)
    link[fields.ENGINE_GUARD] = fields.GUARD_ENDED
    y = np.concatenate([play(link, 256) for _ in range(4)])
    assert waiting(link) == 0
    np.testing.assert_allclose(y, before[-1] * (1 - SINK) ** np.arange(1, len(y) + 1), atol=1e-6)
    assert np.abs(y[FADE_FRAMES:]).max() < 0.01 * np.abs(before).max()
    assert link[fields.PLAYBACK_XRUNS] == 1
    # what a dying engine still delivered goes the same way
    deliver(link, sine(3000))
    assert np.abs(play(link, 256)).max() < 1e-6
    assert waiting(link) == 0
    link[fields.ENGINE_GUARD] = 0
    assert np.abs(play(link, 256)).max() < 1e-6
    deliver(link, np.ones(256 + prime, np.float32))
    np.testing.assert_allclose(play(link, 256), np.minimum(np.arange(256) / FADE_FRAMES, 1.0), atol=1e-6)
    assert link[fields.PLAYBACK_XRUNS] == 1


def test_what_waited_while_the_device_stood_still_is_too_old_to_be_heard() -> None:
    link = make_link()
    deliver(link, np.ones(3000, np.float32))
    at_ns = 1_000_000_000
    assert play(link, 256, at_ns)[-1] == 1.0
    block_ns = 256 * 1_000_000_000 // RATE_HZ
    at_ns += fields.STALE_NS + block_ns  # late, but not too late
    assert play(link, 256, at_ns)[-1] == 1.0
    at_ns += fields.STALE_NS + 2 * block_ns
    y = play(link, 256, at_ns)
    assert waiting(link) == 0
    np.testing.assert_allclose(y, (1 - SINK) ** np.arange(1, 257), atol=1e-6)
    assert link[fields.PLAYBACK_XRUNS] == 1
    deliver(link, np.ones(256, np.float32))
    assert play(link, 256, at_ns + block_ns)[-1] == 1.0


@settings(max_examples=150, deadline=None)
@given(
    turns=st.lists(st.tuples(st.integers(-30, 30), st.sampled_from([16, 64, 100, 256])), min_size=20, max_size=80),
    prime=st.sampled_from([0, 20, 300]),
)
def test_no_pattern_of_late_deliveries_clicks(turns: list[tuple[int, int]], prime: int) -> None:
    link, sent, parts = make_link(prime=prime), 0, []
    frequency_hz, level = 200.0, 0.5
    for more, block in turns:
        sent += deliver(link, sine(max(0, block + more), frequency_hz, level, sent))
        parts.append(play(link, block))
    steps = np.abs(np.diff(np.concatenate(parts), prepend=0.0))
    natural = level * 2 * np.pi * frequency_hz / RATE_HZ
    assert steps.max() <= natural + level / FADE_FRAMES + SINK * level + 1e-6


def test_a_clock_tells_frames_time_callbacks_largest_block_and_longest_gap() -> None:
    link = make_link()
    for frames, now_ns in ((100, 1_000), (300, 5_000), (50, 6_000)):
        publish_clock(link, PLAYBACK, frames, now_ns)
    assert read_clock(link, PLAYBACK) == (450, 6_000, 3)
    assert read_clock(link, CAPTURE) == (0, 0, 0)
    assert link[PLAYBACK + fields.CLOCK_BLOCK_MAX] == 300
    assert link[PLAYBACK + fields.CLOCK_LATE_MAX_NS] == 4_000


def test_a_clock_is_read_as_one_consistent_set_while_it_is_written() -> None:
    link, stop = make_link(), threading.Event()

    def write() -> None:
        frames = 0
        while not stop.is_set():
            for _ in range(1000):
                frames += 1
                publish_clock(link, CAPTURE, 1, 10 * frames)

    publish_clock(link_memory(), CAPTURE, 1, 1)
    read_clock(link, CAPTURE)
    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    for _ in range(50_000):
        frames, time_ns, callbacks = read_clock(link, CAPTURE)
        assert (time_ns, callbacks) == (10 * frames, frames)
        assert frames >= last
        last = frames
    stop.set()
    writer.join()


def test_the_fields_do_not_overlap() -> None:
    taken = [*range(fields.CAPTURE_RING, 16), *range(fields.PLAYBACK_RING, 32)]
    taken += [side + i for side in (CAPTURE, PLAYBACK) for i in range(6)]
    taken += [
        value for name, value in vars(fields).items() if name.isupper() and name.startswith(("ENGINE_", "DEVICE_"))
    ]
    taken += [
        value for name, value in vars(fields).items() if name.startswith(("CAPTURE_", "PLAYBACK_")) and value >= 48
    ]
    taken += [side + i for side in (fields.SCRATCH_CAPTURE, fields.SCRATCH_PLAYBACK) for i in range(4)]
    taken += [fields.LAST_SAMPLE, fields.TAIL, *range(fields.ENGINE_GUARD + 1, fields.ENGINE_GUARD + 8)]
    assert len(taken) == len(set(taken))
    assert max(taken) < fields.FIELDS


def _capture_in_process(name: str, blocks: int) -> None:
    memory = SharedMemory(name)
    link: NDArray[np.int64] = np.ndarray((LINK_INT64,), np.int64, memory.buf)
    for i in range(blocks):
        link_capture(link, np.arange(i * 100, (i + 1) * 100, dtype=np.float32), 100, i)
    memory.close()


def test_a_link_in_shared_memory_joins_two_processes() -> None:
    memory = SharedMemory(create=True, size=LINK_BYTES)
    try:
        link: NDArray[np.int64] = np.ndarray((LINK_INT64,), np.int64, memory.buf)
        link[:] = make_link()
        process = multiprocessing.get_context("spawn").Process(target=_capture_in_process, args=(memory.name, 600))
        process.start()
        process.join()
        assert process.exitcode == 0
        np.testing.assert_array_equal(captured(link), np.arange(60_000, dtype=np.float32))
        assert read_clock(link, CAPTURE) == (60_000, 599, 600)
    finally:
        memory.close()
        memory.unlink()
