"""Figures of somebody's speech: pitch, formants, tempo, loudness.

Pitch is what the F0 tracker calls voiced (`rtvc.kernels.f0`, 55 to 800 Hz); creak at the ends of phrases mostly is not.

Formants are the angles of the poles of linear prediction by the autocorrelation method (Makhoul, "Linear prediction: A
tutorial review", 1975; the poles as formants: Markel and Gray, "Linear Prediction of Speech", 1976, chapter 7): voiced
windows of 25 ms at 11 kHz, pre-emphasised, order 12; poles narrower than BANDWIDTH_MAX_HZ, by frequency. Above an F0 of
about 250 Hz they lean towards the nearest harmonic.

Tempo is syllable nuclei a second of speech, pauses left out: voiced peaks of the energy between 300 and 2500 Hz, less
than 25 dB below the loudest, with a dip of 2 dB before them (de Jong and Wempe, "Praat script to detect syllable nuclei
and measure speech rate automatically", 2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.f0 import HOP, f0_delay_ms, f0_state, f0_track
from rtvc.kernels.loudness import integrated_loudness

from .errors import VoiceError
from .rates import at_rate
from .recording_check import Samples
from .speaker import without_pauses

RATE_HZ = 16000
VOICED_MIN_S = 1.0
F0_RANGE_PERCENT = (5.0, 95.0)

FORMANT_RATE_HZ = 11000
FORMANT_WINDOW = 275
FORMANT_HOP = 110
FORMANT_WINDOWS_MAX = 6000  # of a long recording; a minute of voiced sound is plenty for a median
ORDER = 12
PRE_EMPHASIS = 0.97
FORMANTS_FROM_HZ = 150.0
BANDWIDTH_MAX_HZ = 500.0

NUCLEUS_BAND_HZ = (300.0, 2500.0)
NUCLEUS_WINDOW = 640  # 40 ms
NUCLEUS_HOP = 160
NUCLEUS_BELOW_PEAK_DB = 25.0
NUCLEUS_DIP_DB = 2.0
SMOOTHING = 7  # hops of the energy's Hann window


def speech_statistics(samples: Samples, rate_hz: int) -> dict[str, float]:
    """Return figures of the speech in samples (float32[n], mono), units in their names.

    f0_median_hz, f0_low_hz and f0_high_hz (5 % of voiced frames lie below, 5 % above), f1_hz, f2_hz, f3_hz (medians),
    syllables_per_s, loudness_lufs. Raises VoiceError if less than VOICED_MIN_S of it is voiced.
    """
    speech = at_rate(samples, rate_hz, RATE_HZ)
    f0_hz, voiced = _pitch(speech)
    voiced_s = float(np.count_nonzero(voiced)) * HOP / RATE_HZ
    if voiced_s < VOICED_MIN_S:
        raise VoiceError(
            f"only {voiced_s:.1f} s of the speech are voiced, {VOICED_MIN_S:g} s must be; speak, do not whisper"
        )
    low, high = np.percentile(f0_hz[voiced], F0_RANGE_PERCENT)
    first, second, third = _formants_hz(speech, voiced)
    return {
        "f0_median_hz": float(np.median(f0_hz[voiced])),
        "f0_low_hz": float(low),
        "f0_high_hz": float(high),
        "f1_hz": first,
        "f2_hz": second,
        "f3_hz": third,
        "syllables_per_s": _nuclei(speech, voiced) * RATE_HZ / max(1, len(without_pauses(speech))),
        "loudness_lufs": integrated_loudness(speech, RATE_HZ),
    }


def _pitch(x: Samples) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return F0 in Hz and whether it is voiced, every HOP samples from sample 0 on."""
    f0_hz, voiced, confidence = (np.zeros(len(x) // HOP + 1, np.float32) for _ in range(3))
    count = f0_track(f0_state(), x, f0_hz, voiced, confidence)
    late = round(f0_delay_ms(150.0) * RATE_HZ / 1000.0 / HOP)
    return f0_hz[late:count], voiced[late:count] > 0.5


def _formants_hz(speech: Samples, voiced: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the medians of the first three formants over voiced windows. Raises VoiceError if there are none."""
    x = at_rate(speech, RATE_HZ, FORMANT_RATE_HZ).astype(np.float64)
    x = np.append(x[:1], x[1:] - PRE_EMPHASIS * x[:-1])
    starts = np.arange(0, len(x) - FORMANT_WINDOW + 1, FORMANT_HOP)
    hops = np.minimum((starts + FORMANT_WINDOW // 2) * RATE_HZ // (FORMANT_RATE_HZ * HOP), len(voiced) - 1)
    starts = starts[voiced[hops]]
    starts = starts[:: len(starts) // FORMANT_WINDOWS_MAX + 1]
    windows = x[starts[:, None] + np.arange(FORMANT_WINDOW)] * np.hamming(FORMANT_WINDOW)
    companions = np.zeros((len(windows), ORDER, ORDER))
    companions[:, 0] = -_prediction(windows)
    companions[:, range(1, ORDER), range(ORDER - 1)] = 1.0
    poles = np.linalg.eigvals(companions)
    hz = np.angle(poles) * FORMANT_RATE_HZ / (2.0 * np.pi)
    bandwidth_hz = -np.log(np.maximum(np.abs(poles), 1e-9)) * FORMANT_RATE_HZ / np.pi
    hz[(hz < FORMANTS_FROM_HZ) | (bandwidth_hz > BANDWIDTH_MAX_HZ)] = np.inf
    hz = np.sort(hz, axis=1)[:, :3]
    hz = hz[np.isfinite(hz).all(axis=1)]
    if not len(hz):
        raise VoiceError("no formants were found in the speech; record again, without music or machines behind it")
    first, second, third = np.median(hz, axis=0)
    return float(first), float(second), float(third)


def _prediction(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a1..a[ORDER] of 1 + a1/z + ..., which predict each window best: float64[n, ORDER], by Levinson-Durbin."""
    spectrum = np.fft.rfft(windows, 2 * FORMANT_WINDOW, axis=1)
    r = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, : ORDER + 1]
    a = np.zeros_like(r)
    a[:, 0] = 1.0
    error = r[:, 0] * (1.0 + 1e-9) + 1e-30
    for order in range(1, ORDER + 1):
        reflection = -np.sum(a[:, :order] * r[:, order:0:-1], axis=1) / error
        a[:, 1 : order + 1] += reflection[:, None] * a[:, order - 1 :: -1]
        error *= 1.0 - reflection**2
    return a[:, 1:]


def _nuclei(x: Samples, voiced: NDArray[np.bool_]) -> int:
    """Return how many syllable nuclei there are in 16 kHz speech."""
    frames = np.lib.stride_tricks.sliding_window_view(x, NUCLEUS_WINDOW)[::NUCLEUS_HOP]
    hz = np.fft.rfftfreq(NUCLEUS_WINDOW, 1.0 / RATE_HZ)
    band = (hz >= NUCLEUS_BAND_HZ[0]) & (hz <= NUCLEUS_BAND_HZ[1])
    window = np.hanning(NUCLEUS_WINDOW).astype(np.float32)
    power = np.array([np.sum(np.square(np.abs(np.fft.rfft(frame * window)[band]))) for frame in frames])
    smooth = np.hanning(SMOOTHING + 2)[1:-1]
    level_db = 10.0 * np.log10(np.convolve(power, smooth / smooth.sum(), "same") + 1e-12)
    least_db = float(np.percentile(level_db, 99.0)) - NUCLEUS_BELOW_PEAK_DB
    count, dip_db, peak_db, peak = 0, float(level_db[0]), -np.inf, 0
    for k, here_db in enumerate(level_db):
        if here_db > peak_db:
            peak_db, peak = float(here_db), k
        elif here_db < peak_db - NUCLEUS_DIP_DB:  # the peak is over
            hop = min((peak * NUCLEUS_HOP + NUCLEUS_WINDOW // 2) // HOP, len(voiced) - 1)
            count += bool(peak_db > least_db and peak_db - dip_db > NUCLEUS_DIP_DB and voiced[hop])
            dip_db = peak_db = float(here_db)
        if here_db < dip_db:
            dip_db = peak_db = float(here_db)
    return count
