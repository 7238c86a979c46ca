"""/metrics: the session in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

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
        "engine_restarts_total": (status.engine_restarts, "engines replaced"),
        "device_reopens_total": (status.device_reopens, "times the devices were opened again"),
    }
    lines = []
    for kind, table in (("gauge", gauges), ("counter", counters)):
        for name, (value, doc) in table.items():
            lines += [f"# HELP rtvc_{name} {doc}", f"# TYPE rtvc_{name} {kind}", f"rtvc_{name} {value:.9g}"]
    return "\n".join(lines) + "\n"
