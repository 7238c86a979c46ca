"""`rtvc doctor`: what this machine has, what it lacks, and the smallest block it holds.

Each check gives ok, warn or fail, what was found, and what to do about it. The blocks are tried for some seconds each
in the real live path, engine process and all, between simulated devices whose clocks differ by PPM: a block is
stable when no sound ran out or was lost. The simulated devices run in an ordinary thread, which is less punctual
than a sound card's, so a machine may hold smaller blocks than this says, hardly ever larger ones.
"""

from __future__ import annotations

import ctypes.util
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtvc.checks import Check
from rtvc.machine_checks import check_memlock, check_networks, check_power, check_processor, check_shared_memory
from rtvc.progress import StatusLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtvc.audio.simulated import SimulatedStreams

BLOCKS_FRAMES = (64, 128, 256, 512, 1024)
RATE_HZ = 48_000
LEAST_RATE_HZ = 32_000
BURSTS = 12
PPM = 80.0
_ASK_PORTAUDIO = """
import sounddevice
hosts = ", ".join(host["name"] for host in sounddevice.query_hostapis()) or "no host API"
print(sounddevice.get_portaudio_version()[1].split(",")[0] + ": " + hosts)
"""
PORTAUDIO_S = 15.0  # its first look at the devices takes up to three
SETTLE_S = 0.5  # the first half second fills rings and may count


@dataclass(frozen=True)
class BlockTrial:
    """One block size on simulated devices: what went wrong, and the sound in flight between the devices."""

    block_frames: int
    stable: bool
    xruns: int
    in_flight_ms: float
    load: float
    block_max_ms: float


def examine(seconds: float, as_json: bool, loopback: bool = False) -> int:
    """Run all checks and block trials of `seconds` each, print them; return 1 if something fails, else 0.

    With loopback the delay is measured with bursts through this machine's own sound server.
    """
    with StatusLine() as line:
        checks = []
        for look in CHECKS:
            line.show(f"checking {look.__name__.removeprefix('check_').replace('_', ' ')}")
            checks.append(look())
        if loopback:
            line.show("listening to bursts on their way through a live session")
            checks.append(check_loopback())
        trials = []
        for block_frames in BLOCKS_FRAMES:
            line.show(f"running {seconds:g} s with blocks of {block_frames} frames")
            trials.append(try_block(block_frames, seconds))
    stable = recommended_block(trials)
    if stable is None:
        checks.append(
            Check("Block size", "fail", "no block size ran without a gap", "end other programs and try again")
        )
    else:
        found = f"{stable} frames ({1e3 * stable / RATE_HZ:.1f} ms) is the smallest that ran without a gap"
        checks.append(Check("Block size", "ok", found, f"set audio.block_frames = {stable}, or use --block {stable}"))
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        result = {
            "checks": [dataclasses.asdict(check) for check in checks],
            "blocks": [dataclasses.asdict(trial) for trial in trials],
            "recommended_block_frames": stable,
        }
        print(json.dumps(result))
        return int(failed)
    for check in checks:
        print(f"{check.state:<5} {check.what:<20} {check.found}")
        if check.advice:
            print(f"      {'':<20} -> {check.advice}")
    print("\nblock  stable  xruns  in flight  load  slowest block")
    for trial in trials:
        print(f"{trial.block_frames:>5}  {'yes' if trial.stable else 'no':<6}  {trial.xruns:>5}  "
              f"{trial.in_flight_ms:>6.1f} ms  {trial.load:4.0%}  {trial.block_max_ms:.1f} ms")  # fmt: skip
    return int(failed)


def recommended_block(trials: list[BlockTrial]) -> int | None:
    """Return the smallest block that was stable, None if none was."""
    return min((trial.block_frames for trial in trials if trial.stable), default=None)


def try_block(block_frames: int, seconds: float) -> BlockTrial:
    """Run the live path on simulated devices with such blocks for so long."""
    import numpy as np

    from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
    from rtvc.engine.flight import BLOCK_COLUMNS
    from rtvc.engine.live import LiveSession
    from rtvc.engine.params import to_vector

    tone = (0.1 * np.sin(2 * np.pi * 150 / RATE_HZ * np.arange(RATE_HZ))).astype(np.float32)
    source = np.tile(tone, int(seconds + SETTLE_S) + 1)

    def open_streams(link: NDArray[np.int64]) -> SimulatedStreams:
        microphone = SimulatedClock(RATE_HZ, PPM, block_frames=block_frames)
        return SimulatedStreams(
            link, source, microphone, SimulatedClock(RATE_HZ, block_frames=block_frames), keep=False
        )

    with LiveSession(open_streams, to_vector({"pitch.semitones": 4})) as session:
        time.sleep(SETTLE_S)
        before = session.status()
        time.sleep(seconds)
        after, flight = session.status(), session.read_flight()
    # the median: the last moment alone may be that of a stall
    ages_us = flight.blocks[:, BLOCK_COLUMNS.index("in_flight_us")] if flight else np.zeros(0)
    in_flight_ms = 1e-3 * float(np.median(ages_us)) if len(ages_us) else after.in_flight_ms
    xruns = after.xruns - before.xruns
    lost = after.lost_capture_frames - before.lost_capture_frames + after.dropped_frames - before.dropped_frames
    stable = after.state == "running" and not xruns and not lost
    return BlockTrial(
        block_frames, stable, xruns, round(in_flight_ms, 2), round(after.load, 3), round(after.block_max_ms, 2)
    )


def check_python() -> Check:
    """Python's version and width."""
    found = f"{platform.python_version()}, {8 * ctypes.sizeof(ctypes.c_void_p)} bit, {platform.platform()}"
    if sys.version_info < (3, 11) or ctypes.sizeof(ctypes.c_void_p) < 8:
        return Check("Python", "fail", found, "install a 64-bit Python 3.11 or newer")
    return Check("Python", "ok", found)


def check_numba_cache() -> Check:
    """Whether compiled kernels can be kept from one start to the next."""
    import numba

    import rtvc.kernels.ring as some_kernel

    path = some_kernel.ring_push.stats.cache_path
    found = f"Numba {numba.__version__}, cache in {path}"
    if not os.access(path if os.path.isdir(path) else os.path.dirname(path), os.W_OK):
        return Check("Numba cache", "warn", found, "let it be written, or set NUMBA_CACHE_DIR; each start compiles")
    return Check("Numba cache", "ok", found)


def check_soundfile() -> Check:
    """The library that reads and writes audio files."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        return Check("Audio files", "fail", str(error), "pip install --force-reinstall soundfile")
    return Check("Audio files", "ok", str(soundfile.__libsndfile_version__))


def check_portaudio() -> Check:
    """The library that reaches sound cards where no own backend does."""
    # in a process of its own: PortAudio ends the process if a JACK server it joined goes away
    command = [sys.executable, "-c", _ASK_PORTAUDIO]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PORTAUDIO_S)
    except subprocess.TimeoutExpired:
        found = f"no answer within {PORTAUDIO_S:g} s"
        if sys.platform != "linux":
            return Check("PortAudio", "fail", found, "restart the sound system")
        left = f"rm -r /dev/shm/jack_db-{os.getuid()}"
        return Check("PortAudio", "warn", found, f"if a JACK server has crashed: end jackd, then {left}")
    if result.returncode == 0:
        return Check("PortAudio", "ok", result.stdout.strip())
    found = (result.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    if sys.platform == "linux":  # sound servers are reached without it
        return Check("PortAudio", "warn", found, "sudo apt-get install libportaudio2 (for ALSA without a sound server)")
    return Check("PortAudio", "fail", found, "pip install --force-reinstall sounddevice")


def check_audio_server() -> Check:
    """The host that live sound would go through."""
    from rtvc.audio.backend import DeviceError
    from rtvc.audio.devices import best_host

    try:
        host = best_host()
    except DeviceError as error:
        return Check("Audio server", "fail", "none answers", str(error))
    if host.name == "alsa":
        return Check(
            "Audio server", "warn", host.reason, "start PipeWire or PulseAudio: sudo apt-get install pipewire-pulse"
        )
    return Check("Audio server", "ok", f"{host.name}: {host.reason}")


def check_devices() -> Check:
    """Microphones and loudspeakers of that host."""
    from rtvc.audio.backend import DeviceError
    from rtvc.audio.devices import list_devices

    try:
        devices = list_devices()
    except DeviceError as error:
        return Check("Devices", "warn", str(error), "files can be converted; live sound needs a microphone")
    kinds = [device.kind for device in devices]
    found = f"{kinds.count('capture')} to capture from, {kinds.count('playback')} to play to"
    slow = [f"{device.name} ({device.rate_hz} Hz)" for device in devices if 0 < device.rate_hz < LEAST_RATE_HZ]
    if slow:
        advice = "such a rate sounds dull (a Bluetooth headset in a call?): choose another with rtvc live --capture"
        return Check("Devices", "warn", f"{found}; slow: {', '.join(slow)}", advice)
    if rates := sorted({device.rate_hz for device in devices if device.rate_hz}):
        found += f", at {', '.join(map(str, rates))} Hz"
    if "capture" not in kinds:
        return Check("Devices", "warn", found, "plug in a microphone; files can be converted without")
    return Check("Devices", "ok", found)


def check_virtual_microphone() -> Check:
    """Whether calls can record the converted voice; what a crash left is cleared away."""
    from rtvc.audio.backend import DeviceError
    from rtvc.audio.devices import best_host, list_devices
    from rtvc.audio.virtual_mic import find_cable, remove_leftovers

    try:
        host = best_host().name
        if host in ("pulse", "pipewire"):
            gone = remove_leftovers()
            found = f"{host} makes one while rtvc live runs" + (f"; removed {', '.join(gone)}" if gone else "")
        else:
            found = find_cable(list_devices(host), sys.platform).name
    except DeviceError as error:
        return Check("Virtual microphone", "warn", "none", str(error))
    return Check("Virtual microphone", "ok", found)


def check_loopback() -> Check:
    """The delay from a microphone to the virtual one, by bursts."""
    from rtvc.audio.backend import DeviceError
    from rtvc.loopback import measure_loopback

    try:
        found = measure_loopback(BURSTS)
    except (DeviceError, RuntimeError) as error:
        return Check("Loopback", "warn", f"not measured: {error}", "it needs PulseAudio or PipeWire, and Linux")
    heard = f"{len(found.late_ms)} of {found.sent} bursts on {found.host}, {found.block_frames} frames a block"
    if not found.late_ms:
        return Check("Loopback", "warn", heard, "end other programs that use the sound server, and try again")
    text = f"{found.p50_ms:.1f} ms +- {found.error_ms:.1f} from microphone to virtual microphone "
    text += f"({min(found.late_ms):.1f} to {max(found.late_ms):.1f}; {heard}); declared {found.declared_ms:.1f} ms"
    if not found.sure:
        return Check("Loopback", "warn", text, "not sure: end other programs, and try again")
    return Check("Loopback", "ok", text)


def check_realtime() -> Check:
    """Whether the engine may ask for real-time scheduling."""
    if not hasattr(os, "sched_setscheduler"):
        return Check("Real-time priority", "ok", "asked for from the system when the engine starts")
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        advice = "add '@audio - rtprio 20' to /etc/security/limits.d/audio.conf, join group audio, log in again"
        return Check("Real-time priority", "warn", f"not allowed: {error.strerror}", advice)
    os.sched_setscheduler(0, *before)
    return Check("Real-time priority", "ok", "allowed")


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_numba_cache,
    check_soundfile,
    check_portaudio,
    check_audio_server,
    check_devices,
    check_virtual_microphone,
    check_realtime,
    check_memlock,
    check_processor,
    check_power,
    check_shared_memory,
    check_networks,
)
