"""Settings: every key optional, every fault named with its file and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtvc.config import (
    Audio,
    ConfigError,
    Devices,
    MonitorSettings,
    Settings,
    Voice,
    config_path,
    load_settings,
    presets_folder,
    save_setting,
    settings_toml,
    write_text_atomically,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_all_is_at_its_default(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.toml") == Settings()


def test_what_the_file_says_is_taken_and_the_rest_stays(tmp_path: Path) -> None:
    path = written(tmp_path, '[devices]\ncapture = "USB"\n[audio]\nblock_frames = 128\n')
    assert load_settings(path) == Settings(Devices(capture="USB"), Audio(block_frames=128))


def test_settings_survive_being_written_and_read(tmp_path: Path) -> None:
    settings = Settings(
        Devices('Bob\'s "USB" \\ mic\tö\n', "out", "JACK", False),
        Audio(44_100, 512),
        Voice("my-preset"),
        monitor=MonitorSettings(True, -4.5, "pulse:out"),
    )
    assert load_settings(written(tmp_path, settings_toml(settings))) == settings
    assert load_settings(written(tmp_path, settings_toml(Settings()))) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devicse]\n", "no setting devicse; did you mean devices"),
        ("[audio]\nblock = 3\n", "no setting audio.block; did you mean rate_hz, block_frames"),
        ("audio = 3\n", r"write \[audio\]"),
        ('[audio]\nrate_hz = "fast"\n', "audio.rate_hz = 'fast': must be a whole number"),
        ("[audio]\nblock_frames = true\n", "must be a whole number"),
        ("[audio]\nrate_hz = 4000\n", r"audio.rate_hz = 4000: must lie in 8000\.\.192000"),
        ("[audio]\nblock_frames = 8\n", r"must lie in 16\.\.8192"),
        ("[monitor]\nlevel_db = 13\n", r"monitor.level_db = 13: must lie in -60\.\.12"),
        ("[monitor]\nlevel_db = nan\n", r"must lie in -60\.\.12"),
        ("[monitor]\nlevel_db = true\n", "monitor.level_db = True: must be a number"),
        ("[devices]\ncapture = 3\n", "devices.capture = 3: must be text"),
        ("[devices\n", "is not TOML: .*line 1"),
    ],
)
def test_a_fault_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=rf"config\.toml: .*{message}"):
        load_settings(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe[audio]")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(path)


def test_the_place_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "rtvc" / "config.toml"
    assert presets_folder() == tmp_path / "rtvc" / "presets"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "config.toml"
    write_text_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "\udc80")
    assert path.read_text("utf-8") == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be written"):
        write_text_atomically(tmp_path / "file" / "config.toml", "text")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "[audio]\nblock_frames = 128\n"),
        ("", "[audio]\nblock_frames = 128\n"),
        ('# mine\n[voice]\npreset = "deep"\n', '# mine\n[voice]\npreset = "deep"\n\n[audio]\nblock_frames = 128\n'),
        (
            "[audio] # sound\nrate_hz = 44100\nblock_frames = 512 # safe\n[voice]\n",
            "[audio] # sound\nrate_hz = 44100\nblock_frames = 128  # safe\n[voice]\n",
        ),
        ("[audio]\nrate_hz = 44100\n\n[voice]\n", "[audio]\nblock_frames = 128\nrate_hz = 44100\n\n[voice]\n"),
    ],
)
def test_one_setting_is_saved_and_all_else_in_the_file_stays(before: str | None, after: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before, "utf-8")
    assert save_setting("audio", "block_frames", 128, path) == path
    assert path.read_text("utf-8") == after
    assert load_settings(path).audio.block_frames == 128


def test_a_broken_file_is_not_saved_over(tmp_path: Path) -> None:
    path = written(tmp_path, "[audio\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        save_setting("audio", "block_frames", 128, path)
    assert path.read_text() == "[audio\n"
