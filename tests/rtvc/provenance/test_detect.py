"""The mark is found in real speech after what happens to recordings, and not where there is none."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from importlib import resources

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from rtvc.kernels.watermark import FRAME, watermark, watermark_state
from rtvc.provenance.detect import RATE_HZ, SCORE_MIN, Found, best_of, detect, whiten
from rtvc.provenance.payload import TOOL_LIVE, Payload, signs_of

Signal = NDArray[np.float32]
PAYLOAD = Payload(TOOL_LIVE, 2345, 98765)


@cache
def speech(voice: str) -> Signal:
    """Both sentences' 7.7 s and their beginning again: 10.5 s at 48 kHz."""
    with resources.as_file(resources.files("rtvc.samples") / f"{voice}.flac") as path:
        x, rate_hz = soundfile.read(path, dtype="float32")
    x = soxr.resample(x, rate_hz, 48_000)
    return np.concatenate((x, x[: round(10.5 * 48_000) - len(x)])).astype(np.float32)


@cache
def marked(voice: str) -> Signal:
    state = watermark_state(signs_of(PAYLOAD))
    state.clock[0] = FRAME // 3
    y = np.empty_like(speech(voice))
    watermark(state, speech(voice), y)
    return y


def low_rate(x: Signal, from_hz: float = 48_000) -> Signal:
    return soxr.resample(x, from_hz, RATE_HZ).astype(np.float32)


def opus(x: Signal) -> Signal:
    file = io.BytesIO()
    soundfile.write(file, x, 48_000, format="OGG", subtype="OPUS", compression_level=(256 - 24) / 250)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def jumping(x: Signal, jumps_ms: tuple[float, ...]) -> Signal:
    """Cut out (below 0) or repeat so much of x, spread over it, with a cross-fade of 2.5 ms: a jitter buffer's work."""
    fade = np.linspace(0.0, 1.0, 120, dtype=np.float32)
    pieces = np.array_split(x, len(jumps_ms) + 1)
    places = np.cumsum([len(piece) for piece in pieces[:-1]])
    played = pieces[0]
    for jump_ms, place, end in zip(jumps_ms, places, [*places[1:], len(x)], strict=True):
        start = place - round(48 * jump_ms)
        next_piece = x[start:end]
        overlap = played[-len(fade) :] + fade * (x[start - len(fade) : start] - played[-len(fade) :])
        played = np.concatenate((played[: -len(fade)], overlap, next_piece))
    return played


ATTACKS: dict[str, Callable[[Signal], Signal]] = {
    "none": low_rate,
    "cropped": lambda x: low_rate(x)[12_345:],
    "louder": lambda x: 1.41 * low_rate(x),
    "turned over": lambda x: -low_rate(x),
    "noise, 20 dB": lambda x: low_rate(
        x + np.float32(0.1 * np.std(x)) * np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)
    ),
    "clock +100 ppm": lambda x: low_rate(x, 48_000 * 1.0001),
    "clock -100 ppm": lambda x: low_rate(x, 48_000 * 0.9999),
    "8 kHz": lambda x: low_rate(soxr.resample(x, 48_000, 8_000), 8_000),
    "Opus 24 kbit/s": lambda x: low_rate(opus(x)),
    "a jump": lambda x: low_rate(jumping(x, (8.0,))),
    "four jumps": lambda x: low_rate(jumping(x, (3.0, -7.0, 15.0, 5.0))),
    "jumps, Opus, clock": lambda x: low_rate(jumping(opus(x), (-10.0, -4.0, -12.0)), 48_000 * 1.0001),
    "turned over, two jumps": lambda x: low_rate(jumping(-x, (-15.0, -15.0))),
}


@pytest.mark.parametrize("voice", ["female", "male"])
@pytest.mark.parametrize("attack", list(ATTACKS))
def test_the_mark_outlives(attack: str, voice: str) -> None:
    found = detect(ATTACKS[attack](marked(voice)))
    assert found.payload == PAYLOAD
    assert found.score > SCORE_MIN and found.false_alarm < 1e-6


@pytest.mark.parametrize("voice", ["female", "male"])
def test_unmarked_speech_has_no_payload(voice: str) -> None:
    found = detect(low_rate(speech(voice)))
    assert found.payload is None and found.score < 7


def test_the_chance_of_a_false_alarm_sinks_with_the_score_and_no_score_is_certain() -> None:
    payload = Payload(TOOL_LIVE, 1, 1)
    chances = [Found(score, payload).false_alarm for score in (0.0, SCORE_MIN, 8.0, 10.0, 15.0)]
    assert 1e-4 >= chances[0] >= chances[1] > chances[2] > chances[3] > chances[4] > 0.0


@pytest.mark.parametrize("x", [np.zeros(160_000), np.zeros(0), np.ones(100), np.sin(np.arange(160_000) * 0.3)])
def test_what_is_not_speech_is_searched_without_a_fault(x: NDArray[np.float64]) -> None:
    assert detect(x.astype(np.float32)).payload is None


def test_the_best_window_of_a_long_recording_is_kept() -> None:
    plain, with_mark = low_rate(speech("male")), low_rate(marked("male"))
    found = best_of([plain, plain, with_mark, plain])
    assert found.payload == PAYLOAD and found.at_s == 10.0 and found.windows == 4
    assert found.false_alarm == pytest.approx(4 * detect(with_mark).false_alarm)
    assert best_of([]) == Found(0.0, None)


def test_whitening_keeps_length_and_time_and_levels_what_is_loud_and_soft() -> None:
    x = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    x[: RATE_HZ // 2] *= 100
    y = whiten(x)
    assert y.shape == x.shape
    first, second = y[1600 : RATE_HZ // 2 - 1600], y[RATE_HZ // 2 + 1600 : -1600]
    assert 0.9 < np.std(first) / np.std(second) < 1.1
    lags = np.fft.irfft(np.fft.rfft(x[-8000:]) * np.conj(np.fft.rfft(y[-8000:])))
    assert int(np.argmax(lags)) == 0
