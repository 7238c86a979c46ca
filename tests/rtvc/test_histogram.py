"""Histograms keep every value, on shared edges, as text and as pixels."""

from __future__ import annotations

import numpy as np
import pytest

from rtvc.histogram import ROW_HEIGHT, WIDTH, counts, edges_for, pixels, text_rows


def test_every_value_is_counted_whatever_the_edges() -> None:
    a, b = np.array([1.0, 2.0, 4.0, 100.0]), np.array([0.5, 8.0, 0.0, -3.0])
    edges = edges_for([a, b])
    assert edges[0] == 0.5 and edges[-1] == 100.0
    assert np.diff(np.log(edges)) == pytest.approx(np.log(200.0) / 24)
    assert counts(a, edges).sum() == 4 and counts(b, edges).sum() == 4
    assert counts(a, edges_for([b])).sum() == 4


def test_nothing_and_one_value_make_a_histogram_too() -> None:
    assert text_rows(np.zeros(0), edges_for([np.zeros(0)]), "ms") == ["  (nothing)"]
    rows = text_rows(np.array([3.0]), edges_for([np.array([3.0])]), "ms")
    assert len(rows) == 1 and rows[0].endswith("#" * 40)
    assert pixels([], edges_for([])).shape == (ROW_HEIGHT, WIDTH, 3)


def test_one_late_block_among_many_is_seen() -> None:
    values = np.append(np.full(10_000, 1.0), 50.0)
    edges = edges_for([values])
    rows = text_rows(values, edges, "ms")
    assert rows[0].count("#") == 40 and rows[-1].count("#") >= 2 and rows[-1].split()[4] == "1"
    assert all("#" not in row for row in rows[1:-1])
    picture = pixels([("64", values), ("1024.5", values)], edges)
    blue = (picture == (70, 105, 180)).all(axis=2)
    assert picture.shape == (2 * ROW_HEIGHT, WIDTH, 3)
    assert blue[:, :100].any() and blue[:, -100:].any() and not blue[:, 200:700].any()
