"""A listener in PipeWire's graph: what microphones gave in each cycle, and when it began.

It is a JACK client in a process of its own, so it hears the very blocks that every other program gets.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.latency import RATE_HZ
from tests import rig

BLOCK_FRAMES = 256


@contextlib.contextmanager
def listening(
    server: rig.Server, cycles: int, *names: str
) -> Iterator[Callable[[], tuple[NDArray[np.float64], NDArray[np.float32]]]]:
    """Listen to the sources of these names for at most so many cycles.

    What is yielded ends it and returns what was heard: when each cycle began, in s by time.monotonic() (float64[n]),
    and its sound (float32[n, len(names), BLOCK_FRAMES]).
    """
    with server.python("-m", "bench.graph_listener", str(cycles), str(server.folder), *names) as process:
        assert process.stdout is not None
        lines = process.stdout
        if lines.readline() != "listening\n":
            raise RuntimeError((server.folder / "python.log").read_text()[-2000:])

        def heard() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
            print(file=process.stdin, flush=True)
            lines.readline()
            return 1e-6 * np.load(server.folder / "begin_us.npy"), np.load(server.folder / "sound.npy")

        yield heard


def listen(cycles: int, folder: Path, names: list[str]) -> None:
    """Keep what the sources give; at a line on stdin, write it into the folder."""
    os.environ["PIPEWIRE_QUANTUM"] = f"{BLOCK_FRAMES}/{RATE_HZ}"
    from numba import carray, cfunc, types

    from rtvc.audio.c_pointer import pointer
    from rtvc.audio.jack import JackClient, libjack

    lib, sides = libjack("pipewire"), len(names)
    void_p = types.voidptr
    get_buffer = types.ExternalFunction("jack_port_get_buffer", void_p(void_p, types.uint32))
    get_times = types.ExternalFunction("jack_get_cycle_times", types.int32(void_p, void_p, void_p, void_p, void_p))

    @cfunc(types.int32(types.uint32, void_p))
    def cycle(frames, userdata):  # type: ignore[no-untyped-def]
        context = carray(userdata, (8 + sides,), np.int64)  # client, times, sound, cycles so far, scratch, ports
        if frames != BLOCK_FRAMES or context[3] == cycles:
            return 0
        begin_us = carray(pointer(context[1]), (cycles,), np.int64)
        sound = carray(pointer(context[2]), (cycles, sides, BLOCK_FRAMES), np.float32)
        scratch = context[4:]
        get_times(pointer(context[0]), scratch[0:].ctypes, scratch[1:].ctypes, scratch[2:].ctypes, scratch[3:].ctypes)
        begin_us[context[3]] = scratch[1]
        for side in range(sides):
            x = carray(get_buffer(pointer(context[8 + side]), frames), (BLOCK_FRAMES,), np.float32)
            for i in range(BLOCK_FRAMES):
                sound[context[3], side, i] = x[i]
        context[3] += 1
        return 0

    begin_us, sound = np.zeros(cycles, np.int64), np.zeros((cycles, sides, BLOCK_FRAMES), np.float32)
    with JackClient("pipewire") as client:
        ports = [
            lib.jack_port_register(client.handle, name.encode(), b"32 bit float mono audio", 1, 0) for name in names
        ]
        context = np.zeros(8 + sides, np.int64)
        context[:3] = client.handle.value, begin_us.ctypes.data, sound.ctypes.data
        context[8:] = ports
        address = ctypes.c_void_p(context.ctypes.data)
        lib.jack_set_process_callback(client.handle, ctypes.c_void_p(cycle.address), address)
        lib.jack_activate(client.handle)
        for name in names:
            client.connect(client.device_ports(name, output=True)[0], f"{client.name}:{name}")
        print("listening", flush=True)
        sys.stdin.readline()
        heard = int(context[3])
        np.save(folder / "begin_us.npy", begin_us[:heard])
        np.save(folder / "sound.npy", sound[:heard])
        print("written", flush=True)


if __name__ == "__main__":
    listen(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
