"""New voices from others: the weighted mean of timbres and of what was fitted to them, home pitches mixed in octaves.

The lineage is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rtvc.engine.params import PARAMS, TIMBRES
from rtvc.engine.timbres import Timbre, built_in_timbres

from .consent import Consent
from .errors import VoiceError
from .library import Library, today
from .profile import PARTS_MAX, Part, Profile, check_voice_name, new_id, timbre_of

WEIGHT_MAX = 1000.0
SYNTHETIC_LICENCE = "Apache-2.0"


def blend(library: Library, name: str, weights: Mapping[str, float], doc: str = "") -> Profile:
    """Make the voice `name` of built-in voices and own ones, by name with weights above 0, and save it; return it.

    It rests on the consents of all its parts, each of which must cover blends. A part that is a blend of built-in
    voices counts as those. Raises VoiceError or ConsentError.
    """
    check_voice_name(name)
    if not 1 <= len(weights) <= PARTS_MAX:
        raise VoiceError(f"a blend has 1 to {PARTS_MAX} voices; write NAME=WEIGHT for each")
    for part, weight in weights.items():
        if not 0.0 < weight <= WEIGHT_MAX:
            raise VoiceError(f"{part}={weight:g}: a weight must lie above 0 and up to {WEIGHT_MAX:g}")
    built_in = dict(zip(TIMBRES, built_in_timbres(), strict=True))
    total = sum(weights.values())
    shares: dict[tuple[str, str], float] = {}  # by name and id
    timbres: dict[tuple[str, str], Timbre] = {}
    consents: dict[str, Consent] = {}
    sound: dict[str, float] = {}  # by how much values differ from their defaults
    tempo = 1.0  # of the parts', the mean in octaves

    def add(part: str, part_id: str, timbre: Timbre, share: float) -> None:
        shares[part, part_id] = shares.get((part, part_id), 0.0) + share
        timbres[part, part_id] = timbre

    for part, weight in weights.items():
        if part in built_in:
            add(part, "", built_in[part], weight / total)
            continue
        own = library.use(part, "blend")
        for param, number in own.sound.items():
            sound[param] = sound.get(param, 0.0) + (number - PARAMS[param].default) * weight / total
        tempo *= own.tempo ** (weight / total)
        if own.synthetic:
            for origin in own.lineage:
                add(origin.name, "", built_in[origin.name], origin.share * weight / total)
            continue
        add(part, own.id, timbre_of(own), weight / total)
        consents |= {consent.id: consent for consent in own.consents}
    lineage = tuple(Part(part, share, part_id) for (part, part_id), share in shares.items())
    mean = _mean(lineage, list(timbres.values()))
    profile = Profile(
        id=new_id(),
        name=name,
        timbre=mean.vector,
        home_hz=mean.home_hz,
        personal=mean.personal,
        sound={param: PARAMS[param].default + more for param, more in sound.items()},
        tempo=round(tempo, 6),
        made=today(),
        lineage=lineage,
        consents=tuple(consents.values()),
        doc=doc,
        licence="" if consents else SYNTHETIC_LICENCE,
        source="a blend of " + ", ".join(f"{part.name} {part.share:.0%}" for part in lineage),
    )
    library.save(profile)
    return profile


def check_synthetic(profile: Profile) -> None:
    """Raise VoiceError if profile says that it is made of built-in voices only, without consent, and is not."""
    if not profile.synthetic:
        return
    built_in = dict(zip(TIMBRES, built_in_timbres(), strict=True))
    mean = _mean(profile.lineage, [built_in[part.name] for part in profile.lineage])
    same = np.max(np.abs(mean.vector - profile.timbre)) < 1e-4 and abs(mean.home_hz / profile.home_hz - 1.0) < 1e-3
    if not same:
        raise VoiceError(
            f"voice {profile.name}: it is not the blend that it says it is, at least with this version's voices; "
            "without a consent record it cannot be kept"
        )


def _mean(lineage: Sequence[Part], timbres: Sequence[Timbre]) -> Timbre:
    shares = np.array([part.share for part in lineage])
    vector = shares @ np.array([timbre.vector for timbre in timbres], np.float64)
    home_hz = math.exp(shares @ np.log([timbre.home_hz for timbre in timbres]))
    parts = zip(shares, timbres, strict=True)
    personal = [share * timbre.personal for share, timbre in parts if timbre.personal is not None]
    return Timbre(vector.astype(np.float32), home_hz, np.sum(personal, axis=0, dtype=np.float32) if personal else None)
