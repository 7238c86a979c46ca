"""A run that is stopped and started again ends where one that was never stopped ends, to the last bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtvc.train import TrainingError
from rtvc.train.curves import Log, draw, read_curves
from rtvc.train.loop import Loop, Schedule, load_weights, read_checkpoint

PLAN = Schedule(steps=12, warm_up=3, save_every=4, log_every=2, evaluate_every=6)
Losses = Callable[[np.random.Generator, int], Mapping[str, Tensor]]


def loop(folder: Path, plan: Schedule = PLAN) -> Loop:
    torch.manual_seed(5)
    model = nn.Linear(3, 1)
    return Loop(folder, model, torch.optim.AdamW(model.parameters(), lr=0.1), plan, seed=7)


def learning(run: Loop, stop_at: int = -1, by: int = signal.SIGINT) -> Losses:
    def losses(rng: np.random.Generator, step: int) -> Mapping[str, Tensor]:
        x = torch.tensor(rng.standard_normal((8, 3)).astype(np.float32)) + 0.1 * torch.randn(8, 3)
        if step == stop_at:
            os.kill(os.getpid(), by)
        error = ((run.model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        return {"loss/squares": error, "accuracy/none": error.detach() * 0}

    return losses


def weights(run: Loop) -> Tensor:
    return torch.cat([p.detach().ravel() for p in run.model.parameters()])


def test_a_run_learns_and_writes_checkpoint_log_and_curves(tmp_path: Path) -> None:
    run = loop(tmp_path, Schedule(steps=400, warm_up=5, save_every=200, log_every=10))
    means = run.run(learning(run), lambda: {"held out/answer": 42.0})
    assert means["loss/squares"] < 0.05
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "last.pt", "log.csv"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    curves = read_curves(tmp_path / "log.csv")
    assert [step for step, _ in curves["loss/squares"]] == list(range(10, 401, 10))
    assert curves["held out/answer"] == [(400, 42.0)]
    assert curves["loss/squares"][0][1] > 10 * curves["loss/squares"][-1][1]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("stop_at", [1, 5, 8])
def test_resuming_continues_exactly(tmp_path: Path, stop_at: int) -> None:
    whole = loop(tmp_path / "whole")
    wanted = whole.run(learning(whole))
    broken = loop(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        broken.run(learning(broken, stop_at))
    assert broken.step == stop_at + 1
    torch.manual_seed(99)  # whatever else drew in between
    again = loop(tmp_path / "broken")
    assert again.step == stop_at + 1
    assert again.run(learning(again)) == wanted
    assert torch.equal(weights(again), weights(whole))
    assert read_curves(tmp_path / "broken" / "log.csv") == read_curves(tmp_path / "whole" / "log.csv")


@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_loses_only_what_came_after_its_last_checkpoint(tmp_path: Path) -> None:
    whole = loop(tmp_path / "whole")
    whole.run(learning(whole))
    killed = loop(tmp_path / "killed")

    def losses(rng: np.random.Generator, step: int) -> Mapping[str, Tensor]:
        if step == 7:
            raise OSError("power cut")
        return learning(killed)(rng, step)

    with pytest.raises(OSError, match="power cut"):
        killed.run(losses)
    again = loop(tmp_path / "killed")
    assert again.step == 4
    again.run(learning(again))
    assert torch.equal(weights(again), weights(whole))
    assert read_curves(tmp_path / "killed" / "log.csv") == read_curves(tmp_path / "whole" / "log.csv")


def test_terminating_saves_too_and_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run = loop(tmp_path)
    with pytest.raises(SystemExit) as code:
        run.run(learning(run, 2, signal.SIGTERM))
    assert code.value.code == 143
    assert read_checkpoint(tmp_path / "last.pt")["step"] == 3
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_step_without_a_finite_loss_changes_nothing_and_many_end_the_run(tmp_path: Path) -> None:
    run = loop(tmp_path, Schedule(steps=100))
    before = weights(run)

    def losses(_rng: np.random.Generator, _step: int) -> Mapping[str, Tensor]:
        return {"loss": run.model(torch.full((1, 3), float("nan"))).sum()}

    with pytest.raises(TrainingError, match="20 steps without a finite loss"):
        run.run(losses)
    assert torch.equal(weights(run), before)


def test_many_steps_without_a_loss_whose_values_are_not_finite_end_the_run_too(tmp_path: Path) -> None:
    run = loop(tmp_path, Schedule(steps=100))
    with pytest.raises(TrainingError, match="without a finite loss"):
        run.run(lambda *_: {"judges": torch.tensor(float("nan"))})
    assert run._means == {}


def test_the_rate_rises_then_falls_to_its_floor() -> None:
    plan = Schedule(steps=1000, warm_up=50, floor=0.02)
    assert plan.factor(0) == pytest.approx(1 / 50)
    assert plan.factor(50) == pytest.approx(1.0, abs=0.01)
    assert plan.factor(1000) == pytest.approx(0.02)
    assert all(plan.factor(k) > plan.factor(k + 1) for k in range(50, 999))


def test_checkpoints_of_a_program_that_kept_no_random_state_are_taken_up(tmp_path: Path) -> None:
    run = loop(tmp_path)
    torch.save({"model": run.model.state_dict(), "opt": run.optimiser.state_dict(), "step": 5}, tmp_path / "last.pt")
    assert loop(tmp_path).step == 5


def test_foreign_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(TrainingError, match="no such file"):
        read_checkpoint(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="is no checkpoint") as told:
        loop(tmp_path)
    assert "weights_only" not in str(told.value)  # PyTorch's advice to run what lies in it
    torch.save({"weights": 1}, path)
    with pytest.raises(TrainingError, match="has no model"):
        read_checkpoint(path)
    torch.save({"model": nn.Linear(4, 1).state_dict(), "opt": {}, "step": 1}, path)
    with pytest.raises(TrainingError, match="another network"):
        loop(tmp_path)
    with pytest.raises(TrainingError, match="of another network"):
        load_weights(nn.Linear(3, 1), path)


def test_weights_that_may_be_absent_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    state = nn.Linear(3, 1).state_dict()
    torch.save({"model": {"film.weight": torch.ones(1), "weight": state["weight"]}}, path)
    load_weights(nn.Linear(3, 1), path, optional=("bias",))
    with pytest.raises(TrainingError, match="lacks bias"):
        load_weights(nn.Linear(3, 1), path, optional=("film",))


def test_a_log_that_was_cut_off_is_read_to_where_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = Log(path, 0)
    log.write(10, 1.0, {"loss/a": 2.0})
    log.write(20, 2.0, {"loss/a": 1.0})
    log.close()
    path.write_text(path.read_text() + "30,3.0,lo")
    assert read_curves(path) == {"loss/a": [(10, 2.0), (20, 1.0)]}
    draw(path, tmp_path / "a.png")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TrainingError, match="no training log"):
        read_curves(tmp_path / "b.csv")


def test_rates_are_zero_while_they_wait_and_then_warm_up() -> None:
    plan = Schedule(steps=1000, warm_up=2, wait=3)
    assert [plan.factor(step) for step in range(3)] == [0.0, 0.0, 0.0]
    assert plan.factor(3) == pytest.approx(0.5, abs=1e-3) and plan.factor(4) == pytest.approx(1.0, abs=1e-3)


def test_steps_without_a_loss_change_nothing_and_parts_are_clipped_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"steep": nn.Linear(1, 1), "flat": nn.Linear(1, 1)})
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    plan = Schedule(steps=2, warm_up=1, floor=1.0)
    limits = [(model["steep"], 0.1), (model["flat"], 10.0)]
    run = Loop(tmp_path, model, optimiser, plan, seed=0, clip_norms=limits)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def losses(_rng: np.random.Generator, step: int) -> Mapping[str, Tensor]:
        if step == 0:
            return {"judges' loss": torch.zeros(())}
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        return {"loss": 1000.0 * model["steep"].bias.sum() + model["flat"].bias.sum()}

    run.run(losses)
    moved = {name: float((before[name] - value).abs().max()) for name, value in model.state_dict().items()}
    assert moved["steep.bias"] == pytest.approx(0.1, abs=1e-5) and moved["flat.bias"] == pytest.approx(1.0, abs=1e-5)
