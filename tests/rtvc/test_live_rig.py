"""The main job on a real sound server: speech in at a fake microphone, another voice out at the virtual one.

Checked on the recording: delay, level, pitch ratio, dropouts; and what callers hear when the engine is killed, the
server is started again, or another program takes the microphone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyworld
from numpy.typing import NDArray
from scipy.signal import correlate, resample_poly

from rtvc.demo import read_voice, sample_path
from tests import rig
from tests.rtvc.control.robot import level_db
from tests.waiting import wait_for

RATE_HZ = rig.RATE_HZ
SEMITONES = 5.0
Sound = NDArray[np.float32]


def speech() -> Sound:
    return read_voice(sample_path())


def live(server: rig.Server, *sound: str) -> tuple[str, ...]:
    server.plug_in()
    return ("-m", "rtvc", "live", "--json", "--capture", "fake-mic", *sound)


class Statuses:
    """Reads the JSON lines of `rtvc live` as they come, so that its output never blocks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.seen: list[dict[str, object]] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(json.loads(line))

    def wait_for(self, what: str, condition: Callable[[dict[str, object]], object]) -> None:
        def look() -> object:
            assert self._process.poll() is None, f"rtvc ended while waiting for {what}"
            return self.seen and condition(self.seen[-1])

        wait_for(look, what)


def children(pid: int) -> list[int]:
    """Return the process ids of the direct children of pid."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def engine_pid(rtvc: int) -> int:
    """Return the engine's process id: the only grandchild, born of the fork server."""
    engines = [engine for server in children(rtvc) for engine in children(server)]
    assert len(engines) == 1
    return engines[0]


def envelope(x: Sound) -> NDArray[np.float64]:
    """Return the level every millisecond, cube-rooted so that soft sounds count."""
    n = x.shape[0] // 48
    return np.cbrt(np.square(x[: n * 48].astype(np.float64)).reshape(n, 48).mean(axis=1))


def lag_ms(reference: Sound, heard: Sound) -> int:
    """Return by how much `heard` lags, by their envelopes."""
    a, b = envelope(reference), envelope(heard)
    return int(np.argmax(correlate(b - b.mean(), a - a.mean(), "full"))) - (a.shape[0] - 1)


def median_hz(x: Sound) -> float:
    f0, _ = pyworld.dio(resample_poly(x, 1, 3).astype(np.float64), 16000, 60, 500)
    return float(np.median(f0[f0 > 0]))


def test_speech_comes_out_converted_and_whole(sound_server: rig.Server) -> None:
    x = speech()
    with sound_server.python(*live(sound_server, "--pitch", str(SEMITONES))) as process:
        statuses = Statuses(process)
        statuses.wait_for("running", lambda s: s["state"] == "running")
        with rig.Recorder(sound_server, "hwmic.monitor") as before, rig.Recorder(sound_server, "rtvc-mic") as after:
            sound_server.play(x).wait(timeout=60)
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert "rtvc-mic" not in sound_server.names("sources")
    loud_in, loud_out = (np.sqrt(np.mean(np.square(r.x[np.abs(r.x) > 0.01]))) for r in (before, after))
    assert abs(20 * np.log10(loud_out / loud_in)) < 4
    heard_semitones = 12 * np.log2(median_hz(after.x) / median_hz(before.x))
    assert abs(heard_semitones - SEMITONES) < 1.0
    # where there was speech there is sound: the sample's own pauses are the only silences
    a, b = envelope(before.x), envelope(after.x)
    shift = lag_ms(before.x, after.x)
    n = min(a.shape[0], b.shape[0] - shift) if shift >= 0 else min(a.shape[0] + shift, b.shape[0])
    a, b = (a[:n], b[shift : shift + n]) if shift >= 0 else (a[-shift : n - shift], b[:n])
    smooth = np.ones(20) / 20
    spoken = np.convolve(a, smooth, "same") > 0.3 * a.max()
    silent = np.convolve(b, smooth, "same") < 0.02 * b.max()
    assert np.mean(spoken & silent) < 0.02


def test_a_killed_engine_is_silence_then_the_voice_again_and_never_the_raw_one(pulseaudio: rig.Server) -> None:
    """A steady 300 Hz tone goes in, the robot's note comes out: the tone itself must never be heard."""
    t = np.arange(40 * RATE_HZ) / RATE_HZ
    pulses = (0.3 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    robot = ("--set", "pitch.mode=note", "--set", "pitch.target_hz=200", "--set", "voice.name=dsp")
    with pulseaudio.python(*live(pulseaudio, *robot)) as process:
        statuses = Statuses(process)
        statuses.wait_for("running", lambda s: s["state"] == "running")
        player = pulseaudio.play(pulses)
        statuses.wait_for("sound", lambda s: s["out_peak_dbfs"] > -30)
        with rig.Recorder(pulseaudio, "rtvc-mic") as after:
            time.sleep(1.0)
            os.kill(engine_pid(process.pid), signal.SIGKILL)
            statuses.wait_for("the voice again", lambda s: s["engine_restarts"] == 1 and s["state"] == "running")
            statuses.wait_for("sound", lambda s: s["out_peak_dbfs"] > -30)
            time.sleep(1.5)
        player.kill()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert "rtvc-mic" not in pulseaudio.names("sources")
    level = np.convolve(np.abs(after.x), np.ones(480) / 480, "same")
    assert np.any(level[RATE_HZ // 2 :] < 1e-4), "the gap of the killed engine should be silent"
    assert level[-RATE_HZ // 4 :].max() > 0.01, "the voice should be back"
    # in every window that sounds, 300 Hz (not a harmonic of 200) stays far below the note's own harmonics
    for start in range(0, after.x.shape[0] - 9600, 4800):
        piece = after.x[start : start + 9600] * np.hanning(9600)
        if np.abs(piece).max() < 0.02:
            continue
        power = np.abs(np.fft.rfft(piece)) ** 2
        near = power[58:63].sum()  # 290..310 Hz
        assert near < 0.2 * power[10:400].sum()


def fault(status: dict[str, object], name: str) -> int:
    faults = status["faults"]
    assert isinstance(faults, dict)
    return int(faults[name])


def test_a_server_that_is_started_again_has_the_virtual_microphone_and_the_voice_again(
    sound_server: rig.Server,
) -> None:
    with sound_server.python(*live(sound_server, "--preset", "deep", "--no-control")) as process:
        statuses = Statuses(process)
        statuses.wait_for("running", lambda s: s["state"] == "running")
        sound_server.kill()
        statuses.wait_for("the loss to be told", lambda s: fault(s, "server_lost") == 1)
        sound_server.start()
        sound_server.plug_in()
        statuses.wait_for("the voice again", lambda s: s["state"] == "running" and s["device_reopens"] == 1)
        assert "rtvc-mic" in sound_server.names("sources")
        player = sound_server.play(np.tile(speech(), 3))
        with rig.Recorder(sound_server, "rtvc-mic") as after:
            statuses.wait_for("sound", lambda s: s["out_peak_dbfs"] > -40)
            time.sleep(1.0)
        player.kill()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert np.abs(after.x).max() > 0.01
    assert statuses.seen[-1]["outage_ms"] > 0  # type: ignore[operator]
    assert "rtvc-mic" not in sound_server.names("sources")


def test_while_the_engine_is_gone_callers_keep_the_microphone_and_hear_silence(pulseaudio: rig.Server) -> None:
    with pulseaudio.python(*live(pulseaudio, "--preset", "deep", "--no-control")) as process:
        statuses = Statuses(process)
        statuses.wait_for("running", lambda s: s["state"] == "running")
        pulseaudio.play(np.tile(speech(), 5))
        statuses.wait_for("sound", lambda s: s["out_peak_dbfs"] > -40)
        with rig.Recorder(pulseaudio, "rtvc-mic") as after:
            time.sleep(0.5)
            process.kill()  # with the engine and all
            process.wait(10)
            time.sleep(1.0)
            assert "rtvc-mic" in pulseaudio.names("sources")
    assert np.abs(after.x).max() > 0.01
    assert not after.x[-RATE_HZ // 4 :].any()


def test_a_microphone_that_another_program_takes_is_told_and_used_again(pulseaudio: rig.Server) -> None:
    with pulseaudio.python(*live(pulseaudio, "--preset", "deep", "--no-control")) as process:
        statuses = Statuses(process)
        statuses.wait_for("running", lambda s: s["state"] == "running")
        pulseaudio.run("pactl", "suspend-source", "fake-mic", "1")
        statuses.wait_for("the loss to be told", lambda s: fault(s, "device_taken") >= 1)
        assert "for another program" in str(statuses.seen[-1]["fault_message"])
        pulseaudio.run("pactl", "suspend-source", "fake-mic", "0")
        player = pulseaudio.play(np.tile(speech(), 3))
        statuses.wait_for("sound", lambda s: s["out_peak_dbfs"] > -40 and s["state"] == "running")
        player.kill()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_the_monitor_plays_the_converted_voice_at_its_level_and_nothing_of_it_stays(sound_server: rig.Server) -> None:
    """A 300 Hz tone goes in, a 200 Hz note comes out: that is what the headphones carry, 6 dB below the call."""
    t = np.arange(60 * RATE_HZ) / RATE_HZ
    pulses = (0.3 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    robot = ("--set", "pitch.mode=note", "--set", "pitch.target_hz=200", "--set", "voice.name=dsp")
    sound_server.add_sink("headphones")
    sound_server.run("pactl", "set-default-sink", "headphones")
    with sound_server.python(*live(sound_server, *robot, "--monitor", "-6", "--control-port", "0")) as process:
        statuses = Statuses(process)
        statuses.wait_for("running", lambda s: s["state"] == "running")
        player = sound_server.play(pulses)
        statuses.wait_for("sound", lambda s: s["out_peak_dbfs"] > -30)
        # these come back once the voice and the monitor are steady
        in_headphones_db, in_call_db = (level_db(sound_server, name) for name in ("headphones.monitor", "rtvc-mic"))
        with rig.Recorder(sound_server, "headphones.monitor") as heard:
            time.sleep(2.2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        player.kill()
    power = np.square(np.abs(np.fft.rfft(heard.x[-2 * RATE_HZ :] * np.hanning(2 * RATE_HZ))))
    note, raw = (sum(power[2 * hz - 4 : 2 * hz + 5].sum() for hz in tones) for tones in ((200, 400, 600), (300, 900)))
    assert raw < 0.02 * note
    assert abs(in_headphones_db - in_call_db + 6) < 0.5
    wait_for(lambda: not sound_server.run("pactl", "list", "short", "sink-inputs"), "the end of a killed rtvc's sound")
    left = sound_server.run("pactl", "list", "short", "modules")
    assert "loopback" not in left
