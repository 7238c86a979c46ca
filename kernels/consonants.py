"""The speaker's own consonants in another's voice: the hisses and bursts above 3 kHz, of which they are made.

Which consonant was said is told above all by noise above 3 kHz, and who said it is told less there than anywhere. So
where the speaker's sound x is noisy there, that band of it takes the place of the voice's, y:

    out = A(y) + s (c g B(x) - B(y)),   s = a / (1 + (T (P - P_B) / P_B)^2)

B is the band from 3 to 7.5 kHz, by Linkwitz-Riley filters of fourth order: without it, y has lost just that. What all
their bands would add up to is the all-pass A, so at s = 0 every frequency passes at its level. (Above 7.5 kHz many
microphones have nothing, the voice has.) P and P_B are the powers of x and B(x), over about 16 ms by two one-poles; a
is the amount. At 12 dB less in the band than below, half of it is exchanged.

g is the ratio of levels of y and x in the last 2 s of speech that does not hiss, held while y pauses; until there were
0.1 s of it, s is proportionally less. c is 1, or what keeps the speaker's band within 6 dB of the voice's, by the
same means: no noise comes through where the voice pauses.

x is delayed by delay_samples; s follows from what is 8 ms later, the delay of the means. All goes sample by sample, in
float64. Delay from y to the output: that of A below 1 kHz, 0.2 ms (`consonant_delay_frames`).

Source: Linkwitz, "Active crossover networks for noncoincident drivers" (1976); Shadle, "The aerodynamics of speech"
(1997), for the spectra of fricatives.
"""

from __future__ import annotations

from math import exp, pi, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .biquad import FLUSH_FRAMES, biquad_flush, biquad_sample, high_pass, low_pass

LOW_HZ, HIGH_HZ = 3000.0, 7500.0
HALF = 10.0 ** (-12.0 / 10.0)  # T
POLE_MS = 4.0
LEVEL_S, TRUSTED_S = 2.0, 0.1
ACTIVE = 1e-5  # power of y, -50 dBFS, that is speech
ROOM = 4.0  # power above the voice's own that c allows
TINY = 1e-12

# means, two poles each
_ALL, _BAND, _OWN, _VOICE, _SAID = range(5)
# levels
_X, _Y = 0, 1
# settings
_POLE, _LEVEL_SAMPLES, _TRUSTED_SAMPLES = 0, 1, 2
# clock
_PLACE, _AHEAD, _HEARD, _AGE = range(4)


class ConsonantState(NamedTuple):
    """One stream; see `consonant_state`."""

    lines: NDArray[np.float32]
    band: NDArray[np.float64]
    all_pass: NDArray[np.float64]
    x_memory: NDArray[np.float64]
    y_memory: NDArray[np.float64]
    all_pass_memory: NDArray[np.float64]
    means: NDArray[np.float64]
    levels: NDArray[np.float64]
    settings: NDArray[np.float64]
    clock: NDArray[np.int64]


def consonant_state(rate_hz: float, delay_samples: int) -> ConsonantState:
    """Return a silent stream whose y comes delay_samples after its x.

    ValueError if those are fewer than the delay of the means, or the band does not fit under half the rate.
    """
    ahead = round(2e-3 * POLE_MS * rate_hz)
    if delay_samples < ahead:
        raise ValueError(f"delay_samples must be at least {ahead} at {rate_hz:g} Hz, got {delay_samples}")
    return ConsonantState(
        np.zeros((2, delay_samples + 1), np.float32),
        np.array([high_pass(rate_hz, LOW_HZ)] * 2 + [low_pass(rate_hz, HIGH_HZ)] * 2),
        np.array([_all_pass(rate_hz, LOW_HZ), _all_pass(rate_hz, HIGH_HZ)]),
        np.zeros((4, 2)),
        np.zeros((4, 2)),
        np.zeros((2, 2)),
        np.zeros((5, 2)),
        np.zeros(2),
        np.array([1.0 - exp(-1e3 / (POLE_MS * rate_hz)), LEVEL_S * rate_hz, TRUSTED_S * rate_hz]),
        np.array([0, ahead, 0, 0], np.int64),
    )


def consonant_delay_frames(rate_hz: float) -> int:
    """Return the group delay from y to the output at low frequencies, to the nearest sample."""
    return round(sqrt(2.0) / pi * rate_hz * (1.0 / LOW_HZ + 1.0 / HIGH_HZ))


def _all_pass(rate_hz: float, corner_hz: float) -> NDArray[np.float64]:
    """Return float64[5]: the sum of a low-pass and a high-pass of fourth order at corner_hz."""
    a1, a2 = low_pass(rate_hz, corner_hz)[3:]
    return np.array([a2, a1, 1.0, a1, a2])


@njit(cache=True, nogil=True)
def consonants(
    state: ConsonantState, x: NDArray[np.float32], amount: NDArray[np.float32], y: NDArray[np.float32]
) -> None:
    """Put x's consonants into y by amount (0 to 1), all float32[n]; y belongs to what x was delay_samples ago."""
    lines, means, levels, clock = state.lines, state.means, state.levels, state.clock
    pole, level_samples, trusted_samples = state.settings[_POLE], state.settings[1], state.settings[2]
    place, ahead, heard, age = clock[_PLACE], clock[_AHEAD], clock[_HEARD], clock[_AGE]
    length = lines.shape[1]
    for i in range(x.shape[0]):
        lines[0, place], lines[1, place] = x[i], biquad_sample(state.band, state.x_memory, float(x[i]))
        place = place + 1 if place + 1 < length else 0
        early = place + ahead if place + ahead < length else place + ahead - length
        band = _mean(means, _BAND, pole, lines[1, early])
        ratio = HALF * max(_mean(means, _ALL, pole, lines[0, early]) - band, 0.0) / band
        hiss = 1.0 / (1.0 + ratio * ratio)
        said = float(y[i])
        if _mean(means, _SAID, pole, said) > ACTIVE:
            heard += 1
            step = (1.0 - hiss) / min(float(heard), level_samples)
            levels[_X] += step * (lines[0, place] ** 2 - levels[_X])
            levels[_Y] += step * (said * said - levels[_Y])
        own = sqrt((levels[_Y] + TINY) / (levels[_X] + TINY)) * lines[1, place]
        voice = biquad_sample(state.band, state.y_memory, said)
        room = ROOM * _mean(means, _VOICE, pole, voice) / _mean(means, _OWN, pole, own)
        share = amount[i] * hiss * min(1.0, heard / trusted_samples)
        whole = biquad_sample(state.all_pass, state.all_pass_memory, said)
        y[i] = whole + share * (min(1.0, sqrt(room)) * own - voice)
        age += 1
        if age == FLUSH_FRAMES:
            age = 0
            biquad_flush(state.x_memory)
            biquad_flush(state.y_memory)
            biquad_flush(state.all_pass_memory)
    clock[_PLACE], clock[_HEARD], clock[_AGE] = place, heard, age


@njit(cache=True, nogil=True)
def _mean(means: NDArray[np.float64], which: int, pole: float, value: float) -> float:
    """Return the mean power of one signal after its next value."""
    means[which, 0] += pole * (value * value - means[which, 0])
    means[which, 1] += pole * (means[which, 0] - means[which, 1])
    return means[which, 1] + TINY
