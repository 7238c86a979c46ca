"""A block of shared memory as an array, which another process attaches to by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class SharedBlock:
    """Shared memory that this process made, and its view."""

    memory: SharedMemory
    view: NDArray[Any] = field(repr=False)

    @classmethod
    def make(cls, size: int, shape: int, dtype: type) -> SharedBlock:
        """Make a block of size bytes, seen as dtype[shape], all zero."""
        memory = SharedMemory(create=True, size=size)
        view: NDArray[Any] = np.ndarray((shape,), dtype, memory.buf)
        view[:] = 0
        return cls(memory, view)

    def free(self) -> None:
        """Overwrite the block with zeros and give it back; nobody may hold a view any more."""
        self.view[:] = 0
        del self.view
        self.memory.close()
        self.memory.unlink()
