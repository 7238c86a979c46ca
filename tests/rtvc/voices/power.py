"""A disk whose power can be cut at any of its steps.

It follows what POSIX promises and no more: written bytes are safe after fsync of their file, names after fsync of their
folder. After a cut the folder becomes what a disk may hold: all that was done, only what is safe, or the new names with
half of what was not flushed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

AFTER_A_CUT = ("all of it", "only what is safe", "names without their bytes")


class PowerCut(BaseException):
    """The machine is off."""


class Disk:
    """Stands in for the module os; counts the steps that change one folder and goes off at one of them."""

    def __init__(self, folder: Path, off_at: int | None) -> None:
        self.folder = folder
        self.steps = 0
        self._off_at = off_at
        self._off = False
        self._files: dict[int, str] = {}  # open handle -> identity of its file; "" is the folder
        self._now = {path.name: path.name for path in folder.iterdir()}  # name -> identity
        self._safe_names = dict(self._now)
        self._safe_bytes = {path.name: path.read_bytes() for path in folder.iterdir()}
        self._last_bytes: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _step(self) -> None:
        if self._off or self.steps == self._off_at:
            self._off = True
            raise PowerCut
        self.steps += 1

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if path == self.folder:
            handle = os.open(path, flags)
            self._files[handle] = ""
            return handle
        if path.parent != self.folder:
            return os.open(path, flags, mode)
        if path.name not in self._now:
            self._step()
            self._now[path.name] = f"new {self.steps}"
        handle = os.open(path, flags, mode)
        self._files[handle] = self._now[path.name]
        return handle

    def close(self, handle: int) -> None:
        self._files.pop(handle, None)
        os.close(handle)

    def write(self, handle: int, data: Any) -> int:
        if handle not in self._files:
            return os.write(handle, data)
        half = bytes(data)[: (len(data) + 1) // 2]
        if not self._off and self.steps == self._off_at:
            os.write(handle, half)
        self._step()
        return os.write(handle, half)

    def ftruncate(self, handle: int, size: int) -> None:
        if handle in self._files:
            self._step()
        os.ftruncate(handle, size)

    def fsync(self, handle: int) -> None:
        if handle not in self._files:
            return
        self._step()
        if self._files[handle] == "":
            self._safe_names = dict(self._now)
        else:
            name = next(name for name, file in self._now.items() if file == self._files[handle])
            self._safe_bytes[self._files[handle]] = (self.folder / name).read_bytes()

    def replace(self, old: Path, new: Path) -> None:
        if new.parent != self.folder:
            return os.replace(old, new)
        self._step()
        os.replace(old, new)
        self._now[new.name] = self._now.pop(old.name)

    def unlink(self, path: Path) -> None:
        if path.parent != self.folder:
            return os.unlink(path)
        self._step()
        os.unlink(path)
        del self._now[path.name]

    def restart(self, after: str) -> None:
        """Leave in the folder what is there after the cut."""
        bytes_now = {file: (self.folder / name).read_bytes() for name, file in self._now.items()}
        if after == "all of it":
            return
        names = self._safe_names if after == "only what is safe" else self._now
        for path in self.folder.iterdir():
            path.unlink()
        for name, file in names.items():
            unsafe = bytes_now.get(file, b"")
            torn = unsafe[: len(unsafe) // 2] if after == "names without their bytes" else b""
            (self.folder / name).write_bytes(self._safe_bytes.get(file, torn))


def every_cut(
    folder: Path, install: Callable[[Disk], None], deed: Callable[[], object], check: Callable[[str], None]
) -> int:
    """Do deed on copies of folder with the power cut at every step, and check each outcome; return the steps."""
    kept = folder.with_name(folder.name + "-kept")
    shutil.copytree(folder, kept)
    whole = Disk(folder, None)
    install(whole)
    deed()
    for off_at in range(whole.steps):
        for after in AFTER_A_CUT:
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            disk = Disk(folder, off_at)
            install(disk)
            try:
                deed()
            except PowerCut:
                pass
            else:
                raise AssertionError(f"step {off_at} was never reached")
            disk.restart(after)
            install(Disk(folder, None))
            check(f"step {off_at}, {after}")
    return whole.steps
