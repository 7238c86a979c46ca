"""Jobs: files converted beside the live sound, each in a process of its own at low priority, so neither waits for it.

A job that is cancelled stops at its next block and removes what it wrote. Finished jobs are remembered, the newest
KEPT of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioFileError
from rtvc.engine.convert import convert_file
from rtvc.engine.network import NetworkError
from rtvc.engine.own_voice import OwnVoice
from rtvc.engine.process import engine_context

from .wire import RequestError, Status

RUNNING_MOST = 2
KEPT = 50
NICE = 10
STEP = 0.01  # of progress worth telling


@dataclass
class Job:
    """One conversion."""

    job: str
    source: Path
    target: Path
    state: str = "running"
    progress: float = 0.0
    note: str = ""
    process: BaseProcess | None = field(default=None, repr=False)
    pipe: Connection | None = field(default=None, repr=False)

    def entry(self) -> dict[str, Any]:
        """Return what clients see of it."""
        return {
            "job": self.job,
            "kind": "convert",
            "state": self.state,
            "progress": round(self.progress, 3),
            "note": self.note,
        }


class Jobs:
    """The jobs of one desk; told is called from a thread whenever one of them moved on."""

    def __init__(self, told: Callable[[Job], None]) -> None:
        self._told = told
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)

    def list(self) -> list[dict[str, Any]]:
        """Return all jobs, oldest first."""
        return [job.entry() for job in self._jobs.values()]

    def start(self, source: Path, target: Path, values: NDArray[np.float64], point: str, own: OwnVoice | None) -> Job:
        """Begin to convert source to target; own is as `convert_file` has it. Raises RequestError if too many run."""
        if sum(job.state == "running" for job in self._jobs.values()) >= RUNNING_MOST:
            raise RequestError(Status.CANNOT_ACT, f"{RUNNING_MOST} jobs run already; wait for one or cancel it")
        here, there = engine_context().Pipe()
        job = Job(f"convert-{next(self._numbers)}", source, target, pipe=here)
        args = (there, source, target, values, point, own)
        job.process = engine_context().Process(target=_convert, args=args, name="rtvc-job", daemon=True)  # type: ignore[attr-defined]
        job.process.start()
        there.close()
        self._jobs[job.job] = job
        for name in list(self._jobs)[:-KEPT]:
            if self._jobs[name].state != "running":
                del self._jobs[name]
        threading.Thread(target=self._follow, args=(job,), name=job.job, daemon=True).start()
        return job

    def cancel(self, name: str) -> None:
        """Ask a job to stop; one that has ended stays as it is. Raises RequestError if there is none."""
        if name not in self._jobs:
            raise RequestError(Status.RESOURCE_NOT_FOUND, f"job = {name!r:.60}: there is no such job")
        job = self._jobs[name]
        if job.state == "running" and job.pipe:
            with contextlib.suppress(OSError):
                job.pipe.send("cancel")

    def cancel_all(self) -> None:
        """Ask every job to stop."""
        for name in self._jobs:
            self.cancel(name)

    def close(self) -> None:
        """Stop all jobs; what does not stop at once is killed."""
        self.cancel_all()
        for job in self._jobs.values():
            if job.process:
                job.process.join(2.0)
                if job.process.is_alive():
                    job.process.kill()

    def _follow(self, job: Job) -> None:
        """Read what a job says until it ends."""
        assert job.pipe is not None and job.process is not None
        self._told(job)
        try:
            while job.state == "running":
                state, progress, note = job.pipe.recv()
                job.progress, job.note = progress, note
                job.state = state
                self._told(job)
        except (EOFError, OSError):
            job.state, job.note = "failed", f"{job.source}: its process died; is memory short?"
            self._told(job)
        job.process.join()
        job.pipe.close()


class _Cancelled(Exception):
    """The job was asked to stop."""


def _convert(
    pipe: Connection, source: Path, target: Path, values: NDArray[np.float64], point: str, own: OwnVoice | None
) -> None:
    """Be the job's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICE)
    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if pipe.poll():
            raise _Cancelled  # it was told so, or nobody is there any more
        if share - told >= STEP:
            told = share
            pipe.send(("running", share, ""))

    try:
        report = convert_file(source, target, values, point=point, own=own, progress=progress)
        said = ("done", 1.0, "; ".join((f"{target}: {report.audio_s:.1f} s", *report.warnings)))
    except _Cancelled:
        said = ("cancelled", told, "")
    except (AudioFileError, NetworkError, OSError) as error:
        said = ("failed", told, str(error))
    with contextlib.suppress(OSError):
        pipe.send(said)
