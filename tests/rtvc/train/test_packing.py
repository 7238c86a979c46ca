"""What goes into a set is trimmed and checked; what is unfit stays out and is counted by its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtvc.train import TrainingError
from rtvc.train.corpora import Clip, Labels, Utterance
from rtvc.train.dataset import LATENT, Item, SetWriter, TrainingSet
from rtvc.train.packing import Packer, Packing, fault, trim

RATE_HZ = 16000


def voice(seconds: float, rate_hz: int = RATE_HZ, level: float = 0.3) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def quiet(seconds: float) -> NDArray[np.float32]:
    return (1e-4 * np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


class FakeTeacher:
    """A teacher whose latents are the tokens themselves."""

    def latents(self, tokens: list[int]) -> NDArray[np.float32]:
        return np.repeat(np.array(tokens, np.float32)[:, None], LATENT, axis=1)


def test_silence_at_both_ends_is_cut_to_a_quarter_second() -> None:
    y = trim(np.concatenate([quiet(2.0), voice(1.0), quiet(3.0)]))
    assert len(y) == pytest.approx(1.5 * RATE_HZ, abs=RATE_HZ / 20)
    assert np.abs(y[: RATE_HZ // 5]).max() < 0.01 < np.abs(y[RATE_HZ // 2 :]).max()


def test_sound_without_silence_keeps_its_length() -> None:
    for x in (voice(1.0), np.zeros(100, np.float32), np.zeros(0, np.float32)):
        assert len(trim(x)) == len(x)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (voice(1.0), ""),
        (voice(0.3), "shorter than 0.5 s"),
        (voice(36.0), "longer than 35 s"),
        (quiet(1.0), "silent"),
        (np.clip(voice(1.0, level=3.0), -1, 1), "clipped"),
    ],
)
def test_unfit_sound_is_told_why(x: NDArray[np.float32], reason: str) -> None:
    assert fault(x) == reason


def corpus(folder: Path) -> Path:
    for name, x in {
        "anna/a": np.concatenate([quiet(1.0), voice(1.0), quiet(1.0)]),
        "anna/short": voice(0.2),
        "ben/b": voice(1.0),
        "carl/c": voice(1.0),
    }.items():
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, x, RATE_HZ)
    (folder / "ben" / "b.txt").write_text("Hello.")
    (folder / "broken.wav").write_bytes(b"RIFF, but no more")
    return folder


def test_a_corpus_is_packed_once_with_licence_reasons_and_held_out_speakers(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "mine")
    heard: list[int] = []

    def transcribe(x: NDArray[np.float32]) -> str:
        heard.append(len(x))
        return "guessed"

    packing = Packing("CC0", hold_out=2, transcribe=transcribe)
    with SetWriter(tmp_path / "set") as writer:
        skipped = Packer(writer, packing).pack(folder)
    assert skipped == {"shorter than 0.5 s": 1, "unreadable": 1}
    data = TrainingSet(tmp_path / "set")
    assert [(item.utt, item.text, item.dev, item.licence) for item in data.items] == [
        ("anna/a", "guessed", False, "CC0"),
        ("ben/b", "Hello.", False, "CC0"),
        ("carl/c", "guessed", True, "CC0"),
    ]
    assert len(heard) == 2 and data.items[0].n == pytest.approx(1.5 * RATE_HZ, abs=800)
    about = data.manifest()["sources"]["mine"]
    assert (about["licence"], about["items"], about["held_out"], about["skipped"]) == ("CC0", 3, 1, skipped)
    with SetWriter(tmp_path / "set") as writer:
        Packer(writer, packing).pack(folder)
    assert len(TrainingSet(tmp_path / "set").items) == 3


def packed(folder: Path, into: Path, packing: Packing) -> list[Item]:
    with SetWriter(into) as writer:
        Packer(writer, packing).pack(folder)
    return TrainingSet(into).items


def test_another_folder_of_the_same_name_is_refused_and_the_same_one_is_added_to(tmp_path: Path) -> None:
    a, b = corpus(tmp_path / "a" / "mine"), corpus(tmp_path / "b" / "mine")
    before = packed(a, tmp_path / "set", Packing("CC0"))
    for folder, licence in ((b, "CC0"), (b, "mine"), (a, "mine")):
        with pytest.raises(TrainingError, match=r"its source 'mine' came .*, not .*rename"):
            packed(folder, tmp_path / "set", Packing(licence))
    data = TrainingSet(tmp_path / "set")
    assert data.items == before and data.manifest()["sources"]["mine"]["licence"] == "CC0"
    soundfile.write(a / "ben" / "new.wav", voice(1.0), RATE_HZ)
    assert len(packed(a, tmp_path / "set", Packing("CC0"))) == len(before) + 1


def test_packing_that_was_interrupted_has_noted_whose_name_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtvc.train.packing.fault", interrupt_at := Interrupt(2))
    with pytest.raises(KeyboardInterrupt):
        packed(corpus(tmp_path / "a" / "mine"), tmp_path / "set", Packing("CC0"))
    about = TrainingSet(tmp_path / "set").manifest()["sources"]["mine"]
    assert (about["licence"], about["items"], interrupt_at.count) == ("CC0", 1, 2)
    with pytest.raises(TrainingError, match="rename"):
        packed(corpus(tmp_path / "b" / "mine"), tmp_path / "set", Packing("CC0"))


class Interrupt:
    """What finds no fault and is interrupted at the nth call."""

    def __init__(self, at: int) -> None:
        self._at, self.count = at, 0

    def __call__(self, _: NDArray[np.float32]) -> str:
        self.count += 1
        if self.count == self._at:
            raise KeyboardInterrupt
        return ""


def test_a_speaker_stays_on_the_side_where_anything_of_theirs_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for speaker in "abcd":
        for k in range(3):
            path = folder / speaker / f"{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(1.0), RATE_HZ)

    def sides(into: str, *packings: Packing) -> dict[str, set[bool]]:
        for packing in packings:
            items = packed(folder, tmp_path / into, packing)
        return {speaker: {item.dev for item in items if item.speaker == speaker} for speaker in "abcd"}

    cut = Packing("CC0", hold_out=1, limit=5)
    only_b = {"a": {False}, "b": {True}, "c": {False}, "d": {False}}
    assert sides("again", cut, Packing("CC0", hold_out=1)) == only_b
    assert sides("without", cut, Packing("CC0")) == only_b
    assert sides("more", cut, Packing("CC0", hold_out=2)) == only_b | {"d": {True}}
    assert sides("late", Packing("CC0", limit=11), Packing("CC0", hold_out=4)) == {key: {False} for key in "abcd"}


def test_renditions_bring_labels_sound_at_24_khz_and_their_sentence_is_held_out_whole(tmp_path: Path) -> None:
    shard = tmp_path / "pairs" / "shard00"
    shard.mkdir(parents=True)
    labels: dict[str, NDArray[np.float64]] = {}
    rows = ["k\tstart_sample\tn_samples\tprosody\tphones\ttext\ttimbre0\tf0_scale0\ttimbre1\tf0_scale1"]
    for k in range(2):
        labels |= {f"tok{k}": np.array([5, 6]), f"dur{k}": np.array([4, 10, 22, 4]), f"f0_{k}": np.full(80, 120.0)}
        labels |= {f"en{q}_{k}": np.full(80, q + 1.0) for q in range(2)}
        rows.append(f"{k}\t{24000 * k}\t24000\tp\tx\tHi {k}.\ta\t1.0\tb\t0.5")
    for q in range(2):
        soundfile.write(shard / f"r{q}.flac", voice(2.0, 24000), 24000)
    np.savez(shard / "labels.npz", **labels)  # type: ignore[arg-type]
    (shard / "index.tsv").write_text("\n".join(rows) + "\n")
    with SetWriter(tmp_path / "set") as writer:
        packer = Packer(writer, Packing("Apache-2.0", hold_out=1), FakeTeacher())  # type: ignore[arg-type]
        assert packer.pack(tmp_path / "pairs") == {}
    data = TrainingSet(tmp_path / "set")
    assert [(item.utt, item.dev) for item in data.items] == [
        ("shard00/0/0", False), ("shard00/1/0", True), ("shard00/0/1", False), ("shard00/1/1", True),
    ]  # fmt: skip
    last = data.items[-1]
    assert last.exact and last.frames == [8, 20, 44, 8] and last.tokens == [0, 5, 6, 0] and last.f0_scale == 0.5
    assert last.n == 80 * 200 and len(data.audio24) == 4 * 80 * 300
    assert data.latents[data.rows(last), 0].tolist() == [0] * 8 + [5] * 20 + [6] * 44 + [0] * 8
    assert (data.energy[last.frame0 : last.frame0 + 80] == 2.0).all()


def test_labels_that_contradict_each_other_keep_a_rendition_out(tmp_path: Path) -> None:
    labels = Labels([0, 5, 0], [2, 2, 2], np.zeros(5, np.float32), np.zeros(6, np.float32), 1.0, "a")
    with SetWriter(tmp_path) as writer:
        packer = Packer(writer, Packing("x"), FakeTeacher())  # type: ignore[arg-type]
        utterance = Utterance("s", "u", "a", Clip(tmp_path / "none.wav"), "", labels)
        with pytest.raises(Exception, match="labels of different lengths"):
            packer._item(utterance, False)
