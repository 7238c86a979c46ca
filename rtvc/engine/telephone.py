"""A telephone line: its band, 300 to 3400 Hz, and its grit, faded in by amount."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.biquad import biquad, biquad_state, high_pass, low_pass
from rtvc.kernels.mix import mix, saturate
from rtvc.kernels.ramp import TARGET, ramp_at_rest, ramp_fill, ramp_set, ramp_state

from .params import PARAMS
from .voice import ENGINE_RATE_HZ, TICK_FRAMES

DRIVE = 4.0
_RAMP_FRAMES = round(PARAMS["telephone.amount"].ramp_ms * ENGINE_RATE_HZ / 1000)


class Telephone:
    """One voice's line; nothing is computed while it is out of use."""

    def __init__(self) -> None:
        rate = ENGINE_RATE_HZ
        band = [high_pass(rate, 330.0), high_pass(rate, 300.0), low_pass(rate, 3400.0), low_pass(rate, 3200.0)]
        self._band = biquad_state(np.array(band))
        self._line_ramp, self._dry_ramp = ramp_state(0.0), ramp_state(1.0)
        self._line, self._line_gain, self._dry_gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._used = False

    def set(self, amount: float) -> None:
        """Head for an amount of 0..1; the line's old memory fades in with the ramp, inaudibly."""
        for ramp, target in ((self._line_ramp, amount), (self._dry_ramp, 1.0 - amount)):
            if ramp.values[TARGET] != target:
                ramp_set(ramp, target, _RAMP_FRAMES)
        self._used = not ramp_at_rest(self._line_ramp, 0.0)

    def process(self, y: NDArray[np.float32]) -> None:
        """Put y, float32[n] with n <= TICK_FRAMES, on the line."""
        if not self._used:
            return
        n = y.shape[0]
        line, line_gain, dry_gain = self._line[:n], self._line_gain[:n], self._dry_gain[:n]
        biquad(self._band, y, line)
        saturate(line, DRIVE, line)
        ramp_fill(self._line_ramp, line_gain)
        ramp_fill(self._dry_ramp, dry_gain)
        mix(y, dry_gain, line, line_gain, y)
