"""A folder of sealed records, its owner's only. Names tell nothing: they are random, or the same in every library.

One process changes it at a time (`exclusive`); readers need no lock, for each record changes in one step.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rtvc.file_lock import try_lock

from .durable import erase_file, sweep, write_file
from .errors import VoiceError
from .keys import LibraryKey
from .sealing import seal, unseal

RECORD_BYTES_MAX = 1024 * 1024
LOCK_WAIT_S = 10.0


class Store:
    """The records in one folder. Raises VoiceError if others can look into it."""

    def __init__(self, folder: Path, key: LibraryKey) -> None:
        self.folder = folder
        self._key = key
        check_private(folder)

    def names(self, suffix: str) -> list[str]:
        """Return the names of the records that end so."""
        return sorted(path.name for path in self.folder.glob(f"*{suffix}"))

    def read(self, name: str) -> bytes | None:
        """Return what the record holds, None if there is none. Raises VoiceError if it cannot be trusted."""
        path = self.folder / name
        try:
            with path.open("rb") as file:
                sealed = file.read(RECORD_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VoiceError(f"{path}: cannot be read: {error.strerror}") from None
        if len(sealed) > RECORD_BYTES_MAX:
            raise VoiceError(f"{path}: is larger than {RECORD_BYTES_MAX} bytes; not what rtvc wrote there")
        try:
            return unseal(self._key.secret, sealed, self._place(name))
        except VoiceError as error:
            raise VoiceError(f"{path}: {error}") from None

    def write(self, name: str, text: bytes) -> None:
        """Make the record hold text; after a power cut it holds the old or the new. Raises VoiceError."""
        write_file(self.folder / name, seal(self._key.secret, text, self._place(name)))

    def erase(self, name: str) -> None:
        """Erase the record. Raises VoiceError."""
        erase_file(self.folder / name)

    def derived_key(self, what: str) -> bytes:
        """Return another key (32 bytes) that only this library's can make."""
        return hmac.digest(self._key.secret, what.encode(), "sha256")

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder alone. Raises VoiceError if another process does so for more than LOCK_WAIT_S."""
        handle = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            deadline = time.monotonic() + LOCK_WAIT_S
            while not try_lock(handle):
                if time.monotonic() > deadline:
                    raise VoiceError(
                        f"{self.folder}: another rtvc is changing it, for {LOCK_WAIT_S:g} s now; try later"
                    )
                time.sleep(0.05)
            sweep(self.folder)
            yield
        finally:
            os.close(handle)

    def _place(self, name: str) -> str:
        return f"{self._key.library}/{name}"


def check_private(folder: Path) -> None:
    """Make folder if it is missing, its owner's only. Raises VoiceError if others can look into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = folder.stat().st_mode & 0o077
    except OSError as error:
        raise VoiceError(f"{folder}: cannot be used: {error.strerror}") from None
    if os.name == "posix" and others:
        raise VoiceError(f"{folder}: others can look into it; make it yours only: chmod 700")
