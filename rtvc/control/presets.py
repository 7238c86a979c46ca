"""The presets as clients see them: read again when a file in the user's folder changes, so no restart is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtvc.config import ConfigError, presets_folder
from rtvc.engine.own_voice import asks_for_own
from rtvc.engine.params import INDEX, from_vector
from rtvc.voices.presets import Preset, delete_preset, load_presets, save_preset

from .sound import MUTE, Vector
from .wire import RequestError, Status


class PresetShelf:
    """All presets by name."""

    def __init__(self, folder: Path | None = None) -> None:
        """Folder is the user's presets', the settings' own by default."""
        self.folder = presets_folder() if folder is None else folder
        self._signature: object = None
        self._presets: dict[str, Preset] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the presets again if a file changed; return whether one did."""
        signature = self._look()
        if signature == self._signature:
            return False
        self._signature = signature
        self._presets, _ = load_presets(self.folder)
        return True

    def _look(self) -> list[tuple[str, int, int]]:
        found = []
        for path in sorted(self.folder.glob("*.toml")):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((path.name, stat.st_mtime_ns, stat.st_size))
        return found

    def names(self) -> list[str]:
        """Return the names in their order."""
        return list(self._presets)

    def get(self, name: str) -> Preset:
        """Return one preset. Raises RequestError if there is none of that name."""
        self.refresh()
        if name not in self._presets:
            there = ", ".join(self._presets)
            raise RequestError(
                Status.RESOURCE_NOT_FOUND, f"name = {name!r}: there is no such preset; there are {there}"
            )
        return self._presets[name]

    def sounding(self, vector: Vector, own: frozenset[str] = frozenset()) -> str | None:
        """Return the preset that vector (float64[len(PARAMS)]) sounds like, None if none; mute does not count.

        own holds id and name of the user's own voice that speaks in it.
        """
        return next((name for name in self._presets if not self.differs(name, vector, own)), None)

    def differs(self, name: str, vector: Vector, own: frozenset[str] = frozenset()) -> bool:
        """Return whether a sound (as `sounding` has it) is unlike a preset, or that is gone."""
        if name not in self._presets:
            return True
        if asks_for_own(vector) and self._presets[name].own not in own:
            return True
        preset, sound = self._presets[name].vector(), vector.copy()
        preset[INDEX[MUTE]] = sound[INDEX[MUTE]] = 0.0
        return not np.array_equal(preset, sound)

    def entries(self) -> list[dict[str, Any]]:
        """Return all presets as data; values are the whole sound."""
        return [
            {
                "name": preset.name,
                "label": preset.label,
                "own": preset.path is not None,
                "doc": preset.doc,
                "values": {param.id: value for param, value in from_vector(preset.vector())},
            }
            for preset in self._presets.values()
        ]

    def save(self, name: str, vector: Vector, label: str, doc: str, overwrite: bool, own: str) -> None:
        """Save vector (float64[len(PARAMS)]) as the user's preset; own is as in `save_preset`. Raises RequestError."""
        there = self._presets[name].path if name in self._presets else None
        if there and not overwrite:
            what = f"name = {name!r}: this preset exists; send overwrite = true to replace it"
            raise RequestError(Status.RESOURCE_ALREADY_EXISTS, what)
        try:
            save_preset(name, vector, label, doc, folder=self.folder, overwrite=overwrite, own=own)
        except ConfigError as error:
            raise RequestError(Status.INVALID_REQUEST_FIELD, str(error)) from None
        self.refresh()

    def delete(self, name: str) -> None:
        """Delete one of the user's presets. Raises RequestError."""
        try:
            delete_preset(name, self.folder)
        except ConfigError as error:
            raise RequestError(Status.RESOURCE_NOT_FOUND, str(error)) from None
        self.refresh()
