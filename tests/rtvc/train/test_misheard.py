"""The decoder trained on what is misheard, on generated vowels."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.models.encoder import CODES, ContentEncoder, EncoderShape
from rtvc.models.generator import AHEAD, TIMBRE, Generator
from rtvc.models.speaker import SpeakerEncoder
from rtvc.train import TrainingError
from rtvc.train.dataset import VOICED_HZ, TrainingSet
from rtvc.train.generator import TEACHER_REACH
from rtvc.train.given import heard, true
from rtvc.train.loop import Schedule, load_weights, write_checkpoint
from rtvc.train.misheard import Misheard, MisheardPlan, disturbed, misheard_run, train_misheard
from rtvc.train.recogniser import Recogniser
from rtvc.train.windows import Cutting
from tests.rtvc.train.toy import toy_set

pytestmark = pytest.mark.usefixtures("undrawn")
SHAPE = EncoderShape(width=64, layers=2, head_width=64)
PLAN = MisheardPlan(
    Schedule(steps=4, warm_up=1, save_every=1000, clip_norm=10.0),
    batch=2, cutting=Cutting(frames=48, history=8, home=1.0, clear=0.5), half_precision=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return toy_set(tmp_path_factory.mktemp("set"))


def misheard(data: TrainingSet, plan: MisheardPlan = PLAN) -> Misheard:
    torch.manual_seed(0)
    networks = ContentEncoder(SHAPE), Generator(), Recogniser(SHAPE), SpeakerEncoder()
    return Misheard(*networks, data, plan)


def test_every_loss_moves_the_decoder_and_no_encoder(data: TrainingSet) -> None:
    made = misheard(data)
    losses = made.losses(np.random.default_rng(0), 0)
    assert set(losses) == {"loss/spectra", "loss/recogniser", "loss/likeness"}
    first = made.generator.dec_in.weight
    for name in losses:
        (grad,) = torch.autograd.grad(losses[name], first, retain_graph=True)
        assert bool(torch.isfinite(grad).all()) and float(grad.abs().max()) > 0, name
    assert not any(weight.requires_grad for weight in made._content.parameters())


def test_who_hears_no_mistake_is_given_the_truth(data: TrainingSet) -> None:
    plan = replace(PLAN, batch=8, cutting=replace(PLAN.cutting, clear=0.0))
    made = misheard(data, plan)
    windows, said = made._hear(0)
    sure = torch.nn.functional.one_hot(windows.codes.clamp_min(0), CODES) * 100.0
    told = {name: torch.cat([sure[:, : value.shape[1]], value[..., CODES:]], -1) for name, value in said.items()}
    cut = windows.inside[:, TEACHER_REACH : TEACHER_REACH + plan.cutting.frames + AHEAD]
    whole = cut.all(1)  # of frames outside an utterance heads know no code
    assert int(whole.sum()) > 1
    inputs = heard(windows, told, made._codebook, plan.cutting)
    wanted = true(windows, inputs, made._codebook, plan.cutting)
    assert torch.allclose(inputs.x[whole], wanted.x[whole], atol=1e-4)
    assert not torch.allclose(heard(windows, said, made._codebook, plan.cutting).x[whole], wanted.x[whole], atol=1e-4)
    with torch.no_grad():
        sound, real = made.sounds(windows, told, torch.zeros(8, TIMBRE))
    assert sound.shape == real.shape == (8, 38 * 300)


def test_noise_is_on_matrices_only_as_large_as_told_and_drawn_again_the_same() -> None:
    network = ContentEncoder(SHAPE)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    disturbed(network, weights, 0.25, np.random.default_rng(3))
    once = {name: value.clone() for name, value in network.state_dict().items()}
    for name, value in weights.items():
        moved = float((once[name] - value).std() / value.std()) if value.dim() > 1 else 0.0
        assert moved == pytest.approx(0.25 if value.dim() > 1 else 0.0, rel=0.2), name
        if value.dim() < 2:
            assert torch.equal(once[name], value)
    disturbed(network, weights, 0.25, np.random.default_rng(3))
    assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())
    disturbed(network, weights, 0.0, np.random.default_rng(3))
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_every_voice_sings_at_its_own_pitch(data: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    made, sung = misheard(data), []
    sounds = made.sounds
    monkeypatch.setattr(made, "sounds", lambda windows, *rest: sung.append(windows) or sounds(windows, *rest))
    made.losses(np.random.default_rng(0), 0)
    medians = {round(float(value), 1) for value in made._voices[1]}
    found = [float(f0_hz[0][f0_hz[0] > VOICED_HZ].median()) for f0_hz in sung[0].f0_hz]
    assert all(min(abs(hz - median) for median in medians) < 3.0 for hz in found)


def test_a_decoder_of_one_voice_is_refused(data: TrainingSet, tmp_path: Path) -> None:
    for name, network in (("encoder", ContentEncoder()), ("generator", Generator())):
        write_checkpoint(tmp_path / f"{name}.pt", {"model": network.state_dict()})
    files = tmp_path / "encoder.pt", tmp_path / "generator.pt", tmp_path / "model.bin"
    with pytest.raises(TrainingError, match=r"generator\.pt: has one voice only"):
        train_misheard(data.folder, tmp_path / "run", PLAN, *files)


def test_an_interrupted_run_ends_as_if_it_had_not_been(data: TrainingSet, tmp_path: Path) -> None:
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=2))
    whole = misheard(data, plan)
    assert misheard_run(tmp_path / "whole", whole, plan).run(whole.losses)["loss/likeness"] >= 0.0

    first = misheard(data, plan)

    def stopping(rng: np.random.Generator, step: int) -> Mapping[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        return first.losses(rng, step)

    with pytest.raises(KeyboardInterrupt):
        misheard_run(tmp_path / "parts", first, plan).run(stopping)
    rest = misheard(data, plan)
    again = misheard_run(tmp_path / "parts", rest, plan)
    assert again.step == 1
    again.run(rest.losses)
    states = []
    for folder in ("whole", "parts"):
        network = Generator()
        load_weights(network, tmp_path / folder / "generator.pt")
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
