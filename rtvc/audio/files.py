"""Audio files, read and written in blocks: mono float32 in memory, whatever the file holds.

Read: what libsndfile reads (wav, flac, ogg, mp3 and more), 8..192 kHz, 1..64 channels, mixed to one channel with
equal weights. NaN and infinite samples become 0 and are counted. A file whose header promises more than its data
holds is refused; an mp3 by more than two packets, for many encoders promise a part of those too much (more than one is
a warning). Ogg carries no such promise: a missing end mark is a warning.

Write: wav, flac, ogg. Samples go to a temporary name in the target's folder, which is checked, flushed to the disk
and renamed over the target in one step; after any failure nothing is left behind.

Limits: an mp3 with variable bit rate and no Xing header is read only as far as libsndfile's estimate of its length.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray

RATES_HZ = (8_000, 192_000)
CHANNELS_MAX = 64
BLOCK_FRAMES = 8192  # libsndfile's Vorbis encoder overflows its stack with blocks of a million frames

OGG_COMPRESSION = 0.2  # of 0..1; more makes the decoder overshoot peaks of dense sound by 2 dB

_READ_SUFFIXES = "wav flac ogg oga opus mp3 aif aiff aifc au caf w64 rf64"
READ_SUFFIXES = frozenset(f".{suffix}" for suffix in _READ_SUFFIXES.split())
WRITE_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG"}

_CUT_SHORT = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_LENGTH_UNKNOWN = 0x7FFF_0000  # programs that write to a pipe put a size like 2**31-1 or 2**32-1 in the header
_WAV_BYTES_MAX = 0xFFFF_0000  # above, a wav needs the 64-bit header


class AudioFileError(Exception):
    """A file cannot be read or written; the message names the path, the number and what to do."""


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read from front to back. Seeking after each block would break the mp3 bit reservoir."""

    def seekable(self) -> bool:
        return False


class AudioReader:
    """A file as blocks of mono float32.

    rate_hz, channels, frames and bits describe the file; frames is what the header promises. nonfinite counts
    samples replaced by 0 so far. Raises AudioFileError if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_source(path)
        try:
            self._file = _Stream(os.fspath(path))
        except (soundfile.LibsndfileError, TypeError):
            known = "wav, flac, ogg or mp3"
            raise AudioFileError(f"{path}: not an audio file rtvc can read; save it as {known}") from None
        self.rate_hz: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        self.bits = (
            16 if self._file.subtype in ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW") or self._is_lossy() else 24
        )
        self._packet = (1152 if self.rate_hz >= 32_000 else 576) if self._file.format == "MP3" else 0
        self.nonfinite = 0
        self._done = 0
        self._ended = False
        self._frames = np.empty((BLOCK_FRAMES, self.channels), np.float32)
        try:
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def _is_lossy(self) -> bool:
        return self._file.format in ("OGG", "MP3") or self._file.subtype in ("VORBIS", "OPUS")

    def _check_header(self) -> None:
        low, high = RATES_HZ
        if not low <= self.rate_hz <= high:
            raise AudioFileError(f"{self.path}: {self.rate_hz} Hz is outside {low}..{high} Hz; resample it first")
        if self.channels > CHANNELS_MAX:
            what = f"{self.channels} channels are more than {CHANNELS_MAX}"
            raise AudioFileError(f"{self.path}: {what}; save the channel you want on its own")
        cut = _CUT_SHORT.search(self._file.extra_info)
        if cut and int(cut[1]) > int(cut[2]) and int(cut[1]) < _LENGTH_UNKNOWN:
            raise self._cut_short(int(cut[1]), int(cut[2]), "bytes")
        self._open_ended = "lacks an end-of-stream" in self._file.extra_info
        if self.frames == 0:
            raise AudioFileError(f"{self.path}: holds 0 frames of sound; record or copy it again")

    def _cut_short(self, promised: int, held: int, unit: str) -> AudioFileError:
        return AudioFileError(
            f"{self.path}: cut short: the header promises {promised} {unit} and the data holds {held}; "
            "copy it again, or save what is there as a new file with an audio editor"
        )

    def read(self, out: NDArray[np.float32]) -> int:
        """Fill out (float32[n], any n) with the next mono samples; return how many came, fewer than n at the end.

        Raises AudioFileError if the data ends before the promised length (an mp3: two packets before it, or less than
        half of it came), or none of all its samples is a number.
        """
        filled = 0
        while filled < len(out):
            want = min(BLOCK_FRAMES, len(out) - filled)
            try:
                got = len(self._file.read(want, "float32", always_2d=True, out=self._frames[:want]))
            except soundfile.LibsndfileError:
                raise self._cut_short(self.frames, self._done, "frames") from None
            out[filled : filled + got] = self._mono(self._frames[:got])
            filled += got
            self._done += got
            if got < want:
                self._ended = True
                missing = self.frames - self._done
                if missing > min(2 * self._packet, self._done):
                    raise self._cut_short(self.frames, self._done, "frames")
                if self.nonfinite == self._done * self.channels:
                    what = f"none of {self.nonfinite} samples is a number (NaN, infinite)"
                    raise AudioFileError(f"{self.path}: {what}; record or save it again")
                break
        return filled

    def _mono(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        finite = np.isfinite(frames)
        if not finite.all():
            self.nonfinite += int(finite.size - np.count_nonzero(finite))
            frames[~finite] = 0.0
        if self.channels == 1:
            return frames[:, 0]
        return frames.mean(axis=1, dtype=np.float64).astype(np.float32)

    def warnings(self) -> list[str]:
        """Return what the user should know of the part read so far."""
        found = []
        if self.channels > 1:
            found.append(f"{self.path}: {self.channels} channels were mixed to one")
        if self.nonfinite:
            found.append(f"{self.path}: {self.nonfinite} samples that were not numbers (NaN, infinite) became silence")
        if self._ended and self.frames - self._done > self._packet > 0:
            lacking = f"{self.frames - self._done} frames less than its header promises"
            found.append(f"{self.path}: holds {lacking}, its end may have been cut off")
        if self._open_ended:
            found.append(f"{self.path}: the stream has no end mark, it may have been cut short")
        return found

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AudioWriter:
    """A mono file that appears under its name only when complete: leave the `with` block without an error.

    frames is the length to come (it decides between wav's 32- and 64-bit header), bits 16 or 24 (ogg has its own).
    Raises AudioFileError for an existing target without overwrite, an unknown suffix, a folder that cannot be
    written, or a full disk.
    """

    def __init__(self, path: Path, rate_hz: int, frames: int, bits: int = 16, overwrite: bool = False) -> None:
        self.path = path
        self._rate_hz = rate_hz
        self._written = 0
        check_target(path, overwrite)
        format_name = WRITE_FORMATS[path.suffix.lower()]
        if format_name == "WAV" and frames * bits // 8 > _WAV_BYTES_MAX:
            format_name = "RF64"
        subtype = None if format_name == "OGG" else f"PCM_{bits}"
        self._part = path.parent / f".rtvc-{secrets.token_hex(6)}.part"
        try:
            os.close(os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise write_error(path, error) from None
        try:
            level = OGG_COMPRESSION if format_name == "OGG" else None
            self._file = soundfile.SoundFile(
                os.fspath(self._part), "w", rate_hz, 1, subtype, format=format_name, compression_level=level
            )
        except BaseException as error:
            self._part.unlink(missing_ok=True)
            if isinstance(error, soundfile.LibsndfileError):
                raise AudioFileError(f"{path}: cannot write {rate_hz} Hz as {format_name}: {error}") from None
            raise

    def write(self, x: NDArray[np.float32]) -> None:
        """Append x (float32[n], -1..1). Raises AudioFileError if the disk takes no more."""
        for start in range(0, len(x), BLOCK_FRAMES):
            block = x[start : start + BLOCK_FRAMES]
            try:
                self._file.write(block)
            except (soundfile.LibsndfileError, AssertionError, RuntimeError):
                raise self._not_written() from None
            self._written += len(block)

    def _not_written(self) -> AudioFileError:
        what = f"writing stopped after {self._written} frames"
        return AudioFileError(f"{self.path}: {what}; is the disk full? free some space or choose another folder")

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
            else:
                with contextlib.suppress(soundfile.LibsndfileError):
                    self._file.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _commit(self) -> None:
        try:
            self._file.close()
            # a full disk at the last flush goes unreported by libsndfile, so count what arrived
            complete = soundfile.info(os.fspath(self._part)).frames == self._written
        except soundfile.LibsndfileError:
            complete = False
        if not complete:
            raise self._not_written()
        try:
            with self._part.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(self._part, self.path)
        except OSError as error:
            raise write_error(self.path, error) from None


def _check_source(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioFileError(f"{path}: is a folder; name a file")
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path}: is empty (0 bytes); record or copy it again")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise AudioFileError(f"{path}: does not exist; check the name") from None
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read: {error.strerror}") from None


def check_target(path: Path, overwrite: bool) -> None:
    """Raise AudioFileError if path cannot be written as audio: suffix, folder, or an existing file to be kept."""
    if path.suffix.lower() not in WRITE_FORMATS:
        known = ", ".join(WRITE_FORMATS)
        raise AudioFileError(f"{path}: cannot write {path.suffix or 'a name without suffix'}; end it in one of {known}")
    if path.is_dir():
        raise AudioFileError(f"{path}: is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise AudioFileError(f"{path}: exists; use --force to replace it, or another name")
    if not path.parent.is_dir():
        raise AudioFileError(f"{path}: there is no folder {path.parent}; create it first")


def write_error(path: Path, error: OSError) -> AudioFileError:
    """Return the AudioFileError that says why path could not be written and what to do."""
    advice = "free some space or choose another folder" if error.errno == errno.ENOSPC else "choose another folder"
    return AudioFileError(f"{path}: cannot be written: {error.strerror}; {advice}")
