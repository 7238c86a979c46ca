"""`rtvc verify`: whether files carry the watermark, how surely, and what it says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.audio.files import AudioReader
from rtvc.engine.params import TIMBRES
from rtvc.kernels.resample import resample, resample_max_output, resampler_state

from .detect import RATE_HZ, WINDOW_S, Found, best_of
from .payload import FIRST_OF_LIBRARY, OWN_VOICE, TOOLS

BLOCK_FRAMES = 16_384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc verify` to parser."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="recording, best 10 s of speech or more")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file, a line each")


def run(args: argparse.Namespace) -> int:
    """Search every file; return 0 if all carry the mark, 1 if not. Raises AudioFileError."""
    missing = 0
    for path in args.files:
        with AudioReader(path) as reader:
            found = best_of(windows(reader))
            seconds = reader.frames / reader.rate_hz
        missing += found.payload is None
        print(json.dumps({"file": str(path), **facts(found)}) if args.json else told(path, found, seconds), flush=True)
    return int(missing > 0)


def windows(reader: AudioReader) -> Iterator[NDArray[np.float32]]:
    """Yield the sound of reader at 16 kHz in windows of WINDOW_S, each beginning half a window after the last."""
    resampler = resampler_state(reader.rate_hz, RATE_HZ)
    x = np.zeros(BLOCK_FRAMES, np.float32)
    y = np.zeros(resample_max_output(resampler, BLOCK_FRAMES), np.float32)
    size = round(WINDOW_S * RATE_HZ)
    held, fresh = np.zeros(0, np.float32), 0
    while n := reader.read(x):
        count = resample(resampler, x[:n], y)
        held, fresh = np.concatenate((held, y[:count])), fresh + count
        while len(held) >= size:
            yield held[:size]
            held, fresh = held[size // 2 :], len(held) - size
    if fresh > 0:
        yield held


def facts(found: Found) -> dict[str, Any]:
    """Return what was found, for a program."""
    payload = found.payload
    if payload is None:
        return {"found": False, "score": round(found.score, 2)}
    return {
        "found": True,
        "score": round(found.score, 2),
        "confidence": 1.0 - found.false_alarm,
        "false_alarm": found.false_alarm,
        "at_s": found.at_s,
        "tool": TOOLS[payload.tool],
        "voice_id": payload.voice,
        "voice": voice_name(payload.voice),
        "hour": payload.time.isoformat(),
    }


def told(path: Path, found: Found, seconds: float) -> str:
    """Return what was found, for a person."""
    payload = found.payload
    if payload is None:
        short = f"; {seconds:.1f} s is short, 10 s are searched best" if seconds < WINDOW_S else ""
        return f"{path}: no watermark found (score {found.score:.1f}{short})"
    said = f"{TOOLS[payload.tool]}, {voice_name(payload.voice)}, {payload.time:%Y-%m-%d %H:00} UTC"
    return (
        f"{path}: watermark found: {said} (score {found.score:.1f}, chance of a false alarm "
        f"below {max(found.false_alarm, 1e-15):.0e})"
    )


def voice_name(voice: int) -> str:
    """Return the name of a voice by its number in the payload."""
    if voice == OWN_VOICE:
        return "the speaker's own voice, shaped"
    if voice >= FIRST_OF_LIBRARY:
        return f"voice {voice} (of somebody's own library)"
    return TIMBRES[voice - 1] if voice <= len(TIMBRES) else f"voice {voice}"
