"""A fake microphone and a listener for jackd: JACK clients `fake-mic` (plays a file) and `fake-call` (records).

As a program, `python -m tests.jack_mic IN.raw OUT.raw`: it says "ready", waits for a line on stdin, plays IN (float32)
once, writes what came meanwhile to OUT, says "done" and stays until stdin closes. Both clients count JACK's frame time,
so sample i of OUT was heard in the very cycle that played sample i of IN.
"""

from __future__ import annotations

import ctypes as C
import sys
import time
from pathlib import Path

import numpy as np
from numba import carray, cfunc, types

from rtvc.audio.c_pointer import pointer
from rtvc.audio.jack import JackClient, libjack

CLIENT, PORT, DATA, FRAMES, START, PLAYS = range(6)
TAIL = 9600
LIB = libjack("jack")
_get_buffer = types.ExternalFunction("jack_port_get_buffer", types.voidptr(types.voidptr, types.uint32))
_frame_time = types.ExternalFunction("jack_last_frame_time", types.uint32(types.voidptr))


@cfunc(types.int32(types.uint32, types.voidptr))
def process(nframes, userdata):  # type: ignore[no-untyped-def]
    context = carray(userdata, (8,), np.int64)
    data = carray(pointer(context[DATA]), (context[FRAMES],), np.float32)
    port = carray(_get_buffer(pointer(context[PORT]), nframes), (np.int64(nframes),), np.float32)
    at = np.int64(_frame_time(pointer(context[CLIENT]))) - context[START]
    for i in range(np.int64(nframes)):
        inside = context[START] > 0 and 0 <= at + i < context[FRAMES]
        if context[PLAYS]:
            port[i] = data[at + i] if inside else np.float32(0.0)
        elif inside:
            data[at + i] = port[i]
    return 0


def _join(name: str, port: bytes, data: np.ndarray, *, plays: bool) -> tuple[JackClient, np.ndarray]:
    client = JackClient("jack", name)
    handle = LIB.jack_port_register(client.handle, port, b"32 bit float mono audio", 2 if plays else 1, 0)
    context = np.array([client.handle.value, handle, data.ctypes.data, len(data), 0, plays, 0, 0], np.int64)
    LIB.jack_set_process_callback(client.handle, C.c_void_p(process.address), C.c_void_p(context.ctypes.data))
    LIB.jack_activate(client.handle)
    return client, context


def main(source: str, heard: str) -> None:
    x = np.concatenate([np.fromfile(source, np.float32), np.zeros(TAIL, np.float32)])
    y = np.zeros_like(x)
    mic, mic_context = _join("fake-mic", b"capture", x, plays=True)
    call, call_context = _join("fake-call", b"playback", y, plays=False)
    print("ready", flush=True)
    while sys.stdin.readline():
        LIB.jack_frame_time.restype = C.c_uint32
        mic_context[START] = call_context[START] = LIB.jack_frame_time(mic.handle) + 4800
        time.sleep(len(x) / mic.rate_hz() + 0.3)
        y.tofile(Path(heard))
        print("done", flush=True)
    mic.close()
    call.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
