"""The link: one block of shared memory that joins device callbacks to the engine process.

It holds two rings of mono float32 (capture: device -> engine, playback: engine -> device) and a page of int64
counters. `link_capture` and `link_playback` are what every backend's callback does, real or simulated; they
take the GIL never, allocate nothing and block on nothing. The device side owns the fields named CAPTURE_* and
PLAYBACK_*; the engine owns ENGINE_*; the control process writes the settings once, before the streams start.

Every callback publishes "frames so far, at this time" under a seqlock, so the engine can see both clocks.
When the engine does not deliver, playback counts it, sinks to silence within FADE_FRAMES, and fades in again once
PLAYBACK_PRIME frames wait; what has not sunk by then goes on sinking under the fade. It never plays the captured voice.
When the engine has ended, the very next callback does the same and throws away what still waits; so does the first
one of a device that stood still for longer than STALE_NS, for what waited there is too old to be heard.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.atomics import fence_acquire, fence_release, load_acquire, store_release
from rtvc.kernels.ring import ring_fill, ring_pop, ring_push, ring_skip

CAPACITY = 1 << 16  # frames in each ring: 1.37 s at 48 kHz, 0.34 s at 192 kHz
FADE_FRAMES = 96  # 2 ms at 48 kHz
STALE_NS = 100_000_000  # beyond a device's own block

# int64 fields. Rings' counters fill whole cache lines of their own.
CAPTURE_RING = 0
PLAYBACK_RING = 16
CAPTURE = 32  # first field of the capture clock: see CLOCK_* below
PLAYBACK = 40
CLOCK_SEQ, CLOCK_FRAMES, CLOCK_TIME_NS, CLOCK_CALLBACKS, CLOCK_BLOCK_MAX, CLOCK_LATE_MAX_NS = range(6)
CAPTURE_CHANNELS = 48  # settings
PLAYBACK_CHANNELS = 49
CAPTURE_RATE_HZ = 50
PLAYBACK_RATE_HZ = 51
PLAYBACK_PRIME = 52  # frames that must wait before sound starts (again)
CAPTURE_LOST = 56  # frames thrown away because the engine did not take them
PLAYBACK_XRUNS = 64  # times the engine's sound ran out while playing
PLAYBACK_MISSING = 65  # frames of silence put in because of that
PLAYBACK_STATE = 66  # 0: waiting for sound, 1: playing
PLAYBACK_FADED_IN = 67  # frames of the current fade-in done
DEVICE_XRUNS = 68  # what the host API itself flagged
ENGINE_ALIVE_NS = 72  # the engine's heartbeat
ENGINE_STATE = 73  # 0: not there, 1: warming up, 2: running
ENGINE_STOP = 74  # the control process asks the engine to end
SCRATCH_CAPTURE = 80  # eight words each for what C calls return: the clock's timespec (two), libpulse's data and length
SCRATCH_PLAYBACK = 88
LAST_SAMPLE = 96  # float32 bits of the last frame played
TAIL = 97  # float32 bits of what an end without warning left to sink
ENGINE_GUARD = 104  # eight words; GUARD_ENDED in the first: the engine has ended (see rtvc/engine/guard.py)
MIX_DOWN = 128  # float32[MIX_DOWN_FRAMES], room to make one channel of several
MIX_DOWN_FRAMES = 128
FIELDS = 256
GUARD_ENDED = 1 << 30

LINK_INT64 = FIELDS + CAPACITY  # two rings of CAPACITY float32 are CAPACITY int64 words
LINK_BYTES = LINK_INT64 * 8


def link_memory() -> NDArray[np.int64]:
    """Return a private zeroed link (int64[LINK_INT64]) for use inside one process."""
    return np.zeros(LINK_INT64, np.int64)


def rates_hz(link: NDArray[np.int64]) -> tuple[int, int]:
    """Return the rates of the capture and the playback device."""
    return int(link[CAPTURE_RATE_HZ]), int(link[PLAYBACK_RATE_HZ])


def forget_sound(link: NDArray[np.int64]) -> None:
    """Empty the playback ring and both clocks of a link that nobody else is at: what waited there is too old."""
    counters = link[PLAYBACK_RING : PLAYBACK_RING + 16]
    ring_skip(counters, ring_fill(counters))
    link[PLAYBACK_STATE] = 0
    link[CAPTURE : CAPTURE + 16] = 0


@njit(cache=True, nogil=True)
def capture_data(link: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the capture ring's samples, float32[CAPACITY], as a view."""
    return link[FIELDS : FIELDS + CAPACITY // 2].view(np.float32)


@njit(cache=True, nogil=True)
def playback_data(link: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the playback ring's samples, float32[CAPACITY], as a view."""
    return link[FIELDS + CAPACITY // 2 : FIELDS + CAPACITY].view(np.float32)


@njit(cache=True, nogil=True)
def publish_clock(link: NDArray[np.int64], side: int, frames: int, now_ns: int) -> None:
    """Publish that `side` (CAPTURE or PLAYBACK) moved `frames` more frames at now_ns. Device side only."""
    seq = link[side + CLOCK_SEQ]
    late = now_ns - link[side + CLOCK_TIME_NS]
    store_release(link, side + CLOCK_SEQ, seq + 1)
    fence_release()
    link[side + CLOCK_FRAMES] += frames
    link[side + CLOCK_TIME_NS] = now_ns
    link[side + CLOCK_BLOCK_MAX] = max(link[side + CLOCK_BLOCK_MAX], frames)
    if link[side + CLOCK_CALLBACKS] > 0:
        link[side + CLOCK_LATE_MAX_NS] = max(link[side + CLOCK_LATE_MAX_NS], late)
    link[side + CLOCK_CALLBACKS] += 1
    store_release(link, side + CLOCK_SEQ, seq + 2)


@njit(cache=True, nogil=True)
def try_read_clock(link: NDArray[np.int64], side: int) -> tuple[int, int, int]:
    """Return (frames, time_ns, callbacks) of `side`; callbacks is -1 if it was being written. Never waits."""
    seq = load_acquire(link, side + CLOCK_SEQ)
    frames = link[side + CLOCK_FRAMES]
    time_ns = link[side + CLOCK_TIME_NS]
    callbacks = link[side + CLOCK_CALLBACKS]
    fence_acquire()
    if seq & 1 or load_acquire(link, side + CLOCK_SEQ) != seq:
        callbacks = -1
    return frames, time_ns, callbacks


@njit(cache=True, nogil=True)
def read_clock(link: NDArray[np.int64], side: int) -> tuple[int, int, int]:
    """Return (frames, time_ns, callbacks) of `side` as one consistent set; waits while it is being written."""
    while True:
        frames, time_ns, callbacks = try_read_clock(link, side)
        if callbacks >= 0:
            return frames, time_ns, callbacks


@njit(cache=True, nogil=True)
def link_capture(link: NDArray[np.int64], x: NDArray[np.float32], frames: int, now_ns: int) -> None:
    """Take `frames` interleaved frames from a device (x: float32[frames*channels], left as it is) as mono."""
    channels = link[CAPTURE_CHANNELS]
    counters = link[CAPTURE_RING : CAPTURE_RING + 16]
    if channels == 1:
        taken = ring_push(counters, capture_data(link), x[:frames])
    else:
        taken = 0
        mono = link[MIX_DOWN : MIX_DOWN + MIX_DOWN_FRAMES // 2].view(np.float32)
        scale = np.float32(1.0 / channels)
        for start in range(0, frames, MIX_DOWN_FRAMES):
            n = min(MIX_DOWN_FRAMES, frames - start)
            for i in range(n):
                total = np.float32(0.0)
                for c in range(channels):
                    total += x[(start + i) * channels + c]
                mono[i] = total * scale
            taken += ring_push(counters, capture_data(link), mono[:n])
    link[CAPTURE_LOST] += frames - taken
    publish_clock(link, CAPTURE, frames, now_ns)


@njit(cache=True, nogil=True)
def link_playback(link: NDArray[np.int64], y: NDArray[np.float32], frames: int, now_ns: int) -> None:
    """Give a device `frames` interleaved frames (y: float32[frames*channels]): the engine's sound, or a fade."""
    channels = link[PLAYBACK_CHANNELS]
    counters = link[PLAYBACK_RING : PLAYBACK_RING + 16]
    last = link[LAST_SAMPLE : LAST_SAMPLE + 1].view(np.float32)
    tail = link[TAIL : TAIL + 1].view(np.float32)
    value = tail[0]
    waiting = ring_fill(counters)
    since_ns = now_ns - link[PLAYBACK + CLOCK_TIME_NS] if link[PLAYBACK + CLOCK_CALLBACKS] > 0 else 0
    stale = since_ns > STALE_NS + frames * 1_000_000_000 // max(1, link[PLAYBACK_RATE_HZ])
    if stale or load_acquire(link, ENGINE_GUARD) & GUARD_ENDED:
        ring_skip(counters, waiting)
        waiting = 0
    if link[PLAYBACK_STATE] == 0 and waiting >= frames + link[PLAYBACK_PRIME]:
        link[PLAYBACK_STATE] = 1
        link[PLAYBACK_FADED_IN] = 0
        surplus = waiting - frames - link[PLAYBACK_PRIME]
        if surplus < frames:
            ring_skip(counters, surplus)  # start at the level asked for, not a block deeper
    got = 0
    if link[PLAYBACK_STATE] == 1:
        got = ring_pop(counters, playback_data(link), y[:frames])
        faded = link[PLAYBACK_FADED_IN]
        if faded < FADE_FRAMES:
            rising = min(got, FADE_FRAMES - faded)
            for i in range(rising):
                y[i] *= np.float32((faded + i) / FADE_FRAMES)
            link[PLAYBACK_FADED_IN] = faded + rising
        if value != 0.0:
            for i in range(got):
                value *= np.float32(0.95)
                y[i] += value
        if got < frames:
            # the sound ended without warning: let its last value sink to zero instead of stepping there
            value = y[got - 1] if got > 0 else last[0]
            link[PLAYBACK_XRUNS] += 1
            link[PLAYBACK_STATE] = 0
    link[PLAYBACK_MISSING] += frames - got
    for i in range(got, frames):
        value *= np.float32(0.95)
        y[i] = value
    if frames > 0:
        last[0] = y[frames - 1]
    tail[0] = value if abs(value) > 1e-6 else np.float32(0.0)
    if channels > 1:
        for i in range(frames - 1, -1, -1):
            for c in range(channels):
                y[i * channels + c] = y[i]
    publish_clock(link, PLAYBACK, frames, now_ns)
