"""The command line as a script sees it: output, exit codes, and files left behind (none)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rtvc import __version__
from rtvc.cli import COMMANDS, main
from rtvc.config import ConfigError, load_settings
from rtvc.engine.params import INDEX, PARAMS, default_values, to_vector
from rtvc.voices.presets import find_preset


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def sound(path: Path, seconds: float = 0.5, channels: int = 1) -> Path:
    x = 0.1 * np.sin(np.arange(round(48000 * seconds)) * 0.02)
    soundfile.write(path, np.outer(x, np.ones(channels)), 48000)
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    output = capsys.readouterr()
    return code, output.out, output.err


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    code, out, _ = run(capsys, *argv)
    assert code == 0
    return json.loads(out)


def test_version_and_help_need_no_heavy_import() -> None:
    heavy = ("numpy", "numba", "soundfile", "sounddevice", "onnxruntime")
    show = f"print([name for name in {heavy} if name in sys.modules])"
    script = f"import sys; from rtvc.cli import main\ntry: main(['--help'])\nfinally: {show}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    result = subprocess.run([sys.executable, "-m", "rtvc", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"rtvc {__version__}\n"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_with_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main([name, "--help"])
    assert exit_code.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(r"^  (rtvc .*)$", text, re.MULTILINE)
    assert examples
    assert all(example.split()[1] == name for example in examples)
    options = {word for example in examples for word in example.split() if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", text.split("examples:")[0]))
    if COMMANDS[name].sound:
        assert all(param_id in text for param_id in PARAMS)


@pytest.mark.parametrize("argv", [[], ["fly"], ["convert"], ["live", "--block", "many"], ["presets", "buy"]])
def test_a_wrong_command_line_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(argv)
    assert exit_code.value.code == 2
    assert "usage: rtvc" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--block", "-5"), "audio.block_frames = -5: must lie in 16..8192"),
        (("--block", "1000000"), "audio.block_frames = 1000000: must lie in 16..8192"),
        (("--rate", "0"), "audio.rate_hz = 0: must lie in 8000..192000"),
        (("--max-age", "0"), "audio.max_age_ms = 0: must lie in"),
    ],
)
def test_live_refuses_what_no_device_can_be_opened_with(
    option: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "live", "--simulated", *option)
    assert code == 1 and err.startswith(f"rtvc: {said}") and err.count("\n") == 1


def test_convert_writes_the_file_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound(tmp_path / "in.wav", channels=2)
    code, out, err = run(capsys, "convert", "in.wav", "out.flac", "--pitch", "-5", "--formant", "0.9")
    assert code == 0
    assert out.startswith("out.flac  0.5 s, ")
    assert "2 channels were mixed" in err
    assert soundfile.info("out.flac").frames == 24_000


def test_a_file_of_nan_is_refused_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write("in.wav", np.full(24_000, np.nan), 48_000, "FLOAT")
    code, out, err = run(capsys, "convert", "in.wav", "out.wav", "--preset", "deep")
    assert (code, out) == (1, "")
    assert err == "rtvc: in.wav: none of 24000 samples is a number (NaN, infinite); record or save it again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_convert_tells_scripts_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound(tmp_path / "in.wav")
    result = run_json(capsys, "convert", "in.wav", "out.wav", "--preset", "deep", "--json")
    assert result["failed"] == 0
    entry = result["files"][0]
    assert (entry["source"], entry["target"], entry["error"]) == ("in.wav", "out.wav", None)
    assert (entry["frames"], entry["rate_hz"], entry["channels"]) == (24_000, 48_000, 1)
    assert entry["speed"] > 0


@pytest.mark.parametrize("argv", [("--preset", "deep"), ("--voice", "heart", "--latency", "fast")])
def test_a_folder_is_converted_at_another_tempo(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    for name, seconds in (("a", 0.5), ("b", 1.0)):
        sound(Path("in", f"{name}.wav"), seconds)
    code, out, _ = run(capsys, "convert", "in", "out", "--tempo", "0.8", "--jobs", "1", *argv)
    assert code == 0
    assert out.startswith("out/a.wav  0.6 s, ") and out.count(", tempo 0.8\n") == 2
    assert [soundfile.info(f"out/{name}.wav").frames for name in "ab"] == [30_000, 60_000]


def test_one_bad_file_among_good_ones_is_exit_code_1_and_the_good_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    sound(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "b.wav").write_text("text")
    code, out, err = run(capsys, "convert", "in", "out", "--json", "--jobs", "1")
    assert code == 1
    assert json.loads(out)["failed"] == 1
    assert "b.wav: not an audio file" in err
    assert "1 of 2 files failed" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_files_are_replaced_only_with_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound(tmp_path / "in.wav")
    (tmp_path / "out.wav").write_bytes(b"old")
    code, _, err = run(capsys, "convert", "in.wav", "out.wav")
    assert (code, (tmp_path / "out.wav").read_bytes()) == (1, b"old")
    assert "--force" in err
    assert run(capsys, "convert", "in.wav", "out.wav", "--force")[0] == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--preset", "robto"], "did you mean robot"),
        (["--set", "pitch.semitones"], "write --set PARAM=VALUE"),
        (["--set", "pitch.semitone=3"], "did you mean pitch.semitones"),
        (["--pitch", "99"], r"pitch.semitones = 99: must lie in -24\.\.24"),
        (["--pitch", "high"], "is not a number"),
        (["--jobs", "-1"], "must be 1 or more"),
        (["--tempo", "3"], r"--tempo 3: must lie in 0.5\.\.2"),
        (["--tempo", "nan"], r"--tempo nan: must lie in 0.5\.\.2"),
    ],
)
def test_a_sound_that_does_not_exist_is_named(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound(tmp_path / "in.wav")
    code, _, err = run(capsys, "convert", "in.wav", "out.wav", *argv)
    assert code == 1
    assert re.fullmatch(rf"rtvc: .*{message}.*\n", err)


def test_a_preset_can_be_saved_shown_listed_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save = ["presets", "save", "mine", "--preset", "deep", "--pitch", "1.5", "--set", "level.match=off", "--label", "M"]
    assert run(capsys, *save)[0] == 0
    preset = find_preset("mine")
    expected = find_preset("deep").vector()
    expected[INDEX["pitch.semitones"]], expected[INDEX["level.match"]] = 1.5, 0
    assert np.array_equal(preset.vector(), expected)
    shown = run_json(capsys, "presets", "show", "mine", "--json")
    assert (shown["label"], shown["values"]["pitch.semitones"]) == ("M", 1.5)
    assert set(shown["values"]) == set(PARAMS)
    assert "mine" in [entry["name"] for entry in run_json(capsys, "presets", "--json")]
    assert "mine" in run(capsys, "presets")[1]
    assert run(capsys, "presets", "delete", "mine")[0] == 0
    with pytest.raises(ConfigError):
        find_preset("mine")


def test_a_broken_preset_file_is_reported_beside_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "config" / "rtvc" / "presets"
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text("[values", "utf-8")
    code, out, err = run(capsys, "presets")
    assert code == 1
    assert "robot" in out
    assert "bad.toml: is not TOML" in err


def test_asking_for_a_pitch_turns_the_own_voice_into_the_shaped_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_preset("natural").vector()[INDEX["voice.name"]] != default_values()[INDEX["voice.name"]]
    run(capsys, "presets", "save", "a", "--preset", "natural", "--pitch", "3")
    run(capsys, "presets", "save", "b", "--preset", "natural", "--set", "level.gain_db=3")
    run(capsys, "presets", "save", "c", "--pitch", "3", "--set", "voice.name=own")
    voices = [find_preset(name).vector()[INDEX["voice.name"]] for name in "abc"]
    own = find_preset("natural").vector()[INDEX["voice.name"]]
    assert voices == [default_values()[INDEX["voice.name"]], own, own]


def test_the_settings_preset_is_used_where_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run(capsys, "config", "path")[1].strip())
    path.parent.mkdir(parents=True)
    path.write_text('[voice]\npreset = "deep"\n', "utf-8")
    run(capsys, "presets", "save", "mine")
    assert np.array_equal(find_preset("mine").vector(), find_preset("deep").vector())
    shown = run(capsys, "config")[1]
    assert shown.startswith(f"# {path}\n")
    (tmp_path / "again.toml").write_text(shown, "utf-8")
    assert load_settings(tmp_path / "again.toml").voice.preset == "deep"


def test_a_neural_voice_starts_from_its_own_pitch_whatever_preset_the_settings_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(run(capsys, "config", "path")[1].strip())
    path.parent.mkdir(parents=True)
    path.write_text('[voice]\npreset = "deep"\n', "utf-8")
    run(capsys, "presets", "save", "a", "--voice", "emma", "--pitch", "2")
    wanted = to_vector({"voice.name": "neural", "voice.timbre": "emma", "pitch.semitones": 2})
    assert np.array_equal(find_preset("a").vector(), wanted)
    run(capsys, "presets", "save", "b", "--voice", "emma", "--preset", "deep")
    assert find_preset("b").vector()[INDEX["pitch.target_hz"]] == find_preset("deep").vector()[INDEX["pitch.target_hz"]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_signal_ends_a_conversion_and_leaves_nothing_half_written(
    tmp_path: Path, number: int, code: int, jobs: str
) -> None:
    (tmp_path / "in").mkdir()
    first = sound(tmp_path / "in" / "0.wav", 200)
    os.link(first, tmp_path / "in" / "1.wav")
    command = [sys.executable, "-m", "rtvc", "convert", "in", "out", "--jobs", jobs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        while not _busy(tmp_path / "out", process):
            assert process.poll() is None
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in err
    assert not out
    assert not list((tmp_path / "out").iterdir())


def _busy(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process of the group holds an open file in folder, named or not."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) == process.pid:
                links = [os.readlink(link) for link in (entry / "fd").iterdir()]
                if any(link.startswith(str(folder)) for link in links):
                    return True
        except OSError:
            continue
    return False
