"""What a live session tells about itself, read from the shared memory of its engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields

from . import worker
from .ladder import REASONS, RUNGS
from .param_block import APPLIED_REV, APPLIED_SAMPLE
from .pump import AGE_EDGES_MS

NEURAL_STATES = ("off", "speaks", "failed")


@dataclass(frozen=True)
class LiveStatus:
    """A session's state; every number is measured, not configured."""

    state: str  # starting, running, waiting for devices, restarting engine, stopped, failed
    voice_delay_ms: float = 0.0  # declared: the engine's and its resamplers'
    in_flight_ms: float = 0.0  # sound between the two devices now: its age, see `pump`
    target_ms: float = 0.0
    age_ms: float = 0.0  # oldest block of the last 50 ms
    max_age_ms: float = 0.0  # what is promised
    ages: tuple[int, ...] = ()  # blocks so far by age: up to each of AGE_EDGES_MS, and above
    late_blocks: int = 0  # blocks older than max_age_ms
    device_ms: tuple[float, float] | None = None  # what the host says its own buffers hold
    capture_rate_hz: int = 0
    playback_rate_hz: int = 0
    block_frames: int = 0
    xruns: int = 0  # times the engine's sound ran out
    device_xruns: int = 0  # times the host API reported trouble of its own
    lost_capture_frames: int = 0
    cuts: int = 0
    cut_ms: float = 0.0  # time that cuts took out
    dropped_frames: int = 0
    rung: str = RUNGS[-2]  # the voice that is heard: a rung of the quality ladder, or own
    rung_reason: str = ""  # why it is not the best one
    rung_changes: int = 0
    engine_restarts: int = 0
    device_reopens: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)  # how often each came, see `faults`
    fault_message: str = ""  # about the last one
    outage_ms: float = 0.0  # how long the last one was, from being noticed until sound could run
    drift_ppm: float = 0.0
    load: float = 0.0  # share of one core the engine used lately
    block_max_ms: float = 0.0
    in_peak_dbfs: float = -120.0
    out_peak_dbfs: float = -120.0
    own_hz: float = 0.0
    neural: str = NEURAL_STATES[0]  # off, speaks, or failed: then the DSP voice speaks in its place
    provider: str = ""  # what onnxruntime runs the networks on
    provider_reason: str = ""  # and why: what was measured of it and of others
    realtime: bool = False
    applied_rev: int = 0
    applied_sample: int = 0
    measured_p50_ms: float = 0.0  # from device to device, by the sound itself (see `delay_meter`)
    measured_p95_ms: float = 0.0
    measured_confidence: float = 0.0  # 0 (there was no speech to measure) to 1
    feedback: str = ""  # if the microphone hears what rtvc said: how late, and what to do
    message: str = ""


def host_ms(device_ms: tuple[float, float] | None) -> float:
    """Return how much sound the host's own buffers hold. Its two readings are of two moments: where the machine stood
    still in between they may add up to less than nothing, which no buffer holds.
    """
    return max(0.0, sum(device_ms or ()))


def engine_status(
    link: NDArray[np.int64], params: NDArray[np.int64], stats: NDArray[np.float64], own_voice: bool
) -> dict[str, object]:
    """Return those fields of a status that the engine and the devices' callbacks count.

    link is int64[LINK_INT64], params int64[PARAM_INT64], stats float64[STATS]; own_voice says whether the user lets
    the own voice through.
    """
    ages = stats[worker.STAT_AGES : worker.STAT_AGES + len(AGE_EDGES_MS) + 1]
    rung = RUNGS[int(stats[worker.STAT_RUNG])]
    return {
        "voice_delay_ms": float(stats[worker.STAT_VOICE_DELAY_MS]),
        "in_flight_ms": float(stats[worker.STAT_IN_FLIGHT_MS]),
        "target_ms": float(stats[worker.STAT_TARGET_MS]),
        "age_ms": float(stats[worker.STAT_AGE_PEAK_MS]),
        "max_age_ms": float(stats[worker.STAT_MAX_AGE_MS]),
        "ages": tuple(int(count) for count in ages),
        "late_blocks": int(stats[worker.STAT_LATE_BLOCKS]),
        "capture_rate_hz": int(link[fields.CAPTURE_RATE_HZ]),
        "playback_rate_hz": int(link[fields.PLAYBACK_RATE_HZ]),
        "xruns": int(link[fields.PLAYBACK_XRUNS]),
        "device_xruns": int(link[fields.DEVICE_XRUNS]),
        "lost_capture_frames": int(link[fields.CAPTURE_LOST]),
        "cuts": int(stats[worker.STAT_CUTS]),
        "cut_ms": float(stats[worker.STAT_CUT_MS]),
        "dropped_frames": int(stats[worker.STAT_DROPPED_FRAMES]),
        "rung": "own" if own_voice and rung != RUNGS[-1] else rung,
        "rung_reason": REASONS[int(stats[worker.STAT_RUNG_REASON])],
        "rung_changes": int(stats[worker.STAT_RUNG_CHANGES]),
        "drift_ppm": float(stats[worker.STAT_DRIFT_PPM]),
        "load": float(stats[worker.STAT_LOAD]),
        "block_max_ms": float(stats[worker.STAT_BLOCK_MAX_MS]),
        "in_peak_dbfs": _dbfs(float(stats[worker.STAT_IN_PEAK])),
        "out_peak_dbfs": _dbfs(float(stats[worker.STAT_OUT_PEAK])),
        "own_hz": float(stats[worker.STAT_OWN_HZ]),
        "neural": NEURAL_STATES[int(stats[worker.STAT_NEURAL])],
        "realtime": bool(stats[worker.STAT_REALTIME]),
        "applied_rev": int(params[APPLIED_REV]),
        "applied_sample": int(params[APPLIED_SAMPLE]),
    }


def _dbfs(peak: float) -> float:
    return round(20.0 * float(np.log10(max(peak, 1e-6))), 1)
