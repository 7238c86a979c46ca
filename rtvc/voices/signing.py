"""The key that signs the voices a library exports: Ed25519 (RFC 8032), made at the first export, kept sealed.

Whoever imports a voice names the fingerprint of the signer, which the two compare by another way (a call, a card).
"""

from __future__ import annotations

import hashlib
import os

from .errors import VoiceError, missing_extra
from .store import Store

PUBLIC_BYTES, SIGNATURE_BYTES = 32, 64


def signing_seed(store: Store, record: str) -> bytes:
    """Return the seed (32 bytes) of the library's signing key, made if there is none. Raises VoiceError."""
    seed = store.read(record)
    if seed is None:
        seed = os.urandom(32)
        store.write(record, seed)
    return seed


def sign(seed: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Return the public key (32 bytes) and the signature (64 bytes) of text."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise missing_extra(error) from None
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private.public_key().public_bytes_raw(), private.sign(text)


def check_signature(public: bytes, signature: bytes, text: bytes) -> None:
    """Raise VoiceError if signature is not that of text by the holder of public."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise missing_extra(error) from None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        raise VoiceError("its signature does not fit: it was changed on the way") from None


def fingerprint(public: bytes) -> str:
    """Return 128 bits of the public key's SHA-256, in eight groups of four hex digits, for people to compare."""
    digits = hashlib.sha256(public).hexdigest()[:32]
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))
