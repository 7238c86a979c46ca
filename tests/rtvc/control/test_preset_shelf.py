from __future__ import annotations

from pathlib import Path

from rtvc.control.presets import PresetShelf
from rtvc.engine.params import INDEX, default_values


def test_a_sound_is_known_for_the_preset_that_it_is_whether_muted_or_not(tmp_path: Path) -> None:
    shelf = PresetShelf(tmp_path)
    sound = shelf.get("deep").vector()
    assert shelf.sounding(sound) == "deep"
    sound[INDEX["level.mute"]] = 1.0
    assert shelf.sounding(sound) == "deep"
    sound[INDEX["pitch.semitones"]] += 0.5
    assert shelf.sounding(sound) is None
    assert shelf.sounding(default_values()) in (None, *shelf.names())
