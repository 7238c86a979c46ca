"""The loopback test finds bursts, pairs them, says how sure it is, and hears a real sound server's delay."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rtvc.loopback import RATE_HZ, Loopback, burst_train, find_bursts, pair
from tests import rig


@pytest.mark.parametrize("delay_frames", [0, 1000, 20_000])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_bursts_are_found_where_they_are(delay_frames: int, noise: float) -> None:
    x = burst_train(8)
    y = np.concatenate([np.zeros(delay_frames, np.float32), 0.3 * x])
    y += noise * np.random.default_rng(1).standard_normal(len(y)).astype(np.float32)
    sent, heard = find_bursts(x), find_bursts(y)
    assert len(sent) == 8
    late_ms = pair(sent / RATE_HZ, heard / RATE_HZ)
    assert len(late_ms) == 8 and late_ms == pytest.approx([1e3 * delay_frames / RATE_HZ] * 8, abs=0.05)


def test_silence_and_noise_have_no_bursts() -> None:
    assert len(find_bursts(np.zeros(48_000, np.float32))) == 0
    assert len(find_bursts(np.random.default_rng(0).standard_normal(200_000).astype(np.float32))) == 0
    assert len(find_bursts(np.zeros(0, np.float32))) == 0


def test_a_burst_that_was_lost_pairs_with_nothing() -> None:
    assert pair(np.array([1.0, 2.0, 3.0]), np.array([1.02, 3.04])) == pytest.approx((20.0, 40.0))


def test_it_says_how_sure_it_is() -> None:
    exact = Loopback("pulse", 256, 10, (20.0,) * 10, 20.0)
    assert exact.sure and exact.error_ms < 0.03 and exact.p50_ms == 20.0
    assert not Loopback("pulse", 256, 10, (20.0,) * 5, 20.0).sure
    scattered = Loopback("pulse", 256, 10, tuple(np.linspace(10, 40, 10)), 20.0)
    assert not scattered.sure and scattered.error_ms > 5.0
    assert not Loopback("pulse", 256, 1, (20.0,), 20.0).sure


def test_on_a_real_server_it_hears_the_delay(sound_server: rig.Server) -> None:
    # a stall of the machine tears bursts; then one tries again, as `rtvc doctor` says
    script = """
import json, rtvc.loopback as l
for attempt in range(3):
    f = l.measure_loopback(6)
    if len(f.late_ms) >= 5:
        break
print(json.dumps([f.host, f.late_ms, f.p50_ms]))
"""
    with sound_server.python("-c", script) as process:  # a process of its own: it may load one JACK library only
        out, _ = process.communicate(timeout=120)
    host, late_ms, p50_ms = json.loads(out.splitlines()[-1])
    assert host in ("pulse", "pipewire")
    assert len(late_ms) >= 5 and 10.0 < p50_ms < 300.0
    assert not {"rtvc-mouth", "rtvc-loopback"} & set(sound_server.names("sources")), "nothing stays behind"
