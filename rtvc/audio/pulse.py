"""PulseAudio by its native asynchronous protocol, on libpulse's own thread.

Both streams ask the server for small pieces. Capture comes a block at a time. Playback is asked for in half blocks,
with one and a half queued in the server and no prebuffering (`pulse_callbacks` says what that gives after a stall).
The server mixes channels but never resamples: each stream runs at its device's own rate. PA_STREAM_DONT_MOVE ends a
stream whose device goes away, so a lost microphone is never quietly replaced by another one.
Source: pulse/def.h and pulse/stream.h (pa_buffer_attr, PA_STREAM_EARLY_REQUESTS, PA_STREAM_ADJUST_LATENCY).
"""

from __future__ import annotations

import ctypes as C
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .backend import DeviceError, Lost, ServerError, StallWatch, link_at
from .link import (
    CAPTURE,
    CAPTURE_CHANNELS,
    CAPTURE_RATE_HZ,
    PLAYBACK,
    PLAYBACK_CHANNELS,
    PLAYBACK_RATE_HZ,
    read_clock,
)
from .pulse_server import PulseDevice, PulseServer, SampleSpec, libpulse, pulse_error

_STREAM_CREATING, _STREAM_READY = (1,), 2
_CONTEXT_CREATING, _CONTEXT_READY = (1, 2, 3), 4
_FLOAT32LE = 5
_START_CORKED, _INTERPOLATE_TIMING, _AUTO_TIMING_UPDATE, _DONT_MOVE = 1, 2, 8, 0x200
_ADJUST_LATENCY, _EARLY_REQUESTS = 0x2000, 0x4000
_FLAGS = _START_CORKED | _INTERPOLATE_TIMING | _AUTO_TIMING_UPDATE | _DONT_MOVE
_UNSET = 0xFFFFFFFF
_NO_AUTOSPAWN = 1
_TIMEOUT_S = 5.0
_FIFO_PRIORITY = 10


class _BufferAttr(C.Structure):
    _fields_ = tuple((name, C.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


class _Stream(NamedTuple):
    handle: C.c_void_p
    name: str
    callback: C.c_void_p
    set_callback: Callable[..., None]


class PulseStreams:
    """`backend.Streams` on a PulseAudio server; device names are the server's source and sink names."""

    duplex = False  # a sound card and a null sink have two clocks, and the server does not tell

    def __init__(self, link_address: int, source: str, sink: str, rate_hz: int, block_frames: int) -> None:
        with PulseServer() as server:
            capture = _find(server.sources(), "source", source)
            playback = _find(server.sinks(), "sink", sink)
        from .pulse_callbacks import pulse_capture, pulse_playback, pulse_xrun  # links to libpulse: only now

        self._lib = libpulse()
        self._link_address = C.c_void_p(link_address)
        self._link = link_at(link_address)
        self._link[CAPTURE_CHANNELS] = self._link[PLAYBACK_CHANNELS] = 1
        self._link[CAPTURE_RATE_HZ] = capture.rate_hz
        self._link[PLAYBACK_RATE_HZ] = playback.rate_hz
        # the server counts in microseconds: blocks of whole half milliseconds come in even pieces
        self._block_s = max(1, 2000 * block_frames // rate_hz) / 2000
        self._watch: StallWatch | None = None
        self._streams: list[_Stream] = []
        self._context = C.c_void_p()
        self._xrun = C.c_void_p(pulse_xrun.address)
        self._loop = C.c_void_p(self._lib.pa_threaded_mainloop_new())
        with _fifo_if_allowed():
            self._lib.pa_threaded_mainloop_start(self._loop)
        try:
            self._connect()
            half_frames = max(1, round(self._block_s * playback.rate_hz / 2))
            self.block_frames = 2 * half_frames
            fragment = 4 * round(self._block_s * capture.rate_hz)
            record = C.c_void_p(pulse_capture.address), self._lib.pa_stream_set_read_callback
            self._open("source", capture, _BufferAttr(_UNSET, _UNSET, _UNSET, _UNSET, fragment), *record)
            play = C.c_void_p(pulse_playback.address), self._lib.pa_stream_set_write_callback
            self._open("sink", playback, _BufferAttr(_UNSET, 12 * half_frames, 0, 4 * half_frames, _UNSET), *play)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        with self._locked():
            api = C.c_void_p(self._lib.pa_threaded_mainloop_get_api(self._loop))
            self._context = C.c_void_p(self._lib.pa_context_new(api, b"rtvc"))
            self._lib.pa_context_connect(self._context, None, _NO_AUTOSPAWN, None)
        state = self._after(_CONTEXT_CREATING, lambda: self._lib.pa_context_get_state(self._context))
        if state != _CONTEXT_READY:
            raise ServerError(f"no PulseAudio server: {pulse_error(self._context)}")

    def _open(
        self,
        kind: str,
        device: PulseDevice,
        attr: _BufferAttr,
        callback: C.c_void_p,
        set_callback: Callable[..., None],
    ) -> None:
        spec = SampleSpec(_FLOAT32LE, device.rate_hz, 1)
        name = device.name.encode()
        with self._locked():
            handle = C.c_void_p(self._lib.pa_stream_new(self._context, b"voice", C.byref(spec), None))
            self._streams.append(_Stream(handle, f"{kind} {device.name}", callback, set_callback))
            self._lib.pa_stream_set_underflow_callback(handle, self._xrun, self._link_address)
            self._lib.pa_stream_set_overflow_callback(handle, self._xrun, self._link_address)
            if kind == "source":
                flags = _FLAGS | _ADJUST_LATENCY
                self._lib.pa_stream_connect_record(handle, name, C.byref(attr), flags)
            else:
                flags = _FLAGS | _EARLY_REQUESTS
                self._lib.pa_stream_connect_playback(handle, name, C.byref(attr), flags, None, None)
        state = self._after(_STREAM_CREATING, lambda: self._lib.pa_stream_get_state(handle))
        if state != _STREAM_READY:
            raise DeviceError(f"PulseAudio cannot open {kind} {device.name}: {pulse_error(self._context)}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lib.pa_threaded_mainloop_lock(self._loop)
        try:
            yield
        finally:
            self._lib.pa_threaded_mainloop_unlock(self._loop)

    def _after(self, creating: tuple[int, ...], ask_state: Callable[[], int]) -> int:
        """Return the first state that is none of `creating`. Polled: no Python callback on libpulse's thread."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            with self._locked():
                state = ask_state()
            if state not in creating:
                return state
            if time.monotonic() > deadline:
                raise ServerError(f"the PulseAudio server did not answer within {_TIMEOUT_S:.0f} s")
            time.sleep(0.002)

    def start(self) -> None:
        """Let both streams run."""
        with self._locked():
            for stream in self._streams:
                stream.set_callback(stream.handle, stream.callback, self._link_address)
                self._cork(stream, 0)
        self._watch = StallWatch(self._link, self._block_s)

    def stop(self) -> None:
        """Halt both streams."""
        self._watch = None
        with self._locked():
            for stream in self._streams:
                stream.set_callback(stream.handle, None, None)
                self._cork(stream, 1)

    def _cork(self, stream: _Stream, corked: int) -> None:
        operation = self._lib.pa_stream_cork(stream.handle, corked, None, None)
        if not operation:
            raise DeviceError(f"{stream.name} is gone: {pulse_error(self._context)}")
        self._lib.pa_operation_unref(C.c_void_p(operation))

    def close(self) -> None:
        """Give the devices back."""
        if not self._loop:
            return
        with self._locked():
            for stream in self._streams:
                stream.set_callback(stream.handle, None, None)
                self._lib.pa_stream_disconnect(stream.handle)
                self._lib.pa_stream_unref(stream.handle)
            if self._context:
                self._lib.pa_context_disconnect(self._context)
                self._lib.pa_context_unref(self._context)
        self._lib.pa_threaded_mainloop_stop(self._loop)
        self._lib.pa_threaded_mainloop_free(self._loop)
        self._loop = self._context = C.c_void_p()
        self._streams = []

    def failure(self) -> Lost | None:
        """Return None while both streams run, else what was lost."""
        ended = silent = ""
        with self._locked():
            if self._lib.pa_context_get_state(self._context) != _CONTEXT_READY:
                return Lost("server_lost", "the PulseAudio server went away")
            for stream in self._streams:
                if self._lib.pa_stream_get_state(stream.handle) != _STREAM_READY:
                    ended = stream.name
                elif self._lib.pa_stream_is_suspended(stream.handle) > 0:
                    silent = stream.name
        if ended:
            if _is_there(*ended.split(" ", 1)):
                return Lost("device_taken", f"{ended} was taken from us: another program ended our stream")
            return Lost("device_lost", f"{ended} went away")
        stalled = self._watch.stalled() if self._watch else None
        if stalled and silent:
            return Lost("device_taken", f"{silent} was taken from us: the server has suspended it for another program")
        return stalled

    def latency_ms(self) -> tuple[float, float] | None:
        """Return the server's latency of capture and playback, or None before it has measured them.

        What has come and gone since the last callbacks is the link's, so it is taken out here.
        """
        latency_us, negative = C.c_uint64(), C.c_int()
        found = []
        with self._locked():
            for stream in self._streams:
                where = (C.byref(latency_us), C.byref(negative))
                if self._lib.pa_stream_get_latency(stream.handle, *where) < 0:
                    return None
                found.append(-latency_us.value * 1e-3 if negative.value else latency_us.value * 1e-3)
        (_, captured_ns, captures), (_, played_ns, plays) = (
            read_clock(self._link, side) for side in (CAPTURE, PLAYBACK)
        )
        if not captures or not plays:
            return None
        now_ns = time.perf_counter_ns()
        return found[0] - (now_ns - captured_ns) * 1e-6, found[1] + (now_ns - played_ns) * 1e-6


def _find(devices: list[PulseDevice], kind: str, name: str) -> PulseDevice:
    for device in devices:
        if device.name == name:
            return device
    raise DeviceError(f"PulseAudio has no {kind} named {name}: is it plugged in?")


def _is_there(kind: str, name: str) -> bool:
    """Return whether the server still has a "source" or "sink" of that name."""
    try:
        with PulseServer() as server:
            return any(device.name == name for device in (server.sources() if kind == "source" else server.sinks()))
    except DeviceError:
        return False


@contextmanager
def _fifo_if_allowed() -> Iterator[None]:
    """Threads started inside inherit SCHED_FIFO where the user may have it; elsewhere nothing changes."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
