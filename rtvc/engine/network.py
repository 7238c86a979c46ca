"""The networks of the neural voice in onnxruntime, one frame at a time, with bound buffers.

Three graphs (`models/streaming.py`): the encoder every 10 ms, heads and decoder every 12.5 ms. The encoder hears the
sound in two streams by turns, of frames of 20 ms that lie 10 ms apart, so with every mel row there is a newer frame for
the heads. How a voice moves the decoder's norms (its film) is reckoned outside the graphs, once for each voice. All
inputs and outputs are NumPy arrays made once and bound once; what attention remembers are rings, of keys and of values
of each layer, that the graph reads in place.
Sessions use one thread and never spin. Which provider runs them is not believed but measured: see `choose_provider`.
"""

from __future__ import annotations

import json
import time
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MEL_BANDS = 80
CONTENT = 128
INPUTS = 2 * (CONTENT + 2) + CONTENT
LATER_FRAMES = 4
STREAMS = 2
PAST = 74  # frames that attention remembers
FRAME_UNITS, DECODER_UNITS, WAIT_UNIT_MS = 4, 5, 2.5
NOT_THERE = -1e9
FORMAT = 5
CARD = {"wait_ms": dict, "positions": int, "width": int, "files": dict}
TIMBRE = 128
PARTS = 5 * 601
FILM_FILE = "film.npy"
OPERATING_POINTS = ("fast", "clear")
CPU = "CPUExecutionProvider"
PREFERRED = ("CUDAExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")
AGREE = 1e-2  # largest difference of a part from the CPU's that is rounding, not error
TRIAL_TURNS = 10  # of 50 ms, in which encoder and decoder come round together


class NetworkError(Exception):
    """The weights cannot be used; the text says which file and why."""


@dataclass(frozen=True)
class Choice:
    """The provider that runs the networks, and why."""

    provider: str
    reason: str


ON_CPU = Choice(CPU, "no other was tried")


def weights_folder() -> Path:
    """Return the folder of the weights that come with the program."""
    import rtvc.models

    return Path(rtvc.models.__path__[0]) / "weights"


def read_card(folder: Path) -> dict[str, Any]:
    """Return the machine-readable part of the card that lies beside the weights.

    Raises NetworkError if there is none, it is for another version of the program, or lacks something or has it wrong.
    """
    path = folder / "network.json"
    try:
        card: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file, so there is no neural voice here") from None
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path}: cannot be read: {error}") from error
    form = card.get("format") if isinstance(card, dict) else None
    if form != FORMAT:
        raise NetworkError(f"{path}: is of format {form}, this program reads {FORMAT}; install rtvc again")
    missing = [key for key, kind in CARD.items() if not card.get(key) or not isinstance(card[key], kind)]
    if missing:
        raise NetworkError(f"{path}: has no {', '.join(missing)} that this program can use; install rtvc again")
    return card


class _Step:
    """One session with bound arrays; `arrays` holds inputs and outputs by name."""

    def __init__(self, path: Path, provider: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # onnxruntime raises many kinds, all of them about this file
            said = str(error).splitlines()[0]
            raise NetworkError(f"{path}: onnxruntime cannot use it; install rtvc again ({said})") from error
        self.provider = self._session.get_providers()[0]
        self._path = path
        self._bind({})

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array. Raises NetworkError if there is none of that name."""
        if name not in self.arrays:
            raise NetworkError(f"{self._path}: has no {name}, so it is not this program's; install rtvc again")
        return self.arrays[name].shape

    def check(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Raise NetworkError if an array is missing or of another shape than here."""
        for name, shape in shapes.items():
            if (found := self.shape(name)) != shape:
                raise NetworkError(f"{self._path}: {name} is {found}, {shape} was expected; install rtvc again")

    def rings(self) -> list[tuple[str, str]]:
        """Return what attention remembers and what a frame puts into it, by names: keys.0 and key.0, and so on."""
        names = dict.fromkeys(name.replace("s.", ".") for name in self.arrays if name.startswith(("key", "value")))
        return [(name.replace(".", "s."), name) for name in names]

    def twin(self, shared: str) -> _Step:
        """Return the same session with arrays of its own, but for the one called `shared`."""
        other = copy(self)
        other._bind({shared: self.arrays[shared]})
        return other

    def _bind(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Bind arrays, and new ones where they hold none."""
        self.arrays = arrays
        self._binding = self._session.io_binding()
        for value in self._session.get_inputs():
            array = self._array(value)
            self._binding.bind_input(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for value in self._session.get_outputs():
            array = self._array(value)
            self._binding.bind_output(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def _array(self, value: Any) -> NDArray[Any]:
        dtypes: dict[str, type] = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        if value.type not in dtypes or not all(isinstance(n, int) for n in value.shape):
            what = f"{value.name} is {value.type} {value.shape}; fixed float or int64 was expected"
            raise NetworkError(f"{self._path}: {what}")
        return self.arrays.setdefault(value.name, np.zeros(value.shape, dtypes[value.type]))

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


class _Stream:
    """One of the streams in which the encoder hears the sound, and what it remembers of it."""

    def __init__(self, step: _Step, positions: Floats) -> None:
        arrays = step.arrays
        self._step, self._positions = step, positions
        self.unborn, self._place = arrays["unborn"][0, 0], arrays["place"][0, 0]
        self._rings = [(arrays[ring], arrays[new][:, 0]) for ring, new in step.rings()]
        self._stem, self._stem_out, self.frame = arrays["stem"], arrays["stem_out"], arrays["frame"]
        self._frames = 0

    def reset(self) -> None:
        """Forget all sound."""
        for array in self._step.arrays.values():
            array.fill(0)
        self.unborn.fill(NOT_THERE)
        self._frames = 0

    def encode(self) -> None:
        """Take the newest two of the mel rows, which all streams share, as one frame of 20 ms."""
        slot = self._frames % len(self.unborn)
        self._place[:] = self._positions[self._frames % len(self._positions)]
        self._step.run()
        for ring, new in self._rings:
            ring[:, slot] = new
        self.unborn[slot] = 0.0
        self._frames += 1
        self._stem[...] = self._stem_out


class Network:
    """One stream through the networks at one operating point."""

    def __init__(
        self, point: str = "clear", precision: str = "int8", folder: Path | None = None, provider: str = CPU
    ) -> None:
        """Load the weights. Raises NetworkError if a file is missing, foreign, of another size or cut short."""
        folder = folder or weights_folder()
        card = read_card(folder)
        if precision not in card["files"]:
            raise NetworkError(f"{folder}: holds no {precision} weights, only {', '.join(card['files'])}")
        names, wait_ms = card["files"][precision], card["wait_ms"].get(point)
        files = [names.get(name, "") if isinstance(names, dict) else "" for name in ("encoder", point, "decoder")]
        if not isinstance(wait_ms, int | float) or not all(file and isinstance(file, str) for file in files):
            raise NetworkError(f"{folder / 'network.json'}: has no files or no wait_ms for {point}; install rtvc again")
        self.wait_ms = float(wait_ms)
        encoder, self._head, self._decoder = (_Step(folder / file, provider) for file in files)
        self.provider = encoder.provider
        self._film_matrix = _read_film(folder / FILM_FILE)
        self._check(encoder, card["width"], heads=1 if point == "fast" else 2)  # `clear` hears a later frame, too
        made, taken = self._film_matrix.shape[1], self._decoder.shape("film")[1]
        if made != taken:
            said = f"makes films of {made} numbers, {files[-1]} takes {taken}"
            raise NetworkError(f"{folder / FILM_FILE}: {said}; install rtvc again")
        positions = _sinusoids(card["positions"], card["width"])
        self._streams = [
            _Stream(step, positions) for step in (encoder, *(encoder.twin("mel") for _ in range(STREAMS - 1)))
        ]
        self._bind(encoder.arrays["mel"])
        self.reset()

    def _check(self, encoder: _Step, width: int, heads: int) -> None:
        """Raise NetworkError unless all that is bound is there, and of shapes that fit the card and each other."""
        frame, inputs = (1, 1, width), (1, 1, INPUTS)
        encoder.check({
            "mel": (1, 4, MEL_BANDS), "stem_out": encoder.shape("stem"), "place": frame, "frame": frame,
            "unborn": (1, 1, PAST),
        })  # fmt: skip
        encoder.shape("keys.0")
        for ring, new in encoder.rings():
            shape = encoder.shape(new)
            encoder.check({ring: (*shape[:1], PAST, *shape[-1:]), new: (*shape[:1], 1, *shape[-1:])})
        head, decoder = self._head, self._decoder
        head.check(
            {"phase": (1,), "frame": frame, "content": inputs, "also": (heads, 2), "state_out": head.shape("state")}
        )
        decoder.check({
            "x": inputs, "film": (1, *decoder.shape("film")[-1:]), "parts": (1, 1, PARTS),
            "memory_in_out": decoder.shape("memory_in"), "memory_out": decoder.shape("memory"),
        })  # fmt: skip

    def _bind(self, mel: Floats) -> None:
        head, decoder = self._head.arrays, self._decoder.arrays
        self._mel, self._rows = mel[0], 0
        flat = mel.reshape(-1)  # as one row, numpy moves it without a copy between
        self._mel_before, self._mel_after = flat[:-MEL_BANDS], flat[MEL_BANDS:]
        self._frame = head["frame"]
        self._phase, self._head_state, self._head_state_out = head["phase"], head["state"], head["state_out"]
        self.content: Floats = head["content"][0, 0]
        self._also = head["also"]
        self.hears_later = len(self._also) > 1
        self._x = decoder["x"][0, 0]
        self.film: Floats = decoder["film"][0]
        self._decoder_carried = [
            (decoder["memory_in"], decoder["memory_in_out"]),
            (decoder["memory"], decoder["memory_out"]),
        ]
        self.parts: Floats = decoder["parts"][0, 0]

    def reset(self) -> None:
        """Forget all sound; the film stays."""
        film = self.film.copy()
        for step in (self._head, self._decoder):
            for array in step.arrays.values():
                array.fill(0)
        for stream in self._streams:
            stream.reset()
        self.film[:] = film
        self._rows = 0

    def film_of(self, timbre: Floats) -> Floats:
        """Return how a timbre (float32[TIMBRE]) moves the decoder's norms: float32[FILMS], to be put into `film`."""
        return timbre @ self._film_matrix[:-1] + self._film_matrix[-1]

    def hear(self, row: Floats) -> None:
        """Take the next 10 ms as a normalised mel row, float32[MEL_BANDS]; one of the streams makes a frame of it."""
        self._mel_before[:] = self._mel_after
        self._mel[-1] = row
        stream = self._streams[self._rows % STREAMS]
        stream.encode()
        self._frame[...] = stream.frame
        self._rows += 1

    def listen(self, phase: int) -> None:
        """Say what the next decoder frame holds, and the one LATER_FRAMES later: see `content`, `energy`, `voiced`."""
        self._phase[0] = phase
        self._head.run()
        self._head_state[...] = self._head_state_out

    def energy(self, later: int = 0) -> float:
        """Return the energy that was heard in the frame, or (1) in the later one, as the decoder takes it."""
        return 4.0 * float(self._also[later, 0])

    def voiced(self, later: int = 0) -> bool:
        """Return whether a voice was heard in the frame, or (1) in the later one."""
        return float(self._also[later, 1]) > 0.0

    def decode(self, f0_hz: float, later_hz: float = 0.0) -> None:
        """Turn `content`, the F0 of the frame and the later one, and their energies into `parts` under `film`.

        parts is float32[5 * 601]. later_hz is of no account where nothing later is heard.
        """
        self.decoder_input(f0_hz, later_hz)
        self._decoder.run()
        for into, new in self._decoder_carried:
            into[...] = new

    def decoder_input(self, f0_hz: float, later_hz: float = 0.0) -> Floats:
        """Return what the decoder is given of this frame, float32[INPUTS], overwritten by the next."""
        x = self._x
        x[:] = self.content
        x[CONTENT] = np.log(f0_hz + 1.0) / 5.0
        x[CONTENT + 1] = self.energy() / 5.0
        if self.hears_later:
            x[-2] = np.log(later_hz + 1.0) / 5.0
            x[-1] = self.energy(1) / 5.0
        return x


def _read_film(path: Path) -> Floats:
    """Return float32[TIMBRE + 1, FILMS]. Raises NetworkError."""
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise NetworkError(f"{path}: cannot be read; install rtvc again ({error})") from None
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f" or matrix.shape[:-1] != (TIMBRE + 1,):
        raise NetworkError(f"{path}: is not this program's; install rtvc again")
    return matrix.astype(np.float32)


def choose_provider(point: str = "clear", precision: str = "int8", folder: Path | None = None) -> Choice:
    """Try every provider there is on this very work; return the fastest that agrees with the CPU.

    Raises NetworkError if even the CPU cannot run the networks.
    """
    import onnxruntime as ort

    best_s, truth = _trial(Network(point, precision, folder, CPU))
    choice = Choice(CPU, f"{1e3 * best_s:.2f} ms a frame")
    for name in PREFERRED:
        if name not in ort.get_available_providers():
            continue
        ort.set_default_logger_severity(4)  # what it would write of a missing device on the terminal, the reason tells
        try:
            network = Network(point, precision, folder, name)
            took_s, parts = _trial(network)
        except Exception as error:  # a provider may fail in any way; it is then not used
            choice = Choice(choice.provider, f"{choice.reason}; {name} failed: {str(error).splitlines()[0]}")
            continue
        finally:
            ort.set_default_logger_severity(2)
        if network.provider != name:
            said = "is installed but finds no device"
        elif float(np.abs(parts - truth).max()) > AGREE:
            said = "gives other numbers"
        elif took_s >= best_s:
            said = f"takes {1e3 * took_s:.2f} ms"
        else:
            choice, best_s = (
                Choice(name, f"{1e3 * took_s:.2f} ms a frame, {choice.provider} {1e3 * best_s:.2f}"),
                took_s,
            )
            continue
        choice = Choice(choice.provider, f"{choice.reason}; {name} {said}")
    return choice


def choose_for_session(point: str, speaks: bool) -> Choice:
    """Return the choice for a live session, which may come to a neural voice later, too.

    Measured if it begins with one (speaks) or something besides the CPU is installed. Raises NetworkError as
    `choose_provider` does if it speaks at once; else the reason tells it.
    """
    import onnxruntime as ort

    if not speaks and not set(PREFERRED) & set(ort.get_available_providers()):
        return Choice(CPU, "no other is installed")
    try:
        return choose_provider(point)
    except NetworkError as error:
        if speaks:
            raise
        return Choice(CPU, str(error))


def _trial(network: Network) -> tuple[float, Floats]:
    """Return the seconds that 12.5 ms of sound take (median over turns), and the parts of the last frame."""
    shape = TRIAL_TURNS, DECODER_UNITS, MEL_BANDS
    noise = 0.3 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    times = []
    for rows in noise:
        begin = time.perf_counter()
        for row in rows:
            network.hear(row)
        for phase in range(FRAME_UNITS):
            network.listen(phase)
            network.decode(150.0, 150.0)
        times.append((time.perf_counter() - begin) / FRAME_UNITS)
    return float(np.median(times)), network.parts.copy()


def _sinusoids(positions: int, width: int) -> Floats:
    """Return Whisper's position encodings, float32[positions, width]."""
    half = width // 2
    rates = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
