"""When the sound carries the watermark, and what it says: tool, voice, hour (see `rtvc.provenance.payload`)."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from rtvc.provenance.payload import OWN_VOICE, Payload, hour_of, number_of_voice

from .build import wants_neural
from .own_voice import OwnVoice, asks_for_own, own_share
from .params import INDEX, TIMBRES


def mark_for(tool: int, values: NDArray[np.float64], own: OwnVoice | None, asked: bool | None) -> Payload | None:
    """Return what the watermark of this sound (float64[len(PARAMS)]) says now, None if it is to have none.

    asked is what the user said; without a word the voices of people are marked, and no others.
    """
    speaks = own if own and asks_for_own(values) else None
    if not (bool(speaks and speaks.person) if asked is None else asked):
        return None
    voice = OWN_VOICE
    if wants_neural(values):
        timbre = int(values[INDEX["voice.timbre"]])
        voice = 1 + timbre if timbre < len(TIMBRES) else 1
        if speaks and own_share(values) > 0.0:
            voice = number_of_voice(speaks.id)
    return Payload(tool, voice, hour_of(datetime.now(UTC)))
