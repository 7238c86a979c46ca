"""The card and the notice that lie beside shipped weights, made from what was measured and what the set says.

Nothing is typed by hand twice: data with licences, training and differences between PyTorch and ONNX come from
network.json, where the export wrote them, figures from JSON files that the benches write, the revision from git. What
else a reader has to know of these weights stands in network.json as "notes", a list of sentences.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import TrainingError

INTENDED_USE = (
    "Live conversion of one's own voice into one of the built-in voices, which are synthetic and belong to nobody, or "
    "into a voice whose owner has agreed to it: in calls, streams, games and recordings."
)
MISUSE = (
    "It is not meant to deceive anyone about who speaks, nor to imitate a person who has not agreed. The built-in "
    "voices imitate none."
)
LIMITS = (
    "It loses words, and more of them where an accent is strong, the microphone far or the speech quick: what it does "
    "not understand it says wrongly, in a clear voice. Nothing that matters may hang on a word of it.",
    "It was trained on English. Other languages come out with English sounds.",
    "Laughter, singing, whispering and several speakers at once were not among its training; laughter becomes babble, "
    "and music may.",
    "What the decoder is told is no anonymisation: a probe tells speakers apart better than by chance.",
)
PARENTS = (
    (
        "Whisper tiny.en",
        "OpenAI",
        "MIT",
        "the encoder began as its encoder, made causal and trained on; the joint training listened through it",
    ),
    (
        "hibari-tts 0.2.1",
        "its authors",
        "Apache-2.0",
        "the decoder began as its decoder; content codes are its latents",
    ),
    ("Kokoro-82M", "hexgrad", "Apache-2.0", "renditions for the timbres, and the built-in voices' timbre vectors"),
    ("Resemblyzer 0.1.4", "Corentin Jemine", "Apache-2.0", "the speaker encoder's LSTMs are its, unchanged"),
)


def card_text(network: Mapping[str, Any], figures: Sequence[tuple[str, Any]], revision: str) -> str:
    """Return the card in Markdown. network: network.json; figures: title and what a bench wrote (`figures_table`)."""
    sources = network.get("data", {})
    lines = [
        "# The weights of the neural voice",
        "",
        f"As of revision {revision}. Sound in, another voice out; see `models/encoder.py` and `models/generator.py`",
        "for the networks, `models/speaker.py` for the one that knows voices, `rtvc/train` for every step, and",
        "`models/EXPERIMENTS.md` for how each was run for these weights: not always by the command as it is now.",
        "",
        f"**Intended use.** {INTENDED_USE}",
        "",
        f"**Not for.** {MISUSE}",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in LIMITS),
        "",
        "## Data",
        "",
        "| source | licence | hours | speakers | utterances | held out | left out |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, about in sorted(sources.items()):
        left = ", ".join(f"{count} {reason}" for reason, count in about.get("skipped", {}).items()) or "none"
        cells = (
            name,
            about["licence"],
            f"{about['hours']:.2f}",
            about["speakers"],
            about["items"],
            about["held_out"],
            left,
        )
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    lines += ["", "## Where the weights come from", "", "| | by | licence | used for |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(parent)} |" for parent in PARENTS]
    lines += ["", "## Recipe", "", *_recipe(network.get("training", {}))]
    lines += [f"- {note}" for note in network.get("notes", [])]
    lines += ["", "## Files", "", "| file | MB | largest difference from PyTorch |", "|---|---|---|"]
    for name, about in sorted(network.get("exported", {}).items()):
        lines.append(f"| {name} | {about['mb']:.2f} | {about['difference']:.1e} |")
    for title, value in figures:
        lines += ["", f"## {title}", "", *figures_table(value)]
    lines += ["", "## Voices", "", "| voice | home pitch, Hz | timbre of |", "|---|---|---|"]
    for name, voice in network.get("voices", {}).items():
        lines.append(f"| {name} | {voice['home_hz']} | {voice.get('kokoro', '')} |")
    return "\n".join([*lines, ""])


def _recipe(training: Mapping[str, Any]) -> list[str]:
    """Return a line for each network: steps, seed, and the last running means."""
    lines = []
    for name, about in training.items():
        means = ", ".join(f"{key} {value:.3f}" for key, value in about.get("means", {}).items())
        seed = "not noted" if about.get("seed") is None else about["seed"]
        lines.append(f"- {name}: seed {seed}, {about['steps']} steps, {about['hours']:.1f} h; at its end {means}")
    return lines or ["- not noted"]


def figures_table(value: Any) -> list[str]:
    """Return what a bench wrote as Markdown: {"rows": [{...}, ...]} or a mapping of names to numbers."""
    rows = value.get("rows") if isinstance(value, dict) and isinstance(value.get("rows"), list) else None
    if rows is None:
        rows = [{"": key, "value": figure} for key, figure in value.items()] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TrainingError("a file of figures must hold rows, each a mapping of names to values")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |" for row in rows]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def notice_text(network: Mapping[str, Any]) -> str:
    """Return the notice that goes with the weights: whose work they stand on."""
    lines = ["The weights of rtvc's neural voice", "", "They were trained from, or on what was made by:", ""]
    lines += [f"- {name}, {by}, {licence}: {use}." for name, by, licence, use in PARENTS]
    lines += ["", "They were trained on recordings from:", ""]
    lines += [f"- {name}: {about['licence']}" for name, about in sorted(network.get("data", {}).items())]
    return "\n".join([*lines, ""])


def git_revision(folder: Path) -> str:
    """Return the revision of the tree that folder lies in, with a mark if it was changed since."""
    asked = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def read_figures(path: Path) -> Any:
    """Return a file of figures. Raises TrainingError if it is no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error


def write_card(weights: Path, figures: Sequence[Path] = ()) -> list[Path]:
    """Write CARD.md and NOTICE into the folder of the weights; return both paths."""
    network = read_figures(weights / "network.json")
    named = [(path.stem.replace("_", " ").capitalize(), read_figures(path)) for path in figures]
    written = [weights / "CARD.md", weights / "NOTICE"]
    written[0].write_text(card_text(network, named, git_revision(weights)), "utf-8")
    written[1].write_text(notice_text(network), "utf-8")
    return written
