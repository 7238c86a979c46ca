"""Consent records: who lets their voice be used, for what, until when, and how that was checked.

A record belongs to one speaker. A voice made of several speakers carries the records of all, and every one of them
must allow a use.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from .errors import ConsentError

USES = {
    "live": "speak as the voice in a live session",
    "files": "convert files into the voice",
    "blend": "mix the voice with others into a new one",
    "export": "hand the voice on as a file",
}
TEXT_MAX = 500


@dataclass(frozen=True)
class Consent:
    """One speaker's consent. Raises ConsentError if a field cannot stand.

    expires is the last day on which it holds. phrase is what was shown and read aloud, word_error (0..1) how much of it
    the recogniser did not hear, likeness (-1..1) the cosine of that recording to the speech the voice was made from,
    recording the SHA-256 of its samples in hex.
    """

    id: str
    speaker: str
    purpose: str
    uses: tuple[str, ...]
    given: date
    expires: date
    phrase: str
    word_error: float
    likeness: float
    recording: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{32}", self.id):
            raise ConsentError(f"consent id {self.id!r}: must be 32 hex digits")
        for name, text in (("speaker", self.speaker), ("purpose", self.purpose), ("phrase", self.phrase)):
            if not text.strip() or len(text) > TEXT_MAX or not text.isprintable():
                raise ConsentError(f"consent: {name} must be a line of 1 to {TEXT_MAX} characters")
        unknown = [use for use in self.uses if use not in USES]
        if unknown or not self.uses:
            raise ConsentError(f"consent: uses = {', '.join(unknown) or 'none'}: choose of {', '.join(USES)}")
        if self.expires < self.given:
            raise ConsentError(f"consent: expires on {self.expires}, before it was given on {self.given}")

    def check_use(self, use: str, today: date, revoked: Collection[str]) -> None:
        """Raise ConsentError naming the reason if `use` (one of USES) is outside this record on that day."""
        whose = f"the consent of {self.speaker}"
        if self.id in revoked:
            raise ConsentError(f"{whose} was revoked; ask for a new one")
        if today > self.expires:
            raise ConsentError(f"{whose} ended on {self.expires}; ask for a new one")
        if use not in self.uses:
            raise ConsentError(f"{whose} covers {', '.join(self.uses)}, and not {use}: {USES[use]}")
