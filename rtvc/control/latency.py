"""A histogram of the delay, and quantiles from it: memory that does not grow with time."""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH_MS = 0.5
LONGEST_MS = 500.0
SHOWN_MS = (*range(0, 60, 2), 60, 70, 80, 100, 150, 200, 300, 500)  # edges of what clients get


class LatencyHistogram:
    """Counts delays in cells of WIDTH_MS; what is longer than LONGEST_MS counts in the last."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(LONGEST_MS / WIDTH_MS), np.int64)
        self._max_ms = 0.0

    def add(self, delay_ms: float) -> None:
        """Count one delay."""
        self._counts[min(int(max(delay_ms, 0.0) / WIDTH_MS), len(self._counts) - 1)] += 1
        self._max_ms = max(self._max_ms, delay_ms)

    def quantile_ms(self, share: float) -> float:
        """Return the delay below which `share` of all lie, to WIDTH_MS; 0 if there are none."""
        total = int(self._counts.sum())
        if total == 0:
            return 0.0
        cell = int(np.searchsorted(np.cumsum(self._counts), share * total))
        return (cell + 1) * WIDTH_MS

    def summary(self) -> dict[str, Any]:
        """Return quantiles, the longest, and a coarse histogram (edges in ms, counts between them)."""
        places = np.minimum(np.array(SHOWN_MS) / WIDTH_MS, len(self._counts)).astype(np.int64)
        counts = np.add.reduceat(np.append(self._counts, 0), places)[:-1]
        quantiles = {f"p{round(100 * q)}": self.quantile_ms(q) for q in (0.5, 0.95, 0.99)}
        histogram = {"edges": list(SHOWN_MS), "counts": [int(count) for count in counts]}
        return quantiles | {"max": round(self._max_ms, 1), "histogram": histogram}
