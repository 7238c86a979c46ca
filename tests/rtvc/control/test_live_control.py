"""Remote control of a real engine on simulated devices: what is asked for is heard, when it is said to be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rtvc.control.client import Control, ControlError
from rtvc.control.wire import Intent
from rtvc.engine.network import ON_CPU
from rtvc.engine.params import default_values, from_vector
from rtvc.engine.replay import replay
from rtvc.flight_bundle import read_bundle
from tests.rtvc.control.served import LEVEL, PLAIN, TONE_HZ, Served
from tests.waiting import wait_for


@pytest.fixture
def control(sounding: Served) -> Iterator[Control]:
    """Return a client of a server that sounds as it did at first."""
    with sounding.control() as client:
        client.panic(False)
        client.set({param.id: value for param, value in from_vector(default_values())} | PLAIN)
        yield client


def last(there: Served, seconds: float = 0.2) -> Any:
    """Wait for so much more to be heard and return it."""
    since = len(there.heard())
    wait_for(lambda: len(there.heard()) >= since + seconds * 48000, "sound")
    return there.heard()[since:]


def pitch_hz(y: Any) -> float:
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)), 1 << 17))
    return float(np.argmax(spectrum) * 48000 / (1 << 17))


def await_pitch(there: Served, hz: float) -> None:
    wait_for(lambda: abs(pitch_hz(last(there)) / hz - 1) < 0.02, f"{hz} Hz")


def test_a_change_is_heard_and_says_from_when(sounding: Served, control: Control) -> None:
    answer = control.set({"pitch.semitones": 7})
    status = control.status()
    assert answer["rev"] == sounding.desk.sound.rev
    assert 0 < answer["applied_at"] <= status["applied_sample"] + 48000
    await_pitch(sounding, TONE_HZ * 2 ** (7 / 12))
    assert status["muted"] is False and status["recording"]["active"] is False
    assert (status["provider"], status["provider_reason"]) == (ON_CPU.provider, ON_CPU.reason)
    assert status["delay_ms"] == pytest.approx(status["voice_delay_ms"] + status["in_flight_ms"], abs=0.02)


def test_a_batch_sounds_from_one_block_on(sounding: Served, control: Control) -> None:
    for execution in range(3):
        wanted = {"pitch.semitones": 3 + execution, "formant.ratio": 1.1, "breath.amount": 0.1 * execution}
        calls = [{"requestType": "SetParam", "requestData": {"id": n, "value": v}} for n, v in wanted.items()]
        before = sounding.session.status().applied_rev
        number = str(execution)
        said = {"op": 8, "d": {"requestId": number, "requests": calls, "executionType": execution}}
        results = control._answer(number, control._wire._codec.encode(said))["results"]
        assert len({result["responseData"]["rev"] for result in results}) == 1
        assert len({result["responseData"]["applied_at"] for result in results}) == 1
        assert sounding.session.status().applied_rev == before + 1


def test_a_ramp_goes_there(sounding: Served, control: Control) -> None:
    control.ramp("pitch.semitones", 5, 100)  # an octave up the periods of a sine cancel, and nothing has a pitch
    await_pitch(sounding, TONE_HZ * 2 ** (5 / 12))
    assert control.get("pitch.semitones") == 5.0


def test_mute_and_panic_are_silence(sounding: Served, control: Control) -> None:
    control.mute()
    wait_for(lambda: np.abs(last(sounding, 0.05)).max() < 1e-4, "silence")
    control.mute(False)
    wait_for(lambda: np.abs(last(sounding, 0.05)).max() > 0.5 * LEVEL, "sound")
    control.panic()
    wait_for(lambda: np.abs(last(sounding, 0.05)).max() < 1e-4, "silence")
    control.load_preset("deep")
    control.mute(False)
    assert np.abs(last(sounding, 0.1)).max() < 1e-4
    control.panic(False)
    wait_for(lambda: np.abs(last(sounding, 0.05)).max() > 0.1 * LEVEL, "sound")


def test_meters_and_trace_come_only_to_who_asks(sounding: Served, control: Control) -> None:
    with sounding.control(events=int(Intent.METERS | Intent.TRACE)) as watcher:
        events = [watcher.next_event(5) for _ in range(40)]
        meters = [event[1] for event in events if event and event[0] == "Meters"]
        traces = [event[1] for event in events if event and event[0] == "Trace"]
        assert len(meters) > 5 and len(traces) > 5
        assert meters[-1]["in_peak_dbfs"] == pytest.approx(20 * np.log10(LEVEL), abs=1.0)
        columns = [column for trace in traces for column in trace["in"]["bands"]]
        assert traces[-1]["at"] > traces[0]["at"]
        assert len(columns) == pytest.approx((traces[-1]["at"] - traces[0]["at"]) / 1200 + 2, abs=3)
        assert traces[-1]["in"]["hz"][-1] == pytest.approx(TONE_HZ, rel=0.03)
    wait_for(lambda: sounding.desk._traces is None, "nobody to look")
    assert control.next_event(0.2) is None


def test_what_is_heard_is_recorded(sounding: Served, control: Control) -> None:
    path = Path(control.request("StartRecord")["path"])
    assert path.parent == sounding.folder / "recordings" and path.suffix == ".flac"
    with pytest.raises(ControlError, match="runs already"):
        control.request("StartRecord")
    time.sleep(0.5)
    done = control.request("StopRecord")
    y, rate_hz = soundfile.read(path)
    assert rate_hz == 48000 and len(y) / rate_hz == pytest.approx(done["seconds"], abs=0.01)
    assert done["seconds"] > 0.3
    assert np.abs(y).max() == pytest.approx(LEVEL, rel=0.1)
    assert pitch_hz(y) == pytest.approx(TONE_HZ, rel=0.02)
    with pytest.raises(ControlError, match="exists"):
        control.request("StartRecord", {"path": str(path)})
    assert control.request("GetRecord")["active"] is False


def test_the_last_minute_is_saved_and_runs_again_bit_for_bit(sounding: Served, control: Control) -> None:
    control.set({"pitch.semitones": 3})
    time.sleep(0.3)
    control.set({"pitch.semitones": 0})
    time.sleep(0.1)
    saved = control.request("SaveFlight")
    path = Path(saved["path"])
    assert path.parent == sounding.folder / "recordings" and path.stat().st_mode & 0o777 == 0o600
    bundle = read_bundle(path)
    assert (
        len(bundle.flight.x) / 48000 == pytest.approx(saved["seconds"], abs=0.01) and "local" in bundle.about["reason"]
    )
    assert len(bundle.flight.inputs) >= 2 and bundle.about["status"]["state"] == "running"
    again = replay(bundle.flight)
    assert again.compared > 4800 and again.differ_at is None
    with pytest.raises(ControlError, match="exists"):
        control.request("SaveFlight", {"path": str(path)})
    quiet = control.request("SaveFlight", {"path": "quiet.zip", "sound": False})
    assert len(read_bundle(Path(quiet["path"])).flight.x) == 0


def test_a_file_is_converted_beside_it_and_cancelled(sounding: Served, control: Control) -> None:
    source = sounding.folder / "in.wav"
    soundfile.write(source, 0.1 * np.sin(np.arange(48000) * 0.02), 48000)
    data = {"kind": "convert", "input": str(source), "output": str(sounding.folder / "a.wav"), "preset": "deep"}
    job = control.request("StartJob", data)["job"]

    def state(name: str) -> str:
        return str({entry["job"]: entry["state"] for entry in control.request("ListJobs")["jobs"]}[name])

    wait_for(lambda: state(job) != "running", "its end")
    assert state(job) == "done" and soundfile.info(sounding.folder / "a.wav").frames == 48000
    missing = control.request("StartJob", {"kind": "convert", "input": "no.wav", "output": str(source)})["job"]
    wait_for(lambda: state(missing) == "failed", "its failure")
    soundfile.write(sounding.folder / "long.wav", np.zeros(48000 * 600), 48000)
    data = {"kind": "convert", "input": str(sounding.folder / "long.wav"), "output": str(sounding.folder / "b.wav")}
    long = control.request("StartJob", data)["job"]
    control.request("CancelJob", {"job": long})
    wait_for(lambda: state(long) == "cancelled", "its end")
    assert not (sounding.folder / "b.wav").exists() and not list(sounding.folder.glob(".rtvc-*"))


def test_another_device_is_used(sounding: Served, control: Control) -> None:
    listed = control.request("ListDevices")
    assert [entry["id"] for entry in listed["capture"]] == ["simulated:tone", "simulated:high"]
    assert control.request("SetDevice", {"capture": "simulated:high"})["capture"] == "simulated:high"
    await_pitch(sounding, 2 * TONE_HZ)
    control.request("SetDevice", {"capture": "simulated:tone"})
    await_pitch(sounding, TONE_HZ)
    assert control.status()["device_reopens"] == 2


def test_stop_and_start(sounding: Served, control: Control) -> None:
    control.set({"pitch.semitones": 5})
    control.request("Stop")
    assert control.status()["state"] == "stopped"
    assert control.set({"formant.ratio": 1.2})["applied_at"] is None
    with pytest.raises(ControlError, match="does not run"):
        control.request("Stop")
    control.request("Start")
    with pytest.raises(ControlError, match="runs already"):
        control.request("Start")
    await_pitch(sounding, TONE_HZ * 2 ** (5 / 12))
    assert control.set({"formant.ratio": 1.0})["applied_at"] is not None
