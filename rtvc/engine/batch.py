"""Many files at once: one process a core, each converting one file at a time on one thread.

A file that fails is reported and the rest go on. An interrupt, a raising `progress`, or the death of the parent makes
every worker stop at its next block and remove what it was writing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import READ_SUFFIXES, WRITE_FORMATS, AudioFileError

from .build import DEFAULT_POINT
from .convert import ConvertReport, convert_file
from .network import NetworkError
from .own_voice import OwnVoice
from .process import one_thread_each

POLL_S = 0.1


@dataclass(frozen=True)
class Job:
    """One file to convert."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a report, or the text of an error."""

    job: Job
    report: ConvertReport | None
    error: str | None


class Cancelled(Exception):
    """The conversion was asked to end."""


def plan_jobs(inputs: Sequence[Path], output: Path, suffix: str | None = None) -> list[Job]:
    """Return one job for each input file, and for each audio file under each input folder, in order of name.

    A single input file and an output that is no folder make one job. Otherwise output is a folder, made when
    needed, in which the tree under each input folder is repeated. Files keep their suffix where it can be written
    and become wav where it cannot, unless suffix says what all become. Raises AudioFileError for a folder without
    audio and for two inputs that would become one output.
    """
    if len(inputs) == 1 and not inputs[0].is_dir() and not output.is_dir():
        return [Job(inputs[0], output)]
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is a file; several inputs need a folder to go to")
    jobs: dict[Path, Job] = {}
    for entry in inputs:
        sources = list(_audio_files(entry, output)) if entry.is_dir() else [entry]
        if not sources:
            raise AudioFileError(f"{entry}: there is no audio file in this folder")
        for source in sources:
            place = source.relative_to(entry) if entry.is_dir() else Path(source.name)
            kept = place.suffix if place.suffix.lower() in WRITE_FORMATS else ".wav"
            job = Job(source, output / place.with_suffix(suffix or kept))
            other = jobs.setdefault(job.target, job)
            if other is not job:
                raise AudioFileError(f"{other.source} and {source} would both become {job.target}; rename one")
    return list(jobs.values())


def _audio_files(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the audio files under folder, leaving out hidden ones and what lies in the output folder."""
    output = output.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in READ_SUFFIXES and not hidden and path.is_file():
            within = output != folder.resolve() and path.resolve().is_relative_to(output)
            if not within:
                yield path


def convert_many(
    jobs: Sequence[Job],
    values: NDArray[np.float64] | None = None,
    *,
    point: str = DEFAULT_POINT,
    overwrite: bool = False,
    watermark: bool | None = None,
    own: OwnVoice | None = None,
    tempo: float | None = None,
    workers: int = 1,
    progress: Callable[[int, float], None] | None = None,
) -> list[Outcome]:
    """Convert all jobs with the same sound (float64[len(PARAMS)]); return their outcomes in the order given.

    watermark, own and tempo are as `convert_file` has them.
    progress is called often with the number of files done and the fraction of all work done; it may raise to stop.
    """
    report_progress = progress or (lambda _done, _fraction: None)
    for job in jobs if len(jobs) > 1 else ():
        with contextlib.suppress(OSError):  # convert_file says it better
            job.target.parent.mkdir(parents=True, exist_ok=True)
    convert = partial(
        convert_file, values=values, point=point, overwrite=overwrite, watermark=watermark, own=own, tempo=tempo
    )
    if workers == 1 or len(jobs) == 1:
        return _convert_here(jobs, convert, report_progress)
    context = multiprocessing.get_context("spawn")
    cancel = context.Event()
    fractions = context.Array("d", len(jobs), lock=False)
    one_thread_each()
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker, (cancel, fractions)) as pool:
        try:
            with _interrupts_held():  # workers inherit this and leave interrupts to the parent
                futures = [pool.submit(_convert, i, job, convert) for i, job in enumerate(jobs)]
            while wait(futures, POLL_S).not_done:
                report_progress(sum(future.done() for future in futures), sum(fractions) / len(jobs))
        except BaseException:
            cancel.set()
            pool.shutdown(cancel_futures=True)
            raise
    report_progress(len(jobs), 1.0)
    return [_outcome(job, future) for job, future in zip(jobs, futures, strict=True)]


def _convert_here(
    jobs: Sequence[Job], convert: Callable[..., ConvertReport], progress: Callable[[int, float], None]
) -> list[Outcome]:
    outcomes = []
    for i, job in enumerate(jobs):

        def part(fraction: float, done: int = i) -> None:
            progress(done, (done + fraction) / len(jobs))

        outcomes.append(_attempt(job, convert, part))
    progress(len(jobs), 1.0)
    return outcomes


def _attempt(job: Job, convert: Callable[..., ConvertReport], progress: Callable[[float], None]) -> Outcome:
    try:
        report = convert(job.source, job.target, progress=progress)
    except (AudioFileError, NetworkError) as error:
        return Outcome(job, None, str(error))
    return Outcome(job, report, None)


_worker: dict[str, Any] = {}


def _start_worker(cancel: Event, fractions: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.update(cancel=cancel, fractions=fractions)
    threading.Thread(target=_follow_parent, args=(cancel,), daemon=True).start()


def _follow_parent(cancel: Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    cancel.set()
    time.sleep(2.0)  # for the block under way to end and its file to be removed
    os._exit(1)


def _convert(index: int, job: Job, convert: Callable[..., ConvertReport]) -> Outcome:
    def progress(fraction: float) -> None:
        _worker["fractions"][index] = fraction
        if _worker["cancel"].is_set():
            raise Cancelled

    outcome = _attempt(job, convert, progress)
    _worker["fractions"][index] = 1.0
    return outcome


def _outcome(job: Job, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(job, None, f"{job.source}: its process died; try fewer --jobs if memory is short")


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C in this thread and in what it starts, where the platform can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
