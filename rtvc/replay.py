"""`rtvc replay`: what a flight bundle holds, and its sound once more, compared bit for bit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioWriter
from rtvc.engine.flight import BLOCK_COLUMNS, PARAMS_SET, Flight
from rtvc.engine.replay import Replayed, own_voices, replay
from rtvc.engine.timbres import Timbre
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.flight_bundle import Bundle, BundleError, machine, read_bundle
from rtvc.progress import StatusLine, bar

DECIDING = ("rtvc", "numpy", "numba", "onnxruntime", "processor")  # whether the same bits come out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc replay` to parser."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="file that `rtvc ctl flight` or a crash saved")
    parser.add_argument("--out", type=Path, metavar="WAV", help="write what is said now")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Replay a bundle; return 0 if all is the same or there is no sound in it, 1 if not.

    Raises BundleError, StateError, NetworkError, VoiceError and AudioFileError.
    """
    bundle = read_bundle(args.bundle)
    replayed = None
    if args.out and not bundle.about["sound"]:
        raise BundleError(f"{args.bundle}: was saved without sound, so nothing can be said again")
    if bundle.about["sound"]:
        own = _own_timbres(bundle)
        with StatusLine() as line:
            replayed = replay(bundle.flight, lambda fraction: line.show(bar(fraction)), own)
        if args.out:
            with AudioWriter(args.out, ENGINE_RATE_HZ, len(replayed.y), 24, args.force) as writer:
                writer.write(replayed.y)
    if args.json:
        found = facts(bundle) | {"replay": verdict(bundle.flight, replayed) if replayed else None}
        print(json.dumps(found))
    else:
        print("\n".join(told(bundle, replayed)))
    return int(replayed is not None and replayed.differ_at is not None)


def _own_timbres(bundle: Bundle) -> dict[str, Timbre]:
    """Return the voices of the user's own that are in a bundle by their ids, from the library.

    Raises VoiceError, asking for the passphrase if need be, where one is gone or its consents do not allow it any more.
    """
    wanted = own_voices(bundle.flight)
    if not wanted:
        return {}
    from rtvc.voices.commands import open_own_library
    from rtvc.voices.errors import ConsentError, VoiceError

    try:
        library = open_own_library()
        return {own_id: library.use(own_id, "live").spoken.timbre for own_id in wanted}
    except ConsentError:
        raise
    except VoiceError as error:
        what = "one of your own voices speaks in this bundle, which holds its id alone"
        raise VoiceError(f"{what}, and without the voice it cannot be replayed: {error}") from None


def facts(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle tells, as numbers."""
    about, flight = bundle.about, bundle.flight
    return {
        "saved": about["saved"],
        "reason": about["reason"],
        "machine": about["machine"],
        "sound": about["sound"],
        "heard_s": round(about["heard"] / ENGINE_RATE_HZ, 3),
        "said_s": round(about["said"] / ENGINE_RATE_HZ, 3),
        "states": len(about["states"]),
        "changes": int(np.count_nonzero(flight.inputs[:, 1] == PARAMS_SET)),
        "blocks": len(flight.blocks),
        "block_ms": _spread(flight, "took_ns", 1e-6),
        "in_flight_ms": _spread(flight, "in_flight_us", 1e-3),
        "xruns": _counted(flight, "xruns"),
        "dropped_frames": _counted(flight, "dropped_frames"),
        "cuts": _counted(flight, "cuts"),
        "rung_changes": int(np.count_nonzero(np.diff(_column(flight, "rung")))),
    }


def verdict(flight: Flight, replayed: Replayed) -> dict[str, Any]:
    """Return how the replay compares, as numbers; times count from the first frame in the bundle."""
    differ_at_s = None if replayed.differ_at is None else (replayed.differ_at - flight.begin) / ENGINE_RATE_HZ
    return {
        "same": replayed.differ_at is None,
        "from_s": round((replayed.begin - flight.begin) / ENGINE_RATE_HZ, 3),
        "compared_s": round(replayed.compared / ENGINE_RATE_HZ, 3),
        "differ_at_s": differ_at_s,
        "differ_frames": replayed.differ,
        "largest_difference": replayed.largest,
    }


def told(bundle: Bundle, replayed: Replayed | None) -> list[str]:
    """Return facts and verdict as lines for people."""
    found, flight = facts(bundle), bundle.flight
    block, age = found["block_ms"], found["in_flight_ms"]
    lines = [
        f"saved {found['saved']}: {found['reason']} (rtvc {found['machine'].get('rtvc')})",
        f"heard {found['heard_s']:.1f} s, said {found['said_s']:.1f} s, {found['changes']} changes of the sound, "
        f"{found['rung_changes']} changes of rung",
        f"{found['blocks']} blocks: p50 {block['p50']:.2f} ms, p99 {block['p99']:.2f} ms, max {block['max']:.2f} ms",
        f"in flight: p50 {age['p50']:.1f} ms, p99 {age['p99']:.1f} ms, max {age['max']:.1f} ms; "
        f"{found['xruns']} xruns, {found['dropped_frames']} frames dropped, {found['cuts']} cuts",
    ]
    if replayed is None:
        return [*lines, "it holds no sound, so there is nothing to replay"]
    result = verdict(flight, replayed)
    where = f"replayed {result['compared_s']:.1f} s from {result['from_s']:.1f} s on"
    if result["same"]:
        return [*lines, f"{where}: the same, bit for bit"]
    lines.append(
        f"{where}: differs from {result['differ_at_s']:.3f} s on, in {result['differ_frames']} frames, "
        f"by {result['largest_difference']:.2g} at most"
    )
    here = machine()
    other = [f"{name} {found['machine'].get(name)} (here {here[name]})"
             for name in DECIDING if found["machine"].get(name) != here[name]]  # fmt: skip
    return [*lines, f"it was made with {', '.join(other)}"] if other else lines


def _column(flight: Flight, name: str) -> NDArray[np.int64]:
    return flight.blocks[:, BLOCK_COLUMNS.index(name)]


def _spread(flight: Flight, name: str, unit: float) -> dict[str, float]:
    column = _column(flight, name) * unit if len(flight.blocks) else np.zeros(1)
    return {"p50": float(np.median(column)), "p99": float(np.quantile(column, 0.99)), "max": float(column.max())}


def _counted(flight: Flight, name: str) -> int:
    """Return how much a counter grew; it begins anew with each engine."""
    return int(np.maximum(np.diff(_column(flight, name)), 0).sum())
