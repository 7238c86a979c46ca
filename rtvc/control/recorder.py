"""Records what is heard: sound from the taps goes to a thread that writes flac or wav.

The file appears under its name when the recording ends. A disk that fills up ends the recording, not the sound: with
less than FREE_BYTES left it is closed while there is still room to close it well. Time that the taps lost (counted by
the sample clock) becomes silence, so that the recording keeps its length.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioFileError, AudioWriter
from rtvc.engine.voice import ENGINE_RATE_HZ

FREE_BYTES = 64 * 1024 * 1024
WAITING_BLOCKS = 400  # of 50 ms: a disk that stalls for longer ends the recording
GAP_MAX_FRAMES = 10 * ENGINE_RATE_HZ
WAV_LONGEST_FRAMES = 12 * 3600 * ENGINE_RATE_HZ  # a wav of 16 bits ends at 4 GB
BITS = {".wav": 16}

Ended = Callable[[str | None], None]


def default_name() -> str:
    """Return a file name that says when."""
    return time.strftime("rtvc-%Y-%m-%d-%H%M%S.flac")


class Recorder:
    """One recording. `ended` is called once from the writer's thread, with the reason if it ended by itself."""

    def __init__(self, path: Path, ended: Ended, overwrite: bool = False) -> None:
        """Begin to record into path. Raises AudioFileError if it cannot be written."""
        self.path = path
        self.error: str | None = None
        self._ended = ended
        self._frames = 0
        self._next_at: int | None = None
        self._blocks: queue.Queue[NDArray[np.float32]] = queue.Queue(WAITING_BLOCKS)
        self._over = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"{path.parent}: this folder cannot be made ({error.strerror}); choose another"
            raise AudioFileError(what) from None
        suffix = path.suffix.lower()
        self._longest = WAV_LONGEST_FRAMES if suffix == ".wav" else None
        writer = AudioWriter(path, ENGINE_RATE_HZ, 0, BITS.get(suffix, 24), overwrite)
        self._thread = threading.Thread(target=self._write, args=(writer,), name="recorder", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """How much was recorded so far."""
        return self._frames / ENGINE_RATE_HZ

    def add(self, y: NDArray[np.float32], at: int) -> None:
        """Append y (float32[n]), whose last frame ends at engine sample at. Never waits."""
        missing = 0 if self._next_at is None else at - len(y) - self._next_at
        self._next_at = at
        if 0 < missing < GAP_MAX_FRAMES:
            y = np.concatenate([np.zeros(missing, np.float32), y])
        if not self._over.is_set():
            try:
                self._blocks.put_nowait(y.copy())
            except queue.Full:
                self.error = f"{self.path}: the disk is too slow: {WAITING_BLOCKS} blocks wait to be written"
                self._over.set()

    def stop(self) -> None:
        """End the recording and wait until the file is there. May be called twice."""
        if self._thread.is_alive():
            self._over.set()
            self._thread.join()

    def _write(self, writer: AudioWriter) -> None:
        try:
            with writer:
                self._write_all(writer)
        except AudioFileError as error:
            self.error = str(error)
        self._ended(self.error)

    def _write_all(self, writer: AudioWriter) -> None:
        looked_s = 0.0
        while True:
            try:
                block = self._blocks.get(timeout=0.05)
            except queue.Empty:
                if self._over.is_set():
                    return
                continue
            writer.write(block)
            self._frames += len(block)
            if self._longest is not None and self._frames > self._longest:
                self.error = f"{self.path}: a wav file holds 12 hours; use flac for longer recordings"
            elif time.monotonic() - looked_s > 1.0:
                looked_s = time.monotonic()
                free = shutil.disk_usage(self.path.parent).free
                if free < FREE_BYTES:
                    what = f"{free / 1e6:.0f} MB are left on the disk"
                    self.error = f"{self.path}: the recording was ended and saved: {what}; free some space"
            if self.error:
                self._over.set()
                return
