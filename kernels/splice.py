"""Taking time out of speech without a click: overlap the waveform with itself a little later, where it fits best.

One cut of WSOLA: of all cuts between `shortest` and `longest` frames, take the one after which the sound most
resembles what it would have been (normalised cross-correlation), and cross-fade over `fade` frames. Pitch is kept.
In silence every cut fits, and the longest is taken.

Source: Verhelst & Roelands, "An overlap-add technique based on waveform similarity (WSOLA)", ICASSP 1993.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

SILENCE_POWER = 1e-8  # -80 dBFS


@njit(cache=True, nogil=True)
def splice(x: NDArray[np.float32], shortest: int, longest: int, fade: int, y: NDArray[np.float32]) -> int:
    """Copy x (float32[n]) into y without one stretch of shortest..longest frames; return the frames written.

    n must be at least longest + fade; y holds n - shortest frames.
    """
    n = x.shape[0]
    own = 0.0
    for i in range(fade):
        own += float(x[i]) * float(x[i])
    cut = longest
    if own > SILENCE_POWER * fade:
        best = -2.0
        for candidate in range(shortest, longest + 1):
            cross = 0.0
            energy = 1e-12
            for i in range(0, fade, 2):
                later = float(x[candidate + i])
                cross += float(x[i]) * later
                energy += later * later
            score = cross / np.sqrt(energy)
            if score > best:
                best = score
                cut = candidate
    for i in range(fade):
        rising = np.float32((i + 0.5) / fade)
        y[i] = x[i] + rising * (x[cut + i] - x[i])
    for i in range(fade, n - cut):
        y[i] = x[cut + i]
    return n - cut
