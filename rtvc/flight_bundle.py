"""Flight bundles: what the flight recorder held, as one zip file that only its owner can read.

    flight.json            what, when and why; versions and processor; the names of all columns; the engine's states
    heard.wav, said.wav    float32, so bit for bit; other programs can play them
    state-N.bin            the arrays of state N
    inputs.npy, blocks.npy int64 tables as in `rtvc.engine.flight`

Without sound (a crash that nobody asked to have recorded) heard, said and states are left out: states hold sound too.
A bundle is JSON, plain arrays and samples, and none of it is code; but a state goes into the engine as it is, so replay
only what you trust.
"""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtvc import __version__
from rtvc.config import write_atomically
from rtvc.engine.flight import (
    BLOCK_COLUMNS,
    INPUT_COLUMNS,
    MARK_SET,
    OWN_CHOSEN,
    PARAMS_SET,
    RUNG_LIMITED,
    Flight,
    RecordedState,
)
from rtvc.engine.ladder import RUNGS
from rtvc.engine.params import PARAMS
from rtvc.engine.voice import ENGINE_RATE_HZ
from rtvc.provenance.payload import BITS

FORMAT = "rtvc flight"
VERSION = 1
LARGEST_BYTES = 256 << 20


class BundleError(Exception):
    """A file is no bundle that this program can read; the text says why."""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What was read: `about` is flight.json's content."""

    about: dict[str, Any]
    flight: Flight


def default_name(reason: str = "flight") -> str:
    """Return a file name that says when."""
    return time.strftime(f"rtvc-{reason}-%Y-%m-%d-%H%M%S.zip")


def machine() -> dict[str, str]:
    """Return what decides whether the same sound comes out again, bit for bit."""
    import llvmlite.binding
    import numba
    import onnxruntime

    versions = {"rtvc": __version__, "python": platform.python_version(), "numpy": np.__version__}
    versions |= {"numba": numba.__version__, "onnxruntime": onnxruntime.__version__}
    return versions | {"processor": str(llvmlite.binding.get_host_cpu_name()), "platform": platform.platform()}


def write_bundle(path: Path, flight: Flight, reason: str, status: Mapping[str, Any], sound: bool = True) -> None:
    """Write a bundle; reason and status (what the session told about itself) are kept in it.

    Raises ConfigError if path cannot be written.
    """
    about = {
        "format": FORMAT,
        "version": VERSION,
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "reason": reason,
        "machine": machine(),
        "status": dict(status),
        "rate_hz": ENGINE_RATE_HZ,
        "begin": flight.begin,
        "heard": len(flight.x),
        "said": len(flight.y),
        "sound": sound,
        "params": list(PARAMS),
        "block_columns": list(BLOCK_COLUMNS),
        "states": [{"frame": state.frame, "table": state.table} for state in flight.states] if sound else [],
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("flight.json", json.dumps(about))
        file.writestr("inputs.npy", _npy(flight.inputs))
        file.writestr("blocks.npy", _npy(flight.blocks))
        if sound:
            file.writestr("heard.wav", _wav(flight.x))
            file.writestr("said.wav", _wav(flight.y))
            for number, state in enumerate(flight.states):
                file.writestr(f"state-{number}.bin", state.data)
    write_atomically(path, data.getvalue(), private=True)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle. Raises BundleError saying what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(info.file_size for info in file.infolist())
            if size > LARGEST_BYTES:
                raise BundleError(f"{path}: holds {size >> 20} MB; a flight bundle has at most {LARGEST_BYTES >> 20}")
            return _read(path, file)
    except BundleError:
        raise
    except FileNotFoundError:
        raise BundleError(f"{path}: there is no such file") from None
    except zipfile.BadZipFile:
        raise BundleError(f"{path}: is no flight bundle, or was cut short") from None
    except Exception as error:  # zlib, zipfile, json, NumPy and libsndfile raise whatever they like on foreign bytes
        raise BundleError(f"{path}: is damaged: {str(error) or type(error).__name__}") from None


def _read(path: Path, file: zipfile.ZipFile) -> Bundle:
    if "flight.json" not in file.namelist():
        raise BundleError(f"{path}: is a zip file, but no flight bundle: flight.json is missing")
    about = json.loads(file.read("flight.json"))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise BundleError(f"{path}: is no flight bundle")
    if about["version"] != VERSION:
        raise BundleError(f"{path}: is of version {about['version']}, this program reads {VERSION}")
    if about["params"] != list(PARAMS) or about["block_columns"] != list(BLOCK_COLUMNS):
        theirs = about["machine"].get("rtvc")
        raise BundleError(f"{path}: was made by rtvc {theirs}, whose parameters differ; use that version")
    x, y = (np.zeros(0, np.float32) for _ in range(2))
    states: list[RecordedState] = []
    if about["sound"]:
        x, y = (_read_wav(file, name, int(about[name])) for name in ("heard", "said"))
        for number, state in enumerate(about["states"]):
            states.append(RecordedState(int(state["frame"]), state["table"], file.read(f"state-{number}.bin")))
    begin = int(about["begin"])
    if len(y) > len(x) or any(not begin <= state.frame <= begin + len(x) for state in states):
        raise BundleError(f"{path}: is damaged: its frames do not fit together")
    inputs = _read_table(file, "inputs.npy", INPUT_COLUMNS)
    low, high = (np.array([getattr(param, side) for param in PARAMS.values()]) for side in ("minimum", "maximum"))
    values = np.ascontiguousarray(inputs[inputs[:, 1] == PARAMS_SET, 4:]).view(np.float64)
    rungs = inputs[inputs[:, 1] == RUNG_LIMITED, 2:4]
    marks = inputs[inputs[:, 1] == MARK_SET, 2]
    known = np.isin(inputs[:, 1], (PARAMS_SET, RUNG_LIMITED, OWN_CHOSEN, MARK_SET)).all()
    known = known and np.isin(rungs, range(len(RUNGS))).all() and ((marks >= -1) & (marks < 1 << BITS)).all()
    if not known or not ((values >= low) & (values <= high)).all() or (np.diff(inputs[:, 0]) < 0).any():
        raise BundleError(f"{path}: is damaged: what the engine was told is out of range or order")
    blocks = _read_table(file, "blocks.npy", len(BLOCK_COLUMNS))
    return Bundle(about, Flight(begin, x, y, inputs, blocks, tuple(states)))


def _wav(x: NDArray[np.float32]) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, x, ENGINE_RATE_HZ, format="WAV", subtype="FLOAT")
    return data.getvalue()


def _read_wav(file: zipfile.ZipFile, name: str, frames: int) -> NDArray[np.float32]:
    x, rate_hz = soundfile.read(io.BytesIO(file.read(f"{name}.wav")), dtype="float32", always_2d=True)
    if rate_hz != ENGINE_RATE_HZ or x.shape != (frames, 1):
        raise ValueError(f"{name}.wav has {x.shape[0]} frames at {rate_hz} Hz; {frames} at {ENGINE_RATE_HZ} are told")
    return np.ascontiguousarray(x[:, 0])


def _npy(table: NDArray[np.int64]) -> bytes:
    data = io.BytesIO()
    np.save(data, table, allow_pickle=False)
    return data.getvalue()


def _read_table(file: zipfile.ZipFile, name: str, columns: int) -> NDArray[np.int64]:
    table: NDArray[np.int64] = np.load(io.BytesIO(file.read(name)), allow_pickle=False)
    if table.dtype != np.int64 or table.ndim != 2 or table.shape[1] != columns:
        raise ValueError(f"{name} is {table.dtype}{list(table.shape)}; int64[n, {columns}] was expected")
    return table
