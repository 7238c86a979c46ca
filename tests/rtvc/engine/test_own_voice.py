"""The user's own voice in the engine: any block split, click-free, replayed bit for bit from records that lack it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtvc.engine.build import build_engine
from rtvc.engine.engine import Engine
from rtvc.engine.flight import Flight, read_flight
from rtvc.engine.neural_voice import _film
from rtvc.engine.own_voice import (
    PERSONAL_MAX,
    OwnVoice,
    asks_for_own,
    id_of,
    id_words,
    own_share,
    pack_slot,
    unpack_slot,
    without_own,
)
from rtvc.engine.params import Value, to_vector
from rtvc.engine.replay import own_voices, replay
from rtvc.engine.state import StateError
from rtvc.engine.timbres import Timbre, built_in_timbres
from rtvc.provenance.payload import TOOL_LIVE, Payload, signs_of
from tests.rtvc.engine.recorded import Session, speech

NEURAL: dict[str, Value] = {"voice.name": "neural", "gate.threshold_db": -90}
MINE = NEURAL | {"voice.timbre": "mine"}


def own(seed: int, home_hz: float = 200.0) -> OwnVoice:
    rng = np.random.default_rng(seed)
    vector = np.mean([timbre.vector for timbre in built_in_timbres()], axis=0) + rng.normal(0, 0.1, 128)
    return OwnVoice(rng.bytes(16).hex(), Timbre(vector.astype(np.float32), home_hz))


ANNA, BELLA = own(1), own(2, 130.0)


def said(engine: Engine, x: NDArray[np.float32], sizes: list[int], told: dict[int, OwnVoice]) -> NDArray[np.float32]:
    """Return what engine makes of x in blocks of these sizes; at each frame in told a voice comes into the slot."""
    y, start, k = np.zeros_like(x), 0, 0
    stops = [*sorted(told), len(x)]
    while start < len(x):
        if start in told:
            engine.set_own(told[start].timbre)
        n = min(sizes[k % len(sizes)], next(stop for stop in stops if stop > start) - start)
        engine.process(x[start : start + n], y[start : start + n])
        start, k = start + n, k + 1
    return y


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=5))
def test_any_block_size_gives_the_same_samples_though_the_voice_changes(sizes: list[int]) -> None:
    whole = said_by_both(len(speech(1.2)))
    assert np.array_equal(said_by_both(*sizes), whole)
    assert np.abs(whole).max() > 0.01


@cache
def said_by_both(*sizes: int) -> NDArray[np.float32]:
    """Return what anna and then bella say in blocks of these sizes."""
    told = {0: ANNA, 30_001: BELLA}
    return said(build_engine(values=to_vector(MINE), point="fast"), speech(1.2), list(sizes), told)


def test_an_own_voice_that_is_a_built_in_one_sounds_as_that_bit_for_bit() -> None:
    x = speech(1.5)
    george = said(build_engine(values=to_vector(NEURAL | {"voice.timbre": "george"}), point="fast"), x, [480], {})
    same = OwnVoice("1" * 32, built_in_timbres()[-1])
    assert np.array_equal(said(build_engine(values=to_vector(MINE), point="fast"), x, [480], {0: same}), george)
    heart = said(build_engine(values=to_vector(NEURAL), point="fast"), x, [480], {})
    empty = said(build_engine(values=to_vector(MINE), point="fast"), x, [480], {})
    assert np.array_equal(empty, heart) and not np.array_equal(heart, george)
    beside = said(build_engine(values=to_vector(NEURAL), point="fast"), x, [480], {0: ANNA})
    assert np.array_equal(beside, heart)


def test_movements_that_were_fitted_are_heard() -> None:
    x = speech(1.0)
    engine = build_engine(values=to_vector(MINE), point="fast")
    plain = said(engine, x, [480], {0: ANNA})
    units = engine._neural[min(engine._neural)]._films.shape[1]
    fitted = OwnVoice(ANNA.id, replace(ANNA.timbre, personal=np.full(units, 0.05, np.float32)))
    y = said(build_engine(values=to_vector(MINE), point="fast"), x, [480], {0: fitted})
    assert not np.array_equal(y, plain)


def flux_db(y: NDArray[np.float32]) -> float:
    """Return the largest growth of the spectrum above 11 kHz, where synthesis at 24 kHz leaves nothing, in dB."""
    frames = np.lib.stride_tricks.sliding_window_view(y, 256)[::64]
    magnitudes = np.abs(np.fft.rfft(frames * np.blackman(256)))[:, 68:] / 64
    growth = np.maximum(0.0, np.diff(magnitudes, axis=0)).sum(axis=1)
    return float(20 * np.log10((growth.max() + 1e-9) / (np.abs(y).max() + 1e-9)))


def test_changing_the_voice_while_it_speaks_does_not_click() -> None:
    x = speech(3.0)
    told = {0: ANNA} | {at: (BELLA, ANNA)[k % 2] for k, at in enumerate(range(24_000, 130_000, 9_000))}
    y = said(build_engine(values=to_vector(MINE), point="fast"), x, [480], told)
    rest = [said(build_engine(values=to_vector(MINE), point="fast"), x, [480], {0: who}) for who in (ANNA, BELLA)]
    assert flux_db(y) < max(map(flux_db, rest)) + 3.0
    clicked = y.copy()
    crest = 48_000 + int(np.argmax(np.abs(y[48_000:72_000])))
    clicked[crest:] *= np.float32(0.9)
    assert flux_db(clicked) > flux_db(y) + 10.0


@pytest.fixture(scope="module")
def flight() -> Flight:
    """A session that goes from heart to anna, to bella, to heart and to anna again, marked in between."""
    session = Session(12.0)
    session.begin(NEURAL)
    session.run(1.2)
    session.own(ANNA)
    session.set(MINE)
    session.run(1.6)
    session.mark(Payload(TOOL_LIVE, 300, 7000))
    session.own(BELLA)
    session.run(1.6)
    session.set(MINE | {"voice.second": "puck", "voice.blend": 0.4, "pitch.semitones": 2})
    session.run(1.6)
    session.mark(None)
    session.set(NEURAL)
    session.run(1.6)
    session.own(None)
    session.run(1.6)
    session.own(ANNA)
    session.set(MINE)
    session.run(1.6)
    return read_flight(session.flight)


def shares_bytes(secret: NDArray[np.float32 | np.float64], everything: bytes) -> bool:
    """Return whether 16 bytes of secret stand in everything, at whatever place there."""
    size = 16 // secret.itemsize
    windows = {secret[at : at + size].tobytes() for at in range(0, len(secret) - size + 1, size // 2)}
    firsts = np.unique([np.frombuffer(window, np.uint64)[0] for window in windows])
    for offset in range(8):
        words = np.frombuffer(everything, np.uint64, (len(everything) - offset) // 8, offset)
        at = offset + 8 * np.flatnonzero(firsts[np.searchsorted(firsts, words) % len(firsts)] == words)
        if any(everything[k : k + 16] in windows for k in at):
            return True
    return False


def test_a_record_names_own_voices_and_holds_nothing_of_them(flight: Flight) -> None:
    assert own_voices(flight) == {ANNA.id, BELLA.id}
    film = build_engine(values=to_vector(MINE), point="fast")
    voice = film._neural[min(film._neural)]
    everything = b"".join(state.data for state in flight.states) + flight.inputs.tobytes()
    for one in (ANNA, BELLA):
        whole = _film(voice._network, one.timbre)
        for secret in (one.timbre.vector, whole, one.timbre.vector.astype(np.float64)):
            assert not shares_bytes(secret, everything)
    assert shares_bytes(ANNA.timbre.vector, everything + b"odd" + ANNA.timbre.vector[40:46].tobytes() + b"end")
    told = json.dumps([state.table["values"] for state in flight.states[2:]])
    assert "_timbres" not in told and "_log_home" not in told and "_film" not in json.dumps(flight.states[2].table)


@pytest.mark.parametrize("first", range(7))
def test_own_voices_are_replayed_bit_for_bit_from_any_state_on(flight: Flight, first: int) -> None:
    kept = replace(flight, states=flight.states[first:])
    again = replay(kept, own={one.id: one.timbre for one in (ANNA, BELLA)})
    assert again.compared > 30_000 and (again.differ_at, again.differ) == (None, 0)


def test_a_record_is_not_replayed_without_its_voices(flight: Flight) -> None:
    with pytest.raises(StateError, match=f"a voice of your own that is not there: {BELLA.id}"):
        replay(flight, own={ANNA.id: ANNA.timbre})


def test_the_mark_comes_and_goes_without_a_step_and_the_same_for_any_split() -> None:
    x, signs = speech(1.0), signs_of(Payload(TOOL_LIVE, 1, 1))

    def marked(sizes: list[int]) -> NDArray[np.float32]:
        engine, y, start, k = Engine(values=to_vector({"gate.threshold_db": -90})), np.zeros_like(x), 0, 0
        while start < len(x):
            for at, mark in ((12_000, signs), (36_000, None)):
                if start == at:
                    engine.set_mark(mark)
            limit = next(stop for stop in (12_000, 36_000, len(x)) if stop > start)
            n = min(sizes[k % len(sizes)], limit - start)
            engine.process(x[start : start + n], y[start : start + n])
            start, k = start + n, k + 1
        return y

    y, plain = marked([480]), np.zeros_like(x)
    Engine(values=to_vector({"gate.threshold_db": -90})).process(x, plain)
    assert np.array_equal(y, marked([7, 1000, 333]))
    assert np.array_equal(y[:12_000], plain[:12_000]) and np.array_equal(y[37_000:], plain[37_000:])
    assert 0 < np.abs(y - plain)[12_000:36_000].max() < 0.1 * np.abs(plain).max()
    with pytest.raises(ValueError, match="signs must be"):
        Engine().set_mark(np.zeros(256, np.float32))


def test_the_slot_holds_a_voice_exactly() -> None:
    personal = np.random.default_rng(0).normal(size=4608).astype(np.float32)
    for timbre in (ANNA.timbre, replace(ANNA.timbre, personal=personal)):
        slot = unpack_slot(pack_slot(3, OwnVoice(ANNA.id, timbre), 4_294_967_295))
        assert (slot.filling, slot.id, slot.mark) == (3, ANNA.id, 4_294_967_295)
        assert slot.timbre and np.array_equal(slot.timbre.vector, timbre.vector)
        assert slot.timbre.vector.dtype == np.float32 and slot.timbre.home_hz == timbre.home_hz
        assert (slot.timbre.personal is None) == (timbre.personal is None)
    assert slot.timbre.personal is not None and np.array_equal(slot.timbre.personal, personal)
    empty = unpack_slot(pack_slot(4, None, None))
    assert (empty.filling, empty.id, empty.timbre, empty.mark) == (4, "", None, None)
    with pytest.raises(ValueError, match="8193 fitted movements"):
        pack_slot(1, OwnVoice(ANNA.id, replace(ANNA.timbre, personal=np.zeros(PERSONAL_MAX + 1, np.float32))), None)
    assert "0." not in repr(OwnVoice(ANNA.id, ANNA.timbre)) + repr(slot)


def test_ids_go_through_two_words() -> None:
    for own_id in ("f" * 32, ANNA.id, "8" + "0" * 30 + "1", ""):
        assert id_of(*id_words(own_id)) == own_id


@pytest.mark.parametrize(
    ("sound", "asks", "share"),
    [
        (NEURAL, False, 0.0),
        ({"voice.timbre": "mine"}, False, 0.0),
        (MINE, True, 1.0),
        (MINE | {"voice.blend": 0.25}, True, 0.75),
        (NEURAL | {"voice.second": "mine"}, True, 0.0),
        (NEURAL | {"voice.second": "mine", "voice.blend": 0.25}, True, 0.25),
        (MINE | {"voice.second": "mine", "voice.blend": 0.25}, True, 1.0),
    ],
)
def test_what_a_sound_asks_of_an_own_voice(sound: dict[str, Value], asks: bool, share: float) -> None:
    values = to_vector(sound)
    assert (asks_for_own(values), own_share(values)) == (asks, share)
    assert not asks_for_own(without_own(values, "george"))
