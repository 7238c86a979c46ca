"""What the watermark says, 32 bits: which tool, which voice, which hour. And how they become the symbols' signs.

| bits | field | meaning |
|---|---|---|
| 3 | tool | 1 `rtvc convert`, 2 `rtvc live` |
| 12 | voice | 0 the speaker's own, shaped; 1 to 8 the built-in voices in order; 256 on: own voices, by their id |
| 17 | hour | since 2026-01-01 00:00 UTC (until 2040) |

A CRC of 16 bits follows. The 48 bits go through a tail-biting convolutional code of rate 1/4 (constraint length 7,
free distance 20) and are scattered over 192 of the 256 symbols; every fourth symbol is a pilot of known sign.

Source: CRC-16/CCITT-FALSE; Larsen, "Short convolutional codes with maximal free distance for rates 1/2, 1/3, and 1/4"
(1973), for the generators; Ma & Wolf, "On tail biting convolutional codes" (1986).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.watermark import SYMBOLS

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TOOL_CONVERT, TOOL_LIVE = 1, 2
TOOLS = {TOOL_CONVERT: "rtvc convert", TOOL_LIVE: "rtvc live"}
OWN_VOICE = 0
FIRST_OF_LIBRARY = 256  # from here on the voices of users' libraries; below is room for built-in ones
TOOL_BITS, VOICE_BITS, HOUR_BITS, CRC_BITS = 3, 12, 17, 16
BITS = TOOL_BITS + VOICE_BITS + HOUR_BITS
GENERATORS = (0o135, 0o135, 0o147, 0o163)
MEMORY = 6
PILOT_EVERY = 4
LAPS = 3  # of the decoder around the tail-biting trellis; the middle one counts

_STATES = 1 << MEMORY
_ORDER_SEED = 0x4D41524B
_random = np.random.Generator(np.random.PCG64(_ORDER_SEED))

PILOTS = np.arange(0, SYMBOLS, PILOT_EVERY)
PILOT_SIGNS = _random.choice((-1.0, 1.0), len(PILOTS)).astype(np.float32)
DATA = _random.permutation(np.setdiff1d(np.arange(SYMBOLS), PILOTS))  # where each coded bit is said


@dataclass(frozen=True)
class Payload:
    """What a mark says. Raises ValueError for a field out of range."""

    tool: int
    voice: int
    hour: int

    def __post_init__(self) -> None:
        for name, value, bits in (
            ("tool", self.tool, TOOL_BITS), ("voice", self.voice, VOICE_BITS), ("hour", self.hour, HOUR_BITS)
        ):  # fmt: skip
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} is {value}: the watermark holds 0 to {(1 << bits) - 1}")

    @property
    def number(self) -> int:
        """The whole as one number of BITS bits."""
        return (self.tool << VOICE_BITS | self.voice) << HOUR_BITS | self.hour

    @property
    def time(self) -> datetime:
        """The beginning of the hour, UTC."""
        return EPOCH + timedelta(hours=self.hour)


def hour_of(time: datetime) -> int:
    """Return the hour since EPOCH that holds time (which knows its zone)."""
    return (time - EPOCH) // timedelta(hours=1)


def payload_of(number: int) -> Payload:
    """Return the payload whose number this is. Raises ValueError if it has more than BITS bits."""
    return Payload(
        number >> VOICE_BITS + HOUR_BITS, number >> HOUR_BITS & (1 << VOICE_BITS) - 1, number & (1 << HOUR_BITS) - 1
    )


def number_of_voice(voice_id: str) -> int:
    """Return the voice's number for one of a user's library: made of its id (hex digits), the same in every copy.

    There are 3840, so two voices of a library of 70 share one half of the time.
    """
    return FIRST_OF_LIBRARY + int(voice_id, 16) % ((1 << VOICE_BITS) - FIRST_OF_LIBRARY)


def signs_of(payload: Payload) -> NDArray[np.float32]:
    """Return the signs of a frame's symbols, float32[SYMBOLS]."""
    number = payload.number
    bits = np.concatenate((_bits(number, BITS), _bits(_crc(number), CRC_BITS)))
    signs = np.zeros(SYMBOLS, np.float32)
    signs[PILOTS] = PILOT_SIGNS
    signs[DATA] = 1.0 - 2.0 * _encode(bits)
    return signs


def decode(soft: NDArray[np.float64]) -> Payload | None:
    """Return what the symbols say, or None if the CRC or the tool is wrong.

    soft is float64[SYMBOLS], its signs the symbols' and its sizes how sure they are.
    """
    bits = _viterbi(soft[DATA].reshape(-1, len(GENERATORS)))
    number, crc = _number(bits[:BITS]), _number(bits[BITS:])
    if crc != _crc(number) or number >> VOICE_BITS + HOUR_BITS not in TOOLS:
        return None
    return payload_of(number)


def _bits(number: int, count: int) -> NDArray[np.int64]:
    return np.array([number >> count - 1 - i & 1 for i in range(count)])


def _number(bits: NDArray[np.int64]) -> int:
    return int("".join(map(str, bits)), 2)


def _crc(number: int) -> int:
    crc = 0xFFFF
    for byte in number.to_bytes(BITS // 8, "big"):
        crc ^= byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x1021 if crc & 0x8000 else 0)
        crc &= 0xFFFF
    return crc


def _parities() -> NDArray[np.int64]:
    """Return the coded bits for each register of MEMORY + 1 bits, newest on top: int64[2**(MEMORY + 1), 4]."""
    registers = range(2 * _STATES)
    return np.array([[(register & generator).bit_count() & 1 for generator in GENERATORS] for register in registers])


_PARITY = _parities()


def _encode(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the coded bits, int64[4 * len(bits)]; the register begins as it ends, so no bits are lost to a tail."""
    register = 0
    coded = []
    for bit in (*bits[-MEMORY:], *bits):
        register = int(bit) << MEMORY | register >> 1
        coded.append(_PARITY[register])
    return np.concatenate(coded[MEMORY:])


def _viterbi(soft: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the likeliest bits, int64[n], for soft coded bits (float64[n, 4], positive is 0)."""
    n = len(soft)
    gains = soft @ (1.0 - 2.0 * _PARITY.T)  # of every register at every step
    now = np.arange(_STATES)
    # a state is the newest MEMORY bits; it came with its top bit from the two states that share its lower ones
    before = (now[:, None] << 1 & _STATES - 1) | np.array([0, 1])
    register = (now[:, None] >> MEMORY - 1 << MEMORY) | before
    score = np.zeros(_STATES)
    chosen = np.zeros((LAPS * n, _STATES), np.int64)
    for i in range(LAPS * n):
        choices = score[before] + gains[i % n][register]
        best = choices.argmax(axis=1)
        chosen[i] = before[now, best]
        score = choices[now, best]
    state = int(score.argmax())
    bits = np.zeros(LAPS * n, np.int64)
    for i in range(LAPS * n - 1, -1, -1):
        bits[i] = state >> MEMORY - 1
        state = chosen[i, state]
    return bits[n : 2 * n]
