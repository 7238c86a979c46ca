"""`rtvc doctor --loopback`: the whole delay on this machine's own sound server, heard rather than believed.

Two virtual microphones are made. Bursts (chirps of 6 ms, at uneven intervals) are played into the first; rtvc runs as
it would live, from the first to the second, with the speaker's own voice, which is as late as every other; two ears
record both and tell when each burst came, by one clock. The ears reach the server the same way, so their own delay
falls out of the difference: what is left is what rtvc adds between one program's microphone and another's.

How sure it is: the median's 95 % interval from the spread of the bursts (1.253 sigma / sqrt(n), as for a normal
distribution), and how many bursts came through.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtvc.audio import link as fields
from rtvc.audio.backend import DeviceError, open_streams
from rtvc.audio.devices import best_host
from rtvc.audio.link import capture_data, link_memory, playback_data, read_clock
from rtvc.audio.virtual_mic import VirtualMicrophone
from rtvc.engine.live import LiveSession
from rtvc.engine.params import to_vector
from rtvc.kernels.ring import ring_pop, ring_push
from rtvc.live_view import latency_ms

RATE_HZ = 48_000
BURST_S, LOW_HZ, HIGH_HZ, LEVEL = 0.006, 2000.0, 9000.0, 0.5
LONGEST_S = 0.5  # the longest delay that is found; bursts are further apart
APART_S = (0.55, 0.75)
SETTLE_S = 2.0
CLEAR = 8.0  # a burst stands out of what else is heard by this factor
POLL_S = 0.005
SAMPLE_MS = 1000.0 / RATE_HZ

Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Loopback:
    """What the bursts told; delays in ms."""

    host: str
    block_frames: int
    sent: int
    late_ms: tuple[float, ...]
    declared_ms: float  # by the session's status

    @property
    def p50_ms(self) -> float:
        """The delay, median."""
        return float(np.median(self.late_ms))

    @property
    def error_ms(self) -> float:
        """Half of the median's 95 % interval."""
        sigma = float(np.std(self.late_ms, ddof=1)) if len(self.late_ms) > 1 else LONGEST_S * 1e3
        return max(SAMPLE_MS, 1.96 * 1.253 * sigma / float(np.sqrt(len(self.late_ms))))

    @property
    def sure(self) -> bool:
        """Whether nearly all bursts came through and tell the same."""
        return len(self.late_ms) >= 0.8 * self.sent and self.error_ms < 1.0


def burst() -> Sound:
    """Return the burst: a chirp under a Hann window."""
    t = np.arange(round(BURST_S * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * (LOW_HZ * t + (HIGH_HZ - LOW_HZ) / (2 * BURST_S) * t * t)
    return (LEVEL * np.sin(phase) * np.hanning(len(t))).astype(np.float32)


def burst_train(count: int, seed: int = 0) -> Sound:
    """Return so many bursts at uneven intervals, and silence after them."""
    starts = np.cumsum(np.random.default_rng(seed).uniform(*APART_S, count))
    x = np.zeros(round((starts[-1] + 2 * LONGEST_S) * RATE_HZ), np.float32)
    shape = burst()
    for start_s in starts:
        x[round(start_s * RATE_HZ) :][: len(shape)] += shape
    return x


def find_bursts(x: Sound) -> NDArray[np.float64]:
    """Return where bursts begin in x, in frames, by a matched filter: float64[n]."""
    shape = burst()
    if len(x) < len(shape):
        return np.zeros(0)
    size = 1 << (len(x) + len(shape)).bit_length()
    match = np.abs(np.fft.irfft(np.fft.rfft(x, size) * np.conj(np.fft.rfft(shape, size)), size)[: len(x)])
    least = max(0.3 * float(match.max()), CLEAR * float(np.sqrt(np.mean(match**2))), 1e-4 * float(shape @ shape))
    found: list[int] = []
    gap, reach = round(0.5 * APART_S[0] * RATE_HZ), len(shape)
    for place in np.flatnonzero(match > least):
        if not found or place > found[-1] + gap:
            found.append(int(place + np.argmax(match[place : place + reach])))
    return np.array(found, np.float64)


def pair(sent_s: NDArray[np.float64], heard_s: NDArray[np.float64]) -> tuple[float, ...]:
    """Return how much later each burst that was sent was heard, in ms, without those that were not."""
    late = []
    for sent in sent_s:
        after = heard_s[(heard_s >= sent - 0.005) & (heard_s < sent + LONGEST_S)]
        if len(after):
            late.append(float(1e3 * (after[0] - sent)))
    return tuple(late)


class Ear:
    """Records one microphone, with the time of each frame, and may play into a sink meanwhile. Use as a context."""

    def __init__(self, capture_id: str, playback_id: str, block_frames: int) -> None:
        """Raises DeviceError if the devices cannot be opened."""
        self._link = link_memory()
        self._link[fields.PLAYBACK_PRIME] = round(0.1 * RATE_HZ)
        self._streams = open_streams(self._link.ctypes.data, capture_id, playback_id, RATE_HZ, block_frames)
        self._left = np.zeros(0, np.float32)  # to be played
        self._pieces: list[Sound] = []
        self._clock: list[tuple[int, int]] = []  # frames so far, and when that was
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loopback-ear", daemon=True)

    def __enter__(self) -> Self:
        self._streams.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._streams.close()

    def play(self, sound: Sound) -> None:
        """Begin to play."""
        self._left = sound

    def bursts_s(self) -> NDArray[np.float64]:
        """Return when bursts were heard so far, by time.perf_counter()."""
        clock = np.array(self._clock[len(self._clock) // 4 :], np.float64)
        if not self._pieces or not len(clock):
            return np.zeros(0)
        rate_hz = int(self._link[fields.CAPTURE_RATE_HZ])
        # the typical block, past the first ones, tells when frame 0 would have come
        begin_s = float(np.median(clock[:, 1] * 1e-9 - clock[:, 0] / rate_hz))
        return begin_s + find_bursts(np.concatenate(self._pieces)) / rate_hz

    def _run(self) -> None:
        link = self._link
        captured, played = (link[at : at + 16] for at in (fields.CAPTURE_RING, fields.PLAYBACK_RING))
        piece = np.zeros(fields.CAPACITY, np.float32)
        while not self._over.wait(POLL_S):
            if n := ring_pop(captured, capture_data(link), piece):
                self._pieces.append(piece[:n].copy())
                self._clock.append(read_clock(link, fields.CAPTURE)[:2])
            if len(left := self._left):
                self._left = left[ring_push(played, playback_data(link), left[: fields.CAPACITY // 2]) :]


def measure_loopback(bursts: int, block_frames: int = 256, host: str = "") -> Loopback:
    """Play so many bursts through a live session on this machine's sound server and tell how late they came.

    Raises DeviceError where no virtual microphone can be made, RuntimeError if the engine does not start.
    """
    host = host or best_host().name
    if host not in ("pulse", "pipewire"):
        raise DeviceError(f"{host}: only PulseAudio and PipeWire lend the microphones that a loopback test needs")
    with contextlib.ExitStack() as stack:
        mouth, mic = (stack.enter_context(VirtualMicrophone(f"rtvc-{name}", host)) for name in ("mouth", "loopback"))
        capture_id = f"{host}:{mouth.heard_as}"
        values = to_vector({"voice.name": "own", "level.match": False, "gate.threshold_db": -90})
        session = LiveSession(
            lambda link: open_streams(link.ctypes.data, capture_id, mic.playback_id, RATE_HZ, block_frames), values
        )
        stack.enter_context(session)
        before = stack.enter_context(Ear(capture_id, mouth.playback_id, block_frames))
        after = stack.enter_context(Ear(f"{host}:{mic.heard_as}", mouth.playback_id, block_frames))
        time.sleep(SETTLE_S)
        train = burst_train(bursts)
        before.play(train)
        declared_ms = []
        until_s = time.perf_counter() + len(train) / RATE_HZ
        while time.perf_counter() < until_s:
            time.sleep(0.1)
            declared_ms.append(latency_ms(session.status()))
        late_ms = pair(before.bursts_s(), after.bursts_s())
        return Loopback(host, session.status().block_frames, bursts, late_ms, float(np.median(declared_ms)))
