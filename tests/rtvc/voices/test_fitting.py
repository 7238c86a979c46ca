"""A voice is heard, fitted through the frozen decoder, and kept only where it became better."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from rtvc.engine.network import Network
from rtvc.engine.params import TIMBRES
from rtvc.engine.timbres import built_in_timbres
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.train.shipped import shipped_generator, shipped_speaker
from rtvc.voices import adapt as adapting
from rtvc.voices.adapt import adapt, utterances
from rtvc.voices.errors import ConsentError, VoiceError
from rtvc.voices.fitting import Fit, FitPlan, Fitted, Pair
from rtvc.voices.library import FIT_SUFFIX, Library
from rtvc.voices.listening import Listener
from rtvc.voices.profile import FILM_UNITS
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import Samples, read_recording
from rtvc.voices.speaker import RATE_HZ, Speaker
from rtvc.voices.spoken import spoken_as
from tests.rtvc.voices.people import person

QUICK = FitPlan(steps=8, batch=2, look_every=4, rate=0.01, timbre_rate=0.03)


def bundled(name: str) -> tuple[Samples, int]:
    return read_recording(Path(str(resources.files("rtvc.models"))) / "weights" / "voices" / f"{name}.ogg")


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture(scope="module")
def speech() -> tuple[Samples, int]:
    """Return 16 s of one voice."""
    x, rate_hz = bundled("puck")
    return np.tile(x, -(-16 * rate_hz // len(x)))[: 16 * rate_hz], rate_hz


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let little speech and few steps do."""
    monkeypatch.setattr(adapting, "SPEECH_MIN_S", 10.0)
    monkeypatch.setattr(adapting, "HELD_OUT", 0.5)
    monkeypatch.setattr(adapting, "JUDGED_S", 3.0)
    monkeypatch.setattr("rtvc.voices.fitting.FitPlan", lambda: QUICK)


def test_what_is_heard_does_not_depend_on_what_was_heard_before() -> None:
    x = at_rate(*bundled("emma"), RATE_HZ)[: 2 * RATE_HZ]
    listener = Listener(Network("clear"))
    first = listener.hear(x)
    listener.hear(x[::-1].copy())
    again = listener.hear(x)
    assert np.array_equal(first.inputs, again.inputs) and np.array_equal(first.f0_hz, again.f0_hz)
    assert len(first.inputs) == len(first.f0_hz) == len(x) // 200
    sung = first.f0_hz[first.f0_hz > 50.0]
    assert 150.0 < np.median(sung) < 300.0


def fit_of(pair: Pair, timbre: Samples, plan: FitPlan) -> Fit:
    """Return a fit to one utterance that is judged by it as well."""
    personal = np.zeros(FILM_UNITS, np.float32)
    return Fit(shipped_generator(), shipped_speaker(), [pair], [pair], timbre, personal, 11_000.0, plan)


def test_a_fit_brings_the_decoder_nearer_to_the_speech() -> None:
    x, rate_hz = bundled("puck")
    heard = at_rate(x, rate_hz, RATE_HZ)
    pair = Pair(Listener(Network("clear")).hear(heard), at_rate(x, rate_hz, 24_000))
    start = built_in_timbres()[TIMBRES.index("michael")].vector
    fit = fit_of(pair, start, QUICK)
    looks: list[float] = []
    best = fit.run(lambda _, now: looks.append(now.distance))
    assert best.distance < fit.first.distance - 0.01
    assert best.likeness > fit.first.likeness + 0.01
    assert len(looks) == 2 and best.distance == min(looks)
    assert best.timbre.shape == (128,) and best.personal.shape == (FILM_UNITS,)
    assert np.any(best.personal) and not np.array_equal(best.timbre, start)


def test_a_fit_that_helps_nobody_ends_early_where_it_began() -> None:
    x, rate_hz = bundled("puck")
    pair = Pair(Listener(Network("clear")).hear(at_rate(x, rate_hz, RATE_HZ)), at_rate(x, rate_hz, 24_000))
    plan = FitPlan(steps=40, batch=1, look_every=1, patience=2, rate=10.0, timbre_rate=10.0)
    start = built_in_timbres()[TIMBRES.index("puck")].vector
    fit = fit_of(pair, start, plan)
    looks: list[float] = []
    best = fit.run(lambda _, now: looks.append(now.distance))
    assert len(looks) < 40
    assert np.array_equal(best.timbre, start) and not np.any(best.personal)


def test_pieces_are_cut_in_pauses_and_silence_is_left_out(speech: tuple[Samples, int]) -> None:
    x, rate_hz = speech
    found = utterances(np.concatenate([x, np.zeros(16 * rate_hz, np.float32)]), rate_hz)
    assert all(4.0 <= len(part) / rate_hz <= 9.1 for part in found)
    assert 9.0 < sum(map(len, found)) / rate_hz < 22.0
    assert utterances(x[:10], rate_hz) == []
    exact = x[: 4 * rate_hz]  # as long as the shortest piece
    (whole,) = utterances(exact, rate_hz)
    assert np.array_equal(whole, exact)


def enrolled(library: Library, speaker: Speaker, speech: tuple[Samples, int]) -> None:
    heard = speaker.hear(*speech)
    library.save(person(timbre=heard.timbre, embedding=heard.embedding, home_hz=120.0))


@pytest.mark.parametrize(
    ("worse", "further", "kept"),
    [(1.0, 1.0, True), (-1.0, 1.0, False), (1.0, 1.2, False)],
    ids=["better", "content lost", "spectra further off"],
)
def test_it_is_kept_only_if_the_voice_is_better_in_all(
    library: Library,
    speaker: Speaker,
    speech: tuple[Samples, int],
    monkeypatch: pytest.MonkeyPatch,
    worse: float,
    further: float,
    kept: bool,
    short: None,
) -> None:
    monkeypatch.setattr(adapting, "WORSE_CONTENT", worse)
    enrolled(library, speaker, speech)
    before = library.find("anna")
    monkeypatch.setattr(speaker, "embed", _likening(speaker, before.embedding))
    fitted = adapting._fitted

    def further_off(*args: object) -> tuple[Fitted, Fitted]:
        first, best = fitted(*args)  # type: ignore[arg-type]
        assert best.distance < first.distance
        return first, best._replace(spectra=further * first.spectra)

    monkeypatch.setattr(adapting, "_fitted", further_off)
    told: list[tuple[float, str]] = []
    found = adapt(library, "anna", [speech], speaker, lambda done, what: told.append((done, what)))
    assert found.kept is kept
    assert found.after.likeness > found.before.likeness
    now = library.find("anna")
    assert (now.personal is not None) is kept
    assert now.consents == before.consents and now.id == before.id
    assert library.store.read(before.id + FIT_SUFFIX) is None
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def _likening(speaker: Speaker, embedding: np.ndarray):  # type: ignore[no-untyped-def]
    """Return an embed to which every voice said again is liker than the one before."""
    likeness = [0.7]
    real = speaker.embed

    def embed(x: Samples, rate_hz: int) -> np.ndarray:
        if rate_hz != ENGINE_RATE_HZ:
            return real(x, rate_hz)
        likeness[0] += 0.05
        return likeness[0] * embedding

    return embed


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit(143), OSError(28, "No space left on device")])
def test_an_interrupted_fit_leaves_the_voice_and_goes_on(
    library: Library,
    speaker: Speaker,
    speech: tuple[Samples, int],
    short: None,
    ending: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrolled(library, speaker, speech)
    before = library.find("anna")

    def interrupt(done: float, what: str) -> None:
        if done > 0.6:
            raise ending

    with pytest.raises((KeyboardInterrupt, SystemExit, OSError)):
        adapt(library, "anna", [speech], speaker, interrupt)
    after = library.find("anna")
    assert after.personal is None and np.array_equal(after.timbre, before.timbre)
    reached = adapting._reached(library, after)
    assert reached is not None and np.any(reached[1]) and not np.array_equal(reached[0], before.timbre)
    with monkeypatch.context() as without, pytest.raises(VoiceError, match="adapting a voice needs PyTorch and onnx"):
        without.setitem(sys.modules, "torch", None)
        adapt(library, "anna", [speech], speaker, lambda *_: None)
    assert adapting._reached(library, after) is not None
    library.erase("anna")
    assert not list(library.folder.glob(f"*{FIT_SUFFIX}"))


def test_a_voice_that_is_erased_or_renamed_meanwhile_stays_so(
    library: Library, speaker: Speaker, speech: tuple[Samples, int], short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "WORSE_CONTENT", 1.0)
    monkeypatch.setattr(adapting, "WORSE_SPECTRA", 9.0)
    enrolled(library, speaker, speech)
    monkeypatch.setattr(speaker, "embed", _likening(speaker, library.find("anna").embedding))
    adapt(library, "anna", [speech], speaker, lambda done, _: done == 0.9 and library.rename("anna", "anne"))
    assert library.find("anne").personal is not None
    with pytest.raises(VoiceError, match="was erased meanwhile"):
        adapt(library, "anne", [speech], speaker, lambda done, what: "fitting" in what and library.erase("anne"))
    assert not list(library.folder.glob("*.voice")) and not list(library.folder.glob(f"*{FIT_SUFFIX}"))


def test_what_others_say_is_not_fitted_to(library: Library, speaker: Speaker, speech: tuple[Samples, int]) -> None:
    enrolled(library, speaker, speech)
    x, rate_hz = bundled("heart")
    mine = np.tile(speech[0], 2)[: 20 * rate_hz]
    mixed = np.concatenate([mine, np.tile(x, 3)[: 14 * rate_hz]])
    with pytest.raises(VoiceError, match=r"recording 1 of 1(: more than one person| is not spoken by)"):
        adapt(library, "anna", [(mixed, rate_hz)], speaker, lambda *_: None)


def test_what_cannot_be_adapted_is_refused(library: Library, speaker: Speaker, speech: tuple[Samples, int]) -> None:
    library.save(person("bare", embedding=None))
    with pytest.raises(VoiceError, match="is a blend"):
        adapt(library, "bare", [speech], speaker, lambda *_: None)
    enrolled(library, speaker, speech)
    with pytest.raises(VoiceError, match=r"too little to adapt to; record 30 s or more"):
        adapt(library, "anna", [(speech[0][: 9 * speech[1]], speech[1])], speaker, lambda *_: None)
    x, rate_hz = bundled("heart")
    other = np.tile(x, -(-40 * rate_hz // len(x)))
    with pytest.raises(VoiceError, match="is not spoken by 'anna'"):
        adapt(library, "anna", [speech, (other, rate_hz)], speaker, lambda *_: None)
    library.revoke("anna")
    with pytest.raises(ConsentError, match="was revoked"):
        adapt(library, "anna", [speech], speaker, lambda *_: None)


def test_a_voice_says_as_much_as_it_was_given() -> None:
    x = at_rate(*bundled("emma"), RATE_HZ)[:RATE_HZ]
    y = spoken_as(Network("clear"), built_in_timbres()[4], x)
    assert len(y) == ENGINE_RATE_HZ and np.any(y)
