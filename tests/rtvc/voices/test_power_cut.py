"""A power cut at any write, rename or flush leaves the old voice or the new one."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rtvc.voices import durable
from rtvc.voices.blending import blend
from rtvc.voices.exchange import export_voice, read_voice_file
from rtvc.voices.library import Library
from tests.rtvc.voices.people import person
from tests.rtvc.voices.power import Disk, every_cut

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be flushed there")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Disk], None]:
    return lambda disk: monkeypatch.setattr(durable, "os", disk)


def sound(library: Library, when: str) -> dict[str, bytes]:
    """Return the timbres by name after checking that the library is whole and can go on."""
    profiles, faults = library.profiles()
    assert not faults, when
    library.audit.entries()
    with library.store.exclusive():
        library.audit.append("checked")
    assert library.audit.entries()[-1]["deed"] == "checked", when
    assert not list(library.folder.glob(f".*{durable.PART}")), when
    return {profile.name: profile.timbre.tobytes() for profile in profiles}


def test_a_voice_that_is_replaced_is_the_old_or_the_new(library: Library, install: Callable[[Disk], None]) -> None:
    old = person()
    new = dataclasses.replace(old, timbre=old.timbre + 1)
    library.save(old)
    seen = set()

    def check(when: str) -> None:
        timbres = sound(library, when)
        assert timbres in ({"anna": old.timbre.tobytes()}, {"anna": new.timbre.tobytes()}), when
        seen.add(timbres["anna"])

    steps = every_cut(library.folder, install, lambda: library.save(new, replace=True), check)
    assert steps >= 15
    assert len(seen) == 2


def test_a_new_voice_is_there_whole_or_not_at_all(library: Library, install: Callable[[Disk], None]) -> None:
    library.save(person())

    def check(when: str) -> None:
        assert sound(library, when).keys() in ({"anna"}, {"anna", "mix"}), when

    every_cut(library.folder, install, lambda: blend(library, "mix", {"heart": 1.0, "anna": 2.0}), check)


def test_the_first_line_of_the_log_is_there_or_not(library: Library, install: Callable[[Disk], None]) -> None:
    def check(when: str) -> None:
        assert sound(library, when).keys() <= {"anna"}

    every_cut(library.folder, install, lambda: library.save(person()), check)


def test_an_erased_voice_is_there_whole_or_gone(library: Library, install: Callable[[Disk], None]) -> None:
    library.save(person())
    library.save(person("bert", 2))
    seen = set()

    def check(when: str) -> None:
        names = frozenset(sound(library, when))
        assert names in ({"anna", "bert"}, {"bert"}), when
        seen.add(names)

    every_cut(library.folder, install, lambda: library.erase("anna"), check)
    assert len(seen) == 2


def test_a_revoked_voice_stays_and_is_refused_or_not_yet(library: Library, install: Callable[[Disk], None]) -> None:
    library.save(person())
    refused = set()

    def check(when: str) -> None:
        sound(library, when)
        refused.add(library.refusal(library.find("anna")) != "")

    every_cut(library.folder, install, lambda: library.revoke("anna"), check)
    assert refused == {True, False}


@pytest.mark.parametrize("cut", ["voices", "out"])
def test_an_export_is_there_whole_or_not_and_signs_alike(
    library: Library, install: Callable[[Disk], None], tmp_path: Path, cut: str
) -> None:
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "anna.rtvcvoice"
    library.save(person())

    def export() -> str:
        return export_voice(library, "anna", target, "eight letters", overwrite=True)

    def check(when: str) -> None:
        sound(library, when)
        if target.exists() and cut == "out":
            assert read_voice_file(target, "eight letters", signer).name == "anna", when
        assert export() == export(), when

    signer = "" if cut == "voices" else export()
    target.unlink(missing_ok=True)
    every_cut(tmp_path / cut, install, export, check)
