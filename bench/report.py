"""What every bench prints and writes: machine, versions, a table of rows, and targets with a verdict.

`python -m bench.NAME [--quick] [--json FILE]`. A target is met when its value satisfies its bound and for no
other reason; a value that could not be measured is null and not met.
"""

from __future__ import annotations

import argparse
import json
import math
import operator
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

Cell = str | float | int | bool | None

_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}
_AUDIO = ("sounddevice", "soundfile", "soxr", "pyworld", "librosa", "pedalboard")
_JUDGES = ("torch", "faster-whisper", "ctranslate2", "speechmos", "distillmos", "Resemblyzer")
_PACKAGES = ("numpy", "numba", "llvmlite", "onnxruntime", "onnxruntime-gpu", "scipy", *_AUDIO, *_JUDGES)


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser every bench starts from: --quick and --json FILE."""
    text = (description or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=text)
    parser.add_argument("--quick", action="store_true", help="a short run with the same rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    return parser


def machine() -> dict[str, Cell]:
    """Return what a reader needs to judge a timing: processor, cores, memory, system and how busy it was."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": cores,
        "memory_gib": round(memory_bytes / 2**30, 1),
        "system": platform.platform(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Return the version of Python, of rtvc and of every package of interest that is installed."""
    found = {"python": platform.python_version(), "rtvc": metadata.version("rtvc")}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Report:
    """Rows and targets of one bench, printed by `finish` and written as JSON where asked."""

    def __init__(self, bench: str) -> None:
        self.bench = bench
        self.rows: list[dict[str, Cell]] = []
        self.targets: list[dict[str, Cell]] = []
        self._machine = machine()

    def row(self, **cells: Cell) -> None:
        """Add a line of the table; print it at once so that a long bench shows where it is."""
        self.rows.append(cells)
        print("  ".join(f"{name}={_show(cell)}" for name, cell in cells.items()), flush=True)

    def target(self, what: str, value: float | None, unit: str, bound: str) -> None:
        """Judge value against bound, written "<= 0.05", ">= 30" or "== 0"."""
        compare, limit = bound.split()
        met = value is not None and math.isfinite(value) and _COMPARE[compare](value, float(limit))
        self.targets.append({"what": what, "value": value, "unit": unit, "bound": bound, "met": met})

    def finish(self, json_path: Path | None = None) -> None:
        """Print the table and the targets, and write the JSON if a path is given."""
        print(f"\n{self.bench} on {self._machine['processor']}, {self._machine['cores']} cores")
        _print_table(self.rows)
        print()
        _print_table(self.targets)
        if json_path is not None:
            content = {"bench": self.bench, "machine": self._machine, "versions": versions(), "rows": self.rows,
                       "targets": self.targets}  # fmt: skip
            json_path.parent.mkdir(parents=True, exist_ok=True)
            json_path.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", "utf-8")
            print(f"\nwritten to {json_path}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _show(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "NO"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _print_table(rows: list[dict[str, Cell]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([_show(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _finite(value: object) -> object:
    """Return value with NaN and infinities as null: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
