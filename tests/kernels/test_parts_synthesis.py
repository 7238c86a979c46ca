from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray
from scipy.signal import welch

from rtvc.kernels.parts_synthesis import (
    BINS,
    FRAME,
    HOP,
    PARTS,
    RATE_HZ,
    PartsState,
    parts_breathe,
    parts_delay,
    parts_state,
    synthesise,
)

LEADS = [75, 150, 225, 300, 600]
ERROR = 1e-6  # of the largest sample
SILENT = -40.0  # a log magnitude
LH, THETA, LN, LR, PHI = range(PARTS)
HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)

Parts = NDArray[np.float32]  # [frames, 5, 601]


def silent(frames: int) -> Parts:
    parts = np.zeros((frames, PARTS, BINS), np.float32)
    parts[:, [LH, LN, LR]] = SILENT
    return parts


def spoken(frames: int, seed: int = 1) -> tuple[Parts, NDArray[np.float64]]:
    """Return parts that wander from bin to bin and frame to frame, without noise, and an F0 with gaps and glides."""
    rng = np.random.default_rng(seed)
    parts = silent(frames)
    for part, level, size in ((LH, -1.0, 1.5), (THETA, 0.0, 2.0), (LR, -3.0, 1.5), (PHI, 0.0, 3.0)):
        parts[:, part] = level + size * rng.standard_normal((frames, BINS))
    f0_hz = 170.3 + 61.7 * np.sin(np.arange(frames) / 3.1)
    f0_hz[: frames // 4 : 3] = 0
    f0_hz[frames // 2 : frames // 2 + 4] = 0
    return parts, f0_hz


def sound(
    parts: Parts, f0_hz: NDArray[np.float64] | float, lead: int = 150, ratio: float = 1.0, seed: int = 0
) -> NDArray[np.float64]:
    state = parts_state(lead, seed)
    y = np.empty((len(parts), HOP), np.float32)
    for frame, hz, out in zip(parts, np.broadcast_to(f0_hz, len(parts)), y, strict=True):
        synthesise(state, frame.ravel(), float(hz), ratio, out)
    return y.ravel().astype(np.float64)


def harmonics(hz: NDArray[np.float64], phase: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.arange(1, int(11000 / 40) + 1)[:, None]
    heard = (order <= np.floor(11000 / np.maximum(hz, 40))) & (hz >= 40)
    return np.sum(np.where(heard, np.cos(order * phase), 0), axis=0)


def window(lead: int) -> NDArray[np.float64]:
    """Return the synthesis window over the whole frame, normalised."""
    t = np.arange(FRAME) - FRAME // 2
    w = np.where(t < 0, np.sin(np.pi / 2 * np.clip(1 + t / lead, 0, 1)), HANN)
    return np.asarray(w / np.tile((w * HANN).reshape(-1, HOP).sum(0), FRAME // HOP))


def reference(parts: Parts, f0_hz: NDArray[np.float64], lead: int) -> NDArray[np.float64]:
    """Return what `sound` gives, noise aside, from the equations: harmonics one by one, float64."""
    frames = len(parts)
    start = FRAME // 2 + HOP  # place of frame 0's centre
    n = np.arange(frames * HOP + 2 * start)
    path_hz = np.interp((n - start - HOP / 2 + 0.5) / HOP, np.arange(-1, frames), [0, *f0_hz])
    phase = 2 * np.pi / RATE_HZ * np.cumsum(path_hz)
    pulses = harmonics(path_hz, phase)
    y = np.zeros(n.size)
    for j in range(frames):
        first = start + j * HOP - FRAME // 2
        known = FRAME // 2 + HOP // 2
        to_come = np.arange(1, FRAME - known + 1)
        hz = np.full(to_come.size, f0_hz[j])
        extrapolated = harmonics(hz, phase[first + known - 1] + 2 * np.pi / RATE_HZ * to_come * f0_hz[j])
        excitation = np.fft.rfft(np.concatenate([pulses[first : first + known], extrapolated]) * HANN / HOP)
        lh, theta, _, lr, phi = parts[j].astype(np.float64)
        tone, free = np.exp(np.minimum(lh, 7)), np.exp(np.minimum(lr, 7))
        spectrum = tone * np.exp(1j * np.pi * np.tanh(theta)) * excitation
        heard = free**2 / (free**2 + 4 * tone**2) if f0_hz[j] >= 40 else 1.0
        spectrum += heard * free * np.exp(1j * phi)
        y[first : first + FRAME] += window(lead) * np.fft.irfft(spectrum)
    return y[start - lead : start - lead + frames * HOP]


def of_signal(x: NDArray[np.float64]) -> Parts:
    """Return the free-phase parts that are the short-time spectrum of x, float64[frames * 300]."""
    frames = x.size // HOP
    padded = np.pad(x, FRAME // 2)
    spectra = np.stack([np.fft.rfft(padded[HOP * j : HOP * j + FRAME] * HANN) for j in range(frames)])
    parts = silent(frames)
    parts[:, LR] = np.log(np.maximum(np.abs(spectra), 1e-12))
    parts[:, PHI] = np.angle(spectra)
    return parts


@pytest.mark.parametrize("lead", LEADS)
def test_sound_is_that_of_the_equations(lead: int) -> None:
    parts, f0_hz = spoken(24)
    want = reference(parts, f0_hz, lead)
    assert np.abs(sound(parts, f0_hz, lead) - want).max() <= ERROR * np.abs(want).max()


def test_free_phases_that_repeat_do_not_beat_under_a_tone() -> None:
    parts = silent(60)
    parts[:, LH], parts[:, LR] = 0.0, -1.5
    parts[:, PHI] = np.random.default_rng(0).uniform(-np.pi, np.pi, BINS)
    tone = parts.copy()
    tone[:, LR] = SILENT
    beat, unvoiced = (sound(parts, f0_hz, 300) - sound(tone, f0_hz, 300) for f0_hz in (187.0, 0.0))
    np.testing.assert_allclose(unvoiced[20 * HOP : -HOP], unvoiced[21 * HOP :], atol=1e-5)  # it repeats with the frames
    power = np.exp(-3.0)
    assert np.std(beat[20 * HOP :]) / np.std(unvoiced[20 * HOP :]) == pytest.approx(power / (power + 4.0), rel=0.01)


def test_log_magnitudes_count_up_to_seven() -> None:
    parts, f0_hz = spoken(8)
    parts[:, [LH, LR], 100:200] = 7
    louder = parts.copy()
    louder[:, [LH, LR], 100:200] = 90
    assert np.array_equal(sound(louder, f0_hz), sound(parts, f0_hz))


@pytest.mark.parametrize("lead", LEADS)
def test_the_short_time_spectrum_of_a_signal_gives_the_signal(lead: int) -> None:
    x = 0.2 * np.random.default_rng(0).standard_normal(30 * HOP)
    y = sound(of_signal(x), 0.0, lead)
    settled = slice(3 * HOP, None)
    assert np.abs(y[lead:] - x[:-lead])[settled].max() <= ERROR * np.abs(x).max()


@pytest.mark.parametrize("lead", LEADS)
def test_the_delay_is_the_lead(lead: int) -> None:
    assert parts_delay(parts_state(lead)) == lead
    x = np.zeros(20 * HOP)
    x[10 * HOP + 7] = 1
    y = sound(of_signal(x), 0.0, lead)
    assert np.argmax(np.abs(y)) - lead == 10 * HOP + 7


@pytest.mark.parametrize("lead", [150, 300, 600])
def test_noise_has_the_power_of_the_offline_synthesis(lead: int) -> None:
    parts = silent(1500)
    parts[:, LN] = 1.5
    y = sound(parts, 0.0, lead)
    # each bin but the first and last counts twice, with two components; then the offline window's gain
    power = np.exp(3.0) * (4 * (BINS - 2) + 2) / FRAME**2 * HOP / np.sum(HANN**2)
    assert np.mean(y[FRAME:] ** 2) == pytest.approx(power, rel=0.05)


def test_noise_has_the_spectrum_asked_for() -> None:
    parts = silent(1500)
    parts[:, LN, 100:200] = 0
    parts[:, LN, 300:400] = -2
    hz, power = welch(sound(parts, 0.0)[FRAME:], RATE_HZ, nperseg=FRAME)

    def level(low: int, high: int) -> float:
        return float(np.log(power[low:high].mean()) / 2)

    assert hz[100] == 2000
    assert level(310, 390) - level(110, 190) == pytest.approx(-2, abs=0.05)
    assert level(430, 590) - level(110, 190) < -3


def test_the_same_frames_give_the_same_samples_and_another_seed_other_noise() -> None:
    parts, f0_hz = spoken(12)
    parts[:, LN] = -2
    once = sound(parts, f0_hz, seed=5)
    assert np.array_equal(sound(parts, f0_hz, seed=5), once)
    assert not np.array_equal(sound(parts, f0_hz, seed=6), once)


@pytest.mark.parametrize("lead", [150, 300])
def test_a_glide_has_the_pitch_asked_for(lead: int) -> None:
    frames = 120
    f0_hz = np.geomspace(110, 320, frames)
    parts = silent(frames)
    parts[:, LH] = 0
    y = sound(parts, f0_hz, lead)
    for j in range(10, frames - 10, 5):
        # F0 of the output at frame j's centre, half a hop before its newest value
        want_hz = (f0_hz[j] + f0_hz[j - 1]) / 2
        piece = y[j * HOP + lead - 450 : j * HOP + lead + 450]
        spectrum = np.fft.rfft(piece * np.hanning(900), 1 << 16)
        lag = np.fft.irfft(np.abs(spectrum) ** 2)[: RATE_HZ // 60]
        shortest = int(RATE_HZ / (1.4 * want_hz))
        found = shortest + int(np.argmax(lag[shortest : int(RATE_HZ / (0.7 * want_hz))]))
        below, peak, above = lag[found - 1 : found + 2]
        period = found + 0.5 * (below - above) / (below - 2 * peak + above)
        assert RATE_HZ / period == pytest.approx(want_hz, rel=0.01)


def test_harmonics_end_at_11_khz_and_have_the_magnitude_asked_for() -> None:
    parts = silent(60)
    parts[:, LH] = np.log(0.25 * HOP)
    f0_hz = 240.0  # every 12th bin
    y = sound(parts, f0_hz)[20 * HOP : 24 * HOP]
    amplitude = np.abs(np.fft.rfft(y)) / (FRAME / 2)
    harmonic = np.arange(12, 12 * 45 + 1, 12)
    assert np.abs(amplitude[harmonic] - 0.25).max() <= 1e-6
    amplitude[harmonic] = 0
    assert amplitude.max() <= 1e-6


@pytest.mark.parametrize("f0_hz", [0.0, 39.9, -100.0, float("nan"), float("inf")])
def test_unvoiced_frames_have_no_pulses(f0_hz: float) -> None:
    parts = silent(10)
    parts[:, LH] = 3
    assert np.abs(sound(parts, f0_hz)).max() < 1e-15


def test_pulses_end_when_the_voice_does_and_come_back_with_it() -> None:
    parts = silent(30)
    parts[:, LH] = 0
    f0_hz = np.full(30, 150.0)
    f0_hz[10:20] = 0
    y = np.abs(sound(parts, f0_hz, 150)).reshape(30, HOP).max(1)
    assert (y[1:10] > 0.2).all()
    assert (y[15:19] < 1e-15).all()
    assert (y[20:] > 0.2).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_frame_is_silent_and_leaves_no_trace(part: int, value: float) -> None:
    parts, f0_hz = spoken(16)
    parts[:, LN] = -2
    whole = sound(parts, f0_hz)
    parts[5, part, 77] = value
    damaged = sound(parts, f0_hz)
    assert np.isfinite(damaged).all()
    assert np.array_equal(damaged[: 5 * HOP], whole[: 5 * HOP])
    assert np.array_equal(damaged[8 * HOP :], whole[8 * HOP :])
    parts[:] = value
    assert not sound(parts, f0_hz).any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_f0_that_is_no_number_counts_as_unvoiced(value: float) -> None:
    parts, f0_hz = spoken(16)
    f0_hz[5] = 0
    unvoiced = sound(parts, f0_hz)
    f0_hz[5] = value
    assert np.array_equal(sound(parts, f0_hz), unvoiced)


def test_f0_ends_at_its_maximum() -> None:
    parts, _ = spoken(8)
    assert np.array_equal(sound(parts, 1e9), sound(parts, 1600.0))


@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.0, 1.15, 1.6])
@pytest.mark.parametrize("part", [LH, LN, LR])
def test_a_formant_moves_by_the_ratio(part: int, ratio: float) -> None:
    centre_hz = 3000
    parts = silent(300)
    peak = -((np.arange(BINS) - centre_hz / 20) ** 2) / (2 * 20.0**2)
    parts[:, part] = np.maximum(peak, -8)
    if part == LR:
        parts[:, PHI] = np.random.default_rng(2).uniform(-np.pi, np.pi, (300, BINS))
    y = sound(parts, 100.0 if part == LH else 0.0, 300, ratio)
    hz, power = welch(y[FRAME:], RATE_HZ, nperseg=FRAME)
    power[power < power.max() / 10] = 0
    assert np.sum(hz * power) / power.sum() == pytest.approx(centre_hz * ratio, rel=0.02)


def test_a_ratio_next_to_one_sounds_next_to_the_same() -> None:
    parts, f0_hz = spoken(12)
    plain = sound(parts, f0_hz)
    for ratio in (1 - 1e-9, 1 + 1e-9):
        assert np.abs(sound(parts, f0_hz, ratio=ratio) - plain).max() <= 1e-4 * np.abs(plain).max()


def test_ratios_are_clipped_and_one_that_is_no_number_is_one() -> None:
    parts, f0_hz = spoken(6)
    assert np.array_equal(sound(parts, f0_hz, ratio=float("nan")), sound(parts, f0_hz))
    assert np.array_equal(sound(parts, f0_hz, ratio=0.0), sound(parts, f0_hz, ratio=0.5))
    assert np.array_equal(sound(parts, f0_hz, ratio=9.0), sound(parts, f0_hz, ratio=2.0))


def test_past_the_top_a_lowered_spectrum_falls_steeply() -> None:
    parts = silent(500)
    parts[:, LN] = 0
    _, power = welch(sound(parts, 0.0, ratio=0.5)[FRAME:], RATE_HZ, nperseg=FRAME)
    # 300 bins are what there was; 0.2 nepers a bin of the output, as each is two of the parts
    assert power[350] / power[250] < 1e-4
    assert power[290] / power[250] > 0.5


@pytest.mark.parametrize("lead", [-1, 0, 601])
def test_other_leads_are_refused(lead: int) -> None:
    with pytest.raises(ValueError, match=f"lead .* not {lead}$"):
        parts_state(lead)


def again_and_again(state: PartsState, parts: NDArray[np.float32], y: NDArray[np.float32], frames: int) -> None:
    for j in range(frames):
        synthesise(state, parts, 150.0, 1.0 + 0.1 * (j & 1), y)


def test_frames_allocate_nothing() -> None:
    state, parts, y = parts_state(150), spoken(1)[0].ravel(), np.zeros(HOP, np.float32)
    many = njit(again_and_again)
    many(state, parts, y, 2)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats().alloc
    many(state, parts, y, 500)
    assert rtsys.get_allocation_stats().alloc - before < 100


def steady(breath: float, whisper: float, f0_hz: float = 200.0) -> NDArray[np.float32]:
    """Return a second of a steady tone of flat parts, without its start."""
    parts = np.full((PARTS, BINS), -30.0, np.float32)
    parts[0], parts[1] = 0.0, 0.0
    state = parts_state(300)
    parts_breathe(state, breath, whisper)
    y = np.zeros((90, HOP), np.float32)
    for frame in y:
        synthesise(state, parts.ravel(), f0_hz, 1.0, frame)
    return y[10:].ravel()


def shares(y: NDArray[np.float32], f0_hz: float = 200.0) -> tuple[float, float, float]:
    """Return the power at harmonics, between them below 700 Hz, and between them above 3 kHz."""
    n = 24_000 // 2
    power = np.mean(
        [np.abs(np.fft.rfft(y[k : k + n] * np.hanning(n))) ** 2 for k in range(0, len(y) - n, n // 2)], axis=0
    )
    hz = np.fft.rfftfreq(n, 1 / 24_000)
    away = np.abs(hz - f0_hz * np.round(hz / f0_hz))
    tone, rest = away < 8.0, (away > 30.0) & (hz > 100.0) & (hz < 10_000.0)
    return tuple(float(power[part].sum()) for part in (tone, rest & (hz < 700.0), rest & (hz > 3000.0)))


def test_breath_rises_under_a_tone_that_stays_and_most_where_it_is_high() -> None:
    plain, half, full = (shares(steady(breath, 0.0)) for breath in (0.0, 0.5, 1.0))
    assert full[0] == pytest.approx(plain[0], rel=0.2)
    assert plain[2] < 1e-3 * half[2] and 3.0 < full[2] / half[2] < 5.0
    bins = 700 - 100, 10_000 - 3000
    assert full[1] / bins[0] < 0.3 * full[2] / bins[1]


def test_a_whisper_has_no_tone_and_the_tones_power() -> None:
    plain, whisper = steady(0.0, 0.0), steady(0.0, 1.0)
    assert np.mean(whisper**2) == pytest.approx(np.mean(plain**2), rel=0.25)
    share = [tone / (tone + low + high) for tone, low, high in (shares(plain), shares(whisper))]
    assert share[0] > 0.99 and share[1] < 0.2


def test_no_breath_is_bit_for_bit_what_it_was_and_silence_stays_silent() -> None:
    rng = np.random.default_rng(1)
    frames = rng.normal(-3.0, 1.0, (20, PARTS * BINS)).astype(np.float32)
    outs = []
    for breathed in (False, True):
        state = parts_state(300)
        if breathed:
            parts_breathe(state, 0.7, 0.2)
            parts_breathe(state, 0.0, 0.0)
        y = np.zeros((20, HOP), np.float32)
        for parts, frame in zip(frames, y, strict=True):
            synthesise(state, parts, 150.0, 1.0, frame)
        outs.append(y)
    assert np.array_equal(*outs)
    state, silent = parts_state(300), np.full(PARTS * BINS, -30.0, np.float32)
    parts_breathe(state, 1.0, 1.0)
    y = np.zeros(HOP, np.float32)
    for f0_hz in (0.0, 100.0):
        synthesise(state, silent, f0_hz, 1.1, y)
        assert np.abs(y).max() < 1e-6
