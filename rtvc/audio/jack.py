"""A JACK client of our own, for PipeWire (through its JACK library) and for jackd: one graph, one clock, one period.

PortAudio has a JACK side too. It takes devices by regular expression, so names with parentheses have no ports; it
does not see an unplugged device; and when the server dies its Stop waits for minutes and its Terminate aborts the
process. Here ports are connected by exact name, and a lost connection or server is reported.

On PipeWire ports are linked by node name with `pw-link`: JACK names there come from descriptions, which are not
unique and change with the version. PIPEWIRE_QUANTUM makes the graph run at our block size.
Which library is loaded is decided once a process. Source: jack/jack.h; pipewire-jack(1), pw-link(1).
"""

from __future__ import annotations

import ctypes as C
import glob
import itertools
import os
import shutil
import subprocess
import sys
import time

import numpy as np

from .backend import DeviceError, Lost, ServerError, StallWatch, link_at
from .link import CAPTURE_CHANNELS, CAPTURE_RATE_HZ, PLAYBACK_CHANNELS, PLAYBACK_RATE_HZ

_AUDIO = b"32 bit float mono audio"
_NO_START_SERVER = 1
_IS_INPUT, _IS_OUTPUT, _IS_PHYSICAL = 1, 2, 4
_ALREADY_CONNECTED = 17
_CAPTURE_LATENCY, _PLAYBACK_LATENCY = 0, 1
_PIPEWIRE_LIBRARIES = (
    "/usr/lib/*/pipewire-0.3/jack/libjack.so.0",
    "/usr/lib*/pipewire-0.3/jack/libjack.so.0",
    "/usr/lib/libjack.so.0",  # distributions where PipeWire's library is the only one
)
_MAX_INPUTS = 8

ASK_S = 10.0
LEAVING_S = 0.25  # the server undoes the connections of a client that has died before it forgets its ports
_ASK = """
import ctypes
library = ctypes.CDLL("libjack.so.0")
library.jack_client_open.restype = ctypes.c_void_p
client = library.jack_client_open(b"rtvc-ask", 1, None)
if client:
    library.jack_client_close(ctypes.c_void_p(client))
"""

_library: C.CDLL | None = None
_library_host = ""
_serial = itertools.count(1)


class _LatencyRange(C.Structure):
    _fields_ = (("min", C.c_uint32), ("max", C.c_uint32))


def _find_library(host: str) -> str:
    if host == "pipewire":
        for pattern in _PIPEWIRE_LIBRARIES:
            for path in sorted(glob.glob(pattern)):
                return path
        raise DeviceError("PipeWire's JACK library is missing: apt-get install pipewire-jack")
    return "libjack.so.0"


def libjack(host: str) -> C.CDLL:
    """Load the JACK library for host "pipewire" or "jack", its symbols global. Raises DeviceError if missing."""
    global _library, _library_host  # noqa: PLW0603  (a library is loaded once)
    if _library is not None and host != _library_host:
        raise DeviceError(f"this process already uses the JACK library of {_library_host}: start it again for {host}")
    if _library is None:
        path = _find_library(host)
        try:
            _library = C.CDLL(path, mode=C.RTLD_GLOBAL)
        except OSError as error:
            raise DeviceError(f"{path} is missing: apt-get install libjack-jackd2-0") from error
        _library_host = host
        for name in ("jack_client_open", "jack_port_register"):
            getattr(_library, name).restype = C.c_void_p
        _library.jack_get_client_name.restype = _library.jack_port_name.restype = C.c_char_p
        _library.jack_get_ports.restype = C.POINTER(C.c_char_p)
        _library.jack_get_ports.argtypes = (C.c_void_p, C.c_char_p, C.c_char_p, C.c_ulong)
        from .jack_callbacks import jack_message  # links to libjack: only now

        _library.jack_set_error_function(C.c_void_p(jack_message.address))
        _library.jack_set_info_function(C.c_void_p(jack_message.address))
    return _library


def pipewire_jack_missing() -> str | None:
    """Return what is missing to play through PipeWire's JACK library, or None if nothing is."""
    if shutil.which("pw-link") is None:
        return "pw-link is missing: apt-get install pipewire-bin"
    try:
        _find_library("pipewire")
    except DeviceError as error:
        return str(error)
    return None


def check_jack() -> None:
    """Raise DeviceError if JACK's library hangs: it waits for ever for what a crashed server left half made.

    It is asked in a process of its own, which can be ended; no server or no library is no fault.
    """
    try:
        subprocess.run([sys.executable, "-I", "-S", "-c", _ASK], capture_output=True, check=False, timeout=ASK_S)
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"JACK's library gave no answer within {ASK_S:g} s: it waits for what a crashed server left; end jackd, "
            f"then rm -r /dev/shm/jack_db-{os.getuid()}"
        ) from None


class JackClient:
    """A connection to the JACK server: ports and facts. Raises DeviceError where no server answers."""

    def __init__(self, host: str, name: str = "") -> None:
        self._lib = libjack(host)
        self.host = host
        name = name or f"rtvc-{os.getpid()}-{next(_serial)}"  # PipeWire would not make it unique
        self.handle = C.c_void_p(self._lib.jack_client_open(name.encode(), _NO_START_SERVER, None))
        if not self.handle:
            raise ServerError(f"no {host} server answers: is it running for this user?")
        self.name = self._lib.jack_get_client_name(self.handle).decode()

    def __enter__(self) -> JackClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self.handle:
            self._lib.jack_client_close(self.handle)
            self.handle = C.c_void_p()

    def rate_hz(self) -> int:
        """Return the graph's rate."""
        return int(self._lib.jack_get_sample_rate(self.handle))

    def period_frames(self) -> int:
        """Return how many frames the graph moves at a time."""
        return int(self._lib.jack_get_buffer_size(self.handle))

    def ports(self, *, output: bool) -> list[tuple[str, bool]]:
        """Return (name, physical) of all audio ports that give (output) or take sound, in the server's order."""
        direction = _IS_OUTPUT if output else _IS_INPUT
        physical = set(self._names(direction | _IS_PHYSICAL))
        return [(name, name in physical) for name in self._names(direction)]

    def _names(self, flags: int) -> list[str]:
        found = self._lib.jack_get_ports(self.handle, None, _AUDIO, flags)
        names: list[str] = []
        while found and found[len(names)]:
            names.append(found[len(names)].decode())
        self._lib.jack_free(found)
        return names

    def device_ports(self, device: str, *, output: bool) -> list[str]:
        """Return the ports of a device, by node name on PipeWire and by client name on jackd."""
        if self.host == "pipewire":
            listed = _pw_link("--output" if output else "--input").splitlines()
        else:
            listed = [name for name, _ in self.ports(output=output)]
        named = [name.rpartition(":") for name in listed]
        # a null sink's monitor ports repeat what it plays: they are no microphone
        found = [f"{n}:{p}" for n, _, p in named if n == device and not (output and p.startswith("monitor_"))]
        if not found:
            raise DeviceError(f"{self.host} has no {'source' if output else 'sink'} named {device}: is it plugged in?")
        return found

    def connect(self, source: str, destination: str) -> None:
        """Connect an output port to an input port."""
        if self.host == "pipewire":
            _pw_link(source, destination)
            return
        words = (source.encode(), destination.encode())
        if self._lib.jack_connect(self.handle, *words) not in (0, _ALREADY_CONNECTED):
            raise DeviceError(f"jack cannot connect {source} to {destination}")


def _pw_link(*arguments: str) -> str:
    try:
        done = subprocess.run(("pw-link", *arguments), capture_output=True, text=True, timeout=5, check=False)
    except FileNotFoundError as error:
        raise DeviceError("pw-link is missing: apt-get install pipewire-bin") from error
    except subprocess.TimeoutExpired as error:
        raise ServerError("PipeWire does not answer") from error
    if done.returncode != 0:
        raise DeviceError(f"pw-link {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class JackStreams:
    """`backend.Streams` as one JACK client with a port for each capture channel and one for playback."""

    duplex = True

    def __init__(
        self, link_address: int, host: str, capture: str, playback: str, rate_hz: int, block_frames: int
    ) -> None:
        if host == "pipewire":
            os.environ["PIPEWIRE_QUANTUM"] = f"{block_frames}/{rate_hz}"
        self._client = JackClient(host)
        try:
            self._open(link_address, capture, playback)
        except BaseException:
            self.close()
            raise

    def _open(self, link_address: int, capture: str, playback: str) -> None:
        from . import jack_callbacks as callbacks

        client, lib = self._client, libjack(self._client.host)
        self._lib = lib
        self._devices = (capture, playback)
        self._link = link = link_at(link_address)
        self._sources = client.device_ports(capture, output=True)[:_MAX_INPUTS]
        self._sinks = client.device_ports(playback, output=False)
        self.block_frames = client.period_frames()
        link[CAPTURE_RATE_HZ] = link[PLAYBACK_RATE_HZ] = client.rate_hz()
        link[CAPTURE_CHANNELS] = link[PLAYBACK_CHANNELS] = 1  # the callback mixes ports itself
        self._inputs = [self._port(f"capture_{k + 1}", _IS_INPUT) for k in range(len(self._sources))]
        self._output = self._port("playback", _IS_OUTPUT)
        self._context = context = np.zeros(callbacks.CONTEXT_WORDS, np.int64)
        context[callbacks.LINK] = link_address
        context[callbacks.INPUTS] = len(self._inputs)
        context[callbacks.OUTPUT] = self._output
        context[callbacks.INPUT : callbacks.INPUT + len(self._inputs)] = self._inputs
        self._shutdown = context[callbacks.SHUTDOWN : callbacks.SHUTDOWN + 1]
        self._watch: StallWatch | None = None
        userdata = C.c_void_p(context.ctypes.data)
        for setter, callback in (
            (lib.jack_set_process_callback, callbacks.jack_process),
            (lib.jack_set_xrun_callback, callbacks.jack_xrun),
            (lib.jack_on_shutdown, callbacks.jack_shutdown),
        ):
            setter(client.handle, C.c_void_p(callback.address), userdata)

    def _port(self, name: str, direction: int) -> int:
        port = self._lib.jack_port_register(self._client.handle, name.encode(), _AUDIO, direction, 0)
        if not port:
            raise DeviceError(f"{self._client.host} gives us no port {name}")
        return int(port)

    def _port_name(self, port: int) -> str:
        return str(self._lib.jack_port_name(C.c_void_p(port)).decode())

    def start(self) -> None:
        """Join the graph and connect."""
        if self._lib.jack_activate(self._client.handle) != 0:
            raise DeviceError(f"{self._client.host} does not let us join its graph")
        for source, port in zip(self._sources, self._inputs, strict=True):
            self._client.connect(source, self._port_name(port))
        for sink in self._sinks:
            self._client.connect(self._port_name(self._output), sink)
        self._watch = StallWatch(self._link, self.block_frames / int(self._link[PLAYBACK_RATE_HZ]))

    def stop(self) -> None:
        """Leave the graph."""
        self._watch = None
        self._lib.jack_deactivate(self._client.handle)

    def close(self) -> None:
        """Give the ports back."""
        self._watch = None
        self._client.close()

    def failure(self) -> Lost | None:
        """Return None while both devices are connected and call back, else what was lost."""
        if self._shutdown[0]:
            return self._server_lost()
        if self._watch is None:
            return None
        rate_hz = int(self._link[PLAYBACK_RATE_HZ])
        if self._client.rate_hz() != rate_hz:
            return Lost(
                "rate_changed",
                f"the {self._client.host} server changed its rate from {rate_hz} to {self._client.rate_hz()} Hz",
            )
        for device, ports in zip(self._devices, (self._inputs, [self._output]), strict=True):
            if not any(self._lib.jack_port_connected(C.c_void_p(port)) for port in ports):
                return self._unplugged(device, output=ports is self._inputs)
        return self._watch.stalled()

    def _server_lost(self) -> Lost:
        return Lost("server_lost", f"the {self._client.host} server went away")

    def _unplugged(self, device: str, *, output: bool) -> Lost:
        until_s = time.monotonic() + LEAVING_S
        while time.monotonic() < until_s:
            if self._shutdown[0]:  # a server that dies undoes connections first
                return self._server_lost()
            try:
                self._client.device_ports(device, output=output)
            except DeviceError:
                return Lost("device_lost", f"{device} went away")
            time.sleep(0.01)
        return Lost("device_taken", f"{device} was taken from us: another program undid our connection")

    def latency_ms(self) -> tuple[float, float] | None:
        """Return the graph's latency of capture and playback on jackd; PipeWire does not know it."""
        if self._client.host == "pipewire":
            return None
        span, found = _LatencyRange(), []
        for port, mode in ((self._inputs[0], _CAPTURE_LATENCY), (self._output, _PLAYBACK_LATENCY)):
            self._lib.jack_port_get_latency_range(C.c_void_p(port), mode, C.byref(span))
            found.append(span.max * 1e3 / int(self._link[PLAYBACK_RATE_HZ]))
        return found[0], found[1]
