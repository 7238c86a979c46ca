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
from rtvc.train.adversarial import VoicesPlan
from rtvc.train.commands import STEPS
from rtvc.train.dataset import TrainingSet
from rtvc.train.encoder import EncoderPlan
from rtvc.train.generator import DistilPlan
from rtvc.train.joint import JointPlan
from rtvc.train.speaker import SpeakerPlan
from tests.rtvc.train.toy import CODES, toy_set

Plan = EncoderPlan | DistilPlan | VoicesPlan | JointPlan | SpeakerPlan

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
    assert main(["train", "shipped", str(tmp_path / "start")]) == 1
    assert "training needs no_such_torch: pip install 'rtvc[train]'" in capsys.readouterr().err


def test_data_makes_a_set_and_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    soundfile.write(folder / "good.wav", 0.2 * np.sin(np.arange(24000) * 0.05), 16000)
    soundfile.write(folder / "short.wav", 0.2 * np.sin(np.arange(2400) * 0.05), 16000)
    assert main(["train", "data", str(folder), str(tmp_path / "set"), "--licence", "mine"]) == 0
    out, err = capsys.readouterr()
    assert "1 utterances, 0.00 h, 0 of them held out" in out and "no utterance is aligned yet" in out
    assert "left out 1: shorter than 0.5 s" in err
    assert TrainingSet(tmp_path / "set").manifest()["sources"]["mine"]["licence"] == "mine"


def test_a_codebook_is_looked_at_before_anything_is_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    soundfile.write(tmp_path / "mine" / "good.wav", 0.2 * np.sin(np.arange(24000) * 0.05), 16000)
    argv = ["train", "data", str(tmp_path / "mine"), str(tmp_path / "set"), "--licence", "mine", "--codebook"]
    assert main([*argv, str(tmp_path / "gone.npy")]) == 1
    assert "gone.npy: no such file" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
    np.save(tmp_path / "codes.npy", np.zeros((CODES, 128), np.float32))
    assert main([*argv, str(tmp_path / "codes.npy")]) == 0
    assert TrainingSet(tmp_path / "set").codebook.shape == (CODES, 128)


@pytest.mark.parametrize(
    ("name", "plans"),
    [
        ("encoder", {"": EncoderPlan()}),
        ("generator", {"distil ": DistilPlan(), "voices ": VoicesPlan()}),
        ("joint", {"": JointPlan()}),
        ("speaker", {"": SpeakerPlan()}),
    ],
)
def test_help_says_how_many_steps_and_sequences_there_are_if_nothing_is_said(
    name: str, plans: dict[str, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"ends with it ({', '.join(f'{stage}{plan.schedule.steps}' for stage, plan in plans.items())})" in text
    assert all(f"sequences a step ({plan.batch})" in text for plan in plans.values())


def test_help_of_shipped_says_that_it_wants_a_new_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "shipped", "--help"])
    assert "into a new folder" in " ".join(capsys.readouterr().out.split())


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
