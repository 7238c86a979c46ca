"""The compiled device callbacks, called through their C pointers as an audio library would."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.callbacks import portaudio_capture, portaudio_duplex, portaudio_playback
from rtvc.audio.link import CAPTURE, PLAYBACK, capture_data, link_memory, playback_data, read_clock
from rtvc.kernels.ring import ring_fill, ring_pop, ring_push

POINTER, ULONG = ctypes.c_void_p, ctypes.c_ulong
SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER, ULONG, POINTER, ULONG, POINTER)
INPUT_OVERFLOW, OUTPUT_UNDERFLOW, PRIMING = 2, 4, 16


def make_link(capture_channels: int = 1, playback_channels: int = 1) -> NDArray[np.int64]:
    link = link_memory()
    link[fields.CAPTURE_CHANNELS], link[fields.PLAYBACK_CHANNELS] = capture_channels, playback_channels
    return link


def call(
    callback: Any,
    link: NDArray[np.int64],
    x: NDArray[np.float32] | None,
    y: NDArray[np.float32] | None,
    frames: int,
    flags: int = 0,
) -> int:
    function = SIGNATURE(callback.address)
    addresses = [None if buffer is None else buffer.ctypes.data for buffer in (x, y)]
    return int(function(*addresses, frames, None, flags, link.ctypes.data))


def captured(link: NDArray[np.int64]) -> NDArray[np.float32]:
    y = np.zeros(4096, np.float32)
    return y[: ring_pop(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16], capture_data(link), y)]


def deliver(link: NDArray[np.int64], x: NDArray[np.float32]) -> None:
    ring_push(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16], playback_data(link), x)


def test_capture_brings_the_sound_of_all_channels_to_the_ring() -> None:
    link = make_link(capture_channels=2)
    x = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
    assert call(portaudio_capture, link, x.copy(), None, 300) == 0
    np.testing.assert_allclose(captured(link), x.mean(axis=1), atol=1e-6)


def test_playback_brings_the_ring_to_all_channels() -> None:
    link = make_link(playback_channels=2)
    link[fields.PLAYBACK_STATE], link[fields.PLAYBACK_FADED_IN] = 1, fields.FADE_FRAMES
    x = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    deliver(link, x)
    y = np.full((500, 2), np.nan, np.float32)
    assert call(portaudio_playback, link, None, y, 500) == 0
    np.testing.assert_array_equal(y, np.repeat(x[:, None], 2, axis=1))


def test_playback_fills_the_whole_buffer_when_there_is_nothing_to_play() -> None:
    link = make_link(playback_channels=2)
    y = np.full(1000, np.nan, np.float32)
    assert call(portaudio_playback, link, None, y, 500) == 0
    assert not y.any()


def test_duplex_does_both_with_different_channel_counts_and_never_passes_the_microphone_on() -> None:
    link = make_link(capture_channels=1, playback_channels=2)
    x = np.ones(256, np.float32)
    for _ in range(50):
        y = np.full(512, np.nan, np.float32)
        assert call(portaudio_duplex, link, x.copy(), y, 256) == 0
        assert not y.any()
    assert ring_fill(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]) == 50 * 256
    assert read_clock(link, CAPTURE)[1:] == read_clock(link, PLAYBACK)[1:]


@pytest.mark.parametrize("callback", [portaudio_capture, portaudio_playback, portaudio_duplex])
def test_trouble_that_the_host_flags_is_counted_and_priming_is_none(callback: Any) -> None:
    link, x, y = make_link(), np.zeros(64, np.float32), np.zeros(64, np.float32)
    for flags in (0, PRIMING, INPUT_OVERFLOW, OUTPUT_UNDERFLOW, INPUT_OVERFLOW | OUTPUT_UNDERFLOW):
        call(callback, link, x, y, 64, flags)
    assert link[fields.DEVICE_XRUNS] == 3


@pytest.mark.parametrize(
    ("callback", "sides"),
    [(portaudio_capture, (CAPTURE,)), (portaudio_playback, (PLAYBACK,)), (portaudio_duplex, (CAPTURE, PLAYBACK))],
)
def test_the_clock_that_is_published_is_the_one_of_perf_counter(callback: Any, sides: tuple[int, ...]) -> None:
    link, x, y = make_link(), np.zeros(64, np.float32), np.zeros(64, np.float32)
    before = time.perf_counter_ns()
    call(callback, link, x, y, 64)
    call(callback, link, x, y, 32)
    after = time.perf_counter_ns()
    for side in (CAPTURE, PLAYBACK):
        frames, time_ns, callbacks = read_clock(link, side)
        assert (frames, callbacks) == ((96, 2) if side in sides else (0, 0))
        assert before <= time_ns <= after if side in sides else time_ns == 0


def test_a_callback_of_no_frames_is_harmless() -> None:
    link = make_link()
    assert call(portaudio_duplex, link, np.zeros(1, np.float32), np.zeros(1, np.float32), 0) == 0
    assert read_clock(link, PLAYBACK)[0] == 0


def test_a_callback_needs_no_gil() -> None:
    link, calls = make_link(), np.zeros(1, np.int64)
    x, y = np.zeros(64, np.float32), np.zeros(64, np.float32)

    @njit(nogil=True)
    def device(stop: NDArray[np.int64], calls: NDArray[np.int64], x: int, y: int, link: int) -> None:
        while stop[0] == 0:
            _call(x, y, link)
            calls[0] += 1

    _call = _njit_caller(portaudio_duplex)
    stop = np.zeros(1, np.int64)
    arguments = (stop, calls, x.ctypes.data, y.ctypes.data, link.ctypes.data)
    stop[0] = 1
    device(*arguments)  # compile
    stop[0] = 0
    thread = threading.Thread(target=device, args=arguments)
    thread.start()
    while calls[0] == 0:
        time.sleep(0.001)
    usleep = ctypes.PyDLL(None).usleep  # holds the GIL while it sleeps
    for _ in range(100):  # this thread may get no core for a while
        before = int(calls[0])
        usleep(20_000)
        progressed = int(calls[0]) - before
        if progressed > 100:
            break
    stop[0] = 1
    thread.join()
    assert progressed > 100


def _njit_caller(callback: Any) -> Callable[[int, int, int], int]:
    """Return njit code that calls a callback's C pointer with addresses."""
    from rtvc.audio.c_pointer import pointer

    @njit
    def call(x: int, y: int, link: int) -> int:
        return callback(pointer(x), pointer(y), np.uint64(64), pointer(0), np.uint64(0), pointer(link))

    return call
