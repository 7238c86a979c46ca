"""The library's key: 32 random bytes, in the system's keyring or locked with a passphrase.

`library.json` beside the voices says which. Of a key in the keyring it holds only the random name under which it lies
there; of one with a passphrase the key itself, sealed under scrypt (RFC 7914) of the passphrase, with the salt.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .durable import erase_file, write_file
from .errors import VoiceError, missing_extra
from .sealing import KEY_BYTES, seal, unseal

SERVICE = "rtvc voices"
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1  # 128 MiB, about half a second
PASSPHRASE_MIN = 8
_FILE_BYTES_MAX = 65536


@dataclass(frozen=True)
class LibraryKey:
    """An opened key. method is "keyring" or "passphrase"; library is the random name of what it opens."""

    secret: bytes
    library: str
    method: str


def key_path(folder: Path) -> Path:
    """Return the file that says where the key of the library in folder is; it need not exist."""
    return folder / "library.json"


def make_key(folder: Path, passphrase: str | None) -> LibraryKey:
    """Make the key of a new library in folder: in the keyring if passphrase is None.

    Raises VoiceError if there is no keyring that keeps secrets, or the passphrase is too short.
    """
    key = LibraryKey(os.urandom(KEY_BYTES), secrets.token_hex(16), "keyring" if passphrase is None else "passphrase")
    content: dict[str, Any] = {"format": 1, "library": key.library, "method": key.method}
    if passphrase is None:
        keyring = _keyring()
        try:
            keyring.set_password(SERVICE, key.library, base64.b64encode(key.secret).decode())
        except keyring.errors.KeyringError as error:
            raise VoiceError(f"the keyring did not take the key ({error}); {_INSTEAD}") from None
        content["sealed"] = seal(key.secret, b"", key.library).hex()
    else:
        salt = os.urandom(16)
        content["salt"], content["n"] = salt.hex(), SCRYPT_N
        content["sealed"] = seal(stretch(passphrase, salt, SCRYPT_N), key.secret, key.library).hex()
    write_file(key_path(folder), json.dumps(content, indent=2).encode() + b"\n")
    return key


def open_key(folder: Path, ask: Callable[[], str]) -> LibraryKey:
    """Return the key of the library in folder; ask() gives the passphrase if it has one. Raises VoiceError."""
    path, content = key_path(folder), _read(key_path(folder))
    library, sealed = content["library"], bytes.fromhex(content["sealed"])
    if content["method"] == "keyring":
        secret = _from_keyring(path, library)
        try:
            unseal(secret, sealed, library)
        except VoiceError:
            raise VoiceError(f"{path}: the key in the keyring is not this library's") from None
    else:
        stretched = stretch(ask(), bytes.fromhex(content["salt"]), content["n"])
        try:
            secret = unseal(stretched, sealed, library)
        except VoiceError:
            raise VoiceError(f"{path}: the passphrase is wrong") from None
    return LibraryKey(secret, library, content["method"])


def forget_key(folder: Path) -> None:
    """Destroy the key: whatever is left of what it sealed can never be opened again. Raises VoiceError."""
    path = key_path(folder)
    if not path.exists():
        return
    content = _read(path)
    if content["method"] == "keyring":
        keyring = _keyring()
        try:
            keyring.delete_password(SERVICE, content["library"])
        except keyring.errors.PasswordDeleteError:
            pass  # it is gone already
        except keyring.errors.KeyringError as error:
            raise VoiceError(f"the keyring did not give up the key ({error})") from None
    erase_file(path)


def _read(path: Path) -> dict[str, Any]:
    """Return what library.json holds. Raises VoiceError if it is not what `make_key` writes."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_FILE_BYTES_MAX))
        if content["format"] != 1 or content["method"] not in ("keyring", "passphrase"):
            raise ValueError
        if content["method"] == "passphrase" and content["n"] not in [2**i for i in range(10, 21)]:
            raise ValueError
        bytes.fromhex(content["library"] + content["sealed"] + content.get("salt", ""))
    except OSError as error:
        raise VoiceError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise VoiceError(f"{path}: not what rtvc wrote there; put it back from a backup, the voices need it") from None
    return dict(content)


def check_passphrase(passphrase: str) -> str:
    """Return the passphrase if it can be one. Raises VoiceError if it is too short."""
    if len(passphrase) < PASSPHRASE_MIN:
        raise VoiceError(f"a passphrase has at least {PASSPHRASE_MIN} characters; this one has {len(passphrase)}")
    return passphrase


def stretch(passphrase: str, salt: bytes, n: int) -> bytes:
    """Return the 32 bytes that scrypt makes of passphrase and salt. Raises VoiceError if it is too short."""
    check_passphrase(passphrase)
    try:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise missing_extra(error) from None
    return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase.encode())


def has_keyring() -> bool:
    """Return whether this machine has a keyring that keeps secrets."""
    try:
        _keyring()
    except VoiceError:
        return False
    return True


_NOT_KEPT = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")
_INSTEAD = "use a passphrase instead: --passphrase"


def _keyring() -> Any:
    try:
        import keyring
    except ImportError as error:
        raise missing_extra(error) from None
    # fail and null keep nothing, keyrings.alt keeps secrets in files that anybody's program can read
    if type(keyring.get_keyring()).__module__.startswith(_NOT_KEPT):
        raise VoiceError(f"this machine has no keyring that keeps secrets; {_INSTEAD}")
    return keyring


def _from_keyring(path: Path, library: str) -> bytes:
    keyring = _keyring()
    try:
        kept = keyring.get_password(SERVICE, library)
    except keyring.errors.KeyringError as error:
        raise VoiceError(f"{path}: the keyring does not answer ({error}); unlock it") from None
    if kept is None:
        raise VoiceError(f"{path}: the keyring of this user has no key for it; without the key nobody can open it")
    return base64.b64decode(kept)
