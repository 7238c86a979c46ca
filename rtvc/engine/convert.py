"""A file through the engine: same length (by the tempo), same loudness, same rate, one channel.

1. Blocks are read, brought to the tempo, run through the engine and laid down as float32 in a nameless file in the
   target's folder. The engine's delay is cut off in front and made up with silence behind, so length and timing are
   those of the source at that tempo.
2. With level.match on, one gain gives the whole the source's integrated loudness (BS.1770) plus level.gain_db. Where
   peaks would pass CEILING_DBFS a look-ahead limiter holds them, and the gain is raised for what that takes away.
3. The result is written under a temporary name and renamed when complete.

Memory is a few blocks, whatever the length. Limits: a source or a result under -70 LUFS has no loudness, so its level
is left as the engine made it; the gain stays within +-GAIN_MAX_DB; a source that is itself squashed to the ceiling
is not matched at any price (LIMITED_MAX_DB) but reported. Peaks are those before encoding: an ogg decoder may overshoot
dense sound by about 1 dB.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioFileError, AudioReader, AudioWriter, check_target, write_error
from rtvc.kernels.limiter import limit, limiter_state
from rtvc.provenance.payload import TOOL_CONVERT, signs_of

from .build import DEFAULT_POINT, build_engine
from .engine import Engine
from .marking import mark_for
from .meter import LoudnessMeter
from .own_voice import OwnVoice
from .params import INDEX, default_values
from .tempo import Sound, check_tempo, stretched, stretched_frames

BLOCK_FRAMES = 16_384
CEILING_DBFS = -1.05  # what 16 bits round to stays below -1 dBFS
LIMITER_MS = 5.0
GAIN_MAX_DB = 24.0
LOUDNESS_TOLERANCE_LU = 0.1
LIMITED_MAX_DB = 6.0  # harder limiting is heard as distortion; the loudness stays short of the source's instead
LEVEL_ROUNDS = 4  # of limiter and gain; two are enough for speech

Progress = Callable[[float], None]


@dataclass(frozen=True)
class ConvertReport:
    """What was done to one file. frames: of the target. Loudness in LUFS, peak in dBFS (None: silence)."""

    source: Path
    target: Path
    rate_hz: int
    channels: int
    frames: int
    tempo: float
    delay_frames: int
    loudness_in: float | None
    loudness_out: float | None
    gain_db: float
    peak_db: float | None
    elapsed_s: float
    counters: dict[str, int]
    warnings: tuple[str, ...]

    @property
    def audio_s(self) -> float:
        """Length of the sound in seconds."""
        return self.frames / self.rate_hz

    @property
    def speed(self) -> float:
        """How many times faster than real time."""
        return self.audio_s / self.elapsed_s


def convert_file(
    source: Path,
    target: Path,
    values: NDArray[np.float64] | None = None,
    *,
    point: str = DEFAULT_POINT,
    overwrite: bool = False,
    watermark: bool | None = None,
    own: OwnVoice | None = None,
    tempo: float | None = None,
    progress: Progress | None = None,
) -> ConvertReport:
    """Convert source to target with the sound that values (float64[len(PARAMS)]) describe.

    point is the neural voice's operating point, should it be one. own is who voice.timbre = mine means. watermark says
    whether the sound is marked with tool, voice and hour; None: if it is a person's voice (see `marking`). tempo is
    how much faster than in the source is spoken (0.5..2); None: as own does. progress is called with 0..1 after every
    block; what it raises ends the conversion and leaves nothing behind.
    Raises AudioFileError naming path, number and what to do, NetworkError if there is no such neural voice, and
    ValueError for a tempo out of range.
    """
    start_s = time.perf_counter()
    if tempo is None:
        tempo = own.tempo if own else 1.0
    check_tempo(tempo)
    report_progress = progress or (lambda _: None)
    if target.exists() and source.exists() and target.samefile(source):
        raise AudioFileError(f"{target}: is the source itself; choose another name")
    check_target(target, overwrite)
    with AudioReader(source) as reader:
        mark = mark_for(TOOL_CONVERT, default_values() if values is None else values, own, watermark)
        engine = build_engine(reader.rate_hz, values, point, mark=signs_of(mark) if mark else None)
        if own:
            engine.set_own(own.timbre)
        try:
            with tempfile.TemporaryFile(dir=target.parent, prefix=".rtvc-") as raw:
                frames = stretched_frames(reader.frames, tempo)
                before, after = _run(engine, reader, tempo, raw, report_progress)
                aim = _aim(before.integrated(), after.integrated(), values)
                gain_db, limited = _level(raw, after, aim, reader.rate_hz)
                final = LoudnessMeter(reader.rate_hz)
                with AudioWriter(target, reader.rate_hz, frames, reader.bits, overwrite) as writer:
                    for block in _levelled(raw, gain_db, limited, reader.rate_hz):
                        writer.write(block)
                        final.add(block)
                        report_progress(0.9 + 0.1 * final.frames / frames)
        except OSError as error:
            raise write_error(target, error) from None
        warnings = reader.warnings()
        if engine.failure:
            warnings.append(f"{target}: {engine.failure}; from there on the DSP voice speaks")
        loudness = final.integrated()
        if aim is not None and abs(loudness - aim) > 0.5:
            warnings.append(f"{target}: loudness is {loudness:.1f} LUFS, {loudness - aim:+.1f} LU from the source's")
        return ConvertReport(
            source,
            target,
            reader.rate_hz,
            reader.channels,
            final.frames,
            tempo,
            engine.delay_frames,
            _or_none(before.integrated()),
            _or_none(loudness),
            round(gain_db, 2),
            _or_none(20.0 * math.log10(final.peak) if final.peak else -math.inf),
            time.perf_counter() - start_s,
            dict(engine.counters),
            tuple(warnings),
        )


def _run(
    engine: Engine, reader: AudioReader, tempo: float, raw: IO[bytes], progress: Progress
) -> tuple[LoudnessMeter, LoudnessMeter]:
    """Lay the engine's output down in raw, aligned with the source at the tempo; return the meters of both."""
    before, after = LoudnessMeter(reader.rate_hz), LoudnessMeter(reader.rate_hz)
    early = engine.delay_frames

    def read(x: Sound) -> int:
        n = reader.read(x)
        before.add(x[:n])
        return n

    def put(x: Sound) -> None:
        nonlocal early
        y = np.empty_like(x)
        engine.process(x, y)
        cut = min(early, len(y))
        early -= cut
        raw.write(y[cut:].data)
        after.add(y[cut:])

    silence = np.zeros(early, np.float32)
    for x in stretched(read, reader.rate_hz, tempo):
        put(x)
        progress(0.9 * before.frames / max(before.frames, reader.frames))
    put(silence)
    return before, after


def _aim(loudness_in: float, loudness_out: float, values: NDArray[np.float64] | None) -> float | None:
    """Return the loudness to reach in LUFS, None where the level stays as the engine made it."""
    if values is not None and not values[INDEX["level.match"]]:
        return None
    if not math.isfinite(loudness_in) or not math.isfinite(loudness_out):
        return None
    return loudness_in + (0.0 if values is None else float(values[INDEX["level.gain_db"]]))


def _level(raw: IO[bytes], meter: LoudnessMeter, aim: float | None, rate_hz: int) -> tuple[float, bool]:
    """Return the gain in dB that brings raw to aim, and whether its peaks then need the limiter."""
    ceiling = 10.0 ** (CEILING_DBFS / 20.0)
    gain_db = 0.0 if aim is None else _clamp(aim - meter.integrated())
    if meter.peak * 10.0 ** (gain_db / 20.0) <= ceiling:
        return gain_db, False
    if aim is None:
        return gain_db, True
    most_db = gain_db + LIMITED_MAX_DB
    for _ in range(LEVEL_ROUNDS):
        trial = LoudnessMeter(rate_hz)
        for block in _levelled(raw, gain_db, True, rate_hz):
            trial.add(block)
        missing = aim - trial.integrated()
        if abs(missing) < LOUDNESS_TOLERANCE_LU:
            break
        gain_db = min(_clamp(gain_db + missing), most_db)
    return gain_db, True


def _levelled(raw: IO[bytes], gain_db: float, limited: bool, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Yield raw from its start with the gain applied and peaks held, aligned and of the same length."""
    gain = np.float32(10.0 ** (gain_db / 20.0))
    early = behind = round(rate_hz * LIMITER_MS / 1000.0) if limited else 0
    limiter = limiter_state(rate_hz, early, CEILING_DBFS)
    raw.seek(0)
    while data := raw.read(BLOCK_FRAMES * 4):
        block = np.frombuffer(data, np.float32) * gain
        if limited:
            limit(limiter, block, block)
        cut = min(early, len(block))
        early -= cut
        yield block[cut:]
    if limited:
        block = np.zeros(behind, np.float32)
        limit(limiter, block, block)
        yield block[early:]


def _clamp(gain_db: float) -> float:
    return min(max(gain_db, -GAIN_MAX_DB), GAIN_MAX_DB)


def _or_none(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
