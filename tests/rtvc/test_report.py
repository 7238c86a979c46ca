"""The report is one page that needs nothing else; its PNG is a PNG and shows sound where sound is."""

from __future__ import annotations

import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.typing import NDArray

from rtvc.report import HEIGHT, HIGH_HZ, LOW_HZ, RANGE_DB, WIDTH, page, png, spectrogram, spectrogram_png


def decoded(data: bytes) -> NDArray[np.uint8]:
    """Decode an RGB PNG without filters, checking every chunk's sum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 2, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_a_png_holds_the_pixels_given() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    assert np.array_equal(decoded(png(pixels)), pixels)


@pytest.mark.parametrize("tone_hz", [100.0, 440.0, 3000.0, 10_000.0])
@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
def test_a_tone_is_a_line_at_its_place(tone_hz: float, rate_hz: int) -> None:
    t = np.arange(rate_hz) / rate_hz
    picture = spectrogram(np.sin(2 * np.pi * tone_hz * t).astype(np.float32), rate_hz)
    assert picture.shape == (HEIGHT, WIDTH)
    row = int(picture[:, WIDTH // 2].argmax())
    hz = HIGH_HZ * (LOW_HZ / HIGH_HZ) ** ((row + 0.5) / HEIGHT)
    assert abs(np.log2(hz / tone_hz)) < 0.15
    assert picture.max() - np.median(picture) > RANGE_DB / 2


def test_silence_and_sound_of_an_instant_have_a_picture() -> None:
    for x in (np.zeros(0, np.float32), np.zeros(48_000, np.float32), np.ones(1, np.float32)):
        assert decoded(spectrogram_png(x, 48_000)).shape == (HEIGHT, WIDTH, 3)


def test_the_page_is_whole_by_itself_and_escapes_what_it_is_given() -> None:
    image = png(np.zeros((1, 1, 3), np.uint8))
    text = page("A & B", "<script>", {"latency": "12 ms", "a<b": "c"}, [("before", image)], "note")
    sources, tags = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            sources.extend(value for name, value in attrs if name in ("src", "href"))

    Reader().feed(text)
    assert len(sources) == 1
    assert str(sources[0]).startswith("data:image/png;base64,")
    assert "script" not in tags
    assert "12 ms" in text
    assert "&lt;script&gt;" in text


def test_a_rate_that_holds_less_than_the_picture_shows_leaves_its_top_dark() -> None:
    x = np.random.default_rng(0).normal(0.0, 0.1, 16000).astype(np.float32)
    picture = spectrogram(x, 16000)
    assert np.all(np.isfinite(picture))
    assert np.all(picture[0] == picture.min())
