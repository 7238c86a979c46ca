"""Which stage of the neural voice loses what: what it finds out is replaced by the truth, one thing after another.

Held-out synthetic renditions of a training set (`rtvc train data`) know their latents, energy, voicing and F0. The live
engine converts them, without the speaker's own consonants: as it hears them; with the true code; with the true latent,
unquantised; and then with true voicing, F0 and energy as well. What is left in the last row is the decoder's. Held-out
recordings (`--recordings`) are known by code and latent only, from the alignment of their text.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.judges import Judges, word_errors
from bench.report import Report, arguments
from rtvc.engine.engine import Engine
from rtvc.engine.network import CONTENT, CPU, LATER_FRAMES, Network
from rtvc.engine.neural_voice import NeuralVoice
from rtvc.engine.params import to_vector
from rtvc.engine.timbres import built_in_timbres
from rtvc.models.generator import DOUBT, LATER
from rtvc.train.dataset import VOICED_HZ, Item, TrainingSet

STAGES: dict[str, tuple[str, ...]] = {
    "as heard": (),
    "true codes": ("codes",),
    "true latents": ("latents",),
    "and voicing": ("latents", "voicing"),
    "and F0": ("latents", "voicing", "f0"),
    "and energy": ("latents", "voicing", "f0", "energy"),
}
OF_RECORDINGS = ("as heard", "true codes", "true latents")
LEVEL = 0.2  # peak of what is given to the engine


class Truth:
    """What is true of one utterance, by decoder frame; F0 and energy of a rendition only."""

    def __init__(self, data: TrainingSet, item: Item) -> None:
        rows = data.rows(item)
        self.latents = np.array(data.latents[rows])
        self.codes = np.array(data.codebook)[data.code_idx[rows, 0].astype(np.int64)]
        nothing = np.zeros(len(rows), np.float32)
        f0_hz, self.energy = data.melody(item) if item.exact else (nothing, nothing)
        self.f0_hz: NDArray[np.float32] = np.where(f0_hz > VOICED_HZ, f0_hz * item.f0_scale, 0.0).astype(np.float32)


class ToldNetwork(Network):
    """Networks that are told some of what they should hear."""

    truth: Truth | None = None
    told: tuple[str, ...] = ()
    frame = 0

    def listen(self, phase: int) -> None:
        super().listen(phase)
        frame, self.frame = self.frame, self.frame + 1
        truth = self.truth
        if truth is None or frame >= len(truth.codes):
            return
        soon = min(frame + LATER_FRAMES, len(truth.codes) - 1)
        for name, known in (("codes", truth.codes), ("latents", truth.latents)):
            if name in self.told:
                self.content[:CONTENT], self.content[DOUBT] = known[frame], 0.0
                if self.hears_later:
                    self.content[LATER][:CONTENT] = known[soon]
        for later, at in enumerate((frame, soon)[: len(self._also)]):
            if "energy" in self.told:
                self._also[later, 0] = truth.energy[at] / 4.0
            if "voicing" in self.told:
                self._also[later, 1] = 1.0 if truth.f0_hz[at] > 0 else -1.0


class ToldVoice(NeuralVoice):
    """A neural voice that is told its speaker's F0."""

    def f0_of(self, frame: int) -> float:
        network = self._network
        assert isinstance(network, ToldNetwork)
        truth = network.truth
        if truth is None or "f0" not in network.told or frame >= len(truth.f0_hz):
            return super().f0_of(frame)
        return float(truth.f0_hz[frame])


def main() -> None:
    parser = arguments("stages", __doc__)
    parser.add_argument("--set", type=Path, required=True, metavar="SET", help="training set with held-out utterances")
    parser.add_argument("--voice", default="heart", metavar="NAME", help="that is spoken (heart)")
    parser.add_argument("--latency", metavar="A,B", default="fast,clear", help="operating points (default: fast,clear)")
    parser.add_argument("--limit", type=int, default=12, metavar="N", help="utterances (12)")
    parser.add_argument("--recordings", action="store_true", help="held-out recordings in place of renditions")
    args = parser.parse_args()

    import soxr

    data, judges, report = TrainingSet(args.set), Judges(), Report("stages")
    items = [item for item in data.dev if item.exact != args.recordings and item.n > 3 * 16000]
    items = items[:: max(1, len(items) // (4 if args.quick else args.limit))][: 4 if args.quick else args.limit]
    if not items:
        parser.error(f"{args.set}: no {'recording' if args.recordings else 'rendition'} of 3 s is held out there")
    values = to_vector({"voice.name": "neural", "voice.timbre": args.voice, "consonants.amount": 0.0})
    networks = {point: ToldNetwork(point, "int8", None, CPU) for point in args.latency.split(",")}
    stages = OF_RECORDINGS if args.recordings else tuple(STAGES)
    for (point, network), name in itertools.product(networks.items(), stages):
        told = STAGES[name]
        errors, mos = np.zeros(2), []
        for item in items:
            network.truth = None
            engine = Engine(48000, values, ToldVoice(network, built_in_timbres()))
            network.truth, network.told, network.frame = Truth(data, item), told, 0
            x = soxr.resample(data.sound(item), 16000, 48000)
            x = np.pad(x * (LEVEL / max(float(np.abs(x).max()), 1e-6)), (0, engine.delay_frames)).astype(np.float32)
            y = np.zeros_like(x)
            for block in range(0, len(x), 480):
                engine.process(x[block : block + 480], y[block : block + 480])
            y = y[engine.delay_frames :]
            errors += word_errors(item.text, judges.transcribe(y, 48000))
            mos.append(judges.distillmos(y, 48000))
        report.row(
            stage=name, voice=args.voice, point=point, n=len(items), wer=errors[0] / errors[1],
            distillmos=float(np.mean(mos)),
        )  # fmt: skip
    report.finish(args.json)


if __name__ == "__main__":
    main()
