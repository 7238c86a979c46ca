"""The pump between two simulated devices, in virtual time, with an engine that copies: level, pitch, age and clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.link import CAPTURE, FADE_FRAMES, PLAYBACK, link_capture, link_memory
from rtvc.audio.simulated import SimulatedClock
from rtvc.engine.engine import Engine
from rtvc.engine.pump import CATCH_UP_S, DEEPER_S, DSP_MAX_AGE_S, HARD_CAP_S, LATE_S, RECOVER_S, Pump
from rtvc.kernels.ring import ring_fill
from rtvc.kernels.wsola import FADE_S, wsola_fill
from tests.aged_streams import AgedStreams

MAX_AGE_S, MARGIN_S = DSP_MAX_AGE_S, 0.004
MOST_S = MAX_AGE_S + CATCH_UP_S  # what is older is dropped
LEVEL, TONE_HZ = 0.5, 200.0
WAKE_S = 0.0003  # the engine comes so long after a callback


class Copy:
    """An engine that changes nothing."""

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        y[:] = x


@dataclass
class Run:
    """What happened: one row for each step of the pump."""

    link: NDArray[np.int64]
    pump: Pump
    y: NDArray[np.float32]
    time_s: NDArray[np.float64]
    in_flight_ms: NDArray[np.float64]  # as the pump sees it
    held_ms: NDArray[np.float64]  # what really lies in both rings
    target_ms: NDArray[np.float64]
    correction_ppm: NDArray[np.float64]
    xruns: NDArray[np.int64]
    heard_s: NDArray[np.float64]  # when each block began to sound ...
    heard_age_ms: NDArray[np.float64]  # ... and how long before its sound had been said

    def after(self, time_s: float) -> slice:
        return slice(int(np.searchsorted(self.time_s, time_s)), None)


def run(
    seconds: float,
    capture: SimulatedClock | None = None,
    playback: SimulatedClock | None = None,
    duplex: bool = False,
    engine_stalls_s: tuple[tuple[float, float], ...] = (),
    source: NDArray[np.float32] | None = None,
) -> Run:
    capture, playback = capture or SimulatedClock(), playback or SimulatedClock()
    link = link_memory()
    if source is None:
        t = np.arange(int(capture.rate_hz * (seconds + 1))) / capture.rate_hz
        source = (LEVEL * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.float32)
    streams = AgedStreams(link, source, capture, playback, duplex)
    pump = Pump(link, cast(Engine, Copy()), 0.001 if duplex else MARGIN_S, MAX_AGE_S, duplex)
    streams.watch(pump)
    rows: list[tuple[float, ...]] = []
    while (now_s := streams.next_s() + WAKE_S) < seconds:
        for start_s, length_s in engine_stalls_s:
            now_s = start_s + length_s if start_s <= now_s < start_s + length_s else now_s
        streams.run_until(now_s)
        pump.step(now_s)
        held_s = wsola_fill(pump._line) / capture.rate_hz
        held_s += ring_fill(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16]) / playback.rate_hz
        times_ms = (1e3 * pump.in_flight_s, 1e3 * held_s, 1e3 * pump.target_s())
        rows.append((now_s, *times_ms, 1e6 * pump.drift.correction, int(link[fields.PLAYBACK_XRUNS])))
    time_s, in_flight_ms, held_ms, target_ms, correction_ppm, xruns = np.array(rows).T
    y = streams.recorded()
    heard = streams.ages()
    return Run(link, pump, y, time_s, in_flight_ms, held_ms, target_ms, correction_ppm, xruns.astype(np.int64), *heard)


def assert_no_click(world: Run) -> None:
    natural = LEVEL * 2 * np.pi * TONE_HZ / int(world.link[fields.PLAYBACK_RATE_HZ])
    fades = LEVEL / FADE_FRAMES + 2 * LEVEL / (FADE_S * int(world.link[fields.PLAYBACK_RATE_HZ]))
    sinking = 0.05 * LEVEL
    assert np.abs(np.diff(world.y, prepend=0.0)).max() <= 1.02 * natural + fades + sinking


def tone_hz(y: NDArray[np.float32], rate_hz: int) -> float:
    """Return the frequency of a steady tone, from the phases of its last two seconds."""
    n = rate_hz
    y = y[-2 * n :]
    turn = np.exp(-2j * np.pi * TONE_HZ * np.arange(len(y)) / rate_hz) * np.tile(np.hanning(n), 2)
    first, second = (np.sum(y[part] * turn[part]) for part in (slice(0, n), slice(n, 2 * n)))
    return TONE_HZ + float(np.angle(second * np.conj(first))) / (2 * np.pi) * rate_hz / n


@pytest.mark.parametrize("ppm", [(200.0, 0.0), (-200.0, 0.0), (0.0, 200.0), (-200.0, 200.0)])
def test_drift_is_steered_out_without_an_xrun_a_shift_or_a_pitch_error(ppm: tuple[float, float]) -> None:
    world = run(90, SimulatedClock(ppm=ppm[0]), SimulatedClock(ppm=ppm[1]))
    assert world.xruns[-1] == 0
    locked = world.after(6)
    assert np.ptp(world.in_flight_ms[locked]) < 0.2
    assert abs(world.in_flight_ms[-1] - world.target_ms[-1]) < 0.2
    wanted_ppm = 1e6 * ((1 + ppm[1] * 1e-6) / (1 + ppm[0] * 1e-6) - 1)
    assert 1200 * np.log2(1 + np.abs(world.correction_ppm[locked] - wanted_ppm).max() * 1e-6) < 0.1
    assert world.pump.counters.cuts == world.pump.counters.dropped_frames == world.pump.counters.deeper == 0
    # a tone by the microphone's clock, heard by the loudspeaker's
    heard_hz = tone_hz(world.y, 48000) * (1 + ppm[1] * 1e-6)
    assert abs(1200 * np.log2(heard_hz / (TONE_HZ * (1 + ppm[0] * 1e-6)))) < 0.1
    assert_no_click(world)


def test_under_a_millisecond_of_jitter_the_level_moves_less_than_that() -> None:
    world = run(60, SimulatedClock(ppm=-200, jitter_ms=1), SimulatedClock(ppm=100, jitter_ms=1))
    assert world.xruns[-1] == 0
    assert np.ptp(world.in_flight_ms[world.after(6)]) < 1.5
    assert np.ptp(world.in_flight_ms[world.after(25)]) < 1.0
    late = world.correction_ppm[world.after(25)]
    assert 1200 * np.log2(1 + np.ptp(late) * 1e-6) < 0.5
    assert world.pump.counters.cuts == world.pump.counters.deeper == 0
    assert_no_click(world)


@pytest.mark.parametrize(
    ("in_hz", "out_hz"),
    [(44100, 48000), (16000, 48000), (48000, 44100), (96000, 16000), (192000, 192000), (8000, 44100)],
)
def test_devices_may_have_any_two_rates(in_hz: int, out_hz: int) -> None:
    world = run(15, SimulatedClock(in_hz, ppm=100), SimulatedClock(out_hz, ppm=-100))
    assert world.xruns[-1] == 0
    locked = world.after(6)
    assert np.ptp(world.in_flight_ms[locked]) < 0.5
    assert abs(world.in_flight_ms[-1] - world.target_ms[-1]) < 0.5
    assert abs(1200 * np.log2(tone_hz(world.y, out_hz) * (1 - 100e-6) / (TONE_HZ * (1 + 100e-6)))) < 0.2
    assert np.abs(world.y[-out_hz:]).max() == pytest.approx(LEVEL, rel=0.02)
    assert_no_click(world)


@pytest.mark.parametrize(("capture", "playback"), [(64, 64), (1024, 1024), (64, 1024), (1024, 64), (441, 256)])
def test_devices_may_have_any_two_block_sizes(capture: int, playback: int) -> None:
    world = run(15, SimulatedClock(ppm=150, block_frames=capture), SimulatedClock(block_frames=playback))
    assert world.xruns[-1] == 0
    assert world.target_ms[-1] == pytest.approx(1e3 * (capture / 48000 + MARGIN_S))
    assert abs(world.in_flight_ms[-1] - world.target_ms[-1]) < 0.2
    assert_no_click(world)


def test_a_duplex_device_needs_one_block_and_a_millisecond() -> None:
    world = run(10, SimulatedClock(ppm=300, jitter_ms=0.2), duplex=True)
    assert world.xruns[-1] == 0
    assert world.target_ms[-1] == pytest.approx(1e3 * (256 / 48000 + 0.001))
    assert abs(world.in_flight_ms[-1] - world.target_ms[-1]) < 0.2
    assert world.correction_ppm[-1] == pytest.approx(0, abs=5)
    assert_no_click(world)


def stalled(who: str, stall_s: float, seconds: float, block_frames: int = 256) -> Run:
    """Run with one stall 8 s from the start, of "engine", "capture" or "playback"."""
    stall = ((8.0, stall_s),)
    plain = SimulatedClock(block_frames=block_frames)
    if who == "engine":
        return run(seconds, SimulatedClock(ppm=100, block_frames=block_frames), plain, engine_stalls_s=stall)
    stopped = SimulatedClock(ppm=100, stalls_s=stall, block_frames=block_frames)
    return run(seconds, stopped, plain) if who == "capture" else run(seconds, plain, stopped)


@pytest.mark.parametrize("who", ["engine", "capture"])
def test_after_a_stall_sound_is_caught_up_with_and_none_is_dropped(who: str) -> None:
    world = stalled(who, 0.14, 20)
    counters = world.pump.counters
    assert world.xruns[-1] == 1
    assert counters.dropped_frames == 0
    assert counters.cuts > 10
    excess_ms = world.in_flight_ms - world.target_ms
    assert excess_ms[world.after(8.15)][0] > 120
    assert np.abs(excess_ms[world.after(8.14 + 2.5)]).max() < 5
    assert np.abs(excess_ms[world.after(8.14 + 5.0)]).max() < 3
    assert np.abs(excess_ms[world.after(8.14 + 10.0)]).max() < 1
    # what was cut is what was late: it is played faster, not left out
    assert counters.cut_frames / 48000 == pytest.approx(0.13, abs=0.02)
    assert_no_click(world)


@pytest.mark.parametrize("who", ["engine", "capture", "playback"])
@pytest.mark.parametrize("stall_ms", [5, 20, 50, 100, 150, 200, 300, 500])
def test_half_a_second_after_any_stall_what_is_heard_is_younger_than_the_age_promised(who: str, stall_ms: int) -> None:
    world = stalled(who, 1e-3 * stall_ms, 12)
    late = world.heard_age_ms > 1e3 * MAX_AGE_S
    assert not late[world.heard_s < 8.0].any()
    assert not late[world.heard_s > 8.0 + 1e-3 * stall_ms + RECOVER_S].any()
    assert world.heard_age_ms.max() <= 1e3 * MOST_S + 6 < 1e3 * HARD_CAP_S
    # and the pump knows: its own measure, block by block, is what is heard
    assert abs(world.in_flight_ms[-1] - world.heard_age_ms[-1]) < 6
    assert world.pump.counters.late_blocks > 0 or not late.any()
    assert_no_click(world)


@pytest.mark.parametrize("who", ["engine", "capture", "playback"])
@pytest.mark.parametrize(
    ("in_hz", "out_hz", "block_frames"),
    [(44100, 96000, 220), (44100, 48000, 256), (48000, 44100, 441), (16000, 48000, 64), (192000, 192000, 1024)],
)
def test_at_any_rates_sound_goes_on_after_a_stall(who: str, in_hz: int, out_hz: int, block_frames: int) -> None:
    stall = ((5.0, 0.25),)
    of = {name: stall if name == who else () for name in ("engine", "capture", "playback")}
    capture = SimulatedClock(in_hz, 150, 0.3, of["capture"], block_frames=block_frames)
    playback = SimulatedClock(out_hz, -150, 0.3, of["playback"], block_frames=round(block_frames * out_hz / in_hz))
    world = run(9, capture, playback, engine_stalls_s=of["engine"])
    assert not (world.heard_age_ms > 1e3 * world.pump.max_age_s())[world.heard_s > 5.25 + RECOVER_S].any()
    assert world.heard_s[-1] > 8.9
    assert np.diff(world.heard_s[world.heard_s > 5.4]).max() < 0.1  # without a gap
    assert world.pump.counters.cuts > 5


def test_catching_up_is_a_quarter_faster_at_most() -> None:
    world = stalled("engine", 0.3, 12)
    excess_ms = world.in_flight_ms - world.target_ms
    fast = (world.time_s > 8.35) & (excess_ms > 30)
    speed = -np.polyfit(world.time_s[fast], excess_ms[fast], 1)[0] / 1e3
    assert 0.2 < speed <= 0.25 + 0.02


def test_the_pitch_is_kept_while_catching_up() -> None:
    world = stalled("engine", 0.3, 12)
    part = world.y[round(8.4 * 48000) : round(8.8 * 48000)].astype(np.float64)
    crossings = np.flatnonzero((part[:-1] < 0) & (part[1:] >= 0))
    assert np.median(np.diff(crossings)) == pytest.approx(48000 / TONE_HZ, rel=0.01)


@pytest.mark.parametrize("stall_s", [0.6, 3.0])
def test_what_is_too_old_is_dropped_no_more_than_needed_and_the_level_is_soon_back(stall_s: float) -> None:
    world = run(14 + stall_s, engine_stalls_s=((5.0, stall_s),))
    dropped_s = world.pump.counters.dropped_frames / 48000
    if stall_s < fields.CAPACITY / 48000:
        assert dropped_s == pytest.approx(stall_s - MOST_S, abs=0.015)
    else:  # the capture ring is full: nothing of it is young enough
        assert dropped_s == pytest.approx(fields.CAPACITY / 48000, abs=0.015)
    assert world.xruns[-1] == 1
    excess_ms = world.in_flight_ms - world.target_ms
    assert np.abs(excess_ms[world.after(6.0 + stall_s)]).max() < 10
    assert abs(excess_ms[-1]) < 1.5
    assert world.held_ms.max() < 1e3 * MOST_S + 6
    assert world.heard_age_ms.max() < 1e3 * MOST_S + 6
    assert_no_click(world)


@pytest.mark.parametrize("how", ["stalls_s", "unplugged_s"])
@pytest.mark.parametrize("block_frames", [64, 256, 1024])
def test_while_playback_stands_still_no_more_than_the_cap_is_ever_held(how: str, block_frames: int) -> None:
    stop: dict[str, Any] = {how: ((5.0, 1.5),)}
    capture = SimulatedClock(ppm=100, block_frames=block_frames)
    world = run(16, capture, SimulatedClock(block_frames=block_frames, **stop))
    assert world.held_ms.max() <= 1e3 * (MOST_S + max(LATE_S, 4 * block_frames / 48000) + block_frames / 48000)
    assert world.held_ms.max() > 1e3 * MOST_S - 30
    assert world.heard_age_ms.max() <= 1e3 * (MOST_S + block_frames / 48000)
    assert world.pump.counters.dropped_frames / 48000 > 0.9
    excess_ms = world.in_flight_ms - world.target_ms
    assert np.abs(excess_ms[world.after(15)]).max() < 3
    assert_no_click(world)


def test_a_ring_shorter_than_the_cap_never_overflows() -> None:
    fast = SimulatedClock(192_000)
    world = run(8, fast, SimulatedClock(192_000, unplugged_s=((3.0, 1.0),)), engine_stalls_s=((6.0, 0.3),))
    assert world.held_ms.max() <= 1e3 * fields.CAPACITY / 192_000
    assert world.pump.counters.dropped_frames > 0
    assert world.link[fields.CAPTURE_LOST] == 0
    assert_no_click(world)


@pytest.mark.parametrize("gone_s", [0.04, 0.2, 3.0])
def test_a_microphone_that_is_gone_for_a_while_leaves_silence_and_comes_back_at_the_level(gone_s: float) -> None:
    world = run(16 + gone_s, SimulatedClock(ppm=-200, unplugged_s=((5.0, gone_s),)), SimulatedClock(jitter_ms=0.5))
    assert world.xruns[-1] <= 2
    assert world.pump.counters.cuts <= 2
    if gone_s > 0.1:
        quiet = world.y[round(5.05 * 48000) : round((4.98 + gone_s) * 48000)]
        assert np.abs(quiet).max() < 1e-3
    assert np.abs(world.y[round((5.1 + gone_s) * 48000) :]).max() > 0.9 * LEVEL
    excess_ms = world.in_flight_ms - world.target_ms
    assert np.abs(excess_ms[world.after(5.3 + gone_s)]).max() < 10
    assert np.abs(excess_ms[-500:]).max() < 1.5


def test_every_xrun_deepens_the_level_a_little_and_calm_gives_it_back() -> None:
    stalls = tuple((5.0 + i, 0.03) for i in range(3))
    world = run(140, SimulatedClock(16000, block_frames=160), SimulatedClock(16000), engine_stalls_s=stalls)
    assert world.xruns[-1] == world.pump.counters.deeper == 3
    plain_ms = 1e3 * (160 / 16000 + MARGIN_S)
    deepest = world.target_ms.max()
    assert deepest == pytest.approx(plain_ms + 3e3 * DEEPER_S)
    assert deepest - DEEPER_S * 1e3 == pytest.approx(world.target_ms[-1])  # half of one back a minute, two minutes
    assert abs(world.in_flight_ms[-1] - world.target_ms[-1]) < 0.5


@pytest.mark.parametrize("who", ["engine", "capture", "playback"])
def test_a_stall_that_no_slack_could_bridge_deepens_nothing(who: str) -> None:
    world = stalled(who, 0.3, 12)
    assert world.xruns[-1] >= 1
    assert world.pump.counters.deeper == 0
    assert world.target_ms[-1] == pytest.approx(1e3 * (256 / 48000 + MARGIN_S))


def test_what_waited_before_the_engine_came_is_too_old() -> None:
    link = link_memory()
    link[fields.CAPTURE_CHANNELS] = link[fields.PLAYBACK_CHANNELS] = 1
    link[fields.CAPTURE_RATE_HZ] = link[fields.PLAYBACK_RATE_HZ] = 48000
    for i in range(100):
        link_capture(link, np.ones(256, np.float32), 256, 1 + i)
    pump = Pump(link, cast(Engine, Copy()), MARGIN_S, MAX_AGE_S, False)
    assert pump.step(1.0) == 0
    assert ring_fill(link[fields.PLAYBACK_RING : fields.PLAYBACK_RING + 16]) == 0


def test_peaks_are_those_of_what_went_in_and_out_since_they_were_set_back() -> None:
    source = np.sin(0.05 * np.arange(96_000)).astype(np.float32)
    source[:20_000] *= -0.25
    source[20_000:40_000] *= -0.75
    source[40_000:] *= 0.25
    pump = run(1, source=source).pump
    assert pump.in_peak == pytest.approx(0.75, rel=0.01)
    assert pump.out_peak == pytest.approx(0.75, rel=0.15)  # the resampler rings where the level jumps
    pump.in_peak = pump.out_peak = 0.0
    pump.step(1.0)
    assert (pump.in_peak, pump.out_peak) == (0.0, 0.0)


@pytest.mark.parametrize("side", [CAPTURE, PLAYBACK])
def test_the_pump_never_waits_for_a_callback_that_stopped_in_its_middle(side: int) -> None:
    world = run(2)
    world.link[side + fields.CLOCK_SEQ] += 1
    counters = world.link[fields.CAPTURE_RING : fields.CAPTURE_RING + 16]
    counters[0] += 256  # a block arrives all the same
    assert world.pump.step(2.0) == 256


def trouble(random: np.random.Generator, most: int) -> tuple[tuple[float, float], ...]:
    """Return a few (start, length) of hitches in the first twelve seconds, from 5 ms to 1.5 s."""
    count = int(random.integers(0, most + 1))
    return tuple((float(s), float(10 ** random.uniform(-2.3, 0.2))) for s in np.sort(random.uniform(1, 12, count)))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happened_it_is_forgotten_within_seconds(seed: int) -> None:
    random = np.random.default_rng(seed)

    def clock() -> SimulatedClock:
        return SimulatedClock(
            rate_hz=int(random.choice([16000, 44100, 48000, 96000])),
            ppm=float(random.uniform(-400, 400)),
            jitter_ms=float(random.uniform(0, 1.5)),
            stalls_s=trouble(random, 2),
            unplugged_s=trouble(random, 1),
            block_frames=int(random.choice([64, 128, 256, 480, 1024])),
        )

    capture = clock()
    world = run(26, capture, clock(), engine_stalls_s=trouble(random, 2)[:1])
    assert world.heard_age_ms.max() <= 1e3 * (MOST_S + capture.block_frames / capture.rate_hz) + 6
    assert world.xruns[-1] == world.xruns[world.after(18)][0]
    assert np.abs((world.in_flight_ms - world.target_ms)[world.after(24)]).max() < 3
    if not capture.unplugged_s:  # a device that loses frames leaves a step in its own sound
        assert_no_click(world)
