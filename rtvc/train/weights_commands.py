"""`rtvc train shipped`, `average`, `export` and `card`: trained networks and the weights that the program ships."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

VOICES = (
    "heart=af_heart,bella=af_bella,sarah=af_sarah,emma=bf_emma,"
    "michael=am_michael,puck=am_puck,fenrir=am_fenrir,george=bm_george"
)


def shipped_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train shipped` to parser."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the checkpoints")


def shipped(args: argparse.Namespace) -> int:
    """Do `rtvc train shipped`; return the exit code. Raises TrainingError, NetworkError."""
    from . import TrainingError
    from .dataset import write_array
    from .loop import write_checkpoint
    from .shipped import shipped_codebook, shipped_encoder, shipped_generator, shipped_speaker

    networks = {"encoder": shipped_encoder(), "generator": shipped_generator(), "speaker": shipped_speaker()}
    for name in networks:
        if (args.out / f"{name}.pt").exists():
            raise TrainingError(f"{args.out / f'{name}.pt'}: is there already; choose another folder")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        write_array(args.out / "codebook.npy", shipped_codebook())
    except OSError as error:
        raise TrainingError(f"{args.out}: cannot be written: {error.strerror}") from None
    for name, network in networks.items():
        write_checkpoint(args.out / f"{name}.pt", {"model": network.state_dict()})
    print(f"{args.out}: {', '.join(f'{name}.pt' for name in networks)}, codebook.npy")
    return 0


def average_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train average` to parser."""
    parser.add_argument("out", type=Path, metavar="OUT", help="checkpoint to write")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="checkpoints of one network")
    parser.add_argument("--shares", metavar="LIST", help="X,X,...: one for each file, in all 1 (equal ones)")


def average(args: argparse.Namespace) -> int:
    """Do `rtvc train average`; return the exit code. Raises TrainingError."""
    from . import TrainingError
    from .average import average

    try:
        shares = [float(share) for share in args.shares.split(",")] if args.shares else None
    except ValueError:
        raise TrainingError(f"--shares {args.shares}: are no numbers, as 0.5,0.5 are") from None
    average(args.out, args.files, shares)
    print(f"{args.out}: the average of {len(args.files)} checkpoints")
    return 0


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train export` to parser."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the weights")
    parser.add_argument("--encoder", type=Path, required=True, metavar="FILE", help="checkpoint of the encoder")
    parser.add_argument("--generator", type=Path, required=True, metavar="FILE", help="checkpoint of the decoder")
    parser.add_argument("--speaker", type=Path, required=True, metavar="FILE", help="checkpoint of the speaker encoder")
    parser.add_argument("--set", type=Path, required=True, metavar="SET", help="that they were trained on")
    parser.add_argument("--kokoro-voices", type=Path, required=True, metavar="FOLDER", help="for the voices' timbres")
    parser.add_argument(
        "--precision", choices=("fp32", "int8"), help="write the networks of the voice in this one only (both)"
    )
    parser.add_argument("--voices", default=VOICES, metavar="LIST", help="OURS=THEIRS,...: voices to ship (the eight)")


def export(args: argparse.Namespace) -> int:
    """Do `rtvc train export`; return the exit code. Raises TrainingError."""
    import numpy as np

    from rtvc.models.generator import Generator
    from rtvc.models.speaker import SpeakerEncoder

    from .dataset import TrainingSet, write_json
    from .encoder import content_of
    from .export import PRECISIONS, SPEAKER_FILE, export, export_speaker
    from .loop import load_weights
    from .timbres import Timbres, shipped_voices

    data, content, generator, speaker = TrainingSet(args.set), content_of(args.encoder), Generator(), SpeakerEncoder()
    load_weights(generator, args.generator)
    load_weights(speaker, args.speaker)
    pairs = [entry.partition("=") for entry in args.voices.split(",") if entry]
    voices = shipped_voices(data, Timbres(args.kokoro_voices), {ours: theirs or ours for ours, _, theirs in pairs})
    checkpoints = {"encoder": args.encoder, "decoder": args.generator, "speaker": args.speaker}
    training = {name: _history(checkpoint) for name, checkpoint in checkpoints.items()}
    card = {"voices": voices, "training": training, "data": data.manifest()["sources"]}
    precisions = [args.precision] if args.precision else PRECISIONS
    differences = export(args.out, content, generator, np.array(data.codebook), card, precisions)
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
    return {"seed": state.get("seed"), "steps": int(state.get("step", 0)), "hours": round(hours, 2), "means": means}


def card_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train card` to parser."""
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="folder that rtvc train export wrote")
    parser.add_argument(
        "--figures", type=Path, action="append", default=[], metavar="FILE", help="JSON that a bench wrote"
    )


def card(args: argparse.Namespace) -> int:
    """Do `rtvc train card`; return the exit code. Raises TrainingError."""
    from .card import write_card

    print("\n".join(str(path) for path in write_card(args.weights, args.figures)))
    return 0
