"""Finds the watermark in a recording, also where a jitter buffer stretched its time. Offline, NumPy, 16 kHz.

1. Whitening: short-time spectra of 64 ms between LOW_HZ and HIGH_HZ keep their phase and lose their magnitude, so the
   voice's loud harmonics weigh no more than the gaps between them, where the mark is.
2. Search: every SEGMENT is correlated with the carrier's pilots at all offsets in the frame, and the segments are added
   along every clock deviation of the DRIFTS. From one segment to the next the offset may jump, by up to REACH samples
   and somewhat more, for JUMP_COST: a call's jitter buffer cuts out or repeats 2.5 to 15 ms at a time. The highest sum
   to every offset comes from dynamic programming; the highest of all, in standard deviations of straight sums, is the
   score.
3. Reading: the paths of the CANDIDATES highest sums are followed back. Along each, offsets and drift are refined, the
   carrier is taken off, and all frames are added up symbol by symbol. TURNS in all: what the symbols seem to say joins
   the pilots in the next search for the path, with four times their energy. Each frame's own sound is left out of what
   it is compared with, or every path would confirm itself. The mark is found where the score passes SCORE_MIN and the
   decoded bits their CRC.

Paths that may jump follow noise too: the highest sum of speech without a mark is about 6.2, along straight lines 4.7.
And each turn is one more chance for the CRC to be passed. `Found.false_alarm` counts both.

Long recordings are searched in windows of WINDOW_S, half overlapping. 0.1 to 0.2 s a window on one core.

Source: Viterbi, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm" (1967), for the
path; Noels et al., "Turbo synchronization: an EM algorithm interpretation" (2003), for the turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.watermark import FRAME, HIGH_HZ, LOW_HZ, SYMBOLS, carrier
from rtvc.kernels.watermark import RATE_HZ as MARK_RATE_HZ

from .payload import CRC_BITS, PILOT_SIGNS, PILOTS, TOOL_BITS, TOOLS, Payload, decode

RATE_HZ = 16_000
WINDOW_S = 10.0
SPECTRUM = 1024
HOP = 256
SEGMENT = 2560
REACH = 256  # 16 ms; jumps go into the block of so many offsets before, after, or the same
JUMP_COST = 0.8  # of the score
TURN_COST = 0.4  # the same when all symbols take part, with twice the voltage
DRIFTS = np.arange(-160, 161, 20) * 1e-6
CANDIDATES = 3
TURNS = 3
SCORE_MIN = 6.5  # of 100 unmarked recordings seven score so high

_PERIOD = FRAME * RATE_HZ // MARK_RATE_HZ
_BEFORE = np.arange(-1, _PERIOD // REACH - 1)  # of each block of REACH offsets
_AFTER = np.arange(1, _PERIOD // REACH + 1) % (_PERIOD // REACH)
_PILOT_SIGNS = np.zeros(SYMBOLS, np.float32)
_PILOT_SIGNS[PILOTS] = PILOT_SIGNS
_FINE = 4  # carrier samples for one of the recording, when reading
_FINE_DRIFTS = np.array([-7, 0, 7]) * 1e-6
_FINE_PARTS = np.arange(-2, 3)


@dataclass(frozen=True)
class Found:
    """The best of a recording: score in standard deviations, payload if it could be read, where its window begins."""

    score: float
    payload: Payload | None
    at_s: float = 0.0
    windows: int = 1  # searched

    @property
    def false_alarm(self) -> float:
        """At most how likely a recording without a mark is to score so high and be read: normal sums, chance bits.

        The sums are those of all paths of a window, with any number of jumps, taken as if they had nothing in common.
        """
        later = math.ceil(WINDOW_S * RATE_HZ / SEGMENT) - 1
        score = 0.0
        for jumps in range(later + 1):
            paths = len(DRIFTS) * _PERIOD * math.comb(later, jumps) * (3.0 * REACH) ** jumps
            score += paths * math.erfc((self.score + jumps * JUMP_COST) / math.sqrt(2.0))
        score = min(1.0, score)
        return min(1.0, self.windows * score * CANDIDATES * TURNS * len(TOOLS) * 2.0 ** -(TOOL_BITS + CRC_BITS))


def detect(x: NDArray[np.float32]) -> Found:
    """Return what is found in one window, float32[n] at 16 kHz, n up to some WINDOW_S."""
    white = whiten(x)
    spectra = _spectra(white)
    pilots = _correlation(spectra, _PILOT_SIGNS)
    scores = _search(pilots)
    best = float(scores.max())
    if best < SCORE_MIN:
        return Found(best, None)
    for drift, sign, end in _candidates(scores):
        path = _path(sign * _aligned(pilots, drift), JUMP_COST, end)
        payload = _read(sign * white, sign * spectra, path, drift)
        if payload is not None:
            return Found(best, payload)
    return Found(best, None)


def best_of(windows: Iterable[NDArray[np.float32]]) -> Found:
    """Return the best of windows that begin WINDOW_S / 2 after each other; of none, a score of 0."""
    best = Found(0.0, None)
    searched = 0
    for x in windows:
        one = detect(x)
        if (one.payload is not None, one.score) > (best.payload is not None, best.score):
            best = replace(one, at_s=searched * WINDOW_S / 2)
        searched += 1
    return replace(best, windows=max(searched, 1))


def whiten(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x (float32[n] at 16 kHz) with every spectral cell of the band at magnitude 1 and none outside."""
    window = np.sin(np.pi * np.arange(SPECTRUM) / SPECTRUM).astype(np.float32)
    padded = np.concatenate((np.zeros(SPECTRUM, np.float32), x, np.zeros(2 * SPECTRUM, np.float32)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, SPECTRUM)[::HOP]
    spectra = np.fft.rfft(frames * window)
    hz = np.arange(SPECTRUM // 2 + 1) * RATE_HZ / SPECTRUM
    magnitude = np.abs(spectra)
    spectra[:, (hz < LOW_HZ) | (hz > HIGH_HZ)] = 0.0
    spectra /= magnitude + np.float32(1e-6)
    white = np.zeros(len(padded), np.float32)
    pieces = np.fft.irfft(spectra).astype(np.float32) * window
    for k in range(SPECTRUM // HOP):
        lane = pieces[k :: SPECTRUM // HOP].reshape(-1)
        white[k * HOP : k * HOP + len(lane)] += lane
    return white[SPECTRUM : SPECTRUM + len(x)]


@cache
def _reference(rate_hz: int) -> NDArray[np.float32]:
    """Return one period of the carrier's band at rate_hz, float32[FRAME * rate_hz / 48000], rms 1."""
    n = FRAME * rate_hz // MARK_RATE_HZ
    spectrum = np.fft.rfft(carrier())
    hz = np.arange(len(spectrum)) * MARK_RATE_HZ / FRAME
    spectrum[(hz < LOW_HZ) | (hz > HIGH_HZ)] = 0.0
    kept = np.zeros(n // 2 + 1, complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    wave = np.fft.irfft(kept, n)
    scaled: NDArray[np.float32] = (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)
    return scaled


def _spectra(white: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the spectra of white's segments, complex64[segments, _PERIOD / 2 + 1]."""
    segments = np.zeros((max(-(-len(white) // SEGMENT), 1), SEGMENT), np.float32)
    segments.reshape(-1)[: len(white)] = white
    return np.fft.rfft(segments, _PERIOD).astype(np.complex64)


def _correlation(spectra: NDArray[np.complex64], signs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each segment's correlation with the carrier at every offset, float32[segments, _PERIOD], scaled.

    signs are the symbols' (float32[SYMBOLS], or one row for each segment), 0 where unknown. Where there is no mark, the
    sum of all segments has a variance of about 1.
    """
    template = np.fft.rfft(_reference(RATE_HZ) * np.repeat(signs, _PERIOD // SYMBOLS, axis=-1))
    correlation = np.fft.irfft(np.conj(spectra) * template.astype(np.complex64), _PERIOD).astype(np.float32)
    scale = math.sqrt(float(np.mean(correlation**2)) * len(correlation))
    return correlation / np.float32(scale + 1e-9)


def _aligned(correlation: NDArray[np.float32], drift: float) -> NDArray[np.float32]:
    """Return correlation with every segment turned so that a straight path at this drift keeps to one column."""
    lines = np.empty_like(correlation)
    for s, row in enumerate(correlation):
        shift = (s * SEGMENT + round((s + 0.5) * SEGMENT * drift)) % _PERIOD
        lines[s, : _PERIOD - shift], lines[s, _PERIOD - shift :] = row[shift:], row[:shift]
    return lines


def _search(correlation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the highest sum of a path that ends at every offset, float32[len(DRIFTS), 2, _PERIOD]; [:, 1] negated."""
    scores = np.zeros((len(DRIFTS), 2, _PERIOD), np.float32)
    straight = np.zeros((len(DRIFTS), _PERIOD), np.float32)
    for d, drift in enumerate(DRIFTS):
        lines = _aligned(correlation, drift)
        straight[d] = lines.sum(axis=0)
        for row in lines:
            _jump(scores[d], JUMP_COST)
            scores[d, 0] += row
            scores[d, 1] -= row
    return scores / (straight.std() + np.float32(1e-9))


def _jump(sums: NDArray[np.float32], cost: float) -> None:
    """Raise sums (float32[..., _PERIOD]) to the highest that reaches the offset by a jump, less its cost, if higher."""
    blocks = sums.reshape(*sums.shape[:-1], -1, REACH)
    highest = blocks.max(axis=-1)
    near = np.maximum(np.maximum(highest[..., _BEFORE], highest), highest[..., _AFTER]) - np.float32(cost)
    np.maximum(blocks, near[..., None], out=blocks)


def _candidates(scores: NDArray[np.float32]) -> Iterator[tuple[float, float, int]]:
    """Yield drift, sign and last offset of the CANDIDATES highest scores that no jump connects."""
    left = scores.max(axis=(0, 1))
    for _ in range(CANDIDATES):
        end = int(left.argmax())
        d, turned = np.unravel_index(int(scores[:, :, end].argmax()), scores.shape[:2])
        yield float(DRIFTS[d]), 1.0 - 2.0 * float(turned), end
        left[np.arange(end - 2 * REACH, end + 2 * REACH + 1) % _PERIOD] = -np.inf


def _path(lines: NDArray[np.float32], cost: float, end: int | None = None) -> NDArray[np.int64]:
    """Return the offsets, int64[segments], of the highest sum through lines, of those that end at end if given."""
    sums = np.zeros_like(lines)
    sums[0] = lines[0]
    for s in range(1, len(lines)):
        sums[s] = sums[s - 1]
        _jump(sums[s], cost)
        sums[s] += lines[s]
    path = np.full(len(lines), sums[-1].argmax() if end is None else end)
    for s in range(len(lines) - 2, -1, -1):
        stay = path[s + 1]
        near = np.arange(stay // REACH - 1, stay // REACH + 2)[:, None] * REACH + np.arange(REACH)
        jump = near.reshape(-1)[sums[s, near.reshape(-1) % _PERIOD].argmax()] % _PERIOD
        path[s] = jump if sums[s, jump] - cost > sums[s, stay] else stay
    return path


def _read(
    white: NDArray[np.float32], spectra: NDArray[np.complex64], path: NDArray[np.int64], drift: float
) -> Payload | None:
    """Return what is said along path or, TURNS in all, along the path that the symbols read so far lead to."""
    symbols = _symbols(white, path, drift)
    payload = decode(symbols.sum(axis=0))
    for _ in range(TURNS - 1):
        if payload is not None:
            break
        signs = _expected(symbols)[np.arange(len(path)) * SEGMENT // _PERIOD]
        symbols = _symbols(white, _path(_aligned(_correlation(spectra, signs), drift), TURN_COST), drift)
        payload = decode(symbols.sum(axis=0))
    return payload


def _symbols(white: NDArray[np.float32], path: NDArray[np.int64], drift: float) -> NDArray[np.float64]:
    """Return the symbols' soft signs in each frame's time, float64[frames, SYMBOLS].

    They are taken along the path, with the best drift near drift, and the best part of a sample for each piece.
    """
    fine = _reference(RATE_HZ * _FINE)
    time = np.arange(len(white))
    straight = path[time // SEGMENT] + time * (1.0 + drift)
    pieces = np.flatnonzero(np.diff(path, prepend=-1)) * SEGMENT  # where they begin
    lengths = np.diff(pieces, append=len(white))
    best, places = -np.inf, np.zeros(0, np.int64)
    for more in _FINE_DRIFTS:
        line = np.rint((straight + (time - len(white) / 2) * more) * _FINE).astype(np.int64) % len(fine)
        sums = np.array([np.add.reduceat(white * _fine_pilots(part)[line], pieces) for part in _FINE_PARTS])
        if sums.max(axis=0).sum() > best:
            best = sums.max(axis=0).sum()
            places = (line + np.repeat(_FINE_PARTS[sums.argmax(axis=0)], lengths)) % len(fine)
    symbols = time // _PERIOD * SYMBOLS + places // (len(fine) // SYMBOLS)
    frames = -(-len(white) // _PERIOD)
    return np.bincount(symbols, white * fine[places], frames * SYMBOLS).reshape(frames, SYMBOLS).astype(np.float64)


@cache
def _fine_pilots(part: int) -> NDArray[np.float32]:
    """Return the pilots of _reference(RATE_HZ * _FINE), part of its samples early."""
    fine = _reference(RATE_HZ * _FINE)
    return np.roll(fine * np.repeat(_PILOT_SIGNS, len(fine) // SYMBOLS), -part)


def _expected(symbols: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return which sign each symbol is expected to have, float32[frames, SYMBOLS], in each frame from the others."""
    others = symbols.sum(axis=0) - symbols
    level = np.maximum(np.mean(others[:, PILOTS] * PILOT_SIGNS, axis=1, keepdims=True), 0.0)
    noise = np.maximum(np.mean(others**2, axis=1, keepdims=True) - level**2, 1e-9)
    signs = np.tanh(level * others / noise).astype(np.float32)
    signs[:, PILOTS] = PILOT_SIGNS
    return signs
