"""`rtvc live`: opens the devices that settings and arguments ask for, runs a session, and shows how it does.

On a terminal one line refreshes; elsewhere only changes of state are told. With --json a line a second, and one at
each change of state, goes to standard output. Ctrl-C, SIGTERM and closing the terminal end it cleanly: the engine
stops, the virtual microphone goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rtvc.audio.backend import DeviceError
from rtvc.audio.devices import best_host, choose, list_devices
from rtvc.audio.monitor import Monitor
from rtvc.audio.virtual_mic import VirtualMicrophone
from rtvc.config import Control, FlightSettings, MonitorSettings, Settings
from rtvc.crash_bundles import CrashBundles
from rtvc.engine.build import wants_neural
from rtvc.engine.live import LiveSession
from rtvc.engine.network import choose_for_session
from rtvc.engine.status import LiveStatus, host_ms
from rtvc.engine.suppressor import check_suppression
from rtvc.engine.timbres import built_in_timbres
from rtvc.progress import StatusLine, meter
from rtvc.sound_arguments import ChosenSound

if TYPE_CHECKING:
    from rtvc.control.devices import DeviceChoice
    from rtvc.voices.live_voices import Withdrawn

REFRESH_S = 0.2
JSON_EVERY_S = 1.0


@dataclass(frozen=True)
class LiveChoice:
    """What to open; None is the platform's own choice. seconds is how long to run, None for ever."""

    capture: str | None = None
    playback: str | None = None
    host: str | None = None
    virtual_mic: bool = True
    rate_hz: int = 48_000
    block_frames: int = 256
    max_age_ms: int | None = None
    seconds: float | None = None
    as_json: bool = False
    simulated: bool = False
    control: Control = field(default_factory=Control)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    flight: FlightSettings = field(default_factory=FlightSettings)
    watermark: bool | None = None


def choice_from(settings: Settings) -> LiveChoice:
    """Return what the settings ask for."""
    devices, audio = dataclasses.asdict(settings.devices), dataclasses.asdict(settings.audio)
    control, monitor, flight = settings.control, settings.monitor, settings.flight
    return LiveChoice(**devices, **audio, control=control, monitor=monitor, flight=flight)


def latency_ms(status: LiveStatus) -> float:
    """Return the sound's way from device to device: the voice's delay, what is in flight, and the host's buffers."""
    return status.voice_delay_ms + status.in_flight_ms + host_ms(status.device_ms)


def run_live(choice: LiveChoice, sound: ChosenSound, point: str) -> int:
    """Run a live session with a sound; return the exit code.

    point is the neural voice's operating point. Raises DeviceError if the devices cannot be opened, and NetworkError,
    before any sound, if a neural voice or noise suppression is asked for and cannot be used.
    """
    from rtvc.control.session import remote_control
    from rtvc.voices.live_voices import LiveVoices

    values = sound.values
    check_suppression(values)
    runs = choose_for_session(point, wants_neural(values))
    if wants_neural(values):
        built_in_timbres()  # refused here, before any device is opened
    with contextlib.ExitStack() as stack:
        devices, told = _simulated(choice) if choice.simulated else _devices_of_host(choice, stack)
        line = stack.enter_context(StatusLine())
        try:
            line.show("starting the engine (the very first start compiles it, which takes a minute or two)")
            session = LiveSession(
                devices.open, values, point, runs, choice.max_age_ms, choice.flight.recorder,
                sound.own, choice.watermark,
            )  # fmt: skip
            session.engine_failed = CrashBundles(session, choice.flight.crash_sound).engine_failed
            stack.enter_context(session)
            line.show("")
            print(f"{told}. Ctrl-C ends it.", file=sys.stderr)
            if sound.own and sound.own.tempo != 1.0:
                print(f"this voice's tempo ({sound.own.tempo:g}) is for files; live it keeps your own", file=sys.stderr)
            if wants_neural(values):
                print(f"neural voice ({point}) on {runs.provider}: {runs.reason}", file=sys.stderr)
            monitor = stack.enter_context(contextlib.closing(_monitor(choice.monitor, devices)))
            voices = stack.enter_context(LiveVoices(session, sound.library))
            voices.withdrawn = _tell_withdrawn
            if choice.control.enabled:
                stack.enter_context(remote_control(choice.control, session, values, devices, point, monitor, voices))
            _watch(session, choice, line)
        except (KeyboardInterrupt, SystemExit):
            pass  # the usual way to end it
    return 0


def _tell_withdrawn(withdrawn: Withdrawn) -> None:
    """Say on standard error that an own voice may no longer speak; names only on a terminal, not into a file."""
    what, reason = "your own voice", "rtvc voices list says why"
    if sys.stderr.isatty():
        what, reason = f"your voice {withdrawn.name}", withdrawn.reason
    print(f"rtvc: {what} may not speak any more: {reason}; {withdrawn.instead} speaks now", file=sys.stderr)


def _simulated(choice: LiveChoice) -> tuple[DeviceChoice, str]:
    """Return simulated devices and a line about them."""
    from rtvc.control.devices import SimulatedDevices

    return SimulatedDevices(choice.block_frames), "a simulated microphone -> a simulated listener"


def _devices_of_host(choice: LiveChoice, stack: contextlib.ExitStack) -> tuple[DeviceChoice, str]:
    """Return the devices that are asked for and a line about them; the virtual microphone goes when stack is closed.

    Raises DeviceError.
    """
    from rtvc.control.devices import HostDevices

    host = choice.host or best_host().name
    listed = list_devices(host)
    capture = choose(listed, "capture", choice.capture or "")
    microphone: VirtualMicrophone | None = None
    if choice.virtual_mic:
        microphone = stack.enter_context(VirtualMicrophone(host=host))
        playback_id, heard_as = microphone.playback_id, f"virtual microphone {microphone.heard_as}"
    else:
        playback = choose(listed, "playback", choice.playback or "")
        playback_id, heard_as = playback.id, playback.name
    devices = HostDevices(host, capture.id, playback_id, choice.rate_hz, choice.block_frames, microphone)
    return devices, f"{capture.name} -> {heard_as} ({host})"


def _monitor(settings: MonitorSettings, devices: DeviceChoice) -> Monitor:
    """Return the monitor as the settings ask for it. One that cannot be had is told on standard error."""
    monitor = Monitor(devices.monitored, settings.level_db, settings.device)
    if settings.on:
        try:
            monitor.set(on=True)
        except DeviceError as error:
            print(f"rtvc: no monitor: {error}", file=sys.stderr)
    return monitor


def _watch(session: LiveSession, choice: LiveChoice, line: StatusLine) -> None:
    """Show the session's status until its time is up."""
    begin_s = time.perf_counter()
    next_json_s = begin_s
    told = "running"
    while choice.seconds is None or time.perf_counter() - begin_s < choice.seconds:
        time.sleep(REFRESH_S)
        status = session.status()
        said = f"{status.state}: {status.message}" if status.message else status.state
        changed = said != told
        if changed:
            line.show("")
            print(f"rtvc: {said}", file=sys.stderr)
            told = said
        line.show(status_text(status))
        due = time.perf_counter() >= next_json_s
        if due:
            next_json_s += JSON_EVERY_S
        if choice.as_json and (due or changed):
            print(json.dumps(dataclasses.asdict(status) | {"latency_ms": latency_ms(status)}), flush=True)


def status_text(status: LiveStatus) -> str:
    """Return the status as one line."""
    trouble = f"  {status.engine_restarts} restarts" if status.engine_restarts else ""
    trouble += f"  {status.dropped_frames} frames dropped" if status.dropped_frames else ""
    trouble += f"  {status.rung} ({status.rung_reason})" if status.rung_reason else ""
    trouble += f"  {status.feedback}" if status.feedback else ""
    measured = ""
    if status.measured_confidence:
        measured = f"  measured {status.measured_p50_ms:.1f} ms, p95 {status.measured_p95_ms:.1f} "
        measured += f"({status.measured_confidence:.0%} sure)"
    return (
        f"{latency_ms(status):5.1f} ms (age {status.age_ms:.0f})  in {meter(status.in_peak_dbfs)} "
        f"out {meter(status.out_peak_dbfs)}  {status.xruns} xruns  load {status.load:.0%}{measured}{trouble}"
    )
