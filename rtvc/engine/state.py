"""The engine's whole state as plain data: taken from a running engine, put into a fresh one, which then goes on
bit for bit as the first would have.

The objects of the engine are walked: every array (each piece of memory once, by the array that owns it) and every
value (a number, a text, or what holds only such), named by the attributes that lead there. Arrays that are as in an
engine that has just been made are left out: the fresh engine has them already. What is not ours, such as a session
of onnxruntime, holds no sound and is not walked; nor is what an object names in `unrecorded`, nor arrays that nobody
can write. Taking a state makes small Python objects, so the engine does it
between blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Engine

Arrays = dict[str, NDArray[Any]]
Place = tuple[Any, Any]  # owner, and the name of an attribute or a key

_BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


class StateError(Exception):
    """A state does not fit the engine that it is put into; the text says where."""


class FreshState:
    """The state of an engine that has just been made, against which its later states are told."""

    def __init__(self, engine: Engine) -> None:
        """Copy what engine is now; nothing may have sounded yet."""
        self._engine = engine
        self.arrays = {path: array.copy() for path, array in _Walk(engine).arrays.items()}

    def take(self, made_as: Mapping[str, Any]) -> tuple[bytes, list[NDArray[Any]]]:
        """Return the engine's state now: a table as JSON, and the arrays it lists, not copied.

        made_as says how to make such an engine; it goes into the table as it is.
        """
        walk = _Walk(self._engine)
        kept = {path: array for path, array in walk.arrays.items() if not _same(array, self.arrays.get(path))}
        table = {
            "made_as": made_as,
            "sample": self._engine.sample,
            "values": {path: _plain(_read(*place)) for path, place in walk.places.items()},
            "arrays": [[path, array.dtype.str, list(array.shape)] for path, array in kept.items()],
        }
        return json.dumps(table).encode(), list(kept.values())


def restore(engine: Engine, table: Mapping[str, Any], data: bytes) -> None:
    """Put a state into an engine made as table["made_as"] says, with which nothing has sounded yet.

    data holds the arrays one after the other. Raises StateError if they do not fit.
    """
    fresh = FreshState(engine).arrays
    kept = _unpacked(table, data)
    values = {path: _from_plain(value) for path, value in table["values"].items()}
    walk = _Walk(engine)
    for voice in walk.voices:
        voice.tick(kept.get("_values", fresh["_values"]))  # makes what exists only once a voice was chosen
    walk = _Walk(engine)
    for path in [path for path, value in values.items() if value is None and path in walk.objects]:
        _write(*walk.objects[path], None)  # which was not so there
    walk = _Walk(engine)
    if missing := sorted(kept.keys() - walk.arrays.keys()) + sorted(values.keys() ^ walk.places.keys()):
        raise StateError(f"{missing[0]}: only one of the recorded engine and this one has it")
    for path, array in walk.arrays.items():
        source = kept.get(path, fresh.get(path))
        if source is None or source.shape != array.shape or source.dtype != array.dtype:
            raise StateError(f"{path}: this engine has {array.dtype}{list(array.shape)}, the recorded one has not")
        if not _same(array, source):
            array[...] = source
    for path, place in walk.places.items():
        now = _read(*place)
        if type(now) is not type(values[path]) or now != values[path]:
            _write(*place, values[path])


def _unpacked(table: Mapping[str, Any], data: bytes) -> Arrays:
    """Return the arrays of a state by path."""
    arrays: Arrays = {}
    start = 0
    for path, dtype, shape in table["arrays"]:
        if np.dtype(dtype).hasobject:
            raise StateError(f"{path}: is of type {dtype}, which no engine has")
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size < 0 or start + size > len(data):
            raise StateError(f"{path}: ends at byte {start + size} of {len(data)}")
        arrays[path] = np.frombuffer(data[start : start + size], np.dtype(dtype)).reshape(shape)
        start += size
    return arrays


class _Walk:
    """What the engine consists of, by path: arrays, and owner and name of values and of objects of ours."""

    def __init__(self, engine: Engine) -> None:
        self.arrays: Arrays = {}
        self.places: dict[str, Place] = {}
        self.objects: dict[str, Place] = {}
        self.voices: list[Any] = []
        self._seen: set[int] = set()
        self._visit_all(engine, "", vars(engine).items())

    def _visit_all(self, owner: Any, prefix: str, members: Iterable[tuple[Any, Any]]) -> None:
        for name, value in members:
            path = f"{prefix}.{name}" if prefix else str(name)
            if isinstance(value, np.ndarray):
                self._add(path, value)
            elif _is_value(value):
                if not isinstance(owner, tuple):
                    self.places[path] = owner, name
            elif isinstance(value, list | tuple):
                self._visit_once(value, path, enumerate(value))
            elif isinstance(value, dict):
                self._visit_once(value, path, value.items())
            elif type(value).__module__.startswith("rtvc.") and hasattr(value, "__dict__"):
                self.objects[path] = owner, name
                self._visit_once(value, path, self._recorded(value))

    def _visit_once(self, value: Any, path: str, members: Iterable[tuple[Any, Any]]) -> None:
        if id(value) not in self._seen:
            self._seen.add(id(value))
            self.voices += [value] if hasattr(value, "tick") else []
            self._visit_all(value, path, members)

    def _recorded(self, value: Any) -> list[tuple[str, Any]]:
        """Return an object's members but those that it names in `unrecorded`; their memory counts as seen."""
        hidden = getattr(value, "unrecorded", ())
        members = vars(value)
        self._seen |= {id(_owner(members[name])) for name in hidden if isinstance(members[name], np.ndarray)}
        return [(name, member) for name, member in members.items() if name not in hidden]

    def _add(self, path: str, array: NDArray[Any]) -> None:
        array = _owner(array)
        if id(array) not in self._seen and array.flags.writeable:
            self._seen.add(id(array))
            self.arrays[path] = array


def _owner(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array that owns an array's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _is_value(value: Any) -> bool:
    """Return whether value is a number or text, or holds nothing else."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | set | tuple):
        return all(map(_is_plain, value))
    return _is_plain(value) or isinstance(value, np.generic)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _same(a: NDArray[Any], b: NDArray[Any] | None) -> bool:
    """Return whether both have the same bits."""
    return b is not None and a.shape == b.shape and bool((_bits(a) == _bits(b)).all())


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(_BITS[array.itemsize]) if array.dtype.kind == "f" else array


def _read(owner: Any, name: Any) -> Any:
    return owner[name] if isinstance(owner, list | dict) else getattr(owner, name)


def _write(owner: Any, name: Any, value: Any) -> None:
    if isinstance(owner, list | dict):
        owner[name] = value
    else:
        try:
            setattr(owner, name, value)
        except AttributeError as error:
            raise StateError(f"{name}: is {_read(owner, name)!r} here and was {value!r}") from error


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, with its exact type."""
    if isinstance(value, np.generic):
        return {"numpy": value.dtype.str, "value": value.item()}
    if isinstance(value, dict):
        return {"dict": list(value.items())}
    return {type(value).__name__: list(value)} if isinstance(value, list | set | tuple) else value


def _from_plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "numpy" in value:
        return np.dtype(value["numpy"]).type(value["value"])
    ((kind, items),) = value.items()
    return {"dict": dict, "list": list, "set": set, "tuple": tuple}[kind](items)
