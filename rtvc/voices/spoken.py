"""Speech said as a voice by the live engine, in one go."""

from __future__ import annotations

import numpy as np

from rtvc.engine.engine import Engine
from rtvc.engine.network import Network
from rtvc.engine.neural_voice import NeuralVoice
from rtvc.engine.params import TIMBRES, to_vector
from rtvc.engine.timbres import Timbre
from rtvc.engine.voice import ENGINE_RATE_HZ

from .rates import at_rate
from .recording_check import Samples

RATE_HZ = 16000
BLOCK_FRAMES = 480


def spoken_as(network: Network, voice: Timbre, x: Samples) -> Samples:
    """Return what the live engine makes of 16 kHz speech as a voice: float32[n] at ENGINE_RATE_HZ."""
    engine = Engine(ENGINE_RATE_HZ, to_vector({"voice.name": "neural"}), NeuralVoice(network, [voice] * len(TIMBRES)))
    sound = np.pad(at_rate(x, RATE_HZ, ENGINE_RATE_HZ), (0, engine.delay_frames))
    out = np.zeros_like(sound)
    for start in range(0, len(sound), BLOCK_FRAMES):
        engine.process(sound[start : start + BLOCK_FRAMES], out[start : start + BLOCK_FRAMES])
    return out[engine.delay_frames :]
