"""The challenge of obs-websocket 5: a client proves that it knows a token without sending it.

    secret = base64(sha256(token + salt)),  answer = base64(sha256(secret + challenge))

The server keeps only salt and secret. A challenge is random and used once, so an answer that was overheard is worth
nothing. Limit: who can read the file of secrets can answer a challenge; the file is its owner's only.

Source: obs-websocket `docs/generated/protocol.md`, "Creating an authentication string".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from .wire import Role


@dataclass(frozen=True)
class Identity:
    """Who a client is: the name of its token and what it may do."""

    name: str
    role: Role


def nonce() -> str:
    """Return 32 random bytes as text: a challenge, a salt or a token."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def secret_of(token: str, salt: str) -> str:
    """Return what the server keeps of a token."""
    return _hash(token + salt)


def answer_to(secret: str, challenge: str) -> str:
    """Return what a client that holds the token of secret answers to challenge."""
    return _hash(secret + challenge)


def matching(tokens: Iterable[tuple[Identity, str]], challenge: str, answer: str) -> Identity | None:
    """Return whose answer it is, None if nobody's; the time taken does not tell which, nor how near it was.

    tokens are pairs of an identity and its secret; all of them are compared.
    """
    given = answer.encode("utf-8", "replace")
    found: Identity | None = None
    for identity, secret in tokens:
        if hmac.compare_digest(answer_to(secret, challenge).encode(), given):
            found = identity
    return found


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8", "replace")).digest()).decode()
