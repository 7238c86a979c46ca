"""`rtvc train STEP`: the steps and their help. Nothing heavy is imported before a step runs.

Steps in the order that they are used: shipped (to go on from the program's weights), data, synth, align, encoder,
generator, joint, average, speaker, export, card.
Those that take long (data, synth, align and the trainings) can be interrupted and started again with the same command;
they go on where they were. The others take seconds; average, export and card write their files anew, shipped writes
over none and wants a new folder.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from . import TrainingError
from . import run_commands as runs
from . import set_commands as sets
from . import weights_commands as weights

NEEDED = ("torch", "onnx", "soxr", "matplotlib")


@dataclass(frozen=True)
class Step:
    """One word after `rtvc train`."""

    summary: str
    examples: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the steps to the parser of `rtvc train`."""
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    for name, step in STEPS.items():
        sub = steps.add_parser(
            name,
            help=step.summary,
            description=step.summary,
            epilog=f"examples:\n{step.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        step.arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Run the step; return the exit code. Raises TrainingError if the extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(f"training needs {', '.join(missing)}: pip install 'rtvc[train]'")
    return STEPS[args.step].run(args)


STEPS = {
    "shipped": Step(
        "write the weights that come with the program as checkpoints into a new folder, to train them further",
        "  rtvc train shipped start",
        weights.shipped_arguments,
        weights.shipped,
    ),
    "data": Step(
        "read a corpus into a training set: resampled, trimmed, checked, with its licence",
        "  rtvc train data LibriSpeech/train-clean-100 set --licence 'CC-BY 4.0' --hold-out 20\n"
        "  rtvc train data LJSpeech-1.1 set --licence 'public domain'\n"
        "  rtvc train data my-recordings set --licence mine --transcribe --codebook start/codebook.npy\n"
        "  rtvc train data pack set --licence CC0 --alignments pack.tsv\n"
        "  rtvc train data pairs set --licence Apache-2.0 --kokoro-voices node_modules/kokoro-js/voices",
        sets.data_arguments,
        sets.data,
    ),
    "align": Step(
        "find out which phone each frame of the recordings belongs to, with a trained encoder",
        "  rtvc train align set start/encoder.pt\n"
        "  rtvc train align set runs/encoder/last.pt --again --write second-round.tsv",
        sets.align_arguments,
        sets.align,
    ),
    "synth": Step(
        "make synthetic speech in many timbres, aligned exactly",
        "  rtvc train synth sentences.txt pairs --kokoro-voices node_modules/kokoro-js/voices\n"
        "  rtvc train synth sentences.txt pairs --kokoro-voices voices --timbres 6 --seed 1 --limit 200",
        sets.synth_arguments,
        sets.synth,
    ),
    "encoder": Step(
        "train the content encoder",
        "  rtvc train encoder set runs/encoder --init whisper-tiny.en/model.bin --noise noises\n"
        "  rtvc train encoder set runs/more --init start/encoder.pt --steps 20000 --rate 0.5 --threads 2\n"
        "  rtvc train encoder set runs/gpu --init model.bin --device cuda --batch 32",
        runs.encoder_arguments,
        runs.encoder,
    ),
    "generator": Step(
        "train the decoder: distilled from the teacher, then on sound against discriminators",
        "  rtvc train generator distil set runs/decoder\n"
        "  rtvc train generator voices set runs/voices --init runs/decoder/last.pt --kokoro-voices voices"
        " --encoder runs/encoder/last.pt\n"
        "  rtvc train generator voices set runs/more --init start/generator.pt --encoder start/encoder.pt",
        runs.generator_arguments,
        runs.generator,
    ),
    "joint": Step(
        "train encoder and decoder further, together, on sound and on what a speech recogniser hears in it",
        "  rtvc train joint set runs/joint --encoder runs/encoder/last.pt --generator runs/voices/last.pt"
        " --recogniser whisper-tiny.en/model.bin --noise noises\n"
        "  rtvc train joint set runs/joint --encoder start/encoder.pt --generator start/generator.pt"
        " --recogniser model.bin --device cuda --workers 12 --steps 4000",
        runs.joint_arguments,
        runs.joint,
    ),
    "average": Step(
        "average checkpoints of one network, as those before and after a step",
        "  rtvc train average encoder.pt runs/encoder/last.pt runs/joint/encoder.pt\n"
        "  rtvc train average encoder.pt runs/encoder/last.pt runs/joint/encoder.pt --shares 0.3,0.7",
        weights.average_arguments,
        weights.average,
    ),
    "speaker": Step(
        "train the speaker encoder to tell a voice's timbre from speech",
        "  rtvc train speaker set runs/speaker --init resemblyzer/pretrained.pt",
        runs.speaker_arguments,
        runs.speaker,
    ),
    "export": Step(
        "write trained networks as the ONNX files that the engine runs, checked against PyTorch",
        "  rtvc train export models/weights --set set --kokoro-voices voices"
        " --encoder runs/encoder/last.pt --generator runs/voices/last.pt --speaker runs/speaker/last.pt",
        weights.export_arguments,
        weights.export,
    ),
    "card": Step(
        "write CARD.md and NOTICE beside exported weights",
        "  rtvc train card models/weights --figures out/bench/quality.json",
        weights.card_arguments,
        weights.card,
    ),
}
