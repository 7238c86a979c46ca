"""C callbacks for audio libraries, compiled by Numba: they never take the GIL and never wait.

`userdata` is always the address of a link (see `rtvc.audio.link`). Signatures follow PortAudio's
PaStreamCallback (portaudio.h, v19) and libpulse's pa_stream_request_cb_t (pulse/stream.h).
"""

from __future__ import annotations

import sys

import numpy as np
from numba import carray, cfunc, types

from rtvc.kernels.clock import now_ns

from .link import (
    CAPTURE_CHANNELS,
    DEVICE_XRUNS,
    LINK_INT64,
    PLAYBACK_CHANNELS,
    SCRATCH_CAPTURE,
    SCRATCH_PLAYBACK,
    link_capture,
    link_playback,
)

_PA_XRUN_FLAGS = 1 | 2 | 4 | 8  # input underflow, input overflow, output underflow, output overflow
_ULONG = types.uint32 if sys.platform == "win32" else types.uint64  # C unsigned long
_PA_CALLBACK = types.int32(types.voidptr, types.voidptr, _ULONG, types.voidptr, _ULONG, types.voidptr)


@cfunc(_PA_CALLBACK, cache=True)
def portaudio_capture(input, output, frames, time_info, flags, userdata):  # type: ignore[no-untyped-def]
    """PaStreamCallback of an input-only stream."""
    link = carray(userdata, (LINK_INT64,), np.int64)
    n = np.int64(frames)
    if flags & _PA_XRUN_FLAGS:
        link[DEVICE_XRUNS] += 1
    now = now_ns(link[SCRATCH_CAPTURE : SCRATCH_CAPTURE + 2])
    link_capture(link, carray(input, (n * link[CAPTURE_CHANNELS],), np.float32), n, now)
    return 0


@cfunc(_PA_CALLBACK, cache=True)
def portaudio_playback(input, output, frames, time_info, flags, userdata):  # type: ignore[no-untyped-def]
    """PaStreamCallback of an output-only stream."""
    link = carray(userdata, (LINK_INT64,), np.int64)
    n = np.int64(frames)
    if flags & _PA_XRUN_FLAGS:
        link[DEVICE_XRUNS] += 1
    now = now_ns(link[SCRATCH_PLAYBACK : SCRATCH_PLAYBACK + 2])
    link_playback(link, carray(output, (n * link[PLAYBACK_CHANNELS],), np.float32), n, now)
    return 0


@cfunc(_PA_CALLBACK, cache=True)
def portaudio_duplex(input, output, frames, time_info, flags, userdata):  # type: ignore[no-untyped-def]
    """PaStreamCallback of a full-duplex stream: capture first, then playback, on one clock."""
    link = carray(userdata, (LINK_INT64,), np.int64)
    n = np.int64(frames)
    if flags & _PA_XRUN_FLAGS:
        link[DEVICE_XRUNS] += 1
    now = now_ns(link[SCRATCH_CAPTURE : SCRATCH_CAPTURE + 2])
    link_capture(link, carray(input, (n * link[CAPTURE_CHANNELS],), np.float32), n, now)
    link_playback(link, carray(output, (n * link[PLAYBACK_CHANNELS],), np.float32), n, now)
    return 0
