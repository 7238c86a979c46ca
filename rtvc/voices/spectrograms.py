"""Spectrograms of recordings under each other, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .recording_check import read_recording

TOP_HZ = 8000.0
FRAME_S = 0.025


def picture(target: Path, recordings: Sequence[Path]) -> Path:
    """Write the spectrograms of recordings to target (PNG); return it. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 2.6 * len(recordings)), layout="constrained")
    for axes, path in zip(np.atleast_1d(figure.subplots(len(recordings), 1)), recordings, strict=True):
        x, rate_hz = read_recording(path)
        frame = round(FRAME_S * rate_hz)
        axes.specgram(x + 1e-7, NFFT=frame, Fs=rate_hz, noverlap=frame * 3 // 4, vmin=-140.0, vmax=-40.0)
        axes.set(ylim=(0.0, TOP_HZ), xlabel="s", ylabel="Hz", title=path.stem)
    figure.savefig(target, dpi=110)
    return target
