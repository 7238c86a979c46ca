"""`rtvc train STEP`: the arguments of each step and what it prints. Nothing heavy is imported before a step runs.

Steps in the order that they are used: data, synth, align, encoder, generator, export, card. Each can be interrupted
and started again with the same command; it goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import TrainingError

NEEDED = ("torch", "onnx", "soxr", "matplotlib")
LAYOUTS = ("librispeech", "ljspeech", "pairs", "pack", "folder")
VOICES = (
    "heart=af_heart,bella=af_bella,sarah=af_sarah,emma=bf_emma,"
    "michael=am_michael,puck=am_puck,fenrir=am_fenrir,george=bm_george"
)


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


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    from rtvc.progress import StatusLine, bar

    with StatusLine() as line:
        yield lambda fraction, text: line.show(f"{bar(fraction)} {text}")


def _told(counts: dict[str, int]) -> None:
    for reason, count in sorted(counts.items()):
        print(f"rtvc: left out {count}: {reason}", file=sys.stderr)


def _computing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything that is drawn (0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (1)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or cuda (cpu)")


def _compute(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(args.threads)
    try:
        torch.empty(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"--device {args.device}: cannot be used here: {str(error).splitlines()[0]}") from error
    torch.set_default_device(args.device)


# rtvc train data


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder to read")
    parser.add_argument("set", type=Path, metavar="SET", help="folder of the training set, made or added to")
    parser.add_argument("--licence", required=True, metavar="TEXT", help="of the corpus, for the manifest")
    parser.add_argument("--layout", choices=LAYOUTS, help="of CORPUS (found out from what lies there)")
    parser.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="speakers (of renditions: sentences) kept out of training (0)",
    )
    parser.add_argument("--alignments", type=Path, metavar="FILE", help="tokens and frames of its utterances")
    parser.add_argument("--kokoro-voices", type=Path, metavar="FOLDER", help="of voices: for timbres of renditions")
    parser.add_argument("--transcribe", action="store_true", help="recordings without a text, with Whisper")
    parser.add_argument(
        "--whisper", default="base", metavar="MODEL", help="with --transcribe: its name or folder (base)"
    )
    parser.add_argument("--language", default="en", metavar="CODE", help="with --transcribe (en)")
    parser.add_argument(
        "--codebook", type=Path, metavar="FILE", help=".npy of codes to use; needed with trained weights"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="read only the first N utterances")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the codebook (0)")


def _data(args: argparse.Namespace) -> int:
    from .align import read_alignments
    from .codebook import make_codes
    from .dataset import SetWriter
    from .packing import Packer, Packing
    from .timbres import Timbres
    from .transcribe import transcriber

    packing = Packing(
        licence=args.licence,
        layout=args.layout,
        hold_out=args.hold_out,
        alignments=read_alignments(args.alignments) if args.alignments else {},
        timbres=Timbres(args.kokoro_voices) if args.kokoro_voices else None,
        transcribe=transcriber(args.whisper, args.language) if args.transcribe else None,
        limit=args.limit,
    )
    with _progress() as progress:
        with SetWriter(args.set) as writer:
            skipped = Packer(writer, packing).pack(args.corpus.resolve(), progress)
            hours = sum(item.n for item in writer.items) / 16000 / 3600
            print(f"{args.set}: {len(writer.items)} utterances, {hours:.2f} h")
        _told(skipped)
        print(make_codes(args.set, args.seed, args.codebook, progress=progress))
    return 0


# rtvc train align


def _align_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", type=Path, metavar="SET", help="folder of the training set")
    parser.add_argument("encoder", type=Path, metavar="CHECKPOINT", help="last.pt of an encoder's run")
    parser.add_argument("--again", action="store_true", help="also what is aligned already")
    parser.add_argument("--accept", type=float, metavar="SCORE", help="least mean log-posterior a frame (-1.5)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write all alignments there as well")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the codebook, if there is none (0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (1)")


def _align(args: argparse.Namespace) -> int:
    import torch

    from rtvc.models.encoder import ContentEncoder

    from .align import ACCEPT, align_set, write_alignments
    from .codebook import make_codes
    from .dataset import read_items
    from .loop import load_weights
    from .teacher import Phones

    torch.set_num_threads(args.threads)
    content = ContentEncoder()
    load_weights(content, args.encoder)
    with _progress() as progress:
        accept = ACCEPT if args.accept is None else args.accept
        counts = align_set(args.set, content, args.again, accept, progress)
        print(f"{counts.pop('aligned', 0)} utterances aligned")
        _told(counts)
        print(make_codes(args.set, args.seed, progress=progress))
    if args.write:
        print(f"{args.write}: {write_alignments(args.write, read_items(args.set), Phones().vocabulary)} alignments")
    return 0


# rtvc train synth


def _synth_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sentences", type=Path, metavar="SENTENCES", help="text file, a sentence a line")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the renditions, made or added to")
    parser.add_argument("--kokoro-voices", type=Path, required=True, metavar="FOLDER", help="of its voices (*.bin)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="Kokoro's ONNX file (from installed packages)")
    parser.add_argument("--timbres", type=int, default=4, metavar="N", help="in which each sentence is said (4)")
    parser.add_argument("--limit", type=int, metavar="N", help="say only the first N sentences")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of who says what (0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (1)")


def _synth(args: argparse.Namespace) -> int:
    from .synth import Kokoro, read_sentences, synthesise
    from .teacher import Phones
    from .timbres import Timbres

    if args.timbres < 1:
        raise TrainingError(f"--timbres {args.timbres}: must be 1 or more")
    sentences = read_sentences(args.sentences, args.limit)
    timbres, tts = Timbres(args.kokoro_voices), Kokoro(args.model, args.threads)
    with _progress() as progress:
        new = synthesise(args.out, sentences, tts, timbres, Phones(), args.timbres, args.seed, progress)
    print(f"{args.out}: {new} new sentences in {args.timbres} timbres each")
    return 0


# rtvc train encoder, rtvc train generator


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", type=Path, metavar="SET", help="folder of the training set")
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of checkpoint, log and curves")
    parser.add_argument("--steps", type=int, metavar="N", help="of the whole run; the learning rate ends with it")
    parser.add_argument("--batch", type=int, metavar="N", help="sequences a step")
    parser.add_argument("--full-precision", action="store_true", help="compute in 32 bits, not in bfloat16")
    _computing(parser)


def _encoder_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument("--init", type=Path, metavar="FILE", help="Whisper tiny's model.bin, or a checkpoint (.pt)")
    parser.add_argument("--noise", type=Path, metavar="FOLDER", help="sounds to put under the speech")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of a sequence (5)")
    parser.add_argument("--rate", type=float, default=1.0, metavar="X", help="times the learning rates (1)")


def _encoder(args: argparse.Namespace) -> int:
    import dataclasses

    from .encoder import EncoderPlan, train_encoder

    _compute(args)
    plan = EncoderPlan()
    plan = dataclasses.replace(
        plan,
        schedule=dataclasses.replace(plan.schedule, steps=args.steps or plan.schedule.steps),
        batch=args.batch or plan.batch,
        seconds=args.seconds,
        encoder_rate=plan.encoder_rate * args.rate,
        head_rate=plan.head_rate * args.rate,
        half_precision=not args.full_precision,
        seed=args.seed,
    )
    return _trained(args.run_folder, train_encoder(args.set, args.run_folder, plan, args.init, args.noise))


def _generator_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stage",
        choices=("distil", "voices"),
        help="distil: one voice, from the teacher; voices: all of them, on sound, against discriminators",
    )
    _run_arguments(parser)
    parser.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="checkpoint to begin with; voices needs that of distil",
    )
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="with what this checkpoint hears")
    parser.add_argument("--kokoro-voices", type=Path, metavar="FOLDER", help="for the timbre of the home voice")
    parser.add_argument("--home", default="af_heart", metavar="NAME", help="voice of the teacher (af_heart)")
    parser.add_argument("--rate", type=float, default=1.0, metavar="X", help="times the learning rate (1)")


def _generator(args: argparse.Namespace) -> int:
    import dataclasses

    from .adversarial import VoicesPlan, train_voices
    from .generator import DistilPlan, distil
    from .timbres import Timbres

    _compute(args)
    plan: DistilPlan | VoicesPlan = DistilPlan() if args.stage == "distil" else VoicesPlan()
    plan = dataclasses.replace(
        plan,
        schedule=dataclasses.replace(plan.schedule, steps=args.steps or plan.schedule.steps),
        batch=args.batch or plan.batch,
        rate=plan.rate * args.rate,
        half_precision=not args.full_precision,
        seed=args.seed,
    )
    if isinstance(plan, DistilPlan):
        return _trained(args.run_folder, distil(args.set, args.run_folder, plan, args.init, encoder=args.encoder))
    if args.init is None or args.kokoro_voices is None:
        raise TrainingError(f"rtvc train generator {args.stage}: --init and --kokoro-voices are needed")
    home = Timbres(args.kokoro_voices).voice(args.home)
    return _trained(args.run_folder, train_voices(args.set, args.run_folder, plan, args.init, home, args.encoder))


def _trained(folder: Path, means: dict[str, float]) -> int:
    print(f"{folder / 'last.pt'}: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    return 0


# rtvc train speaker


def _speaker_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument(
        "--init", type=Path, required=True, metavar="FILE", help="Resemblyzer's pretrained.pt, or a checkpoint of ours"
    )


def _speaker(args: argparse.Namespace) -> int:
    import dataclasses

    from .speaker import SpeakerPlan, train_speaker

    _compute(args)
    plan = SpeakerPlan(seed=args.seed)
    schedule = dataclasses.replace(plan.schedule, steps=args.steps or plan.schedule.steps)
    plan = dataclasses.replace(plan, schedule=schedule, batch=args.batch or plan.batch)
    return _trained(args.run_folder, train_speaker(args.set, args.run_folder, plan, args.init))


# rtvc train export, rtvc train card


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the weights")
    parser.add_argument("--encoder", type=Path, required=True, metavar="FILE", help="checkpoint of the encoder")
    parser.add_argument("--generator", type=Path, required=True, metavar="FILE", help="checkpoint of the decoder")
    parser.add_argument("--speaker", type=Path, required=True, metavar="FILE", help="checkpoint of the speaker encoder")
    parser.add_argument("--set", type=Path, required=True, metavar="SET", help="that they were trained on")
    parser.add_argument("--kokoro-voices", type=Path, required=True, metavar="FOLDER", help="for the voices' timbres")
    parser.add_argument("--voices", default=VOICES, metavar="LIST", help="OURS=THEIRS,...: voices to ship (the eight)")


def _export(args: argparse.Namespace) -> int:
    import numpy as np

    from rtvc.models.encoder import ContentEncoder
    from rtvc.models.generator import Generator
    from rtvc.models.speaker import SpeakerEncoder

    from .dataset import TrainingSet, write_json
    from .export import SPEAKER_FILE, export, export_speaker
    from .loop import load_weights
    from .timbres import Timbres, shipped_voices

    data, content, generator, speaker = TrainingSet(args.set), ContentEncoder(), Generator(), SpeakerEncoder()
    load_weights(content, args.encoder)
    load_weights(generator, args.generator)
    load_weights(speaker, args.speaker)
    pairs = [entry.partition("=") for entry in args.voices.split(",") if entry]
    voices = shipped_voices(data, Timbres(args.kokoro_voices), {ours: theirs or ours for ours, _, theirs in pairs})
    training = {"encoder": _history(args.encoder), "decoder": _history(args.generator)}
    card = {"voices": voices, "training": training}
    differences = export(args.out, content, generator, np.array(data.codebook), card)
    differences[SPEAKER_FILE] = export_speaker(args.out, speaker)
    path = args.out / "network.json"
    about = json.loads(path.read_text("utf-8"))
    sizes = {name: (args.out / name).stat().st_size / 1e6 for name in differences}
    about["exported"] = {name: {"mb": round(sizes[name], 3), "difference": d} for name, d in differences.items()}
    write_json(path, about, indent=1)
    for name, difference in differences.items():
        print(f"{args.out / name}  {sizes[name]:.2f} MB, at most {difference:.1e} from PyTorch")
    return 0


def _history(checkpoint: Path) -> dict[str, Any]:
    from .loop import read_checkpoint

    state = read_checkpoint(checkpoint)
    hours, means = float(state.get("seconds", 0.0)) / 3600, state.get("means", {})
    return {"steps": int(state.get("step", 0)), "hours": round(hours, 2), "means": means}


def _card_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="folder that rtvc train export wrote")
    parser.add_argument("--set", type=Path, required=True, metavar="SET", help="that they were trained on")
    parser.add_argument(
        "--figures", type=Path, action="append", default=[], metavar="FILE", help="JSON that a bench wrote"
    )


def _card(args: argparse.Namespace) -> int:
    from .card import write_card

    print("\n".join(str(path) for path in write_card(args.weights, args.set, args.figures)))
    return 0


STEPS = {
    "data": Step(
        "read a corpus into a training set: resampled, trimmed, checked, with its licence",
        "  rtvc train data LibriSpeech/train-clean-100 set --licence 'CC-BY 4.0' --hold-out 20\n"
        "  rtvc train data LJSpeech-1.1 set --licence 'public domain'\n"
        "  rtvc train data my-recordings set --licence mine --transcribe\n"
        "  rtvc train data pack set --licence CC0 --alignments pack.tsv\n"
        "  rtvc train data pairs set --licence Apache-2.0 --kokoro-voices node_modules/kokoro-js/voices",
        _data_arguments,
        _data,
    ),
    "align": Step(
        "find out which phone each frame of the recordings belongs to, with a trained encoder",
        "  rtvc train align set runs/encoder/last.pt\n"
        "  rtvc train align set runs/encoder/last.pt --again --write second-round.tsv",
        _align_arguments,
        _align,
    ),
    "synth": Step(
        "make synthetic speech in many timbres, aligned exactly",
        "  rtvc train synth sentences.txt pairs --kokoro-voices node_modules/kokoro-js/voices\n"
        "  rtvc train synth sentences.txt pairs --kokoro-voices voices --timbres 6 --seed 1 --limit 200",
        _synth_arguments,
        _synth,
    ),
    "encoder": Step(
        "train the content encoder",
        "  rtvc train encoder set runs/encoder --init whisper-tiny.en/model.bin --noise noises\n"
        "  rtvc train encoder set runs/more --init runs/encoder/last.pt --steps 20000 --rate 0.5 --threads 2\n"
        "  rtvc train encoder set runs/gpu --init model.bin --device cuda --batch 32",
        _encoder_arguments,
        _encoder,
    ),
    "generator": Step(
        "train the decoder: distilled from the teacher, then on sound against discriminators",
        "  rtvc train generator distil set runs/decoder\n"
        "  rtvc train generator voices set runs/voices --init runs/decoder/last.pt --kokoro-voices voices"
        " --encoder runs/encoder/last.pt",
        _generator_arguments,
        _generator,
    ),
    "speaker": Step(
        "train the speaker encoder to tell a voice's timbre from speech",
        "  rtvc train speaker set runs/speaker --init resemblyzer/pretrained.pt",
        _speaker_arguments,
        _speaker,
    ),
    "export": Step(
        "write trained networks as the ONNX files that the engine runs, checked against PyTorch",
        "  rtvc train export models/weights --set set --kokoro-voices voices"
        " --encoder runs/encoder/last.pt --generator runs/voices/last.pt --speaker runs/speaker/last.pt",
        _export_arguments,
        _export,
    ),
    "card": Step(
        "write CARD.md and NOTICE beside exported weights",
        "  rtvc train card models/weights --set set --figures out/bench/quality.json",
        _card_arguments,
        _card,
    ),
}
