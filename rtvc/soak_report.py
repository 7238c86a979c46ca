"""What `rtvc doctor --soak` shows: trials as a table, histograms as text and PNG, and the setting that it saves."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.backend import DeviceError, Streams, open_streams
from rtvc.audio.devices import best_host, list_devices
from rtvc.audio.virtual_mic import VirtualMicrophone
from rtvc.config import load_settings, save_setting, write_atomically
from rtvc.engine.build import wants_neural
from rtvc.engine.network import ON_CPU, choose_provider
from rtvc.histogram import edges_for, pixels, text_rows
from rtvc.progress import StatusLine
from rtvc.report import png
from rtvc.soak import RATE_HZ, Open, SoakSettings, SoakTrial, soak


def run_soak(minutes: float, values: NDArray[np.float64], point: str, picture: Path, as_json: bool) -> int:
    """Soak for about so many minutes, show how it went and save audio.block_frames; return 1 if no block was stable.

    Raises NetworkError if a neural voice is asked for and cannot be had, ConfigError if a file cannot be written.
    """
    provider = choose_provider(point) if wants_neural(values) else ON_CPU
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(StatusLine())
        trials = soak(SoakSettings(values, point, provider), 60.0 * minutes, _real_devices(stack), line.show)
    block_edges = edges_for([trial.block_ms for trial in trials])
    age_edges = edges_for([trial.age_ms for trial in trials])
    charts = [(str(trial.block_frames), trial.block_ms) for trial in trials]
    ages = [(str(trial.block_frames), trial.age_ms) for trial in trials]
    drawn = np.concatenate([pixels(charts, block_edges), pixels(ages, age_edges)], axis=1)
    write_atomically(picture, png(drawn))
    last = trials[-1]
    before = load_settings().audio.block_frames
    saved = save_setting("audio", "block_frames", last.block_frames) if last.stable else None
    if as_json:
        print(json.dumps({"trials": [_entry(trial) for trial in trials], "picture": str(picture),
                          "block_frames": last.block_frames if last.stable else None}))  # fmt: skip
        return int(not last.stable)
    print("block  devices               stable  xruns  in stalls   block p50    p99    max   in flight p50    p99")
    for trial in trials:
        block, age, stable = _quantiles(trial.block_ms), _quantiles(trial.age_ms), "yes" if trial.stable else "no"
        print(f"{trial.block_frames:>5}  {trial.devices[:20]:<20}  {stable:<6}  {trial.xruns:>5}"
              f"  {trial.xruns_in_stalls:>9}  {block[0]:>7.2f} ms {block[1]:>6.2f} {block[2]:>6.2f}"
              f"  {age[0]:>11.1f} ms {age[1]:>6.1f}")  # fmt: skip
        for reason in trial.reasons:
            print(f"       -> {reason}")
    sound_ms = 1e3 * last.block_frames / RATE_HZ
    print(f"\nhow long each block of {last.block_frames} frames took ({sound_ms:.1f} ms of sound):")
    print("\n".join(text_rows(last.block_ms, block_edges, "ms")))
    print("\nhow old the sound between the devices was, stalls included:")
    print("\n".join(text_rows(last.age_ms, age_edges, "ms")))
    print(f"\nall of them as a picture (block times left, ages right): {picture}")
    if not last.realtime:
        print("real-time priority is not allowed, which costs blocks; rtvc doctor says how to get it")
    if saved is None:
        print("no block was stable: end other programs, or choose another voice, and try again", file=sys.stderr)
        return 1
    print(f"audio.block_frames = {last.block_frames} (was {before}) saved in {saved}")
    return 0


def _real_devices(stack: contextlib.ExitStack) -> tuple[Callable[[int], Open], str] | None:
    """Return what opens the real microphone and a virtual one with so many frames a block, and its name, if any."""
    try:
        host = best_host().name
        microphones = [device for device in list_devices(host) if device.kind == "capture"]
        device = max(microphones, key=lambda device: device.default)
        microphone = stack.enter_context(VirtualMicrophone("rtvc-soak", host))
    except (DeviceError, ValueError):
        return None

    def opener(block_frames: int) -> Open:
        def opened(link: NDArray[np.int64]) -> Streams:
            return open_streams(link.ctypes.data, device.id, microphone.playback_id, RATE_HZ, block_frames)

        return opened

    return opener, device.name


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    if not len(values):
        return 0.0, 0.0, 0.0
    p50, p99, most = np.quantile(values, (0.5, 0.99, 1.0))
    return float(p50), float(p99), float(most)


def _entry(trial: SoakTrial) -> dict[str, Any]:
    """Return a trial for JSON, with quantiles in place of every block."""
    entry = asdict(trial) | {"stable": trial.stable}
    for name in ("block_ms", "age_ms"):
        entry[name] = dict(zip(("p50", "p99", "max"), _quantiles(getattr(trial, name)), strict=True))
    return entry
