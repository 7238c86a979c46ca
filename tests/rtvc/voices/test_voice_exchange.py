"""Exported voices: one file, which is taken in whole and unchanged, or refused with a reason."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import msgpack
import numpy as np
import pytest

from rtvc.voices.blending import blend
from rtvc.voices.errors import ConsentError, VoiceError
from rtvc.voices.exchange import FILE_BYTES_MAX, MAGIC, export_voice, read_voice_file
from rtvc.voices.keys import stretch
from rtvc.voices.library import Library, make_library
from rtvc.voices.profile import Part, Profile, pack
from rtvc.voices.sealing import seal
from rtvc.voices.signing import fingerprint, sign
from tests.rtvc.voices.people import consent, person

WORD = "battery staple"


def import_voice(library: Library, path: Path, passphrase: str, signer: str, name: str | None = None) -> Profile:
    """Do what `rtvc voices import` does."""
    profile = read_voice_file(path, passphrase, signer, name)
    library.save(profile)
    return profile


@pytest.fixture
def other(tmp_path: Path) -> Library:
    return make_library(tmp_path / "other", "another passphrase")


def forged(path: Path, text: bytes) -> str:
    """Write what a sender who means harm can make: any text, sealed and signed as it should be."""
    salt = bytes(16)
    body = salt + seal(stretch(WORD, salt, 2**10), text, "voice file")
    public, _ = sign(bytes(32), b"")
    path.write_bytes(MAGIC + public + sign(bytes(32), MAGIC + public + body)[1] + body)
    return fingerprint(public)


def test_a_voice_arrives_as_it_left(tmp_path: Path, library: Library, other: Library) -> None:
    anna = person()
    library.save(anna)
    signer = export_voice(library, "anna", tmp_path / "a.rtvcvoice", WORD)
    back = import_voice(other, tmp_path / "a.rtvcvoice", WORD, signer)
    assert pack(back) == pack(anna)
    assert pack(other.find("anna")) == pack(anna)
    assert b"anna" not in (tmp_path / "a.rtvcvoice").read_bytes()
    assert (tmp_path / "a.rtvcvoice").stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_it_can_be_taken_under_another_name(tmp_path: Path, library: Library, other: Library) -> None:
    library.save(person())
    other.save(person("anna", 2))
    signer = export_voice(library, "anna", tmp_path / "a", WORD)
    with pytest.raises(VoiceError, match="'anna' exists"):
        import_voice(other, tmp_path / "a", WORD, signer)
    import_voice(other, tmp_path / "a", WORD, signer, "anna2")
    with pytest.raises(VoiceError, match="in the library already"):
        import_voice(other, tmp_path / "a", WORD, signer, "anna3")


def test_the_signer_must_be_the_one_that_was_told(tmp_path: Path, library: Library, other: Library) -> None:
    library.save(person())
    signer = export_voice(library, "anna", tmp_path / "a", WORD)
    other.save(person("bert"))
    theirs = export_voice(other, "bert", tmp_path / "b", WORD)
    assert theirs != signer
    for given in ("", theirs):
        with pytest.raises(VoiceError, match=f"signed by {signer}"):
            import_voice(other, tmp_path / "a", WORD, given)
    with pytest.raises(VoiceError, match="the passphrase is wrong"):
        import_voice(other, tmp_path / "a", "staple battery", signer)


@pytest.mark.parametrize("place", [20, 60, 115, 130, 300, -1])
def test_a_changed_file_is_refused(tmp_path: Path, library: Library, other: Library, place: int) -> None:
    library.save(person())
    signer = export_voice(library, "anna", tmp_path / "a", WORD)
    data = bytearray((tmp_path / "a").read_bytes())
    data[place] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(VoiceError, match="signature does not fit"):
        import_voice(other, tmp_path / "a", WORD, signer)


def test_the_record_of_another_file_is_refused(tmp_path: Path, library: Library, other: Library) -> None:
    library.save(person())
    library.save(person("bert", 2))
    signer = export_voice(library, "anna", tmp_path / "a", WORD)
    export_voice(library, "bert", tmp_path / "b", WORD)
    head = len(MAGIC) + 32 + 64
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:head] + (tmp_path / "b").read_bytes()[head:])
    with pytest.raises(VoiceError, match="signature does not fit"):
        import_voice(other, tmp_path / "a", WORD, signer)


def bomb() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../../bin/sh", bytes(50_000_000))
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no exported voice"),
        (MAGIC, "no exported voice"),
        (bomb(), "no exported voice"),
        (MAGIC + bytes(FILE_BYTES_MAX), "larger than 262144 bytes"),
    ],
    ids=["empty", "head only", "zip bomb", "large"],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, other: Library, data: bytes, reason: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(VoiceError, match=reason):
        import_voice(other, tmp_path / "a", WORD, "")
    assert not other.profiles()[0]


def test_a_gigabyte_is_refused_unread(tmp_path: Path, other: Library) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(MAGIC)
        file.truncate(2**30)
    with pytest.raises(VoiceError, match="larger than"):
        import_voice(other, tmp_path / "a", WORD, "")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("name", "../../.ssh/authorized_keys", "cannot name a voice"),
        ("name", "heart", "comes with the program"),
        ("id", "../../../etc/passwd", "must be 32 hex digits"),
        ("timbre", b"\xff" * 512, "values outside"),
        ("timbre", b"", r"float32\[0\]"),
        ("home_hz", 1e9, "must lie in 40..1000"),
        ("home_hz", "x" * 100, "not a voice's profile"),
        ("statistics", {"a": "b"}, "not a voice's profile"),
        ("doc", "a" * 100_000, "at most 500"),
        ("doc", "\x1b]0;owned\x07", "lines of at most"),
        ("lineage", [{"name": "heart", "share": 0.1, "id": ""}] * 17, "at most 16 parts"),
        ("consents", [], "no consent record"),
        ("tempo", 3.0, "must lie in 0.5..2"),
        ("format", 4, "update rtvc"),
        ("format", "1", "not a voice's profile"),
        ("extra", 1, "not a voice's profile"),
    ],
)
def test_a_forged_profile_is_refused(tmp_path: Path, other: Library, field: str, value: object, reason: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    signer = forged(tmp_path / "a", msgpack.packb(msgpack.unpackb(pack(person())) | {field: value}))
    with pytest.raises(VoiceError, match=reason):
        import_voice(other, tmp_path / "a", WORD, signer)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "a"])


@pytest.mark.parametrize("text", [b"", b"\xdf\xff\xff\xff\xff", b"\x91" * 100_000, b"\xc1", b"\x90"])
def test_what_is_no_map_is_refused(tmp_path: Path, other: Library, text: bytes) -> None:
    signer = forged(tmp_path / "a", text)
    with pytest.raises(VoiceError, match="not a voice's profile"):
        import_voice(other, tmp_path / "a", WORD, signer)


def test_a_cloned_voice_cannot_pass_for_a_blend_of_built_in_ones(
    tmp_path: Path, library: Library, other: Library
) -> None:
    false = person(consents=(), lineage=(Part("heart", 1.0),))
    signer = forged(tmp_path / "a", pack(false))
    with pytest.raises(VoiceError, match="not the blend that it says"):
        import_voice(other, tmp_path / "a", WORD, signer)
    true = blend(library, "mix", {"heart": 2.0, "puck": 1.0})
    signer = export_voice(library, "mix", tmp_path / "b", WORD)
    assert np.array_equal(import_voice(other, tmp_path / "b", WORD, signer).timbre, true.timbre)


def test_without_consent_to_hand_it_on_it_stays(tmp_path: Path, library: Library) -> None:
    library.save(person(consents=(consent(uses=("live",)),)))
    with pytest.raises(ConsentError, match="covers live, and not export"):
        export_voice(library, "anna", tmp_path / "a", WORD)
    assert not (tmp_path / "a").exists()


def test_a_revoked_voice_does_not_come_back(tmp_path: Path, library: Library) -> None:
    library.save(person())
    signer = export_voice(library, "anna", tmp_path / "a", WORD)
    library.erase("anna")
    with pytest.raises(ConsentError, match="was revoked"):
        import_voice(library, tmp_path / "a", WORD, signer)


def test_a_file_that_exists_is_kept(tmp_path: Path, library: Library) -> None:
    library.save(person())
    export_voice(library, "anna", tmp_path / "a", WORD)
    with pytest.raises(VoiceError, match="--force"):
        export_voice(library, "anna", tmp_path / "a", WORD)
    with pytest.raises(VoiceError, match="create it first"):
        export_voice(library, "anna", tmp_path / "no" / "a", WORD)
