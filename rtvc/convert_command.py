"""`rtvc convert`: its arguments, its progress and what it says of each file."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtvc.config import ConfigError
from rtvc.output import print_json, warn
from rtvc.progress import StatusLine, bar
from rtvc.termination import end_if_told, interrupts_kept

if TYPE_CHECKING:
    from rtvc.engine.batch import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only this command takes."""
    from rtvc.sound_arguments import add_watermark_argument

    parser.add_argument("inputs", metavar="IN", nargs="+", type=Path, help="audio file, or folder of audio files")
    parser.add_argument("output", metavar="OUT", type=Path, help="file to write, or folder for several")
    parser.add_argument("--format", choices=("wav", "flac", "ogg"), help="of all files that go to a folder")
    parser.add_argument("--jobs", type=int, metavar="N", help="files converted at a time (one for each core)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--tempo", type=float, metavar="R",
        help="speak R times as fast, 0.5 to 2, with the pitch kept (as your own voice does, else 1)",
    )  # fmt: skip
    add_watermark_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object about all files")


def run(args: argparse.Namespace) -> int:
    """Convert what was asked for; return the exit code."""
    from rtvc.engine.batch import convert_many, plan_jobs
    from rtvc.engine.tempo import check_tempo
    from rtvc.sound_arguments import chosen_point, chosen_sound

    sound = chosen_sound(args)
    workers = args.jobs or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if workers < 1:
        raise ConfigError(f"--jobs {workers}: must be 1 or more")
    if args.tempo is not None:
        try:
            check_tempo(args.tempo)
        except ValueError as error:
            raise ConfigError(f"--{error}") from None
    jobs = plan_jobs(args.inputs, args.output, f".{args.format}" if args.format else None)
    with StatusLine() as line, interrupts_kept():

        def progress(done: int, fraction: float) -> None:
            end_if_told()
            files = f"  {done}/{len(jobs)} files" if len(jobs) > 1 else ""
            line.show(f"{bar(fraction)}{files}")

        outcomes = convert_many(
            jobs,
            sound.values,
            point=chosen_point(args),
            overwrite=args.force,
            watermark=args.watermark,
            own=sound.own,
            tempo=args.tempo,
            workers=workers,
            progress=progress,
        )
    failed = sum(outcome.error is not None for outcome in outcomes)
    if args.json:
        print_json({"files": [_outcome_fields(outcome) for outcome in outcomes], "failed": failed})
    for outcome in outcomes:
        report = outcome.report
        if report is None:
            warn([str(outcome.error)])
            continue
        warn(report.warnings)
        if not args.json:
            loudness = "silence" if report.loudness_out is None else f"{report.loudness_out:.1f} LUFS"
            tempo = "" if report.tempo == 1.0 else f", tempo {report.tempo:g}"
            print(f"{report.target}  {report.audio_s:.1f} s, {report.speed:.0f}x real time, {loudness}{tempo}")
    if failed and len(jobs) > 1:
        warn([f"{failed} of {len(jobs)} files failed"])
    return 1 if failed else 0


def _outcome_fields(outcome: Outcome) -> dict[str, Any]:
    fields: dict[str, Any] = {"source": outcome.job.source, "target": outcome.job.target, "error": outcome.error}
    if outcome.report is not None:
        fields |= {entry.name: getattr(outcome.report, entry.name) for entry in dataclasses.fields(outcome.report)}
        fields |= {"audio_s": outcome.report.audio_s, "speed": outcome.report.speed}
    return fields
