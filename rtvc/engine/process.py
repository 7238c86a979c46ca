"""How engine processes are made: forked from a warm server on Linux, spawned elsewhere.

The server has every kernel loaded, so a replacement engine serves within a fraction of a second. Importing this
module is cheap: a program that will need an engine starts the server first and loads its own parts meanwhile.
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext


def engine_context() -> BaseContext:
    """Return the context that makes engine processes; on Linux its server begins to warm up at once."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rtvc.engine.warm"])
    forkserver.ensure_running()
    return context
