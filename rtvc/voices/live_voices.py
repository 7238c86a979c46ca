"""The user's own voices beside a live session: opens the library, asks consents, keeps watch over who speaks.

A voice is taken for the use "live" by `take`, which asks its consents and notes it in the library's log. While one lies
in the slot, its consents are asked again every RECHECK_S, and within WATCH_S where something in the library's folder
changed. One that may no longer speak is withdrawn at once: the built-in voice nearest in pitch speaks instead, and the
slot is emptied. What cannot be asked counts as no.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from rtvc.engine.live import LiveSession
from rtvc.engine.own_voice import OwnVoice
from rtvc.engine.params import TIMBRES
from rtvc.engine.timbres import built_in_timbres

from .cards import Card, card_of
from .commands import PASSPHRASE
from .errors import VoiceError
from .library import Library, library_exists, library_folder, open_library

RECHECK_S = 20.0
WATCH_S = 1.0
UNLOCK = "your own voices are locked; unlock them with their passphrase: rtvc ctl unlock, or in the panel"


class LockedError(VoiceError):
    """The library needs a passphrase that nobody has given yet."""


@dataclass(frozen=True)
class Withdrawn:
    """A voice that may no longer speak, why, and who speaks instead."""

    name: str
    reason: str
    instead: str


@dataclass(frozen=True)
class Listed:
    """What a list of own voices shows. state: none, locked, open or failed; reason: why it is not open."""

    state: str
    reason: str
    cards: tuple[Card, ...] = ()
    faults: tuple[str, ...] = ()


class LiveVoices:
    """The user's own voices for one session; as a context manager it keeps watch.

    Its methods may wait for the disk; any thread may call them.
    """

    def __init__(self, session: LiveSession, library: Library | None = None) -> None:
        """Library is the user's if it is open already; else it is opened when it is first needed."""
        self.withdrawn: Callable[[Withdrawn], None] = lambda withdrawn: None  # told from the watch's thread
        self._session, self._library = session, library
        self._lock = threading.RLock()
        self._names: dict[str, str] = {}  # by id
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="own-voices", daemon=True)

    def __enter__(self) -> LiveVoices:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def unlock(self, passphrase: str) -> None:
        """Open the library with its passphrase. Raises VoiceError."""
        with self._lock:
            self._library = open_library(library_folder(), lambda: passphrase)

    def listed(self) -> Listed:
        """Return the cards of all own voices, or why there are none to show."""
        if not library_exists(library_folder()):
            return Listed("none", "")
        try:
            with self._lock:
                library = self._opened()
                profiles, faults = library.profiles()
        except LockedError as error:
            return Listed("locked", str(error))
        except VoiceError as error:
            return Listed("failed", str(error))
        self._names |= {profile.id: profile.name for profile in profiles}
        cards = [card_of(profile, library.refusal(profile, "live")) for profile in profiles]
        return Listed("open", "", tuple(cards), tuple(faults))

    def exist(self) -> bool:
        """Return whether the user has a library."""
        return library_exists(library_folder())

    def take(self, name: str, use: str = "live") -> OwnVoice:
        """Return the voice of that name or id, for one use. Raises VoiceError, ConsentError."""
        with self._lock:
            profile = self._opened().use(name, use)
        self._names[profile.id] = profile.name
        return profile.spoken

    def name_of(self, own: OwnVoice | None) -> str | None:
        """Return the name of an own voice that was listed or taken, None if there is none."""
        return self._names.get(own.id) if own else None

    def id_of(self, name: str) -> str | None:
        """Return the id of an own voice that was listed or taken, None if none is known by that name."""
        return next((own_id for own_id, known in self._names.items() if known == name), None)

    def has_changed(self) -> bool:
        """Return whether something in the library's folder changed since the last call."""
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def check(self) -> Withdrawn | None:
        """Withdraw the voice in the slot if it may no longer speak; return what was withdrawn."""
        own = self._session.own
        if own is None:
            return None
        with self._lock:
            try:
                reason = self._opened().refusal_of(own.id, "live")
            except VoiceError as error:
                reason = str(error)
            if not reason or self._session.own is not own:
                return None
            withdrawn = Withdrawn(self.name_of(own) or "", reason, nearest(own))
            self._session.withdraw_own(withdrawn.instead)
        self.withdrawn(withdrawn)
        return withdrawn

    def _opened(self) -> Library:
        """Return the library, opened without asking anybody: by the keyring, or a passphrase in the environment."""
        if self._library is None:
            self._library = open_library(library_folder(), _passphrase)
        return self._library

    def _watch(self) -> None:
        seen, waited_s = _folder_changed_ns(), 0.0
        while not self._closing.wait(WATCH_S):
            waited_s += WATCH_S
            before, seen = seen, _folder_changed_ns()
            if seen != before:
                self._changed.set()
            if seen != before or waited_s >= RECHECK_S:
                waited_s = 0.0
                self.check()


def nearest(own: OwnVoice) -> str:
    """Return the built-in voice whose home pitch is nearest to that of an own one."""
    away = [abs(math.log(timbre.home_hz / own.timbre.home_hz)) for timbre in built_in_timbres()]
    return TIMBRES[away.index(min(away))]


def _folder_changed_ns() -> int:
    """Return when a record was last written or erased, 0 if there is no library."""
    try:
        return os.stat(library_folder()).st_mtime_ns
    except OSError:
        return 0


def _passphrase() -> str:
    given = os.environ.get(PASSPHRASE)
    if given is None:
        raise LockedError(UNLOCK)
    return given
