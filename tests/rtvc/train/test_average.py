"""The average of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rtvc.cli import main
from rtvc.train import TrainingError
from rtvc.train.average import average
from rtvc.train.loop import read_checkpoint, write_checkpoint


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.pt" for name in "ab"]
    for k, path in enumerate(paths):
        model = {"weight": torch.full((2, 3), 4.0 * k), "steps": torch.tensor(7)}
        write_checkpoint(path, {"model": model, "step": 10 + k, "opt": {}})
    return paths


def test_it_is_by_equal_shares_or_by_those_given(files: list[Path], tmp_path: Path) -> None:
    average(tmp_path / "out.pt", files)
    found = read_checkpoint(tmp_path / "out.pt")
    assert torch.equal(found["model"]["weight"], torch.full((2, 3), 2.0)) and found["step"] == 11 and "opt" not in found
    assert found["model"]["steps"] == 7
    argv = ["train", "average", str(tmp_path / "out.pt"), *map(str, files), "--shares", "0.75,0.25"]
    assert main(argv) == 0
    assert torch.equal(read_checkpoint(tmp_path / "out.pt")["model"]["weight"], torch.full((2, 3), 1.0))


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.6], [0.2, 0.3, 0.5]])
def test_shares_that_do_not_fit_are_refused(files: list[Path], tmp_path: Path, shares: list[float]) -> None:
    with pytest.raises(TrainingError, match=f"{len(shares)} shares that sum to"):
        average(tmp_path / "out.pt", files, shares)
    assert not (tmp_path / "out.pt").exists()


def test_shares_that_are_no_numbers_are_told(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "average", "out.pt", *map(str, files), "--shares", "half"]) == 1
    assert "--shares half: are no numbers" in capsys.readouterr().err


def test_another_network_is_refused(files: list[Path], tmp_path: Path) -> None:
    write_checkpoint(files[1], {"model": {"weight": torch.zeros(3, 2), "steps": torch.tensor(7)}})
    with pytest.raises(TrainingError, match=r"b\.pt: is of another network than .*a\.pt"):
        average(tmp_path / "out.pt", files)
