"""Content codes: k-means over the teacher's latents, each token weighted by how long it lasts.

A token's target is soft: the NEAREST codes, with shares softmax(-d^2 / (SHARPNESS tau)), where tau is the mean squared
distance of a frame to its code. A wrong code that lies near sounds nearly right, and the encoder may say so.
Real and synthetic speech share one codebook; of sentences spoken in several timbres one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtvc.models.encoder import CODES

from . import TrainingError
from .dataset import LATENT, Floats, Ints, Item, TrainingSet, write_array

NEAREST = 8
SHARPNESS = 0.5
ROUNDS = 40
LONGEST = 20  # frames of a token that count: silence must not take the codebook over
_BLOCK = 8192
Progress = Callable[[float, str], None]


def k_means(
    points: Tensor, weights: Tensor, codes: int, seed: int, rounds: int = ROUNDS, progress: Progress | None = None
) -> tuple[Tensor, float]:
    """Return codes [codes, width] for points [n, width] of weights [n], and the share of variance they explain.

    A code that no point is nearest to is put on a random point.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn() -> Tensor:
        return points[torch.multinomial(weights, codes, replacement=len(points) < codes, generator=generator)]

    centres = drawn().clone()
    for done in range(rounds):
        _, nearest = _closest(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points * weights[:, None])
        mass = torch.zeros(codes).index_add_(0, nearest, weights)
        dead = mass == 0
        centres = torch.where(dead[:, None], drawn(), sums / mass.clamp_min(1e-6)[:, None])
        if progress:
            progress((done + 1) / rounds, f"codebook, {int(dead.sum())} codes unused")
    mean = (points * weights[:, None]).sum(0) / weights.sum()
    whole = (((points - mean) ** 2).sum(1) * weights).sum()
    left = (_closest(points, centres)[0] * weights).sum()
    return centres, float(1.0 - left / whole.clamp_min(1e-12))


def soft_targets(points: Tensor, centres: Tensor, tau: float) -> tuple[NDArray[np.int16], Floats]:
    """Return for each point its NEAREST codes, nearest first, and their shares."""
    indices, shares = [], []
    for block in torch.split(points, _BLOCK):
        squared, index = (torch.cdist(block, centres) ** 2).topk(min(NEAREST, len(centres)), largest=False)
        indices.append(index)
        shares.append(torch.softmax(-(squared - squared[:, :1]) / (SHARPNESS * max(tau, 1e-9)), dim=1))
    return torch.cat(indices).numpy().astype(np.int16), torch.cat(shares).numpy().astype(np.float32)


def read_codebook(path: Path, codes: int = CODES) -> Floats:
    """Return the codes of an .npy file, float32[codes, LATENT]. Raises TrainingError if it does not hold them."""
    advice = "rtvc train shipped writes the one of the program's weights"
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; {advice}") from None
    except (OSError, ValueError, EOFError) as error:
        raise TrainingError(f"{path}: is no .npy file of numbers ({error}); {advice}") from None
    if found.dtype.kind != "f" or found.shape != (codes, LATENT):
        held = f"{found.dtype}{list(found.shape)}"
        raise TrainingError(f"{path}: holds {held}, a codebook is float32[{codes}, {LATENT}]; {advice}")
    with np.errstate(over="ignore"):
        codebook: Floats = found.astype(np.float32)
    bad = int((~np.isfinite(codebook)).sum())
    if bad:
        raise TrainingError(f"{path}: {bad} of its {codebook.size} numbers are not finite; {advice}")
    return codebook


def keep_codebook(folder: Path, codebook: Path, codes: int = CODES) -> None:
    """Put the codes of an .npy file into the set, which may be empty as yet.

    Raises TrainingError if the file does not hold codes, or the set has others.
    """
    given, path = read_codebook(codebook, codes), folder / "codebook.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_array(path, given)
    elif not np.array_equal(np.load(path), given):
        raise TrainingError(
            f"{codebook}: the set has another codebook already, {path}; leave --codebook out, or make another set"
        )


def make_codes(folder: Path, seed: int = 0, codes: int = CODES, progress: Progress | None = None) -> str:
    """Give every row of the set its codes; make the codebook if there is none. Return what was done, for the user."""
    said = "codebook kept"
    data = TrainingSet(folder)
    items = [item for item in data.items if item.aligned]
    if not items:
        return "no utterance is aligned yet, so none has codes; rtvc train align comes next"
    points = torch.from_numpy(np.array(data.latents))
    weights = frame_weights(items, len(points))
    if not (folder / "codebook.npy").is_file():
        used = frame_weights([item for item in items if _counts(item)], len(points))
        chosen = used > 0
        centres, explained = k_means(points[chosen], used[chosen], codes, seed, progress=progress)
        write_array(folder / "codebook.npy", centres.numpy().reshape(codes, LATENT))
        said = f"codebook made, it explains {explained:.1%}"
    centres = torch.from_numpy(np.load(folder / "codebook.npy"))
    tau = float((_closest(points, centres)[0] * weights).sum() / weights.sum())
    index, share = soft_targets(points, centres, tau)
    write_array(folder / "code_idx.npy", index)
    write_array(folder / "code_p.npy", share)
    return f"{said}; {len(points)} tokens have codes, the nearest with a mean share of {float(share[:, 0].mean()):.2f}"


def frame_weights(items: list[Item], rows: int) -> Tensor:
    """Return how many decoder frames each row stands for, at most LONGEST."""
    weights = np.zeros(rows, np.float32)
    for item in items:
        weights[item.row : item.row + len(item.frames)] = np.minimum(item.frames, LONGEST)
    return torch.from_numpy(weights)


def coded(data: TrainingSet) -> list[Item]:
    """Return the aligned utterances to learn from that have codes; what was interrupted has left some without."""
    rows = len(data.code_idx) if (data.folder / "code_idx.npy").is_file() else 0
    return [item for item in data.train if item.row + len(item.tokens) <= rows]


def token_given_code(data: TrainingSet, codes: int = CODES, smoothing: float = 0.0) -> Floats:
    """Return P(token | code), float32[codes, tokens], counted over the frames of the training part.

    Raises TrainingError if nothing there has codes.
    """
    items = coded(data)
    if not items:
        raise TrainingError(f"{data.folder}: no utterance to learn from has codes; rtvc train align has to come first")
    token_of_row = data.token_of_row()
    counts = np.full((codes, int(token_of_row.max()) + 1), smoothing)
    for item in items:
        rows = np.arange(item.row, item.row + len(item.tokens))
        np.add.at(counts, (data.code_idx[rows, 0].astype(np.int64), token_of_row[rows]), np.asarray(item.frames, float))
    return _shares(counts)


def token_near_code(codebook: Floats, latents: Floats, tokens: Ints, smoothing: float = 0.0) -> Floats:
    """Return P(token | code), float32[codes, tokens], where no sound is aligned: counted over the tokens of texts.

    codebook: float32[codes, LATENT]; latents: the teacher's, float32[n, LATENT], of tokens, int64[n], n > 0. A code
    that is nearest to none of them stands for the token nearest to it.
    """
    centres, points = torch.tensor(codebook), torch.tensor(latents)
    nearest = _closest(points, centres)[1].numpy()
    alone = np.setdiff1d(np.arange(len(codebook)), nearest)
    counts = np.full((len(codebook), int(tokens.max()) + 1), smoothing)
    np.add.at(counts, (nearest, tokens), 1.0)
    np.add.at(counts, (alone, tokens[_closest(centres[alone], points)[1].numpy()]), 1.0)
    return _shares(counts)


def _shares(counts: NDArray[np.float64]) -> Floats:
    return (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _counts(item: Item) -> bool:
    """Whether an item's tokens form the codebook: of a sentence in several timbres only the first does."""
    return not item.exact or item.utt.endswith("/0")


def _closest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return each point's squared distance to its nearest centre, and which that is."""
    found = [torch.cdist(block, centres).min(1) for block in torch.split(points, _BLOCK)]
    return torch.cat([f.values for f in found]) ** 2, torch.cat([f.indices for f in found])
