"""How a session gets its control side: settings and command line in, a running server or a plain reason out."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from rtvc.audio.monitor import Monitor
from rtvc.config import ConfigError, Control
from rtvc.engine.live import LiveSession
from rtvc.engine.params import INDEX, PARAMS
from rtvc.voices.live_voices import LiveVoices

from .access import is_loopback
from .desk import Desk, DeskSettings
from .devices import DeviceChoice
from .server import ServerSettings
from .sound import Vector
from .thread import ControlThread
from .tls import server_context
from .tokens import TokenFile


def server_settings(control: Control) -> tuple[ServerSettings, str]:
    """Return what the settings ask for, and the certificate's fingerprint ("" without TLS).

    Raises ConfigError if an address other than this machine's own lacks a token or a certificate.
    """
    tokens = TokenFile()
    settings = ServerSettings(control.bind, control.port, tokens=tokens if tokens else None)
    if is_loopback(control.bind):
        return settings, ""
    if not tokens:
        what = f"control.bind = {control.bind!r}: others can reach this address, which needs a token"
        raise ConfigError(f"{what}: rtvc control token add NAME --role operator")
    certificate = Path(control.certificate) if control.certificate else None
    context, fingerprint = server_context(certificate, Path(control.key) if control.key else None)
    return dataclasses.replace(settings, tls=context), fingerprint


def desk_settings(control: Control, values: Vector, point: str) -> DeskSettings:
    """Return what clients may do. Without a word in the settings the own voice is allowed if it is the first sound."""
    own = PARAMS["voice.name"].from_number(float(values[INDEX["voice.name"]])) == "own"
    settings = DeskSettings(own if control.bypass is None else control.bypass, point=point)
    return dataclasses.replace(settings, recordings=Path(control.recordings)) if control.recordings else settings


@contextlib.contextmanager
def remote_control(
    control: Control,
    session: LiveSession,
    values: Vector,
    devices: DeviceChoice,
    point: str,
    monitor: Monitor,
    voices: LiveVoices,
) -> Iterator[None]:
    """Serve a session to clients while inside. A server that cannot be had is told on standard error; sound goes on."""
    try:
        settings, fingerprint = server_settings(control)
        desk = Desk(session, values, devices, desk_settings(control, values, point), monitor, voices)
        thread = ControlThread(desk, settings)
        thread.start()
    except OSError as error:
        what = f"port {control.port} on {control.bind} cannot be used ({error.strerror or error})"
        print(f"rtvc: no remote control: {what}; choose another with --control-port", file=sys.stderr)
        yield
        return
    except ConfigError as error:
        print(f"rtvc: no remote control: {error}", file=sys.stderr)
        yield
        return
    secured = f", certificate SHA-256 {fingerprint}" if fingerprint else ""
    print(f"panel: {thread.server.url}{secured}", file=sys.stderr)
    try:
        yield
    finally:
        thread.stop()
