"""One line that refreshes in place on a terminal and stays away from pipes and logs."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import Self

BAR_CELLS = 24


class StatusLine:
    """The last line of standard error: `show` replaces it, leaving the `with` block wipes it.

    Nothing is written where standard error is no terminal.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the line by text, cut to the terminal's width."""
        if not self._live:
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        if text != self._shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._shown = text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.show("")


def bar(fraction: float) -> str:
    """Return a progress bar for 0..1, with its percentage."""
    full = round(min(max(fraction, 0.0), 1.0) * BAR_CELLS)
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}] {fraction:4.0%}"


def meter(level_db: float, floor_db: float = -60.0) -> str:
    """Return a level meter of ten cells between floor_db and 0 dBFS."""
    full = round(10 * min(max(1.0 - level_db / floor_db, 0.0), 1.0))
    return "|" * full + " " * (10 - full)
