from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from rtvc.cli import main
from rtvc.engine.build import neural_voice
from rtvc.engine.engine import RUNG_FADE_FRAMES, Engine
from rtvc.engine.neural_voice import AHEAD, DECODER_FRAME, NeuralVoice
from rtvc.engine.params import TIMBRES, Value, to_vector
from rtvc.engine.voice import ENGINE_RATE_HZ, TICK_FRAMES
from rtvc.kernels.decimate import decimator_delay_frames

RATE_HZ = ENGINE_RATE_HZ
QUIET: dict[str, Value] = {"gate.threshold_db": -90, "level.match": False}


def sample(name: str, seconds: float) -> NDArray[np.float32]:
    path = Path(str(resources.files("rtvc") / "samples" / f"{name}.flac"))
    x, rate_hz = soundfile.read(path, dtype="float32")
    return np.ascontiguousarray(soxr.resample(x[: round(seconds * rate_hz)], rate_hz, RATE_HZ), dtype=np.float32)


@pytest.fixture(scope="module")
def voice() -> NeuralVoice:
    return neural_voice("fast")


def engine_with(voice: NeuralVoice, **values: Value) -> Engine:
    names = {name.replace("_", ".", 1): value for name, value in values.items()}
    return Engine(RATE_HZ, to_vector({**QUIET, "voice.name": "neural", **names}), voice)


def run(engine: Engine, x: NDArray[np.float32], sizes: list[int]) -> NDArray[np.float32]:
    y = np.zeros_like(x)
    start = k = 0
    while start < len(x):
        n = min(sizes[k % len(sizes)], len(x) - start)
        engine.process(x[start : start + n], y[start : start + n])
        start, k = start + n, k + 1
    return y


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=5))
def test_any_block_size_gives_the_same_samples(sizes: list[int]) -> None:
    x, whole = said_in_one_go()
    assert np.array_equal(run(engine_with(neural_voice("fast")), x, sizes), whole)
    assert np.any(whole)


@functools.cache
def said_in_one_go() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return speech, and what the voice makes of it as one block."""
    x = sample("female", 0.8)
    return x, run(engine_with(neural_voice("fast")), x, [len(x)])


def test_a_reset_forgets_everything(voice: NeuralVoice) -> None:
    x = sample("male", 1.0)
    engine = engine_with(voice)
    first = run(engine, x, [256])
    run(engine, sample("female", 0.5), [256])
    engine.reset()
    assert np.array_equal(run(engine, x, [256]), first)


@pytest.mark.parametrize(("point", "most_ms"), [("fast", 45.0), ("clear", 100.0)])
def test_the_delay_is_as_declared_and_within_its_bound(
    point: str, most_ms: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = neural_voice(point)
    engine = Engine(RATE_HZ, to_vector({**QUIET, "voice.name": "neural"}), voice)
    assert engine.delay_ms <= most_ms
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    assert f"{point} (about {engine.delay_ms:.0f} ms)" in " ".join(capsys.readouterr().out.split())
    network, frames = voice._network, [0]
    silent = np.full((5, 601), -30.0, np.float32)
    click = silent.copy()
    click[3, :50], click[4] = -3.0, np.pi * np.arange(601)  # flat to 1 kHz, with phases that meet at the frame's centre

    def decode(*_: object) -> None:
        network.parts[:] = (click if frames[0] == 40 + AHEAD else silent).ravel()
        frames[0] += 1

    monkeypatch.setattr(network, "decode", decode)
    x = np.random.default_rng(0).normal(0.0, 1e-3, RATE_HZ).astype(np.float32)  # something, so that the gate is open
    y = run(engine, x, [333])
    captured = 40 * DECODER_FRAME * 3 - decimator_delay_frames(voice._decimator)  # where the frame's centre came in
    assert abs(int(np.argmax(np.abs(y))) - (captured + engine.delay_frames)) <= 1


def test_every_voice_is_at_home_at_its_own_pitch(voice: NeuralVoice) -> None:
    from rtvc.kernels.f0 import f0_state, f0_track

    x = sample("female", 3.0)
    for index, name in enumerate(TIMBRES):
        y = run(engine_with(voice, voice_timbre=name), x, [480])[RATE_HZ:]
        low = np.ascontiguousarray(y[::3])
        out = np.zeros((3, len(low) // 80 + 1), np.float32)
        n = f0_track(f0_state(), low, out[0], out[1], out[2])
        median = float(np.median(out[0, :n][out[1, :n] > 0]))
        assert abs(12 * np.log2(median / voice._timbres[index].home_hz)) < 3.0, name


def test_pitch_moves_by_the_semitones_asked_for(voice: NeuralVoice) -> None:
    x = sample("male", 2.5)
    low = run(engine_with(voice, pitch_semitones=0), x, [480])
    high = run(engine_with(voice, pitch_semitones=7), x, [480])
    from rtvc.kernels.f0 import f0_state, f0_track

    medians = []
    for y in (low, high):
        z = np.ascontiguousarray(y[RATE_HZ::3])
        out = np.zeros((3, len(z) // 80 + 1), np.float32)
        n = f0_track(f0_state(), z, out[0], out[1], out[2])
        medians.append(float(np.median(out[0, :n][out[2, :n] > 0.9])))
    assert 12 * np.log2(medians[1] / medians[0]) == pytest.approx(7.0, abs=1.0)


def test_breath_whisper_and_telephone_shape_it_too(voice: NeuralVoice) -> None:
    speakers = [sample("female", 4.0), sample("male", 4.0)]

    def said(**values: float) -> NDArray[np.float32]:
        return np.concatenate([run(engine_with(voice, **values), x, [480])[RATE_HZ:] for x in speakers])

    def share_above(y: NDArray[np.float32], hz: float) -> float:
        power = np.abs(np.fft.rfft(y[:RATE_HZ])) ** 2
        return float(power[round(hz) :].sum() / power.sum())

    plain = said()
    pitch = [_autocorrelation_peak(y) for y in (plain, said(breath_amount=1.0), said(whisper_amount=1.0))]
    assert pitch[1] < 0.9 * pitch[0] and pitch[2] < 0.6 * pitch[0]
    assert share_above(said(telephone_amount=1.0), 5000.0) < 0.02 * share_above(plain, 5000.0)


def _autocorrelation_peak(y: NDArray[np.float32]) -> float:
    """Return the mean over frames of 40 ms of the highest normalised autocorrelation at 2.5 to 10 ms, by power."""
    frames = y[: len(y) // 1920 * 1920].reshape(-1, 1920).astype(float)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(1920), 4096)) ** 2
    correlation = np.fft.irfft(spectra)
    return float(correlation[:, 120:480].max(axis=1).sum() / correlation[:, 0].sum())


def test_switching_and_blending_voices_does_not_click(voice: NeuralVoice) -> None:
    x = sample("female", 2.0)
    engine = engine_with(voice)
    y = np.zeros_like(x)
    for k, start in enumerate(range(0, len(x), 480)):
        values = {"voice.timbre": TIMBRES[(k // 10) % 8], "voice.second": TIMBRES[3], "voice.blend": (k % 7) / 7}
        engine.set(to_vector({**QUIET, "voice.name": "neural", **values}))
        engine.process(x[start : start + 480], y[start : start + 480])
    steady = run(engine_with(voice), x, [480])
    assert np.abs(np.diff(y)).max() < 2.0 * np.abs(np.diff(steady)).max()


def test_a_voice_that_fails_gives_way_to_the_dsp_voice_within_a_tick(
    voice: NeuralVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = sample("female", 2.0)
    dsp = run(Engine(RATE_HZ, to_vector({**QUIET, "voice.name": "dsp"}), voice), x, [480])
    engine = engine_with(voice)
    y = np.zeros_like(x)
    half = RATE_HZ
    engine.process(x[:half], y[:half])
    ticks: list[int] = []  # in which it fails

    def broken(*_: object) -> None:
        ticks.append(engine.sample)
        raise RuntimeError("the device was lost")

    monkeypatch.setattr(voice._network, "hear", broken)
    engine.process(x[half:], y[half:])
    assert "the device was lost" in engine.failure
    assert len(ticks) == 1 and half <= ticks[0] <= half + RATE_HZ // 100  # the networks hear every 10 ms
    faded = ticks[0] + TICK_FRAMES + RUNG_FADE_FRAMES
    limited = faded + engine.delay_frames - voice.delay_frames  # what the limiter still holds is from before
    assert np.allclose(y[limited:], dsp[limited:], atol=1e-4)


def test_without_networks_a_neural_sound_is_the_dsp_voice() -> None:
    x = sample("female", 0.5)
    neural = run(Engine(RATE_HZ, to_vector({**QUIET, "voice.name": "neural"})), x, [480])
    assert np.array_equal(neural, run(Engine(RATE_HZ, to_vector({**QUIET, "voice.name": "dsp"})), x, [480]))


def test_silence_stays_nearly_silent(voice: NeuralVoice) -> None:
    y = run(engine_with(voice), np.zeros(2 * RATE_HZ, np.float32), [480])
    assert np.sqrt(np.mean(y[RATE_HZ:] ** 2)) < 10 ** (-50 / 20)


def test_broken_input_is_survived(voice: NeuralVoice) -> None:
    x = sample("female", 1.5)
    x[1000:1200] = np.nan
    x[5000:9000] = np.inf
    x[20000:24000] = 1e30
    engine = engine_with(voice)
    y = run(engine, x, [256])
    assert np.all(np.isfinite(y))
    assert engine.counters["replaced_samples"] > 0


def test_hisses_are_the_speakers_own_if_that_is_wanted(voice: NeuralVoice) -> None:
    band = butter(6, [3500, 6500], "band", fs=RATE_HZ, output="sos")

    def powers(x: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.convolve(x.astype(float) ** 2, np.full(480, 1 / 480), "same")

    def likeness(name: str, amount: float) -> float:
        """Return the correlation in the band of what goes in and comes out, where a fifth of what goes in is there."""
        x = sample(name, 4.0)
        engine = engine_with(voice, consonants_amount=amount)
        late = engine.delay_frames
        said = sosfilt(band, run(engine, x, [480])[late + RATE_HZ :])
        heard, loud = sosfilt(band, x[RATE_HZ:-late]), powers(x[RATE_HZ:-late])
        hissing = (powers(heard) > 0.2 * loud) & (loud > 1e-3 * loud.max())
        assert np.count_nonzero(hissing) > RATE_HZ // 20
        parts = [(np.roll(heard, k)[hissing], said[hissing]) for k in range(-40, 41)]
        return max(abs(float(np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2)))) for a, b in parts)

    for name in ("female", "male"):
        assert likeness(name, 0.0) < 0.2
        assert likeness(name, 1.0) > 0.7


def test_noise_without_speech_is_no_louder_for_it(voice: NeuralVoice) -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.05, 2 * RATE_HZ).astype(np.float32)
    said = [run(engine_with(voice, consonants_amount=amount), noise, [480])[RATE_HZ:] for amount in (0.0, 1.0)]
    assert np.sum(said[1] ** 2) < 1.2 * np.sum(said[0] ** 2)
