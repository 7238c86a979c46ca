"""Dynamics: scales the movement of a signal's level around its running mean, as intonation is scaled for pitch.

The level is the reference's mean square over hops of HOP_MS, weighted by WINDOW (30 ms, so that single periods of a
low voice do not show), in dB, around the sample that is being scaled: the signal runs later than its reference, so
nothing has to be waited for if that is 4 hops or more (with less, the level is that much late). The mean runs over hops
that count: above the floor, and at most ACTIVE_DB under the mean itself, which falls by DECAY_DB_PER_S while none does.
First a plain mean, then one with time constant MEAN_S.

A level d dB off the mean gets (scale - 1) d dB of gain, d limited to +-REACH_DB. What lies further under the mean than
REACH_DB is pause or noise: there the gain goes back to 0 dB, which it has from twice REACH_DB under the mean on. Within
a hop the gain moves in a straight line, and a new scale is reached in steps of SCALE_STEP a hop. At scale 1 the signal
passes unchanged, bit for bit. Delay: 0 samples.
"""

from __future__ import annotations

from math import exp, log10
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

HOP_MS = 5.0
WINDOW = (1 / 12, 2 / 12, 3 / 12, 3 / 12, 2 / 12, 1 / 12)
MEAN_S = 3.0
ACTIVE_DB = 20.0
DECAY_DB_PER_S = 1.0
REACH_DB = 12.0
SCALE_STEP = 0.3
TINY = 1e-12

# values
SUM = 0  # squares of the hop so far
MEAN_DB = 1
GAIN = 2
GAIN_STEP = 3  # a sample, within the present hop
SCALE = 4
FLOOR_DB = 5
FOLLOW = 6  # coefficient of the mean an active hop
DECAY = 7  # dB an inactive hop
WANTED_SCALE = 8

# clock
HOP = 0  # samples of the hop so far
HOP_FRAMES = 1
ACTIVE_HOPS = 2


class DynamicsState(NamedTuple):
    """Values float64[9], clock int64[3], powers float64[n] of past hops, the newest last."""

    values: NDArray[np.float64]
    clock: NDArray[np.int64]
    powers: NDArray[np.float64]


def dynamics_state(rate_hz: float, delay_frames: int, scale: float = 1.0, floor_dbfs: float = -60.0) -> DynamicsState:
    """Return a state that has heard nothing; the signal runs delay_frames later than its reference.

    Raises ValueError if rate_hz is not positive or delay_frames or scale is negative.
    """
    if rate_hz <= 0 or delay_frames < 0 or scale < 0:
        raise ValueError(
            f"rate {rate_hz} Hz, delay {delay_frames}, scale {scale}: none must be negative, the rate not 0"
        )
    hop_frames = round(rate_hz * HOP_MS / 1000.0)
    values = np.zeros(9)
    values[GAIN] = 1.0
    values[SCALE] = values[WANTED_SCALE] = scale
    values[FLOOR_DB] = values[MEAN_DB] = floor_dbfs
    values[FOLLOW] = 1.0 - exp(-HOP_MS / 1000.0 / MEAN_S)
    values[DECAY] = DECAY_DB_PER_S * HOP_MS / 1000.0
    late = max(0, round(delay_frames / hop_frames) - len(WINDOW) // 2 - 1)
    return DynamicsState(values, np.array([0, hop_frames, 0], np.int64), np.zeros(len(WINDOW) + late))


@njit(cache=True, nogil=True)
def dynamics_set(state: DynamicsState, scale: float) -> None:
    """Scale movements by scale (0 is even, 1 as they are), heading there from the next hop on."""
    state.values[WANTED_SCALE] = scale


@njit(cache=True, nogil=True)
def _end_hop(state: DynamicsState) -> None:
    """Take in the hop just finished and set where the gain goes during the next one."""
    values, clock, powers = state.values, state.clock, state.powers
    newest = values[SUM] / clock[HOP_FRAMES]
    values[SUM] = 0.0
    powers[:-1] = powers[1:]
    powers[-1] = newest
    power = 0.0
    for k in range(len(WINDOW)):
        power += WINDOW[k] * powers[k]
    level_db = 10.0 * log10(power + TINY)
    if level_db > values[FLOOR_DB] and level_db > values[MEAN_DB] - ACTIVE_DB:
        clock[ACTIVE_HOPS] += 1
        values[MEAN_DB] += max(values[FOLLOW], 1.0 / clock[ACTIVE_HOPS]) * (level_db - values[MEAN_DB])
    else:
        values[MEAN_DB] = max(values[MEAN_DB] - values[DECAY], values[FLOOR_DB])
    moved_db = min(level_db - values[MEAN_DB], REACH_DB)
    if moved_db < -REACH_DB:
        moved_db = min(0.0, -2.0 * REACH_DB - moved_db)
    values[SCALE] += min(max(values[WANTED_SCALE] - values[SCALE], -SCALE_STEP), SCALE_STEP)
    wanted = 10.0 ** ((values[SCALE] - 1.0) * moved_db / 20.0)
    values[GAIN_STEP] = (wanted - values[GAIN]) / clock[HOP_FRAMES]


@njit(cache=True, nogil=True)
def dynamics(state: DynamicsState, x_reference: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Scale y in place, both float32[n], by what the reference's level asks for; any split gives the same samples."""
    values, clock = state.values, state.clock
    hop, gain = clock[HOP], values[GAIN]
    for i in range(y.shape[0]):
        x = float(x_reference[i])
        values[SUM] += x * x
        gain += values[GAIN_STEP]
        y[i] *= gain
        hop += 1
        if hop == clock[HOP_FRAMES]:
            hop = 0
            if values[GAIN_STEP] != 0.0 and abs(gain - 1.0) < 1e-9:
                gain = 1.0  # what rounding left over
            values[GAIN] = gain
            _end_hop(state)
    clock[HOP], values[GAIN] = hop, gain
