"""The library: names, consents, blends, search."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import numpy as np
import pytest

from rtvc.engine.params import TIMBRES
from rtvc.engine.timbres import built_in_timbres
from rtvc.voices import profile as profiles
from rtvc.voices import store
from rtvc.voices.blending import blend
from rtvc.voices.cards import built_in_cards, card_of, search
from rtvc.voices.errors import ConsentError, VoiceError
from rtvc.voices.library import Library, make_library, open_library
from rtvc.voices.profile import EMBEDDING_UNITS, FILM_UNITS, Part, pack, unpack
from tests.rtvc.voices.conftest import PASSPHRASE
from tests.rtvc.voices.people import consent, person


def test_a_profile_comes_back_as_it_was() -> None:
    anna = person(lineage=(Part("heart", 0.5), Part("bert", 0.5, "0" * 32)))
    back = unpack(pack(anna))
    assert np.array_equal(back.timbre, anna.timbre)
    assert pack(back) == pack(anna)
    assert back.consents == anna.consents
    assert back.lineage == anna.lineage


def test_an_older_format_is_brought_up_and_a_newer_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = pack(person())
    monkeypatch.setattr(profiles, "FORMAT", 5)
    monkeypatch.setitem(profiles.MIGRATIONS, 3, lambda fields: fields | {"doc": fields["doc"] + ", then"})
    monkeypatch.setitem(profiles.MIGRATIONS, 4, lambda fields: fields | {"doc": fields["doc"] + " now"})
    assert unpack(old).doc == "warm and quick, then now"
    new = pack(person())
    assert msgpack.unpackb(new)["format"] == 5
    monkeypatch.setattr(profiles, "FORMAT", 3)
    with pytest.raises(VoiceError, match="has format 5, this rtvc knows 1 to 3"):
        unpack(new)


def test_a_voice_of_the_first_format_has_nothing_fitted_to_it() -> None:
    fields = msgpack.unpackb(pack(person())) | {"format": 1}
    del fields["personal"], fields["embedding"], fields["sound"]
    back = unpack(msgpack.packb(fields))
    assert back.personal is None and back.embedding is None and back.sound == {} and back.tempo == 1.0


def test_a_voice_may_have_a_tempo_and_those_of_the_second_format_have_none() -> None:
    slow = pack(person(tempo=0.8))
    assert unpack(slow).tempo == unpack(slow).spoken.tempo == 0.8
    fields = msgpack.unpackb(slow) | {"format": 2}
    del fields["tempo"]
    assert unpack(msgpack.packb(fields)).tempo == 1.0
    for wrong in (0.4, 2.5, float("nan")):
        with pytest.raises(VoiceError, match=rf"voice anna: tempo {wrong:g}: must lie in 0\.5\.\.2"):
            person(tempo=wrong)


def test_a_blends_tempo_lies_between_its_parts(library: Library) -> None:
    for name, tempo in (("slow", 0.5), ("fast", 2.0)):
        library.save(person(name, tempo=tempo))
    assert blend(library, "even", {"slow": 1.0, "fast": 1.0}).tempo == 1.0
    assert blend(library, "calm", {"slow": 1.0, "heart": 1.0}).tempo == pytest.approx(0.707, abs=1e-3)
    assert blend(library, "same", {"fast": 3.0}).tempo == 2.0


def test_what_was_fitted_to_a_voice_is_kept_and_goes_into_its_blends(library: Library) -> None:
    personal = np.random.default_rng(0).normal(0.0, 0.1, FILM_UNITS).astype(np.float32)
    embedding = np.zeros(EMBEDDING_UNITS, np.float32)
    embedding[0] = 1.0
    library.save(person(personal=personal, embedding=embedding))
    anna = library.find("anna")
    assert np.array_equal(anna.personal, personal) and np.array_equal(anna.embedding, embedding)
    mixed = blend(library, "mix", {"anna": 1.0, "heart": 3.0})
    assert np.allclose(mixed.personal, 0.25 * personal)
    for wrong in (personal[:-1], np.full(FILM_UNITS, np.nan, np.float32), np.full(FILM_UNITS, 9.0, np.float32)):
        with pytest.raises(VoiceError, match="personal must be"):
            person(personal=wrong)


def test_a_voice_may_be_said_with_some_values_of_the_registry_only() -> None:
    back = unpack(pack(person(sound={"breath.amount": 0.25, "formant.ratio": 1.1})))
    assert back.sound == {"breath.amount": 0.25, "formant.ratio": 1.1}
    for name, value in (("level.mute", 1.0), ("x", 1.0), ("breath.amount", 2.0), ("breath.amount", float("nan"))):
        with pytest.raises(VoiceError, match="which no voice can be"):
            person(sound={name: value})


@pytest.mark.parametrize("name", ["", "Anna", "a b", "../a", "a/b", "heart", "own", "a" * 41, "-a", "a\n"])
def test_a_name_that_could_harm_or_confuse_is_refused(name: str) -> None:
    with pytest.raises(VoiceError):
        person(name)


def test_a_persons_voice_needs_a_consent() -> None:
    with pytest.raises(VoiceError, match="has no consent record"):
        person(consents=())
    with pytest.raises(VoiceError, match="has no consent record"):
        person(consents=(), lineage=(Part("heart", 0.5), Part("bert", 0.5, "0" * 32)))


def test_names_are_borne_once(library: Library) -> None:
    library.save(person())
    with pytest.raises(VoiceError, match="'anna' exists"):
        library.save(person())
    with pytest.raises(VoiceError, match="no voice 'ana'; there are anna"):
        library.find("ana")
    library.save(person("bert"))
    with pytest.raises(VoiceError, match="'bert' exists"):
        library.rename("anna", "bert")
    assert library.rename("anna", "anna-2").name == "anna-2"
    assert [profile.name for profile in library.profiles()[0]] == ["anna-2", "bert"]


def test_uses_outside_the_record_are_refused_and_logged(library: Library) -> None:
    library.save(person(consents=(consent(uses=("live",)),)))
    assert library.use("anna", "live").name == "anna"
    with pytest.raises(ConsentError, match="covers live, and not files"):
        library.use("anna", "files")
    with pytest.raises(ConsentError, match="not blend"):
        blend(library, "mix", {"anna": 1.0, "heart": 1.0})
    deeds = [(entry["deed"], entry["detail"]) for entry in library.audit.entries()]
    assert deeds[1:] == [("used", {"use": "live"}), ("refused", {"use": "files"}), ("refused", {"use": "blend"})]


def test_a_consent_ends(library: Library) -> None:
    record = consent(days=0)
    library.save(person(consents=(record,)))
    library.use("anna", "live")
    with pytest.raises(ConsentError, match="ended on"):
        record.check_use("live", record.expires.replace(year=record.expires.year + 1), ())
    with pytest.raises(ConsentError, match="ended on"):
        library.save(person("bert", consents=(consent(days=-1),)))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "x"}, {"speaker": " "}, {"purpose": "a\nb"}, {"phrase": "x" * 501}, {"uses": ()}, {"uses": ("sell",)},
    ],
)  # fmt: skip
def test_a_consent_record_must_be_whole(fields: dict[str, object]) -> None:
    with pytest.raises(ConsentError):
        consent(**fields)


def test_a_blend_is_the_mean_and_keeps_its_lineage(library: Library) -> None:
    built_in = dict(zip(TIMBRES, built_in_timbres(), strict=True))
    mix = blend(library, "mix", {"heart": 3.0, "puck": 1.0})
    heart, puck = built_in["heart"], built_in["puck"]
    assert np.allclose(mix.timbre, 0.75 * heart.vector + 0.25 * puck.vector, atol=1e-6)
    assert mix.home_hz == pytest.approx(heart.home_hz**0.75 * puck.home_hz**0.25)
    assert mix.lineage == (Part("heart", 0.75), Part("puck", 0.25))
    again = blend(library, "again", {"mix": 1.0, "emma": 1.0})
    assert again.lineage == (Part("heart", 0.375), Part("puck", 0.125), Part("emma", 0.5))
    twice = blend(library, "twice", {"mix": 1.0, "puck": 1.0})
    assert twice.lineage == (Part("heart", 0.375), Part("puck", 0.625))
    for weights in ({}, {"heart": 0.0}, {"heart": -1.0}, {"heart": float("nan")}, {"nobody": 1.0}):
        with pytest.raises(VoiceError):
            blend(library, "bad", weights)


def test_blends_rest_on_the_consents_of_all_they_are_made_of(library: Library) -> None:
    library.save(person("anna"))
    library.save(person("bert", 2, consents=(consent("Bert", uses=("live", "blend")),)))
    blend(library, "both", {"anna": 1.0, "bert": 1.0})
    blend(library, "third", {"both": 1.0, "heart": 1.0})
    assert len(library.find("third").consents) == 2
    with pytest.raises(ConsentError, match="consent of Bert covers live, blend, and not export"):
        library.use("third", "export")
    library.use("third", "live")
    with pytest.raises(VoiceError, match="has no consent of its own"):
        library.revoke("both")
    assert {voice.name for voice in library.revoke("anna")} == {"both", "third"}
    for name in ("anna", "both", "third"):
        with pytest.raises(ConsentError, match="Anna Nowak was revoked"):
            library.use(name, "live")
    library.use("bert", "live")


def test_an_erased_voice_names_its_blends_which_are_refused_or_erased(library: Library) -> None:
    for name in ("anna", "bert"):
        library.save(person(name))
        blend(library, f"with-{name}", {name: 1.0, "heart": 1.0})
    assert [voice.name for voice in library.erase("anna")] == ["with-anna"]
    with pytest.raises(ConsentError, match="was revoked"):
        library.use("with-anna", "live")
    library.erase("bert", derived=True)
    assert [voice.name for voice in library.profiles()[0]] == ["with-anna"]


def test_search_by_the_beginnings_of_words(library: Library) -> None:
    library.save(person("anna", consents=(consent(uses=("live",)),)))
    blend(library, "evening-news", {"michael": 1.0, "george": 1.0}, "slow and clear")
    cards = built_in_cards() + [card_of(voice) for voice in library.profiles()[0]]

    def names(*words: str) -> list[str]:
        return [card.name for card in search(cards, words)]

    assert names("warm") == ["anna"]
    assert names("news") == names("SLOW", "low") == ["evening-news"]
    assert names("low", "built") == ["michael", "puck", "fenrir", "george"]
    assert names("enrolled", "high") == ["anna"]
    assert len(names()) == 10
    assert names("nothing") == []


def test_another_process_waits_its_turn(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_WAIT_S", 0.2)
    hold = (
        "import sys, time; from pathlib import Path; from rtvc.voices.keys import LibraryKey;"
        "from rtvc.voices.store import Store\n"
        f"with Store(Path({str(library.folder)!r}), LibraryKey(bytes(32), 'x', 'passphrase')).exclusive():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == b"held"
        with pytest.raises(VoiceError, match="another rtvc is changing it"):
            library.save(person())
        other.kill()  # a lock does not outlive its holder
    library.save(person())


def test_without_a_library_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="rtvc voices enrol NAME FILES, or blend"):
        open_library(tmp_path / "voices", lambda: PASSPHRASE)
    make_library(tmp_path / "voices", PASSPHRASE)
    with pytest.raises(VoiceError, match="holds a library already"):
        make_library(tmp_path / "voices", PASSPHRASE)


def test_a_day_old_library_opens_as_it_was(library: Library) -> None:
    voices = [person(f"voice-{i}", i) for i in range(20)]
    for voice in voices:
        library.save(voice)
    again = open_library(library.folder, lambda: PASSPHRASE)
    found = {voice.name: voice for voice in again.profiles()[0]}
    assert all(np.array_equal(found[voice.name].timbre, voice.timbre) for voice in voices)
    changed = dataclasses.replace(voices[3], doc="changed")
    again.save(changed, replace=True)
    assert library.find("voice-3").doc == "changed"
    assert time.strptime(str(library.audit.entries()[0]["time"])[:19], "%Y-%m-%dT%H:%M:%S")


def test_a_voice_that_says_it_is_nobodys_holds_nothing_of_a_person(library: Library) -> None:
    parts = (Part("heart", 1.0),)
    personal = np.zeros(FILM_UNITS, np.float32)
    for fields in ({"personal": personal}, {"embedding": np.ones(EMBEDDING_UNITS, np.float32) / 16}, {}):
        with pytest.raises(VoiceError, match="says that it is nobody's"):
            person(lineage=parts, **({"consents": ()} if fields else {}), **fields)


def test_a_tuned_voice_whose_origin_is_elsewhere_can_be_revoked_here(library: Library) -> None:
    far = person("far", lineage=(Part("bob", 1.0, "0" * 32),))
    library.save(far)
    library.revoke("far")
    assert "was revoked" in library.refusal(far)
