"""What the engine asks of a voice, and the tick that paces everything slower than samples."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ENGINE_RATE_HZ = 48000
TICK_FRAMES = 240  # 5 ms: parameters, F0 and voicing change between ticks, never inside one


class Voice(Protocol):
    """A stage that turns the speaker's voice into another at ENGINE_RATE_HZ."""

    delay_frames: int

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Convert x into y, both float32[n] within one tick."""

    def tick(self, values: NDArray[np.float64]) -> None:
        """Take over the registry's values (float64[len(PARAMS)]) between two ticks."""

    def reset(self) -> None:
        """Forget all sound heard so far."""
