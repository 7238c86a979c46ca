"""A flight as the engine process records it, in virtual time: simulated devices, pump, engine, changes of the sound."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtvc.audio.link import link_memory
from rtvc.audio.simulated import SimulatedClock, SimulatedStreams
from rtvc.engine.build import build_engine
from rtvc.engine.engine import Engine
from rtvc.engine.flight import (
    BLOCK_COLUMNS,
    FLIGHT_INT64,
    MARK_SET,
    OWN_CHOSEN,
    RUNG_LIMITED,
    FlightStates,
    flight_block,
    flight_input,
    flight_params,
)
from rtvc.engine.own_voice import OwnVoice, id_words
from rtvc.engine.params import Value, to_vector
from rtvc.engine.pump import Pump
from rtvc.provenance.payload import Payload, signs_of

RATE_HZ = 48_000


def speech(seconds: float, name: str = "female") -> NDArray[np.float32]:
    """Return a bundled sample, repeated, at whatever speed: sound enough for an engine."""
    x, _ = soundfile.read(Path(str(resources.files("rtvc") / "samples" / f"{name}.flac")), dtype="float32")
    return np.resize(x, round(seconds * RATE_HZ)).astype(np.float32)


class Session:
    """One recorder, one engine after the other, a microphone 150 ppm too fast."""

    def __init__(self, seconds: float, stalls_s: tuple[tuple[float, float], ...] = ()) -> None:
        self.flight = np.zeros(FLIGHT_INT64, np.int64)
        self.link = link_memory()
        self.x = speech(seconds + 1.0)
        self.streams = SimulatedStreams(
            self.link, self.x, SimulatedClock(ppm=150.0, stalls_s=stalls_s), SimulatedClock()
        )
        self.now_s = 0.0
        self.rev = 0

    def begin(self, sound: Mapping[str, Value]) -> None:
        """Begin a new engine, as after a start or a crash."""
        values = to_vector(sound)
        neural = sound.get("voice.name") == "neural"
        self.engine = build_engine(values=values, point="fast") if neural else Engine(values=values)
        made_as = {"values": values.tolist(), "neural": neural, "point": "fast", "provider": "CPUExecutionProvider",
                   "suppressor": self.engine.has_suppressor}  # fmt: skip
        self.states = FlightStates(self.flight, self.engine, made_as)
        self.pump = Pump(self.link, self.engine, 0.004, 0.4, False, None, self.flight)

    def set(self, sound: Mapping[str, Value]) -> None:
        """Change the sound, as the engine process does between two steps."""
        self.rev += 1
        self.engine.set(to_vector(sound))
        flight_params(self.flight, self.rev, self.engine.sample, to_vector(sound))
        self.states.changed()

    def own(self, own: OwnVoice | None) -> None:
        """Put a voice of the user's own into the slot, as the engine process takes it over between two steps."""
        self.engine.set_own(own.timbre if own else None)
        self._note(OWN_CHOSEN, *id_words(own.id if own else ""))
        self.states.made_as["own"] = own.id if own else ""

    def mark(self, payload: Payload | None) -> None:
        """Let the watermark say something else."""
        self.engine.set_mark(signs_of(payload) if payload else None)
        self._note(MARK_SET, payload.number if payload else -1)
        if payload:
            self.states.made_as["mark"] = payload.number

    def _note(self, kind: int, one: int, two: int = 0) -> None:
        flight_input(self.flight, kind, one, two)
        self.states.changed()

    def limit(self, heard: int, ready: int) -> None:
        """Limit the engine's rung, as the quality ladder does between two steps."""
        self.engine.limit(heard, ready)
        self._note(RUNG_LIMITED, heard, ready)

    def run(self, seconds: float) -> None:
        """Let so much time pass; a state is taken in the middle of it."""
        begin_s, took = self.now_s, False
        while self.now_s < begin_s + seconds:
            self.now_s = self.streams.next_s() + 0.0003
            self.streams.run_until(self.now_s)
            if self.pump.step(self.now_s):
                row = np.zeros(len(BLOCK_COLUMNS), np.int64)
                row[2], row[3] = 400_000, round(1e6 * self.pump.in_flight_s)
                flight_block(self.flight, row)
            if not took and self.now_s > begin_s + seconds / 2:
                self.states.take()
                took = True
