"""From a call to its answer: checks name, role and fields, runs the handler, commits what it staged.

A batch shares one change, committed once after its last request, so all its writes sound from the same block on; the
answers then carry the same `rev` and `applied_at`. With haltOnFailure what came before the failure counts.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Mapping
from typing import Any

from .asker import Asker, Handler
from .desk import Desk
from .fields import check_fields, shown
from .protocol import Answer, Batch, Call
from .requests import REQUESTS, Request
from .session_handlers import SESSION_HANDLERS
from .sound import Change
from .sound_handlers import SOUND_HANDLERS
from .wire import Execution, RequestError, Status

HANDLERS: Mapping[str, Handler] = {**SOUND_HANDLERS, **SESSION_HANDLERS}

_log = logging.getLogger(__name__)


class Dispatcher:
    """Answers calls by acting on a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def single(self, call: Call, asker: Asker) -> Answer:
        """Do one request."""
        return (await self._finished([call], [await self._do(call, asker, change := Change(asker.label))], change))[0]

    async def batch(self, batch: Batch, asker: Asker) -> list[Answer]:
        """Do a batch; answers end with the failure that halted it."""
        change = Change(asker.label)
        answers: list[Answer] = []
        if batch.execution == Execution.PARALLEL:
            answers = await asyncio.gather(*(self._do(call, asker, change) for call in batch.calls))
        else:
            for call in batch.calls:
                answers.append(await self._do(call, asker, change))
                if batch.halt_on_failure and answers[-1].status != Status.SUCCESS:
                    break
        return await self._finished(batch.calls[: len(answers)], answers, change)

    async def _do(self, call: Call, asker: Asker, change: Change) -> Answer:
        """Do one call; what it stages goes into change only if it succeeds."""
        before = dict(change.numbers)
        mine = Change(asker.label, numbers=dict(before))
        try:
            request = self._checked(call, asker)
            data = check_fields(request.takes, call.data, request.name)
            answer = Answer(data=await HANDLERS[request.name](self._desk, asker, data, mine))
            await self._desk.allow_own(mine, change)
        except RequestError as error:
            return Answer(error.status, comment=error.comment)
        except Exception:
            _log.exception("request %s failed", call.request_type)
            comment = f"{call.request_type} failed inside rtvc; its standard error says why"
            return Answer(Status.GENERIC_ERROR, comment=comment)
        staged = {name: number for name, number in mine.numbers.items() if before.get(name) != number}
        if staged or mine.own:
            change.numbers.update(staged)
            change.own = mine.own or change.own
            change.reason = mine.reason
            change.undoable = change.undoable and mine.undoable
        return answer

    def _checked(self, call: Call, asker: Asker) -> Request:
        """Return what is asked for if there is such a request and the asker may send it. Raises RequestError."""
        if call.error:
            raise call.error
        request = REQUESTS.get(call.request_type)
        if request is None:
            near = difflib.get_close_matches(call.request_type, REQUESTS, 3) or ["GetSchema, which lists them"]
            what = f"there is no request {shown(call.request_type)}; did you mean {', '.join(near)}?"
            raise RequestError(Status.UNKNOWN_REQUEST_TYPE, what)
        role = asker.identity.role
        if role < request.role:
            what = f"{request.name} needs the role {request.role.word}; {asker.identity.name} is {role.word}"
            raise RequestError(Status.ROLE_TOO_LOW, what)
        return request

    async def _finished(
        self, calls: tuple[Call, ...] | list[Call], answers: list[Answer], change: Change
    ) -> list[Answer]:
        """Commit the change and complete the answers."""
        sound = self._desk.sound
        if change.numbers or change.own:
            self._desk.committed(change)
        rev = sound.rev
        done = [answer.status == Status.SUCCESS for answer in answers]
        written = [ok and REQUESTS[call.request_type].writes for call, ok in zip(calls, done, strict=True)]
        sample = await self._desk.applied.sample_of(sound.engine_rev) if any(written) else None
        return [
            Answer(answer.status, _with_rev(answer.data, rev, write, sample)) if ok else answer
            for answer, ok, write in zip(answers, done, written, strict=True)
        ]


def _with_rev(data: Mapping[str, Any] | None, rev: int, write: bool, sample: int | None) -> dict[str, Any]:
    return {**(data or {}), "rev": rev, **({"applied_at": sample} if write else {})}
