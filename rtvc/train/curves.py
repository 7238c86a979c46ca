"""The log of a training as a table (CSV: step, seconds, name, value) and as curves (PNG)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from . import TrainingError

COLUMNS = ("step", "seconds", "name", "value")
Curves = dict[str, list[tuple[int, float]]]


class Log:
    """Appends to a table; what lies after the step that a run goes on from is taken back first."""

    def __init__(self, path: Path, step: int) -> None:
        rows = [row for row in _rows(path) if int(row["step"]) <= step] if path.is_file() else []
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._writer.writerows([row[name] for name in COLUMNS] for row in rows)
        self._file.flush()

    def write(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Add one row for each value."""
        self._writer.writerows((step, f"{seconds:.1f}", name, f"{value:.6g}") for name, value in values.items())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_curves(path: Path) -> Curves:
    """Return the points (step, value) of each name. Raises TrainingError if the file is no such log."""
    found: Curves = {}
    for row in _rows(path):
        found.setdefault(row["name"], []).append((int(row["step"]), float(row["value"])))
    return found


def draw(log: Path, picture: Path) -> None:
    """Draw a log's curves: one panel for what stands before the slash in a name, one line for what stands after."""
    from matplotlib.figure import Figure

    panels: dict[str, Curves] = {}
    for name, points in read_curves(log).items():
        title, _, label = name.partition("/")
        panels.setdefault(title, {})[label or title] = points
    columns = min(3, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure = Figure(figsize=(4.5 * columns, 3.0 * rows), layout="constrained")
    for place, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 40 else "")
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize="small")
    temporary = picture.with_name(f".{picture.name}")
    figure.savefig(temporary, format="png", dpi=100)
    temporary.replace(picture)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if row["value"]]  # the last line may have been cut off
    except (OSError, KeyError) as error:
        raise TrainingError(f"{path}: is no training log: {error}") from error
    return rows
