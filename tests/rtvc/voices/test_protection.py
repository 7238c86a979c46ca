"""What a thief, a tamperer and a forensic search find in a library: nothing, or a refusal with its reason."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from rtvc.voices.errors import VoiceError
from rtvc.voices.library import Library, erase_library, library_exists, make_library, open_library
from rtvc.voices.profile import pack
from tests.rtvc.voices.conftest import PASSPHRASE, KeyringInMemory
from tests.rtvc.voices.people import person

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes and hard links")


def entropy_bits(data: bytes) -> float:
    """Return the entropy of data in bits a byte, by its histogram."""
    share = np.bincount(np.frombuffer(data, np.uint8), minlength=256) / len(data)
    share = share[share > 0]
    return float(-np.sum(share * np.log2(share)))


def everything_on(disk: Path) -> bytes:
    """Return the names and bytes of all files below a folder."""
    return b"".join(os.fsencode(path) + (path.read_bytes() if path.is_file() else b"") for path in disk.rglob("*"))


def traces(library: Library) -> list[bytes]:
    """Return pieces of every voice that must not be found: names, consent, timbre."""
    pieces = []
    for profile in library.profiles()[0]:
        pieces += [profile.name.encode(), profile.timbre.tobytes()[:16], profile.doc.encode(), pack(profile)[:64]]
        for consent in profile.consents:
            pieces += [consent.speaker.encode(), consent.phrase.encode(), consent.id.encode()]
    return pieces


def test_a_stolen_library_without_its_key_tells_nothing(tmp_path: Path, library: Library) -> None:
    library.save(person("zbigniew"))
    library.use("zbigniew", "live")
    library.revoke("zbigniew")
    stolen = everything_on(library.folder)
    for piece in traces(library):
        assert piece not in stolen
    assert PASSPHRASE.encode() not in stolen
    (voice,) = library.folder.glob("*.voice")
    assert entropy_bits(voice.read_bytes()) > 7.9  # 8 for noise; 4 KiB of it measure about 7.95
    sizes = {path.stat().st_size for path in library.folder.glob("*.voice")}
    library.save(person("x", doc="a" * 400))
    assert {path.stat().st_size for path in library.folder.glob("*.voice")} == sizes


def test_another_key_opens_nothing(tmp_path: Path, library: Library) -> None:
    library.save(person())
    other = make_library(tmp_path / "other", PASSPHRASE)
    (voice,) = library.folder.glob("*.voice")
    shutil.copy(voice, other.folder)
    profiles, faults = other.profiles()
    assert not profiles
    assert "another record was put in its place" in faults[0]  # places are bound to a library
    with pytest.raises(VoiceError, match="the passphrase is wrong"):
        open_library(library.folder, lambda: "wrong horse battery")
    assert open_library(library.folder, lambda: PASSPHRASE).find("anna").home_hz == 201.5


@pytest.mark.parametrize("place", [0, 10, 30, 200, -1])
def test_one_changed_bit_is_found(library: Library, place: int) -> None:
    library.save(person())
    (voice,) = library.folder.glob("*.voice")
    data = bytearray(voice.read_bytes())
    data[place] ^= 1
    voice.write_bytes(data)
    profiles, faults = library.profiles()
    assert not profiles
    assert voice.name in faults[0]


def test_a_swapped_record_is_refused(library: Library) -> None:
    library.save(person("anna"))
    library.save(person("bert", 2))
    first, second = library.folder.glob("*.voice")
    first.write_bytes(second.read_bytes())
    profiles, faults = library.profiles()
    assert len(profiles) == 1
    assert "another record was put in its place" in faults[0]


@pytest.mark.parametrize("size", [0, 7, 40, 2_000_000])
def test_a_file_of_another_kind_is_refused(library: Library, size: int) -> None:
    (library.folder / "intruder.voice").write_bytes(b"x" * size)
    assert len(library.profiles()[1]) == 1


@posix
def test_only_the_owner_can_read_anything(library: Library) -> None:
    library.save(person())
    library.use("anna", "live")
    for path in [library.folder, *library.folder.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    library.folder.chmod(0o755)
    with pytest.raises(VoiceError, match="chmod 700"):
        open_library(library.folder, lambda: PASSPHRASE)


@posix
def test_an_erased_voice_is_nowhere_on_the_disk(tmp_path: Path, library: Library) -> None:
    library.save(person("zbigniew"))
    library.rename("zbigniew", "zbig")
    (voice,) = library.folder.glob("*.voice")
    pieces = [*traces(library), voice.read_bytes()[64:256]]
    os.link(voice, tmp_path / "sectors")  # what the file's own sectors hold, seen past its end
    library.erase("zbig")
    for piece in pieces:
        assert piece not in everything_on(tmp_path)
    assert (tmp_path / "sectors").read_bytes() == bytes(4148)


@posix
def test_erase_all_leaves_nothing_and_needs_no_key(tmp_path: Path, memory_keyring: KeyringInMemory) -> None:
    library = make_library(tmp_path / "voices", None)
    library.save(person("zbigniew"))
    library.use("zbigniew", "live")
    pieces = traces(library)
    assert len(memory_keyring.kept) == 1
    (library.folder / ".0123456789ab.part").write_bytes(b"left by a power cut")
    kept = [path for path in library.folder.iterdir() if path.name != ".lock"]
    for i, path in enumerate(kept):
        os.link(path, tmp_path / f"sectors-{i}")
    assert erase_library(library.folder) == 3
    assert not library.folder.exists()
    assert not memory_keyring.kept
    left = everything_on(tmp_path)
    assert all(piece not in left for piece in pieces)
    assert not any(any(path.read_bytes()) for path in tmp_path.glob("sectors-*"))
    assert not library_exists(library.folder)
    make_library(library.folder, PASSPHRASE)


def test_erase_all_that_was_interrupted_can_go_on(library: Library) -> None:
    library.save(person())
    (library.folder / "library.json").unlink()
    with pytest.raises(VoiceError, match="erase --all"):
        make_library(library.folder, PASSPHRASE)
    erase_library(library.folder)
    assert not library.folder.exists()
