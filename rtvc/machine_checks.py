"""What the doctor looks at in the machine itself: processor, power, permissions, memory, and who runs the networks.

Every check says what it found and, where it is not as it should be, what to do.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

from rtvc.checks import Check

CPU = Path("/sys/devices/system/cpu")
POWER = Path("/sys/class/power_supply")
SHARED_MEMORY = Path("/dev/shm")
MEMLOCK_BYTES = 64 << 20  # what PipeWire's and JACK's own documents ask for at least
FRAME_MS = 12.5  # of the neural voice
FAST_ENOUGH = 0.5  # share of real time that its networks may take
WANTED_FEATURES = ("avx2", "fma")


def check_processor() -> Check:
    """Cores, and the instructions that the kernels and networks are fast with."""
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} cores, {llvmlite.binding.get_host_cpu_name()}"
    if missing := [name for name in WANTED_FEATURES if name in features and not features[name]]:
        advice = f"without {', '.join(missing)} the neural voices may be too slow: use a preset, or a newer processor"
        return Check("Processor", "warn", found, advice)
    if cores < 2:
        return Check("Processor", "warn", found, "with one core every other program is in the way: end what you can")
    eight_bit = [name for name in ("avx512vnni", "avxvnni", "dotprod") if features.get(name)]
    return Check("Processor", "ok", found + (f", 8-bit networks by {eight_bit[0]}" if eight_bit else ""))


def check_power() -> Check:
    """Whether the processor may run at full speed: its governor, and mains or battery."""
    governors = Counter(_read(path) for path in CPU.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    mains = [_read(path) for path in POWER.glob("*/online")]
    if mains and not any(state == "1" for state in mains):
        return Check("Power", "warn", "on battery", "plug in the power supply: on battery the processor is slowed down")
    if not governors:
        return Check("Power", "ok", "the processor's speed is not set here (a virtual machine, or not Linux)")
    found = ", ".join(f"{name} on {count} cores" for name, count in governors.items())
    if "powersave" in governors and not _scales_by_itself():
        advice = "powerprofilesctl set performance, or sudo cpupower frequency-set -g performance"
        return Check("Power", "warn", found, advice)
    return Check("Power", "ok", found)


def _scales_by_itself() -> bool:
    """Return whether the processor chooses its speed itself, where "powersave" is only a preference."""
    return _read(CPU / "intel_pstate/status") == "active" or _read(CPU / "amd_pstate/status") == "active"


def check_memlock() -> Check:
    """Whether sound servers may keep their memory from being swapped out."""
    if sys.platform != "linux":
        return Check("Locked memory", "ok", "not limited on this platform")
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY:
        return Check("Locked memory", "ok", "unlimited")
    found = f"{limit >> 20} MB"
    if limit < MEMLOCK_BYTES:
        advice = "add '@audio - memlock unlimited' to /etc/security/limits.d/audio.conf, join group audio, log in again"
        return Check("Locked memory", "warn", found, advice)
    return Check("Locked memory", "ok", found)


def check_shared_memory() -> Check:
    """Room for the link and the flight recorder."""
    from rtvc.engine.flight import FLIGHT_BYTES

    if not SHARED_MEMORY.is_dir():
        return Check("Shared memory", "ok", "not limited on this platform")
    free = shutil.disk_usage(SHARED_MEMORY).free
    found = f"{free >> 20} MB free"
    if free < FLIGHT_BYTES * 3 // 2:
        need = (FLIGHT_BYTES * 3 // 2 >> 20) + 1
        advice = f"the flight recorder needs {need} MB: in a container, start it with --shm-size=256m"
        return Check("Shared memory", "warn", found, advice)
    return Check("Shared memory", "ok", found)


def check_networks() -> Check:
    """Who runs the neural voice's networks, and whether fast enough."""
    from rtvc.engine.network import NetworkError, choose_provider

    try:
        choice = choose_provider()
    except NetworkError as error:
        return Check("Neural voice", "warn", str(error), "install rtvc again with its weights; presets work without")
    took_ms = float(choice.reason.split(" ")[0])
    found = f"{choice.provider}: {choice.reason}; {took_ms / FRAME_MS:.0%} of real time"
    if took_ms > FAST_ENOUGH * FRAME_MS:
        return Check("Neural voice", "warn", found, "use a preset instead of --voice here, or end other programs")
    return Check("Neural voice", "ok", found)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
