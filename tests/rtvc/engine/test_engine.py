"""The engine's promises: one result for any split, declared delay is real, nothing breaks it, changes do not click."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from rtvc.engine.build import neural_voice
from rtvc.engine.engine import CEILING_DBFS, Engine
from rtvc.engine.ladder import DSP, FP32, INT8, SILENCE
from rtvc.engine.params import PARAMS, Value, to_vector
from rtvc.engine.speaker_pitch import SpeakerPitch

RATES_HZ = (8000, 16000, 22050, 44100, 48000, 96000, 192000)
OWN: dict[str, Value] = {"voice.name": "own", "level.match": False, "gate.threshold_db": -90}
RICH: dict[str, Value] = {
    "pitch.semitones": 4,
    "formant.ratio": 1.15,
    "breath.amount": 0.3,
    "tone.brightness_db": 4,
    "telephone.amount": 0.5,
    "level.energy": 1.4,
}
Sound = NDArray[np.float32]


def speechlike(rate_hz: int, seconds: float, seed: int = 0) -> Sound:
    """Return pulses with a wandering pitch, noise and pauses."""
    random = np.random.default_rng(seed)
    n = int(rate_hz * seconds)
    t = np.arange(n) / rate_hz
    phase = np.cumsum(140 * 2 ** (0.3 * np.sin(2 * np.pi * 1.3 * t)) / rate_hz)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    band = butter(2, [150, min(3500, 0.45 * rate_hz)], "band", fs=rate_hz, output="sos")
    voice = sosfilt(band, pulses) / 0.05 + random.normal(0, 0.05, n)
    return (0.1 * voice * (np.sin(2 * np.pi * 0.9 * t) > -0.4)).astype(np.float32)


def run(engine: Engine, x: Sound, sizes: list[int] | None = None) -> Sound:
    y = np.zeros_like(x)
    start = 0
    while start < x.shape[0]:
        for n in sizes or [x.shape[0]]:
            engine.process(x[start : start + n], y[start : start + n])
            start += n
    return y


@pytest.mark.parametrize("rate_hz", [44100, 48000])
@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=20).filter(any))
def test_any_block_size_gives_the_same_samples(rate_hz: int, sizes: list[int]) -> None:
    x = speechlike(rate_hz, 0.6)
    np.testing.assert_array_equal(
        run(Engine(rate_hz, to_vector(RICH)), x, sizes), run(Engine(rate_hz, to_vector(RICH)), x)
    )


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_declared_delay_is_the_real_one(rate_hz: int) -> None:
    engine = Engine(rate_hz, to_vector(OWN))
    band = butter(4, [400, 0.3 * rate_hz], "band", fs=rate_hz, output="sos")
    x = sosfilt(band, np.random.default_rng(0).normal(0, 0.1, 16384)).astype(np.float32)
    lag = int(np.argmax(np.correlate(run(engine, x), x, "full"))) - x.shape[0] + 1
    assert abs(lag - engine.delay_frames) <= 1
    assert engine.delay_ms == pytest.approx(1000 * engine.delay_frames / rate_hz)


def test_the_dsp_voice_delays_at_most_15_ms() -> None:
    assert Engine(48000).delay_ms <= 15.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 1.0, -1.0, 1e-41, 0.0])
@pytest.mark.parametrize("preset", [RICH, OWN, {"whisper.amount": 1.0}, {"pitch.mode": "robot"}])
def test_no_input_breaks_it(value: float, preset: dict[str, Value]) -> None:
    engine = Engine(48000, to_vector(preset))
    x = speechlike(48000, 0.5)
    bad = x.copy()
    bad[5000:9000] = value
    y = run(engine, bad, [256])
    assert np.all(np.isfinite(y))
    assert np.abs(y).max() <= 10 ** (CEILING_DBFS / 20) + 1e-6
    if not np.isfinite(value) or value > 4:
        assert engine.counters["replaced_samples"] == 4000
    # and it recovers: the sound after it is the sound of an engine that saw silence there, in level
    assert np.std(run(engine, speechlike(48000, 0.5, 1), [256])[12000:]) > 0.005


def test_silence_in_gives_silence_out() -> None:
    assert not np.any(run(Engine(48000, to_vector(RICH)), np.zeros(48000, np.float32), [256]))


def test_dc_is_taken_away() -> None:
    y = run(Engine(48000, to_vector(OWN)), np.full(96000, 0.5, np.float32), [480])
    assert np.abs(y[48000:]).max() < 1e-4


def test_reset_forgets_everything() -> None:
    x = speechlike(48000, 0.4)
    engine = Engine(48000, to_vector(RICH))
    first = run(engine, x)
    run(engine, speechlike(48000, 0.3, 3))
    engine.reset()
    np.testing.assert_array_equal(run(engine, x), first)


def test_processing_allocates_no_sample_memory() -> None:
    engine = Engine(48000, to_vector(RICH))
    x, y = speechlike(48000, 0.5), np.zeros(24000, np.float32)
    for start in range(0, 12000, 256):
        engine.process(x[start : start + 256], y[start : start + 256])
    gc.collect()
    _nrt_python.memsys_enable_stats()
    kernels_before = rtsys.get_allocation_stats()
    tracemalloc.start()
    traced = []
    for _ in range(3):
        for _ in range(20):
            for start in range(0, 12000, 256):
                engine.process(x[start : start + 256], y[start : start + 256])
        traced.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    kernels_after = rtsys.get_allocation_stats()
    assert traced[2] - traced[1] < 2048  # nothing grows with 940 blocks more, but for the interpreter's own caches
    live = kernels_after.alloc - kernels_after.free - (kernels_before.alloc - kernels_before.free)
    assert live == 0


def test_the_neural_voice_allocates_no_sample_memory() -> None:
    engine = Engine(48000, to_vector({**RICH, "voice.name": "neural"}), neural_voice())
    x, y = speechlike(48000, 0.5), np.zeros(24000, np.float32)
    starts = range(0, 12000, 256)
    for start in starts:
        engine.process(x[start : start + 256], y[start : start + 256])
    gc.collect()
    tracemalloc.start()
    peaks = []
    for start in [*starts, *starts]:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        engine.process(x[start : start + 256], y[start : start + 256])
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    arrays = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)])
    tracemalloc.stop()
    assert not arrays.traces  # of all that NumPy allocated meanwhile nothing is left
    assert np.median(peaks) < 4096  # views and numbers; one frame of parts would be 12 kB, a ring of keys 113 kB


def test_a_wrong_block_is_refused() -> None:
    engine = Engine(48000)
    with pytest.raises(ValueError, match="one length"):
        engine.process(np.zeros(10, np.float32), np.zeros(11, np.float32))
    with pytest.raises(ValueError, match="mono"):
        engine.process(np.zeros((10, 2), np.float32), np.zeros((10, 2), np.float32))
    with pytest.raises(ValueError, match="4000 Hz"):
        Engine(4000)


def test_loudness_follows_the_speaker() -> None:
    x = speechlike(48000, 6.0)
    y = run(Engine(48000, to_vector({"pitch.semitones": -9, "formant.ratio": 0.8})), x, [480])
    late = slice(3 * 48000, None)
    assert abs(20 * np.log10(np.std(y[late]) / np.std(x[late]))) < 1.5


@pytest.mark.parametrize("voice", ["own", "dsp"])
def test_energy_scales_the_loudness_movement_at_the_same_mean(voice: str) -> None:
    t = np.arange(6 * 48000) / 48000
    x = speechlike(48000, 6.0) * (10 ** (6 * np.sign(np.sin(np.pi * t)) / 20)).astype(np.float32)

    def loud_and_soft(energy: float) -> tuple[float, float]:
        y = run(Engine(48000, to_vector({"voice.name": voice, "gate.threshold_db": -90, "level.energy": energy})), x)
        halves = [y[round((s + 0.1) * 48000) : round((s + 0.9) * 48000)] for s in (2, 3, 4, 5)]
        rms = [20 * np.log10(float(np.sqrt(np.mean(half**2)))) for half in halves]
        return max(rms[0], rms[2]) - max(rms[1], rms[3]), sum(rms) / 4

    (even, even_mean), (plain, mean), (lively, lively_mean) = (loud_and_soft(energy) for energy in (0.5, 1.0, 1.5))
    assert even < 0.7 * plain and lively > 1.2 * plain
    assert abs(even_mean - mean) < 4 and abs(lively_mean - mean) < 4


def test_mute_is_silence() -> None:
    assert not np.any(run(Engine(48000, to_vector({"level.mute": True})), speechlike(48000, 0.5)))


@pytest.mark.parametrize("param", [p for p in PARAMS if p not in ("pitch.mode",)])
def test_a_change_does_not_click(param: str) -> None:
    """A jump of any parameter keeps the output's high band within what steady sound has.

    The input is a sine, so energy above 6 kHz can only come from a discontinuity (or from noise that was asked for).
    """
    found = PARAMS[param]
    if found.choices or found.switch:
        low: Value = found.from_number(found.minimum)
        high: Value = found.from_number(1.0)
    else:
        low, high = found.minimum, found.maximum
    if param in ("breath.amount", "whisper.amount"):
        high = 0.01
    base: dict[str, Value] = {"gate.threshold_db": -90, "level.match": False, "voice.name": "own"}
    if param.startswith(("pitch", "formant", "tone", "breath", "whisper", "telephone")):
        base["voice.name"] = "dsp"
    t = np.arange(48000 * 2) / 48000
    x = (0.2 * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    engine = Engine(48000, to_vector({**base, param: low}))
    y = np.zeros_like(x)
    for k, start in enumerate(range(0, x.shape[0], 480)):
        engine.set(to_vector({**base, param: high if (k // 25) % 2 else low}))
        engine.process(x[start : start + 480], y[start : start + 480])
    high_band = sosfilt(butter(4, 6000, "high", fs=48000, output="sos"), y)[24000:]
    assert 20 * np.log10(np.abs(high_band).max() / 0.2) < -30


def test_switching_voices_cross_fades() -> None:
    x = speechlike(48000, 1.0)
    engine = Engine(48000, to_vector({"voice.name": "own"}))
    y = np.zeros_like(x)
    for k, start in enumerate(range(0, x.shape[0], 480)):
        engine.set(to_vector({"voice.name": ("own", "dsp", "silence")[(k // 20) % 3]}))
        engine.process(x[start : start + 480], y[start : start + 480])
    assert np.abs(np.diff(y)).max() < 2 * np.abs(np.diff(x)).max()


class Tone:
    """A stand-in for a neural voice: a tone of its own, as late as it says; it may break."""

    delay_frames = 2000

    def __init__(self, hz: float) -> None:
        self.hz, self.at, self.ticked, self.broken = hz, 0, False, False
        self.pitch = SpeakerPitch(0.01)

    def reset(self) -> None:
        self.at, self.ticked = 0, False

    def tick(self, values: NDArray[np.float64]) -> None:
        self.ticked = True

    def process(self, x: Sound, y: Sound) -> None:
        if self.broken or not self.ticked:
            raise RuntimeError("no more")
        y[:] = 0.1 * np.sin(2 * np.pi * self.hz / 48000 * (self.at + np.arange(len(y))))
        self.at += len(y)


SUNG: dict[str, Value] = {"voice.name": "neural", "level.match": False, "gate.threshold_db": -90}
COARSE_HZ, FINE_HZ = 500.0, 1000.0


def singer(fine: bool = False) -> tuple[Engine, Tone, Tone]:
    coarse, finer = Tone(COARSE_HZ), Tone(FINE_HZ)
    engine = Engine(48000, to_vector(SUNG), coarse, finer if fine else None)  # type: ignore[arg-type]
    return engine, coarse, finer


def level(y: Sound, hz: float) -> float:
    return 2 * abs(np.mean(y * np.exp(-2j * np.pi * hz / 48000 * np.arange(len(y)))))


def sing(engine: Engine, seconds: float) -> Sound:
    faint = np.random.default_rng(0).normal(0, 1e-4, round(48000 * seconds))  # what opens the gate
    return run(engine, faint.astype(np.float32), [256])


def test_a_rung_that_begins_knows_the_speaker() -> None:
    engine, neural, _ = singer()
    engine.limit(DSP, DSP)
    run(engine, speechlike(48000, 3.0), [256])
    known = engine._voice.pitch
    assert known.voiced_s > 1.0
    centre_hz = known.centre_hz()
    engine.limit(DSP, INT8)
    run(engine, np.zeros(480, np.float32), [480])
    assert neural.pitch.centre_hz() == centre_hz and neural.pitch.voiced_s == known.voiced_s


def test_the_rungs_are_those_whose_voices_are_there() -> None:
    assert Engine(48000).rungs == (DSP, SILENCE)
    assert singer()[0].rungs == (INT8, DSP, SILENCE)
    assert singer(fine=True)[0].rungs == (FP32, INT8, DSP, SILENCE)
    late = Tone(100.0)
    late.delay_frames = 3000
    with pytest.raises(ValueError, match=r"one delay, got \[2000, 3000\]"):
        Engine(48000, None, Tone(100.0), late)  # type: ignore[arg-type]


def test_the_best_rung_sounds_and_a_worse_one_takes_over_within_ten_milliseconds_without_a_click() -> None:
    engine, coarse, _ = singer(fine=True)
    assert engine.rung == FP32
    y = sing(engine, 0.5)
    assert level(y[-9600:], FINE_HZ) == pytest.approx(0.1, rel=0.01)
    assert coarse.at == 0  # what is not heard is not computed
    engine.limit(DSP, DSP)
    assert engine.rung == DSP
    fallen = sing(engine, 0.5)
    assert np.abs(fallen[240 + 480 + 72 :]).max() < 1e-3  # a tick, the fade, the limiter's delay; nobody speaks
    natural = np.abs(np.diff(y[-4800:])).max()
    assert np.abs(np.diff(np.concatenate([y, fallen]))).max() < 1.1 * natural + 0.1 / 480


def test_a_rung_on_trial_runs_from_its_beginning_and_is_not_heard() -> None:
    engine, coarse, finer = singer(fine=True)
    engine.limit(DSP, DSP)
    sing(engine, 0.2)
    at = finer.at
    engine.limit(DSP, INT8)
    assert np.abs(sing(engine, 0.5)).max() < 1e-3
    assert coarse.at == 24_000
    assert finer.at == at
    engine.limit(INT8, INT8)
    assert engine.rung == INT8
    assert level(sing(engine, 0.5)[-9600:], COARSE_HZ) == pytest.approx(0.1, rel=0.01)


def test_a_rung_that_raises_sinks_and_may_be_tried_again() -> None:
    engine, coarse, _ = singer()
    y = sing(engine, 0.5)
    coarse.broken = True
    failed = sing(engine, 0.5)
    assert engine.failures == {INT8: "the neural voice stopped: no more"}
    assert engine.rung == DSP
    assert np.abs(failed[960:]).max() < 1e-3
    assert np.abs(np.diff(np.concatenate([y, failed]))).max() < 0.1 * 0.07 + 1e-3
    coarse.broken = False
    engine.limit(DSP, INT8)
    assert engine.failures == {}
    assert np.abs(sing(engine, 0.2)).max() < 1e-3
    engine.limit(INT8, INT8)
    assert level(sing(engine, 0.5)[-9600:], COARSE_HZ) == pytest.approx(0.1, rel=0.01)


def test_where_one_of_two_networks_fails_the_other_speaks() -> None:
    engine, _, finer = singer(fine=True)
    sing(engine, 0.2)
    finer.broken = True
    y = sing(engine, 0.5)
    assert engine.rung == INT8
    assert engine.failure == ""  # a neural voice is heard
    assert level(y[-9600:], COARSE_HZ) == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("voice", ["dsp", "own", "neural"])
def test_the_last_rung_is_silence_whatever_voice_is_asked_for_and_costs_nothing(voice: str) -> None:
    x = speechlike(48000, 1.0)
    engine, coarse, _ = singer()
    engine.set(to_vector({**SUNG, "voice.name": voice}))
    assert np.std(run(engine, x, [256])[24_000:]) > 0.005
    engine.limit(SILENCE, SILENCE)
    at = coarse.at
    assert not run(engine, x, [256])[1000:].any()
    assert coarse.at - at <= 1000
    engine.limit(DSP, DSP)
    assert engine.rung == DSP
    assert np.std(run(engine, x, [256])[24_000:]) > (0.005 if voice != "neural" else 0.001)
