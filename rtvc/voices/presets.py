"""Presets: named values for parameters of the registry; what a preset does not name keeps its default.

The built-in ones come with the program (presets.toml); the user's are files NAME.toml in the settings folder, one
preset each, in the same form. A user's preset wins over a built-in one of the same name.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtvc.config import ConfigError, presets_folder, read_toml, toml_value, write_text_atomically
from rtvc.engine.params import Value, from_vector, to_vector

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_PORTS = (f"{port}{i}" for port in ("com", "lpt") for i in range(10))
_DEVICE_NAMES = frozenset(("con", "prn", "aux", "nul", *_PORTS))  # no file may bear these names on Windows


@dataclass(frozen=True)
class Preset:
    """One preset. path is None for a built-in one; own is the id or the name of the voice that "mine" means in it."""

    name: str
    label: str
    doc: str
    values: Mapping[str, Value]
    path: Path | None = None
    own: str = ""

    def vector(self) -> NDArray[np.float64]:
        """Return the full state of the sound: float64[len(PARAMS)]."""
        return to_vector(self.values)


def check_name(name: str) -> str:
    """Return name if it can be a preset's. Raises ConfigError saying what a name may hold."""
    if not _NAME.fullmatch(name) or name in _DEVICE_NAMES:
        allowed = "a-z, 0-9, - and _, up to 40 characters, beginning with a letter or digit"
        raise ConfigError(f"{name!r} cannot name a preset; use {allowed}")
    return name


def built_in_presets() -> dict[str, Preset]:
    """Return the presets that come with the program, in their order."""
    text = resources.files("rtvc.voices").joinpath("presets.toml").read_text("utf-8")
    return {name: _preset(name, table, None) for name, table in tomllib.loads(text).items()}


def load_presets(folder: Path | None = None) -> tuple[dict[str, Preset], list[str]]:
    """Return all presets by name, built-in ones first, and one message for each user file that cannot be used."""
    folder = presets_folder() if folder is None else folder
    presets = built_in_presets()
    faults = []
    for path in sorted(folder.glob("*.toml")):
        try:
            presets[path.stem] = _read_preset(path)
        except ConfigError as error:
            faults.append(str(error))
    return presets, faults


def find_preset(name: str, folder: Path | None = None) -> Preset:
    """Return the preset of that name.

    Raises ConfigError naming the fault of its file, or the nearest names that exist.
    """
    folder = presets_folder() if folder is None else folder
    path = folder / f"{check_name(name)}.toml"
    if path.exists():
        return _read_preset(path)
    presets, _ = load_presets(folder)
    if name not in presets:
        near = difflib.get_close_matches(name, presets, 3) or list(presets)
        raise ConfigError(f"there is no preset {name!r}; did you mean {', '.join(near)}?")
    return presets[name]


def save_preset(
    name: str,
    vector: NDArray[np.float64],
    label: str = "",
    doc: str = "",
    folder: Path | None = None,
    overwrite: bool = False,
    own: str = "",
) -> Path:
    """Save vector (float64[len(PARAMS)]) as the user's preset `name`; return its file.

    Only values that differ from their defaults are written. A sound that has one of the user's own voices is saved with
    that voice's id (own): never with the voice, nor with its name, which stands nowhere in clear. Raises ConfigError
    for a bad name, a name of a built-in preset, or one that exists without overwrite.
    """
    folder = presets_folder() if folder is None else folder
    path = folder / f"{check_name(name)}.toml"
    if name in built_in_presets():
        raise ConfigError(f"preset {name!r} comes with the program; choose another name")
    if path.exists() and not overwrite:
        raise ConfigError(f"preset {name!r} exists ({path}); use --force to replace it, or another name")
    chosen = {param.id: value for param, value in from_vector(vector) if param.to_number(value) != param.default}
    lines = [f"label = {toml_value(label or name)}", f"doc = {toml_value(doc)}"]
    lines += [f"own = {toml_value(own)}"] if own else []
    lines += ["[values]"]
    lines += [f"{toml_value(param_id)} = {toml_value(value)}" for param_id, value in chosen.items()]
    write_text_atomically(path, "\n".join(lines) + "\n")
    return path


def delete_preset(name: str, folder: Path | None = None) -> Path:
    """Delete the user's preset `name`; return the file that went. Raises ConfigError if there is none."""
    folder = presets_folder() if folder is None else folder
    path = folder / f"{check_name(name)}.toml"
    if not path.exists():
        built_in = name in built_in_presets()
        why = "comes with the program and stays" if built_in else f"does not exist in {folder}"
        raise ConfigError(f"preset {name!r} {why}")
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be deleted: {error.strerror}") from None
    return path


def _read_preset(path: Path) -> Preset:
    try:
        return _preset(check_name(path.stem), read_toml(path), path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _preset(name: str, table: Mapping[str, Any], path: Path | None) -> Preset:
    """Return the preset a TOML table describes. Raises ValueError."""
    values = table.get("values", {})
    label, doc, own = table.get("label", name), table.get("doc", ""), table.get("own", "")
    if not isinstance(values, dict) or not all(isinstance(text, str) for text in (label, doc, own)):
        raise ValueError("a preset has label, doc and own (texts) and a table [values]")
    try:
        to_vector(values)
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    return Preset(name, label, doc, values, path, own)
