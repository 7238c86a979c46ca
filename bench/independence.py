"""Whether the neural voice hears words and not speakers, and keeps quiet where nobody speaks.

`--sources PACK` (index.tsv with a speaker or a file each): a linear probe guesses which of SPEAKERS speakers said a
stretch of PROBE_S seconds, once from log-mel statistics, once from those of what the decoder is told; trained on the
first half of every speaker's stretches, tried on the second. Chance is 1 / SPEAKERS.
`--noise DIR` (recordings without speech): the level that comes out under what goes in, and the words that Whisper
hears in it a minute; babble would be many.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from bench.judges import Judges, Signal, at_16k, normalise_text
from bench.presets import audio_files, pack_lines, read
from bench.report import Report, arguments
from rtvc.engine.build import build_engine
from rtvc.engine.engine import Engine
from rtvc.engine.network import Network
from rtvc.engine.neural_voice import NeuralVoice
from rtvc.engine.params import to_vector
from rtvc.engine.timbres import built_in_timbres

SPEAKERS = 10
PROBE_S = 4.0
STRETCHES = 16
STEPS, RATE, DECAY = 400, 0.5, 1e-3
RATE_HZ = 16000
LEVEL = 0.05  # RMS of what is given to the engine
NEURAL = to_vector({"voice.name": "neural"})


def main() -> None:
    parser = arguments("independence", __doc__)
    parser.add_argument("--sources", type=Path, metavar="PACK", help="speech of at least ten speakers")
    parser.add_argument("--noise", type=Path, metavar="DIR", help="recordings without speech")
    parser.add_argument("--voice", default="heart", metavar="NAME", help="that noise is turned into (heart)")
    args = parser.parse_args()
    if args.sources is None and args.noise is None:
        parser.error("give --sources PACK, --noise DIR or both")
    report = Report("independence")
    for point in ("fast", "clear"):
        if args.sources:
            probe(report, args.sources, point, STRETCHES // 2 if args.quick else STRETCHES)
        if args.noise:
            noises(report, args.noise, point, args.voice, 5 if args.quick else 40)
    report.finish(args.json)


def probe(report: Report, folder: Path, point: str, stretches: int) -> None:
    """Add what the linear probe makes of mel and of content."""
    speakers = list(itertools.islice(by_speaker(folder, stretches), SPEAKERS))
    mel, content = [], []
    for sounds in speakers:
        mel.append(np.stack([mel_statistics(x) for x in sounds]))
        content.append(np.stack([content_statistics(x, point) for x in sounds]))
    for name, features in (("mel", mel), ("content", content)):
        report.row(what=f"{point}: speaker from {name}", right=probe_accuracy(features), chance=1 / len(speakers))


def by_speaker(folder: Path, stretches: int) -> Iterator[list[Signal]]:
    """Yield for each speaker that has enough of it so many stretches of PROBE_S seconds at 16 kHz."""
    n = round(PROBE_S * RATE_HZ)
    for _, group in itertools.groupby(pack_lines(folder), key=lambda line: line.get("speaker") or line["file"]):
        speech: list[Signal] = []
        for line in group:
            rate_hz = sf.info(folder / line["file"]).samplerate
            start, frames = int(line["start_sample"]), int(line["n_samples"])
            x, _ = sf.read(folder / line["file"], frames, start, dtype="float32")
            speech.append(at_16k(x, rate_hz))
            if sum(map(len, speech)) >= stretches * n:
                whole = np.concatenate(speech)
                yield [levelled(whole[k * n : (k + 1) * n]) for k in range(stretches)]
                break


def levelled(x: Signal) -> Signal:
    """Return x at LEVEL."""
    return (x * (LEVEL / max(float(np.sqrt(np.mean(x * x))), 1e-9))).astype(np.float32)


def mel_statistics(x: Signal) -> NDArray[np.float64]:
    """Return mean and deviation of 80 log-mel bands."""
    from rtvc.kernels.mel import log_mel, mel_state

    rows = np.zeros((len(x) // 160 + 1, 80), np.float32)
    rows = rows[: log_mel(mel_state(RATE_HZ), x, rows)]
    return np.concatenate([rows.mean(0), rows.std(0)]).astype(np.float64)


class ListeningNetwork(Network):
    """Networks that remember what they told their decoder of each frame."""

    def __init__(self, point: str) -> None:
        super().__init__(point)
        self.told: list[NDArray[np.float32]] = []

    def listen(self, phase: int) -> None:
        super().listen(phase)
        self.told.append(self.content.copy())


def content_statistics(x: Signal, point: str) -> NDArray[np.float64]:
    """Return mean and deviation of all content that the live voice's decoder is given of 16 kHz sound."""
    import soxr

    network = ListeningNetwork(point)
    engine = Engine(48000, NEURAL, NeuralVoice(network, built_in_timbres()))
    network.told.clear()
    y = np.ascontiguousarray(soxr.resample(x, RATE_HZ, 48000), np.float32)
    for block in range(0, len(y), 480):
        engine.process(y[block : block + 480], y[block : block + 480].copy())
    told = np.stack(network.told).astype(np.float64)
    return np.concatenate([told.mean(0), told.std(0)])


def probe_accuracy(features: list[NDArray[np.float64]]) -> float:
    """Return how often softmax regression names the speaker of a stretch that it was not trained on.

    features: float64[stretches, width] of each speaker; the first half trains.
    """
    half = len(features[0]) // 2
    train, test = (np.concatenate([f[part] for f in features]) for part in (slice(half), slice(half, None)))
    mean, deviation = train.mean(0), train.std(0) + 1e-3
    train, test = (train - mean) / deviation, (test - mean) / deviation
    who = np.repeat(np.arange(len(features)), half)
    weights = np.zeros((train.shape[1] + 1, len(features)))
    train, test = (np.hstack([part, np.ones((len(part), 1))]) for part in (train, test))
    rate = RATE / train.shape[1]
    for _ in range(STEPS):
        logits = train @ weights
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(who)), who] -= 1.0
        weights -= rate * (train.T @ p + DECAY * weights)
    truth = np.repeat(np.arange(len(features)), len(features[0]) - half)
    return float(np.mean((test @ weights).argmax(1) == truth))


def noises(report: Report, folder: Path, point: str, voice: str, limit: int) -> None:
    """Add what the engine makes of sounds that nobody speaks in."""
    import soxr

    judges = Judges()
    paths = audio_files(folder)
    words, seconds, drops = 0, 0.0, []
    for path in paths[:: max(1, len(paths) // limit)]:
        sound, rate_hz = read(path)
        x = np.ascontiguousarray(soxr.resample(levelled(sound), rate_hz, 48000), dtype=np.float32)
        engine = build_engine(values=to_vector({"voice.name": "neural", "voice.timbre": voice}), point=point)
        y = np.zeros_like(x)
        for block in range(0, len(x) - 479, 480):
            engine.process(x[block : block + 480], y[block : block + 480])
        drops.append(20 * np.log10(max(float(y.std()), 1e-6) / max(float(x.std()), 1e-6)))
        words += len(normalise_text(judges.transcribe(y, 48000)).split())
        seconds += len(x) / 48000
    report.row(
        what=f"{point}: noise alone",
        recordings=len(drops),
        out_minus_in_db=float(np.median(drops)),
        words_a_minute=60.0 * words / seconds,
    )


if __name__ == "__main__":
    main()
