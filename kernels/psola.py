"""Pitch and formant shifting with the spectral envelope kept: low-delay, pitch-synchronous overlap-add.

Voiced speech is cut into grains of two periods, centred on pitch marks that step from period to period by
waveform correlation; grains are laid out again at the wanted period (pitch) and read faster or slower
(formants). Unvoiced speech is copied by grains at their own place, so it stays as it is unless formants move.
Window halves are min(wanted period, own period / formant ratio) as in Praat's "Change gender", so neighbouring
windows add up to one wherever they meet.

What makes the delay short: a grain is not rendered at once but read sample by sample while it sounds, so only
its rising half must lie in the past, and a mark that cannot be seen yet is predicted one period ahead and
corrected by correlation as soon as its samples are there.

All positions are in input samples. With `delay_samples` D, output sample n sounds input time n - D. Unvoiced
sound with formant ratio 1 is reproduced exactly (to interpolation error, < 1e-6).

Source: Moulines & Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis
using diphones", Speech Communication 9 (1990); Boersma & Weenink, Praat manual, "Sound: Change gender...".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

HISTORY = 8192  # samples of input kept; 170 ms at 48 kHz
GRAINS = 16  # sounding at once; 2 to 4 in practice
MARKS = 64
_TAPS = 24  # of the interpolating filter
_PHASES = 64
_WINDOW = 1024  # places of the Hann window's table
_CUTOFFS = 6  # filters for reading 1.0 .. 2.0 times as fast

_SHORTEST_STEP = 16
_MAX_GAIN = 1.8  # at most this much for pulses set far apart

# integer state
_N, _MARK_COUNT, _NEXT_GRAIN, _WAS_VOICED = range(4)
# float state
_NEXT_CENTRE, _NEXT_LEFT, _LAST_MARK = range(3)
# grain fields
_CENTRE, _SOURCE, _LEFT, _RIGHT, _RATIO, _GAIN, _ACTIVE = range(7)


class PsolaState(NamedTuple):
    """State of one shifter: see `psola_state`."""

    history: NDArray[np.float32]
    marks: NDArray[np.float64]
    grains: NDArray[np.float64]
    ints: NDArray[np.int64]
    floats: NDArray[np.float64]
    table: NDArray[np.float32]
    window: NDArray[np.float64]
    pieces: NDArray[np.float32]
    settings: NDArray[np.float64]


def _interpolation_table() -> NDArray[np.float32]:
    """Return Kaiser-windowed sinc filters, float32[cutoff, phase * tap]; phase _PHASES is phase 0 one tap on."""
    cutoff = (1.0 / (1.0 + np.arange(_CUTOFFS) / (_CUTOFFS - 1)))[:, None, None]
    at = np.arange(_TAPS) - (_TAPS // 2 - 1) - (np.arange(_PHASES + 1) / _PHASES)[:, None]
    window = np.i0(7.0 * np.sqrt(np.maximum(0.0, 1.0 - (at / (_TAPS / 2)) ** 2))) / np.i0(7.0)
    weights = cutoff * np.sinc(cutoff * at) * window
    return (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32).reshape(_CUTOFFS, -1)


def psola_state(rate_hz: float, delay_samples: int) -> PsolaState:
    """Return a shifter for signals at rate_hz with exactly delay_samples of delay.

    Below about 10 ms of delay deep voices lose clarity: their marks are predicted rather than seen.
    """
    unvoiced_step = round(0.004 * rate_hz)
    floats = np.zeros(3)
    floats[_NEXT_CENTRE] = float(unvoiced_step)
    floats[_NEXT_LEFT] = float(unvoiced_step)
    return PsolaState(
        np.zeros(HISTORY + _TAPS, np.float32),
        np.zeros(MARKS),
        np.zeros((GRAINS, 7)),
        np.zeros(4, np.int64),
        floats,
        _interpolation_table(),
        0.5 + 0.5 * np.cos(np.pi * np.minimum(np.arange(_WINDOW + 2) / _WINDOW, 1.0)),
        np.zeros((2, 2048), np.float32),
        np.array([float(delay_samples), float(unvoiced_step), rate_hz]),
    )


@njit(cache=True, nogil=True)
def _remember(history: NDArray[np.float32], n: int, value: np.float32) -> None:
    """Store input sample n; the first _TAPS places exist twice, so every filter reads one piece."""
    place = n & (HISTORY - 1)
    history[place] = value
    if place < _TAPS:
        history[HISTORY + place] = value


@njit(cache=True, nogil=True)
def _sound(state: PsolaState, grain: NDArray[np.float64], now: int, y: NDArray[np.float32]) -> None:
    """Add one grain's samples from `now` on to y (float32[n]); put the grain out of use at its end."""
    centre, source, left, right, speed, gain = grain[:6]
    last = int(np.ceil(centre + right)) - now
    if last <= y.shape[0]:
        grain[_ACTIVE] = 0.0
    cutoff = min(_CUTOFFS - 1, max(0, int(np.ceil((speed - 1.0) * (_CUTOFFS - 1) - 1e-6))))
    filters = state.table[cutoff]
    window = state.window
    for k in range(min(last, y.shape[0])):
        offset = now + k - centre
        away = -offset / left if offset < 0.0 else offset / right
        if away >= 1.0:
            continue
        at = away * _WINDOW
        w = int(at)
        weight = gain * (window[w] + (at - w) * (window[w + 1] - window[w]))
        y[k] += np.float32(weight * _read(state.history, filters, source + speed * offset))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _read(history: NDArray[np.float32], filters: NDArray[np.float32], position: float) -> np.float32:
    """Return the signal at a fractional position, band-limited by `filters` (float32[(_PHASES + 1) * _TAPS])."""
    whole = int(np.floor(position))
    phase = (position - whole) * _PHASES
    row = int(phase)
    blend = np.float32(phase - row)
    # unsigned places: a signed one could be negative, and checking for that would stop vectorisation
    start = np.uint64((whole - (_TAPS // 2 - 1)) & (HISTORY - 1))
    here = np.uint64(row * _TAPS)
    there = np.uint64((row + 1) * _TAPS)
    total = np.float32(0.0)
    for i in range(_TAPS):
        k = np.uint64(i)
        low = filters[here + k]
        total += history[start + k] * (low + blend * (filters[there + k] - low))
    return total


@njit(cache=True, nogil=True)
def _strongest(history: NDArray[np.float32], first: int, last: int) -> int:
    """Return the place of the largest magnitude in [first, last]: near a glottal closure in voiced speech."""
    best = first
    peak = np.float32(-1.0)
    for i in range(first, last + 1):
        magnitude = abs(history[i & (HISTORY - 1)])
        if magnitude > peak:
            peak = magnitude
            best = i
    return best


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _product(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Return the dot product of two equally long pieces."""
    total = np.float32(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True)
def _correlated_mark(state: PsolaState, mark: int, period: float, reach: int, newest: int) -> int:
    """Return the place one period after `mark` (+- reach) where the waveform most resembles that around `mark`."""
    history = state.history
    before = int(0.7 * period)
    length = before + int(0.3 * period)
    centre = mark + round(period)
    span = length + 2 * reach
    own, region = state.pieces[0, :length], state.pieces[1, :span]
    for k in range(length):
        own[k] = history[(mark - before + k) & (HISTORY - 1)]
    for k in range(span):
        region[k] = history[(centre - reach - before + k) & (HISTORY - 1)]
    candidates = min(2 * reach + 1, newest - (centre - reach - before + length) + 1)
    best = reach
    best_score = -2.0
    own_energy = float(_product(own, own)) + 1e-12
    for c in range(candidates):
        piece = region[c : c + length]
        energy = float(_product(piece, piece)) + 1e-12
        score = float(_product(own, piece)) / np.sqrt(own_energy * energy) - 0.02 * abs(c - reach) / reach
        if score > best_score:
            best_score = score
            best = c
    return centre - reach + best


@njit(cache=True, nogil=True)
def _follow_marks(state: PsolaState, period: float, newest: int) -> None:
    """Append every pitch mark whose neighbourhood has arrived."""
    reach = max(2, int(0.12 * period))
    need = period + reach + 0.3 * period + 1
    while newest >= state.floats[_LAST_MARK] + need:
        mark = int(state.floats[_LAST_MARK])
        following = _correlated_mark(state, mark, period, reach, newest)
        state.floats[_LAST_MARK] = following
        state.marks[state.ints[_MARK_COUNT] & (MARKS - 1)] = following
        state.ints[_MARK_COUNT] += 1


@njit(cache=True, nogil=True)
def _nearest_mark(state: PsolaState, centre: float, period: float, latest: float) -> float:
    """Return the mark, seen or predicted, nearest to centre and not after latest."""
    last = state.floats[_LAST_MARK]
    best = last
    distance = 1e18
    predicted = last
    for _ in range(3):
        if predicted <= latest and abs(predicted - centre) < distance:
            best = predicted
            distance = abs(predicted - centre)
        predicted += period
    count = state.ints[_MARK_COUNT]
    for k in range(1, min(count, MARKS // 2) + 1):
        mark = state.marks[(count - k) & (MARKS - 1)]
        if mark <= latest and abs(mark - centre) < distance:
            best = mark
            distance = abs(mark - centre)
        if mark < centre - 2 * period:
            break
    return best


@njit(cache=True, nogil=True)
def _start_grain(
    state: PsolaState, newest: int, own_hz: float, wanted_hz: float, ratio: float, everywhere: bool
) -> None:
    """Place the next grain, decide where the one after it goes, and start it sounding."""
    delay, unvoiced_step, rate_hz = state.settings
    centre = state.floats[_NEXT_CENTRE]
    left = state.floats[_NEXT_LEFT]
    source = centre
    gain = 1.0
    voiced = own_hz > 0.0
    period = rate_hz / own_hz if voiced else float(unvoiced_step)
    onset = 0
    if voiced and not state.ints[_WAS_VOICED]:
        # a voiced stretch begins on a strong place ahead; one more unvoiced grain leads up to it
        last = max(int(centre), min(newest, int(centre + period)))
        mark = _strongest(state.history, int(centre), last)
        state.floats[_LAST_MARK] = mark
        state.ints[_MARK_COUNT] = 1
        state.marks[0] = mark
        onset = mark - int(centre)
    if voiced and onset < _SHORTEST_STEP:
        centre += onset
        step = rate_hz / wanted_hz
        _follow_marks(state, period, newest)
        reach = min(step, period / ratio)
        room = delay - _TAPS // 2 - abs(ratio - 1.0) * reach
        source = _nearest_mark(state, centre, period, centre + room)
        left = min(left, reach)
        right = reach
        gain = min(_MAX_GAIN, np.sqrt(step / reach))
    else:
        step = float(onset) if onset else rate_hz / wanted_hz if everywhere else unvoiced_step
        right = step
    state.ints[_WAS_VOICED] = 1 if voiced else 0
    slot = state.ints[_NEXT_GRAIN] % GRAINS
    state.ints[_NEXT_GRAIN] += 1
    grain = state.grains[slot]
    grain[_CENTRE] = centre
    grain[_SOURCE] = source
    grain[_LEFT] = left
    grain[_RIGHT] = right
    grain[_RATIO] = ratio
    grain[_GAIN] = gain
    grain[_ACTIVE] = 1.0
    state.floats[_NEXT_CENTRE] = centre + step
    state.floats[_NEXT_LEFT] = right


@njit(cache=True, nogil=True)
def psola(
    state: PsolaState,
    x: NDArray[np.float32],
    own_hz: float,
    wanted_hz: float,
    ratio: float,
    everywhere: bool,
    y: NDArray[np.float32],
) -> None:
    """Shift x (float32[n]) into y (float32[n]), delayed by the state's delay_samples; any n.

    own_hz is the F0 of the newest input, 0 where it is unvoiced; wanted_hz the F0 to sound; ratio the formant
    scale (0.5..2). With everywhere, unvoiced sound is set to the wanted pitch too (a robot).
    """
    history = state.history
    delay = int(state.settings[0])
    n = x.shape[0]
    i = 0
    while i < n:
        # up to the next grain's start nothing changes: render that stretch grain by grain
        _remember(history, state.ints[_N] + i, x[i])
        now = state.ints[_N] + i - delay
        while state.floats[_NEXT_CENTRE] - state.floats[_NEXT_LEFT] <= now + 1:
            _start_grain(state, state.ints[_N] + i, own_hz, wanted_hz, ratio, everywhere)
        until = int(np.ceil(state.floats[_NEXT_CENTRE] - state.floats[_NEXT_LEFT])) - 1 - now
        stop = min(n, i + max(1, until))
        for k in range(i + 1, stop):
            _remember(history, state.ints[_N] + k, x[k])
        y[i:stop] = np.float32(0.0)
        for g in range(GRAINS):
            if state.grains[g, _ACTIVE] != 0.0:
                _sound(state, state.grains[g], now, y[i:stop])
        i = stop
    state.ints[_N] += n
