"""On less than a minute of generated vowels every network learns within seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rtvc.models.encoder import POSITIONS, ContentEncoder, EncoderShape
from rtvc.models.generator import Generator
from rtvc.models.speaker import SpeakerEncoder
from rtvc.train import TrainingError
from rtvc.train.align import Listener, align
from rtvc.train.batches import SILENT_ENERGY, EncoderBatches, Spoiling, follow, melody
from rtvc.train.codebook import token_given_code
from rtvc.train.dataset import LATENT, Item, SetWriter, TrainingSet
from rtvc.train.encoder import EncoderPlan, EncoderTrainee, optimiser_of
from rtvc.train.generator import Distillation, DistilPlan, fitted
from rtvc.train.loop import Loop, Schedule
from rtvc.train.shipped import shipped_speaker
from rtvc.train.speaker import SpeakerPlan, SpeakerTrainee
from tests.rtvc.train.toy import toy_set, vowels

pytestmark = pytest.mark.usefixtures("undrawn")
SHAPE = EncoderShape(width=64, layers=1, head_width=64)
GENTLE = Spoiling(tempo=0.3, tempo_log=0.1, warp=0.0, degrade=False, pause=0.0, noise_alone=0.0)
PLAN = EncoderPlan(
    schedule=Schedule(steps=150, warm_up=10, save_every=1000, evaluate_every=1000, log_every=25),
    batch=4,
    seconds=2.0,
    encoder_rate=2e-3,
    head_rate=4e-3,
    spoiling=GENTLE,
    half_precision=False,
    shape=SHAPE,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return toy_set(tmp_path_factory.mktemp("set"))


def test_the_encoder_learns_the_vowels_and_then_aligns_a_recording(data: TrainingSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    content = ContentEncoder(SHAPE)
    trainee = EncoderTrainee(content, data, EncoderBatches(data, (), PLAN.seconds, PLAN.spoiling), PLAN)
    run = Loop(tmp_path, content, optimiser_of(content, PLAN), PLAN.schedule, PLAN.seed)
    run.run(trainee.losses, trainee.evaluate)
    content.eval()
    with torch.no_grad():
        held_out = trainee.evaluate()
    assert held_out["held out, phones right/synthetic clear"] > 0.75  # 0.125 by chance
    (item,) = data.dev
    listener = Listener(content, token_given_code(data, smoothing=1e-3))
    frames, _ = align(listener.log_posteriors(data.sound(item))[: sum(item.frames)], list(item.tokens))
    off = np.abs(np.cumsum(frames) - np.cumsum(item.frames))
    assert np.median(off) <= 2


def test_the_encoder_learns_from_what_it_says_of_the_whole(data: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    content, batches = ContentEncoder(SHAPE), EncoderBatches(data, (), 1.0)
    trainee = EncoderTrainee(content, data, batches, replace(PLAN, batch=2, seconds=1.0, half_precision=False))
    heard: list[tuple[str, torch.Tensor]] = []
    monkeypatch.setattr(trainee, "_losses_of", lambda name, said, _: heard.append((name, said)))
    for step in range(2):
        trainee.losses(np.random.default_rng(step), step)
        rng = np.random.default_rng(step)
        mel, position = torch.tensor(batches.draw(rng, 2).mel), int(rng.integers(0, POSITIONS))
        name, said = heard[step]
        assert torch.equal(said, content(mel, position)[name])
    assert [name for name, _ in heard] == ["fast", "clear"]


def test_a_run_of_the_encoder_that_was_interrupted_ends_as_if_it_had_not_been(
    data: TrainingSet, tmp_path: Path
) -> None:
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=4), batch=2, seconds=1.0)

    def trained(folder: Path, stop_at: int = -1) -> list[torch.Tensor]:
        torch.manual_seed(0)
        content = ContentEncoder(SHAPE)
        trainee = EncoderTrainee(content, data, EncoderBatches(data, (), plan.seconds), plan)
        run = Loop(folder, content, optimiser_of(content, plan), plan.schedule, plan.seed)

        def losses(rng: np.random.Generator, step: int) -> Mapping[str, torch.Tensor]:
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            return trainee.losses(rng, step)

        run.run(losses)
        return list(content.state_dict().values())

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "halves", 1)
    halves = trained(tmp_path / "halves")
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))


class Wise:
    """A teacher whose hidden frames are a fixed product of its inputs."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._weight = rng.standard_normal((128, 256)).astype(np.float32) / 30

    def hidden(
        self, z: NDArray[np.float32], f0_hz: NDArray[np.float32], energy: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return z @ self._weight + 0.01 * np.log(f0_hz + 1)[:, None]


def test_the_decoder_learns_its_teachers_hidden_frames(data: TrainingSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator()
    plan = DistilPlan(Schedule(steps=60, warm_up=5, save_every=1000), batch=4, frames=60)
    trained = [p for name, p in generator.named_parameters() if not name.startswith(("head", "film"))]
    run = Loop(tmp_path, generator, torch.optim.AdamW(trained, lr=2e-3), plan.schedule, 0)
    trainee = Distillation(generator, data, Wise(), plan)

    def error() -> float:
        with torch.no_grad():
            return float(trainee.losses(np.random.default_rng(1), 0)["loss/relative error"])

    before = error()
    run.run(trainee.losses)
    assert error() < 0.2 * before


def pitched_voices(folder: Path, token_frames: int = 16) -> TrainingSet:
    """Make a set of renditions of ten tokens each whose timbre is their pitch, the last four held out."""
    rng = np.random.default_rng(0)
    with SetWriter(folder) as writer:
        for k in range(24):
            f0_hz = (100.0, 250.0)[k % 2] * float(rng.uniform(0.9, 1.1))
            frames, tokens = [token_frames] * 10, [0, *(int(token) for token in rng.integers(1, 9, 8)), 0]
            start, n = writer.add_sound(vowels(frames, tokens, 16000, f0_hz))
            timbre = np.linspace(-1.0, 1.0, LATENT) * np.log2(f0_hz / 160.0)
            writer.items.append(
                Item(
                    "toy", f"voice{k % 2}", f"{k}/0", "", start, n, row=0, tokens=tokens, frames=frames, frame0=0,
                    tv=writer.add_timbre(timbre.astype(np.float32)), dev=k >= 20,
                )
            )  # fmt: skip
    return TrainingSet(folder)


def test_the_speaker_encoder_learns_the_timbres_of_voices(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SpeakerEncoder(width=64)
    network.lstm.load_state_dict(shipped_speaker().lstm.state_dict())  # they come trained and stay as they are
    plan = SpeakerPlan(Schedule(steps=60, warm_up=5, save_every=1000), batch=16, spoilings=2)
    trainee = SpeakerTrainee(network, pitched_voices(tmp_path / "set"), plan)
    trainee.scale()
    trained = [p for name, p in network.named_parameters() if not name.startswith(("lstm", "linear"))]
    run = Loop(tmp_path, network, torch.optim.AdamW(trained, lr=2e-3), plan.schedule, 0)

    def told() -> tuple[float, float]:
        network.eval()
        with torch.no_grad():
            loss = float(trainee.losses(np.random.default_rng(1), 0)["loss/timbre"])
            return loss, trainee.evaluate()["dev/error"]

    before = told()
    network.train()
    run.run(trainee.losses)
    after = told()
    assert after[0] < 0.1 * before[0] and after[1] < 0.1 * before[1]


def test_renditions_too_short_for_a_voice_are_passed_by_and_a_silent_one_is_named(tmp_path: Path) -> None:
    network, plan = SpeakerEncoder(width=64), SpeakerPlan(batch=4, spoilings=1)
    with pytest.raises(TrainingError, match=r"no renditions of 1\.5 s or more with timbres"):
        SpeakerTrainee(network, pitched_voices(tmp_path / "short", 8), plan)
    data = pitched_voices(tmp_path / "set")
    data.sound = lambda item: np.zeros(item.n, np.float32)  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"the rendition \d+/0 cannot be used: .* too little"):
        SpeakerTrainee(network, data, plan).losses(np.random.default_rng(0), 0)


def test_a_sequence_has_the_length_asked_for_and_its_labels_follow_the_tempo(data: TrainingSet) -> None:
    batches = EncoderBatches(data, (), 3.0)
    drawn = batches.draw(np.random.default_rng(0), 3)
    assert drawn.mel.shape == (3, 300, 80)
    assert drawn.rows.shape == drawn.energy.shape == drawn.voiced.shape == (3, 240)
    assert follow(5, 2.0, 100).tolist() == [0, 2, 4, 6, 8]
    assert follow(5, 0.5, 2).tolist() == [0, 0, 1, 1, 1]
    again = batches.draw(np.random.default_rng(0), 3)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_the_labels_of_recordings_are_unknown_not_zero(data: TrainingSet) -> None:
    item = data.items[0]
    energy, voiced = melody(data, item)
    assert (energy == 3.0).all() and (voiced == 1.0).all()
    energy, voiced = melody(data, replace(item, frame0=-1))
    assert np.isnan(energy).all() and np.isnan(voiced).all()


def test_cuts_that_are_too_short_end_in_copies_of_their_last_row() -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert fitted(x, 2).tolist() == [[0, 1], [2, 3]]
    assert fitted(x, 5)[2:].tolist() == [[4, 5]] * 3


def test_a_set_with_nothing_to_learn_from_says_so(tmp_path: Path) -> None:
    with SetWriter(tmp_path) as writer:
        writer.items.append(Item("s", "a", "u", "text", *writer.add_sound(np.ones(1000, np.float32))))
    with pytest.raises(TrainingError, match="align has to come first"):
        EncoderBatches(TrainingSet(tmp_path))


def test_noise_alone_is_labelled_as_the_silence_before_speech_and_pauses_are_silent(data: TrainingSet) -> None:
    rng = np.random.default_rng(0)
    first_rows = {item.row for item in data.train}
    alone = EncoderBatches(data, (), 2.0, replace(GENTLE, noise_alone=1.0)).sequence(rng)
    assert set(alone.rows) <= first_rows and (alone.energy == SILENT_ENERGY).all() and not alone.voiced.any()
    assert alone.mel.std() > 0.01
    paused = EncoderBatches(data, (), 4.0, replace(GENTLE, pause=1.0)).sequence(rng)
    silent = paused.energy == SILENT_ENERGY
    assert 0.05 < silent.mean() < 0.6 and set(paused.rows[silent]) <= first_rows
