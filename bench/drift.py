"""Two clocks that disagree, for an hour of virtual time: does the pump hold its latency, unheard?

The pump of the live engine moves a tone between simulated devices whose clocks are +-200 ppm apart, with and without
jitter of their callbacks. A pass-through stands in for the engine; one more row has the engine itself, with the
speaker's own voice. The pump is woken as in the engine process: at a random moment of its polling interval.

The delay is measured in what the listener gets: each played block's phase against the phase of the tone says which
captured sample is sounding, and both devices' true clocks say when it was captured. Its slope is the pitch error.
Movements are counted after LOCK_S; "locked" is when the delay stayed within 0.5 ms of its later median for good.
"""

from __future__ import annotations

from math import log
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.report import Report, arguments
from rtvc.audio import link as fields
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.engine.engine import Engine
from rtvc.engine.live import TWO_CLOCKS_MARGIN_S
from rtvc.engine.pump import DSP_MAX_AGE_S, Pump
from rtvc.engine.worker import POLL_S
from rtvc.voices.presets import find_preset

RATE_HZ = 48_000
BLOCK_FRAMES = 256
CYCLES = 5  # of the tone in one block: 937.5 Hz, so that a block's phase is exact
LOCK_S = 30.0
SLOPE_S = 0.25  # pitch is judged over so long
CENTS = 1200 / log(2)


class Tone:
    """A tone without end, to be sliced like the array that simulated microphones play."""

    def __init__(self) -> None:
        self._wave = (0.1 * np.sin(2 * np.pi * CYCLES * np.arange(2 * BLOCK_FRAMES) / BLOCK_FRAMES)).astype(np.float32)

    def __getitem__(self, wanted: slice) -> NDArray[np.float32]:
        start = wanted.start % BLOCK_FRAMES
        return self._wave[start : start + wanted.stop - wanted.start]


class PassThrough:
    """An engine that changes nothing."""

    @staticmethod
    def process(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        y[:] = x


class Devices(SimulatedStreams):
    """Simulated devices that keep the tone's phase of each played block instead of its samples."""

    def __init__(self, link: NDArray[np.int64], capture: SimulatedClock, playback: SimulatedClock) -> None:
        super().__init__(link, cast("NDArray[np.float32]", Tone()), capture, playback, keep=False)
        self.phases: list[complex] = []
        self._turn = np.exp(-2j * np.pi * CYCLES * np.arange(BLOCK_FRAMES) / BLOCK_FRAMES)

    def _play(self, now_ns: int) -> None:
        super()._play(now_ns)
        self.phases.append(complex(np.dot(self._turn, self._y)))


def delays_ms(devices: Devices, capture: SimulatedClock, playback: SimulatedClock) -> NDArray[np.float64]:
    """Return the true delay of each played block, up to whole cycles of the tone."""
    phases = np.asarray(devices.phases) * 1j  # the tone is a sine
    captured = np.unwrap(np.angle(phases)) / (2 * np.pi) * BLOCK_FRAMES / CYCLES
    captured += np.arange(len(phases)) * BLOCK_FRAMES  # a block holds whole cycles: its phase only shows what changed
    start_s = 0.5 * BLOCK_FRAMES / RATE_HZ
    played_s = start_s + np.arange(len(phases)) * BLOCK_FRAMES / (RATE_HZ * (1 + playback.ppm * 1e-6))
    return 1e3 * (played_s - captured / (RATE_HZ * (1 + capture.ppm * 1e-6)))


def run(report: Report, ppm: float, jitter_ms: float, seconds: float, real_engine: bool) -> dict[str, float]:
    """Run one case, add its row, and return what the targets need."""
    link = fields.link_memory()
    capture = SimulatedClock(RATE_HZ, ppm / 2, jitter_ms, block_frames=BLOCK_FRAMES)
    playback = SimulatedClock(RATE_HZ, -ppm / 2, jitter_ms, block_frames=BLOCK_FRAMES)
    devices = Devices(link, capture, playback)
    engine = Engine(RATE_HZ, find_preset("natural").vector()) if real_engine else cast("Engine", PassThrough())
    pump = Pump(link, engine, TWO_CLOCKS_MARGIN_S, DSP_MAX_AGE_S, one_clock=False)
    late = np.random.default_rng(1)
    seen = []
    now_s = 0.0
    while now_s < seconds:
        now_s = devices.next_s() + late.uniform(0.0, POLL_S)
        devices.run_until(now_s)
        if pump.step(now_s):
            seen.append((now_s, pump.in_flight_s, pump.drift.correction))
    time_s, in_flight_s, correction = np.array(seen).T
    delay_ms = delays_ms(devices, capture, playback)
    per_s = RATE_HZ / BLOCK_FRAMES
    locked, heard = time_s > LOCK_S, delay_ms[round(LOCK_S * per_s) :]
    span = round(SLOPE_S * per_s)
    slope = (heard[span:] - heard[:-span]) * 1e-3 / (span / per_s)
    away = np.flatnonzero(np.abs(delay_ms - np.median(heard)) > 0.5)
    wanted = (playback.ppm - capture.ppm) * 1e-6
    figures = {
        "xruns": float(link[fields.PLAYBACK_XRUNS]),
        "moved_ms": float(np.ptp(heard)),
        "in_flight_moved_ms": 1e3 * float(np.ptp(in_flight_s[locked])),
        "cents_heard": CENTS * float(np.max(np.abs(slope))),
        "cents_correction": CENTS * float(np.max(np.abs(correction[locked] - wanted))),
    }
    report.row(
        what="engine, own voice" if real_engine else "pass-through",
        ppm=ppm,
        jitter_ms=jitter_ms,
        seconds=seconds,
        **figures,
        locked_s=float(away[-1] + 1) / per_s if len(away) else 0.0,
        steered_ppm=1e6 * float(np.median(correction[locked])),
        in_flight_ms=1e3 * float(np.median(in_flight_s[locked])),
        target_ms=1e3 * pump.target_s(),
        cuts=pump.counters.cuts,
    )
    return figures


def main() -> None:
    args = arguments("drift", __doc__).parse_args()
    report = Report("drift")
    hour_s, engine_s = (120.0, 60.0) if args.quick else (3600.0, 300.0)
    cases = [(ppm, jitter_ms, hour_s, False) for ppm in (200.0, -200.0) for jitter_ms in (0.0, 0.5)]
    figures = [run(report, *case) for case in [*cases, (200.0, 0.5, engine_s, True)]]

    def worst(name: str) -> float:
        return max(row[name] for row in figures)

    report.target("xruns, sum of all rows", sum(row["xruns"] for row in figures), "", "== 0")
    report.target("movement of the delay heard, after lock", worst("moved_ms"), "ms", "<= 1")
    report.target("movement of the sound in flight, after lock", worst("in_flight_moved_ms"), "ms", "<= 1")
    report.target("pitch error heard, after lock", worst("cents_heard"), "cents", "<= 1")
    report.target("pitch error by the correction, after lock", worst("cents_correction"), "cents", "<= 1")
    report.finish(args.json)


if __name__ == "__main__":
    main()
