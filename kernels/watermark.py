"""Streaming spread-spectrum watermark: a fixed noise carrier under the voice, whose signs carry bits. No delay.

The carrier repeats every FRAME samples (1.28 s) and is cut into SYMBOLS symbols of 5 ms, each played with the sign
that `watermark_state` was given. It lies between LOW_HZ and HIGH_HZ, where speech and codecs keep their energy, and is
kept as BANDS bands of equal width on the ERB scale, each of rms 1. Every band is played LEVEL_DB below the power that
the sound had in that band of late (two band-passes, square, RELEASE_MS: as long as a sound hides what follows), so it
lies under the masking threshold, never comes before the sound that hides it, and in silence there is nothing.

48 kHz. All is done sample by sample, so where blocks begin and end changes nothing. Nothing allocates. Finding the mark
again is `rtvc.provenance.detect`.

Source: Cox, Kilian, Leighton & Shamoon, "Secure spread spectrum watermarking for multimedia" (1997); Boney, Tewfik &
Hamdy, "Digital watermarks for audio signals" (1996), for the masking; Glasberg & Moore, "Derivation of auditory
filter shapes from notched-noise data" (1990), for the ERB scale.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .biquad import band_pass

RATE_HZ = 48_000
FRAME = 61_440
SYMBOLS = 256
SYMBOL = FRAME // SYMBOLS
EDGE = 72  # samples in which one symbol's sign turns into the next one's: a jump would splash over the other bands
BANDS = 16
LOW_HZ, HIGH_HZ = 300.0, 3500.0
LEVEL_DB = -27.0
RELEASE_MS = 40.0
GAIN_FRAMES = 48  # samples from one gain to the next, in a straight line
TINY = np.float32(1e-15)
CARRIER_SEED = 0x52545643

_TURN = (0.5 - 0.5 * np.cos(np.pi * (np.arange(EDGE) + 0.5) / EDGE)).astype(np.float32)

PLACE, DUE = range(2)  # of WatermarkState.clock: place in the carrier, samples until the next gain


class WatermarkState(NamedTuple):
    """Carriers float32[FRAME, BANDS], signs float32[SYMBOLS], the rest by band; see `watermark_state`."""

    carriers: NDArray[np.float32]
    signs: NDArray[np.float32]
    filters: NDArray[np.float32]  # b0, a1, a2 of the band-pass, which runs twice
    memory: NDArray[np.float32]  # two of each run
    power: NDArray[np.float32]
    gain: NDArray[np.float32]
    step: NDArray[np.float32]
    clock: NDArray[np.int64]


def watermark_state(signs: NDArray[np.float32]) -> WatermarkState:
    """Return a watermark that says signs (float32[SYMBOLS], each -1 or 1); ValueError for others."""
    if signs.shape != (SYMBOLS,) or not np.all(np.abs(signs) == 1.0):
        raise ValueError(f"signs must be {SYMBOLS} numbers that are -1 or 1")
    edges = band_edges_hz()
    filters = np.zeros((3, BANDS), np.float32)
    for band in range(BANDS):
        centre_hz = math.sqrt(edges[band] * edges[band + 1])
        b0, _, _, a1, a2 = band_pass(RATE_HZ, centre_hz, centre_hz / (edges[band + 1] - edges[band]))
        filters[:, band] = b0, a1, a2
    power, gain, step = (np.zeros(BANDS, np.float32) for _ in range(3))
    memory = np.zeros((4, BANDS), np.float32)
    return WatermarkState(
        _band_carriers(), signs.astype(np.float32), filters, memory, power, gain, step, np.zeros(2, np.int64)
    )


def band_edges_hz() -> NDArray[np.float64]:
    """Return the edges of the bands in Hz, float64[BANDS + 1]: equal steps on the ERB-number scale."""
    low, high = (21.4 * math.log10(1.0 + 0.00437 * hz) for hz in (LOW_HZ, HIGH_HZ))
    edges: NDArray[np.float64] = (10.0 ** (np.linspace(low, high, BANDS + 1) / 21.4) - 1.0) / 0.00437
    return edges


def carrier() -> NDArray[np.float64]:
    """Return the white carrier, float64[FRAME], that the bands are cut from."""
    return np.random.Generator(np.random.PCG64(CARRIER_SEED)).standard_normal(FRAME)


@cache
def _band_carriers() -> NDArray[np.float32]:
    """Return the carrier's bands, float32[FRAME, BANDS], without phase shift, each of rms 1; all marks share them.

    From the middle of each band to the middle of the next one sinks as the other rises.
    """
    edges_hz = band_edges_hz()
    spectrum = np.fft.rfft(carrier())
    position = np.interp(np.fft.rfftfreq(FRAME, 1.0 / RATE_HZ), edges_hz, np.arange(BANDS + 1.0), -1.0, BANDS + 1.0)
    bands = np.zeros((FRAME, BANDS), np.float32)
    for band in range(BANDS):
        weight = np.clip(1.0 - np.abs(position - band - 0.5), 0.0, 1.0)
        wave = np.fft.irfft(spectrum * weight, FRAME)
        bands[:, band] = wave / math.sqrt(np.mean(wave**2))
    bands.flags.writeable = False
    return bands


@njit(cache=True, nogil=True)
def watermark(state: WatermarkState, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Write x with the mark added into y, both float32[n] at 48 kHz; y may be x."""
    carriers, signs, filters, memory = state.carriers, state.signs, state.filters, state.memory
    power, gain, step, clock = state.power, state.gain, state.step, state.clock
    place, due = clock[PLACE], clock[DUE]
    smoothing = np.float32(1.0 - math.exp(-1000.0 / (RELEASE_MS * RATE_HZ)))
    level = np.float32(10.0 ** (LEVEL_DB / 20.0))
    for i in range(x.shape[0]):
        if due == 0:
            due = GAIN_FRAMES
            for band in range(BANDS):
                for k in range(4):
                    if not abs(memory[k, band]) >= TINY:  # slow subnormal numbers, or what is not a number
                        memory[k, band] = np.float32(0.0)
                if not power[band] >= TINY:
                    power[band] = np.float32(0.0)
                if not gain[band] >= TINY:
                    gain[band] = np.float32(0.0)
                step[band] = (level * math.sqrt(power[band]) - gain[band]) / np.float32(GAIN_FRAMES)
        value = x[i]
        for band in range(BANDS):
            b0, a1, a2 = filters[0, band], filters[1, band], filters[2, band]
            once = b0 * value + memory[0, band]
            memory[0, band] = memory[1, band] - a1 * once
            memory[1, band] = -b0 * value - a2 * once
            twice = b0 * once + memory[2, band]
            memory[2, band] = memory[3, band] - a1 * twice
            memory[3, band] = -b0 * once - a2 * twice
            power[band] += smoothing * (twice * twice - power[band])
            gain[band] += step[band]
        mark = np.float32(0.0)
        for band in range(BANDS):
            mark += gain[band] * carriers[place, band]
        symbol, within = place // SYMBOL, place % SYMBOL
        sign = signs[symbol]
        if within < EDGE:
            sign = signs[symbol - 1] + _TURN[within] * (sign - signs[symbol - 1])
        y[i] = value + sign * mark
        place = place + 1 if place + 1 < FRAME else 0
        due -= 1
    clock[PLACE], clock[DUE] = place, due
