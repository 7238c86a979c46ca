"""What the flight recorder costs, and whether a replay is the same bit for bit: by block, by state, by bundle.

Each voice speaks for longer than the recorder holds, in blocks of 256 frames, with the sound changed every few seconds;
states are taken as live. block_us is what recording adds to a block of 5.3 ms; state_ms what taking a state needs (the
engine takes one each 12 s, and only when it would sleep longer than that). Then a bundle is written, read and replayed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from bench.compute import voices
from bench.report import Report, arguments
from rtvc.engine.build import build_engine
from rtvc.engine.flight import (
    BLOCK_COLUMNS,
    FLIGHT_INT64,
    RECORDED_S,
    STATE_EVERY_S,
    FlightStates,
    flight_block,
    flight_hear,
    flight_params,
    flight_say,
    read_flight,
)
from rtvc.engine.params import to_vector
from rtvc.engine.replay import replay
from rtvc.flight_bundle import read_bundle, write_bundle

RATE_HZ, BLOCK_FRAMES = 48_000, 256
SECONDS, QUICK_SECONDS = 150.0, 95.0


def measure(report: Report, voice: str, seconds: float) -> int:
    """Add a row for a voice; return how many frames of the replay differ."""
    values = to_vector({"voice.name": voice})
    engine = build_engine(values=values)
    flight = np.zeros(FLIGHT_INT64, np.int64)
    made_as = {"values": values.tolist(), "neural": voice == "neural", "point": "clear",
               "suppressor": engine.has_suppressor}  # fmt: skip
    states = FlightStates(flight, engine, made_as)
    x, row = np.resize(voices(), round(seconds * RATE_HZ)), np.zeros(len(BLOCK_COLUMNS), np.int64)
    y = np.zeros(BLOCK_FRAMES, np.float32)
    recording, taking, state_at = [], [], 0.0
    for number, start in enumerate(range(0, len(x) - BLOCK_FRAMES, BLOCK_FRAMES)):
        block = x[start : start + BLOCK_FRAMES]
        begin = time.perf_counter()
        flight_hear(flight, block)
        heard = time.perf_counter()
        engine.process(block, y)
        made = time.perf_counter()
        flight_say(flight, y)
        flight_block(flight, row)
        recording.append(heard - begin + time.perf_counter() - made)
        if start > (state_at + STATE_EVERY_S) * RATE_HZ:
            state_at, begin = start / RATE_HZ, time.perf_counter()
            states.take()
            taking.append(time.perf_counter() - begin)
        elif number % 700 == 699:
            values = to_vector({"voice.name": voice, "pitch.semitones": number % 7 - 3})
            engine.set(values)
            flight_params(flight, number, engine.sample, values)
    begin = time.perf_counter()
    found = read_flight(flight)
    read_s = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flight.zip"
        begin = time.perf_counter()
        write_bundle(path, found, "bench", {})
        write_s, size = time.perf_counter() - begin, path.stat().st_size
        found = read_bundle(path).flight
    begin = time.perf_counter()
    again = replay(found)
    replay_s = time.perf_counter() - begin
    report.row(voice=voice, block_us=1e6 * float(np.median(recording)), state_ms=1e3 * float(np.median(taking)),
               state_kb=len(found.states[-1].data) / 1000, copy_ms=1e3 * read_s, write_s=write_s, bundle_mb=size / 1e6,
               replayed_s=again.compared / RATE_HZ, differing_frames=again.differ, replay_s=replay_s)  # fmt: skip
    report.target(f"{voice}: replayed at least", again.compared / RATE_HZ, "s", f">= {RECORDED_S}")
    return again.differ


def main() -> None:
    args = arguments("flight", __doc__).parse_args()
    report = Report("flight")
    differ = [measure(report, voice, QUICK_SECONDS if args.quick else SECONDS) for voice in ("dsp", "neural")]
    report.target("frames of a replay that are not the same, bit for bit", float(sum(differ)), "", "<= 0")
    report.finish(args.json)


if __name__ == "__main__":
    main()
