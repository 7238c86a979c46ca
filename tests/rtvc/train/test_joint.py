"""Joint training of encoder and decoder, on generated vowels."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.models.discriminators import Discriminators
from rtvc.models.encoder import CODES, ContentEncoder, EncoderShape
from rtvc.models.generator import CONTENT, DOUBT, INPUTS, LATER, PLAIN, Generator
from rtvc.train import TrainingError
from rtvc.train.dataset import TrainingSet
from rtvc.train.hearing import said_of
from rtvc.train.joint import Joint, JointPlan, JointRun, train_joint
from rtvc.train.loop import Schedule, load_weights, write_checkpoint
from rtvc.train.recogniser import Recogniser
from rtvc.train.windows import Cutting, Windows, WindowSet, stacked
from tests.rtvc.train.test_adversarial import Mute
from tests.rtvc.train.toy import toy_set

pytestmark = pytest.mark.usefixtures("undrawn")
SHAPE = EncoderShape(width=64, layers=2, head_width=64)
PLAN = JointPlan(
    Schedule(steps=3, wait=1, warm_up=1, save_every=1000, clip_norm=10.0),
    batch=2, cutting=Cutting(frames=40, history=8, home=0.0), half_precision=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return toy_set(tmp_path_factory.mktemp("set"))


def joint(data: TrainingSet, plan: JointPlan = PLAN) -> Joint:
    torch.manual_seed(0)
    networks = ContentEncoder(SHAPE), Generator(), Discriminators(channels=4), Recogniser(SHAPE)
    return Joint(*networks, data, Mute(), plan)


def drawn(data: TrainingSet, cutting: Cutting, count: int = 1) -> Windows:
    windows = WindowSet(data, (), cutting)
    return stacked([windows[k] for k in range(count)])


def test_judges_begin_alone_and_then_every_loss_moves_both_networks(data: TrainingSet) -> None:
    made = joint(data)
    assert set(made.losses(np.random.default_rng(0), 0)) == {"judges' loss"}
    losses = made.losses(np.random.default_rng(0), 1)
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    of_sound = {name for name in losses if name.startswith("loss/")}
    assert of_sound == {"loss/spectra", "loss/adversarial", "loss/features", "loss/recogniser"}
    for name in of_sound:
        head, first = made.content.heads[0].out.weight, made.content.encoder.conv1.weight
        inputs = [head, first, made.generator.dec_in.weight]
        grads = torch.autograd.grad(losses[name], inputs, retain_graph=True)
        assert all(bool(torch.isfinite(g).all()) and float(g.abs().max()) > 0 for g in grads), name


def test_codes_are_learnt_on(data: TrainingSet, tmp_path: Path) -> None:
    plan = replace(
        PLAN, schedule=replace(PLAN.schedule, steps=8, wait=0), head_rate=5e-3, encoder_rate=1e-3,
        spectra_weight=0.0, adversarial_weight=0.0, feature_weight=0.0, recogniser_weight=0.0,
    )  # fmt: skip
    made = joint(data, plan)

    def error() -> float:
        return float(made.losses(np.random.default_rng(9), 0)["loss of codes/fast"].detach())

    before = error()
    JointRun(tmp_path, made, plan).run(made.losses)
    assert error() < before - 0.5


def test_the_decoders_inputs_are_those_of_the_live_chain(data: TrainingSet) -> None:
    cutting = replace(PLAN.cutting, clear=1.0)
    made = joint(data, replace(PLAN, cutting=cutting))
    windows = drawn(data, cutting)
    with torch.no_grad():
        said = made.heads(windows, 0)
        x, f0_hz, energy = made._inputs(windows, said)
    frames, first = cutting.frames, int(windows.first) + 61
    now, soon = said["clear"][0, first : first + frames], said["fast"][0, first + 4 : first + 4 + frames]
    heard = said_of(now.numpy(), soon.numpy(), np.array(data.codebook), later=True)
    both = torch.stack([windows.f0_hz[0, 0, 61 : 61 + frames], windows.f0_hz[0, 1, 65 : 65 + frames]])
    voiced = torch.stack([now[:, CODES + 1], soon[:, CODES + 1]]) > 0
    inside = torch.stack([windows.inside[0, 61 : 61 + frames], windows.inside[0, 65 : 65 + frames]])
    wanted = torch.tensor(heard.inputs((both * (voiced & inside)).numpy()))
    assert x.shape == (1, frames, INPUTS) and f0_hz.shape == energy.shape == (1, cutting.span)
    here = inside.all(0)
    assert int(here.sum()) > 20
    for part in (slice(0, CONTENT), slice(CONTENT, PLAIN), DOUBT, LATER):
        assert torch.allclose(x[0, here, part], wanted[here, part], atol=1e-3)


def test_at_fast_nothing_later_is_heard(data: TrainingSet) -> None:
    cutting = replace(PLAN.cutting, clear=0.0)
    made = joint(data, replace(PLAN, cutting=cutting))
    windows = drawn(data, cutting)
    with torch.no_grad():
        x, _, _ = made._inputs(windows, made.heads(windows, 0))
    assert not x[..., LATER].any() and x[..., DOUBT].any()


def test_the_home_voice_says_what_the_teacher_says(data: TrainingSet) -> None:
    cutting = replace(PLAN.cutting, home=1.0)
    made = joint(data, replace(PLAN, cutting=cutting))
    windows = drawn(data, cutting, 2)
    with torch.no_grad():
        sound, real = made.sounds(windows, made.heads(windows, 0))
    assert sound.shape == real.shape == (2, 30 * 300)
    assert float(real.abs().max()) < 1e-3 < float(sound.abs().max())


def test_a_decoder_of_one_voice_is_refused(data: TrainingSet, tmp_path: Path) -> None:
    for name, network in (("encoder", ContentEncoder()), ("generator", Generator())):
        write_checkpoint(tmp_path / f"{name}.pt", {"model": network.state_dict()})
    files = tmp_path / "encoder.pt", tmp_path / "generator.pt", tmp_path / "model.bin"
    with pytest.raises(TrainingError, match=r"generator\.pt: has one voice only"):
        train_joint(data.folder, tmp_path / "run", PLAN, *files)


def test_an_interrupted_run_ends_as_if_it_had_not_been_and_leaves_both_networks(
    data: TrainingSet, tmp_path: Path
) -> None:
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=2, wait=0))
    whole = joint(data, plan)
    means = JointRun(tmp_path / "whole", whole, plan).run(whole.losses)
    assert means["loss/recogniser"] > 0 and "judges' loss" in means

    first = joint(data, plan)

    def stopping(rng: np.random.Generator, step: int) -> Mapping[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        return first.losses(rng, step)

    with pytest.raises(KeyboardInterrupt):
        JointRun(tmp_path / "parts", first, plan).run(stopping)
    rest = joint(data, plan)
    again = JointRun(tmp_path / "parts", rest, plan)
    assert again.step == 1
    again.run(rest.losses)
    for name, network in (("encoder", ContentEncoder(SHAPE)), ("generator", Generator())):
        states = []
        for folder in ("whole", "parts"):
            load_weights(network, tmp_path / folder / f"{name}.pt")
            states.append({k: v.clone() for k, v in network.state_dict().items()})
        assert all(torch.equal(value, states[1][k]) for k, value in states[0].items())
        trained = dict((whole.content if name == "encoder" else whole.generator).state_dict())
        assert any(not torch.equal(value, trained[k]) for k, value in states[0].items())
