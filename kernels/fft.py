"""Real FFT and inverse, float32, for use inside njit code; sizes are twice a product of 2s, 3s and 5s.

n real samples are read as n/2 complex ones. Those go through a Stockham FFT (radix 4, then 5, then 3, at last one
radix-2 stage when a 2 is left): it sorts itself, so there is no bit reversal and every inner loop runs over
neighbours, and real and imaginary parts live in separate arrays, so the compiler vectorises it. A last pass
separates the two interleaved real sequences. Twiddles are computed in float64 and rounded once.

Units: `rfft` is unnormalised (as numpy.fft.rfft), `irfft` divides by n. Error against a float64 FFT: below 5e-7
of the largest bin; there and back, below 1e-6 of the largest sample. Limits: n = 64 to 4096; 1200 points take
1.3 times as long as 1024. A plan holds scratch memory, so two threads must not share one.

Source: Van Loan, "Computational Frameworks for the Fast Fourier Transform" (1992), 1.7 (Stockham);
Sorensen et al., "Real-valued fast Fourier transform algorithms" (1987), for n real as n/2 complex;
Singleton, "An algorithm for computing the mixed radix fast Fourier transform" (1969), for 3 and 5 points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

SIZE_MIN = 64
SIZE_MAX = 4096

_RADICES = (4, 5, 3, 2)  # in the order of the stages

# cosines and sines of a third, a fifth and two fifths of a turn
_SIN_3 = np.float32(math.sin(2 * math.pi / 3))
_COS_5, _SIN_5 = np.float32(math.cos(2 * math.pi / 5)), np.float32(math.sin(2 * math.pi / 5))
_COS_25, _SIN_25 = np.float32(math.cos(4 * math.pi / 5)), np.float32(math.sin(4 * math.pi / 5))


class FftPlan(NamedTuple):
    """Tables and scratch for one size; see `fft_plan`."""

    twiddles: NDArray[np.float32]
    work: NDArray[np.float32]


def fft_plan(n: int) -> FftPlan:
    """Return the plan for n real samples; ValueError unless n is from 64 to 4096 and 2 * 2**a * 3**b * 5**c."""
    if n < SIZE_MIN or n > SIZE_MAX or n % 2 or not _radices(n // 2):
        raise ValueError(f"FFT size must be 2 * 2**a * 3**b * 5**c, from {SIZE_MIN} to {SIZE_MAX}, not {n}")
    tables = []
    size = n // 2
    for radix in _radices(n // 2):
        if radix != 2:
            for power in range(1, radix):
                tables.append(np.exp(-2j * np.pi * power * np.arange(size // radix) / size))
        size //= radix
    tables.append(np.exp(-2j * np.pi * np.arange(n // 4 + 1) / n))
    parts = [part for table in tables for part in (table.real, table.imag)]
    return FftPlan(np.concatenate(parts).astype(np.float32), np.zeros(2 * n, np.float32))


def _radices(size: int) -> list[int]:
    """Return the radices of the stages of a complex FFT of size points; none if it has other prime factors."""
    radices = []
    for radix in _RADICES:
        while size % radix == 0:
            radices.append(radix)
            size //= radix
    return radices if size == 1 else []


@njit(cache=True, nogil=True)
def fft_size(plan: FftPlan) -> int:
    """Return n, the number of real samples the plan transforms."""
    return plan.work.shape[0] // 2


@njit(cache=True, nogil=True)
def rfft(plan: FftPlan, x: NDArray[np.float32], re: NDArray[np.float32], im: NDArray[np.float32]) -> None:
    """Transform x (float32[n], kept) into bins 0..n/2: re and im, float32[n/2+1] each."""
    n = fft_size(plan)
    half = n // 2
    work = plan.work
    ar, ai = work[:half], work[half : 2 * half]
    br, bi = work[2 * half : 3 * half], work[3 * half :]
    for k in range(half):
        ar[k] = x[2 * k]
        ai[k] = x[2 * k + 1]
    if _complex_fft(plan.twiddles, ar, ai, br, bi):
        _split(plan.twiddles, br, bi, re, im)
    else:
        _split(plan.twiddles, ar, ai, re, im)


@njit(cache=True, nogil=True)
def irfft(plan: FftPlan, re: NDArray[np.float32], im: NDArray[np.float32], x: NDArray[np.float32]) -> None:
    """Transform bins 0..n/2 (re, im: float32[n/2+1], kept; im[0] and im[n/2] ignored) into x, float32[n]."""
    n = fft_size(plan)
    half = n // 2
    work = plan.work
    ar, ai = work[:half], work[half : 2 * half]
    br, bi = work[2 * half : 3 * half], work[3 * half :]
    _join(plan.twiddles, re, im, ar, ai)
    # swapping real and imaginary parts before and after turns the forward transform into the inverse
    if _complex_fft(plan.twiddles, ai, ar, bi, br):
        _interleave(br, bi, x)
    else:
        _interleave(ar, ai, x)


@njit(cache=True, nogil=True)
def power_spectrum(plan: FftPlan, x: NDArray[np.float32], re: NDArray[np.float32], im: NDArray[np.float32]) -> None:
    """Transform x (float32[n], kept) and leave |X|**2 of bins 0..n/2 in re; im (same shape) is overwritten."""
    rfft(plan, x, re, im)
    for k in range(re.shape[0]):
        re[k] = re[k] * re[k] + im[k] * im[k]


@njit(cache=True, nogil=True)
def _complex_fft(
    twiddles: NDArray[np.float32],
    ar: NDArray[np.float32],
    ai: NDArray[np.float32],
    br: NDArray[np.float32],
    bi: NDArray[np.float32],
) -> bool:
    """Transform (ar, ai), using both pairs as scratch; return True if the result lies in (br, bi)."""
    size = ar.shape[0]
    stride = 1
    table = 0
    in_b = False
    for radix in _RADICES:
        while size % radix == 0:
            m = size // radix
            stage = twiddles[table : table + 2 * (radix - 1) * m]
            if in_b:
                _stage(radix, size, stride, stage, br, bi, ar, ai)
            else:
                _stage(radix, size, stride, stage, ar, ai, br, bi)
            table += 2 * (radix - 1) * m
            size = m
            stride *= radix
            in_b = not in_b
    return in_b


@njit(cache=True, nogil=True)
def _stage(
    radix: int,
    size: int,
    stride: int,
    twiddles: NDArray[np.float32],
    xr: NDArray[np.float32],
    xi: NDArray[np.float32],
    yr: NDArray[np.float32],
    yi: NDArray[np.float32],
) -> None:
    """Run one Stockham stage on `stride` interleaved transforms of `size` points, from x to y."""
    if radix == 4 and stride == 1:
        _first_radix4(twiddles, xr, xi, yr, yi)
    elif radix == 4:
        _radix4(size, stride, twiddles, xr, xi, yr, yi)
    elif radix == 5:
        _radix5(size, stride, twiddles, xr, xi, yr, yi)
    elif radix == 3:
        _radix3(size, stride, twiddles, xr, xi, yr, yi)
    else:
        _radix2(xr, xi, yr, yi)


@njit(cache=True, nogil=True)
def _first_radix4(
    twiddles: NDArray[np.float32],
    xr: NDArray[np.float32],
    xi: NDArray[np.float32],
    yr: NDArray[np.float32],
    yi: NDArray[np.float32],
) -> None:
    """`_radix4` at stride 1, where the long loop is the one over twiddles."""
    m = xr.shape[0] // 4
    for p in range(m):
        er, ei = xr[p] + xr[p + 2 * m], xi[p] + xi[p + 2 * m]
        fr, fi = xr[p] - xr[p + 2 * m], xi[p] - xi[p + 2 * m]
        gr, gi = xr[p + m] + xr[p + 3 * m], xi[p + m] + xi[p + 3 * m]
        hr, hi = xi[p + 3 * m] - xi[p + m], xr[p + m] - xr[p + 3 * m]
        yr[4 * p], yi[4 * p] = er + gr, ei + gi
        ur, ui, wr, wi = fr - hr, fi - hi, twiddles[p], twiddles[p + m]
        yr[4 * p + 1], yi[4 * p + 1] = ur * wr - ui * wi, ur * wi + ui * wr
        ur, ui, wr, wi = er - gr, ei - gi, twiddles[p + 2 * m], twiddles[p + 3 * m]
        yr[4 * p + 2], yi[4 * p + 2] = ur * wr - ui * wi, ur * wi + ui * wr
        ur, ui, wr, wi = fr + hr, fi + hi, twiddles[p + 4 * m], twiddles[p + 5 * m]
        yr[4 * p + 3], yi[4 * p + 3] = ur * wr - ui * wi, ur * wi + ui * wr


@njit(cache=True, nogil=True)
def _radix4(
    size: int,
    stride: int,
    twiddles: NDArray[np.float32],
    xr: NDArray[np.float32],
    xi: NDArray[np.float32],
    yr: NDArray[np.float32],
    yi: NDArray[np.float32],
) -> None:
    """Run `_stage` with radix 4."""
    m = size // 4
    quarter = m * stride
    for p in range(m):
        w1r, w1i = twiddles[p], twiddles[p + m]
        w2r, w2i = twiddles[p + 2 * m], twiddles[p + 3 * m]
        w3r, w3i = twiddles[p + 4 * m], twiddles[p + 5 * m]
        for q in range(stride):
            i = stride * p + q
            o = 4 * stride * p + q
            er, ei = xr[i] + xr[i + 2 * quarter], xi[i] + xi[i + 2 * quarter]
            fr, fi = xr[i] - xr[i + 2 * quarter], xi[i] - xi[i + 2 * quarter]
            gr, gi = xr[i + quarter] + xr[i + 3 * quarter], xi[i + quarter] + xi[i + 3 * quarter]
            hr, hi = xi[i + 3 * quarter] - xi[i + quarter], xr[i + quarter] - xr[i + 3 * quarter]
            yr[o], yi[o] = er + gr, ei + gi
            ur, ui = fr - hr, fi - hi
            yr[o + stride], yi[o + stride] = ur * w1r - ui * w1i, ur * w1i + ui * w1r
            ur, ui = er - gr, ei - gi
            yr[o + 2 * stride], yi[o + 2 * stride] = ur * w2r - ui * w2i, ur * w2i + ui * w2r
            ur, ui = fr + hr, fi + hi
            yr[o + 3 * stride], yi[o + 3 * stride] = ur * w3r - ui * w3i, ur * w3i + ui * w3r


@njit(cache=True, nogil=True)
def _radix5(
    size: int,
    stride: int,
    twiddles: NDArray[np.float32],
    xr: NDArray[np.float32],
    xi: NDArray[np.float32],
    yr: NDArray[np.float32],
    yi: NDArray[np.float32],
) -> None:
    """Run `_stage` with radix 5."""
    m = size // 5
    fifth = m * stride
    for p in range(m):
        w1r, w1i = twiddles[p], twiddles[p + m]
        w2r, w2i = twiddles[p + 2 * m], twiddles[p + 3 * m]
        w3r, w3i = twiddles[p + 4 * m], twiddles[p + 5 * m]
        w4r, w4i = twiddles[p + 6 * m], twiddles[p + 7 * m]
        for q in range(stride):
            i = stride * p + q
            o = 5 * stride * p + q
            zr, zi = xr[i], xi[i]
            er, ei = xr[i + fifth] + xr[i + 4 * fifth], xi[i + fifth] + xi[i + 4 * fifth]
            fr, fi = xr[i + fifth] - xr[i + 4 * fifth], xi[i + fifth] - xi[i + 4 * fifth]
            gr, gi = xr[i + 2 * fifth] + xr[i + 3 * fifth], xi[i + 2 * fifth] + xi[i + 3 * fifth]
            hr, hi = xr[i + 2 * fifth] - xr[i + 3 * fifth], xi[i + 2 * fifth] - xi[i + 3 * fifth]
            yr[o], yi[o] = zr + er + gr, zi + ei + gi
            ar, ai = zr + _COS_5 * er + _COS_25 * gr, zi + _COS_5 * ei + _COS_25 * gi
            br, bi = zr + _COS_25 * er + _COS_5 * gr, zi + _COS_25 * ei + _COS_5 * gi
            cr, ci = _SIN_5 * fi + _SIN_25 * hi, -_SIN_5 * fr - _SIN_25 * hr
            dr, di = _SIN_25 * fi - _SIN_5 * hi, _SIN_5 * hr - _SIN_25 * fr
            ur, ui = ar + cr, ai + ci
            yr[o + stride], yi[o + stride] = ur * w1r - ui * w1i, ur * w1i + ui * w1r
            ur, ui = br + dr, bi + di
            yr[o + 2 * stride], yi[o + 2 * stride] = ur * w2r - ui * w2i, ur * w2i + ui * w2r
            ur, ui = br - dr, bi - di
            yr[o + 3 * stride], yi[o + 3 * stride] = ur * w3r - ui * w3i, ur * w3i + ui * w3r
            ur, ui = ar - cr, ai - ci
            yr[o + 4 * stride], yi[o + 4 * stride] = ur * w4r - ui * w4i, ur * w4i + ui * w4r


@njit(cache=True, nogil=True)
def _radix3(
    size: int,
    stride: int,
    twiddles: NDArray[np.float32],
    xr: NDArray[np.float32],
    xi: NDArray[np.float32],
    yr: NDArray[np.float32],
    yi: NDArray[np.float32],
) -> None:
    """Run `_stage` with radix 3."""
    m = size // 3
    third = m * stride
    half = np.float32(0.5)
    for p in range(m):
        w1r, w1i = twiddles[p], twiddles[p + m]
        w2r, w2i = twiddles[p + 2 * m], twiddles[p + 3 * m]
        for q in range(stride):
            i = stride * p + q
            o = 3 * stride * p + q
            er, ei = xr[i + third] + xr[i + 2 * third], xi[i + third] + xi[i + 2 * third]
            fr, fi = _SIN_3 * (xi[i + third] - xi[i + 2 * third]), _SIN_3 * (xr[i + 2 * third] - xr[i + third])
            gr, gi = xr[i] - half * er, xi[i] - half * ei
            yr[o], yi[o] = xr[i] + er, xi[i] + ei
            ur, ui = gr + fr, gi + fi
            yr[o + stride], yi[o + stride] = ur * w1r - ui * w1i, ur * w1i + ui * w1r
            ur, ui = gr - fr, gi - fi
            yr[o + 2 * stride], yi[o + 2 * stride] = ur * w2r - ui * w2i, ur * w2i + ui * w2r


@njit(cache=True, nogil=True)
def _radix2(xr: NDArray[np.float32], xi: NDArray[np.float32], yr: NDArray[np.float32], yi: NDArray[np.float32]) -> None:
    """Run the last stage, without twiddles, when the size is not a power of four."""
    half = xr.shape[0] // 2
    for q in range(half):
        yr[q], yi[q] = xr[q] + xr[q + half], xi[q] + xi[q + half]
        yr[q + half], yi[q + half] = xr[q] - xr[q + half], xi[q] - xi[q + half]


@njit(cache=True, nogil=True)
def _split(
    twiddles: NDArray[np.float32],
    zr: NDArray[np.float32],
    zi: NDArray[np.float32],
    re: NDArray[np.float32],
    im: NDArray[np.float32],
) -> None:
    """Turn the transform of even + i odd samples (float32[n/2]) into the real signal's bins (float32[n/2+1])."""
    half = zr.shape[0]
    quarter = half // 2
    wr = twiddles[twiddles.shape[0] - 2 * (quarter + 1) :]
    wi = twiddles[twiddles.shape[0] - (quarter + 1) :]
    scale = np.float32(0.5)
    re[0], im[0] = zr[0] + zi[0], np.float32(0.0)
    re[half], im[half] = zr[0] - zi[0], np.float32(0.0)
    for k in range(1, quarter + 1):
        j = half - k
        even_r, even_i = scale * (zr[k] + zr[j]), scale * (zi[k] - zi[j])
        odd_r, odd_i = scale * (zi[k] + zi[j]), scale * (zr[j] - zr[k])
        turned_r, turned_i = odd_r * wr[k] - odd_i * wi[k], odd_r * wi[k] + odd_i * wr[k]
        re[k], im[k] = even_r + turned_r, even_i + turned_i
        re[j], im[j] = even_r - turned_r, turned_i - even_i


@njit(cache=True, nogil=True)
def _join(
    twiddles: NDArray[np.float32],
    re: NDArray[np.float32],
    im: NDArray[np.float32],
    zr: NDArray[np.float32],
    zi: NDArray[np.float32],
) -> None:
    """Undo `_split`, scaled so that the unnormalised transform that follows gives x itself."""
    half = zr.shape[0]
    quarter = half // 2
    wr = twiddles[twiddles.shape[0] - 2 * (quarter + 1) :]
    wi = twiddles[twiddles.shape[0] - (quarter + 1) :]
    scale = np.float32(0.5) / np.float32(half)
    zr[0], zi[0] = scale * (re[0] + re[half]), scale * (re[0] - re[half])
    for k in range(1, quarter + 1):
        j = half - k
        even_r, even_i = scale * (re[k] + re[j]), scale * (im[k] - im[j])
        turned_r, turned_i = scale * (re[k] - re[j]), scale * (im[k] + im[j])
        odd_r, odd_i = turned_r * wr[k] + turned_i * wi[k], turned_i * wr[k] - turned_r * wi[k]
        zr[k], zi[k] = even_r - odd_i, even_i + odd_r
        zr[j], zi[j] = even_r + odd_i, odd_r - even_i


@njit(cache=True, nogil=True)
def _interleave(zr: NDArray[np.float32], zi: NDArray[np.float32], x: NDArray[np.float32]) -> None:
    """Write even samples (zr, float32[n/2]) and odd ones (zi) into x, float32[n]."""
    for k in range(zr.shape[0]):
        x[2 * k] = zr[k]
        x[2 * k + 1] = zi[k]
