from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtvc.kernels.clock import now_ns


def test_it_is_the_clock_of_perf_counter() -> None:
    scratch = np.zeros(2, np.int64)
    now_ns(scratch)
    for _ in range(1000):
        stamps = [time.perf_counter_ns(), now_ns(scratch), time.perf_counter_ns()]
        assert stamps == sorted(stamps)


@njit
def backward_steps(scratch: NDArray[np.int64], n: int) -> int:
    last = now_ns(scratch)
    count = 0
    for _ in range(n):
        now = now_ns(scratch)
        count += now < last
        last = now
    return count


def test_it_never_goes_backward() -> None:
    assert backward_steps(np.zeros(2, np.int64), 1_000_000) == 0


def test_it_writes_nothing_but_its_scratch() -> None:
    words = np.full(6, -7, np.int64)
    now_ns(words[2:4])
    assert words[[0, 1, 4, 5]].tolist() == [-7, -7, -7, -7]


def test_it_works_when_loaded_from_the_cache() -> None:
    before = now_ns(np.zeros(2, np.int64))
    script = (
        "import numpy, time; from rtvc.kernels.clock import now_ns; now = now_ns(numpy.zeros(2, numpy.int64));"
        "print(sum(now_ns.stats.cache_hits.values()), now, time.perf_counter_ns())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    hits, now, after = map(int, done.stdout.split())
    assert hits == 1
    assert before < now <= after
