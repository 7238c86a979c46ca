"""What is said is read again, through noise too; noise alone is not read."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtvc.kernels.watermark import SYMBOLS
from rtvc.provenance.payload import (
    BITS,
    FIRST_OF_LIBRARY,
    PILOT_SIGNS,
    PILOTS,
    TOOL_CONVERT,
    TOOLS,
    Payload,
    decode,
    hour_of,
    number_of_voice,
    payload_of,
    signs_of,
)

payloads = st.builds(Payload, st.sampled_from(list(TOOLS)), st.integers(0, 2**12 - 1), st.integers(0, 2**17 - 1))


@settings(max_examples=50, deadline=None)
@given(payload=payloads)
def test_what_is_said_is_read(payload: Payload) -> None:
    signs = signs_of(payload)
    assert set(np.unique(signs)) <= {-1.0, 1.0} and signs.shape == (SYMBOLS,)
    assert np.array_equal(signs[PILOTS], PILOT_SIGNS)
    assert decode(signs.astype(float)) == payload


@settings(max_examples=50, deadline=None)
@given(payload=payloads, seed=st.integers(0, 1000))
def test_a_tenth_of_the_symbols_wrong_is_put_right(payload: Payload, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs = signs_of(payload).astype(float)
    signs[rng.permutation(SYMBOLS)[: SYMBOLS // 10]] *= -1
    assert decode(signs) in (payload, None)
    soft = signs_of(payload) + rng.standard_normal(SYMBOLS)  # 0 dB; 4.3 dB over N0 for each bit
    assert decode(soft) in (payload, None)


def test_most_are_read_at_0_dB_and_noise_never() -> None:
    rng = np.random.default_rng(1)
    payload = Payload(TOOL_CONVERT, 3, 1234)
    read = [decode(signs_of(payload) + rng.standard_normal(SYMBOLS)) for _ in range(50)]
    assert read.count(payload) >= 45
    assert all(decode(rng.standard_normal(SYMBOLS)) is None for _ in range(200))


@settings(max_examples=50, deadline=None)
@given(payload=payloads)
def test_a_payload_is_one_number(payload: Payload) -> None:
    assert payload_of(payload.number) == payload and payload.number < 1 << BITS
    with pytest.raises(ValueError, match="tool is"):
        payload_of(payload.number + (1 << BITS))


def test_own_voices_have_a_number_made_of_their_id() -> None:
    ids = [np.random.default_rng(i).bytes(16).hex() for i in range(200)]
    numbers = [number_of_voice(voice_id) for voice_id in ids]
    assert min(numbers) >= FIRST_OF_LIBRARY and max(numbers) < 4096 and len(set(numbers)) > 190
    assert numbers == [number_of_voice(voice_id.upper()) for voice_id in ids]


def test_an_unknown_tool_is_not_read() -> None:
    assert decode(signs_of(Payload(7, 0, 0)).astype(float)) is None


@pytest.mark.parametrize(("tool", "voice", "hour"), [(8, 0, 0), (1, 4096, 0), (1, 0, 1 << 17), (1, -1, 0)])
def test_what_does_not_fit_is_refused(tool: int, voice: int, hour: int) -> None:
    with pytest.raises(ValueError, match="the watermark holds 0 to"):
        Payload(tool, voice, hour)


def test_hours_count_from_2026() -> None:
    time = datetime(2026, 3, 1, 13, 59, tzinfo=UTC)
    payload = Payload(TOOL_CONVERT, 0, hour_of(time))
    assert payload.hour == 59 * 24 + 13
    assert payload.time == datetime(2026, 3, 1, 13, tzinfo=UTC)
