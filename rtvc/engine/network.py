"""The networks of the neural voice in onnxruntime, one frame at a time, with bound buffers.

Three graphs (see `models/streaming.py`): the encoder every 20 ms, heads and decoder every 12.5 ms. How a voice moves
the decoder's norms (its film) is reckoned outside them, once for each voice. All inputs and
outputs are NumPy arrays made once and bound once; what attention remembers is a ring that the graph reads in place.
Sessions use one thread and never spin. Which provider runs them is not believed but measured: see `choose_provider`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MEL_BANDS = 80
CONTENT = 128
LATER_FRAMES = 4
FRAME_UNITS, DECODER_UNITS, WAIT_UNIT_MS = 8, 5, 2.5
NOT_THERE = -1e9
FORMAT = 3
TIMBRE = 128
FILM_FILE = "film.npy"
OPERATING_POINTS = ("fast", "clear")
CPU = "CPUExecutionProvider"
PREFERRED = ("CUDAExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")
AGREE = 1e-2  # largest difference of a part from the CPU's that is rounding, not error
TRIAL_FRAMES = 40


class NetworkError(Exception):
    """The weights cannot be used; the text says which file and why."""


@dataclass(frozen=True)
class Choice:
    """The provider that runs the networks, and why."""

    provider: str
    reason: str


def weights_folder() -> Path:
    """Return the folder of the weights that come with the program."""
    import rtvc.models

    return Path(rtvc.models.__path__[0]) / "weights"


def read_card(folder: Path) -> dict[str, Any]:
    """Return the machine-readable part of the card that lies beside the weights.

    Raises NetworkError if there is none or it is for another version of the program.
    """
    path = folder / "network.json"
    try:
        card: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file, so there is no neural voice here") from None
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path}: cannot be read: {error}") from error
    if card.get("format") != FORMAT:
        raise NetworkError(f"{path}: is of format {card.get('format')}, this program reads {FORMAT}")
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
        self._binding = self._session.io_binding()
        self.arrays: dict[str, NDArray[Any]] = {}
        for value in self._session.get_inputs():
            array = self._array(path, value)
            self._binding.bind_input(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for value in self._session.get_outputs():
            array = self._array(path, value)
            self._binding.bind_output(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def _array(self, path: Path, value: Any) -> NDArray[Any]:
        dtypes: dict[str, type] = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        if value.type not in dtypes or not all(isinstance(n, int) for n in value.shape):
            raise NetworkError(f"{path}: {value.name} is {value.type} {value.shape}; fixed float or int64 was expected")
        self.arrays[value.name] = np.zeros(value.shape, dtypes[value.type])
        return self.arrays[value.name]

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


class Network:
    """One stream through the networks at one operating point."""

    def __init__(
        self, point: str = "clear", precision: str = "int8", folder: Path | None = None, provider: str = CPU
    ) -> None:
        """Load the weights. Raises NetworkError if a file is missing, foreign or cut short."""
        folder = folder or weights_folder()
        card = read_card(folder)
        self.wait_ms = float(card["wait_ms"][point])
        self._positions = _sinusoids(int(card["positions"]), int(card["width"]))
        if precision not in card["files"]:
            raise NetworkError(f"{folder}: holds no {precision} weights, only {', '.join(card['files'])}")
        names = card["files"][precision]
        self._encoder, self._head, self._decoder = (
            _Step(folder / names[name], provider) for name in ("encoder", point, "decoder")
        )
        self.provider = self._encoder.provider
        self._film_matrix = _read_film(folder / FILM_FILE)
        try:
            self._bind()
        except KeyError as error:
            raise NetworkError(f"{folder}: the graphs have no {error}; they are not this program's") from error
        self.reset()

    def _bind(self) -> None:
        encoder, head, decoder = self._encoder.arrays, self._head.arrays, self._decoder.arrays
        self.mel: Floats = encoder["mel"][0, 2:]  # the caller writes two rows here, then calls encode
        self._keys, self._values, self._unborn = encoder["keys"], encoder["values"], encoder["unborn"][0, 0]
        self._past = self._keys.shape[1]
        self._carried = [
            (encoder["mel"][0, :2], encoder["mel"][0, 2:]),
            (encoder["stem"], encoder["stem_out"]),
            (head["frame"], encoder["frame"]),
        ]
        self._place, self._new_key, self._new_value = encoder["place"][0, 0], encoder["key"], encoder["value"]
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
        for step in (self._encoder, self._head, self._decoder):
            for array in step.arrays.values():
                array.fill(0)
        self.film[:] = film
        self._unborn.fill(NOT_THERE)
        self._frames = 0

    def film_of(self, timbre: Floats) -> Floats:
        """Return how a timbre (float32[TIMBRE]) moves the decoder's norms: float32[FILMS], to be put into `film`."""
        return timbre @ self._film_matrix[:-1] + self._film_matrix[-1]

    def encode(self) -> None:
        """Take the two mel rows in `mel` as one encoder frame of 20 ms."""
        slot = self._frames % self._past
        self._place[:] = self._positions[self._frames % len(self._positions)]
        self._encoder.run()
        self._keys[:, slot] = self._new_key[:, 0]
        self._values[:, slot] = self._new_value[:, 0]
        self._unborn[slot] = 0.0
        self._frames += 1
        for into, new in self._carried:
            into[...] = new

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
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or len(matrix) != TIMBRE + 1:
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
        try:
            network = Network(point, precision, folder, name)
            took_s, parts = _trial(network)
        except Exception as error:  # a provider may fail in any way; it is then not used
            choice = Choice(choice.provider, f"{choice.reason}; {name} failed: {str(error).splitlines()[0]}")
            continue
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


def _trial(network: Network) -> tuple[float, Floats]:
    """Return the seconds that 12.5 ms of sound take (median), and the parts of the last frame."""
    noise = np.random.default_rng(0).standard_normal((TRIAL_FRAMES, 2, MEL_BANDS)).astype(np.float32)
    times = []
    for rows in noise:
        begin = time.perf_counter()
        network.mel[:] = 0.3 * rows
        network.encode()
        network.listen(0)
        network.decode(150.0, 150.0)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)), network.parts.copy()


def _sinusoids(positions: int, width: int) -> Floats:
    """Return Whisper's position encodings, float32[positions, width]."""
    half = width // 2
    rates = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
