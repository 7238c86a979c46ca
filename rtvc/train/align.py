"""Which token each frame of a recording belongs to: Viterbi over what a trained encoder hears, along a known text.

The encoder's code posteriors become token posteriors through P(token | code), counted in the set: over the frames that
are labelled, or, while none is, over the latents that the teacher gives the tokens of the set's texts. A token lasts at
least MIN_FRAMES (25 ms, as in the TTS), the path passes every token once, in order. The mean log-posterior a frame
along it tells whether text and sound belong together: below ACCEPT the utterance stays out of training.

Source: Rabiner, "A Tutorial on Hidden Markov Models" (1989), section III.B.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from rtvc.models.encoder import CODES, WAIT_MS, ContentEncoder

from . import TrainingError
from .codebook import coded, token_given_code, token_near_code
from .corpora import read_tsv
from .dataset import FRAME_FRAMES, RATE_HZ, Floats, Item, SetWriter, TrainingSet
from .mel import log_mel, normalise
from .teacher import Phones, Teacher

MIN_FRAMES = 2
FLOOR = -12.0  # of a log-posterior: no frame may forbid a token
ACCEPT = -1.5
POINT = "clear"
SMOOTHING = 1e-3  # frames of every token that count as heard under every code
TEXTS = 1000  # are enough to know what codes stand for
_NEVER = -1e30


@njit(cache=True, nogil=True)
def viterbi(log_posteriors: NDArray[np.float32], min_frames: int, frames: NDArray[np.int64]) -> float:
    """Fill frames (int64[tokens]) with how long each token lasts; return the path's mean score a frame.

    log_posteriors: float32[t, tokens], column k that of the k-th token of the text, t >= tokens * min_frames.
    """
    steps, tokens = log_posteriors.shape
    states = tokens * min_frames
    score = np.full(states, _NEVER)
    before = np.empty(states)
    moved = np.zeros((steps, states), np.bool_)
    score[0] = log_posteriors[0, 0]
    for t in range(1, steps):
        before[:] = score
        for s in range(states):
            stay = before[s] if s % min_frames == min_frames - 1 else _NEVER
            step = before[s - 1] if s > 0 else _NEVER
            moved[t, s] = step > stay
            score[s] = max(stay, step) + log_posteriors[t, s // min_frames]
    frames[:] = 0
    s = states - 1
    for t in range(steps - 1, -1, -1):
        frames[s // min_frames] += 1
        if moved[t, s]:
            s -= 1
    return score[states - 1] / steps


def align(log_posteriors: Floats, tokens: list[int]) -> tuple[list[int], float]:
    """Return frames of each token, which sum to the frames there are, and the mean score a frame.

    log_posteriors: float32[frames, symbols]; tokens with pads. Raises ValueError if there are too few frames.
    """
    if len(log_posteriors) < MIN_FRAMES * len(tokens):
        raise ValueError(f"{len(log_posteriors)} frames are too few for {len(tokens)} tokens")
    frames = np.zeros(len(tokens), np.int64)
    along = np.maximum(log_posteriors[:, tokens], FLOOR).astype(np.float32)
    score = float(viterbi(along, MIN_FRAMES, frames))
    return [int(f) for f in frames], score


class Listener:
    """A trained encoder as a source of token posteriors."""

    def __init__(self, content: ContentEncoder, tokens_of_codes: Floats) -> None:
        """tokens_of_codes: P(token | code), float32[CODES, tokens]."""
        self._content = content.eval()
        self._tokens = torch.from_numpy(tokens_of_codes)

    def log_posteriors(self, x: Floats) -> Floats:
        """Return float32[len(x) // FRAME_FRAMES, tokens] for 16 kHz sound."""
        wait = round(WAIT_MS[POINT] * RATE_HZ / 1000.0)
        rows = normalise(log_mel(np.pad(x, (0, wait + 2 * FRAME_FRAMES))))
        with torch.no_grad():
            said = self._content(torch.from_numpy(rows[: len(rows) // 2 * 2])[None])[POINT]
            heard = torch.softmax(said[0, :, :CODES], dim=-1) @ self._tokens
        out: Floats = torch.log(heard.clamp_min(1e-30)).numpy()
        return out[: len(x) // FRAME_FRAMES]


def align_set(
    folder: Path,
    content: ContentEncoder,
    again: bool = False,
    accept: float = ACCEPT,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, int]:
    """Align every utterance of the set that has a text and is not aligned yet (again: those that are, too).

    Exact labels stay. Return how many were aligned, and how many were not, by reason. What is found is saved now and
    then, so an interrupted run goes on where it was.

    Raises TrainingError if the set does not tell what codes stand for.
    """
    data = TrainingSet(folder)
    phones, teacher = Phones(), Teacher()
    listener = Listener(content, tokens_of_codes(data, phones, teacher))
    counts: dict[str, int] = {}
    with SetWriter(folder) as writer:
        for place, item in enumerate(writer.items):
            if item.exact or not item.text or (item.aligned and not again):
                continue
            reason, found = _aligned(data.sound(item), item, listener, phones)
            if found and found.score < accept:
                reason, found = "score too low", None
            if found:
                same = item.aligned and list(item.tokens) == list(found.tokens)
                row = item.row if same else writer.add_latents(teacher.latents(list(found.tokens)))
                found = dataclasses.replace(found, row=row)
            elif item.aligned:  # it was, but is no longer believed
                found = dataclasses.replace(item, row=-1, tokens=(), frames=())
            writer.items[place] = found or item
            counts[reason] = counts.get(reason, 0) + 1
            if sum(counts.values()) % 200 == 0:
                writer.save()
            if progress:
                progress((place + 1) / len(writer.items), f"{counts.get('aligned', 0)} aligned")
    return counts


def tokens_of_codes(data: TrainingSet, phones: Phones, teacher: Teacher) -> Floats:
    """Return P(token | code), float32[CODES, tokens], from what the set holds.

    Raises TrainingError if nothing is labelled and there is no text, or no codebook, to go by.
    """
    if coded(data):
        return token_given_code(data, smoothing=SMOOTHING)
    texts = [item.text for item in data.items if item.text][:TEXTS]
    nothing = f"{data.folder}: nothing is aligned there yet"
    if not texts:
        raise TrainingError(f"{nothing} and nothing has a text; make a set anew with rtvc train data --transcribe")
    if not (data.folder / "codebook.npy").is_file():
        advice = "rtvc train data --codebook brings the encoder's; or add renditions or aligned speech"
        raise TrainingError(f"{nothing} and there is no codebook; {advice}")
    spoken = [phones.tokens(phones.of_text(text)) for text in texts]
    latents = np.concatenate([teacher.latents(tokens) for tokens in spoken])
    return token_near_code(np.array(data.codebook), latents, np.concatenate(spoken), SMOOTHING)


def _aligned(x: Floats, item: Item, listener: Listener, phones: Phones) -> tuple[str, Item | None]:
    tokens = phones.tokens(phones.of_text(item.text))
    if len(tokens) < 3:
        return "text without phones", None
    posteriors = listener.log_posteriors(x)
    if max(tokens) >= posteriors.shape[1]:
        return "phones that the set has never seen", None
    if len(posteriors) < MIN_FRAMES * len(tokens):
        return "too short for its text", None
    frames, score = align(posteriors, tokens)
    return "aligned", dataclasses.replace(item, tokens=tokens, frames=frames, score=score)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """One row of an alignment file."""

    score: float
    phones: str
    frames: list[int]
    text: str


def read_alignments(path: Path) -> dict[str, Alignment]:
    """Return the rows of an alignment file by utterance. Raises TrainingError if it is not one."""
    found = {}
    for row in read_tsv(path, "utt", "score", "phones", "frames", "text"):
        try:
            frames = [int(f) for f in row["frames"].split()]
        except ValueError as error:
            raise TrainingError(f"{row.place}: frames are not whole numbers: {error}") from None
        found[row["utt"]] = Alignment(row.number("score"), row["phones"], frames, row["text"])
    return found


def write_alignments(path: Path, items: list[Item], vocabulary: dict[str, int]) -> int:
    """Write the aligned utterances among items, tab-separated; return how many."""
    letters = {token: letter for letter, token in vocabulary.items()}
    chosen = [item for item in items if item.aligned and not item.exact]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerow(("utt", "score", "phones", "frames", "text"))
        for item in chosen:
            phones = "".join(letters[token] for token in item.tokens[1:-1])
            frames = " ".join(str(f) for f in item.frames)
            writer.writerow((item.utt, f"{item.score:.3f}", phones, frames, " ".join(item.text.split())))
    return len(chosen)
