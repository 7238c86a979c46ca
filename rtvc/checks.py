"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One finding: state is ok, warn (works, but worse than it could) or fail (does not work)."""

    what: str
    state: str
    found: str
    advice: str = ""
