"""Speech that a computer can say in no time: eight vowels as pulses through two resonances, in a set of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtvc.train.codebook import keep_codebook, make_codes
from rtvc.train.dataset import LATENT, Item, SetWriter, TrainingSet

VOWELS = ((300, 2300), (500, 1800), (700, 1200), (450, 800), (350, 1100), (650, 2000), (250, 700), (800, 1600))
TOKENS = len(VOWELS)
CODES = 1024


def vowels(frames: list[int], tokens: list[int], rate_hz: int, f0_hz: float) -> NDArray[np.float32]:
    """Say tokens 1..8 (0 is silence), each for its frames of 12.5 ms."""
    n = sum(frames) * rate_hz // 80
    harmonics = np.arange(1, int(0.45 * rate_hz / f0_hz))
    phase = 2 * np.pi * f0_hz * np.arange(n) / rate_hz
    of_sample = np.repeat(tokens, np.array(frames) * (rate_hz // 80))
    y = np.zeros(n)
    for token, formants in enumerate(VOWELS, start=1):
        hz = harmonics * f0_hz
        gains = sum(1.0 / (1.0 + ((hz - formant) / 90.0) ** 2) for formant in formants)
        here = of_sample == token
        y[here] = (gains[:, None] * np.cos(harmonics[:, None] * phase[here])).sum(0)
    return (0.2 * y / max(float(np.abs(y).max()), 1e-9)).astype(np.float32)


def toy_latents() -> NDArray[np.float32]:
    """Return a latent for each token, far apart."""
    return 3.0 * np.random.default_rng(1).standard_normal((TOKENS + 1, LATENT)).astype(np.float32)


def toy_set(folder: Path, seconds: float = 20.0, utterance_s: float = 2.0) -> TrainingSet:
    """Make a set of synthetic renditions, the last of them held out; code k is token k."""
    rng, latents = np.random.default_rng(0), toy_latents()
    with SetWriter(folder) as writer:
        for k in range(round(seconds / utterance_s)):
            frames, tokens = [4], [0]
            while sum(frames) < 80 * utterance_s:
                frames.append(int(rng.integers(8, 17)))
                tokens.append(int(rng.integers(1, TOKENS + 1)))
            f0_hz = float(rng.uniform(100, 250))
            total = sum(frames)
            melody = np.full(total, f0_hz, np.float32), np.full(total, 3.0, np.float32)
            start, n = writer.add_sound(vowels(frames, tokens, 16000, f0_hz))
            writer.items.append(
                Item(
                    "toy", f"voice{k % 2}", f"{k}/0", "", start, n, tokens=tokens, frames=frames,
                    row=writer.add_latents(latents[tokens]), frame0=writer.add_melody(*melody),
                    start24=writer.add_sound24(vowels(frames, tokens, 24000, f0_hz)),
                    tv=writer.add_timbre(np.full(LATENT, 0.1 * (k % 2), np.float32)),
                    dev=k + 1 == round(seconds / utterance_s), licence="none",
                )
            )  # fmt: skip
        writer.note("toy", "none", {})
    codebook = 1000.0 + np.random.default_rng(2).standard_normal((CODES, LATENT)).astype(np.float32)
    codebook[: TOKENS + 1] = latents
    np.save(folder / "codes.npy", codebook)
    keep_codebook(folder, folder / "codes.npy")
    make_codes(folder)
    return TrainingSet(folder)
