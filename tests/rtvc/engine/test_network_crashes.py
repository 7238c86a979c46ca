"""A live session whose networks kill the engine: after a few times it goes on without them, and tries again later."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.engine import faults, worker
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from tests.rtvc.engine import deadly
from tests.rtvc.engine.studio import LEVEL, VOICE, Studio, assert_no_raw_voice
from tests.waiting import wait_for

NEURAL = to_vector({"voice.name": "neural", "pitch.semitones": 7, "gate.threshold_db": -90, "level.match": False})


def says(y: NDArray[np.float32]) -> bool:
    """Return whether the last 0.1 s are what the stand-in for the networks says."""
    spectrum = np.abs(np.fft.rfft(y[-4800:] * np.hanning(4800))) / 1200
    return bool(spectrum[round(deadly.SAID_HZ / 10)] > 0.5 * LEVEL)


@pytest.fixture
def deadly_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; while it exists, networks kill their process. The bar is short."""
    path = tmp_path / "deadly"
    path.touch()
    monkeypatch.setattr(worker, "serve", functools.partial(deadly.serve, str(path)))
    monkeypatch.setattr(faults, "QUARANTINE_S", 2.0)
    return path


def test_networks_that_keep_killing_the_engine_are_left_out_and_tried_again_later(
    blocks_made: list[str], deadly_networks: Path
) -> None:
    studio = Studio()
    with LiveSession(studio, NEURAL) as session:
        wait_for(lambda: session.status().faults["networks_barred"] == 1, "the networks to be barred")
        assert session.status().faults["engine_died"] == faults.CRASHES
        wait_for(lambda: session.status().state == "running" and session.status().rung_reason, "an engine without")
        status = session.status()
        assert (status.rung, status.neural) == ("dsp", "failed")
        assert status.rung_reason == "the engine ended again and again with the networks"
        assert status.message == (
            "the engine ended 3 times within 60 s with the neural voice: the DSP voice speaks in its place, "
            "and the neural one is tried again after 2 s"
        )
        studio.await_sound()
        assert not says(studio.heard())
        wait_for(lambda: session.status().faults["networks_barred"] == 2, "the trial to fail")
        assert session.status().faults["engine_died"] == faults.CRASHES + 1  # one is enough for a relapse
        wait_for(lambda: session.status().message.endswith("after 4 s"), "a longer wait")
        deadly_networks.unlink()
        wait_for(lambda: session.status().neural == "speaks", "a trial that succeeds")
        wait_for(lambda: session.status().state == "running", "it to run")
        studio.await_sound(0.3)
        status = session.status()
        assert (status.rung, status.rung_reason, status.message) == ("neural 8-bit", "", "")
        assert says(studio.heard())
    assert_no_raw_voice(studio.heard())


def test_who_chooses_another_voice_meanwhile_hears_nothing_of_the_bar(
    blocks_made: list[str], deadly_networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "QUARANTINE_S", 1.0)
    studio = Studio()
    with LiveSession(studio, NEURAL) as session:
        wait_for(lambda: session.status().faults["networks_barred"] == 1, "the networks to be barred")
        session.set(VOICE)
        wait_for(lambda: session.status().state == "running", "an engine without")
        wait_for(lambda: session.status().neural == "off", "the choice to be taken over")
        studio.await_sound(3 * faults.QUARANTINE_S)
        status = session.status()
        assert (status.rung, status.rung_reason, status.message) == ("dsp", "", "")
        assert status.faults["engine_died"] == faults.CRASHES  # nothing was tried again that nobody asked for
