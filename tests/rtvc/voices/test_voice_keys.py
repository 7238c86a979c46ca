"""Where the library's key lies."""

from __future__ import annotations

import json
from pathlib import Path

import keyring
import keyring.backends.fail
import pytest

from rtvc.voices.errors import VoiceError
from rtvc.voices.keys import has_keyring, key_path, make_key, open_key
from tests.rtvc.voices.conftest import KeyringInMemory


def no_passphrase() -> str:
    raise AssertionError("asked")


def test_a_key_in_the_keyring_is_not_on_the_disk(tmp_path: Path, memory_keyring: KeyringInMemory) -> None:
    key = make_key(tmp_path, None)
    assert open_key(tmp_path, no_passphrase) == key
    assert key.secret not in key_path(tmp_path).read_bytes()
    assert key.secret.hex() not in key_path(tmp_path).read_text()


def test_without_its_entry_in_the_keyring_it_says_so(tmp_path: Path, memory_keyring: KeyringInMemory) -> None:
    make_key(tmp_path, None)
    (entry,) = memory_keyring.kept
    memory_keyring.kept[entry] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    with pytest.raises(VoiceError, match="is not this library's"):
        open_key(tmp_path, no_passphrase)
    memory_keyring.kept.clear()
    with pytest.raises(VoiceError, match="has no key for it"):
        open_key(tmp_path, no_passphrase)


def test_a_machine_without_a_keyring_offers_the_passphrase(tmp_path: Path, memory_keyring: KeyringInMemory) -> None:
    assert has_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    assert not has_keyring()
    with pytest.raises(VoiceError, match="--passphrase"):
        make_key(tmp_path, None)


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="at least 8 characters; this one has 5"):
        make_key(tmp_path, "abcde")


@pytest.mark.parametrize(
    "change",
    [{"n": 2**40}, {"n": 3}, {"method": "none"}, {"sealed": "zz"}, {"sealed": None}, {"format": 2}, {"library": 7}],
)
def test_a_key_file_that_was_changed_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    make_key(tmp_path, "eight letters")
    path = key_path(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(VoiceError, match="not what rtvc wrote there"):
        open_key(tmp_path, lambda: "eight letters")
