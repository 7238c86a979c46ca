"""Playing sound faster or slower with its pitch kept: WSOLA (waveform similarity overlap-add) over a line of samples.

Sound is pushed into the line and pulled out of it. At speed 1 it comes out as it went in, at once. Above that a
stretch of time is owed with every HOP_S, and taken out where the waveform repeats itself: of all cuts from SHORTEST_S
to `longest` the one after which the next FADE_S most resemble what would have come (normalised cross-correlation),
joined by a raised-cosine cross-fade. A cut that fits badly (a consonant's onset) waits for a better place until too
much is owed; in silence any fits. So whole periods go, and on average no more than the speed asks for. Below speed 1
the same stretch is played twice instead.

What is older than may be heard is dropped the same way, by a cross-fade over the gap (`wsola_skip`), or altogether
(`wsola_clear`). Everything is decided by sample counts: however sound is pushed
and pulled, the same samples come out. Delay: none; to cut or repeat it needs FADE_S + longest of sound ahead, and gives
nothing (fewer frames than asked for) while that is not there. Rates 8 to 192 kHz; allocates nothing.

Source: Verhelst & Roelands, "An overlap-add technique based on waveform similarity (WSOLA)", ICASSP 1993.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

HOP_S = 0.005  # how often is looked whether to cut
FADE_S = 0.008  # a period of a voice of 125 Hz
SHORTEST_S = 0.0025
LONGEST_S = 0.016  # a period of a voice of 63 Hz
OWED_S = 0.008  # so much is owed before a cut ...
DUE_S = 0.024  # ... and with so much it cannot wait for a place that fits
FITS = 0.6  # correlation of a cut that is hardly heard
SEARCH_HZ = 16000.0  # resolution of the first search; the second is by samples
SILENCE_POWER = 1e-8  # -80 dBFS

_WRITTEN, _READ, _TO_HOP, _CUTS, _RISING = range(5)


class WsolaState(NamedTuple):
    """A line of sound that waits, and what is owed."""

    line: NDArray[np.float32]  # a power of two long
    counts: NDArray[np.int64]  # frames pushed and gone, frames to the next hop, cuts, frames of a fade-in to do
    owed: NDArray[np.float64]  # frames that should have been taken out by now; below 0: played twice
    rising: NDArray[np.float32]  # the cross-fade's window
    hop: int
    shortest: int
    stride: int
    rate_hz: float


def wsola_state(rate_hz: float, frames: int, shortest_s: float = SHORTEST_S) -> WsolaState:
    """Return an empty line for at least `frames` frames at rate_hz (8000..192000). Raises ValueError.

    shortest_s is the shortest cut; to keep up with a speed it must be at least HOP_S * abs(speed - 1).
    """
    if not 8000 <= rate_hz <= 192000:
        raise ValueError(f"rate_hz must lie in 8000..192000, got {rate_hz:g}")
    fade = round(FADE_S * rate_hz)
    if frames < 4 * fade:
        raise ValueError(f"the line must hold at least {4 * fade} frames, got {frames}")
    rising = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    return WsolaState(
        np.zeros(1 << (frames - 1).bit_length(), np.float32),
        np.zeros(5, np.int64),
        np.zeros(1),
        rising.astype(np.float32),
        round(HOP_S * rate_hz),
        round(shortest_s * rate_hz),
        max(1, round(rate_hz / SEARCH_HZ)),
        rate_hz,
    )


@njit(cache=True, nogil=True)
def wsola_fill(state: WsolaState) -> int:
    """Return how many frames wait."""
    return state.counts[_WRITTEN] - state.counts[_READ]


@njit(cache=True, nogil=True)
def wsola_gone(state: WsolaState) -> tuple[int, int]:
    """Return how many pushed frames have left the line, heard or not, and the number of cuts and repeats so far."""
    return state.counts[_READ], state.counts[_CUTS]


@njit(cache=True, nogil=True)
def wsola_push(state: WsolaState, x: NDArray[np.float32]) -> int:
    """Append as much of x (float32[n]) as the line holds; return the number of frames."""
    line, counts = state.line, state.counts
    mask = line.shape[0] - 1
    fade = state.rising.shape[0]
    n = min(x.shape[0], line.shape[0] - wsola_fill(state))
    for i in range(n):
        value = x[i]
        if counts[_RISING] > 0:
            value *= state.rising[fade - counts[_RISING]]
            counts[_RISING] -= 1
        line[(counts[_WRITTEN] + i) & mask] = value
    counts[_WRITTEN] += n
    return n


@njit(cache=True, nogil=True)
def wsola_pull(state: WsolaState, y: NDArray[np.float32], speed: float, longest: int) -> int:
    """Move waiting sound into y (float32[n]) at speed (0.5..2), cutting no more than `longest` frames at a time.

    Below speed 1 as many are played twice, for which the line needs room: it waits with them while there is none.
    Return how many frames came: fewer than n where sound, or what must lie ahead of a cut, is not there yet.
    """
    line, counts = state.line, state.counts
    mask = line.shape[0] - 1
    done = 0
    while done < y.shape[0]:
        if counts[_TO_HOP] == 0:
            sign = 1.0 if speed > 1.0 else -1.0
            if speed != 1.0 and longest >= state.shortest:
                owed = state.owed[0] + state.hop * (speed - 1.0)
                if sign * owed >= OWED_S * state.rate_hz:
                    if wsola_fill(state) < longest + state.rising.shape[0]:
                        break
                    lag = _best_lag(state, longest, sign * owed >= DUE_S * state.rate_hz)
                    if lag > 0 and (speed > 1.0 or wsola_fill(state) + lag <= line.shape[0]):
                        if speed > 1.0:
                            _join(state, lag)
                        else:
                            _repeat(state, lag)
                        counts[_CUTS] += 1
                        owed -= sign * lag
                most = 2.0 * DUE_S * state.rate_hz
                state.owed[0] = min(max(owed, -most), most)
            counts[_TO_HOP] = state.hop
        n = min(counts[_TO_HOP], y.shape[0] - done, wsola_fill(state))
        if n == 0:
            break
        for i in range(n):
            y[done + i] = line[(counts[_READ] + i) & mask]
        counts[_READ] += n
        counts[_TO_HOP] -= n
        done += n
    return done


@njit(cache=True, nogil=True)
def wsola_skip(state: WsolaState, frames: int) -> int:
    """Drop up to `frames` of the oldest frames with a cross-fade over the gap; return how many went."""
    n = min(frames, wsola_fill(state) - state.rising.shape[0])
    if n <= 0:
        return 0
    _join(state, n)
    return n


@njit(cache=True, nogil=True)
def wsola_clear(state: WsolaState) -> int:
    """Drop all that waits, and fade in what is pushed next; return how many frames went."""
    counts = state.counts
    gone = wsola_fill(state)
    counts[_READ] += gone
    counts[_RISING] = state.rising.shape[0]
    return gone


@njit(cache=True, nogil=True)
def _join(state: WsolaState, lag: int) -> None:
    """Go `lag` frames on, and fade from the sound that would have come into that which comes, in the line itself."""
    line, counts = state.line, state.counts
    mask = line.shape[0] - 1
    read = counts[_READ]
    for i in range(state.rising.shape[0] - 1, -1, -1):  # backwards: a lag may be shorter than the fade
        here = line[(read + i) & mask]
        there = (read + lag + i) & mask
        line[there] = here + state.rising[i] * (line[there] - here)
    counts[_READ] = read + lag


@njit(cache=True, nogil=True)
def _repeat(state: WsolaState, lag: int) -> None:
    """Go `lag` frames back, to play those ahead twice: the fade into the second time begins where the first ends."""
    line, counts = state.line, state.counts
    mask = line.shape[0] - 1
    read = counts[_READ]
    for i in range(lag):
        line[(read - lag + i) & mask] = line[(read + i) & mask]
    for i in range(state.rising.shape[0]):  # forwards: a lag may be shorter than the fade
        here, on = (read + i) & mask, line[(read + lag + i) & mask]
        line[here] = on + state.rising[i] * (line[here] - on)
    counts[_READ] = read - lag


@njit(cache=True, nogil=True)
def _best_lag(state: WsolaState, longest: int, must: bool) -> int:
    """Return the lag up to longest at which the sound most resembles itself; 0 if it had better wait and may."""
    line = state.line
    mask = line.shape[0] - 1
    read = state.counts[_READ]
    fade = state.rising.shape[0]
    own = 0.0
    for i in range(fade):
        own += float(line[(read + i) & mask]) ** 2
    if own <= SILENCE_POWER * fade:
        return longest
    best, lag = -2.0, longest
    for candidate in range(state.shortest, longest + 1, state.stride):
        score = _likeness(line, read, candidate, fade, state.stride)
        if score > best:
            best, lag = score, candidate
    centre = lag
    best = _likeness(line, read, centre, fade, 1)
    for candidate in range(max(state.shortest, centre - state.stride), min(longest, centre + state.stride) + 1):
        score = _likeness(line, read, candidate, fade, 1)
        if score > best:
            best, lag = score, candidate
    return lag if must or best >= FITS * np.sqrt(own) else 0


@njit(cache=True, nogil=True)
def _likeness(line: NDArray[np.float32], read: int, lag: int, fade: int, stride: int) -> float:
    """Return the correlation of the sound at read and lag frames later over `fade` frames, by the later one's size."""
    mask = line.shape[0] - 1
    cross, energy = 0.0, 1e-12
    for i in range(0, fade, stride):
        later = float(line[(read + lag + i) & mask])
        cross += float(line[(read + i) & mask]) * later
        energy += later * later
    return cross / np.sqrt(energy)
