"""Synthetic speech is written with its labels, shard by shard, and read back as it was said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.train import TrainingError
from rtvc.train.corpora import SoundFiles, read_corpus
from rtvc.train.synth import PITCH_HZ, Cast, Kokoro, Spoken, mixture, read_sentences, synthesise, telling
from rtvc.train.timbres import STYLE, STYLE_ROWS, Timbres, parse_mixture, shipped_voices
from tests.rtvc.train.toy import toy_set

NAMES = ("af_heart", "am_puck", "bf_emma", "zf_xiaoni")


@pytest.fixture
def timbres(tmp_path: Path) -> Timbres:
    for k, name in enumerate(NAMES):
        np.full((STYLE_ROWS, STYLE), k + 1, np.float32).tofile(tmp_path / f"{name}.bin")
    return Timbres(tmp_path)


class Letters:
    """Phones that are letters."""

    vocabulary = {letter: k + 1 for k, letter in enumerate("abcdefghijklmnopqrstuvwxyz .")}  # noqa: RUF012

    def of_text(self, text: str) -> str:
        return text.lower()

    def tokens(self, phones: str) -> list[int]:
        return [0, *(self.vocabulary[c] for c in phones if c in self.vocabulary), 0]


class Beeps:
    """A TTS of tones: timbre is how loud, prosody how high."""

    said = 0

    def speak(
        self, tokens: list[int], timbre: NDArray[np.float32], prosody: NDArray[np.float32], f0_scale: float
    ) -> Spoken:
        self.said += 1
        durations = np.array([2 + token % 3 for token in tokens])
        frames = 2 * int(durations.sum())
        hz = 100.0 * float(prosody[0]) * f0_scale
        t = np.arange(300 * frames) / 24000
        sound = (0.1 * float(timbre[0]) * np.sin(2 * np.pi * hz * t)).astype(np.float32)
        f0 = np.full(frames, hz, np.float32)
        return Spoken(sound, durations, f0, np.full(frames, float(timbre[0]), np.float32))


def said(folder: Path, timbres: Timbres, sentences: list[str], seed: int = 0) -> tuple[int, Beeps]:
    tts = Beeps()
    return synthesise(folder, sentences, tts, timbres, Letters(), 3, seed), tts  # type: ignore[arg-type]


def test_renditions_are_read_back_as_they_were_said(tmp_path: Path, timbres: Timbres) -> None:
    new, _ = said(tmp_path / "out", timbres, ["Good day.", "x", 'Say "no".'])
    assert new == 3
    utterances = list(read_corpus(tmp_path / "out"))
    assert len(utterances) == 9
    files = SoundFiles()
    for utterance in utterances:
        labels = utterance.labels
        assert labels is not None
        total = sum(labels.frames)
        assert len(labels.f0_hz) == len(labels.energy) == total
        x = files.read(utterance.clip, 24000)
        assert len(x) == 300 * total
        hz = np.abs(np.fft.rfft(x)).argmax() * 24000 / len(x)
        assert hz == pytest.approx(labels.f0_hz[0] * labels.f0_scale, abs=24000 / len(x) + 0.5)
    assert {u.labels.timbre for u in utterances if u.name.endswith(("/0", "/1")) and u.labels} <= set(NAMES)


def test_shards_that_are_there_are_kept_and_seeds_decide(tmp_path: Path, timbres: Timbres) -> None:
    said(tmp_path / "one", timbres, ["Hello there."])
    new, tts = said(tmp_path / "one", timbres, ["Hello there."])
    assert (new, tts.said) == (0, 0)
    said(tmp_path / "same", timbres, ["Hello there."])
    said(tmp_path / "other", timbres, ["Hello there."], seed=1)
    index = [(tmp_path / name / "shard00" / "index.tsv").read_text() for name in ("one", "same", "other")]
    assert index[0] == index[1] != index[2]
    assert not list((tmp_path / "one").glob(".*"))


def test_speakers_who_do_not_exist_lie_within_the_pitches_people_have(tmp_path: Path, timbres: Timbres) -> None:
    cast, rng = Cast(Beeps(), timbres, [0, 1, 2, 0], tmp_path), np.random.default_rng(0)
    homes = {name: cast.home_hz(name) for name in NAMES}
    assert homes == {"af_heart": 100.0, "am_puck": 200.0, "bf_emma": 300.0, "zf_xiaoni": 400.0}
    assert json.loads((tmp_path / "homes.json").read_text()) == homes
    for _ in range(50):
        renditions = cast.renditions("am_puck", 4, rng)
        assert all(r.timbre in homes for r in renditions[:2]) and renditions[0].timbre != renditions[1].timbre
        for one in renditions[:2]:
            assert 200.0 * one.f0_scale == pytest.approx(homes[one.timbre], rel=0.25)
        assert all(PITCH_HZ[0] - 1 <= 200.0 * one.f0_scale <= PITCH_HZ[1] + 1 for one in renditions[2:])


def test_mixtures_add_up_and_can_be_read(timbres: Timbres) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = mixture(NAMES, rng)
        assert sum(factor for factor, _ in parse_mixture(text)) == pytest.approx(1.0, abs=2e-3)
        assert timbres.vector(text, 10).shape == (128,)
    assert parse_mixture("1.2*af_heart+-0.2*am_puck") == [(1.2, "af_heart"), (-0.2, "am_puck")]
    assert timbres.vector("0.25*af_heart+0.75*am_puck", 900)[0] == pytest.approx(1.75)
    for wrong in ("", "a+*b", "2*"):
        with pytest.raises(TrainingError, match="no voice and no mixture"):
            parse_mixture(wrong)
    with pytest.raises(TrainingError, match="there is no voice 'nobody'"):
        timbres.vector("nobody", 1)


def test_folders_without_voices_and_files_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no voices"):
        Timbres(tmp_path / "empty")
    np.zeros(7, np.float32).tofile(tmp_path / "x.bin")
    with pytest.raises(TrainingError, match="holds 7 numbers"):
        Timbres(tmp_path)


def test_shipped_voices_have_their_timbre_and_the_pitch_of_what_they_say(tmp_path: Path, timbres: Timbres) -> None:
    data = toy_set(tmp_path / "set", seconds=8.0)
    timbres.styles["voice1"] = timbres.styles["bf_emma"]
    voices = shipped_voices(data, timbres, {"ours": "voice1"})
    assert voices["ours"]["timbre"] == [12.0] * 128  # four times that of the style
    spoken = [float(data.f0_hz[item.frame0]) for item in data.items if item.speaker == "voice1"]
    assert voices["ours"]["home_hz"] == pytest.approx(np.median(spoken), abs=0.06)
    with pytest.raises(TrainingError, match="nothing is said by nobody"):
        shipped_voices(data, timbres, {"ours": "nobody"})


def test_sentences_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("One  two.\n\nThree.\nOne two.\n")
    assert read_sentences(path) == ["One two.", "Three."]
    assert read_sentences(path, 1) == ["One two."]
    path.write_text("\n")
    with pytest.raises(TrainingError, match="holds no sentence"):
        read_sentences(path)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    import onnx

    graph = onnx.helper.make_graph([], "g", [], [])
    with pytest.raises(TrainingError, match="not the Kokoro-82M"):
        telling(onnx.helper.make_model(graph))
    (tmp_path / "k.onnx").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match=r"k\.onnx"):
        Kokoro(tmp_path / "k.onnx")
