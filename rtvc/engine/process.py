"""How engine processes are made: forked from a warm server on Linux, spawned elsewhere.

The server has every kernel loaded, so a replacement engine serves within a fraction of a second. Importing this
module is cheap: a program that will need an engine starts the server first and loads its own parts meanwhile.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import types
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread_each() -> None:
    """Let NumPy's linear algebra use one thread in the processes that are made from now on.

    With several, who takes over another voice waits for threads that a busy machine does not run.
    """
    for name in _THREAD_SETTINGS:
        os.environ.setdefault(name, "1")


def engine_context() -> BaseContext:
    """Return the context that makes engine processes; on Linux its server begins to warm up at once."""
    one_thread_each()
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rtvc.engine.warm"])
    forkserver.ensure_running()
    return context


def start_engine(process: BaseProcess) -> None:
    """Start a process of that context without what `multiprocessing` does first: import the caller's main program.

    An engine needs nothing of it, and on a busy machine the voice would wait for it. One caller at a time.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
