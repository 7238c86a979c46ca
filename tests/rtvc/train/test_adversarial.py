"""Training against discriminators, on generated vowels."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtvc.models.discriminators import Discriminators
from rtvc.models.encoder import ContentEncoder, EncoderShape
from rtvc.models.generator import BINS, INPUTS, Generator
from rtvc.train import TrainingError, adversarial
from rtvc.train.adversarial import HomeVoice, Voices, VoicesPlan, train_voices
from rtvc.train.dataset import SetWriter, TrainingSet
from rtvc.train.hearing import Hearing
from rtvc.train.judging import Judging
from rtvc.train.loop import Loop, Schedule, read_checkpoint, write_checkpoint
from tests.rtvc.train.toy import toy_set

pytestmark = pytest.mark.usefixtures("undrawn")
PLAN = VoicesPlan(
    Schedule(steps=14, warm_up=2, save_every=1000, clip_norm=10.0),
    batch=2, frames=40, history=8, rate=2e-3, heard=0.5, home=0.0, half_precision=False,
)  # fmt: skip


class Mute:
    """A teacher who says nothing and leaves the weights as they are."""

    def fill(self, generator: Generator) -> None:
        torch.nn.init.constant_(generator.head.weight, 0.0)
        torch.nn.init.constant_(generator.head.bias, -20.0)

    def hidden(self, z: np.ndarray, f0_hz: np.ndarray, energy: np.ndarray) -> np.ndarray:
        return np.zeros((len(z), 256), np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return toy_set(tmp_path_factory.mktemp("set"))


def voices(data: TrainingSet, plan: VoicesPlan = PLAN, content: ContentEncoder | None = None) -> Voices:
    torch.manual_seed(0)
    hearing = Hearing(content, data) if content else None
    return Voices(Generator(), Discriminators(channels=4), data, Mute(), plan, hearing)


def trained(folder: Path, made: Voices, plan: VoicesPlan = PLAN) -> dict[str, float]:
    optimiser = torch.optim.AdamW(made.generator.parameters(), lr=plan.rate)
    beside = {"judges": made.judges, "judges' optimiser": made.optimiser}
    return Loop(folder, made.generator, optimiser, plan.schedule, 0, beside).run(made.losses)


def test_it_brings_the_sound_nearer_to_the_renditions(data: TrainingSet, tmp_path: Path) -> None:
    made = voices(data)
    torch.manual_seed(1)
    before = made.losses(np.random.default_rng(5), 0)["distance of spectra"]
    trained(tmp_path, made)
    torch.manual_seed(1)
    assert made.losses(np.random.default_rng(5), 0)["distance of spectra"] < 0.9 * before


def test_a_run_that_was_interrupted_goes_on_with_the_same_judges(data: TrainingSet, tmp_path: Path) -> None:
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=4))
    whole = voices(data, plan)
    trained(tmp_path / "whole", whole, plan)
    half = replace(plan, schedule=replace(plan.schedule, steps=2))
    trained(tmp_path / "parts", voices(data, half), half)
    rest = voices(data, plan)
    optimiser = torch.optim.AdamW(rest.generator.parameters(), lr=plan.rate)
    beside = {"judges": rest.judges, "judges' optimiser": rest.optimiser}
    loop = Loop(tmp_path / "parts", rest.generator, optimiser, plan.schedule, 0, beside)
    assert loop.step == 2
    assert rest.optimiser.state_dict()["state"]


def test_what_an_encoder_hears_replaces_codes_energy_and_voicing(data: TrainingSet) -> None:
    content = ContentEncoder(EncoderShape(width=64, layers=1, head_width=64))
    always = replace(PLAN, heard=1.0)
    true, heard = voices(data), voices(data, always, content)
    a, b = (v.draw(np.random.default_rng(0), 3) for v in (true, heard))
    assert a.x.shape == b.x.shape == (3, 40, INPUTS)
    assert not torch.equal(a.x[..., :128], b.x[..., :128])
    assert a.sound.abs().max() > 0.05


def test_the_home_voice_says_what_the_teacher_says(data: TrainingSet) -> None:
    cuts = voices(data, replace(PLAN, home=1.0, heard=0.0)).draw(np.random.default_rng(0), 2)
    assert cuts.sound.abs().max() < 1e-3
    assert torch.equal(cuts.timbre, torch.zeros(2, 128))


def test_a_set_without_timbres_is_told(data: TrainingSet, tmp_path: Path) -> None:
    with SetWriter(tmp_path):
        pass
    with pytest.raises(TrainingError, match="no synthetic rendition"):
        voices(TrainingSet(tmp_path))


def test_a_decoder_that_has_voices_keeps_the_teachers_timbre_where_it_is(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversarial, "Teacher", Mute)
    monkeypatch.setattr(adversarial, "Discriminators", lambda: Discriminators(channels=4))
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=1))
    generator, home = Generator(), np.arange(128, dtype=np.float32)

    def timbre_after(run: str, given: np.ndarray | None) -> np.ndarray:
        write_checkpoint(tmp_path / "init.pt", {"model": generator.state_dict()})
        train_voices(data.folder, tmp_path / run, plan, tmp_path / "init.pt", given)
        found: np.ndarray = read_checkpoint(tmp_path / run / "last.pt")["model"]["home"].numpy()
        return found

    with pytest.raises(TrainingError, match="has one voice only"):
        timbre_after("refused", None)
    np.testing.assert_array_equal(timbre_after("first", home), home)
    generator.home.copy_(torch.tensor(4.0 * home))
    np.testing.assert_array_equal(timbre_after("kept", home), 4.0 * home)
    np.testing.assert_array_equal(timbre_after("kept without", None), 4.0 * home)


def test_judges_learn_nothing_from_what_is_not_finite() -> None:
    torch.manual_seed(0)
    judging = Judging(Discriminators(channels=4), 1e-3, half_precision=False)
    before = [p.clone() for p in judging._judges.parameters()]
    real, made = torch.randn(1, 4800), torch.full((1, 4800), float("nan"))
    assert not bool(torch.isfinite(judging.learn(made, real)))
    assert all(torch.equal(a, b) for a, b in zip(before, judging._judges.parameters(), strict=True))
    judging.learn(torch.randn(1, 4800), real)
    assert any(not torch.equal(a, b) for a, b in zip(before, judging._judges.parameters(), strict=True))
    assert all(bool(torch.isfinite(p).all()) for p in judging._judges.parameters())


class Loud(Mute):
    """As loud as the first number of its codes says; what is louder is said sooner."""

    def fill(self, generator: Generator) -> None:
        super().fill(generator)
        generator.head.weight.data[:BINS, 0] = 1.0
        generator.head.bias.data[:BINS] = 0.0

    def hidden(self, z: np.ndarray, f0_hz: np.ndarray, energy: np.ndarray) -> np.ndarray:
        time.sleep(max(0.0, -0.02 * float(z[0, 0])))
        return np.pad(z[:, :1], ((0, 0), (0, 255)))


def test_the_home_voice_says_many_at_once_each_its_own() -> None:
    codes = np.repeat(np.array([-3.0, 0.0, -1.0, 1.0], np.float32)[:, None, None], 20, 1)
    f0_hz, energy = np.full((4, 20), 200.0, np.float32), np.zeros((4, 20), np.float32)
    with torch.no_grad():
        sounds = HomeVoice(Loud(), threads=4).sounds(codes, f0_hz, energy)
    level = torch.log(sounds[:, 1500:-1500].square().mean(1).sqrt())
    assert torch.allclose(level - level[1], torch.tensor([-3.0, 0.0, -1.0, 1.0]), atol=0.02)
