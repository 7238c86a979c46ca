"""The user's own voices: kept sealed, used within their consent, erased for good.

    library.json     where the key is (see `keys`)
    ID.voice         a profile, sealed; ID is random
    ID.fit           what an interrupted adaptation had reached, sealed
    revoked          ids of consents that were taken back, sealed; they stay when the voice is erased: no copy returns
    signer           the key that signs exported voices, sealed
    audit.jsonl      what was done (see `audit_chain`), audit.head its sealed end

There is no cache and no index: a voice is in its one file and nowhere else. Every change is one record's one step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import platformdirs

from .audit_chain import HEAD, LOG, AuditChain
from .consent import Consent
from .durable import erase_file, sweep
from .errors import ConsentError, VoiceError
from .keys import LibraryKey, forget_key, key_path, make_key, open_key
from .profile import Profile, check_voice_name, pack, unpack
from .store import Store, check_private

SUFFIX, FIT_SUFFIX = ".voice", ".fit"
REVOKED, SIGNER = "revoked", "signer"


def library_folder() -> Path:
    """Return where the user's voices are; it need not exist."""
    return Path(platformdirs.user_data_path("rtvc", appauthor=False)) / "voices"


def library_exists(folder: Path) -> bool:
    """Return whether there is a library in folder."""
    return key_path(folder).exists()


def make_library(folder: Path, passphrase: str | None) -> Library:
    """Make an empty library, its key in the keyring if passphrase is None. Raises VoiceError."""
    check_private(folder)
    if library_exists(folder):
        raise VoiceError(f"{folder}: holds a library already")
    if any(folder.glob(f"*{SUFFIX}")):
        gone = f"holds voices whose {key_path(folder).name} is gone"
        raise VoiceError(f"{folder}: {gone}; restore it from a backup, or: rtvc voices erase --all")
    return Library(folder, make_key(folder, passphrase))


def open_library(folder: Path, ask: Callable[[], str]) -> Library:
    """Open the library in folder; ask() gives the passphrase if it needs one. Raises VoiceError."""
    if not library_exists(folder):
        raise VoiceError("you have no voices of your own yet; make one: rtvc voices enrol NAME FILES, or blend")
    check_private(folder)
    return Library(folder, open_key(folder, ask))


def erase_library(folder: Path) -> int:
    """Erase everything in folder: voices, log, signing key and the library's own key; return how many files went.

    It needs no key. Raises VoiceError if a file or the keyring's entry cannot be erased.
    """
    sweep(folder)
    forget_key(folder)  # from here on nothing of the rest can be opened by anybody
    there = sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{FIT_SUFFIX}")])
    there += [path for name in (REVOKED, SIGNER, HEAD, LOG) if (path := folder / name).exists()]
    for path in there:
        erase_file(path)
    with contextlib.suppress(OSError):
        (folder / ".lock").unlink()
        folder.rmdir()
    return len(there)


class Library:
    """An opened library. Methods raise VoiceError, ConsentError for what consent does not cover."""

    def __init__(self, folder: Path, key: LibraryKey) -> None:
        self.folder = folder
        self.store = Store(folder, key)
        self.audit = AuditChain(self.store)

    def profiles(self) -> tuple[list[Profile], list[str]]:
        """Return all voices by name, and a message for each file that cannot be used."""
        found, faults = [], []
        for file in self.store.names(SUFFIX):
            try:
                found.append(self._read(file))
            except VoiceError as error:
                faults.append(str(error))
        return sorted(found, key=lambda profile: profile.name), faults

    def find(self, name: str) -> Profile:
        """Return the voice of that name, or of that id; using it is `use`."""
        profiles, faults = self.profiles()
        by_id = [profile for profile in profiles if profile.id == name]
        for profile in (*by_id, *(profile for profile in profiles if profile.name == name)):
            return profile
        names = [profile.name for profile in profiles]
        near = difflib.get_close_matches(name, names, 3) or names[:5]
        hint = f"; there are {', '.join(near)}" if near else ""
        raise VoiceError("; ".join([f"you have no voice {name!r}{hint}", *faults]))

    def save(self, profile: Profile, replace: bool = False) -> None:
        """Keep a voice; replace one of the same id and name if told to."""
        with self.store.exclusive():
            same_name = next((other for other in self.profiles()[0] if other.name == profile.name), None)
            same_id = self.store.read(profile.id + SUFFIX) is not None
            if same_id and not replace:
                raise VoiceError(f"this voice (id {profile.id}) is in the library already; erase it first")
            if same_name is not None and same_name.id != profile.id:
                raise VoiceError(f"voice {profile.name!r} exists; erase it first, or use another name")
            self._check(profile, None)
            self.audit.append("saved", profile.id)
            self.store.write(profile.id + SUFFIX, pack(profile))

    def rename(self, name: str, new_name: str) -> Profile:
        """Give a voice another name; return it."""
        profile = dataclasses.replace(self.find(name), name=check_voice_name(new_name))
        self.save(profile, replace=True)
        return profile

    def use(self, name: str, use: str) -> Profile:
        """Return the voice of that name or id for one use (one of consent.USES), noted in the log.

        Raises ConsentError if a consent it rests on does not cover that, has ended or was revoked.
        """
        profile = self.find(name)
        with self.store.exclusive():
            try:
                self._check(profile, use)
            except ConsentError:
                self.audit.append("refused", profile.id, {"use": use})
                raise
            self.audit.append("used", profile.id, {"use": use})
        return profile

    def refusal(self, profile: Profile, use: str | None = None) -> str:
        """Return why a voice cannot be used so (one of consent.USES; None: at all) now, "" if it can."""
        try:
            self._check(profile, use)
        except ConsentError as error:
            return str(error)
        return ""

    def refusal_of(self, voice_id: str, use: str) -> str:
        """Return why the voice of that id cannot be used so any more, "" if it can. Raises VoiceError if unreadable."""
        file = voice_id + SUFFIX
        if self.store.read(file) is None:
            return "the voice was erased"
        return self.refusal(self._read(file), use)

    def derived_from(self, profile: Profile) -> list[Profile]:
        """Return what was made of a voice, however far back: by lineage, and by consents where a step is missing."""
        consents = {consent.id for consent in profile.consents}
        others, blends, newest = [other for other in self.profiles()[0] if other.lineage], [], {profile.id}
        if not profile.lineage:
            newest |= {other.id for other in others if consents & {consent.id for consent in other.consents}}
            blends += [other for other in others if other.id in newest]
        while newest:
            others = [other for other in others if other.id not in newest]
            found = [other for other in others if newest & {part.id for part in other.lineage}]
            blends += found
            newest = {other.id for other in found}
        return blends

    def revoke(self, name: str) -> list[Profile]:
        """Take back the consents of a voice for good; return the blends that can no longer be used either."""
        profile = self.find(name)
        if self._rests_on_others(profile):
            parts = ", ".join(part.name for part in profile.lineage)
            raise VoiceError(
                f"voice {name!r} has no consent of its own; it is a blend of {parts}: revoke there, or erase"
            )
        with self.store.exclusive():
            self.audit.append("revoked", profile.id)
            self._revoke(profile.consents)
        return self.derived_from(profile)

    def erase(self, name: str, derived: bool = False) -> list[Profile]:
        """Erase a voice, and take back its consents; return its blends, erased too if derived is true."""
        profile = self.find(name)
        blends = self.derived_from(profile)
        with self.store.exclusive():
            self.audit.append("erased", profile.id)
            self._revoke(() if self._rests_on_others(profile) else profile.consents)
            for gone in (*(blends if derived else ()), profile):
                if gone is not profile:
                    self.audit.append("erased", gone.id)
                for suffix in (FIT_SUFFIX, SUFFIX):
                    self.store.erase(gone.id + suffix)
        return blends

    def keep_fit(self, voice_id: str, data: bytes) -> None:
        """Keep what a fit to the voice of that id has reached. Raises VoiceError if the voice was erased."""
        with self.store.exclusive():
            if self.store.read(voice_id + SUFFIX) is None:
                raise VoiceError("the voice was erased meanwhile; nothing is kept of the adaptation")
            self.store.write(voice_id + FIT_SUFFIX, data)

    def end_fit(self, voice_id: str, adapted: Callable[[Profile], Profile] | None) -> None:
        """Forget what a fit had reached, and put adapted(the voice as it is now) in the voice's place if there is one.

        Raises VoiceError if the voice was erased, ConsentError if a consent ended.
        """
        with self.store.exclusive():
            self.store.erase(voice_id + FIT_SUFFIX)
            if adapted is None:
                return
            if self.store.read(voice_id + SUFFIX) is None:
                raise VoiceError("the voice was erased meanwhile; nothing is kept of the adaptation")
            profile = adapted(self._read(voice_id + SUFFIX))
            self._check(profile, None)
            self.audit.append("saved", profile.id)
            self.store.write(voice_id + SUFFIX, pack(profile))

    def _rests_on_others(self, profile: Profile) -> bool:
        """Return whether a voice was made of others whose consents can be taken back here."""
        there = {name.removesuffix(SUFFIX) for name in self.store.names(SUFFIX)}
        return bool(profile.lineage) and (profile.synthetic or bool(there & {part.id for part in profile.lineage}))

    def revoked(self) -> frozenset[str]:
        """Return the ids of the consents that were taken back."""
        data = self.store.read(REVOKED)
        return frozenset(json.loads(data)) if data is not None else frozenset()

    def _check(self, profile: Profile, use: str | None) -> None:
        """Raise ConsentError if the use is not covered; None asks only for a consent that holds."""
        revoked = self.revoked() if profile.consents else ()
        for consent in profile.consents:
            consent.check_use(use or consent.uses[0], today(), revoked)

    def _revoke(self, consents: tuple[Consent, ...]) -> None:
        ids = self.revoked() | {consent.id for consent in consents}
        if consents:
            self.store.write(REVOKED, json.dumps(sorted(ids)).encode())

    def _read(self, file: str) -> Profile:
        data = self.store.read(file)
        if data is None:
            raise VoiceError(f"{self.folder / file}: went while it was being read")
        try:
            profile = unpack(data)
        except VoiceError as error:
            raise VoiceError(f"{self.folder / file}: {error}") from None
        if profile.id + SUFFIX != file:
            raise VoiceError(f"{self.folder / file}: another record was put in its place")
        return profile


def today() -> date:
    """Return today's date in UTC, by which consents end."""
    return datetime.now(UTC).date()
