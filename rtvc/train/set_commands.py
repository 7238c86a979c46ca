"""`rtvc train data`, `align` and `synth`: what makes a training set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import TrainingError

LAYOUTS = ("librispeech", "ljspeech", "pairs", "pack", "folder")


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    from rtvc.progress import StatusLine, bar

    with StatusLine() as line:
        yield lambda fraction, text: line.show(f"{bar(fraction)} {text}")


def _told(counts: dict[str, int]) -> None:
    for reason, count in sorted(counts.items()):
        print(f"rtvc: left out {count}: {reason}", file=sys.stderr)


def data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train data` to parser."""
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
        "--codebook",
        type=Path,
        metavar="FILE",
        help=".npy of codes that SET keeps; those of trained weights to go on from",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="read only the first N utterances")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the codebook (0)")


def data(args: argparse.Namespace) -> int:
    """Do `rtvc train data`; return the exit code. Raises TrainingError."""
    from .align import read_alignments
    from .codebook import keep_codebook, make_codes
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
    if args.codebook:
        keep_codebook(args.set, args.codebook)
    with _progress() as progress:
        with SetWriter(args.set) as writer:
            skipped = Packer(writer, packing).pack(args.corpus.resolve(), progress)
            hours = sum(item.n for item in writer.items) / 16000 / 3600
            held_out = sum(item.dev for item in writer.items)
            print(f"{args.set}: {len(writer.items)} utterances, {hours:.2f} h, {held_out} of them held out")
        _told(skipped)
        print(make_codes(args.set, args.seed, progress=progress))
    return 0


def align_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train align` to parser."""
    parser.add_argument("set", type=Path, metavar="SET", help="folder of the training set")
    parser.add_argument("encoder", type=Path, metavar="CHECKPOINT", help="last.pt of an encoder's run")
    parser.add_argument("--again", action="store_true", help="also what is aligned already")
    parser.add_argument("--accept", type=float, metavar="SCORE", help="least mean log-posterior a frame (-1.5)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write all alignments there as well")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the codebook, if there is none (0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (1)")


def align(args: argparse.Namespace) -> int:
    """Do `rtvc train align`; return the exit code. Raises TrainingError."""
    import torch

    from .align import ACCEPT, align_set, write_alignments
    from .codebook import make_codes
    from .dataset import read_items
    from .encoder import content_of
    from .teacher import Phones

    torch.set_num_threads(args.threads)
    content = content_of(args.encoder)
    with _progress() as progress:
        accept = ACCEPT if args.accept is None else args.accept
        counts = align_set(args.set, content, args.again, accept, progress)
        print(f"{counts.pop('aligned', 0)} utterances aligned")
        _told(counts)
        print(make_codes(args.set, args.seed, progress=progress))
    if args.write:
        print(f"{args.write}: {write_alignments(args.write, read_items(args.set), Phones().vocabulary)} alignments")
    return 0


def synth_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc train synth` to parser."""
    parser.add_argument("sentences", type=Path, metavar="SENTENCES", help="text file, a sentence a line")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the renditions, made or added to")
    parser.add_argument("--kokoro-voices", type=Path, required=True, metavar="FOLDER", help="of its voices (*.bin)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="Kokoro's ONNX file (from installed packages)")
    parser.add_argument("--timbres", type=int, default=4, metavar="N", help="in which each sentence is said (4)")
    parser.add_argument("--limit", type=int, metavar="N", help="say only the first N sentences")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of who says what (0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the computation (1)")


def synth(args: argparse.Namespace) -> int:
    """Do `rtvc train synth`; return the exit code. Raises TrainingError."""
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
