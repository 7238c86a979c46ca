"""Cards: what a list shows of a voice, built-in or the user's own, and the search by words over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rtvc.engine.params import TIMBRES
from rtvc.engine.timbres import built_in_timbres

from .consent import USES
from .profile import Profile

LOW_HZ, HIGH_HZ = 145.0, 165.0  # median F0 below which a voice is called low, above which high


@dataclass(frozen=True)
class Card:
    """One voice. uses are those that its consents allow; refusal says why it cannot be used now, "" if it can."""

    name: str
    kind: str
    doc: str
    home_hz: float
    licence: str
    source: str
    uses: tuple[str, ...]
    refusal: str = ""

    @property
    def register(self) -> str:
        """Whether it is low, middle or high."""
        return "low" if self.home_hz < LOW_HZ else "high" if self.home_hz > HIGH_HZ else "middle"


def built_in_cards() -> list[Card]:
    """Return the cards of the voices that come with the program. Raises NetworkError if the weights cannot be read."""
    source = "synthetic, Kokoro-82M"
    return [
        Card(name, "built-in", "a neural voice", timbre.home_hz, "Apache-2.0", source, tuple(USES))
        for name, timbre in zip(TIMBRES, built_in_timbres(), strict=True)
    ]


def card_of(profile: Profile, refusal: str = "") -> Card:
    """Return the card of one of the user's voices."""
    uses = tuple(use for use in USES if all(use in consent.uses for consent in profile.consents))
    kind = "blend" if profile.lineage else "enrolled"
    return Card(profile.name, kind, profile.doc, profile.home_hz, profile.licence, profile.source, uses, refusal)


def search(cards: Iterable[Card], words: Iterable[str]) -> list[Card]:
    """Return the cards in which every word begins some word of name, kind, register, doc, licence, source or uses."""
    wanted = [word.lower() for word in words]
    return [card for card in cards if all(any(w.startswith(word) for w in _words(card)) for word in wanted)]


def _words(card: Card) -> list[str]:
    text = " ".join((card.kind, card.register, card.doc, card.licence, card.source, *card.uses))
    return [card.name, *text.lower().replace(",", " ").split(), *card.name.replace("_", "-").split("-")]
