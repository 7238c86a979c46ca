"""PulseAudio by its native asynchronous protocol, on libpulse's own thread.

Both streams ask the server for small pieces. Capture comes a block at a time. Playback is asked for in half blocks,
with one and a half queued in the server and no prebuffering (`pulse_callbacks` says what that gives after a stall).
The server mixes channels but never resamples: each stream runs at its device's own rate.
Source: pulse/def.h and pulse/stream.h (pa_buffer_attr, PA_STREAM_EARLY_REQUESTS, PA_STREAM_ADJUST_LATENCY).
"""

from __future__ import annotations

import ctypes as C
import time

from .backend import StallWatch, link_at
from .link import (
    CAPTURE,
    CAPTURE_CHANNELS,
    CAPTURE_RATE_HZ,
    PLAYBACK,
    PLAYBACK_CHANNELS,
    PLAYBACK_RATE_HZ,
    read_clock,
)
from .pulse_client import ADJUST_LATENCY, EARLY_REQUESTS, UNSET, BufferAttr, PulseClient, named
from .pulse_server import PulseServer, libpulse


class PulseStreams:
    """`backend.Streams` on a PulseAudio server; device names are the server's source and sink names."""

    duplex = False  # a sound card and a null sink have two clocks, and the server does not tell

    def __init__(self, link_address: int, source: str, sink: str, rate_hz: int, block_frames: int) -> None:
        with PulseServer() as server:
            capture = named(server.sources(), "source", source)
            playback = named(server.sinks(), "sink", sink)
        libpulse()
        from .pulse_callbacks import pulse_capture, pulse_playback, pulse_xrun  # links to libpulse: only now

        self._link_address = C.c_void_p(link_address)
        self._link = link_at(link_address)
        self._link[CAPTURE_CHANNELS] = self._link[PLAYBACK_CHANNELS] = 1
        self._link[CAPTURE_RATE_HZ] = capture.rate_hz
        self._link[PLAYBACK_RATE_HZ] = playback.rate_hz
        # the server counts in microseconds: blocks of whole half milliseconds come in even pieces
        self._block_s = max(1, 2000 * block_frames // rate_hz) / 2000
        self._watch: StallWatch | None = None
        self._client = PulseClient()
        try:
            half_frames = max(1, round(self._block_s * playback.rate_hz / 2))
            self.block_frames = 2 * half_frames
            record = BufferAttr(UNSET, UNSET, UNSET, UNSET, 4 * round(self._block_s * capture.rate_hz))
            play = BufferAttr(UNSET, 12 * half_frames, 0, 4 * half_frames, UNSET)
            xrun = C.c_void_p(pulse_xrun.address), self._link_address
            self._streams = [
                (
                    self._client.open("source", capture, capture.rate_hz, record, ADJUST_LATENCY, xrun),
                    C.c_void_p(pulse_capture.address),
                ),
                (
                    self._client.open("sink", playback, playback.rate_hz, play, EARLY_REQUESTS, xrun),
                    C.c_void_p(pulse_playback.address),
                ),
            ]
        except BaseException:
            self._client.close()
            raise

    def start(self) -> None:
        """Let both streams run."""
        for stream, callback in self._streams:
            self._client.run(stream, callback, self._link_address)
        self._watch = StallWatch(self._link, self._block_s)

    def stop(self) -> None:
        """Halt both streams."""
        self._watch = None
        for stream, _ in self._streams:
            self._client.halt(stream)

    def close(self) -> None:
        """Give the devices back."""
        self._client.close()

    def failure(self) -> str | None:
        """Return None while both streams run, else what was lost."""
        return self._client.failure() or (self._watch.stalled() if self._watch else None)

    def latency_ms(self) -> tuple[float, float] | None:
        """Return the server's latency of capture and playback, or None before it has measured them.

        What has come and gone since the last callbacks is the link's, so it is taken out here.
        """
        found = self._client.latencies_ms()
        (_, captured_ns, captures), (_, played_ns, plays) = (
            read_clock(self._link, side) for side in (CAPTURE, PLAYBACK)
        )
        if not found or not captures or not plays:
            return None
        now_ns = time.perf_counter_ns()
        return found[0] - (now_ns - captured_ns) * 1e-6, found[1] + (now_ns - played_ns) * 1e-6
