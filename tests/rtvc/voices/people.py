"""Voices of people who do not exist, with their consents."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np

from rtvc.voices.consent import Consent
from rtvc.voices.library import today
from rtvc.voices.profile import Profile, new_id


def consent(speaker: str = "Anna Nowak", days: int = 30, **fields: Any) -> Consent:
    values: dict[str, Any] = {
        "id": new_id(),
        "speaker": speaker,
        "purpose": "reading my letters aloud",
        "uses": ("live", "files", "blend", "export"),
        "given": min(today(), today() + timedelta(days)),
        "expires": today() + timedelta(days),
        "phrase": "I agree: walnut, river, candle.",
        "word_error": 0.0,
        "likeness": 0.9,
        "recording": "0" * 64,
    }
    return Consent(**values | fields)


def person(name: str = "anna", seed: int = 1, **fields: Any) -> Profile:
    values: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "timbre": np.random.default_rng(seed).normal(0.0, 0.7, 128).astype(np.float32),
        "home_hz": 201.5,
        "made": date(2026, 11, 1),
        "statistics": {"f0_low_hz": 160.0, "f0_high_hz": 290.0},
        "consents": (consent(),),
        "doc": "warm and quick",
        "licence": "private",
        "source": "recorded at home",
    }
    return Profile(**values | fields)
