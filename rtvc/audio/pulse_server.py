"""Questions and orders to a PulseAudio server (or PipeWire's pulse server), synchronous, by ctypes on libpulse.

For the control side only: devices, defaults, modules. Streams live in `pulse`. Each PulseServer is a connection
with a main loop of its own, turned by the calling thread. Structures follow pulse/introspect.h (libpulse 0.24;
only their leading members are declared, which the ABI has kept since 1.0).
"""

from __future__ import annotations

import ctypes as C
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from .backend import DeviceError, ServerError

_TIMEOUT_S = 5.0
_NOT_MONITOR = 0xFFFFFFFF
_CONTEXT_READY, _CONTEXT_FAILED, _CONTEXT_TERMINATED = 4, 5, 6
_NO_AUTOSPAWN = 1
_OPERATION_RUNNING, _OPERATION_CANCELLED = 0, 2


class SampleSpec(C.Structure):
    """pa_sample_spec."""

    _fields_ = (("format", C.c_int), ("rate", C.c_uint32), ("channels", C.c_uint8))


class _ChannelMap(C.Structure):
    _fields_ = (("channels", C.c_uint8), ("map", C.c_int * 32))


class _Volume(C.Structure):
    _fields_ = (("channels", C.c_uint8), ("values", C.c_uint32 * 32))


class _ServerInfo(C.Structure):
    _fields_ = (
        ("user_name", C.c_char_p),
        ("host_name", C.c_char_p),
        ("server_version", C.c_char_p),
        ("server_name", C.c_char_p),
        ("sample_spec", SampleSpec),
        ("default_sink_name", C.c_char_p),
        ("default_source_name", C.c_char_p),
    )


class _DeviceInfo(C.Structure):
    """pa_sink_info and pa_source_info begin alike; `monitor` is monitor_source or monitor_of_sink."""

    _fields_ = (
        ("name", C.c_char_p),
        ("index", C.c_uint32),
        ("description", C.c_char_p),
        ("sample_spec", SampleSpec),
        ("channel_map", _ChannelMap),
        ("owner_module", C.c_uint32),
        ("volume", _Volume),
        ("mute", C.c_int),
        ("monitor", C.c_uint32),
    )


class _ModuleInfo(C.Structure):
    _fields_ = (("index", C.c_uint32), ("name", C.c_char_p), ("argument", C.c_char_p))


_INFO = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_void_p)
_LIST = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int, C.c_void_p)
_INDEX = C.CFUNCTYPE(None, C.c_void_p, C.c_uint32, C.c_void_p)
_SUCCESS = C.CFUNCTYPE(None, C.c_void_p, C.c_int, C.c_void_p)

_library: C.CDLL | None = None


def libpulse() -> C.CDLL:
    """Return libpulse, its symbols global so that compiled callbacks find them; DeviceError where it is missing."""
    global _library  # noqa: PLW0603  (a library is loaded once)
    if _library is None:
        # PulseAudio 16 hands a client's shared blocks on to recorders, and can abort when that client dies
        # (memblock_replace_import, its issue 824); without a pool libpulse sends copies: 1 KiB a block
        os.environ.setdefault("PULSE_MEMPOOL_DISABLE", "1")
        try:
            _library = C.CDLL("libpulse.so.0", mode=C.RTLD_GLOBAL)
        except OSError as error:
            raise DeviceError("libpulse.so.0 is missing: apt-get install libpulse0") from error
        for name in (
            *("pa_mainloop_new", "pa_mainloop_get_api", "pa_threaded_mainloop_new", "pa_threaded_mainloop_get_api"),
            *("pa_context_new", "pa_stream_new", "pa_context_get_server_info", "pa_context_get_sink_info_list"),
            *("pa_context_get_source_info_list", "pa_context_get_module_info_list", "pa_context_load_module"),
            *("pa_context_unload_module", "pa_context_set_default_sink", "pa_context_set_default_source"),
            *("pa_stream_cork", "pa_stream_get_buffer_attr"),
        ):
            getattr(_library, name).restype = C.c_void_p
        for name in ("pa_strerror", "pa_stream_get_device_name"):
            getattr(_library, name).restype = C.c_char_p
    return _library


def pulse_error(context: C.c_void_p) -> str:
    """Return the words for a context's last error."""
    return str(libpulse().pa_strerror(libpulse().pa_context_errno(context)).decode())


@dataclass(frozen=True)
class PulseDevice:
    """A sink or source as the server describes it."""

    name: str
    description: str
    channels: int
    rate_hz: int
    monitor: bool  # hears what a sink plays; not a microphone
    module: int  # the module that made it


@dataclass(frozen=True)
class PulseModule:
    """A loaded module."""

    index: int
    name: str
    argument: str


@dataclass(frozen=True)
class ServerInfo:
    """Which server answered and its default devices ("" if it has none)."""

    name: str
    default_sink: str
    default_source: str


def _text(raw: bytes | None) -> str:
    return raw.decode(errors="replace") if raw else ""


class PulseServer:
    """A connection for questions; use it as a context. Raises DeviceError where no server answers."""

    def __init__(self) -> None:
        self._lib = libpulse()
        self._loop = C.c_void_p(self._lib.pa_mainloop_new())
        api = C.c_void_p(self._lib.pa_mainloop_get_api(self._loop))
        self._context = C.c_void_p(self._lib.pa_context_new(api, b"rtvc"))
        self._result: Any = None
        try:
            if self._lib.pa_context_connect(self._context, None, _NO_AUTOSPAWN, None) < 0:
                raise ServerError(f"no PulseAudio server: {pulse_error(self._context)}")
            deadline = time.monotonic() + _TIMEOUT_S
            while (state := self._lib.pa_context_get_state(self._context)) != _CONTEXT_READY:
                if state in (_CONTEXT_FAILED, _CONTEXT_TERMINATED):
                    raise ServerError(f"no PulseAudio server: {pulse_error(self._context)}")
                self._turn(deadline)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._context:
            self._lib.pa_context_disconnect(self._context)
            self._lib.pa_context_unref(self._context)
            self._lib.pa_mainloop_free(self._loop)
            self._context = C.c_void_p()

    def _turn(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise ServerError(f"the PulseAudio server did not answer within {_TIMEOUT_S:.0f} s")
        self._lib.pa_mainloop_prepare(self._loop, 50_000)
        self._lib.pa_mainloop_poll(self._loop)
        self._lib.pa_mainloop_dispatch(self._loop)

    def _ask(self, operation: int | None) -> None:
        if not operation:
            raise DeviceError(f"PulseAudio: {pulse_error(self._context)}")
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            while (state := self._lib.pa_operation_get_state(C.c_void_p(operation))) == _OPERATION_RUNNING:
                self._turn(deadline)
            if state == _OPERATION_CANCELLED:
                raise ServerError("the PulseAudio server went away")
        finally:
            self._lib.pa_operation_unref(C.c_void_p(operation))

    def info(self) -> ServerInfo:
        """Return the server's name and default devices."""
        found: list[ServerInfo] = []

        @_INFO
        def answer(context: int, address: int, userdata: int) -> None:
            if address:
                raw = _ServerInfo.from_address(address)
                names = (raw.server_name, raw.default_sink_name, raw.default_source_name)
                found.append(ServerInfo(*map(_text, names)))

        self._ask(self._lib.pa_context_get_server_info(self._context, answer, None))
        if not found:
            raise DeviceError(f"PulseAudio: {pulse_error(self._context)}")
        return found[0]

    def _list(self, question: Any, row: Callable[[int], Any]) -> list[Any]:
        found: list[Any] = []

        @_LIST
        def answer(context: int, address: int, end: int, userdata: int) -> None:
            if not end:
                found.append(row(address))

        self._ask(question(self._context, answer, None))
        return found

    def sources(self) -> list[PulseDevice]:
        """Return all sources, monitors too."""
        return self._list(self._lib.pa_context_get_source_info_list, lambda a: _device(a, source=True))

    def sinks(self) -> list[PulseDevice]:
        """Return all sinks."""
        return self._list(self._lib.pa_context_get_sink_info_list, lambda a: _device(a, source=False))

    def modules(self) -> list[PulseModule]:
        """Return all loaded modules."""

        def row(address: int) -> PulseModule:
            raw = _ModuleInfo.from_address(address)
            return PulseModule(raw.index, _text(raw.name), _text(raw.argument))

        return self._list(self._lib.pa_context_get_module_info_list, row)

    def load_module(self, name: str, argument: str) -> int:
        """Load a module; return its index."""
        found: list[int] = []

        @_INDEX
        def answer(context: int, index: int, userdata: int) -> None:
            found.append(index)

        words = (name.encode(), argument.encode())
        self._ask(self._lib.pa_context_load_module(self._context, *words, answer, None))
        if not found or found[0] == 0xFFFFFFFF:
            raise DeviceError(f"PulseAudio cannot load {name} {argument}: {pulse_error(self._context)}")
        return found[0]

    def _order(self, call: Any, argument: int | bytes, what: str) -> None:
        done: list[int] = []

        @_SUCCESS
        def answer(context: int, success: int, userdata: int) -> None:
            done.append(success)

        self._ask(call(self._context, argument, answer, None))
        if done != [1]:
            raise DeviceError(f"PulseAudio cannot {what}: {pulse_error(self._context)}")

    def unload_module(self, index: int) -> None:
        """Unload a module."""
        self._order(self._lib.pa_context_unload_module, index, f"unload module {index}")

    def set_default_sink(self, name: str) -> None:
        """Make a sink the default."""
        self._order(self._lib.pa_context_set_default_sink, name.encode(), f"make {name} the default")

    def set_default_source(self, name: str) -> None:
        """Make a source the default."""
        self._order(self._lib.pa_context_set_default_source, name.encode(), f"make {name} the default")


def _device(address: int, *, source: bool) -> PulseDevice:
    raw = _DeviceInfo.from_address(address)
    return PulseDevice(
        name=_text(raw.name),
        description=_text(raw.description),
        channels=raw.sample_spec.channels,
        rate_hz=raw.sample_spec.rate,
        monitor=source and raw.monitor != _NOT_MONITOR,
        module=raw.owner_module,
    )
