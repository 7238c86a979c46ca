"""The speaker's own consonants in another's voice: the hisses and bursts above 3 kHz, of which they are made.

Which consonant was said is told above all by noise above 3 kHz. So where the speaker's sound x is strong there, most
of that band is taken over into the voice's, y:

    out = A(y) + s (c g B(x) - B(y)),   s = a / (1 + (T (P - P_H) / P_H)^2)

B is the band from 3 to 7.5 kHz, by Linkwitz-Riley filters of fourth order: -6 dB at both ends, -2.3 dB between them. A
is the all-pass that all their bands add up to, so at s = 0 every frequency passes at its level, and A - B is what a
crossover would leave. Above 7.5 kHz many microphones have nothing, the voice has. P and P_H are the powers of x and of
B(x) above 4.5 kHz, over about 16 ms by two one-poles; a is the amount. Where P_H is 14 dB under the rest, s is a / 2. A
line of 8 kHz has nothing above 4 kHz, so there the voice keeps its hisses.

g is the ratio of levels of y and x: the mean of their ratio in dB over 2 s of speech, where x does not hiss and
neither is silent; held while y pauses. Until there were 0.1 s of y, s is proportionally less. c is 1, or what keeps
the speaker's band within 6 dB above the voice's: no noise comes through where the voice pauses.

x is delayed by delay_samples; its powers are those of what is 8 ms later, the delay of the means, so they are there in
time. All goes sample by sample, in float64. Delay from y to the output: that of A below 1 kHz, 0.2 ms
(`consonant_delay_frames`).

Limits: 30 dB more or less of x, in speech, are followed to within 4 dB in 4 s; until then hisses are weaker, or 6 dB
stronger, than they should be. Two unlike hisses add up where the bands end: the level between is up to 3 dB lower.

Source: Linkwitz, "Active crossover networks for noncoincident drivers" (1976); Shadle, "The aerodynamics of speech"
(1997), for the spectra of fricatives.
"""

from __future__ import annotations

from math import exp, log, pi, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .biquad import FLUSH_FRAMES, biquad_flush, biquad_sample, high_pass, low_pass

LOW_HZ, HISS_HZ, HIGH_HZ = 3000.0, 4500.0, 7500.0
HALF = 10.0 ** (-14.0 / 10.0)  # T
POLE_MS = 4.0
LEVEL_S, TRUSTED_S = 2.0, 0.1
ACTIVE = 1e-5  # power of y, -50 dBFS, that is speech
SILENT = 1e-10  # power of x, -100 dBFS, that is none
MOST = 10.0 ** (6.0 / 10.0)  # of the voice's own power, that c allows
TINY = 1e-12

# means, two poles each
_X_ALL, _X_BAND, _X_HISS, _Y_ALL, _Y_BAND = range(5)
# settings
_POLE, _LEVEL_SAMPLES, _TRUSTED_SAMPLES = 0, 1, 2
# clock
_PLACE, _AHEAD, _HEARD, _AGE = range(4)


class ConsonantState(NamedTuple):
    """One stream; see `consonant_state`.

    lines float32[2, delay + 1] (x, B(x)); filters float64[sections, 5] and their memories float64[sections, 2]; means
    float64[5, 2]; louder float64[1], log of g^2; settings float64[3]; clock int64[4].
    """

    lines: NDArray[np.float32]
    band: NDArray[np.float64]
    hiss: NDArray[np.float64]
    all_pass: NDArray[np.float64]
    x_memory: NDArray[np.float64]
    hiss_memory: NDArray[np.float64]
    y_memory: NDArray[np.float64]
    all_pass_memory: NDArray[np.float64]
    means: NDArray[np.float64]
    louder: NDArray[np.float64]
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
        np.array([high_pass(rate_hz, HISS_HZ)] * 2),
        np.array([_all_pass(rate_hz, LOW_HZ), _all_pass(rate_hz, HIGH_HZ)]),
        np.zeros((4, 2)),
        np.zeros((2, 2)),
        np.zeros((4, 2)),
        np.zeros((2, 2)),
        np.zeros((5, 2)),
        np.zeros(1),
        np.array([1.0 - exp(-1e3 / (POLE_MS * rate_hz)), LEVEL_S * rate_hz, TRUSTED_S * rate_hz]),
        np.array([0, ahead, 0, 0], np.int64),
    )


def consonant_delay_frames(rate_hz: float) -> int:
    """Return the group delay from y to the output at low frequencies, to the nearest sample at 44.1 kHz and above."""
    return round(sqrt(2.0) / pi * rate_hz * (1.0 / LOW_HZ + 1.0 / HIGH_HZ))


def _all_pass(rate_hz: float, corner_hz: float) -> NDArray[np.float64]:
    """Return float64[5]: the sum of a low-pass and a high-pass of fourth order at corner_hz."""
    a1, a2 = low_pass(rate_hz, corner_hz)[3:]
    return np.array([a2, a1, 1.0, a1, a2])


@njit(cache=True, nogil=True)
def consonants(
    state: ConsonantState, x: NDArray[np.float32], amount: NDArray[np.float32], y: NDArray[np.float32]
) -> None:
    """Put x's consonants into y by amount (0 to 1), all float32[n]; y belongs to what x was delay_samples ago.

    x and y are two arrays.
    """
    lines, means, louder, clock = state.lines, state.means, state.louder, state.clock
    pole, level_samples = state.settings[_POLE], state.settings[_LEVEL_SAMPLES]
    trusted_samples = state.settings[_TRUSTED_SAMPLES]
    place, ahead, heard, age = clock[_PLACE], clock[_AHEAD], clock[_HEARD], clock[_AGE]
    length = lines.shape[1]
    for i in range(x.shape[0]):
        lines[0, place], lines[1, place] = x[i], biquad_sample(state.band, state.x_memory, float(x[i]))
        place = place + 1 if place + 1 < length else 0
        early = place + ahead if place + ahead < length else place + ahead - length
        x_power = _mean(means, _X_ALL, pole, lines[0, early])
        hiss_power = _mean(means, _X_HISS, pole, biquad_sample(state.hiss, state.hiss_memory, lines[1, early]))
        ratio = (HALF * max(x_power - hiss_power, 0.0) + SILENT) / hiss_power
        hiss = 1.0 / (1.0 + ratio * ratio)
        said = float(y[i])
        y_power = _mean(means, _Y_ALL, pole, said)
        if y_power > ACTIVE and x_power > SILENT:
            heard = min(heard + 1, int(level_samples))
            louder[0] += (1.0 - hiss) / heard * (log(y_power / x_power) - louder[0])
        voice = biquad_sample(state.band, state.y_memory, said)
        gain = exp(louder[0])
        own_power = gain * _mean(means, _X_BAND, pole, lines[1, early])
        gain *= min(1.0, MOST * _mean(means, _Y_BAND, pole, voice) / own_power)
        share = amount[i] * hiss * min(1.0, heard / trusted_samples)
        whole = biquad_sample(state.all_pass, state.all_pass_memory, said)
        y[i] = whole + share * (sqrt(gain) * lines[1, place] - voice)
        age += 1
        if age == FLUSH_FRAMES:
            age = 0
            biquad_flush(state.x_memory)
            biquad_flush(state.hiss_memory)
            biquad_flush(state.y_memory)
            biquad_flush(state.all_pass_memory)
            biquad_flush(means)
    clock[_PLACE], clock[_HEARD], clock[_AGE] = place, heard, age


@njit(cache=True, nogil=True)
def _mean(means: NDArray[np.float64], which: int, pole: float, value: float) -> float:
    """Return the mean power of one signal after its next value."""
    means[which, 0] += pole * (value * value - means[which, 0])
    means[which, 1] += pole * (means[which, 0] - means[which, 1])
    return means[which, 1] + TINY
