"""Voices made from speech: how like the speaker they are, from seconds or minutes of it, and whom a recording is like.

`--speakers DIR`: every audio file in it is one speaker's speech. None of them may have been learnt from.

- "match": a query of 5 s against all speakers enrolled from other 20 s; top-1, and at the threshold that comes with the
  weights the share of strangers taken for somebody and of speakers not found ("no match").
- "zero-shot", "adapted": speakers with enough speech are enrolled from 10 s and 60 s, and adapted from 1, 3 and 10
  minutes. `--sources` (speech packs or folders of recordings of others) are said as that voice by the live engine at
  `clear`. Similarity is the cosine to speech of the speaker that was not used, by two encoders; the first has the LSTMs
  of our own speaker encoder, which adapting listens with, the second has nothing to do with it; accepted is the share
  at their equal-error thresholds. WER is what Whisper does not hear of the source's text.

    python -m bench.voices --speakers pack --sources other-pack --limit 6 --json FILE
"""

from __future__ import annotations

import itertools
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.judges import Judges, word_errors
from bench.presets import Utterance, audio_files, utterances
from bench.quality import THRESHOLDS
from bench.report import Report, arguments
from rtvc.audio.files import AudioReader
from rtvc.engine.network import Network
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.voices.adapt import adapt
from rtvc.voices.consent import Consent
from rtvc.voices.library import make_library, today
from rtvc.voices.profile import Profile, new_id, timbre_of
from rtvc.voices.rates import at_rate
from rtvc.voices.recording_check import Samples
from rtvc.voices.speaker import RATE_HZ, Speaker, without_pauses
from rtvc.voices.spoken import spoken_as

QUERY_S, ENROLLED_S, MATCHED_MIN = 5, 20, 40
ENROL_S = (10, 60)
ADAPT_MIN = (1, 3, 10)
REFERENCE_S = 30  # of each speaker's speech, the last: never enrolled from nor adapted to


def main() -> None:
    parser = arguments("voices", __doc__)
    parser.add_argument("--speakers", type=Path, nargs="+", required=True, metavar="DIR", help="a file a speaker")
    parser.add_argument("--sources", type=Path, required=True, metavar="DIR", help="recordings, or a speech pack")
    parser.add_argument("--limit", type=int, default=6, metavar="N", help="sources said as each voice (6)")
    parser.add_argument("--adapted", type=int, default=8, metavar="N", help="voices to make, most speech first (8)")
    args = parser.parse_args()
    report = Report("voices")
    speaker = Speaker()
    speech = {path.stem: speech_of(path) for folder in args.speakers for path in audio_files(folder)}
    sources = list(itertools.islice(utterances(args.sources), 2 if args.quick else args.limit))
    voices = Voices(report, speaker, sources)  # the judges that are missing are told before anything takes long
    match(report, speaker, {name: without_pauses(at_rate(x, hz, RATE_HZ)) for name, (x, hz) in speech.items()})
    most = sorted(speech, key=lambda name: -len(speech[name][0]) / speech[name][1])
    for name in most[: 1 if args.quick else args.adapted]:
        voices.of(name, *speech[name])
    voices.judge()
    report.finish(args.json)


def speech_of(path: Path) -> tuple[Samples, int]:
    """Return all samples of a file, mono, and their rate in Hz."""
    with AudioReader(path) as reader:
        samples = np.zeros(reader.frames, np.float32)
        return samples[: reader.read(samples)], reader.rate_hz


def match(report: Report, speaker: Speaker, speech: dict[str, Samples]) -> None:
    """Find each speaker's query among all that were enrolled, and how often nobody or the wrong one is found."""
    cut, end = QUERY_S * RATE_HZ, (QUERY_S + ENROLLED_S) * RATE_HZ
    chosen = [x for x in speech.values() if len(x) >= end]
    if len(chosen) < 2:
        return
    enrolled = np.array([speaker.embed(x[cut:end], RATE_HZ) for x in chosen])
    began = time.perf_counter()
    queries = np.array([speaker.embed(x[:cut], RATE_HZ) for x in chosen])
    took_ms = 1e3 * (time.perf_counter() - began) / len(chosen)
    likeness = queries @ enrolled.T
    right = np.arange(len(chosen))
    strangers = likeness.copy()
    np.fill_diagonal(strangers, -1.0)  # the speaker is not in the library
    report.row(what="match", speakers=len(chosen), top1=float((likeness.argmax(1) == right).mean()),
               stranger_taken=float((strangers.max(1) >= speaker.same_speaker).mean()),
               pair_taken=float((strangers[strangers > -1.0] >= speaker.same_speaker).mean()),
               not_found=float((np.diag(likeness) < speaker.same_speaker).mean()), query_ms=took_ms)  # fmt: skip
    if len(chosen) >= MATCHED_MIN:
        top1 = float((likeness.argmax(1) == right).mean())
        report.target(f"right speaker first, of {len(chosen)}, from 5 s", top1, "", ">= 0.95")


class Voices:
    """Makes voices of speakers and judges what others' words sound like in them."""

    def __init__(self, report: Report, speaker: Speaker, sources: list[Utterance]) -> None:
        self._report, self._speaker, self._sources = report, speaker, sources
        self._judges, self._network = Judges(), Network("clear")
        self._rows: dict[str, dict[str, dict[str, float]]] = {}  # by what was done and speaker

    def of(self, name: str, x: Samples, rate_hz: int) -> None:
        """Enrol a speaker, adapt, and judge every voice on the way."""
        x, reference = x[: -REFERENCE_S * rate_hz], x[-REFERENCE_S * rate_hz :]
        target = self._judges.speakers(reference, rate_hz)
        profiles: dict[str, Profile] = {}
        for seconds in ENROL_S:
            if len(x) >= seconds * rate_hz or seconds == ENROL_S[0]:
                profiles[f"{seconds} s"] = self._enrolled(x[: seconds * rate_hz], rate_hz)
                self._row("zero-shot", f"{seconds} s", name, profiles[f"{seconds} s"], target, 0.0)
        start = list(profiles.values())[-1]
        for minutes in ADAPT_MIN:
            if len(x) < (0.9 if minutes == 1 else 1.0) * 60 * minutes * rate_hz:
                break
            with tempfile.TemporaryDirectory() as folder:
                library = make_library(Path(folder) / "voices", "nobody needs it")
                library.save(start)
                began = time.perf_counter()
                speech = [(x[: 60 * minutes * rate_hz], rate_hz)]
                found = adapt(library, start.name, speech, self._speaker, lambda *_: None)
                took_min = (time.perf_counter() - began) / 60.0
                profile = library.find(start.name)
            self._row("adapted", f"{minutes} min", name, profile, target, took_min, float(found.kept))

    def _enrolled(self, x: Samples, rate_hz: int) -> Profile:
        heard = self._speaker.hear(x, rate_hz)
        f0_hz = self._judges.f0(x, rate_hz)
        consent = Consent(new_id(), "a speaker of the bench", "measuring", ("live", "files"), today(),
                          today() + timedelta(1), "none", 0.0, 1.0, "0" * 64)  # fmt: skip
        return Profile(new_id(), "speaker", heard.timbre, float(np.median(f0_hz[f0_hz > 0])), today(),
                       consents=(consent,), embedding=heard.embedding)  # fmt: skip

    def _row(
        self,
        what: str,
        speech: str,
        name: str,
        profile: Profile,
        target: tuple[NDArray[np.float32], ...],
        took: float,
        kept: float = 1.0,
    ) -> None:
        scores = [self._score(source, profile, target) for source in self._sources]
        mean = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
        mean["wer"] = mean.pop("errors") / max(mean.pop("words"), 1e-9)
        self._rows.setdefault(f"{what} {speech}", {})[name] = mean | {"minutes": took, "kept": kept}
        self._report.row(what=what, speech=speech, speaker=name, **mean, minutes=took, kept=kept)

    def _score(self, source: Utterance, profile: Profile, target: tuple[NDArray[np.float32], ...]) -> dict[str, float]:
        x, rate_hz = source.sound
        y = spoken_as(self._network, timbre_of(profile), at_rate(x, rate_hz, RATE_HZ))
        found = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                 for a, b in zip(self._judges.speakers(y, ENGINE_RATE_HZ), target, strict=True)]  # fmt: skip
        errors, words = word_errors(source.text or self._judges.transcribe(x, rate_hz),
                                    self._judges.transcribe(y, ENGINE_RATE_HZ))  # fmt: skip
        accepted = [float(value >= threshold) for value, threshold in zip(found, THRESHOLDS, strict=True)]
        return {"similarity": found[0], "similarity_2": found[1], "accepted": accepted[0], "accepted_2": accepted[1],
                "errors": errors, "words": words, "ovrl": self._judges.dnsmos(y, ENGINE_RATE_HZ)["ovrl"],
                "distillmos": self._judges.distillmos(y, ENGINE_RATE_HZ)}  # fmt: skip

    def judge(self) -> None:
        """Sum up over speakers."""
        for key, rows in self._rows.items():
            mean = {cell: float(np.mean([row[cell] for row in rows.values()])) for cell in next(iter(rows.values()))}
            self._report.row(what=f"all: {key}", speakers=len(rows), **mean)
        after, before = self._rows.get("adapted 3 min", {}), self._rows.get("zero-shot 60 s", {})
        if after:
            gains = [row["similarity"] - before[name]["similarity"] for name, row in after.items()]
            self._report.target("similarity at 3 min over zero-shot", float(np.mean(gains)), "", ">= 0.05")
            accepted = float(np.mean([row["accepted"] for row in after.values()]))
            self._report.target("accepted at 3 min", accepted, "", ">= 0.80")


if __name__ == "__main__":
    main()
