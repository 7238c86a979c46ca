"""One voice as one file: sealed under a passphrase, signed by the library it comes from.

    magic (16) | signer's public key (32) | signature (64) | scrypt salt (16) | sealed profile

The signature is Ed25519 over everything but itself. Nothing in the file is a path or is compressed, and a file larger
than FILE_BYTES_MAX is refused unread, so neither can reach beyond the one record that an import writes.
"""

from __future__ import annotations

import os
from pathlib import Path

from .blending import check_synthetic
from .durable import write_file
from .errors import VoiceError
from .keys import stretch
from .library import SIGNER, Library
from .profile import Profile, pack, unpack
from .sealing import seal, unseal
from .signing import PUBLIC_BYTES, SIGNATURE_BYTES, check_signature, fingerprint, sign, signing_seed

MAGIC = b"rtvc voice 001\r\n"
FILE_BYTES_MAX = 256 * 1024
SCRYPT_N = 2**17
_SALT_BYTES = 16
_PLACE = "voice file"


def export_voice(library: Library, name: str, path: Path, passphrase: str, overwrite: bool = False) -> str:
    """Write the voice to path; return the signer's fingerprint. Raises VoiceError, ConsentError without consent."""
    if path.exists() and not overwrite:
        raise VoiceError(f"{path}: exists; use --force to replace it, or another name")
    if not path.parent.is_dir():
        raise VoiceError(f"{path}: there is no folder {path.parent}; create it first")
    salt = os.urandom(_SALT_BYTES)
    key = stretch(passphrase, salt, SCRYPT_N)
    profile = library.use(name, "export")
    with library.store.exclusive():
        seed = signing_seed(library.store, SIGNER)
    body = salt + seal(key, pack(profile), _PLACE)
    public, _ = sign(seed, b"")
    public, signature = sign(seed, MAGIC + public + body)
    write_file(path, MAGIC + public + signature + body)
    return fingerprint(public)


def read_voice_file(path: Path, passphrase: str, signer: str, name: str | None = None) -> Profile:
    """Return the voice in path, under another name if one is given, after checking all of it.

    signer is the fingerprint that the sender told. Raises VoiceError: no voice file, too large, another signer,
    changed, or wrong passphrase. Saving it raises what `Library.save` does.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise VoiceError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise VoiceError(f"{path}: is larger than {FILE_BYTES_MAX} bytes; no exported voice is")
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + PUBLIC_BYTES + SIGNATURE_BYTES + _SALT_BYTES:
        raise VoiceError(f"{path}: is no exported voice (rtvc voices export makes one)")
    public, rest = data[len(MAGIC) :][:PUBLIC_BYTES], data[len(MAGIC) + PUBLIC_BYTES :]
    signature, body = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
    try:
        check_signature(public, signature, MAGIC + public + body)
        if signer.lower() != fingerprint(public):
            what = f"it is signed by {fingerprint(public)}" + (f", not by {signer}" if signer else "")
            raise VoiceError(f"{what}; ask the sender which fingerprint is right, then give it: --signer FINGERPRINT")
        sealed = body[_SALT_BYTES:]
        try:
            text = unseal(stretch(passphrase, body[:_SALT_BYTES], SCRYPT_N), sealed, _PLACE)
        except VoiceError:
            raise VoiceError("the passphrase is wrong") from None
        profile = unpack(text, name)
        check_synthetic(profile)
        return profile
    except VoiceError as error:
        raise VoiceError(f"{path}: {error}") from None
