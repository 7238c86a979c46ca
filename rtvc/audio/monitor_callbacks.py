"""The monitor's way from a record stream to a playback stream, compiled by Numba: on libpulse's thread, without a ring.

Each piece that is recorded is written on at once. The two devices' clocks differ, so a piece of n frames becomes n, or
now and then n - 1 or n + 1, by linear interpolation: the queue in the server is kept at TARGET by a critically damped
loop of second order (smoothing over SMOOTH_S, correction within CORRECT_S, at most 1/16 of the speed); while it
corrects, what lies above 5 kHz is a little softer. A queue that got too deep (the machine stalled) is cut back to
TARGET; one that ran dry is filled up to TARGET with silence, and TARGET grows. Steps are hidden: a fade-in, over what
was last heard sinking to zero.

Import this only after `pulse_server.libpulse()`: the symbols are looked up by name in the running process.
Source: pulse/stream.h (pa_stream_writable_size counts from tlength down, and with prebuf = 0 beyond it when dry).
"""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, njit, types
from numpy.typing import NDArray

from .c_pointer import pointer

# int64 fields, float64 in those marked f
PLAY = 0  # the playback stream's pointer
RATE_HZ = 1
TLENGTH = 2  # frames, as the server granted it
TARGET = 3  # frames that shall wait in the server
TARGET_MAX = 4
GROWTH = 5  # frames by which TARGET grows when the queue ran dry
DEEP = 6  # frames above TARGET from which the queue is cut
CUTTING = 7
XRUNS = 8  # times the queue ran dry
GAIN = 9  # f, linear, wanted
GAIN_NOW = 10  # f, at the end of the last piece
QUEUED = 11  # f, smoothed frames in the server
CARRY = 12  # f, frames of correction not yet made
LAST_IN = 13  # f, last sample recorded
LAST_OUT = 14  # f, last sample written
TAIL = 15  # f, what sinks to zero under a fade-in
SCRATCH = 16  # two pairs of data and length
STARTED = 20
MONITOR_INT64 = 24

SMOOTH_S = 0.5
CORRECT_S = 2.0
_SINK = 0.95  # a sample
_FRAME_BYTES = 4
_SEEK_RELATIVE = 0

_P = types.voidptr
_peek = types.ExternalFunction("pa_stream_peek", types.int32(_P, _P, _P))
_drop = types.ExternalFunction("pa_stream_drop", types.int32(_P))
_writable_size = types.ExternalFunction("pa_stream_writable_size", types.int64(_P))  # size_t; -1 is an error
_begin_write = types.ExternalFunction("pa_stream_begin_write", types.int32(_P, _P, _P))
_write = types.ExternalFunction(
    "pa_stream_write", types.int32(_P, _P, types.uint64, types.int64, types.int64, types.int32)
)


@njit(cache=True, nogil=True)
def frames_out(state: NDArray[np.int64], frames: int, queued: int) -> tuple[int, int]:
    """Plan what is written for `frames` recorded ones while `queued` wait in the server: (silence, sound) in frames.

    No sound is a cut; silence comes before the sound.
    """
    real = state.view(np.float64)
    if queued > state[TARGET] + state[DEEP]:
        state[CUTTING] = 1
    if state[CUTTING] and queued > state[TARGET]:
        return 0, 0
    silence = 0
    if state[CUTTING]:
        state[CUTTING] = 0
        real[TAIL] = real[LAST_OUT]
        real[QUEUED], real[CARRY], real[GAIN_NOW] = queued, 0.0, 0.0
    elif queued < frames // 2:
        if state[STARTED]:
            state[XRUNS] += 1
            state[TARGET] = min(state[TARGET] + state[GROWTH], state[TARGET_MAX])
        state[STARTED] = 1
        silence = state[TARGET] - queued
        real[QUEUED], real[CARRY], real[GAIN_NOW] = state[TARGET], 0.0, 0.0
    else:
        real[QUEUED] += (queued - real[QUEUED]) * min(1.0, frames / (SMOOTH_S * state[RATE_HZ]))
    excess = (real[QUEUED] - state[TARGET]) * frames / (CORRECT_S * state[RATE_HZ])
    wanted = frames - min(max(excess, -frames / 16), frames / 16) + real[CARRY]
    n = max(1, round(wanted))
    real[CARRY] = wanted - n
    return silence, n


@njit(cache=True, nogil=True)
def pass_on(state: NDArray[np.int64], x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Make y (float32[m]) of what was recorded (x, float32[n]): stretched to m frames, at the level asked for."""
    real = state.view(np.float64)
    n, m = x.shape[0], y.shape[0]
    before, tail = real[LAST_IN], real[TAIL]
    gain, gain_step = real[GAIN_NOW], (real[GAIN] - real[GAIN_NOW]) / m
    for i in range(m):
        if m == n:
            sample = np.float64(x[i])
        else:
            place = (i + 1) * n / m - 1.0
            left = int(np.floor(place))
            a = np.float64(x[left]) if left >= 0 else before
            b = np.float64(x[left + 1]) if left + 1 < n else a
            sample = a + (b - a) * (place - left)
        gain += gain_step
        y[i] = np.float32(min(max(gain * sample + tail, -1.0), 1.0))
        tail *= _SINK
    real[GAIN_NOW] = real[GAIN]
    real[LAST_IN], real[LAST_OUT] = x[n - 1], y[m - 1]
    real[TAIL] = tail if abs(tail) > 1e-6 else 0.0


@njit(nogil=True)
def _room_for(state, frames):  # type: ignore[no-untyped-def]
    """Get the server's memory for up to so many frames, its address in scratch[2]; return how many fit, 0 if none."""
    scratch = state[SCRATCH : SCRATCH + 4]
    scratch[3] = frames * _FRAME_BYTES
    if _begin_write(pointer(state[PLAY]), scratch[2:].ctypes, scratch[3:].ctypes) < 0:
        return np.int64(0)
    return min(frames, scratch[3] // _FRAME_BYTES)


@cfunc(types.void(types.voidptr, types.uint64, types.voidptr), cache=True)
def monitor_capture(stream, nbytes, userdata):  # type: ignore[no-untyped-def]
    """pa_stream_request_cb_t of the record stream: take all that is there and write it on."""
    state = carray(userdata, (MONITOR_INT64,), np.int64)
    scratch = state[SCRATCH : SCRATCH + 4]
    play = pointer(state[PLAY])
    while True:
        scratch[0] = scratch[1] = 0
        if _peek(stream, scratch[0:].ctypes, scratch[1:].ctypes) < 0 or scratch[1] == 0:
            return
        room = _writable_size(play)
        frames = scratch[1] // _FRAME_BYTES
        if scratch[0] != 0 and frames > 0 and room >= 0:
            silence, n = frames_out(state, frames, state[TLENGTH] - room // _FRAME_BYTES)
            while silence > 0:
                got = _room_for(state, silence)
                if got <= 0:
                    break
                carray(pointer(scratch[2]), (got,), np.float32)[:] = 0
                _write(play, pointer(scratch[2]), got * _FRAME_BYTES, 0, 0, _SEEK_RELATIVE)
                silence -= got
            got = _room_for(state, n) if n > 0 else 0
            if got > 0:
                x = carray(pointer(scratch[0]), (frames,), np.float32)
                pass_on(state, x, carray(pointer(scratch[2]), (got,), np.float32))
                _write(play, pointer(scratch[2]), got * _FRAME_BYTES, 0, 0, _SEEK_RELATIVE)
        _drop(stream)
