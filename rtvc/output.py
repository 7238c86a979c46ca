"""How commands print results and warnings."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence


def print_json(value: object) -> None:
    """Print value as one line of JSON; paths become text, NaN and infinities null."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str | None) else str(value)


def warn(messages: Sequence[str]) -> None:
    """Print messages to standard error, each with the program's name."""
    for message in messages:
        print(f"rtvc: {message}", file=sys.stderr)
