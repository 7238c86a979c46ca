"""A connection to a PulseAudio server with a thread of libpulse's own, and the streams on it.

Streams are mono float32 at the rate they are opened with; PA_STREAM_DONT_MOVE ends one whose device goes away, so it is
never quietly given another. Their callbacks are compiled: no Python runs on libpulse's thread. States are polled.
Source: pulse/def.h and pulse/stream.h.
"""

from __future__ import annotations

import ctypes as C
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from .backend import DeviceError
from .pulse_server import PulseDevice, SampleSpec, libpulse, pulse_error

EARLY_REQUESTS, ADJUST_LATENCY = 0x4000, 0x2000
UNSET = 0xFFFFFFFF
_STREAM_CREATING, _STREAM_READY = (1,), 2
_CONTEXT_CREATING, _CONTEXT_READY = (1, 2, 3), 4
_FLOAT32LE = 5
_START_CORKED, _INTERPOLATE_TIMING, _AUTO_TIMING_UPDATE, _DONT_MOVE = 1, 2, 8, 0x200
_FLAGS = _START_CORKED | _INTERPOLATE_TIMING | _AUTO_TIMING_UPDATE | _DONT_MOVE
_NO_AUTOSPAWN = 1
_TIMEOUT_S = 5.0
_FIFO_PRIORITY = 10


class BufferAttr(C.Structure):
    """pa_buffer_attr, in bytes; UNSET lets the server choose."""

    _fields_ = tuple((name, C.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


@dataclass(frozen=True)
class PulseStream:
    """One stream that is open, corked at first."""

    handle: C.c_void_p
    kind: Literal["source", "sink"]
    device: str

    @property
    def name(self) -> str:
        """What an error calls it."""
        return f"{self.kind} {self.device}"


class PulseClient:
    """Raises DeviceError where no server answers. The thread has SCHED_FIFO where the user may have it."""

    def __init__(self) -> None:
        self._lib = libpulse()
        self._streams: list[PulseStream] = []
        self._context = C.c_void_p()
        self._loop = C.c_void_p(self._lib.pa_threaded_mainloop_new())
        with _fifo_if_allowed():
            self._lib.pa_threaded_mainloop_start(self._loop)
        try:
            with self._locked():
                api = C.c_void_p(self._lib.pa_threaded_mainloop_get_api(self._loop))
                self._context = C.c_void_p(self._lib.pa_context_new(api, b"rtvc"))
                self._lib.pa_context_connect(self._context, None, _NO_AUTOSPAWN, None)
            state = self._after(_CONTEXT_CREATING, lambda: self._lib.pa_context_get_state(self._context))
            if state != _CONTEXT_READY:
                raise DeviceError(f"no PulseAudio server: {pulse_error(self._context)}")
        except BaseException:
            self.close()
            raise

    def open(
        self,
        kind: Literal["source", "sink"],
        device: PulseDevice,
        rate_hz: int,
        attr: BufferAttr,
        flags: int,
        xrun: tuple[C.c_void_p, C.c_void_p] | None = None,
        title: str = "voice",
    ) -> PulseStream:
        """Open a stream, corked; xrun is what is called at underflow and overflow, and its userdata.

        Raises DeviceError.
        """
        spec = SampleSpec(_FLOAT32LE, rate_hz, 1)
        name = device.name.encode()
        with self._locked():
            handle = C.c_void_p(self._lib.pa_stream_new(self._context, title.encode(), C.byref(spec), None))
            stream = PulseStream(handle, kind, device.name)
            self._streams.append(stream)
            if xrun:
                self._lib.pa_stream_set_underflow_callback(handle, *xrun)
                self._lib.pa_stream_set_overflow_callback(handle, *xrun)
            if kind == "source":
                self._lib.pa_stream_connect_record(handle, name, C.byref(attr), _FLAGS | flags)
            else:
                self._lib.pa_stream_connect_playback(handle, name, C.byref(attr), _FLAGS | flags, None, None)
        state = self._after(_STREAM_CREATING, lambda: self._lib.pa_stream_get_state(handle))
        if state != _STREAM_READY:
            raise DeviceError(f"PulseAudio cannot open {stream.name}: {pulse_error(self._context)}")
        return stream

    def tlength(self, stream: PulseStream) -> int:
        """Return the length of a playback stream's buffer in bytes, as the server granted it."""
        with self._locked():
            return int(BufferAttr.from_address(self._lib.pa_stream_get_buffer_attr(stream.handle)).tlength)

    def run(self, stream: PulseStream, callback: C.c_void_p | None, userdata: C.c_void_p | None) -> None:
        """Let a stream run, with what is called when data is there or wanted. Raises DeviceError if it is gone."""
        with self._locked():
            self._call_back(stream, callback, userdata)
            self._cork(stream, 0)

    def halt(self, stream: PulseStream) -> None:
        """Halt a stream; `run` may follow."""
        with self._locked():
            self._call_back(stream, None, None)
            self._cork(stream, 1)

    def _call_back(self, stream: PulseStream, callback: C.c_void_p | None, userdata: C.c_void_p | None) -> None:
        kind = "read" if stream.kind == "source" else "write"
        getattr(self._lib, f"pa_stream_set_{kind}_callback")(stream.handle, callback, userdata)

    def _cork(self, stream: PulseStream, corked: int) -> None:
        operation = self._lib.pa_stream_cork(stream.handle, corked, None, None)
        if not operation:
            raise DeviceError(f"{stream.name} is gone: {pulse_error(self._context)}")
        self._lib.pa_operation_unref(C.c_void_p(operation))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lib.pa_threaded_mainloop_lock(self._loop)
        try:
            yield
        finally:
            self._lib.pa_threaded_mainloop_unlock(self._loop)

    def _after(self, creating: tuple[int, ...], ask_state: Callable[[], int]) -> int:
        """Return the first state that is none of `creating`."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            with self._locked():
                state = ask_state()
            if state not in creating:
                return state
            if time.monotonic() > deadline:
                raise DeviceError(f"the PulseAudio server did not answer within {_TIMEOUT_S:.0f} s")
            time.sleep(0.002)

    def close(self) -> None:
        """End streams and connection. May be called twice."""
        if not self._loop:
            return
        with self._locked():
            for stream in self._streams:
                self._call_back(stream, None, None)
                self._lib.pa_stream_set_underflow_callback(stream.handle, None, None)
                self._lib.pa_stream_set_overflow_callback(stream.handle, None, None)
                self._lib.pa_stream_disconnect(stream.handle)
                self._lib.pa_stream_unref(stream.handle)
            if self._context:
                self._lib.pa_context_disconnect(self._context)
                self._lib.pa_context_unref(self._context)
        self._lib.pa_threaded_mainloop_stop(self._loop)
        self._lib.pa_threaded_mainloop_free(self._loop)
        self._loop = self._context = C.c_void_p()
        self._streams = []

    def failure(self) -> str | None:
        """Return None while all streams are there, else what was lost."""
        with self._locked():
            if self._lib.pa_context_get_state(self._context) != _CONTEXT_READY:
                return "the PulseAudio server went away"
            for stream in self._streams:
                if self._lib.pa_stream_get_state(stream.handle) != _STREAM_READY:
                    return f"{stream.name} went away"
        return None

    def latencies_ms(self) -> list[float] | None:
        """Return each stream's latency by the server, or None before it has measured all."""
        latency_us, negative = C.c_uint64(), C.c_int()
        found = []
        with self._locked():
            for stream in self._streams:
                where = (C.byref(latency_us), C.byref(negative))
                if self._lib.pa_stream_get_latency(stream.handle, *where) < 0:
                    return None
                found.append(-latency_us.value * 1e-3 if negative.value else latency_us.value * 1e-3)
        return found


def named(devices: list[PulseDevice], kind: str, name: str) -> PulseDevice:
    """Return the device of that name. Raises DeviceError."""
    for device in devices:
        if device.name == name:
            return device
    raise DeviceError(f"PulseAudio has no {kind} named {name}: is it plugged in?")


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
