"""Streaming frames and overlap-add: the two halves of a short-time Fourier transform, without the transform.

The framer takes samples in blocks of any length and says when a frame is due: after every `hop` samples, the
newest `frame` samples (zeros before the first), times the analysis window. Overlap-add takes frames back, times
the synthesis window, and gives out samples. Both count samples in their own state, so where blocks begin and end
changes nothing. Used sample for sample,

    i = 0
    while i < x.shape[0]:
        taken = framer_push(framer, x[i:])
        overlap_pop(overlap, y[i : i + taken])
        if framer_pull(framer, frame):
            overlap_add(overlap, frame)  # after some change to `frame`
        i += taken

gives y[t] = x[t - delay], where delay is the length of the synthesis window: the whole frame for a matched window,
less for one from `short_synthesis`, which takes only the newest samples of each frame while the analysis
keeps the long frame's frequency resolution. A vocoder that has no input to count calls
`overlap_add` and then `overlap_pop` with one hop.

Error of reconstruction: below 1e-6 of full scale. Source: Allen & Rabiner, "A unified approach to short-time
Fourier analysis and synthesis" (1977); Mauler & Martin, "A low delay, variable resolution, perfect
reconstruction spectral analysis-synthesis system" (2007), for the short window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

HOP, DUE, PLACE = range(3)  # of Framer.clock: samples per hop, samples until the next frame, place in the ring


class Framer(NamedTuple):
    """Where frames come from; see `framer_state`."""

    window: NDArray[np.float32]
    history: NDArray[np.float32]
    clock: NDArray[np.int64]


class OverlapAdd(NamedTuple):
    """Where frames go; see `overlap_state`."""

    window: NDArray[np.float32]
    sum: NDArray[np.float32]
    place: NDArray[np.int64]


def hann(frame: int) -> NDArray[np.float64]:
    """Return the periodic Hann window, float64[frame]: 0 first, its peak 1 in the middle."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)


def sqrt_hann(frame: int) -> NDArray[np.float64]:
    """Return the square root of the periodic Hann window, float64[frame]."""
    return np.sin(np.pi * np.arange(frame) / frame)


def matched_synthesis(analysis: NDArray[np.float64], hop: int) -> NDArray[np.float64]:
    """Return the synthesis window of the analysis window's own shape; see `normalised` for errors."""
    return normalised(analysis, analysis, hop)


def short_synthesis(
    analysis: NDArray[np.float64], hop: int, delay_frames: int, rise_frames: int
) -> NDArray[np.float64]:
    """Return a synthesis window, float64[delay_frames], for the newest delay_frames samples of each frame.

    It rises like half a Hann window for rise_frames, falls like another half for the rest, and is then normalised.
    ValueError if the two lengths do not fit the frame; see `normalised` for other errors.
    """
    frame = analysis.shape[0]
    if not 0 < rise_frames < delay_frames <= frame:
        raise ValueError(f"need 0 < rise {rise_frames} < delay {delay_frames} <= frame {frame}")
    fall_frames = delay_frames - rise_frames
    shape = np.concatenate((hann(2 * rise_frames)[:rise_frames], hann(2 * fall_frames)[fall_frames:]))
    return normalised(analysis, shape, hop)


def normalised(analysis: NDArray[np.float64], synthesis: NDArray[np.float64], hop: int) -> NDArray[np.float64]:
    """Return synthesis scaled so that its product with the end of analysis, summed over hops, is 1 everywhere.

    ValueError if some sample would be seen (almost) nowhere.
    """
    size = synthesis.shape[0]
    phase = np.arange(size) % hop
    total = np.bincount(phase, analysis[analysis.shape[0] - size :] * synthesis, hop)
    if total.min() < 1e-2 * total.max():
        raise ValueError(f"a synthesis window of {size} frames leaves gaps at a hop of {hop}")
    scaled: NDArray[np.float64] = synthesis / total[phase]
    return scaled


def framer_state(window: NDArray[np.float64], hop: int) -> Framer:
    """Return a framer of window.shape[0] samples every hop; ValueError unless 0 < hop <= frame."""
    frame = window.shape[0]
    if not 0 < hop <= frame:
        raise ValueError(f"hop must be from 1 to the frame's {frame}, not {hop}")
    clock = np.array([hop, hop, 0], np.int64)
    return Framer(window.astype(np.float32), np.zeros(frame, np.float32), clock)


@njit(cache=True, nogil=True)
def framer_push(state: Framer, x: NDArray[np.float32]) -> int:
    """Take samples from x (float32[n]) until a frame is due or x ends; return how many were taken."""
    size = state.history.shape[0]
    place = state.clock[PLACE]
    n = min(x.shape[0], state.clock[DUE])
    first = min(n, size - place)
    for i in range(first):
        state.history[place + i] = x[i]
    for i in range(first, n):
        state.history[i - first] = x[i]
    place += n
    state.clock[PLACE] = place - size if place >= size else place
    state.clock[DUE] -= n
    return n


@njit(cache=True, nogil=True)
def framer_pull(state: Framer, frame: NDArray[np.float32]) -> bool:
    """If a frame is due, write it, windowed, oldest first, into frame[:size] and return True.

    The rest of a longer frame is left alone. While a frame is due, `framer_push` takes nothing.
    """
    if state.clock[DUE] > 0:
        return False
    size = state.history.shape[0]
    place = state.clock[PLACE]
    first = size - place
    for i in range(first):
        frame[i] = state.history[place + i] * state.window[i]
    for i in range(place):
        frame[first + i] = state.history[i] * state.window[first + i]
    state.clock[DUE] = state.clock[HOP]
    return True


def overlap_state(window: NDArray[np.float64]) -> OverlapAdd:
    """Return overlap-add with a synthesis window, float64[delay], that belongs to the end of each frame."""
    return OverlapAdd(window.astype(np.float32), np.zeros(window.shape[0], np.float32), np.zeros(1, np.int64))


@njit(cache=True, nogil=True)
def overlap_delay(state: OverlapAdd) -> int:
    """Return the delay in samples from framer_push to overlap_pop, when used sample for sample."""
    return state.sum.shape[0]


@njit(cache=True, nogil=True)
def overlap_add(state: OverlapAdd, frame: NDArray[np.float32]) -> None:
    """Add the end of frame (float32, at least `overlap_delay` long), windowed, to the sound to come."""
    size = state.sum.shape[0]
    place = state.place[0]
    skipped = frame.shape[0] - size
    first = size - place
    for i in range(first):
        state.sum[place + i] += frame[skipped + i] * state.window[i]
    for i in range(place):
        state.sum[i] += frame[skipped + first + i] * state.window[first + i]


@njit(cache=True, nogil=True)
def overlap_pop(state: OverlapAdd, y: NDArray[np.float32]) -> None:
    """Move the next len(y) samples into y (float32[n], at most one hop between two calls of overlap_add)."""
    size = state.sum.shape[0]
    place = state.place[0]
    n = y.shape[0]
    first = min(n, size - place)
    for i in range(first):
        y[i] = state.sum[place + i]
        state.sum[place + i] = np.float32(0.0)
    for i in range(first, n):
        y[i] = state.sum[i - first]
        state.sum[i - first] = np.float32(0.0)
    place += n
    state.place[0] = place - size if place >= size else place
