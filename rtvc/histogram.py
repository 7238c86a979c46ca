"""Histograms as text for a terminal and as pixels for a PNG, on shared edges so that rows compare.

The picture is drawn with no library: bars, and numbers in digits of 3 x 5 cells (see DIGITS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

TEXT_CELLS = 40
WIDTH, ROW_HEIGHT, MARGIN, CELL = 900, 150, 50, 3
_INK, _BAR, _PAPER = (34, 34, 34), (70, 105, 180), (255, 255, 255)
# rows of three cells, top to bottom, a bit each
DIGITS: Mapping[str, tuple[int, ...]] = {
    "0": (7, 5, 5, 5, 7), "1": (2, 6, 2, 2, 7), "2": (7, 1, 7, 4, 7), "3": (7, 1, 7, 1, 7), "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7), "6": (7, 4, 7, 5, 7), "7": (7, 1, 1, 1, 1), "8": (7, 5, 7, 5, 7), "9": (7, 5, 7, 1, 7),
    ".": (0, 0, 0, 0, 2), "-": (0, 0, 7, 0, 0), " ": (0, 0, 0, 0, 0),
}  # fmt: skip

Values = NDArray[np.float64]


def edges_for(values: Sequence[Values], cells: int = 24) -> Values:
    """Return cells + 1 edges from the least to the largest of all values, evenly spaced on a logarithmic axis."""
    everything = np.concatenate([*values, np.zeros(0)])
    everything = everything[everything > 0.0]
    if not len(everything):
        return np.geomspace(0.1, 10.0, cells + 1)
    low, high = float(everything.min()), float(everything.max())
    return np.geomspace(low, max(high, 1.01 * low), cells + 1)


def counts(values: Values, edges: Values) -> NDArray[np.int64]:
    """Return how many values lie in each cell; those outside count in the outermost."""
    inside = np.clip(values, edges[0], edges[-1])
    return np.histogram(inside, edges)[0].astype(np.int64)


def text_rows(values: Values, edges: Values, unit: str) -> list[str]:
    """Return a line for each cell that is not empty, and for those between: range, count and a bar.

    Bars are logarithmic, so that one late block among ten thousand is seen.
    """
    found = counts(values, edges)
    filled = np.flatnonzero(found)
    if not len(filled):
        return ["  (nothing)"]
    most = np.log1p(found.max())
    rows = []
    for cell in range(filled[0], filled[-1] + 1):
        bar = "#" * round(TEXT_CELLS * float(np.log1p(found[cell]) / most))
        rows.append(f"  {edges[cell]:8.2f} to {edges[cell + 1]:8.2f} {unit} {found[cell]:>7}  {bar}".rstrip())
    return rows


def pixels(rows: Sequence[tuple[str, Values]], edges: Values) -> NDArray[np.uint8]:
    """Return one chart below the other: uint8[height, WIDTH, 3]; each has a number in its corner and a time axis."""
    picture = np.full((ROW_HEIGHT * max(1, len(rows)), WIDTH, 3), _PAPER, np.uint8)
    for number, (label, values) in enumerate(rows):
        _chart(picture[ROW_HEIGHT * number : ROW_HEIGHT * (number + 1)], label, counts(values, edges), edges)
    return picture


def _chart(area: NDArray[np.uint8], label: str, found: NDArray[np.int64], edges: Values) -> None:
    floor, left = ROW_HEIGHT - 30, MARGIN
    wide = (WIDTH - 2 * MARGIN) / len(found)
    most = max(1.0, float(np.log1p(found.max(initial=0))))
    for cell, count in enumerate(found):
        high = round((floor - 30) * float(np.log1p(count)) / most)
        x = round(left + cell * wide)
        area[floor - high : floor, x + 1 : round(x + wide) - 1] = _BAR
    area[floor : floor + 2, left : WIDTH - MARGIN] = _INK
    for cell in range(0, len(edges), 4):
        _write(area, f"{edges[cell]:.3g}", round(left + cell * wide) - 12, floor + 8)
    _write(area, label, 4, 6)
    _write(area, str(int(found.max(initial=0))), left, 6 + 8 * CELL)


def _write(area: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    """Put digits at x, y; what is no digit stays blank."""
    for character in text:
        for row, bits in enumerate(DIGITS.get(character, DIGITS[" "])):
            for column in range(3):
                if bits & (4 >> column):
                    top, side = y + CELL * row, x + CELL * column
                    area[top : top + CELL, max(0, side) : max(0, side + CELL)] = _INK
        x += 4 * CELL
