"""The control process's end of the slot (see `own_voice`): who lies in it and what the watermark says beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.provenance.payload import TOOL_LIVE

from .marking import mark_for
from .own_voice import OwnVoice, pack_slot
from .param_block import write_params


class OwnSlot:
    """Outlives the shared memory: what was put in while there is none is written when it opens. One caller at a time.

    values are the session's sound (float64[len(PARAMS)]); what the watermark has to say follows from it and the hour.
    """

    def __init__(self, own: OwnVoice | None, watermark: bool | None) -> None:
        """watermark says whether the sound is marked, None: when it is a person's voice (see `marking`)."""
        self.voice = own
        self.mark: int | None = None  # what the slot says: a payload's number
        self._watermark, self._fillings = watermark, int(own is not None)
        self._block: NDArray[np.int64] | None = None

    def open(self, block: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Write into block (int64[SLOT_INT64], all zero) now and from now on."""
        self._block = block
        self._write(self._mark_of(values))

    def close(self) -> None:
        """Let go of the block."""
        self._block = None

    def put(self, own: OwnVoice | None, values: NDArray[np.float64]) -> None:
        """Put another voice in, None: nobody. Raises ValueError if it has no room; then all stays as it is."""
        pack_slot(0, own, None)
        self.voice, self._fillings = own, self._fillings + 1
        self._write(self._mark_of(values))

    def update_mark(self, values: NDArray[np.float64]) -> None:
        """Write the slot anew if the watermark has to say something else."""
        mark = self._mark_of(values)
        if mark != self.mark:
            self._write(mark)

    def _mark_of(self, values: NDArray[np.float64]) -> int | None:
        payload = mark_for(TOOL_LIVE, values, self.voice, self._watermark)
        return payload.number if payload else None

    def _write(self, mark: int | None) -> None:
        self.mark = mark
        if self._block is not None:
            write_params(self._block, pack_slot(self._fillings, self.voice, mark))
