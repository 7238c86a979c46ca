"""JACK's callbacks, compiled by Numba: they never take the GIL and never wait.

`userdata` is the address of an int64[CONTEXT_WORDS] context: the link, the ports, and room to mix capture ports down.
Import this only after `jack.libjack()`: the symbols are looked up by name in the running process.
Source: jack/types.h (JackProcessCallback, JackXRunCallback, JackShutdownCallback), jack/jack.h.
"""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, types

from rtvc.kernels.clock import now_ns

from .c_pointer import pointer
from .link import DEVICE_XRUNS, LINK_INT64, SCRATCH_CAPTURE, link_capture, link_playback

LINK = 0  # address of the link
INPUTS = 1  # how many capture ports, 1 to 8
OUTPUT = 2  # the playback port
SHUTDOWN = 3  # 1: the server threw us out
INPUT = 8  # the capture ports
MIX = 16  # float32[MIX_FRAMES]
MIX_FRAMES = 16_384  # servers move 8,192 frames at most
CONTEXT_WORDS = MIX + MIX_FRAMES // 2

_get_buffer = types.ExternalFunction("jack_port_get_buffer", types.voidptr(types.voidptr, types.uint32))


@cfunc(types.int32(types.uint32, types.voidptr), cache=True)
def jack_process(nframes, userdata):  # type: ignore[no-untyped-def]
    """JackProcessCallback: capture the mean of all input ports, then play, on one clock."""
    context = carray(userdata, (CONTEXT_WORDS,), np.int64)
    link = carray(pointer(context[LINK]), (LINK_INT64,), np.int64)
    frames = np.int64(min(nframes, MIX_FRAMES))
    now = now_ns(link[SCRATCH_CAPTURE : SCRATCH_CAPTURE + 2])
    mix = context[MIX:].view(np.float32)
    inputs = int(context[INPUTS])
    scale = np.float32(1.0 / inputs)
    for k in range(inputs):
        x = carray(_get_buffer(pointer(context[INPUT + k]), nframes), (frames,), np.float32)
        for i in range(frames):
            mix[i] = (mix[i] if k > 0 else np.float32(0.0)) + x[i] * scale
    link_capture(link, mix, frames, now)
    y = carray(_get_buffer(pointer(context[OUTPUT]), nframes), (frames,), np.float32)
    link_playback(link, y, frames, now)
    return 0


@cfunc(types.int32(types.voidptr), cache=True)
def jack_xrun(userdata):  # type: ignore[no-untyped-def]
    """JackXRunCallback."""
    context = carray(userdata, (CONTEXT_WORDS,), np.int64)
    link = carray(pointer(context[LINK]), (LINK_INT64,), np.int64)
    link[DEVICE_XRUNS] += 1
    return 0


@cfunc(types.void(types.voidptr), cache=True)
def jack_shutdown(userdata):  # type: ignore[no-untyped-def]
    """JackShutdownCallback."""
    context = carray(userdata, (CONTEXT_WORDS,), np.int64)
    context[SHUTDOWN] = 1


@cfunc(types.void(types.voidptr), cache=True)
def jack_message(text):  # type: ignore[no-untyped-def]
    """Error and info function: say nothing; failures come back as return values."""
