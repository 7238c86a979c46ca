"""The smallest engine: what comes in goes out, with no delay of its own. For measuring the devices around it.

As a program, `python -m tests.echo CAPTURE PLAYBACK SECONDS [RATE BLOCK PRIME]` runs it between two device ids. It says
"running", "lost WHY" when a device goes away, "running" again when it is back, and at last the link's counters as JSON.
No more than four blocks wait for playback, and before it starts only two: the delay is the same after every start.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.backend import DeviceError, Streams, open_streams
from rtvc.audio.link import capture_data, link_memory, playback_data
from rtvc.kernels.ring import ring_fill, ring_pop, ring_push, ring_skip


@njit(cache=True, nogil=True)
def echo(link: NDArray[np.int64], scratch: NDArray[np.float32], block_frames: int) -> int:
    """Move what waits in the capture ring to the playback ring; return how many frames."""
    captured = link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]
    played = link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16]
    blocks = 2 if link[fields.PLAYBACK_STATE] == 0 else 4  # a host may ask for more than a block at once
    room = blocks * block_frames + link[fields.PLAYBACK_PRIME] - ring_fill(played)
    ring_skip(captured, max(0, ring_fill(captured) - max(0, room)))
    n = ring_pop(captured, capture_data(link), scratch)
    return ring_push(played, playback_data(link), scratch[:n])


class Echo:
    """An echo engine in a thread; with FIFO priority where that is allowed. Use as a context."""

    def __init__(self, link: NDArray[np.int64], block_frames: int) -> None:
        self._arguments = (link, np.zeros(fields.CAPACITY, np.float32), block_frames)
        echo(link_memory(), *self._arguments[1:])  # compile before sound flows
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
        while not self._stop:
            if echo(*self._arguments) == 0:
                time.sleep(0.0005)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        self._thread.join()


def counters(link: NDArray[np.int64], streams: Streams) -> dict[str, object]:
    """Return what the link and the host say, ready for JSON."""
    return {
        "rates": [int(link[fields.CAPTURE_RATE_HZ]), int(link[fields.PLAYBACK_RATE_HZ])],
        "channels": [int(link[fields.CAPTURE_CHANNELS]), int(link[fields.PLAYBACK_CHANNELS])],
        "block_frames": streams.block_frames,
        "duplex": streams.duplex,
        "captured": int(link[fields.CAPTURE + fields.CLOCK_FRAMES]),
        "played": int(link[fields.PLAYBACK + fields.CLOCK_FRAMES]),
        "block_max": [int(link[s + fields.CLOCK_BLOCK_MAX]) for s in (fields.CAPTURE, fields.PLAYBACK)],
        "late_max_ms": [
            round(int(link[s + fields.CLOCK_LATE_MAX_NS]) * 1e-6, 1) for s in (fields.CAPTURE, fields.PLAYBACK)
        ],
        "lost": int(link[fields.CAPTURE_LOST]),
        "xruns": int(link[fields.PLAYBACK_XRUNS]),
        "missing": int(link[fields.PLAYBACK_MISSING]),
        "waiting": int(ring_fill(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16])),
        "device_xruns": int(link[fields.DEVICE_XRUNS]),
        "latency_ms": streams.latency_ms(),
        "failure": streams.failure(),
    }


def main(capture: str, playback: str, seconds: str, rate: str = "48000", block: str = "256", prime: str = "0") -> None:
    """Run the echo; look at the streams every 50 ms and open them again when they fail."""
    link = link_memory()
    link[fields.PLAYBACK_PRIME] = int(prime)
    streams = open_streams(link.ctypes.data, capture, playback, int(rate), int(block))
    with Echo(link, streams.block_frames):
        cpu_s = time.process_time()
        streams.start()
        print("running", flush=True)
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            time.sleep(0.05)
            if lost := streams.failure():
                print("lost", lost, flush=True)
                streams.close()
                streams = _reopen(link, capture, playback, int(rate), int(block))
                print("running", flush=True)
        result = counters(link, streams) | {"cpu": round((time.process_time() - cpu_s) / float(seconds), 3)}
    streams.close()
    print(json.dumps(result))


def _reopen(link: NDArray[np.int64], capture: str, playback: str, rate_hz: int, block_frames: int) -> Streams:
    while True:
        try:
            streams = open_streams(link.ctypes.data, capture, playback, rate_hz, block_frames)
        except DeviceError:
            time.sleep(0.1)
            continue
        streams.start()
        return streams


if __name__ == "__main__":
    main(*sys.argv[1:])
