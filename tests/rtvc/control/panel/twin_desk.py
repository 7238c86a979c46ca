"""What the twin server holds, and what each request does to it: the contract's names, with nothing real behind them."""

from __future__ import annotations

import math
import time
from typing import Any

from rtvc.engine.params import PARAMS, TIMBRES, Value
from rtvc.voices.presets import built_in_presets

Data = dict[str, Any]


class Refused(Exception):
    """A request that is refused with a code and a comment."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(comment)
        self.code = code


class Desk:
    """The state and the requests; `publish` is the server's."""

    def __init__(self) -> None:
        self._begun_s = time.perf_counter()
        self.clients = 0
        self.forget()

    def publish(self, type: str, data: Data, bit: int = 0) -> None:
        """Send an event to all who subscribed."""
        raise NotImplementedError

    def handle(self, type: str, data: Data) -> Data:
        """Do what a request asks and return its answer. Raises Refused."""
        if not hasattr(self, "_on_" + type):
            raise Refused(204, f"there is no request {type}")
        answer: Data = getattr(self, "_on_" + type)(data) or {}
        return answer | {"rev": self.rev, "applied_at": int(48000 * (time.perf_counter() - self._begun_s))}

    def forget(self) -> None:
        """Be as at the beginning."""
        self.values: dict[str, Value] = {p.id: p.from_number(p.default) for p in PARAMS.values()}
        self.presets: dict[str, Data] = {
            p.name: {"name": p.name, "label": p.label, "own": False, "doc": p.doc, "values": dict(p.values)}
            for p in built_in_presets().values()
        }
        self.preset: str | None = None
        self.library = "none"
        self.own_voices: dict[str, str] = {}  # name to why it is refused
        self.mine: str | None = None
        self.state, self.message, self.neural = "running", "", "off"
        self.rung_reason = ""
        self.panic, self.bypass_allowed = False, False
        self.recording: Data = {"active": False, "path": None, "seconds": 0.0}
        self.monitor: Data = {"on": False, "level_db": 0.0, "device": "default", "available": True, "playing": False}
        self.monitor |= {"reason": "", "delay_ms": None}
        self.devices = {"capture": "mic-1", "playback": "virtual"}
        self.rev = 1
        self.more_params: list[Data] = []
        self._undo: list[dict[str, Value]] = []
        self._redo: list[dict[str, Value]] = []

    def write(self, values: dict[str, Value], reason: str = "set", undoable: bool = True) -> None:
        """Take over values and tell everybody."""
        for name, value in values.items():
            try:
                PARAMS[name].to_number(value)
            except KeyError:
                raise Refused(600, f"id = {name!r}: there is no such parameter") from None
            except ValueError as error:
                raise Refused(402, str(error)) from None
        if undoable:
            self._undo.append(dict(self.values))
            self._redo.clear()
        self.values |= values
        self.rev += 1
        about = {"rev": self.rev, "applied_at": 0, "by": "twin", "reason": reason}
        self.publish("ParamsChanged", {"values": values} | about | self.editing(reason == "preset"))

    def editing(self, loaded: bool = False) -> Data:
        """Return what there is to undo and redo, and whether the preset was changed; loaded: it is about to be."""
        sound = {name: value for name, value in self.values.items() if name != "level.mute"}
        modified = not loaded and self.preset is not None and sound != self._whole(self.presets[self.preset])
        return {"can_undo": bool(self._undo), "can_redo": bool(self._redo), "preset_modified": modified}

    @staticmethod
    def _whole(preset: Data) -> dict[str, Value]:
        """Return all values of a preset but mute."""
        whole = {p.id: p.from_number(p.default) for p in PARAMS.values()} | preset["values"]
        return {name: value for name, value in whole.items() if name != "level.mute"}

    # requests

    def _on_GetVersion(self, data: Data) -> Data:
        return {"rpcVersion": 1, "rtvcVersion": "twin"}

    def _on_ListParams(self, data: Data) -> Data:
        fields = ("id", "label", "doc", "minimum", "maximum", "unit", "ramp_ms", "switch")
        params = [
            {name: getattr(p, name) for name in fields}
            | {"choices": list(p.choices), "default": p.from_number(p.default), "value": self.values[p.id]}
            for p in PARAMS.values()
        ]
        return {"params": params + self.more_params}

    def _on_SetParam(self, data: Data) -> Data:
        values = data["values"] if "values" in data else {data["id"]: data["value"]}
        self.write(values)
        if "level.mute" in values:
            self.publish("MuteChanged", {"muted": bool(values["level.mute"])})
        return {"values": values}

    def _on_ListVoices(self, data: Data) -> Data:
        own = self.bypass_allowed
        plain = [("dsp", "Your voice, shaped"), ("own", "Your own voice"), ("silence", "Silence")]
        voices: list[Data] = [
            {"name": n, "kind": n, "label": label, "sex": None, "doc": "", "available": n != "own" or own, "reason": ""}
            for n, label in plain
        ]
        for i, name in enumerate(TIMBRES):
            sex = "female" if i < 4 else "male"
            about = {"label": name.capitalize(), "sex": sex, "doc": f"A {sex} neural voice"}
            voices.append({"name": name, "kind": "neural", "available": True, "reason": ""} | about)
        for name, why in self.own_voices.items() if self.library == "open" else ():
            about = {"kind": "mine", "label": name, "sex": None, "doc": "warm and quick"}
            voices.append({"name": name, "available": not why, "reason": why} | about)
        reason = "your own voices are locked" if self.library == "locked" else ""
        library = {"state": self.library, "reason": reason, "faults": []}
        return {"voices": voices, "current": {"mine": self.mine}, "library": library}

    def own(self, library: str, **voices: str) -> None:
        """Have own voices (name=why it is refused) in a library of that state."""
        self.library, self.own_voices = library, voices
        self.publish("VoiceListChanged", {})

    def put(self, name: str | None, reason: str = "", instead: str = "") -> None:
        """Put another own voice into the slot."""
        self.mine = name
        self.publish("OwnVoiceChanged", {"name": name, "reason": reason, "instead": instead})

    def _on_UnlockVoices(self, data: Data) -> None:
        if data["passphrase"] != "correct horse battery":
            raise Refused(703, "the passphrase is wrong")
        self.own("open", **self.own_voices)

    def _on_BlendVoices(self, data: Data) -> None:
        own = [data[side] for side in ("first", "second") if data[side] not in TIMBRES]
        if own:
            self.put(own[0])
        first, second = ("mine" if data[side] in own else data[side] for side in ("first", "second"))
        self.write({"voice.timbre": first, "voice.second": second, "voice.blend": data["blend"]}, "voice")

    def _on_SwitchVoice(self, data: Data) -> None:
        name = data["name"]
        if name in TIMBRES:
            self.write({"voice.name": "neural", "voice.timbre": name, "voice.blend": 0.0}, "voice")
            self.neural = "speaks"
        elif name in self.own_voices:
            self.put(name)
            self.write({"voice.name": "neural", "voice.timbre": "mine", "voice.blend": 0.0}, "voice")
        else:
            self.write({"voice.name": name}, "voice")
            self.neural = "off"

    def _on_ListPresets(self, data: Data) -> Data:
        modified = self.editing()["preset_modified"]
        return {"presets": list(self.presets.values()), "current": self.preset, "modified": modified}

    def _on_LoadPreset(self, data: Data) -> None:
        preset = self.presets.get(data["name"])
        if preset is None:
            raise Refused(600, f"name = {data['name']!r}: there is no such preset")
        self.write(self._whole(preset), "preset")
        self.preset = data["name"]
        self.publish("PresetLoaded", {"name": data["name"]})

    def _on_SavePreset(self, data: Data) -> None:
        if data["name"] in self.presets and not data.get("overwrite"):
            raise Refused(601, f"name = {data['name']!r}: exists")
        about = {"label": data.get("label", data["name"]), "doc": data.get("doc", "")}
        self.presets[data["name"]] = {"name": data["name"], "own": True, "values": dict(self.values)} | about
        self.preset = data["name"]
        self.publish("PresetListChanged", {"presets": list(self.presets)})

    def _on_DeletePreset(self, data: Data) -> None:
        self.presets.pop(data["name"])
        self.preset = None if self.preset == data["name"] else self.preset
        self.publish("PresetListChanged", {"presets": list(self.presets)})

    def _on_Undo(self, data: Data) -> Data:
        return self._swap(self._undo, self._redo, "undo")

    def _on_Redo(self, data: Data) -> Data:
        return self._swap(self._redo, self._undo, "redo")

    def _swap(self, take: list[dict[str, Value]], give: list[dict[str, Value]], reason: str) -> Data:
        if not take:
            raise Refused(703, f"there is nothing to {reason}")
        values = take.pop()
        give.append(dict(self.values))
        self.write(values, reason, undoable=False)
        return {"values": values}

    def set_state(self, state: str, message: str = "") -> None:
        """Go to a state and tell it."""
        self.state, self.message = state, message
        self.publish("StateChanged", {"state": state, "message": message})

    def _on_Start(self, data: Data) -> None:
        self.set_state("running")

    def _on_Stop(self, data: Data) -> None:
        self.set_state("stopped")

    def _on_SetMute(self, data: Data) -> None:
        self.write({"level.mute": data["muted"]})
        self.publish("MuteChanged", {"muted": data["muted"]})

    def _on_Panic(self, data: Data) -> None:
        self.panic = data["on"]
        self.publish("PanicChanged", {"on": self.panic})

    def _on_SetBypass(self, data: Data) -> None:
        if not self.bypass_allowed:
            raise Refused(703, "letting the own voice through is off")
        self.write({"voice.name": "own" if data["active"] else "dsp"}, "voice")
        self.publish("BypassChanged", {"active": data["active"]})

    def _on_GetStatus(self, data: Data) -> Data:
        if self.recording["active"]:
            self.recording["seconds"] = time.perf_counter() - self._recorded_s
        return {
            "state": self.state, "message": self.message, "neural": self.neural, "age_ms": 14.1,
            "rung": "dsp", "rung_reason": self.rung_reason, "provider": "CPUExecutionProvider",
            "provider_reason": "no other is installed",
            "voice_delay_ms": 13.5, "in_flight_ms": 9.2, "delay_ms": self.delay_ms(), "xruns": 2, "device_xruns": 0,
            "engine_restarts": 0, "block_max_ms": 1.74, "drift_ppm": -12.3, "load": 0.064,
            "muted": bool(self.values["level.mute"]), "panic": self.panic,
            "bypass": {"allowed": self.bypass_allowed, "active": self.values["voice.name"] == "own"},
            "recording": dict(self.recording), "devices": dict(self.devices), "monitor": dict(self.monitor),
        } | self.editing()  # fmt: skip

    def delay_ms(self) -> float:
        """Return a delay that breathes a little."""
        return 22.7 + 0.6 * math.sin(time.perf_counter())

    def _on_GetStats(self, data: Data) -> Data:
        edges = list(range(0, 82, 2))
        counts = [
            round(900 * math.exp(-(((edge - 23) / 3.4) ** 2)) + 30 * math.exp(-abs(edge - 31) / 3)) for edge in edges
        ]
        histogram = {"edges": edges, "counts": counts[1:]}
        latency = {"p50": 22.9, "p95": 29.1, "p99": 34.0, "max": 41.5, "histogram": histogram}
        stats = {"xruns": 2, "device_xruns": 0, "block_max_ms": 1.74, "clients": self.clients}
        return {"latency_ms": latency} | stats

    def _on_ListDevices(self, data: Data) -> Data:
        def device(id: str, label: str, default: bool = False) -> Data:
            return {"id": id, "label": label, "rate_hz": 48000, "default": default}

        return {
            "capture": [device("mic-1", "USB microphone", True), device("mic-2", "Headset")],
            "playback": [device("virtual", "virtual microphone rtvc-mic"), device("speakers", "Speakers", True)],
            "current": dict(self.devices),
        }

    def _on_GetMonitor(self, data: Data) -> Data:
        return dict(self.monitor)

    def _on_SetMonitor(self, data: Data) -> Data:
        if data.get("device") == "speakers":
            raise Refused(702, "Speakers: cannot be opened")
        self.monitor |= data
        self.monitor |= {"playing": self.monitor["on"], "delay_ms": 15.4 if self.monitor["on"] else None}
        self.publish("MonitorChanged", {n: v for n, v in self.monitor.items() if n != "delay_ms"})
        return dict(self.monitor)

    def _on_SetDevice(self, data: Data) -> None:
        self.devices |= data
        self.publish("DevicesChanged", dict(self.devices))

    def _on_StartRecord(self, data: Data) -> None:
        self._recorded_s = time.perf_counter()
        self.recording = {"active": True, "path": "recordings/talk-1.flac", "seconds": 0.0}
        self.publish("RecordStateChanged", dict(self.recording))

    def _on_StopRecord(self, data: Data) -> None:
        self.recording = {**self.recording, "active": False, "seconds": time.perf_counter() - self._recorded_s}
        self.publish("RecordStateChanged", dict(self.recording))
