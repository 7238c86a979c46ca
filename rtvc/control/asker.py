"""Who asks, and the shape of what answers: a handler of one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .auth import Identity
from .desk import Desk
from .sound import Change

Data = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Asker:
    """Who asks: identity, and the label under which changes are told."""

    identity: Identity
    label: str


Handler = Callable[[Desk, Asker, Data, Change], Awaitable[Answer]]
