"""Eight hours on a machine that stalls and devices that drift and go: does the age stay bounded, and what is lost?

`--simulated`: virtual time, two devices with clocks of their own. The pump of the live engine moves speech-like sound
between them (a pass-through stands in for the voice, whose delay is declared and constant). Every half minute or so
something stalls for 5 to 500 ms: the engine, the microphone or the listener. Each hour has its own drift of up to
+-200 ppm; at half past the devices are unplugged for some seconds and come back on a fresh link with a fresh pump, as
a live session does it, every other time at another rate.

Every played block is traced back to the frame it is made of and to when that was said ("age", all of them). After a
stall has ended, "recovered" is when the last block older than the age promised was played. "delay_drift_ms" is how far
the age at rest moves (medians of calm half minutes with the same target). What was said and never played must be what
the policy names: cut while catching up, dropped because too old, or said while a device was away.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.report import Report, arguments
from rtvc.audio import link as fields
from rtvc.audio.simulated import SimulatedClock
from rtvc.engine.engine import Engine
from rtvc.engine.live import TWO_CLOCKS_MARGIN_S
from rtvc.engine.pump import AGE_EDGES_MS, DSP_MAX_AGE_S, HARD_CAP_S, NEURAL_MAX_AGE_S, RECOVER_S, Pump
from rtvc.engine.worker import POLL_S
from rtvc.kernels.ring import WRITTEN, ring_fill
from rtvc.kernels.wsola import wsola_fill
from tests.aged_streams import AgedStreams

BLOCK_FRAMES = 256
JITTER_MS = 0.3
PPM = 200.0
STALL_EVERY_S = 30.0
STALL_MS = (5.0, 500.0)
FREE_S = 5.0  # no stall so near the beginning or the end of a stretch
REST_S = 12.0  # after a stall, the age is at rest again
AWAY_S = (2.0, 10.0)
RATES_HZ = (48_000, 44_100)
WHO = ("engine", "capture", "playback")
EDGES_MS = (0.0, *AGE_EDGES_MS, np.inf)


class PassThrough:
    """An engine that changes nothing."""

    @staticmethod
    def process(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        y[:] = x


class Voice:
    """Speech-like sound without end, to be sliced like the array that simulated microphones play."""

    def __init__(self, rate_hz: int) -> None:
        t = np.arange(20 * rate_hz) / rate_hz
        phase = 2 * np.pi * 130 * (t + 0.03 * np.sin(2 * np.pi * 0.7 * t))
        tone = sum(np.sin(k * phase) / k for k in range(1, 9))
        spoken = np.clip(np.sin(2 * np.pi * 2.1 * t) + 0.6, 0, 1)
        noise = np.random.default_rng(0).normal(0, 0.02, len(t))
        self._wave = (0.1 * spoken * tone + noise * (1 - spoken)).astype(np.float32)

    def __getitem__(self, wanted: slice) -> NDArray[np.float32]:
        return np.take(self._wave, np.arange(wanted.start, wanted.stop), mode="wrap")


@dataclass
class Stall:
    """One stall of one who."""

    who: str
    begin_s: float
    length_s: float
    recovered_s: float = 0.0


@dataclass
class Stretch:
    """What one stretch between two unplugs gave."""

    stalls: list[Stall]
    age_max_ms: float
    age_p50_ms: float
    ages: NDArray[np.int64]  # blocks by age, between EDGES_MS
    rest_ms: list[tuple[float, float]]  # target and median age of each calm half minute
    counts: dict[str, int] = field(default_factory=dict)


def stretch(seconds: float, rate_hz: int, ppm: float, max_age_s: float, random: np.random.Generator) -> Stretch:
    """Run one stretch on fresh devices, a fresh link and a fresh pump."""
    stalls = [
        Stall(WHO[int(random.integers(3))], at_s, float(np.exp(random.uniform(*np.log(STALL_MS)))) * 1e-3)
        for at_s in np.arange(FREE_S, seconds - FREE_S, STALL_EVERY_S) + random.uniform(0, 5.0)
        if at_s < seconds - FREE_S
    ]
    of = {who: tuple((s.begin_s, s.length_s) for s in stalls if s.who == who) for who in WHO}
    capture = SimulatedClock(rate_hz, ppm / 2, JITTER_MS, of["capture"], block_frames=BLOCK_FRAMES)
    playback = SimulatedClock(48_000, -ppm / 2, JITTER_MS, of["playback"], block_frames=BLOCK_FRAMES)
    link = fields.link_memory()
    seed = int(random.integers(1 << 30))
    devices = AgedStreams(link, cast("NDArray[np.float32]", Voice(rate_hz)), capture, playback, keep=False, seed=seed)
    pump = Pump(link, cast("Engine", PassThrough()), TWO_CLOCKS_MARGIN_S, max_age_s, one_clock=False)
    devices.watch(pump)
    late, targets, now_s = np.random.default_rng(seed), array("d"), 0.0
    while now_s < seconds:
        now_s = devices.next_s() + late.uniform(0.0, POLL_S)
        for begin_s, length_s in of["engine"]:
            now_s = begin_s + length_s if begin_s <= now_s < begin_s + length_s else now_s
        devices.run_until(now_s)
        pump.step(now_s)
        targets.extend((now_s, 1e3 * pump.target_s()))
    time_s, age_ms = devices.ages()
    old = time_s[age_ms > 1e3 * pump.max_age_s()]
    for stall in stalls:
        end_s = stall.begin_s + stall.length_s
        mine = old[(old > stall.begin_s) & (old < end_s + STALL_EVERY_S - 6.0)]
        stall.recovered_s = max(0.0, float(mine[-1]) - end_s) if len(mine) else 0.0
    target_s, target_ms = np.array(targets).reshape(-1, 2).T
    rest = []
    for stall in stalls:
        begin_s, end_s = stall.begin_s + stall.length_s + REST_S, stall.begin_s + 24.0
        calm = (time_s > begin_s) & (time_s < end_s)
        if calm.sum() > 100:
            target = float(target_ms[np.searchsorted(target_s, begin_s)])
            rest.append((round(target, 3), float(np.median(age_ms[calm]))))
    pushed = int(link[fields.CAPTURE_RING + WRITTEN])
    waiting = wsola_fill(pump._line) + ring_fill(link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16])
    counts = {
        "said": pushed + int(link[fields.CAPTURE_LOST]),
        "cut": pump.counters.cut_frames,
        "dropped": pump.counters.dropped_frames,
        "lost": int(link[fields.CAPTURE_LOST]),
        "unexplained": pushed - waiting - devices.converted - pump.counters.cut_frames - pump.counters.dropped_frames,
        "xruns": int(link[fields.PLAYBACK_XRUNS]),
        "cuts": pump.counters.cuts,
    }
    ages = np.histogram(age_ms, EDGES_MS)[0]
    return Stretch(stalls, float(age_ms.max()), float(np.median(age_ms)), ages, rest, counts)


def resident_mb() -> float:
    """Return the memory this process holds after giving back all it does not need."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def soak(report: Report, hours: float, max_age_s: float, name: str) -> dict[str, float]:
    """Run so many hours with one promise; add a row for each hour and one for all, and return what targets need."""
    random = np.random.default_rng(7)
    stretches: list[Stretch] = []
    memory_mb: list[float] = []
    for half in range(round(2 * hours)):
        rate_hz = RATES_HZ[(half // 2) % 2]
        away_s = random.uniform(*AWAY_S) if half % 2 else 0.0
        ppm = float(random.uniform(-PPM, PPM)) if half % 4 else PPM
        found = stretch(1800.0 - away_s, rate_hz, ppm, max_age_s, random)
        stretches.append(found)
        memory_mb.append(resident_mb())
        slowest = max(found.stalls, key=lambda stall: stall.recovered_s)
        report.row(what=name, half_hour=half, rate_hz=rate_hz, ppm=ppm, stalls=len(found.stalls),
                   age_max_ms=found.age_max_ms, age_p50_ms=found.age_p50_ms,
                   recovered_s=slowest.recovered_s, **found.counts, memory_mb=memory_mb[-1])  # fmt: skip
    drift_ms = 0.0
    for found in stretches:
        by_target: dict[float, list[float]] = {}
        for target, age in found.rest_ms:
            by_target.setdefault(target, []).append(age)
        drift_ms = max([drift_ms, *(float(np.ptp(ages)) for ages in by_target.values())])
    ages = sum((found.ages for found in stretches), np.zeros(len(EDGES_MS) - 1, np.int64))
    figures = {
        "age_max_ms": max(found.age_max_ms for found in stretches),
        "recovered_s": max(stall.recovered_s for found in stretches for stall in found.stalls),
        "delay_drift_ms": drift_ms,
        "unexplained": float(sum(abs(found.counts["unexplained"]) for found in stretches)),
        "memory_grown_mb": memory_mb[-1] - memory_mb[len(memory_mb) // 4],
    }
    names = [*(f"to_{edge}_ms" for edge in AGE_EDGES_MS), "above"]
    histogram = {name: float(count / ages.sum()) for name, count in zip(names, ages, strict=True)}
    stalls = sum(len(found.stalls) for found in stretches)
    said = sum(found.counts["said"] for found in stretches)
    gone = {key: sum(found.counts[key] for found in stretches) / said for key in ("cut", "dropped", "lost")}
    report.row(what=f"{name}, all", hours=hours, stalls=stalls, **figures, **gone, **histogram)
    return figures


def main() -> None:
    parser = arguments("soak", __doc__)
    parser.add_argument("--simulated", action="store_true", required=True, help="virtual time on simulated devices")
    parser.add_argument("--hours", type=float, metavar="N", help="simulated hours (8; 1 if quick)")
    args = parser.parse_args()
    report = Report("soak")
    hours = args.hours or (1.0 if args.quick else 8.0)
    for name, max_age_s in (("DSP voice", DSP_MAX_AGE_S), ("neural voice", NEURAL_MAX_AGE_S)):
        figures = {key: float(value) for key, value in soak(report, hours, max_age_s, name).items()}
        promise = f"{name}: {{}}, {1e3 * max_age_s:.0f} ms promised"
        report.target(promise.format("oldest sound heard"), figures["age_max_ms"], "ms", f"<= {1e3 * HARD_CAP_S:.0f}")
        report.target(promise.format("slowest recovery from a stall"), figures["recovered_s"], "s", f"<= {RECOVER_S}")
        report.target(promise.format("movement of the age at rest"), figures["delay_drift_ms"], "ms", "<= 1")
        report.target(promise.format("frames lost that no counter names"), figures["unexplained"], "", "== 0")
        report.target(promise.format("memory grown after the first quarter"), figures["memory_grown_mb"], "MB", "<= 10")
    report.finish(args.json)


if __name__ == "__main__":
    main()
