"""A voice of the user's made softer, older, breathier: a new voice that keeps the timbre and is said with other values.

softness s (-1..1) takes 9 dB s from what lies above 3 kHz and, above 0, puts s / 4 of breath under the tone. age a
(-1..1) is like a body's: the vocal tract grows by 15 % per unit and the voice falls by 3 semitones; above 0 breath
comes in and the melody flattens a little. What is asked for besides is added to both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rtvc.engine.params import PARAMS, TIMBRES
from rtvc.engine.timbres import built_in_timbres

from .blending import SYNTHETIC_LICENCE
from .errors import VoiceError
from .library import Library, today
from .profile import SHAPING, Part, Profile, check_voice_name, new_id

SOFTER_DB, SOFT_BREATH = -9.0, 0.25
OLDER_OCTAVES, OLDER_SEMITONES, OLD_BREATH, OLD_INTONATION = -0.2, -3.0, 0.15, -0.15


def shaped(
    sound: Mapping[str, float], softness: float = 0.0, age: float = 0.0, more: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return sound (values of SHAPING) made softer and older, with more set in the end; within the registry's ranges.

    Raises VoiceError if softness or age is not within -1..1, or more holds what does not belong to a voice
    or is out of the registry's range.
    """
    for name, value in (("softness", softness), ("age", age)):
        if not -1.0 <= value <= 1.0:
            raise VoiceError(f"--{name} {value:g}: must lie in -1..1")
    values = {name: sound.get(name, PARAMS[name].default) for name in SHAPING}
    values["tone.brightness_db"] += SOFTER_DB * softness
    values["breath.amount"] += SOFT_BREATH * max(0.0, softness) + OLD_BREATH * max(0.0, age)
    values["formant.ratio"] *= 2.0 ** (OLDER_OCTAVES * age)
    values["pitch.semitones"] += OLDER_SEMITONES * age
    values["pitch.intonation"] += OLD_INTONATION * max(0.0, age)
    for name, value in (more or {}).items():
        if name not in SHAPING:
            raise VoiceError(f"{name} does not belong to a voice; choose of {', '.join(sorted(SHAPING))}")
        try:
            values[name] = PARAMS[name].to_number(value)
        except ValueError as error:
            raise VoiceError(str(error)) from None
    found = {}
    for name, value in values.items():
        param = PARAMS[name]
        within = min(param.maximum, max(param.minimum, value))
        if within != param.default:
            found[name] = within
    return found


def tune(
    library: Library,
    name: str,
    new_name: str,
    sound: Mapping[str, float],
    doc: str = "",
    tempo: float | None = None,
) -> Profile:
    """Save the voice `name` (built-in or own), said with sound at tempo (None: its own), as `new_name`; return it.

    It rests on the consents of the voice it is made of, which must cover blends. Raises VoiceError or ConsentError.
    """
    check_voice_name(new_name)
    base = base_voice(library, name)
    own = "" if name in TIMBRES else base.id
    profile = dataclasses.replace(
        base,
        id=new_id(),
        name=new_name,
        made=today(),
        sound=dict(sound),
        tempo=base.tempo if tempo is None else tempo,
        lineage=base.lineage if base.synthetic and own else (Part(name, 1.0, own),),
        doc=doc or base.doc,
        source=f"{name}, shaped",
    )
    library.save(profile)
    return profile


def base_voice(library: Library, name: str) -> Profile:
    """Return a voice to be tuned, a built-in one as a profile of its own. Raises VoiceError or ConsentError."""
    if name not in TIMBRES:
        return library.use(name, "blend")
    timbre = built_in_timbres()[TIMBRES.index(name)]
    return Profile(new_id(), f"{name}-as-it-is", timbre.vector, timbre.home_hz, today(), lineage=(Part(name, 1.0),),
                   licence=SYNTHETIC_LICENCE)  # fmt: skip
