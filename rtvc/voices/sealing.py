"""Sealed bytes: AES-256-GCM (NIST SP 800-38D) under one key, bound to the place they belong to.

    magic (8) | SHA-256 of the place, first 16 bytes | nonce (12, random) | ciphertext and tag (16)

Magic and place are authenticated with the text, so what is moved to another place is refused. The text is padded to a
multiple of PAD_BYTES: its length tells nothing. With random nonces a key is good for 2**32 seals.
"""

from __future__ import annotations

import hashlib
import os

from .errors import VoiceError, missing_extra

KEY_BYTES = 32
PAD_BYTES = 4096
MAGIC = b"rtvcseal"
_PLACE_BYTES, _NONCE_BYTES = 16, 12
_HEAD_BYTES = len(MAGIC) + _PLACE_BYTES + _NONCE_BYTES


def seal(key: bytes, text: bytes, place: str) -> bytes:
    """Return text sealed under key (32 bytes) for that place."""
    head = MAGIC + _digest(place)
    nonce = os.urandom(_NONCE_BYTES)
    padded = len(text).to_bytes(4, "little") + text
    padded += bytes(-len(padded) % PAD_BYTES)
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise missing_extra(error) from None
    return head + nonce + AESGCM(key).encrypt(nonce, padded, head)


def unseal(key: bytes, sealed: bytes, place: str) -> bytes:
    """Return the text that was sealed under key for that place.

    Raises VoiceError: not sealed bytes, of another place, or changed or sealed under another key.
    """
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise missing_extra(error) from None
    head, nonce = sealed[: len(MAGIC) + _PLACE_BYTES], sealed[len(MAGIC) + _PLACE_BYTES : _HEAD_BYTES]
    if len(sealed) < _HEAD_BYTES + 16 or not sealed.startswith(MAGIC):
        raise VoiceError("not what rtvc wrote there, or cut short")
    if head[len(MAGIC) :] != _digest(place):
        raise VoiceError("another record was put in its place")
    try:
        padded = AESGCM(key).decrypt(nonce, sealed[_HEAD_BYTES:], head)
    except InvalidTag:
        raise VoiceError("it was changed, or the key is another") from None
    return padded[4 : 4 + int.from_bytes(padded[:4], "little")]


def _digest(place: str) -> bytes:
    return hashlib.sha256(place.encode()).digest()[:_PLACE_BYTES]
