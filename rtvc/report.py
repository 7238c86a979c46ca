"""The demo's report: one HTML page that needs nothing else, with a picture of the voice before and after.

The picture is a log-spectrogram: power of 43 ms Hann windows in dB, frequency on a logarithmic axis from LOW_HZ to
HIGH_HZ, the loudest cell at the light end and RANGE_DB below it at the dark end. PNG is written as its standard
says (W3C PNG 3rd edition: signature, IHDR, IDAT, IEND), without filters.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LOW_HZ = 60.0
HIGH_HZ = 12_000.0
RANGE_DB = 70.0
WINDOW_MS = 43.0
WIDTH, HEIGHT = 900, 220
LABELS_HZ = (100, 200, 500, 1000, 2000, 5000, 10_000)

# dark blue, violet, red, orange, pale yellow: dark to light, also for eyes that see few colours
_COLOURS = np.array([[4, 6, 30], [74, 16, 110], [180, 45, 85], [245, 135, 40], [252, 252, 190]], np.float64)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.45 system-ui, sans-serif; max-width: 980px; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; margin: 1em 0 }} td {{ padding: .25em 1.2em .25em 0; vertical-align: top }}
td + td {{ font-variant-numeric: tabular-nums; font-weight: 600 }} figure {{ margin: 1.2em 0 }}
.plot {{ position: relative; padding-left: 4.2em }} .plot img {{ width: 100%; display: block }}
.plot span {{ position: absolute; left: 0; width: 3.8em; text-align: right; font-size: 12px;
  white-space: nowrap; transform: translateY(50%) }} figcaption {{ margin-bottom: .4em }} small {{ color: #666 }}
</style></head><body>
<h1>{title}</h1>
<p>{summary}</p>
<table>{rows}</table>
{figures}
<p><small>{note}</small></p>
</body></html>
"""


def spectrogram(x: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Return the log-spectrogram of x (float32[n]) in dB, float64[HEIGHT, WIDTH], row 0 at HIGH_HZ."""
    size = 1 << round(np.log2(rate_hz * WINDOW_MS / 1000.0))
    padded = np.concatenate([x, np.zeros(size, x.dtype)])
    starts = np.linspace(0, len(padded) - size, WIDTH).astype(np.int64)
    window = np.hanning(size)
    power = np.empty((size // 2 + 1, WIDTH))
    for column, start in enumerate(starts):
        power[:, column] = np.abs(np.fft.rfft(padded[start : start + size] * window)) ** 2
    edges = np.geomspace(HIGH_HZ, LOW_HZ, HEIGHT + 1) * size / rate_hz
    picture = np.empty((HEIGHT, WIDTH))
    for row in range(HEIGHT):
        low, high = edges[row + 1], edges[row]
        if low >= size // 2:  # past what this rate can hold
            picture[row] = 0.0
        elif high - low < 1.0:  # less than a bin: between the two nearest
            middle = min((low + high) / 2, size // 2 - 1)
            below = int(middle)
            picture[row] = power[below] + (middle - below) * (power[below + 1] - power[below])
        else:
            picture[row] = power[int(low) : max(int(high), int(low) + 1)].mean(axis=0)
    return 10.0 * np.log10(picture + 1e-12)


def spectrogram_png(x: NDArray[np.float32], rate_hz: int) -> bytes:
    """Return the log-spectrogram of x (float32[n]) as a PNG of WIDTH x HEIGHT pixels."""
    return png(_pixels(x, rate_hz))


def png_rows(sounds: Sequence[tuple[NDArray[np.float32], int]]) -> bytes:
    """Return the spectrograms of several sounds (samples, rate in Hz), one below the other, as one PNG."""
    return png(np.concatenate([_pixels(x, rate_hz) for x, rate_hz in sounds]))


def _pixels(x: NDArray[np.float32], rate_hz: int) -> NDArray[np.uint8]:
    decibel = spectrogram(x, rate_hz)
    place = np.clip((decibel - decibel.max()) / RANGE_DB + 1.0, 0.0, 1.0) * (len(_COLOURS) - 1)
    steps = np.arange(len(_COLOURS))
    pixels = np.stack([np.interp(place, steps, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    return pixels.round().astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (uint8[height, width, 3], RGB) as a PNG file."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def page(title: str, summary: str, rows: Mapping[str, str], pictures: Sequence[tuple[str, bytes]], note: str) -> str:
    """Return the report as HTML: rows as a table, then each picture (caption, PNG of a spectrogram) with its axis."""
    table = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
    figures = "".join(_figure(caption, image) for caption, image in pictures)
    return _PAGE.format(
        title=html.escape(title), summary=html.escape(summary), rows=table, figures=figures, note=html.escape(note)
    )


def _figure(caption: str, image: bytes) -> str:
    span = np.log(HIGH_HZ / LOW_HZ)
    marks = "".join(
        f'<span style="bottom:{100 * np.log(hz / LOW_HZ) / span:.1f}%">{hz:,} Hz</span>' for hz in LABELS_HZ
    )
    picture = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
    return f'<figure><figcaption>{html.escape(caption)}</figcaption><div class="plot">{marks}{picture}</div></figure>'
