"""Makes the engine that a sound asks for: with the networks loaded if it is a neural voice's, without them if not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .engine import Engine
from .network import CPU, Network, read_card, weights_folder
from .neural_voice import NeuralVoice
from .params import INDEX, VOICES
from .suppressor import check_suppression, installed_suppressor
from .timbres import built_in_timbres
from .voice import ENGINE_RATE_HZ

DEFAULT_POINT = "clear"
DEFAULT_PRECISION, FINER_PRECISION = "int8", "fp32"

_VOICE, _NEURAL = INDEX["voice.name"], VOICES.index("neural")


def wants_neural(values: NDArray[np.float64]) -> bool:
    """Return whether this sound (float64[len(PARAMS)]) is a neural voice's."""
    return bool(values[_VOICE] == _NEURAL)


def neural_voice(point: str = DEFAULT_POINT, precision: str = DEFAULT_PRECISION, provider: str = CPU) -> NeuralVoice:
    """Return the neural voice with the weights in `weights_folder`, warmed up.

    Raises NetworkError if they cannot be used.
    """
    voice = NeuralVoice(Network(point, precision, provider=provider), built_in_timbres())
    voice.warm_up()
    voice.f0_of(0)  # what a frame without a voice does not need
    return voice


def build_engine(
    rate_hz: int = ENGINE_RATE_HZ,
    values: NDArray[np.float64] | None = None,
    point: str = DEFAULT_POINT,
    provider: str = CPU,
    mark: NDArray[np.float32] | None = None,
    suppress: bool = True,
) -> Engine:
    """Return an engine for a stream at rate_hz that can sound as values (float64[len(PARAMS)]) say.

    mark is what a watermark says, if there is to be one; see `Engine`. suppress says whether it can suppress noise
    where that is installed.

    Raises ValueError for a rate out of range and NetworkError if a neural voice or noise suppression is asked for and
    cannot be had.
    """
    if values is not None:
        check_suppression(values)
    neural = finer = None
    if values is not None and wants_neural(values):
        neural = neural_voice(point, provider=provider)
        if FINER_PRECISION in read_card(weights_folder())["files"]:  # `rtvc train export` writes them; none are shipped
            finer = neural_voice(point, FINER_PRECISION, provider)
    return Engine(rate_hz, values, neural, finer, mark, installed_suppressor() if suppress else None)
