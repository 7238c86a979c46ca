"""Noise suppression before the voice: RNNoise, from the library that the package `pyrnnoise` brings (extra `suppress`).

RNNoise takes frames of 10 ms at 48 kHz and gives each back LOOK_AHEAD_FRAMES later, without what is not speech. Its C
code allocates nothing once it runs. What it remembers is copied into an array of ours after each frame and back before
the next, so an engine's state (see `state`) holds it; the pointers to its weights, which differ from process to
process, come first in its memory and stay where they are.

Source: Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement" (MMSP 2018);
xiph/rnnoise 0.2, include/rnnoise.h (BSD-3-Clause). `pyrnnoise` is Apache-2.0; its Python part, which brings a dozen
packages along, is not imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.ring import ring_counters, ring_pop, ring_push

from .network import NetworkError
from .params import INDEX

FRAME = 480  # 10 ms at 48 kHz
LOOK_AHEAD_FRAMES = 960  # RNNoise's own window and look-ahead
SCALE = np.float32(32768.0)  # RNNoise expects the range of 16-bit samples
_QUEUE_FRAMES = 2048
_LIBRARIES = {"win32": "rnnoise.dll", "darwin": "librnnoise.dylib"}
_ON = INDEX["suppress.on"]


@functools.cache
def _library() -> ctypes.CDLL:
    """Load the library. Raises NetworkError saying what to do if it is not there or another one."""
    spec = importlib.util.find_spec("pyrnnoise")
    if spec is None or not spec.submodule_search_locations:
        raise NetworkError("suppress.on: noise suppression is not installed: pip install 'rtvc[suppress]'")
    path = Path(spec.submodule_search_locations[0], _LIBRARIES.get(sys.platform, "librnnoise.so"))
    try:
        library = ctypes.CDLL(str(path))
        library.rnnoise_init.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.rnnoise_process_frame.argtypes = [ctypes.c_void_p] * 3
        library.rnnoise_process_frame.restype = ctypes.c_float
        frame = library.rnnoise_get_frame_size()
    except (OSError, AttributeError) as error:
        raise NetworkError(f"suppress.on: {path} cannot be used; install pyrnnoise again ({error})") from error
    if frame != FRAME:
        raise NetworkError(f"suppress.on: {path} takes frames of {frame} samples, not {FRAME}; install pyrnnoise 0.4")
    return library


def suppression_missing() -> str:
    """Return why noise suppression cannot be used and what to do, "" if it can."""
    try:
        _library()
    except NetworkError as error:
        return str(error)
    return ""


def check_suppression(values: NDArray[np.float64]) -> None:
    """Raise NetworkError if values (float64[len(PARAMS)]) ask for noise suppression and it cannot be used."""
    if values[_ON]:
        _library()


def installed_suppressor() -> Suppressor | None:
    """Return a suppressor where there can be one."""
    return None if suppression_missing() else Suppressor()


class Suppressor:
    """One stream through RNNoise."""

    delay_frames = LOOK_AHEAD_FRAMES + FRAME - 1

    def __init__(self) -> None:
        """Raises NetworkError if the library cannot be used."""
        library = _library()
        self._process_frame = library.rnnoise_process_frame
        size = library.rnnoise_get_size()
        self._struct = ctypes.create_string_buffer(size)
        library.rnnoise_init(self._struct, None)
        # what rnnoise_init leaves at zero is sound; what comes before are sizes and pointers
        head = len(self._struct.raw.rstrip(b"\0"))
        self._memory = np.zeros(size - head, np.uint8)
        self._at = ctypes.c_void_p(ctypes.addressof(self._struct) + head)  # no number: those are part of a state
        self._x, self._y = np.zeros(FRAME, np.float32), np.zeros(FRAME, np.float32)
        self._queue, self._queued = ring_counters(), np.zeros(_QUEUE_FRAMES, np.float32)
        self._run()  # now its weights are in memory, not on disk
        self.reset()

    def reset(self) -> None:
        """Forget all sound."""
        self._memory.fill(0)
        self._x.fill(0.0)
        self._queue.fill(0)
        self._queued.fill(0.0)
        self._filled = 0
        self._y.fill(0.0)
        ring_push(self._queue, self._queued, self._y[: FRAME - 1])

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Put x without its noise into y, both float32[n] with n <= FRAME, delay_frames later."""
        start = 0
        while start < x.shape[0]:
            n = min(x.shape[0] - start, FRAME - self._filled)
            np.multiply(x[start : start + n], SCALE, out=self._x[self._filled : self._filled + n])
            self._filled += n
            start += n
            if self._filled == FRAME:
                self._filled = 0
                self._run()
                np.multiply(self._y, 1.0 / SCALE, out=self._y)
                ring_push(self._queue, self._queued, self._y)
        ring_pop(self._queue, self._queued, y)

    def _run(self) -> None:
        """Turn the frame in _x into the one in _y."""
        memory = self._memory
        ctypes.memmove(self._at, memory.ctypes.data, memory.nbytes)
        self._process_frame(self._struct, self._y.ctypes.data, self._x.ctypes.data)
        ctypes.memmove(memory.ctypes.data, self._at, memory.nbytes)
