"""Streaming F0, voicing and confidence of 16 kHz speech, 55-800 Hz, one estimate every 80 samples (5 ms).

Each hop: (1) band-limit to about 130-600 Hz with gentle skirts, which evens out the harmonics and leaves a smooth
correlation; (2) normalised cross-correlation (NCCF) of the newest W samples with those one lag T before, over
all lags, with W = max(96, 0.8 T) samples, so that short periods are seen through a short window; (3) the best
local maxima, refined by a parabola, become candidates; (4) dynamic programming over log2(lag), forward only: a
candidate costs sqrt(1 - NCCF), which grows as the rms change from one period to the next, plus 0.11 an octave
of lag, plus 0.1 an octave further than 0.4 from the voice's F0 of the last quarter second or so; a move costs
0.4 an octave; the end of the cheapest path is the estimate (no backtracking, so no look-ahead); (5) voicing is a
two-state hidden Markov model run forward: its evidence is the NCCF peak, the level below the recent peak level,
the share of energy in the low band, how far the candidate moved since the last hop, how much dearer the next
best path is and how much further than 0.4 octaves it is from where the voice was. Its posterior is the confidence,
and voiced means confidence > 0.5; the model's persistence is the hysteresis. Nothing below about -80 dBFS is called
voiced. A tone that leaps up by octaves without a pause is followed up to 0.15 s late, for its old period still fits;
a voice that comes back more than an octave away is less sure for up to 0.5 s; periods louder and softer by turns by
more than 12 %, and otherwise alike, are taken in pairs.

Delay: an estimate describes the signal (W + T) / 2 + 10 samples before the newest sample it has seen: 9.6 ms at
100 Hz, 6.1 ms at 200 Hz, 4.9 ms at 400 Hz (`f0_delay_ms`; the test checks it on glides). Voicing
comes 15 ms after a vowel's start and goes 10 ms after its end, on average over 90-260 Hz (`bench/f0.py` measures
both); a low voice takes longer, for it is a period and a half before there is anything to compare.

Sources: NCCF and dynamic programming, Talkin, "A robust algorithm for pitch tracking (RAPT)" (1995); forward HMM,
Rabiner, "A tutorial on hidden Markov models" (1989), section III.A. The weights were fitted on LibriSpeech
train-clean-100 against pyworld Harvest + StoneMask, clean and with pink noise at 20 and 10 dB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

RATE_HZ = 16000
HOP = 80
F0_MIN_HZ = 55.0
F0_MAX_HZ = 800.0

_LAG_MIN = 20
_LAG_MAX = 291
_WINDOW_MIN = 96
_WINDOW_PERIODS = 0.8
# Longest lag, with one more for the parabola, and its window: 292 + 233, and 3 to spare
_HISTORY = 528

_TAPS = 21
_CUT_HZ = 600.0
_HIGH_PASS_POLE = 0.95
_HIGH_PASS_FLUSH = 1e-15

_CANDIDATES = 6
_NCCF_MIN = 0.2
_OCTAVE_COST = 0.11
_MOVE_COST = 0.4
_MARGIN_MAX = 0.5
# What F0 is taken for before any voice was heard, as if so many hops of it had been
_HABIT_HZ = 160.0
_HABIT_HOPS_FIRST = 8.0
_HABIT_COST = 0.1
_HABIT_OCTAVES = 0.4
_HABIT_HOPS = 50.0
_HABIT_CONFIDENCE = 0.1

# Mean square; 1e-8 is -80 dBFS
_NCCF_FLOOR = 1e-8
_LEVEL_FLOOR = 1e-10
_PEAK_MIN_DB = -50.0
_PEAK_FALL_DB = 0.05
_MOVE_MAX = 0.15
# At most so many octaves count as evidence against, so that no leap shuts a clear voice out
_STRANGE_MAX = 0.4
_STAY = 0.65

# Rows of F0State.paths
_OCTAVE, _COST, _PEAK, _OLD_OCTAVE, _OLD_COST = range(5)
# Elements of F0State.values
_IN, _OUT, _LOW_ENERGY, _ENERGY, _PEAK_DB, _LAST_OCTAVE, _HABIT, _HEARD, _CONFIDENCE, _F0_HZ = range(10)
# Elements of F0State.counts
_FILL, _PATHS = range(2)


class F0State(NamedTuple):
    """State of one tracker; make it with f0_state()."""

    taps: NDArray[np.float32]
    """Low-pass FIR, float32[21]."""
    wide: NDArray[np.float32]
    """High-passed input of the hop being filled, after the FIR's history: float32[100]."""
    low: NDArray[np.float32]
    """Band-limited signal, newest last: float32[528]."""
    energy: NDArray[np.float64]
    """Running sum of low squared: float64[529]."""
    nccf: NDArray[np.float64]
    """NCCF by lag in samples: float64[293]."""
    paths: NDArray[np.float64]
    """Candidates of this hop and the last: float64[5, 6]."""
    values: NDArray[np.float64]
    """Filter memory, energies, peak level, last candidate, recent F0, hops heard of it, confidence and F0:
    float64[10]."""
    counts: NDArray[np.int64]
    """Samples in the hop being filled, and live paths: int64[2]."""


def f0_state() -> F0State:
    """Return the state of a tracker that has heard nothing."""
    n = np.arange(_TAPS) - (_TAPS - 1) / 2
    taps = np.sinc(2 * _CUT_HZ / RATE_HZ * n) * np.hamming(_TAPS)
    values = np.zeros(10)
    values[_HABIT] = np.log2(RATE_HZ / _HABIT_HZ)
    values[_HEARD] = _HABIT_HOPS_FIRST
    values[_PEAK_DB] = _PEAK_MIN_DB
    return F0State(
        (taps / taps.sum()).astype(np.float32),
        np.zeros(_TAPS - 1 + HOP, np.float32),
        np.zeros(_HISTORY, np.float32),
        np.zeros(_HISTORY + 1),
        np.zeros(_LAG_MAX + 2),
        np.zeros((5, _CANDIDATES)),
        values,
        np.zeros(2, np.int64),
    )


@njit(cache=True, nogil=True)
def f0_lag_samples(f0_hz: float) -> int:
    """Return the age in samples, at the newest input sample, of what an estimate of f0_hz describes."""
    lag = RATE_HZ / f0_hz
    return int((max(_WINDOW_MIN, int(_WINDOW_PERIODS * lag)) + lag + _TAPS - 1) / 2)


def f0_delay_ms(f0_hz: float) -> float:
    """Return the same age in ms."""
    return 1000.0 / RATE_HZ * f0_lag_samples(f0_hz)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Return the inner product of two vectors of one length; slices from 0 let LLVM use SIMD."""
    total = np.float32(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True)
def _band_limit(state: F0State) -> None:
    """Low-pass the hop just filled into the end of low, and sum its energies."""
    taps, wide, low, energy = state.taps, state.wide, state.low, state.energy
    start = _HISTORY - HOP
    for i in range(start):
        low[i] = low[i + HOP]
    for i in range(start, _HISTORY):
        low[i] = 0.0
    for k in range(_TAPS):
        for i in range(HOP):
            low[start + i] += taps[k] * wide[i + k]
    for i in range(_TAPS - 1):
        wide[i] = wide[i + HOP]
    for i in range(_HISTORY):
        energy[i + 1] = energy[i] + np.float64(low[i]) * low[i]


@njit(cache=True, nogil=True)
def _correlate(low: NDArray[np.float32], energy: NDArray[np.float64], nccf: NDArray[np.float64]) -> None:
    """Fill nccf for all lags, each over its own window that ends at the newest sample."""
    end = _HISTORY
    for lag in range(_LAG_MIN - 1, _LAG_MAX + 2):
        window = max(_WINDOW_MIN, int(_WINDOW_PERIODS * lag))
        start = end - window
        floor = _NCCF_FLOOR * window
        newer = energy[end] - energy[start] + floor
        older = energy[end - lag] - energy[start - lag] + floor
        nccf[lag] = _dot(low[start:end], low[start - lag : end - lag]) / np.sqrt(newer * older)


@njit(cache=True, nogil=True)
def _strange(octave: float, habit: float) -> float:
    """Return how far beyond the voice's usual range around habit octave lies, both log2 of lag."""
    return max(abs(octave - habit) - _HABIT_OCTAVES, 0.0)


@njit(cache=True, nogil=True)
def _pick(nccf: NDArray[np.float64], paths: NDArray[np.float64], habit: float) -> int:
    """Put the cheapest local maxima of nccf into paths, in any order; return how many there are."""
    n = 0
    for lag in range(_LAG_MIN, _LAG_MAX + 1):
        before, here, after = nccf[lag - 1], nccf[lag], nccf[lag + 1]
        if here < _NCCF_MIN or here <= before or here < after:
            continue
        shift = 0.5 * (before - after) / (before - 2.0 * here + after)
        peak = min(here - 0.25 * (before - after) * shift, 1.0)
        octave = np.log2(lag + shift)
        cost = np.sqrt(1.0 - peak) + _OCTAVE_COST * octave + _HABIT_COST * _strange(octave, habit)
        slot = n
        if n < _CANDIDATES:
            n += 1
        else:
            slot = 0
            for k in range(1, _CANDIDATES):
                if paths[_COST, k] > paths[_COST, slot]:
                    slot = k
            if paths[_COST, slot] <= cost:
                continue
        paths[_OCTAVE, slot] = octave
        paths[_COST, slot] = cost
        paths[_PEAK, slot] = peak
    return n


@njit(cache=True, nogil=True)
def _extend(paths: NDArray[np.float64], n: int, n_old: int) -> int:
    """Add to each of n candidates the cheapest way from the n_old before; return the best and make it zero."""
    best = 0
    for k in range(n):
        way = 0.0 if n_old == 0 else np.inf
        for j in range(n_old):
            way = min(way, paths[_OLD_COST, j] + _MOVE_COST * abs(paths[_OCTAVE, k] - paths[_OLD_OCTAVE, j]))
        paths[_COST, k] += way
        if paths[_COST, k] < paths[_COST, best]:
            best = k
    cheapest = paths[_COST, best]
    for k in range(n):
        paths[_OLD_COST, k] = paths[_COST, k] - cheapest
        paths[_OLD_OCTAVE, k] = paths[_OCTAVE, k]
    return best


@njit(cache=True, nogil=True)
def _voicing(state: F0State, peak: float, move: float, margin: float, energy: float) -> float:
    """Return the probability that this hop is voiced, after the hops before it."""
    values = state.values
    low_energy = state.energy[_HISTORY] - state.energy[_HISTORY - HOP]
    low_db = 10.0 * np.log10((low_energy + values[_LOW_ENERGY]) / (2 * HOP) + _LEVEL_FLOOR)
    wide_db = 10.0 * np.log10((energy + values[_ENERGY]) / (2 * HOP) + _LEVEL_FLOOR)
    values[_LOW_ENERGY] = low_energy
    values[_ENERGY] = energy
    values[_PEAK_DB] = max(values[_PEAK_DB] - _PEAK_FALL_DB, low_db, _PEAK_MIN_DB)
    level_db = max(low_db - values[_PEAK_DB], -40.0)
    share_db = max(min(low_db - wide_db, 0.0), -30.0)
    known = (values[_HEARD] - _HABIT_HOPS_FIRST) / (_HABIT_HOPS - _HABIT_HOPS_FIRST)
    strange = known * min(_strange(values[_LAST_OCTAVE], values[_HABIT]), _STRANGE_MAX)
    evidence = 5.0 * peak**3 + 0.11 * level_db + 0.3 * share_db + 6.0 * margin - 3.5
    evidence -= 6.0 * min(move, _MOVE_MAX) + 6.0 * strange
    prior = _STAY * values[_CONFIDENCE] + (1.0 - _STAY) * (1.0 - values[_CONFIDENCE])
    voiced = prior * np.exp(evidence)
    return voiced / (voiced + 1.0 - prior)


@njit(cache=True, nogil=True)
def _estimate(state: F0State) -> None:
    """Use one full hop: set the state's confidence and, if it is voiced, F0."""
    wide, paths, values, counts = state.wide, state.paths, state.values, state.counts
    energy = 0.0
    for i in range(_TAPS - 1, _TAPS - 1 + HOP):
        energy += np.float64(wide[i]) * wide[i]
    _band_limit(state)
    _correlate(state.low, state.energy, state.nccf)
    n = _pick(state.nccf, paths, values[_HABIT])
    peak, move, margin = 0.0, _MOVE_MAX, 0.0
    if n > 0:
        best = _extend(paths, n, counts[_PATHS])
        margin = _MARGIN_MAX
        for k in range(n):
            if k != best:
                margin = min(margin, paths[_OLD_COST, k])
        peak = paths[_PEAK, best]
        move = abs(paths[_OCTAVE, best] - values[_LAST_OCTAVE])
        values[_LAST_OCTAVE] = paths[_OCTAVE, best]
    counts[_PATHS] = n
    values[_CONFIDENCE] = _voicing(state, peak, move, margin, energy)
    if values[_CONFIDENCE] > _HABIT_CONFIDENCE:
        values[_HEARD] = min(values[_HEARD] + 1.0, _HABIT_HOPS)
        values[_HABIT] += (values[_LAST_OCTAVE] - values[_HABIT]) / values[_HEARD]
    if n > 0:
        values[_F0_HZ] = min(max(RATE_HZ / 2.0 ** values[_LAST_OCTAVE], F0_MIN_HZ), F0_MAX_HZ)


@njit(cache=True, nogil=True)
def f0_track(
    state: F0State,
    x: NDArray[np.float32],
    out_f0_hz: NDArray[np.float32],
    out_voiced: NDArray[np.float32],
    out_confidence: NDArray[np.float32],
) -> int:
    """Take any block of 16 kHz mono, write one estimate for each hop it completes; return how many.

    x: float32[n]. out_*: float32[>= (n + 79) // 80]; the caller must make them long enough.
    out_f0_hz: F0 in Hz of the best candidate, voiced or not; the last one where there is none, 0 before the first.
    out_voiced: 1 or 0. out_confidence: probability of voicing, 0-1.
    The k-th estimate ever written has seen exactly 80 (k + 1) samples, however they were split into blocks.
    """
    wide, values, counts = state.wide, state.values, state.counts
    n = 0
    fill = counts[_FILL]
    for i in range(x.shape[0]):
        y = x[i] - values[_IN] + _HIGH_PASS_POLE * values[_OUT]
        if abs(y) < _HIGH_PASS_FLUSH:
            y = 0.0
        values[_IN] = x[i]
        values[_OUT] = y
        wide[_TAPS - 1 + fill] = y
        fill += 1
        if fill == HOP:
            fill = 0
            _estimate(state)
            out_f0_hz[n] = values[_F0_HZ]
            out_voiced[n] = 1.0 if values[_CONFIDENCE] > 0.5 else 0.0
            out_confidence[n] = values[_CONFIDENCE]
            n += 1
    counts[_FILL] = fill
    return n
