"""A recording at another tempo with its pitch kept, by WSOLA (`rtvc.kernels.wsola`).

It is the source that is stretched, as live sound is when it catches up: what the engine makes of it, the watermark too,
is as it is of any speech. The length is the source's by the tempo, to a frame, and what is heard when is right to
30 ms. Where a source ends in a sound that does not repeat itself, such as noise, up to 30 ms of it are faded over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.wsola import wsola_fill, wsola_pull, wsola_push, wsola_skip, wsola_state

TEMPO = (0.5, 2.0)
BLOCK_FRAMES = 16_384
SHORTEST_S, LONGEST_S = 0.012, 0.036  # longer than live: noise that repeats itself faster sounds like a voice
AHEAD_S = 0.1  # that waits: more than can be owed, so that no more comes than the length to be

Sound = NDArray[np.float32]


def check_tempo(tempo: float) -> float:
    """Return tempo if a voice can speak so fast. Raises ValueError."""
    low, high = TEMPO
    if not low <= tempo <= high:  # true for NaN too
        raise ValueError(f"tempo {tempo:g}: must lie in {low:g}..{high:g} (1: as it was said)")
    return tempo


def stretched_frames(frames: int, tempo: float) -> int:
    """Return how many frames become of that many, at least one."""
    return max(1, round(frames / tempo))


def stretched(read: Callable[[Sound], int], rate_hz: int, tempo: float) -> Iterator[Sound]:
    """Yield what read gives at the tempo, float32 in blocks that are overwritten when the next is asked for.

    read fills its argument (float32[n]) and returns how many frames came, 0 at the end. At tempo 1 nothing is changed.
    """
    ahead, longest = round(AHEAD_S * rate_hz), round(LONGEST_S * rate_hz)
    line = wsola_state(rate_hz, BLOCK_FRAMES + 3 * ahead, SHORTEST_S)
    x = np.zeros(BLOCK_FRAMES, np.float32)
    y = np.zeros(round((BLOCK_FRAMES + 2 * ahead) / tempo), np.float32)
    heard = said = 0
    while n := read(x):
        heard += wsola_push(line, x[:n])
        most = max(0, int((wsola_fill(line) - ahead) / tempo))
        if m := wsola_pull(line, y[:most], tempo, longest):
            said += m
            yield y[:m]
    rest = np.zeros(stretched_frames(heard, tempo) - said, np.float32)
    n = wsola_pull(line, rest, tempo, longest)
    wsola_skip(line, wsola_fill(line) - (len(rest) - n))
    wsola_pull(line, rest[n:], 1.0, longest)
    yield rest
