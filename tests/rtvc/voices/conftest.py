"""Fixtures: cheap scrypt, a library, and a keyring in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import pytest

from rtvc.voices import exchange, keys
from rtvc.voices.library import Library, make_library

PASSPHRASE = "correct horse battery"


class KeyringInMemory(keyring.backend.KeyringBackend):
    """Keeps secrets until the test ends."""

    priority = 1.0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("none")


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make passphrases quick to stretch."""
    monkeypatch.setattr(keys, "SCRYPT_N", 2**10)
    monkeypatch.setattr(exchange, "SCRYPT_N", 2**10)


@pytest.fixture
def memory_keyring() -> Iterator[KeyringInMemory]:
    """Return the keyring that keys go to during the test."""
    before = keyring.get_keyring()
    backend = KeyringInMemory()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return an empty library."""
    return make_library(tmp_path / "voices", PASSPHRASE)
