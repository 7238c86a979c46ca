"""`rtvc train encoder`, `generator`, `joint` and `speaker`: runs of training, each in a folder of its own."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import TrainingError

if TYPE_CHECKING:
    from .adversarial import VoicesPlan
    from .encoder import EncoderPlan
    from .generator import DistilPlan
    from .joint import JointPlan
    from .speaker import SpeakerPlan

Plan = TypeVar("Plan", "EncoderPlan", "DistilPlan", "VoicesPlan", "JointPlan", "SpeakerPlan")


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


def _run_arguments(parser: argparse.ArgumentParser, steps: str, batch: str) -> None:
    """Add what every run is told. steps, batch: what its plan says, for the help, which loads no plan."""
    parser.add_argument("set", type=Path, metavar="SET", help="folder of the training set")
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of checkpoint, log and curves")
    parser.add_argument(
        "--steps", type=int, metavar="N", help=f"of the whole run; the learning rate ends with it ({steps})"
    )
    parser.add_argument("--batch", type=int, metavar="N", help=f"sequences a step ({batch})")
    _computing(parser)


def _told(plan: Plan, args: argparse.Namespace) -> Plan:
    """Return a plan with what every run is told."""
    schedule = dataclasses.replace(plan.schedule, steps=args.steps or plan.schedule.steps)
    return dataclasses.replace(plan, schedule=schedule, batch=args.batch or plan.batch, seed=args.seed)


def _precision_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full-precision", action="store_true", help="compute in 32 bits, not in bfloat16")


def encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train encoder` to parser."""
    _run_arguments(parser, "7000", "6")
    _precision_argument(parser)
    parser.add_argument(
        "--init", type=Path, metavar="FILE", help="Whisper's model.bin, tiny or base, or a checkpoint (.pt)"
    )
    parser.add_argument("--noise", type=Path, metavar="FOLDER", help="sounds to put under the speech")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of a sequence (5)")
    parser.add_argument("--rate", type=float, default=1.0, metavar="X", help="times the learning rates (1)")


def encoder(args: argparse.Namespace) -> int:
    """Do `rtvc train encoder`; return the exit code. Raises TrainingError."""
    from .encoder import EncoderPlan, train_encoder

    _compute(args)
    plan = _told(EncoderPlan(), args)
    plan = dataclasses.replace(
        plan,
        seconds=args.seconds,
        encoder_rate=plan.encoder_rate * args.rate,
        head_rate=plan.head_rate * args.rate,
        half_precision=not args.full_precision,
    )
    return _trained(args.run_folder, train_encoder(args.set, args.run_folder, plan, args.init, args.noise))


def generator_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train generator` to parser."""
    parser.add_argument(
        "stage",
        choices=("distil", "voices"),
        help="distil: one voice, from the teacher; voices: all of them, on sound, against discriminators",
    )
    _run_arguments(parser, "distil 1500, voices 5000", "8")
    _precision_argument(parser)
    parser.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="checkpoint to begin with; voices needs one",
    )
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="with what this checkpoint hears")
    parser.add_argument(
        "--kokoro-voices",
        type=Path,
        metavar="FOLDER",
        help="for the timbre of the teacher's voice, where the decoder to begin with has one voice only",
    )
    parser.add_argument("--home", default="af_heart", metavar="NAME", help="that voice (af_heart)")
    parser.add_argument("--rate", type=float, default=1.0, metavar="X", help="times the learning rate (1)")


def generator(args: argparse.Namespace) -> int:
    """Do `rtvc train generator`; return the exit code. Raises TrainingError."""
    from .adversarial import VoicesPlan, train_voices
    from .generator import DistilPlan, distil
    from .timbres import Timbres

    _compute(args)
    plan: DistilPlan | VoicesPlan
    plan = _told(DistilPlan(), args) if args.stage == "distil" else _told(VoicesPlan(), args)
    plan = dataclasses.replace(plan, rate=plan.rate * args.rate, half_precision=not args.full_precision)
    if isinstance(plan, DistilPlan):
        return _trained(args.run_folder, distil(args.set, args.run_folder, plan, args.init, encoder=args.encoder))
    if args.init is None:
        raise TrainingError(f"rtvc train generator {args.stage}: --init is needed")
    home = Timbres(args.kokoro_voices).voice(args.home) if args.kokoro_voices else None
    return _trained(args.run_folder, train_voices(args.set, args.run_folder, plan, args.init, home, args.encoder))


def joint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train joint` to parser."""
    _run_arguments(parser, "5000", "40")
    _precision_argument(parser)
    parser.add_argument("--encoder", type=Path, required=True, metavar="FILE", help="checkpoint of the encoder")
    parser.add_argument("--generator", type=Path, required=True, metavar="FILE", help="checkpoint of the decoder")
    parser.add_argument(
        "--recogniser", type=Path, required=True, metavar="FILE", help="model.bin of Whisper tiny.en, which listens"
    )
    parser.add_argument("--noise", type=Path, metavar="FOLDER", help="sounds to put under the speech")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that make batches ahead, for a GPU (0)"
    )
    parser.add_argument("--rate", type=float, default=1.0, metavar="X", help="times the learning rates (1)")


def joint(args: argparse.Namespace) -> int:
    """Do `rtvc train joint`; return the exit code. Raises TrainingError."""
    from .joint import JointPlan, train_joint

    _compute(args)
    plan = _told(JointPlan(), args)
    plan = dataclasses.replace(
        plan,
        encoder_rate=plan.encoder_rate * args.rate,
        head_rate=plan.head_rate * args.rate,
        decoder_rate=plan.decoder_rate * args.rate,
        judges_rate=plan.judges_rate * args.rate,
        half_precision=not args.full_precision,
    )
    if plan.schedule.steps <= plan.schedule.wait:
        raise TrainingError(f"--steps {args.steps}: more than {plan.schedule.wait} are needed; until then judges learn")
    files = (args.encoder, args.generator, args.recogniser)
    return _trained(args.run_folder, train_joint(args.set, args.run_folder, plan, *files, args.noise, args.workers))


def _trained(folder: Path, means: dict[str, float]) -> int:
    print(f"{folder / 'last.pt'}: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    return 0


def speaker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train speaker` to parser."""
    _run_arguments(parser, "3000", "128")
    parser.add_argument(
        "--init", type=Path, required=True, metavar="FILE", help="Resemblyzer's pretrained.pt, or a checkpoint of ours"
    )


def speaker(args: argparse.Namespace) -> int:
    """Do `rtvc train speaker`; return the exit code. Raises TrainingError."""
    from .speaker import SpeakerPlan, train_speaker

    _compute(args)
    plan = _told(SpeakerPlan(), args)
    return _trained(args.run_folder, train_speaker(args.set, args.run_folder, plan, args.init))
