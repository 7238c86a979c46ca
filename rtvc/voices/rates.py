"""Whole recordings at another rate, in time with what they were."""

from __future__ import annotations

from math import ceil, gcd

import numpy as np

from rtvc.kernels.resample import resample, resample_max_output, resampler_delay_frames, resampler_state

from .recording_check import Samples


def at_rate(x: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return x (float32[n]) at to_hz: float32[ceil(n * to_hz / from_hz)], sample k at time k / to_hz."""
    if from_hz == to_hz or not len(x):
        return np.ascontiguousarray(x, np.float32)
    state = resampler_state(from_hz, to_hz)
    delay = resampler_delay_frames(state)
    early = -delay % (from_hz // gcd(from_hz, to_hz))  # so many zeros first make the delay whole frames of the output
    padded = np.pad(x.astype(np.float32), (early, delay + 1))
    y = np.zeros(resample_max_output(state, len(padded)), np.float32)
    resample(state, padded, y)
    late = (delay + early) * to_hz // from_hz
    return y[late : late + ceil(len(x) * to_hz / from_hz)]
