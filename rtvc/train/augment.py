"""Augmentations of 16 kHz training speech, each a small function of (sound, random generator).

They imitate what a microphone in a room does and what makes one speaker differ from another: tempo with pitch,
level, colour of the microphone, room, noise, clipping, band limits, lost packets. All keep the length but `tempo`,
which says its factor, so that labels can follow. Vocal-tract warp is done in the mel filters (`warped_filters`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.mel import mel_filters

RATE_HZ = 16000
Signal = NDArray[np.float32]


def tempo(x: Signal, factor: float) -> Signal:
    """Return x played `factor` times faster, pitch and formants moved with it (linear interpolation)."""
    n = int(len(x) / factor)
    return np.interp(np.arange(n) * factor, np.arange(len(x)), x).astype(np.float32)


def level(x: Signal, rng: np.random.Generator) -> Signal:
    """Return x at a peak between -40 and 0 dBFS."""
    peak = float(np.abs(x).max())
    return (x * (10.0 ** (rng.uniform(-40.0, 0.0) / 20.0) / max(peak, 1e-5))).astype(np.float32)


def colour(x: Signal, rng: np.random.Generator) -> Signal:
    """Return x through a smooth random response of some dB either way, as of another microphone."""
    n = len(x)
    knots_hz = np.array([0.0, 150.0, 400.0, 1000.0, 2500.0, 5000.0, 8000.0])
    gains_db = rng.normal(0.0, 4.0, len(knots_hz))
    gains_db[0] -= rng.uniform(0.0, 20.0)
    gain = 10.0 ** (np.interp(np.fft.rfftfreq(n, 1.0 / RATE_HZ), knots_hz, gains_db) / 20.0)
    return np.fft.irfft(np.fft.rfft(x) * gain, n).astype(np.float32)


def room(x: Signal, rng: np.random.Generator) -> Signal:
    """Return x in a room: direct sound, then a decaying tail of noise (RT60 0.1 to 0.6 s, 3 to 20 dB under it)."""
    rt60_s = rng.uniform(0.1, 0.6)
    m = int(rt60_s * RATE_HZ)
    tail = rng.standard_normal(m) * 10.0 ** (-3.0 * np.arange(m) / m)
    tail[: int(rng.uniform(0.001, 0.005) * RATE_HZ)] = 0.0
    tail *= 10.0 ** (-rng.uniform(3.0, 20.0) / 20.0) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    n = len(x) + m
    wet = np.fft.irfft(np.fft.rfft(x, n) * np.fft.rfft(tail, n), n)[: len(x)]
    return (x + wet).astype(np.float32)


def coloured_noise(n: int, rng: np.random.Generator) -> Signal:
    """Return n samples of noise of unit power whose spectrum falls by 0 to 9 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n, 1.0 / RATE_HZ), 30.0)
    noise = np.fft.irfft(spectrum * f ** -rng.uniform(0.0, 1.5), n)
    return (noise / max(float(np.std(noise)), 1e-9)).astype(np.float32)


def add_noise(x: Signal, noise: Signal, snr_db: float) -> Signal:
    """Return x with noise (repeated or cut to its length) snr_db under the louder half of x's 20 ms frames."""
    power = np.square(x[: len(x) // 320 * 320].reshape(-1, 320).astype(np.float64)).mean(axis=1)
    active = float(np.sort(power)[len(power) // 2 :].mean()) if len(power) else 0.0
    noise = np.resize(noise, len(x))
    gain = np.sqrt(active / max(float(np.mean(noise.astype(np.float64) ** 2)), 1e-12) / 10.0 ** (snr_db / 10.0))
    return (x + gain * noise).astype(np.float32)


def clip(x: Signal, rng: np.random.Generator) -> Signal:
    """Return x clipped at 15 to 80 % of its peak."""
    limit = rng.uniform(0.15, 0.8) * float(np.abs(x).max())
    return np.clip(x, -limit, limit).astype(np.float32)


def band(x: Signal, rng: np.random.Generator) -> Signal:
    """Return x without what lies over 2.8 to 7 kHz, as after a telephone or a codec."""
    spectrum = np.fft.rfft(x)
    f = np.fft.rfftfreq(len(x), 1.0 / RATE_HZ)
    cut = rng.uniform(2800.0, 7000.0)
    return np.fft.irfft(spectrum / (1.0 + (f / cut) ** 16), len(x)).astype(np.float32)


def lose_packets(x: Signal, rng: np.random.Generator) -> Signal:
    """Return x with one to four gaps of 10 to 40 ms."""
    y = x.copy()
    for _ in range(rng.integers(1, 5)):
        n = int(rng.uniform(0.010, 0.040) * RATE_HZ)
        at = int(rng.integers(0, max(1, len(x) - n)))
        y[at : at + n] = 0.0
    return y


def degrade(x: Signal, noises: list[Signal], rng: np.random.Generator) -> Signal:
    """Return x as another microphone in another room may hear it: each of the above at random, level last."""
    if rng.random() < 0.3:
        x = room(x, rng)
    if rng.random() < 0.6:
        noise = noises[rng.integers(len(noises))] if noises and rng.random() < 0.5 else coloured_noise(len(x), rng)
        x = add_noise(x, np.roll(noise, int(rng.integers(len(noise)))), rng.uniform(5.0, 40.0))
    if rng.random() < 0.7:
        x = colour(x, rng)
    if rng.random() < 0.1:
        x = clip(x, rng)
    if rng.random() < 0.15:
        x = band(x, rng)
    if rng.random() < 0.1:
        x = lose_packets(x, rng)
    return level(x, rng)


def warped_filters(ratio: float, fft_frames: int, bands: int) -> NDArray[np.float32]:
    """Return mel filters [bands, fft_frames // 2 + 1] that hear every formant `ratio` times higher than it is.

    Up to 4.8 kHz frequencies scale by ratio; from there the axis is bent so that the top stays where it is.
    """
    plain = mel_filters(RATE_HZ, fft_frames, bands, 0.0, RATE_HZ / 2)
    f = np.fft.rfftfreq(fft_frames, 1.0 / RATE_HZ)
    bend_hz = 4800.0
    heard = np.where(
        f < bend_hz, f * ratio, ratio * bend_hz + (f - bend_hz) * (8000.0 - ratio * bend_hz) / (8000.0 - bend_hz)
    )
    warped = np.zeros_like(plain)
    for k in range(bands):
        warped[k] = np.interp(heard, f, plain[k])
    return warped.astype(np.float32)
