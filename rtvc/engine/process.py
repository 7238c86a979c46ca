"""How engine processes are made: forked from a warm server on Linux, spawned elsewhere.

The server has every kernel loaded, so a replacement engine serves within a fraction of a second. Importing this
module is cheap: a program that will need an engine starts the server first and loads its own parts meanwhile.
"""

from __future__ import annotations

import multiprocessing
import sys
import types
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess


def engine_context() -> BaseContext:
    """Return the context that makes engine processes; on Linux its server begins to warm up at once."""
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
