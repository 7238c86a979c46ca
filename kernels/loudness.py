"""Loudness: a follower that gives the output the loudness of the input, and the integrated loudness of a recording.

Both measure K-weighted power as ITU-R BS.1770-4 does for one channel: L = -0.691 + 10 log10(mean square), in LUFS.

The follower works in hops of HOP_MS. A hop counts when both signals are active: the reference above floor_lufs and
not more than RELATIVE_DB under its own running level, the output not more than MAX_GAIN_DB under floor_lufs. Over
the hops that count it keeps running powers of both (time constant follow_s) and heads for the gain that makes them
equal, within +-MAX_GAIN_DB and at no more than SLEW_DB_PER_S; within a hop the gain moves in a straight line. In
hops that do not count the target holds. The running level that decides about activity falls by DECAY_DB_PER_S
meanwhile, so one loud bump cannot make normal speech count as silence for ever. Delay: 0 samples.

Source: ITU-R BS.1770-4, Annex 1; K-weighting at other rates from the analogue filters behind its two tables.
"""

from __future__ import annotations

from math import exp, inf, log10, pi, tan
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .biquad import biquad_flush, biquad_sample

HOP_MS = 20.0
FOLLOW_S = 0.3
MAX_GAIN_DB = 12.0
RELATIVE_DB = 20.0
SLEW_DB_PER_S = 20.0
DECAY_DB_PER_S = 1.0
OFFSET_LUFS = -0.691
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0

# BS.1770-4 tables 1 and 2: the frequency in Hz that keeps its place at other rates, then b and a at 48 kHz
K_FILTERS = (
    (
        1682.0,
        (1.53512485958697, -2.69169618940638, 1.19839281085285),
        (1.0, -1.69065929318241, 0.73248077421585),
    ),
    (38.0, (1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)

# values
REFERENCE_SUM = 0  # squares of the hop so far
OUTPUT_SUM = 1
REFERENCE_POWER = 2  # running, over active hops
OUTPUT_POWER = 3
LEVEL_POWER = 4  # the reference's running power, falling in silence
GAIN = 5
GAIN_STEP = 6  # a sample, within the present hop
GAIN_DB = 7  # at the end of the present hop
FLOOR_POWER = 8
FOLLOW = 9  # one-pole coefficient an active hop
DECAY = 10  # factor on LEVEL_POWER an inactive hop
SLEW_DB = 11  # most dB a hop

# clock
PLACE = 0  # where the next reference sample goes in its delay line
HOP = 1  # samples of the hop so far
HOP_FRAMES = 2
ACTIVE_HOPS = 3


class LoudnessState(NamedTuple):
    """Values float64[12], clock int64[4], K-weighting float64[2, 5], memory float64[2, 2, 2], delay float32[n]."""

    values: NDArray[np.float64]
    clock: NDArray[np.int64]
    weighting: NDArray[np.float64]
    memory: NDArray[np.float64]
    delay: NDArray[np.float32]


def k_weighting(rate_hz: float) -> NDArray[np.float64]:
    """Return the K-weighting biquads, float64[2, 5]: a +4 dB high shelf (the head), then a high-pass.

    At 48 kHz they are the standard's own; elsewhere the same analogue filters. Raises ValueError below 4 kHz.
    """
    if rate_hz < 4000:
        raise ValueError(f"K-weighting needs a rate of 4000 Hz or more, got {rate_hz}")
    sections = np.empty((2, 5))
    for section, (match_hz, b, a) in zip(sections, K_FILTERS, strict=True):
        ratio = tan(pi * match_hz / 48000.0) / tan(pi * match_hz / rate_hz)
        b0, b1, b2 = _rewarped(b, ratio)
        a0, a1, a2 = _rewarped(a, ratio)
        section[:] = np.array([b0, b1, b2, a1, a2]) / a0
    return sections


def _rewarped(p: tuple[float, float, float], ratio: float) -> tuple[float, float, float]:
    """Return a polynomial in 1/z after a bilinear transform back to s and another one forth, `ratio` apart."""
    even, odd, square = p[0] + p[1] + p[2], 2 * ratio * (p[0] - p[2]), ratio**2 * (p[0] - p[1] + p[2])
    return (even + odd + square) / 4, (even - square) / 2, (even - odd + square) / 4


def loudness_state(
    rate_hz: float, reference_delay_frames: int = 0, follow_s: float = FOLLOW_S, floor_lufs: float = -50.0
) -> LoudnessState:
    """Return a follower at gain 1; the reference is delayed by reference_delay_frames to meet the output.

    Raises ValueError if rate_hz is below 4 kHz, follow_s is not positive or the delay is negative.
    """
    if follow_s <= 0 or reference_delay_frames < 0:
        raise ValueError("follow_s must be positive and reference_delay_frames not negative")
    hop_frames = round(rate_hz * HOP_MS / 1000.0)
    hop_s = hop_frames / rate_hz
    values = np.zeros(12)
    values[GAIN] = 1.0
    values[FLOOR_POWER] = 10.0 ** ((floor_lufs - OFFSET_LUFS) / 10.0)
    values[FOLLOW] = 1.0 - exp(-hop_s / follow_s)
    values[DECAY] = 10.0 ** (-DECAY_DB_PER_S * hop_s / 10.0)
    values[SLEW_DB] = SLEW_DB_PER_S * hop_s
    return LoudnessState(
        values,
        np.array([0, 0, hop_frames, 0], np.int64),
        k_weighting(rate_hz),
        np.zeros((2, 2, 2)),
        np.zeros(reference_delay_frames + 1, np.float32),
    )


@njit(cache=True, nogil=True)
def loudness_gain_db(state: LoudnessState) -> float:
    """Return the gain at the end of the present hop, in dB (for meters)."""
    return float(state.values[GAIN_DB])


@njit(cache=True, nogil=True)
def _end_hop(state: LoudnessState) -> None:
    """Judge the hop just finished and set where the gain goes during the next one."""
    values, clock = state.values, state.clock
    hop_frames = clock[HOP_FRAMES]
    reference = values[REFERENCE_SUM] / hop_frames
    output = values[OUTPUT_SUM] / hop_frames
    values[REFERENCE_SUM] = 0.0
    values[OUTPUT_SUM] = 0.0
    floor = values[FLOOR_POWER]
    relative = values[LEVEL_POWER] * 10.0 ** (-RELATIVE_DB / 10.0)
    output_floor = floor * 10.0 ** (-MAX_GAIN_DB / 10.0)
    if reference > floor and reference > relative and output > output_floor:
        clock[ACTIVE_HOPS] += 1
        # a plain mean at first, so that the first hop does not weigh more than those after it
        follow = max(values[FOLLOW], 1.0 / clock[ACTIVE_HOPS])
        values[REFERENCE_POWER] += follow * (reference - values[REFERENCE_POWER])
        values[OUTPUT_POWER] += follow * (output - values[OUTPUT_POWER])
        values[LEVEL_POWER] += follow * (reference - values[LEVEL_POWER])
    else:
        values[LEVEL_POWER] = max(values[LEVEL_POWER] * values[DECAY], floor)
    if clock[ACTIVE_HOPS] > 0:
        wanted_db = 10.0 * log10(values[REFERENCE_POWER] / values[OUTPUT_POWER])
        wanted_db = min(max(wanted_db, -MAX_GAIN_DB), MAX_GAIN_DB)
        change_db = wanted_db - values[GAIN_DB]
        values[GAIN_DB] += min(max(change_db, -values[SLEW_DB]), values[SLEW_DB])
    values[GAIN_STEP] = (10.0 ** (values[GAIN_DB] / 20.0) - values[GAIN]) / hop_frames
    biquad_flush(state.memory[0])
    biquad_flush(state.memory[1])


@njit(cache=True, nogil=True)
def loudness_match(state: LoudnessState, x_reference: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Scale y in place, both float32[n], so that its loudness follows the reference's."""
    values, clock, weighting, delay = state.values, state.clock, state.weighting, state.delay
    reference_memory, output_memory = state.memory[0], state.memory[1]
    place, hop, gain = clock[PLACE], clock[HOP], values[GAIN]
    for i in range(y.shape[0]):
        delay[place] = x_reference[i]
        place = place + 1 if place + 1 < delay.shape[0] else 0
        reference = biquad_sample(weighting, reference_memory, float(delay[place]))
        output = biquad_sample(weighting, output_memory, float(y[i]))
        values[REFERENCE_SUM] += reference * reference
        values[OUTPUT_SUM] += output * output
        gain += values[GAIN_STEP]
        y[i] *= gain
        hop += 1
        if hop == clock[HOP_FRAMES]:
            hop = 0
            values[GAIN] = gain
            _end_hop(state)
    clock[PLACE], clock[HOP], values[GAIN] = place, hop, gain


def integrated_loudness(x: NDArray[np.float32], rate_hz: float) -> float:
    """Return the gated loudness of x (float32[n], one channel) in LUFS, -inf if all of it lies under -70 LUFS.

    Blocks of 400 ms every 100 ms, gates at -70 LUFS and -10 LU; a shorter x counts as one block. An unfinished
    last block is left out, as the standard says. At 1 kHz it reads 0.05 LU low at a rate of 16 kHz and 0.2 LU low
    at 8 kHz, where the weighting's treble shelf is squeezed. Raises ValueError if rate_hz is below 4 kHz.
    """
    steps = max(4, int(x.shape[0] / rate_hz * 10.0 + 1e-9))
    ends = np.round(np.arange(1, steps + 1) * rate_hz / 10.0).astype(np.int64)
    if ends[-1] > x.shape[0]:
        ends = np.full(4, x.shape[0], np.int64)
    sums = np.zeros(steps)
    _step_sums(k_weighting(rate_hz), np.zeros((2, 2)), x, ends, sums)
    power = np.convolve(sums, np.ones(4), "valid") / np.maximum(1, ends[3:] - np.append(0, ends[:-4]))
    power = power[power > 10.0 ** ((ABSOLUTE_GATE_LUFS - OFFSET_LUFS) / 10.0)]
    if power.size == 0:
        return -inf
    power = power[power > power.mean() * 10.0 ** (RELATIVE_GATE_LU / 10.0)]
    return OFFSET_LUFS + 10.0 * log10(power.mean())


@njit(cache=True, nogil=True)
def _step_sums(
    weighting: NDArray[np.float64],
    memory: NDArray[np.float64],
    x: NDArray[np.float32],
    ends: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Add up the K-weighted squares of x from each end to the next."""
    start = 0
    for step in range(ends.shape[0]):
        for i in range(start, ends[step]):
            value = biquad_sample(weighting, memory, float(x[i]))
            sums[step] += value * value
        biquad_flush(memory)
        start = ends[step]
