"""Streaming aspiration noise: noise with the short-time spectral envelope and level of the sound that goes in.

Every hop, the newest window of the input gives a power spectrum and its cepstral envelope, too smooth to show F0.
The envelope is read at frequency / formant_ratio, so formants move by formant_ratio, and becomes the magnitude of
a noise frame whose bins have random phases; the frame gets the window's mean power, so level is kept whatever the
warp. Noise frames overlap under a Hann window scaled for independent frames, whose powers add (a square-root Hann
would leak 20 dB of a vowel's low frequencies into its highs). The window's mean is taken out first, so DC makes
no noise and sound below about 90 Hz less than its share. For breath, mix the result in; for whisper, use it alone.

The delay, from the middle of the analysis window to the middle of the noise frame, is 4 hops: exactly 512 samples at
48 kHz (10.7 ms) and at 44.1 kHz; `aspiration_delay` tells it for any rate. Noise comes from a seeded generator
in the state: the same input gives the same samples, in any blocks. Long-term error of the envelope on vowels:
4.5 dB rms from 200 Hz to 6 kHz for F0 up to 220 Hz; above 250 Hz harmonics begin to shape it.

Source: Kawahara, Masuda-Katsuse & de Cheveigné (1999) for noise under a smoothed envelope; Steele, Lea & Flood,
"Fast splittable pseudorandom number generators" (2014), for SplitMix64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .envelope import EnvelopePlan, cepstral_envelope, envelope_plan
from .fft import FftPlan, fft_plan, irfft, power_spectrum
from .stft import (
    Framer,
    OverlapAdd,
    framer_pull,
    framer_push,
    framer_state,
    hann,
    overlap_add,
    overlap_pop,
    overlap_state,
)

WINDOW, NOISE, TRANSFORM = 4, 4, 8  # lengths of analysis window, noise frame and transform, in hops
QUEFRENCY = 0.75  # order of the envelope, in hops: 2 ms at 48 kHz

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


class AspirationState(NamedTuple):
    """Streaming aspiration; see `aspiration_state`."""

    framer: Framer
    envelope: EnvelopePlan
    fft: FftPlan
    overlap: OverlapAdd
    frame: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    noise: NDArray[np.float32]
    seed: NDArray[np.uint64]


def aspiration_state(rate_hz: float, seed: int = 1) -> AspirationState:
    """Return the state for one stream at rate_hz; equal seeds give equal noise.

    The hop is the power of two nearest to 128 / 48000 s; ValueError if that puts the transform outside 64 to 4096.
    """
    hop = 2 ** round(math.log2(rate_hz * 128 / 48000))
    transform = TRANSFORM * hop
    window = hann(WINDOW * hop)
    overlap = hann(NOISE * hop)
    return AspirationState(
        framer_state(window / np.sqrt(np.sum(window**2)), hop),
        envelope_plan(transform),
        fft_plan(NOISE * hop),
        overlap_state(overlap * np.sqrt(hop / np.sum(overlap**2))),
        np.zeros(transform, np.float32),
        np.zeros((2, transform // 2 + 1), np.float32),
        np.zeros(NOISE * hop, np.float32),
        np.array([seed], np.uint64),
    )


def aspiration_delay(state: AspirationState) -> int:
    """Return the delay in samples."""
    return (state.framer.window.shape[0] + state.noise.shape[0]) // 2


@njit(cache=True, nogil=True)
def aspiration(state: AspirationState, x: NDArray[np.float32], formant_ratio: float, y: NDArray[np.float32]) -> None:
    """Write the noise for x into y (float32[n] both, may be one array); formant_ratio is 0.5 to 2.0.

    formant_ratio counts where a hop ends inside the block; it is clipped to its range.
    """
    ratio = np.float32(min(max(formant_ratio, 0.5), 2.0))
    i = 0
    while i < x.shape[0]:
        taken = framer_push(state.framer, x[i:])
        overlap_pop(state.overlap, y[i : i + taken])
        if framer_pull(state.framer, state.frame):
            _make_noise(state, ratio)
            overlap_add(state.overlap, state.noise)
        i += taken


@njit(cache=True, nogil=True)
def aspiration_listen(state: AspirationState, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Hear x without making new noise; what was made before runs out into y (float32[n] both).

    So noise that is wanted again has the sound of now before it, not that of the last time.
    """
    i = 0
    while i < x.shape[0]:
        taken = framer_push(state.framer, x[i:])
        overlap_pop(state.overlap, y[i : i + taken])
        framer_pull(state.framer, state.frame)
        i += taken


@njit(cache=True, nogil=True)
def _make_noise(state: AspirationState, ratio: np.float32) -> None:
    """Turn the analysis frame into the noise frame."""
    re, im = state.spectrum[0], state.spectrum[1]
    _remove_mean(state.frame, state.framer.window)
    power_spectrum(state.envelope.fft, state.frame, re, im)
    total = np.float32(0.0)
    for k in range(re.shape[0]):
        total += re[k]
    size = state.noise.shape[0]
    cepstral_envelope(state.envelope, re, int(QUEFRENCY * size / NOISE), im)
    bins = size // 2 + 1
    energy = _warp(im, ratio, re[:bins])
    # the window has unit energy, so total / (n/2) is the mean power of x; each noise bin has energy 2
    level = np.float32(size) * math.sqrt(total / (np.float32(im.shape[0] - 1) * np.float32(4.0) * energy))
    _randomise(state.seed, level, re[:bins], im[:bins])
    irfft(state.fft, re[:bins], im[:bins], state.noise)


@njit(cache=True, nogil=True)
def _remove_mean(frame: NDArray[np.float32], window: NDArray[np.float32]) -> None:
    """Take the windowed mean out of a windowed frame."""
    total = np.float32(0.0)
    weight = np.float32(0.0)
    for i in range(window.shape[0]):
        total += frame[i]
        weight += window[i]
    mean = total / weight
    for i in range(window.shape[0]):
        frame[i] -= mean * window[i]


@njit(cache=True, nogil=True)
def _warp(envelope: NDArray[np.float32], ratio: np.float32, magnitude: NDArray[np.float32]) -> np.float32:
    """Write the warped envelope's magnitude at the noise frame's bins; return the sum of its squares.

    Past the highest frequency the last value goes on. Bin 0 is left silent.
    """
    last = envelope.shape[0] - 1
    step = np.float32(last) / (np.float32(magnitude.shape[0] - 1) * ratio)
    magnitude[0] = np.float32(0.0)
    energy = np.float32(0.0)
    for k in range(1, magnitude.shape[0]):
        place = min(np.float32(k) * step, np.float32(last))
        below = min(int(place), last - 1)
        part = place - np.float32(below)
        log_power = envelope[below] + part * (envelope[below + 1] - envelope[below])
        magnitude[k] = math.exp(np.float32(0.5) * log_power)
        energy += magnitude[k] * magnitude[k]
    return energy


@njit(cache=True, nogil=True)
def _randomise(seed: NDArray[np.uint64], level: np.float32, re: NDArray[np.float32], im: NDArray[np.float32]) -> None:
    """Turn magnitudes in re into bins: one of four phases each, two random bits from SplitMix64."""
    bits = np.uint64(0)
    for k in range(re.shape[0]):
        if k & 31 == 0:
            seed[0] += _GOLDEN
            bits = seed[0]
            bits = (bits ^ (bits >> np.uint64(30))) * _MIX1
            bits = (bits ^ (bits >> np.uint64(27))) * _MIX2
            bits ^= bits >> np.uint64(31)
        magnitude = level * re[k]
        re[k] = magnitude if bits & np.uint64(1) else -magnitude
        im[k] = magnitude if bits & np.uint64(2) else -magnitude
        bits >>= np.uint64(2)
