"""Tokens: who may use a server that asks, with which role. Kept as salt and secrets in one file of the owner's only.

A token is shown once, when it is made. Its secret is what obs-websocket's authentication needs (see `auth`); all tokens
of a file share its salt, because the server's Hello can name only one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from rtvc.config import ConfigError, config_folder, write_atomically

from .auth import Identity, nonce, secret_of
from .wire import Role

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def tokens_path() -> Path:
    """Return the file of tokens; it need not exist."""
    return config_folder() / "control" / "tokens.json"


class TokenFile:
    """The tokens in one file, read when made."""

    def __init__(self, path: Path | None = None) -> None:
        """Path is the settings' own file by default. Raises ConfigError if it cannot be used."""
        self.path = tokens_path() if path is None else path
        self.salt = nonce()
        self._secrets: dict[str, tuple[Role, str]] = {}
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            if os.name == "posix" and self.path.stat().st_mode & 0o077:
                raise ConfigError(f"{self.path}: others can read it; make it yours only: chmod 600")
            content = json.loads(self.path.read_text("utf-8"))
            self.salt = str(content["salt"])
            for name, entry in content["tokens"].items():
                self._secrets[name] = Role[entry["role"].upper()], str(entry["secret"])
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{self.path}: is no file of tokens; delete it and add the tokens again") from None

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def pairs(self) -> list[tuple[Identity, str]]:
        """Return every token's identity and secret."""
        return [(Identity(name, role), secret) for name, (role, secret) in self._secrets.items()]

    def roles(self) -> dict[str, Role]:
        """Return the role of every token by name."""
        return {name: role for name, (role, _) in self._secrets.items()}

    def add(self, name: str, role: Role) -> str:
        """Make a token and save its secret; return the token. Raises ConfigError for a bad name or one that exists."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a token; use letters, digits, - _ and ., up to 40")
        if name in self._secrets:
            raise ConfigError(f"token {name!r} exists; remove it first, or use another name")
        token = secrets.token_urlsafe(32)
        self._secrets[name] = role, secret_of(token, self.salt)
        self._write()
        return token

    def remove(self, name: str) -> None:
        """Remove a token. Raises ConfigError if there is none of that name."""
        if name not in self._secrets:
            raise ConfigError(f"there is no token {name!r}; there are: {', '.join(self._secrets) or 'none'}")
        del self._secrets[name]
        self._write()

    def _write(self) -> None:
        tokens = {name: {"role": role.word, "secret": secret} for name, (role, secret) in self._secrets.items()}
        content: dict[str, Any] = {"salt": self.salt, "tokens": tokens}
        write_atomically(self.path, json.dumps(content, indent=2).encode() + b"\n", private=True)
