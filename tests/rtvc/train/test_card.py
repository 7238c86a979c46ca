"""The card says what the manifest, the export and the benches say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtvc.train import TrainingError
from rtvc.train.card import figures_table, git_revision, write_card

NETWORK = {
    "voices": {"heart": {"home_hz": 201.5, "kokoro": "af_heart"}},
    "training": {
        "encoder": {"seed": 3, "steps": 7000, "hours": 3.5, "means": {"loss of codes/clear": 2.1234}},
        "decoder": {"steps": 10, "hours": 0.1, "means": {"spectra": 0.5}},
    },
    "notes": ["Phases moved afterwards."],
    "exported": {"encoder.int8.onnx": {"mb": 8.123, "difference": 0.0123}},
    "data": {
        "libri": {
            "licence": "CC-BY 4.0", "items": 7, "hours": 1.25, "speakers": 3, "held_out": 1, "skipped": {"silent": 2},
        }
    },
}  # fmt: skip


def test_card_and_notice_hold_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text(json.dumps(NETWORK))
    figures = tmp_path / "speech_quality.json"
    figures.write_text(json.dumps({"rows": [{"voice": "heart", "WER": 0.1234567}, {"voice": "puck", "MOS": 4}]}))
    card, notice = (path.read_text() for path in write_card(tmp_path, [figures]))
    for line in (
        "| libri | CC-BY 4.0 | 1.25 | 3 | 7 | 1 | 2 silent |",
        "- encoder: seed 3, 7000 steps, 3.5 h; at its end loss of codes/clear 2.123",
        "- decoder: seed not noted, 10 steps, 0.1 h; at its end spectra 0.500",
        "- Phases moved afterwards.",
        "## Limits",
        "| encoder.int8.onnx | 8.12 | 1.2e-02 |",
        "## Speech quality",
        "| voice | WER | MOS |",
        "| heart | 0.1235 |  |",
        "| puck |  | 4 |",
        "| heart | 201.5 | af_heart |",
    ):
        assert line in card.splitlines()
    for name in ("Whisper tiny.en", "hibari-tts", "Kokoro-82M"):
        assert name in card and name in notice
    assert "- libri: CC-BY 4.0" in notice.splitlines()


def test_plain_numbers_become_a_table_and_other_things_are_refused() -> None:
    assert figures_table({"rtf": 0.1})[2:] == ["| rtf | 0.1 |"]
    with pytest.raises(TrainingError, match="rows"):
        figures_table("fast")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"network\.json"):
        write_card(tmp_path)
    assert git_revision(tmp_path) == "unknown"
