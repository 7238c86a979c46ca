"""Reads the encoder of a Whisper model stored in CTranslate2's `model.bin`, as NumPy arrays.

The file is little-endian: u32 version, string name, u32 revision, u32 count, then for each variable: string name,
u8 rank, u32 dims[rank], u8 dtype, u32 bytes, data. A string is u16 length (terminating zero counted) and its bytes.
Source: CTranslate2 (MIT), `python/ctranslate2/specs/model_spec.py`, layout of binary version 6.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_encoder(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the encoder's variables (float32) under the names of OpenAI's state dict, without the `encoder.` prefix.

    Raises ValueError if the file is not such a model or is cut short.
    """
    raw = _variables(path)
    found: dict[str, NDArray[np.float32]] = {
        "conv1.weight": raw["encoder/conv1/weight"],
        "conv1.bias": raw["encoder/conv1/bias"],
        "conv2.weight": raw["encoder/conv2/weight"],
        "conv2.bias": raw["encoder/conv2/bias"],
        "ln_post.weight": raw["encoder/layer_norm/gamma"],
        "ln_post.bias": raw["encoder/layer_norm/beta"],
    }
    layers = 1 + max(
        int(name.split("/")[1][6:]) for name in raw if name.startswith("encoder/layer_") and name[14].isdigit()
    )
    for layer in range(layers):
        theirs, ours = f"encoder/layer_{layer}", f"blocks.{layer}"
        attention = f"{theirs}/self_attention"
        qkv = raw[f"{attention}/linear_0/weight"]  # query, key and value stacked
        width = qkv.shape[1]
        bias = raw[f"{attention}/linear_0/bias"]
        for k, name in enumerate(("query", "key", "value")):
            found[f"{ours}.attn.{name}.weight"] = qkv[k * width : (k + 1) * width]
            found[f"{ours}.attn.{name}.bias"] = bias[k * width : (k + 1) * width]
        for theirs_name, ours_name in (
            ("self_attention/linear_1", "attn.out"),
            ("ffn/linear_0", "mlp.0"),
            ("ffn/linear_1", "mlp.2"),
        ):
            for part in ("weight", "bias"):
                found[f"{ours}.{ours_name}.{part}"] = raw[f"{theirs}/{theirs_name}/{part}"]
        for theirs_name, ours_name in (("self_attention/layer_norm", "attn_ln"), ("ffn/layer_norm", "mlp_ln")):
            found[f"{ours}.{ours_name}.weight"] = raw[f"{theirs}/{theirs_name}/gamma"]
            found[f"{ours}.{ours_name}.bias"] = raw[f"{theirs}/{theirs_name}/beta"]
    return found


def _variables(path: Path) -> dict[str, NDArray[np.float32]]:
    data = path.read_bytes()
    at = 0

    def take(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return int(value)

    def text() -> str:
        nonlocal at
        n = take("<H")
        at += n
        return data[at - n : at].rstrip(b"\0").decode()

    try:
        version = take("<I")
        if version != 6:
            raise ValueError(f"{path}: binary version is {version}, this reader knows 6")
        text(), take("<I")
        found = {}
        for _ in range(take("<I")):
            name, rank = text(), take("<B")
            shape = tuple(take("<I") for _ in range(rank))
            dtype, size = _DTYPES[take("<B")], take("<I")
            if name.startswith("encoder/"):
                found[name] = (
                    np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, at).reshape(shape).astype(np.float32)
                )
            at += size
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CTranslate2 model, or cut short: {error}") from error
    if "encoder/conv1/weight" not in found:
        raise ValueError(f"{path} has no Whisper encoder")
    return found
