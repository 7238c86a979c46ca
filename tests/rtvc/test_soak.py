"""The soak: its plan disturbs at known times, its verdict follows what went wrong, and it ends with a saved setting."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtvc import soak as module
from rtvc import soak_report
from rtvc.audio.backend import DeviceError
from rtvc.audio.link import link_memory
from rtvc.cli import main
from rtvc.config import load_settings
from rtvc.engine.network import ON_CPU
from rtvc.engine.params import to_vector
from rtvc.soak import (
    AFTER_STALL_S,
    BusyCores,
    Plan,
    SoakedDevices,
    SoakSettings,
    SoakTrial,
    soak,
    soak_block,
)
from tests import rig

SETTINGS = SoakSettings(to_vector({"pitch.semitones": 3}), "clear", ON_CPU)


def test_a_plan_has_calm_load_stalls_and_unplugging_apart_from_each_other() -> None:
    for seconds in (9.0, 60.0, 600.0):
        plan = Plan.of(seconds)
        stalls = sorted((*plan.stalls_s, *plan.late_s))
        assert stalls and all(length in {1e-3 * ms for ms in module.STALLS_MS} for _, length in stalls)
        assert all(b[0] - a[0] - a[1] > AFTER_STALL_S + 0.2 for a, b in itertools.pairwise(stalls)), (
            "between two stalls there is time that counts"
        )
        assert plan.load_s[0] < stalls[0][0] and stalls[-1][0] < plan.unplug_s < seconds - 2.0
        assert not plan.disturbed(0.5 * (plan.load_s[0] + stalls[0][0])), "load alone counts"
        assert plan.disturbed(stalls[0][0] + 0.1) and plan.disturbed(plan.unplug_s + 0.5)


def test_devices_misbehave_once_and_are_well_when_opened_again() -> None:
    devices = SoakedDevices(Plan.of(9.0), 256)
    first, second = devices(link_memory()), devices(link_memory())
    for streams, faulty in ((first, True), (second, False)):
        sides = streams._capture.clock, streams._playback.clock  # type: ignore[attr-defined]
        assert bool(sides[0].stalls_s and sides[0].unplugged_s) == faulty
        assert sides[0].ppm == -sides[1].ppm != 0.0


def test_busy_processes_work_only_when_told_and_end() -> None:
    with BusyCores() as load:
        processes = load._processes
        load.begin()
        load.begin()
        time.sleep(0.05)
        assert all(process.poll() is None for process in processes)
        load.end()
    assert all(process.poll() is not None for process in processes)
    with pytest.raises(ZeroDivisionError), BusyCores() as load:
        processes = load._processes
        raise ZeroDivisionError
    assert all(isinstance(process, subprocess.Popen) and process.poll() is not None for process in processes)


def test_one_block_size_runs_the_whole_plan() -> None:
    trial = soak_block(SETTINGS, 1024, 9.0)
    assert trial.block_frames == 1024 and trial.devices == "simulated"
    assert len(trial.block_ms) > 200 and trial.block_ms.min() > 0.0
    assert trial.age_ms.max() > 40.0, "the stall was felt"
    assert trial.xruns_in_stalls >= 1
    assert not [reason for reason in trial.reasons if "came back" in reason]


def trials_of(stable: set[int], asked: list[tuple[str, int, float]]) -> Callable[..., SoakTrial]:
    def run(_settings: SoakSettings, *more: Any) -> SoakTrial:
        block_frames, seconds = more[-2:]
        name = "simulated" if len(more) == 2 else more[1]
        asked.append((name, block_frames, seconds))
        return SoakTrial(block_frames, name, seconds, [] if block_frames in stable else ["sound ran out 1 times"])

    return run


def test_the_smallest_stable_block_is_held_for_the_rest_and_on_real_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, float]] = []
    run = trials_of({128, 256}, asked)
    monkeypatch.setattr(module, "soak_block", run)
    monkeypatch.setattr(module, "soak_devices", run)
    trials = soak(SETTINGS, 100.0, (lambda block_frames: lambda link: None, "USB"), lambda text: None)  # type: ignore[arg-type, return-value]
    assert [(name, block) for name, block, _ in asked] == [
        ("simulated", 64), ("simulated", 128), ("USB", 128), ("simulated", 128)
    ]  # fmt: skip
    assert asked[-1][2] == pytest.approx(100.0, abs=1.0) and trials[-1].stable


def test_a_block_that_fails_when_held_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(_settings: SoakSettings, block_frames: int, seconds: float) -> SoakTrial:
        asked.append(block_frames)
        failed = block_frames == 64 and asked.count(64) == 2
        return SoakTrial(block_frames, "simulated", seconds, ["lost"] if failed else [])

    monkeypatch.setattr(module, "soak_block", run)
    assert soak(SETTINGS, 100.0, None, lambda text: None)[-1].block_frames == 128
    assert asked == [64, 64, 128, 128]


def test_a_real_device_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "soak_block", trials_of({64}, []))

    def broken(*_: object) -> SoakTrial:
        raise DeviceError("it is in use")

    monkeypatch.setattr(module, "soak_devices", broken)
    trials = soak(SETTINGS, 20.0, (lambda block_frames: lambda link: None, "USB"), lambda text: None)  # type: ignore[arg-type, return-value]
    assert trials[-1].reasons == ["it is in use"]


SOAK_REAL = """
import contextlib, json
from rtvc.engine.network import ON_CPU
from rtvc.engine.params import to_vector
from rtvc.soak import SoakSettings, soak_devices
from rtvc.soak_report import _real_devices
if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        print(json.dumps(_real_devices(stack)), flush=True)
    input()
    with contextlib.ExitStack() as stack:
        real = _real_devices(stack)
        settings = SoakSettings(to_vector({"pitch.semitones": 3}), "clear", ON_CPU)
        trial = soak_devices(settings, real[0](512), real[1], 512, 3.0)
        print(json.dumps([trial.devices == real[1], len(trial.block_ms), trial.reasons]))
"""


def test_real_devices_are_soaked_where_there_are_some(sound_server: rig.Server) -> None:
    with sound_server.python("-c", SOAK_REAL) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline()) is None, "no microphone"
        sound_server.plug_in()
        out, _ = process.communicate("\n", timeout=120)
    named, blocks, reasons = json.loads(out.splitlines()[-1])
    assert named and blocks > 50 and not [reason for reason in reasons if "at the end" in reason]
    assert "rtvc-soak" not in sound_server.names("sources")


@pytest.mark.parametrize("stable", [True, False])
def test_the_command_shows_histograms_and_saves_the_block(
    stable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ages = np.random.default_rng(0).uniform(5.0, 20.0, 1000)
    reasons = [] if stable else ["sound ran out 3 times"]
    trials = [SoakTrial(64, "simulated", 9.0, ["lost"], 2, block_ms=ages / 50, age_ms=ages),
              SoakTrial(128, "simulated", 9.0, reasons, realtime=True, block_ms=ages / 40, age_ms=ages)]  # fmt: skip
    monkeypatch.setattr(soak_report, "soak", lambda *_: trials)
    monkeypatch.setattr(soak_report, "_real_devices", lambda _stack: None)
    picture = tmp_path / "soak.png"
    code = main(["doctor", "--soak", "--picture", str(picture)])
    out, err = capsys.readouterr()
    assert code == int(not stable)
    assert picture.read_bytes().startswith(b"\x89PNG") and "####" in out
    assert load_settings().audio.block_frames == (128 if stable else 256)
    assert ("audio.block_frames = 128 (was 256) saved" in out) == stable
    assert ("no block was stable" in err) == (not stable)
    assert main(["doctor", "--soak", "--json", "--picture", str(picture)]) == int(not stable)
    told = json.loads(capsys.readouterr().out)
    assert told["block_frames"] == (128 if stable else None) and told["trials"][0]["age_ms"]["p50"] > 5.0


def test_minutes_out_of_range_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--soak", "--minutes", "0"]) == 1
    assert "must lie in 0.1..600" in capsys.readouterr().err
