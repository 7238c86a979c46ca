"""Open Sound Control to the registry: `rtvc control osc` listens on UDP and passes on what it hears.

    /rtvc/param/ID value        SetParam        /rtvc/preset NAME     LoadPreset
    /rtvc/nudge/ID by           NudgeParam      /rtvc/voice NAME      SwitchVoice
    /rtvc/toggle/ID             ToggleParam     /rtvc/mute 1|0        SetMute
    /rtvc/ramp/ID value ms      RampParam       /rtvc/panic 1|0       Panic

OSC has no passwords, so it listens on this machine only unless told otherwise. A switch takes 1 and 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rtvc.engine.params import PARAMS

from .client import Control, ControlError

Call = tuple[str, dict[str, Any]]


def call_of(address: str, args: Sequence[Any]) -> Call:
    """Return the request that an OSC message means. Raises ControlError saying what is wrong with it."""
    parts = address.strip("/").split("/")
    if len(parts) == 3 and parts[0] == "rtvc":
        return _about_param(parts[1], parts[2], args)
    if len(parts) == 2 and parts[0] == "rtvc" and len(args) == 1:
        verb, value = parts[1], args[0]
        if verb in ("preset", "voice"):
            return ("LoadPreset" if verb == "preset" else "SwitchVoice"), {"name": str(value)}
        if verb == "mute":
            return "SetMute", {"muted": bool(value)}
        if verb == "panic":
            return "Panic", {"on": bool(value)}
    raise ControlError(f"{address} with {len(args)} values: no such OSC message (see rtvc control osc --help)")


def _about_param(verb: str, param_id: str, args: Sequence[Any]) -> Call:
    if verb == "toggle":
        return "ToggleParam", {"id": param_id}
    if verb == "param" and len(args) == 1:
        param = PARAMS.get(param_id)
        value = bool(args[0]) if param and param.switch else args[0]
        return "SetParam", {"id": param_id, "value": value}
    if verb == "nudge" and len(args) == 1:
        return "NudgeParam", {"id": param_id, "by": args[0]}
    if verb == "ramp" and len(args) == 2:
        return "RampParam", {"id": param_id, "value": args[0], "duration_ms": args[1]}
    raise ControlError(f"/rtvc/{verb}/{param_id} with {len(args)} values: no such OSC message")


def serve(control: Control, bind: str, port: int) -> None:
    """Pass on OSC messages until the connection ends. Raises ControlError without the package python-osc."""
    try:
        from pythonosc.dispatcher import Dispatcher
        from pythonosc.osc_server import BlockingOSCUDPServer
    except ImportError:
        raise ControlError("OSC needs the package python-osc: pip install 'rtvc[bridges]'") from None

    def heard(address: str, *args: Any) -> None:
        try:
            name, data = call_of(address, args)
            control.request(name, data)
        except ControlError as error:
            if not error.code and "closed" in str(error):
                raise
            print(f"rtvc: {error}", file=sys.stderr)

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(heard)
    with BlockingOSCUDPServer((bind, port), dispatcher) as server:
        print(f"OSC on {bind}:{server.server_address[1]}", file=sys.stderr)
        server.serve_forever()
