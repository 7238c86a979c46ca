"""Presets: the built-in ones are valid; the user's are saved whole, found, and never take the others down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtvc.config import ConfigError
from rtvc.engine.params import PARAMS, default_values, to_vector
from rtvc.voices.presets import built_in_presets, check_name, delete_preset, find_preset, load_presets, save_preset


def test_six_to_ten_presets_come_with_the_program_and_all_are_valid() -> None:
    presets = built_in_presets()
    assert 6 <= len(presets) <= 10
    for name, preset in presets.items():
        assert check_name(name) == preset.name
        assert preset.label
        assert preset.doc
        assert preset.vector().shape == (len(PARAMS),)


def test_a_saved_preset_is_the_same_sound_when_found(tmp_path: Path) -> None:
    vector = to_vector({"pitch.semitones": 5, "pitch.mode": "note", "level.match": False, "formant.ratio": 1.23456789})
    path = save_preset("mine", vector, 'My "voice"', "for calls", tmp_path / "presets")
    found = find_preset("mine", tmp_path / "presets")
    assert np.array_equal(found.vector(), vector)
    assert (found.label, found.doc, found.path) == ('My "voice"', "for calls", path)


def test_all_defaults_are_a_preset_too(tmp_path: Path) -> None:
    save_preset("plain", default_values(), folder=tmp_path)
    assert np.array_equal(find_preset("plain", tmp_path).vector(), default_values())


def test_a_saved_preset_is_kept_unless_told(tmp_path: Path) -> None:
    save_preset("mine", default_values(), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"exists .*--force"):
        save_preset("mine", to_vector({"pitch.semitones": 1}), folder=tmp_path)
    save_preset("mine", to_vector({"pitch.semitones": 1}), folder=tmp_path, overwrite=True)
    assert find_preset("mine", tmp_path).values == {"pitch.semitones": 1.0}


def test_a_built_in_name_cannot_be_taken_or_deleted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="comes with the program; choose another"):
        save_preset("robot", default_values(), folder=tmp_path)
    with pytest.raises(ConfigError, match="comes with the program and stays"):
        delete_preset("robot", tmp_path)


def test_a_users_file_wins_over_a_built_in_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "robot.toml").write_text('label = "Mine"\n', "utf-8")
    assert find_preset("robot", tmp_path).label == "Mine"
    assert load_presets(tmp_path)[0]["robot"].label == "Mine"


def test_deleting_takes_the_file_away(tmp_path: Path) -> None:
    path = save_preset("mine", default_values(), folder=tmp_path)
    assert delete_preset("mine", tmp_path) == path
    assert not path.exists()
    with pytest.raises(ConfigError, match="does not exist"):
        delete_preset("mine", tmp_path)


@pytest.mark.parametrize("name", ["", "Robot", "../up", "a b", "-x", ".x", "x" * 41, "con", "com1", "a/b", "ö", "a\n"])
def test_names_that_could_hurt_are_refused(name: str, tmp_path: Path) -> None:
    for use in (check_name, find_preset, delete_preset):
        with pytest.raises(ConfigError, match="cannot name a preset"):
            use(name)
    with pytest.raises(ConfigError, match="cannot name a preset"):
        save_preset(name, default_values(), folder=tmp_path)


def test_an_unknown_name_is_answered_with_near_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no preset 'robto'; did you mean robot"):
        find_preset("robto", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[values]\n", None),
        ('[values]\n"pitch.semitones" = 99\n', r"pitch.semitones = 99: must lie in -24\.\.24"),
        ('[values]\n"pitch.semitone" = 1\n', "did you mean pitch.semitones"),
        ('[values]\n"pitch.mode" = "sing"\n', "choose one of shift"),
        ("values = 3\n", r"a table \[values\]"),
        ("[values\n", "is not TOML"),
    ],
)
def test_a_broken_file_is_named_and_the_others_still_load(tmp_path: Path, text: str, message: str | None) -> None:
    (tmp_path / "broken.toml").write_text(text, "utf-8")
    save_preset("good", default_values(), folder=tmp_path)
    presets, faults = load_presets(tmp_path)
    assert "good" in presets
    if message is None:
        assert not faults
        return
    assert len(faults) == 1
    with pytest.raises(ConfigError, match=rf"broken\.toml: .*{message}"):
        find_preset("broken", tmp_path)
