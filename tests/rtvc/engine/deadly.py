"""An engine process whose networks kill it, as a fault in native code would."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.engine import worker
from rtvc.engine.engine import Engine
from rtvc.engine.speaker_pitch import SpeakerPitch
from rtvc.engine.worker import WorkerSettings
from tests.rtvc.engine.studio import LEVEL, RATE_HZ

ALIVE_FRAMES = RATE_HZ // 5
SAID_HZ = 1000.0  # what the networks say, and no other voice does


class DeadlyVoice:
    """Says a tone; while the file of that name exists, its process is killed after a moment of sound."""

    delay_frames = 2000
    gliding = False
    pitch = SpeakerPitch(0.01)

    def __init__(self, deadly_while: str) -> None:
        self._deadly_while = Path(deadly_while)
        self._frames = 0

    def reset(self) -> None:
        pass

    def tick(self, values: NDArray[np.float64]) -> None:
        pass

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        y[:] = LEVEL * np.sin(2 * np.pi * SAID_HZ / RATE_HZ * (self._frames + np.arange(len(y))))
        self._frames += len(y)
        if self._frames > ALIVE_FRAMES and self._deadly_while.exists():
            os.kill(os.getpid(), signal.SIGSEGV)


def serve(deadly_while: str, settings: WorkerSettings) -> None:
    """Stand in for `worker.serve`, with a DeadlyVoice for the networks."""

    def build_engine(values: NDArray[np.float64], **_: object) -> Engine:
        return Engine(RATE_HZ, values, DeadlyVoice(deadly_while))  # type: ignore[arg-type]

    worker.build_engine = build_engine  # type: ignore[assignment]
    worker.serve(settings)
