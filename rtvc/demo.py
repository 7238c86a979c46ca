"""The demo: live with a sound card; without one the same live path between simulated devices over a bundled voice.

The simulated microphone and listener have clocks of their own, PPM apart, and run in real time beside the engine
process, exactly as devices do. What the listener heard is written as a wav file, with a report of one page.

Latency is from a sample's arrival at the microphone's reader to its arrival at the virtual microphone's reader. It
is measured: the recording is correlated, second by second, with the engine's output for the same voice computed
offline and freed of its delay; the half block between the two devices' callbacks is added.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.backend import DeviceError
from rtvc.audio.files import AudioFileError, AudioReader, AudioWriter
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.config import load_settings, write_text_atomically
from rtvc.engine.build import build_engine
from rtvc.engine.live import LiveSession
from rtvc.engine.status import LiveStatus
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.kernels.resample import resample, resample_max_output, resampler_state
from rtvc.progress import StatusLine, bar
from rtvc.report import page, spectrogram_png
from rtvc.sound_arguments import ChosenSound

SAMPLE = "male.flac"
BLOCK_FRAMES = 256
PPM = 80.0  # a usual difference between two cheap sound devices
JITTER_MS = 0.2
TAIL_S = 0.5
WINDOW_S = 1.0


@dataclass(frozen=True)
class LiveRun:
    """What a voice became on its way through the live path: float32 at the engine's rate, and the figures."""

    heard: NDArray[np.float32]
    latency_ms: tuple[float, ...]  # one for each second that has sound
    offline_speed: float
    load: float
    last: LiveStatus


def sample_path() -> Path:
    """Return the bundled voice. Raises AudioFileError if the installation has none."""
    path = Path(str(resources.files("rtvc"))) / "samples" / SAMPLE
    if not path.exists():
        raise AudioFileError(f"{path}: the bundled voice is missing; install rtvc again")
    return path


def read_voice(path: Path) -> NDArray[np.float32]:
    """Return the file as float32[n] at the engine's rate; meant for a sample of seconds, not for hours."""
    with AudioReader(path) as reader:
        x = np.zeros(reader.frames, np.float32)
        reader.read(x)
        if reader.rate_hz == ENGINE_RATE_HZ:
            return x
        state = resampler_state(reader.rate_hz, ENGINE_RATE_HZ)
    y = np.zeros(resample_max_output(state, len(x)), np.float32)
    return y[: resample(state, x, y)]


def run_live_path(source: NDArray[np.float32], sound: ChosenSound, point: str, line: StatusLine) -> LiveRun:
    """Play source (float32[n] at the engine's rate) through a live session on simulated devices, in real time."""
    streams: list[SimulatedStreams] = []

    def open_streams(link: NDArray[np.int64]) -> SimulatedStreams:
        microphone = SimulatedClock(ENGINE_RATE_HZ, PPM, JITTER_MS, block_frames=BLOCK_FRAMES)
        listener = SimulatedClock(ENGINE_RATE_HZ, 0.0, JITTER_MS, block_frames=BLOCK_FRAMES)
        streams.append(SimulatedStreams(link, source, microphone, listener))
        return streams[-1]

    seconds = len(source) / ENGINE_RATE_HZ + TAIL_S
    loads = []
    line.show("starting the engine (the very first start compiles it, which takes a minute or two)")
    with LiveSession(open_streams, sound.values, point, own=sound.own) as session:
        begin_s = time.perf_counter()
        while (passed_s := time.perf_counter() - begin_s) < seconds:
            time.sleep(min(0.1, seconds - passed_s))
            status = session.status()
            loads.append(status.load)
            line.show(f"{bar(passed_s / seconds)}  {status.in_flight_ms + status.voice_delay_ms:.1f} ms, "
                      f"{status.xruns} xruns")  # fmt: skip
        last = session.status()
    heard = streams[-1].recorded()
    line.show("measuring")
    reference, speed = _offline(source, sound, point)
    between_ms = 1e3 * BLOCK_FRAMES / 2 / ENGINE_RATE_HZ
    latency_ms = tuple(lag + between_ms for lag in lags_ms(reference, heard))
    settled = loads[len(loads) // 4 :]
    return LiveRun(heard, latency_ms, speed, float(np.mean(settled)), last)


def _offline(source: NDArray[np.float32], sound: ChosenSound, point: str) -> tuple[NDArray[np.float32], float]:
    """Return the engine's output for source with its delay taken out, and its speed against real time."""
    engine = build_engine(ENGINE_RATE_HZ, sound.values, point)
    if sound.own:
        engine.set_own(sound.own.timbre)
    delay = engine.delay_frames
    x = np.concatenate([source, np.zeros(delay, np.float32)])
    y = np.zeros_like(x)
    start_s = time.perf_counter()
    for start in range(0, len(x), BLOCK_FRAMES):
        engine.process(x[start : start + BLOCK_FRAMES], y[start : start + BLOCK_FRAMES])
    return y[delay:], len(x) / ENGINE_RATE_HZ / (time.perf_counter() - start_s)


def lags_ms(reference: NDArray[np.float32], heard: NDArray[np.float32]) -> list[float]:
    """Return by how much `heard` lags behind `reference` in each window that has sound, to about 1 ms.

    What is correlated is the energy in bands, not the waveform: the phase of a shifted voice is not repeatable.
    """
    here, there = _bands(reference), _bands(heard)
    size = round(WINDOW_S * 1000)
    longest = size // 2
    span = size + longest
    loud = 0.1 * here.mean()
    lags = []
    for start in range(0, min(len(here) - size, len(there) - span) + 1, size):
        a, b = here[start : start + size], there[start : start + span]
        if a.mean() < loud:
            continue
        views = np.lib.stride_tricks.sliding_window_view(b, size, axis=0)[:longest]  # [lag, band, time]
        a = (a - a.mean(axis=0)).T
        match = np.einsum("lbt,bt->l", views, a) / np.sqrt(views.var(axis=2).sum(axis=1) + 1e-12)
        lags.append(float(np.argmax(match)))
    return lags


def _bands(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cube root of the energy in bands from 100 Hz to 12 kHz, every millisecond: float64[n, bands]."""
    size = ENGINE_RATE_HZ // 100
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, (0, size)), size)[:: ENGINE_RATE_HZ // 1000]
    power = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32))) ** 2
    edges = np.geomspace(100, 12_000, 17) * size / ENGINE_RATE_HZ
    return np.cbrt(np.add.reduceat(power, np.unique(edges.astype(np.int64)), axis=1)[:, :-1])


def run_demo(out: Path, sound: ChosenSound, point: str, simulated: bool) -> int:
    """Run the demo with a sound; return the exit code.

    point is the neural voice's operating point, should it be one.
    """
    if not simulated:
        try:
            return _go_live(sound, point)
        except DeviceError as error:
            print(f"No live sound here: {error}\nSo a recorded voice goes through simulated devices.\n")
    source = read_voice(sample_path())
    with StatusLine() as line:
        run = run_live_path(source, sound, point, line)
    _write(out, source, run)
    return 0


def _go_live(sound: ChosenSound, point: str) -> int:
    """Run the user's own live session. Raises DeviceError where there are no devices."""
    from rtvc.live_view import choice_from, run_live

    return run_live(choice_from(load_settings()), sound, point)


def _write(out: Path, source: NDArray[np.float32], run: LiveRun) -> None:
    """Write the two sounds, their pictures and the report into out, and print the figures."""
    out.mkdir(parents=True, exist_ok=True)
    for name, x in (("before.wav", source), ("after.wav", run.heard)):
        with AudioWriter(out / name, ENGINE_RATE_HZ, len(x), overwrite=True) as writer:
            writer.write(x)
    before, after = (spectrogram_png(x[: len(source)], ENGINE_RATE_HZ) for x in (source, run.heard))
    (out / "before.png").write_bytes(before)
    (out / "after.png").write_bytes(after)
    pictures = (("The voice before", before), ("The voice after, as heard at the virtual microphone", after))
    last = run.last
    rows = {
        "Microphone to virtual microphone, median": f"{np.median(run.latency_ms):.1f} ms",
        "Longest of all seconds": f"{max(run.latency_ms):.1f} ms",
        "Part of it that the voice itself needs": f"{last.voice_delay_ms:.1f} ms",
        "Xruns": str(last.xruns),
        "Real-time factor, live (share of one core)": f"{run.load:.3f}",
        "Speed offline": f"{run.offline_speed:.0f} times real time",
        "Difference of the two clocks": f"{PPM:.0f} ppm, corrected by {last.drift_ppm:.0f} ppm",
        "Block": f"{last.block_frames} frames at {last.playback_rate_hz} Hz",
        "Slowest block": f"{last.block_max_ms:.2f} ms",
    }
    summary = f"{len(source) / ENGINE_RATE_HZ:.0f} seconds of speech went through the live path of rtvc in real time."
    note = (
        "Simulated devices with clocks of their own stood in for a sound card; they add no buffers. "
        f"rtvc {importlib.metadata.version('rtvc')}, Python {platform.python_version()}, {platform.platform()}."
    )
    write_text_atomically(out / "report.html", page("rtvc: a live voice", summary, rows, pictures, note))
    print("\n".join(f"{name:<44} {value}" for name, value in rows.items()))
    print("\nwritten: " + ", ".join(str(out / name) for name in ("report.html", "before.wav", "after.wav")))
