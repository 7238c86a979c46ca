"""The sound as clients change it: one vector of parameters, its revision, undo, and what panic lays over it.

Changes are collected in a `Change` (one request's, or a whole batch's) and committed as one revision, so the engine
takes them over at one block. Panic is no parameter value: it lays mute over the vector until it is taken back, so
no preset, undo or batch can lift it. Mute is not undone either: nobody is made to speak by an undo.
"""

from __future__ import annotations

import difflib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtvc.engine.own_voice import OwnVoice
from rtvc.engine.params import INDEX, PARAMS, Param, Value, find, from_vector
from rtvc.engine.suppressor import suppression_missing

from .fields import shown
from .wire import RequestError, Status

UNDO_STEPS = 50
SAME_STEP_S = 1.0  # writes of one client to the same parameters within this time are one step of undo
MUTE = "level.mute"

Vector = NDArray[np.float64]


@dataclass
class Change:
    """Numbers to be set by parameter id, the voice of the user's own to be put into the slot, who sets them and how."""

    by: str
    reason: str = "set"
    numbers: dict[str, float] = field(default_factory=dict)
    undoable: bool = True
    own: OwnVoice | None = None


@dataclass
class _Step:
    """What one change did, so that it can be undone: old and new numbers by id, the own voices' ids ("": none)."""

    before: dict[str, float]
    after: dict[str, float]
    by: str
    time_s: float
    own_before: str
    own_after: str


class Sound:
    """The parameters of one session, seen from the control process. Not thread-safe: one event loop owns it."""

    def __init__(
        self,
        values: Vector,
        publish: Callable[[Vector], int],
        bypass_allowed: bool,
        own: OwnVoice | None = None,
        put_own: Callable[[OwnVoice | None], None] = lambda own: None,
    ) -> None:
        """Values is float64[len(PARAMS)]; publish sends such a vector to the engine and returns the engine's revision.

        bypass_allowed says whether clients may let the speaker's voice through. own is the voice of the user's own that
        lies in the session's slot, put_own puts another one there.
        """
        self.own = own
        self._put_own = put_own
        self.rev = 1
        self.engine_rev = 0
        self.panic = False
        self.bypass_allowed = bypass_allowed
        self._values = values.copy()
        self._publish = publish
        self._done: deque[_Step] = deque(maxlen=UNDO_STEPS)
        self._undone: list[_Step] = []

    def number(self, param_id: str, change: Change | None = None) -> float:
        """Return a parameter's number, as it will be after change."""
        if change and param_id in change.numbers:
            return change.numbers[param_id]
        return float(self._values[INDEX[param_id]])

    def value(self, param_id: str, change: Change | None = None) -> Value:
        """Return a parameter's value as a person writes it, as it will be after change."""
        return PARAMS[param_id].from_number(self.number(param_id, change))

    def values(self) -> dict[str, Value]:
        """Return all values by id."""
        return {param.id: value for param, value in from_vector(self._values)}

    def vector(self, change: Change | None = None) -> Vector:
        """Return a copy of the parameters, as they will be after change, without panic: float64[len(PARAMS)]."""
        vector = self._values.copy()
        for param_id, number in (change.numbers if change else {}).items():
            vector[INDEX[param_id]] = number
        return vector

    def stage(self, change: Change, param_id: str, number: float) -> None:
        """Put one number into change.

        Raises RequestError if it would let the own voice through and must not, or if it cannot be done here.
        """
        if not self.bypass_allowed and param_id == "voice.name" and PARAMS[param_id].from_number(number) == "own":
            raise RequestError(
                Status.CANNOT_ACT, "voice.name = 'own': letting the own voice through is off; set control.bypass = true"
            )
        if param_id == "suppress.on" and number and (why := suppression_missing()):
            raise RequestError(Status.CANNOT_ACT, why)
        change.numbers[param_id] = number

    def commit(self, change: Change) -> dict[str, Value]:
        """Make change one revision of the sound; return what is different now, by id."""
        after = {name: number for name, number in change.numbers.items() if number != self._values[INDEX[name]]}
        before = {name: float(self._values[INDEX[name]]) for name in after}
        own = self.own
        if change.own:
            self.set_own(change.own)
        for name, number in after.items():
            self._values[INDEX[name]] = number
        if after or self.own is not own:
            self.publish()
            if change.undoable:
                self.remember(before, after, change.by, own)
        return {name: PARAMS[name].from_number(number) for name, number in after.items()}

    def set_own(self, own: OwnVoice | None) -> None:
        """Put another voice of the user's own into the slot, or empty it."""
        self.own = own
        self._put_own(own)

    def remember(
        self, before: Mapping[str, float], after: Mapping[str, float], by: str, own: OwnVoice | None = None
    ) -> None:
        """Add a step of undo that leads from before to after (numbers by id); own was in the slot before."""
        old, new = ({name: n for name, n in numbers.items() if name != MUTE} for numbers in (before, after))
        other_own = own is not None and self.own is not None and own.id != self.own.id
        if not old and not other_own:
            return
        now_s = time.monotonic()
        self._undone.clear()
        last = self._done[-1] if self._done else None
        same = last and last.by == by and last.before.keys() == old.keys() and not other_own
        if same and last and now_s - last.time_s < SAME_STEP_S:
            last.after, last.time_s = new, now_s
        else:
            ids = (own.id, self.own.id) if own and self.own and other_own else ("", "")
            self._done.append(_Step(old, new, by, now_s, *ids))

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step that was taken back."""
        return bool(self._undone)

    def undo(self, change: Change) -> str:
        """Put what takes the last step back into change; return the id of the own voice that belongs to it, or "".

        Raises RequestError if there is none.
        """
        if not self._done:
            raise RequestError(Status.CANNOT_ACT, "there is nothing to undo")
        step = self._done.pop()
        self._undone.append(step)
        change.numbers.update(step.before)
        return step.own_before

    def redo(self, change: Change) -> str:
        """Put what makes the last undone step again into change; return the id of an own voice as `undo` does.

        Raises RequestError if there is none.
        """
        if not self._undone:
            raise RequestError(Status.CANNOT_ACT, "there is nothing to redo")
        step = self._undone.pop()
        self._done.append(step)
        change.numbers.update(step.after)
        return step.own_after

    def set_panic(self, on: bool) -> None:
        """Lay silence over the sound, or take it away."""
        self.panic = on
        self.publish()

    def publish(self) -> None:
        """Send the sound to the engine as a new revision."""
        vector = self._values.copy()
        if self.panic:
            vector[INDEX[MUTE]] = 1.0
        self.rev += 1
        self.engine_rev = self._publish(vector)


def find_param(param_id: str) -> Param:
    """Return the parameter of that id. Raises RequestError naming the nearest ones."""
    try:
        return find(param_id)
    except KeyError:
        near = difflib.get_close_matches(param_id, PARAMS, 3, 0.4) or list(PARAMS)
        comment = f"id = {shown(param_id)}: there is no such parameter; did you mean {', '.join(near)}?"
        raise RequestError(Status.RESOURCE_NOT_FOUND, comment) from None


def check_number(param: Param, value: object) -> float:
    """Return value as the engine's number. Raises RequestError naming the parameter, the value and what is allowed."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if param.choices:
        fits, needs = isinstance(value, str), f"text, one of {', '.join(param.choices)}"
    elif param.switch:
        fits, needs = isinstance(value, bool) or plain, "true or false"
    else:
        fits, needs = plain, "a number"
    if not fits:
        raise RequestError(Status.INVALID_REQUEST_FIELD_TYPE, f"{param.id} = {shown(value)}: must be {needs}")
    try:
        return param.to_number(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise RequestError(Status.REQUEST_FIELD_OUT_OF_RANGE, str(error)) from None
