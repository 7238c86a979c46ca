"""The neural voices that come with the program: points in the decoder's timbre space and their home pitch.

The space is continuous, so a mixture of points is a voice too; pitches mix in octaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .network import TIMBRE, NetworkError, read_card, weights_folder
from .params import TIMBRES


@dataclass(frozen=True)
class Timbre:
    """One voice: vector float32[128], home_hz the median F0 of its speech.

    personal: float32[FILMS] or None, what was fitted to the voice beyond what its vector does (`Network.film`).
    """

    vector: NDArray[np.float32] = field(repr=False)
    home_hz: float
    personal: NDArray[np.float32] | None = field(default=None, repr=False)


def built_in_timbres() -> list[Timbre]:
    """Return the voices in the order of params.TIMBRES.

    Raises NetworkError if the weights lack one of them, or have it wrong.
    """
    folder = weights_folder()
    voices, timbres = read_card(folder).get("voices", {}), []
    for name in TIMBRES:
        try:
            vector, home_hz = np.array(voices[name]["timbre"], np.float32), float(voices[name]["home_hz"])
        except (KeyError, TypeError, ValueError):
            vector, home_hz = np.zeros(0, np.float32), 0.0
        if vector.shape != (TIMBRE,) or not home_hz > 0.0:
            said = f"has no voice {name} of {TIMBRE} numbers and a pitch"
            raise NetworkError(f"{folder / 'network.json'}: {said}; install rtvc again")
        timbres.append(Timbre(vector, home_hz))
    return timbres
