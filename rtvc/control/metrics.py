"""/metrics: the session in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from rtvc.engine.ladder import RUNGS
from rtvc.engine.pump import AGE_EDGES_MS
from rtvc.engine.status import LiveStatus
from rtvc.live_view import latency_ms

from .desk import Desk


def prometheus(desk: Desk) -> str:
    """Return the desk's counters and gauges."""
    status = desk.session.status()
    gauges = {
        "running": (float(status.state == "running"), "1 while sound runs"),
        "latency_seconds": (latency_ms(status) * 1e-3, "delay from microphone to output now"),
        "voice_delay_seconds": (status.voice_delay_ms * 1e-3, "part of it that the voice needs"),
        "measured_latency_seconds": (status.measured_p50_ms * 1e-3, "the same, measured by the sound itself, median"),
        "measured_latency_p95_seconds": (status.measured_p95_ms * 1e-3, "95 % lie below"),
        "measured_confidence_ratio": (status.measured_confidence, "how sure that is; 0 without speech"),
        "age_seconds": (status.age_ms * 1e-3, "age of the oldest block lately, without the voice's delay"),
        "max_age_seconds": (status.max_age_ms * 1e-3, "age that is promised"),
        "outage_seconds": (status.outage_ms * 1e-3, "how long the last fault took to be over"),
        "load_ratio": (status.load, "share of one core that the engine uses"),
        "block_max_seconds": (status.block_max_ms * 1e-3, "slowest block so far"),
        "in_peak_dbfs": (status.in_peak_dbfs, "input peak"),
        "out_peak_dbfs": (status.out_peak_dbfs, "output peak"),
        "muted": (float(desk.muted or desk.sound.panic), "1 while muted or in panic"),
        "recording": (float(desk.recorder is not None), "1 while recording"),
        "clients": (float(desk.audience.count()), "clients connected and identified"),
        "uptime_seconds": (desk.uptime_s, "time since the control side started"),
        "params_revision": (float(desk.sound.rev), "revision of the parameters"),
    }
    counters = {
        "xruns_total": (status.xruns, "times the engine's sound ran out"),
        "device_xruns_total": (status.device_xruns, "xruns that the host reported"),
        "lost_capture_frames_total": (status.lost_capture_frames, "captured frames thrown away"),
        "dropped_frames_total": (status.dropped_frames, "frames dropped because they were too old"),
        "cuts_total": (status.cuts, "catch-up splices"),
        "cut_seconds_total": (status.cut_ms * 1e-3, "time they took out"),
        "late_blocks_total": (status.late_blocks, "blocks older than promised"),
        "rung_changes_total": (status.rung_changes, "changes of the quality ladder's rung"),
        "engine_restarts_total": (status.engine_restarts, "engines replaced"),
        "device_reopens_total": (status.device_reopens, "times the devices were opened again"),
    }
    lines = []
    for kind, table in (("gauge", gauges), ("counter", counters)):
        for name, (value, doc) in table.items():
            lines += [f"# HELP rtvc_{name} {doc}", f"# TYPE rtvc_{name} {kind}", f"rtvc_{name} {value:.9g}"]
    return "\n".join([*lines, *_rungs(status), *_faults(status), *_ages(status)]) + "\n"


def _rungs(status: LiveStatus) -> list[str]:
    heads = ["# HELP rtvc_rung 1 for the rung of the quality ladder that speaks", "# TYPE rtvc_rung gauge"]
    return heads + [f'rtvc_rung{{rung="{name}"}} {int(name == status.rung)}' for name in (*RUNGS, "own")]


def _faults(status: LiveStatus) -> list[str]:
    heads = ["# HELP rtvc_faults_total faults noticed, by name", "# TYPE rtvc_faults_total counter"]
    return heads + [f'rtvc_faults_total{{fault="{name}"}} {count}' for name, count in status.faults.items()]


def _ages(status: LiveStatus) -> list[str]:
    lines = ["# HELP rtvc_block_age_seconds age of each block", "# TYPE rtvc_block_age_seconds histogram"]
    total = 0
    for edge, count in zip((*(f"{edge / 1000:g}" for edge in AGE_EDGES_MS), "+Inf"), status.ages, strict=False):
        total += count
        lines.append(f'rtvc_block_age_seconds_bucket{{le="{edge}"}} {total}')
    return [*lines, f"rtvc_block_age_seconds_count {total}"]
