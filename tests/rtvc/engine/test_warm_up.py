"""After the warm-up nothing is left to compile or load: the first word is as quick as the last."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
from numba.core.registry import CPUDispatcher
from rtvc.engine.engine import Engine
from rtvc.engine.params import PARAMS, to_vector
from rtvc.engine.worker import warm_up
from rtvc.voices.presets import built_in_presets


def compiled():
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("rtvc")]
    kernels = {id(k): k for m in modules for k in vars(m).values() if isinstance(k, CPUDispatcher)}
    return {k.py_func.__qualname__: len(k.signatures) for k in kernels.values()}


warm_up()
before = compiled()
engine = Engine()
noise = np.random.default_rng(0).normal(0, 0.1, 4800).astype(np.float32)
vowel = np.sign(np.sin(np.arange(4800) * 0.016)).astype(np.float32) * 0.1
out = np.zeros(4800, np.float32)
for values in [p.values for p in built_in_presets().values()] + [{"voice.name": "silence"}, {"level.mute": True}]:
    engine.set(to_vector(values))
    for x in (noise, vowel):
        engine.process(x, out)
late = {name: n for name, n in compiled().items() if n != before.get(name)}
assert not late, late
"""


def test_every_preset_runs_on_kernels_that_the_warm_up_loaded() -> None:
    # in a process of its own: kernels that other tests loaded would count as warm
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
