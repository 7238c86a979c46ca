"""A voice of the user's own: what the engine needs to speak as it, where it comes from, and whose consent it rests on.

On disk and in exported files a profile is one msgpack map with the number of its format. Older formats are brought up
step by step by MIGRATIONS; a newer one is refused.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from rtvc.engine.own_voice import OwnVoice
from rtvc.engine.params import MINE, PARAMS, TIMBRES
from rtvc.engine.tempo import check_tempo
from rtvc.engine.timbres import Timbre

from .consent import Consent
from .errors import VoiceError

FORMAT = 3
TIMBRE_UNITS = 128
EMBEDDING_UNITS = 256
FILM_UNITS = 4608
FILM_MAX = 8.0  # what was fitted to voices stays below 1
SHAPING = frozenset(
    (
        *("pitch.semitones", "pitch.intonation", "formant.ratio", "tone.brightness_db"),
        *("breath.amount", "level.energy"),
    )
)  # parameters that belong to a voice
TIMBRE_MAX = 32.0  # built-in voices stay below 2.2
HOME_HZ = (40.0, 1000.0)
TEXT_MAX = 500
PARTS_MAX = 16

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda fields: fields | {"personal": b"", "embedding": b"", "sound": {}},
    2: lambda fields: fields | {"tempo": 1.0},
}  # from format N to N + 1

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Part:
    """One voice that a blend was made of, and its share (0..1). id is "" for a voice that comes with the program."""

    name: str
    share: float
    id: str = ""


@dataclass(frozen=True, eq=False)
class Profile:
    """One voice. Raises VoiceError if a field cannot stand.

    id: 32 random hex digits, the same in every copy. timbre: float32[128], a point in the decoder's timbre space.
    personal: float32[4608], what was fitted to the voice beyond that (`rtvc.engine.timbres`), or None. embedding:
    float32[256] of length 1, what the speaker encoder hears in its speech, or None where it has none of its own.
    home_hz: the median F0 of its speech. statistics: named figures of its speech (F0 range, tempo, loudness), units in
    the names. sound: values of the registry that it is said with, as numbers. tempo: how much faster than its source it
    speaks, in files. lineage: what it was made of, empty for a voice enrolled from speech. made: the day it was made.
    """

    id: str
    name: str
    timbre: NDArray[np.float32]
    home_hz: float
    made: date
    statistics: Mapping[str, float] = field(default_factory=dict)
    lineage: tuple[Part, ...] = ()
    consents: tuple[Consent, ...] = ()
    personal: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    sound: Mapping[str, float] = field(default_factory=dict)
    tempo: float = 1.0
    doc: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        check_voice_name(self.name)
        if not re.fullmatch(r"[0-9a-f]{32}", self.id):
            raise VoiceError(f"voice {self.name}: id {self.id!r} must be 32 hex digits")
        if self.timbre.shape != (TIMBRE_UNITS,) or self.timbre.dtype != np.float32:
            shape = f"{self.timbre.dtype}{list(self.timbre.shape)}"
            raise VoiceError(f"voice {self.name}: its timbre is {shape}; it must be float32[{TIMBRE_UNITS}]")
        if not np.all(np.abs(self.timbre) <= TIMBRE_MAX):  # false for NaN too
            raise VoiceError(f"voice {self.name}: its timbre holds values outside -{TIMBRE_MAX:g}..{TIMBRE_MAX:g}")
        for name, value, units, most in (
            ("personal", self.personal, FILM_UNITS, FILM_MAX), ("embedding", self.embedding, EMBEDDING_UNITS, 1.01),
        ):  # fmt: skip
            if value is not None and not (value.shape == (units,) and np.all(np.abs(value) <= most)):
                raise VoiceError(f"voice {self.name}: {name} must be float32[{units}] within -{most:g}..{most:g}")
        low, high = HOME_HZ
        if not low <= self.home_hz <= high:
            raise VoiceError(f"voice {self.name}: home_hz = {self.home_hz:g}: must lie in {low:g}..{high:g}")
        for name, number in self.sound.items():
            if name not in SHAPING or not PARAMS[name].minimum <= number <= PARAMS[name].maximum:
                raise VoiceError(f"voice {self.name}: it is said with {name} = {number:g}, which no voice can be")
        try:
            check_tempo(self.tempo)
        except ValueError as error:
            raise VoiceError(f"voice {self.name}: {error}") from None
        if not all(math.isfinite(value) for value in self.statistics.values()):
            raise VoiceError(f"voice {self.name}: its statistics hold a value that is no number")
        for text in (self.doc, self.licence, self.source):
            if len(text) > TEXT_MAX or not text.isprintable():
                raise VoiceError(f"voice {self.name}: doc, licence and source are lines of at most {TEXT_MAX} letters")
        if len(self.lineage) > PARTS_MAX or not all(0.0 < part.share <= 1.0 for part in self.lineage):
            raise VoiceError(f"voice {self.name}: a blend has at most {PARTS_MAX} parts, each with a share above 0")
        if self.synthetic and (self.consents or self.personal is not None or self.embedding is not None):
            raise VoiceError(
                f"voice {self.name}: it says that it is nobody's, and holds what only a person's voice has"
            )
        if not self.consents and not self.synthetic:
            raise VoiceError(f"voice {self.name}: it is of a person and has no consent record; it cannot be kept")

    @property
    def spoken(self) -> OwnVoice:
        """What a live session or a conversion takes."""
        return OwnVoice(self.id, timbre_of(self), not self.synthetic, self.sound, self.tempo)

    @property
    def synthetic(self) -> bool:
        """Whether it is made only of voices that come with the program, which are nobody's."""
        return bool(self.lineage) and all(part.id == "" and part.name in TIMBRES for part in self.lineage)


def new_id() -> str:
    """Return an id that nothing else bears."""
    return secrets.token_hex(16)


def check_voice_name(name: str) -> str:
    """Return name if a voice of the user's can bear it. Raises VoiceError."""
    if not _NAME.fullmatch(name):
        allowed = "a-z, 0-9, - and _, up to 40 characters, beginning with a letter or digit"
        raise VoiceError(f"{name!r} cannot name a voice; use {allowed}")
    if name in TIMBRES or name in ("dsp", "own", "silence", "neural", MINE):
        raise VoiceError(f"voice {name!r} comes with the program; choose another name")
    return name


def timbre_of(profile: Profile) -> Timbre:
    """Return the voice as the engine takes it."""
    return Timbre(profile.timbre, profile.home_hz, profile.personal)


def pack(profile: Profile) -> bytes:
    """Return profile as bytes in the present format."""
    fields = {name: getattr(profile, name) for name in ("id", "name", "home_hz", "tempo", "doc", "licence", "source")}
    fields |= {"format": FORMAT, "made": profile.made.isoformat(), "statistics": dict(profile.statistics)}
    fields["sound"] = dict(profile.sound)
    for name in ("timbre", "personal", "embedding"):
        vector = getattr(profile, name)
        fields[name] = b"" if vector is None else vector.astype("<f4").tobytes()
    fields["lineage"] = [asdict(part) for part in profile.lineage]
    fields["consents"] = [
        asdict(consent) | {"given": consent.given.isoformat(), "expires": consent.expires.isoformat()}
        for consent in profile.consents
    ]
    return bytes(msgpack.packb(fields))


def unpack(data: bytes, name: str | None = None) -> Profile:
    """Return the profile that data (of any format up to ours) holds, renamed if a name is given. Raises VoiceError."""
    try:
        fields = msgpack.unpackb(data)
        number = fields.pop("format")
        if not 0 < number <= FORMAT:
            raise VoiceError(f"the voice has format {number}, this rtvc knows 1 to {FORMAT}; update rtvc")
        for step in range(number, FORMAT):
            fields = MIGRATIONS[step](fields)
        fields["timbre"] = np.frombuffer(fields["timbre"], "<f4").astype(np.float32)
        for vector in ("personal", "embedding"):
            fields[vector] = np.frombuffer(fields[vector], "<f4").astype(np.float32) if fields[vector] else None
        fields["made"] = date.fromisoformat(fields["made"])
        fields["statistics"] = {str(name): float(value) for name, value in fields["statistics"].items()}
        fields["sound"] = {str(name): float(value) for name, value in fields["sound"].items()}
        fields["lineage"] = tuple(Part(**part) for part in fields["lineage"])
        fields["consents"] = tuple(_consent(record) for record in fields["consents"])
        return Profile(**fields | ({} if name is None else {"name": name}))
    except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise VoiceError(f"not a voice's profile ({type(error).__name__})") from None


def _consent(record: dict[str, Any]) -> Consent:
    given, expires = date.fromisoformat(record["given"]), date.fromisoformat(record["expires"])
    return Consent(**record | {"given": given, "expires": expires, "uses": tuple(record["uses"])})
