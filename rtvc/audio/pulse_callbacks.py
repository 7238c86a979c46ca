"""libpulse's stream callbacks, compiled by Numba: they never take the GIL and never wait.

They run on libpulse's own mainloop thread. `userdata` is the address of a link. Streams are mono float32: the
server mixes channels, because the memory that pa_stream_peek shows is mapped read-only. Playback answers each
request in full, straight into libpulse's memory. So after a stall the part of the answer that is too
late falls away by itself (prebuf = 0 keeps the server's read index running), the queue is as deep as before, and
the link's playback clock stays the server's.

Import this only after `pulse_server.libpulse()`: the symbols are looked up by name in the running process.
Source: pulse/stream.h, "pa_stream_request_cb_t", "pa_stream_begin_write".
"""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, types

from rtvc.kernels.clock import now_ns

from .c_pointer import pointer
from .link import (
    CAPTURE,
    CAPTURE_LOST,
    DEVICE_XRUNS,
    LINK_INT64,
    SCRATCH_CAPTURE,
    SCRATCH_PLAYBACK,
    link_capture,
    link_playback,
    publish_clock,
)

_P = types.voidptr
_peek = types.ExternalFunction("pa_stream_peek", types.int32(_P, _P, _P))
_drop = types.ExternalFunction("pa_stream_drop", types.int32(_P))
_begin_write = types.ExternalFunction("pa_stream_begin_write", types.int32(_P, _P, _P))
_write = types.ExternalFunction(
    "pa_stream_write", types.int32(_P, _P, types.uint64, types.int64, types.int64, types.int32)
)
_SEEK_RELATIVE = 0
_FRAME_BYTES = 4

_REQUEST = types.void(types.voidptr, types.uint64, types.voidptr)
_NOTIFY = types.void(types.voidptr, types.voidptr)


@cfunc(_REQUEST, cache=True)
def pulse_capture(stream, nbytes, userdata):  # type: ignore[no-untyped-def]
    """pa_stream_request_cb_t of a record stream: take all that is there."""
    link = carray(userdata, (LINK_INT64,), np.int64)
    scratch = link[SCRATCH_CAPTURE : SCRATCH_CAPTURE + 4]  # two words for the clock, then data and length
    while True:
        scratch[2] = scratch[3] = 0
        if _peek(stream, scratch[2:].ctypes, scratch[3:].ctypes) < 0 or scratch[3] == 0:
            return
        frames = scratch[3] // _FRAME_BYTES
        now = now_ns(scratch)
        if scratch[2] == 0:  # a hole: the server threw these frames away
            link[CAPTURE_LOST] += frames
            publish_clock(link, CAPTURE, frames, now)
        else:
            link_capture(link, carray(pointer(scratch[2]), (frames,), np.float32), frames, now)
        _drop(stream)


@cfunc(_REQUEST, cache=True)
def pulse_playback(stream, nbytes, userdata):  # type: ignore[no-untyped-def]
    """pa_stream_request_cb_t of a playback stream: give all that is asked for."""
    link = carray(userdata, (LINK_INT64,), np.int64)
    scratch = link[SCRATCH_PLAYBACK : SCRATCH_PLAYBACK + 4]
    wanted = np.int64(nbytes)
    while wanted >= _FRAME_BYTES:
        scratch[3] = wanted
        if _begin_write(stream, scratch[2:].ctypes, scratch[3:].ctypes) < 0:
            return
        frames = min(wanted, scratch[3]) // _FRAME_BYTES
        data = pointer(scratch[2])
        link_playback(link, carray(data, (frames,), np.float32), frames, now_ns(scratch))
        if _write(stream, data, frames * _FRAME_BYTES, 0, 0, _SEEK_RELATIVE) < 0:
            return
        wanted -= frames * _FRAME_BYTES


@cfunc(_NOTIFY, cache=True)
def pulse_xrun(stream, userdata):  # type: ignore[no-untyped-def]
    """pa_stream_notify_cb_t for underflow and overflow."""
    link = carray(userdata, (LINK_INT64,), np.int64)
    link[DEVICE_XRUNS] += 1
