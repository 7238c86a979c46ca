"""A desk without sockets or a session that runs, and who listens to it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from rtvc.control.asker import Asker
from rtvc.control.auth import Identity
from rtvc.control.desk import Desk, DeskSettings
from rtvc.control.dispatch import Dispatcher
from rtvc.control.events import EVENTS
from rtvc.control.protocol import Answer, Batch, Call
from rtvc.control.requests import REQUESTS, answer_fields
from rtvc.control.wire import Execution, Role, Status
from rtvc.engine.live import LiveSession
from rtvc.engine.params import Value, to_vector
from tests.rtvc.control.served import PLAIN, ToneDevices

ADMIN = Asker(Identity("anna", Role.ADMIN), "anna#1")


class Ears:
    """Remembers events."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        assert set(data) <= {field.name for field in EVENTS[event].tells}
        self.heard.append((event, dict(data)))

    def wants(self, event: str) -> bool:
        return False

    def count(self) -> int:
        return 1

    def of(self, event: str) -> list[dict[str, Any]]:
        return [data for name, data in self.heard if name == event]


class Room:
    """A desk in a running event loop."""

    def __init__(self, folder: Path, values: dict[str, Value], bypass: bool) -> None:
        vector, devices = to_vector(PLAIN | values), ToneDevices()
        settings = DeskSettings(bypass, recordings=folder / "recordings", presets=folder / "presets")
        self.desk = Desk(LiveSession(devices.open, vector), vector, devices, settings)
        self.ears = Ears()
        self.desk.audience = self.ears
        self.dispatcher = Dispatcher(self.desk)

    async def ask(self, request: str, data: object = None, asker: Asker = ADMIN) -> Answer:
        answer = await self.dispatcher.single(Call(request, "1", data), asker)
        if answer.status == Status.SUCCESS:
            assert answer.data is not None
            wanted = {field.name for field in answer_fields(REQUESTS[request]) if not field.optional}
            assert wanted <= set(answer.data), request
        else:
            assert answer.comment
        return answer

    async def data(self, request: str, data: object = None) -> dict[str, Any]:
        answer = await self.ask(request, data)
        assert answer.status == Status.SUCCESS, answer
        return dict(answer.data or {})

    async def batch(self, *calls: tuple[str, object], halt: bool = False, execution: int = 0) -> list[Answer]:
        made = tuple(Call(name, str(i), data) for i, (name, data) in enumerate(calls))
        return await self.dispatcher.batch(Batch("1", made, halt, Execution(execution)), ADMIN)

    def value(self, param_id: str) -> Value:
        return self.desk.sound.value(param_id)


Story = Callable[[Room], Coroutine[Any, Any, None]]
Play = Callable[..., None]
