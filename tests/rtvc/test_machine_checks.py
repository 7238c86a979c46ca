"""Checks of the machine say what is wrong and what to do, on machines that are made up here."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from rtvc import machine_checks
from rtvc.engine import network
from rtvc.engine.network import Choice, NetworkError
from rtvc.machine_checks import check_memlock, check_networks, check_power, check_processor, check_shared_memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine_checks, "CPU", tmp_path / "cpu")
    monkeypatch.setattr(machine_checks, "POWER", tmp_path / "power")
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_power_that_slows_the_processor_is_told_with_its_fix(machine: Path) -> None:
    assert check_power().state == "ok"
    for core in range(2):
        put(machine / f"cpu/cpu{core}/cpufreq/scaling_governor", "powersave")
    check = check_power()
    assert check.state == "warn" and "powersave on 2 cores" in check.found and "cpupower" in check.advice
    put(machine / "cpu/intel_pstate/status", "active")
    assert check_power().state == "ok", "there powersave is a preference"
    put(machine / "power/AC/online", "0")
    assert check_power().found == "on battery" and "plug in" in check_power().advice
    put(machine / "power/AC/online", "1")
    assert check_power().state == "ok"


def test_a_processor_without_fast_instructions_or_with_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite.binding

    monkeypatch.setattr(machine_checks.os, "sched_getaffinity", lambda _pid: {0, 1, 2}, raising=False)
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"avx2": True, "fma": True, "avxvnni": True})
    assert "3 cores" in check_processor().found and "avxvnni" in check_processor().found
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"avx2": False, "fma": True})
    assert check_processor().state == "warn" and "without avx2" in check_processor().advice
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"neon": True})
    assert check_processor().state == "ok", "another kind of processor"
    monkeypatch.setattr(machine_checks.os, "sched_getaffinity", lambda _pid: {0}, raising=False)
    assert check_processor().state == "warn"


@pytest.mark.parametrize(("limit", "state"), [(-1, "ok"), (8 << 20, "warn"), (64 << 20, "ok")])
def test_locked_memory(limit: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (limit, limit))
    check = check_memlock()
    assert check.state == state and bool(check.advice) == (state == "warn")


def test_shared_memory_without_room_for_the_recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine_checks, "SHARED_MEMORY", tmp_path)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _path: usage(64 << 20))
    assert "--shm-size" in check_shared_memory().advice
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _path: usage(1 << 30))
    assert check_shared_memory().state == "ok"
    monkeypatch.setattr(machine_checks, "SHARED_MEMORY", tmp_path / "none")
    assert check_shared_memory().state == "ok"


def test_networks_that_are_missing_or_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "choose_provider", lambda: Choice("CPU", "2.50 ms a frame; CUDA takes 9 ms"))
    assert check_networks().state == "ok" and "20% of real time" in check_networks().found
    monkeypatch.setattr(network, "choose_provider", lambda: Choice("CPU", "11.00 ms a frame"))
    assert check_networks().state == "warn"

    def missing() -> Choice:
        raise NetworkError("no such file")

    monkeypatch.setattr(network, "choose_provider", missing)
    assert check_networks().state == "warn" and check_networks().advice
