"""`rtvc train` explains every step, says what is missing, and takes a corpus of nothing to a set."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtvc.cli import main
from rtvc.train import commands
from rtvc.train.commands import STEPS
from rtvc.train.dataset import TrainingSet
from tests.rtvc.train.toy import toy_set

JOINT = ["--encoder", "e.pt", "--generator", "g.pt", "--recogniser", "model.bin"]


@pytest.mark.parametrize("name", list(STEPS))
def test_every_step_explains_itself_with_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["train", name, "--help"])
    assert exit_code.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(r"^  (rtvc train .*)$", text, re.MULTILINE)
    assert examples and all(example.split()[2] == name for example in examples)
    options = {word for example in examples for word in example.split() if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", text.split("examples:")[0]))


def test_help_needs_no_heavy_import() -> None:
    show = "print([name for name in ('torch', 'numpy', 'onnx', 'matplotlib') if name in sys.modules])"
    script = f"import sys; from rtvc.cli import main\ntry: main(['train', 'data', '--help'])\nfinally: {show}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_missing_extra_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "NEEDED", ("onnx", "no_such_torch"))
    assert main(["train", "card", str(tmp_path), "--set", str(tmp_path)]) == 1
    assert "training needs no_such_torch: pip install 'rtvc[train]'" in capsys.readouterr().err


def test_data_makes_a_set_and_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    soundfile.write(folder / "good.wav", 0.2 * np.sin(np.arange(24000) * 0.05), 16000)
    soundfile.write(folder / "short.wav", 0.2 * np.sin(np.arange(2400) * 0.05), 16000)
    assert main(["train", "data", str(folder), str(tmp_path / "set"), "--licence", "mine"]) == 0
    out, err = capsys.readouterr()
    assert "1 utterances" in out and "no utterance is aligned yet" in out
    assert "left out 1: shorter than 0.5 s" in err
    assert TrainingSet(tmp_path / "set").manifest()["sources"]["mine"]["licence"] == "mine"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["encoder", "SET", "run"], "items.json: no such file"),
        (["generator", "voices", "SET", "run"], "--init is needed"),
        (["data", "SET/gone", "SET", "--licence", "x"], "no such folder"),
        (["encoder", "SET", "run", "--device", "abacus"], "--device abacus: cannot be used here"),
        (["align", "SET", "gone.pt"], "gone.pt: no such file"),
        (["joint", "SET", "run", *JOINT, "--steps", "150"], "--steps 150: more than 150 are needed"),
        (["joint", "SET", "run", *JOINT], "items.json: no such file"),
        (
            [
                "export",
                "out",
                "--encoder",
                "e.pt",
                "--generator",
                "g.pt",
                "--speaker",
                "s.pt",
                "--set",
                "SET",
                "--kokoro-voices",
                "v",
            ],
            "items.json: no such file",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(
    argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SET").mkdir()
    assert main(["train", *argv]) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_init_of_another_network_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_set(tmp_path / "set", seconds=4.0)
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    argv = ["train", "encoder", str(tmp_path / "set"), str(tmp_path / "run"), "--init", str(tmp_path / "x.pt")]
    assert main(argv) == 1
    assert "x.pt: is no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
