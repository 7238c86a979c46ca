"""Simulated devices that know how old each block was when it was heard, whatever the pump believes.

Every played frame is traced back: through the playback ring and the pump's line to the number of the captured frame
that it was made of, and by the microphone's own clock to the moment when that was said. A sound's age is the time from
there to its block's callback.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.simulated import SimulatedStreams
from rtvc.engine.pump import Pump
from rtvc.kernels.ring import READ, WRITTEN
from rtvc.kernels.wsola import wsola_gone


class AgedStreams(SimulatedStreams):
    """`SimulatedStreams` beside a pump: call `watch` before its first step, then `ages`."""

    _pump: Pump | None = None

    def watch(self, pump: Pump) -> None:
        """Trace the sound that pump moves from now on."""
        self._pump = pump
        # flat arrays: hours of rows as Python objects would leave holes in the memory that the soak watches
        self._moved = array("q")  # frames written for playback, frames taken from the microphone
        self._said = array("d", (0.0, 0.0))  # frames captured, when the last of them was said
        self._heard = array("d")  # when, frames read, whether all of the block was sound
        self.converted = 0  # captured frames that went through the engine
        convert = pump._convert

        def traced(x: NDArray[np.float32], n: int) -> int:
            written, taken = self._count(fields.PLAYBACK_RING + WRITTEN), wsola_gone(pump._line)[0]
            self._moved.extend((written, taken - n))
            moved = convert(x, n)
            self.converted += n
            self._moved.extend((self._count(fields.PLAYBACK_RING + WRITTEN), taken))
            return moved

        pump._convert = traced  # type: ignore[method-assign]

    def _count(self, field: int) -> int:
        return int(self._link[field])

    def _captured(self) -> None:
        said_s = (self._capture.blocks + 1) * self._capture.period_s
        super()._captured()
        if self._pump is not None:
            self._said.extend((self._count(fields.CAPTURE_RING + WRITTEN), said_s))

    def _play(self, now_ns: int) -> None:
        super()._play(now_ns)
        if self._pump is not None:
            playing = self._count(fields.PLAYBACK_STATE) == 1
            self._heard.extend((now_ns * 1e-9, self._count(fields.PLAYBACK_RING + READ), playing))

    def ages(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return when each block that was all sound was asked for, in s, and the age of its last frame in ms."""
        heard = np.array(self._heard).reshape(-1, 3)
        heard = heard[heard[:, 2] == 1.0]
        written, taken = np.array(self._moved, np.float64).reshape(-1, 2).T
        frames, said_s = np.array(self._said).reshape(-1, 2).T
        return heard[:, 0], 1e3 * (heard[:, 0] - np.interp(np.interp(heard[:, 1], written, taken), frames, said_s))
