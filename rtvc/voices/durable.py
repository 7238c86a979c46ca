"""Files that survive a power cut whole, and files that go for good.

A write goes to a temporary name, is flushed to the disk, renamed over its target, and the folder is flushed: at every
moment the disk holds the old file or the new one. An erased file is renamed first, so that it is gone in one step, then
overwritten with zeros, flushed and unlinked. Temporary names end in PART; what a cut left of them is erased by `sweep`.

Overwriting reaches the sectors a plain disk used; flash and copy-on-write file systems may keep the old ones.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from .errors import VoiceError

PART = ".part"


def write_file(path: Path, data: bytes) -> None:
    """Make path hold data, in one step; only its owner can read it. Raises VoiceError if the disk refuses."""
    part = _part_of(path)
    try:
        _write(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o600), data)
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise VoiceError(f"{path}: cannot be written: {error.strerror}; what was there stays") from None


def append_to_file(path: Path, data: bytes, at: int) -> None:
    """Cut path (made if it is missing) to its first `at` bytes and add data. Raises VoiceError.

    A cut of the power leaves the first `at` bytes and any beginning of data.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | _BINARY, 0o600)
        try:
            os.ftruncate(handle, at)
            os.lseek(handle, at, os.SEEK_SET)
        except OSError:
            os.close(handle)
            raise
        _write(handle, data)
        if at == 0:
            sync_folder(path.parent)
    except OSError as error:
        raise VoiceError(f"{path}: cannot be written: {error.strerror}") from None


def erase_file(path: Path) -> None:
    """Remove path and overwrite what it held; nothing happens if it does not exist. Raises VoiceError."""
    part = path if path.name.endswith(PART) else _part_of(path)
    try:
        if part != path:
            os.replace(path, part)
            sync_folder(path.parent)
        size = part.stat().st_size
        _write(os.open(part, os.O_WRONLY | _BINARY), bytes(size))
        os.unlink(part)
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise VoiceError(f"{path}: cannot be erased: {error.strerror}") from None


def sweep(folder: Path) -> None:
    """Erase what interrupted writes and erasures left in folder. Raises VoiceError."""
    for part in folder.glob(f".*{PART}"):
        erase_file(part)


def sync_folder(folder: Path) -> None:
    """Flush the names in folder to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_BINARY = getattr(os, "O_BINARY", 0)


def _part_of(path: Path) -> Path:
    return path.parent / f".{secrets.token_hex(6)}{PART}"


def _write(handle: int, data: bytes) -> None:
    """Write all of data to handle, flush it to the disk and close it."""
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)
