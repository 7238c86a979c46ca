"""Fixtures: private audio servers for the tests that need real ones (Linux; elsewhere those tests are skipped)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import rig

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

_SERVERS = ("pulseaudio", "pipewire", "sound_server", "jackd")  # fixtures: a file that names one has real sound


@pytest.hookimpl(optionalhook=True)  # xdist's; there is none without it
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where tests run beside each other (pytest -n N), keep those of one file together: they share what they set up.

    All that have real sound are one group: two sound servers at once, each with an engine, want more cores than there
    are and tear each other's sound; and every JACK program of a user shares one database in /dev/shm, where one that is
    killed while it opens it leaves the others waiting for ever.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "sound" if _has_sound(path) else path

    return ByFile(config, log)


@cache
def _has_sound(path: str) -> bool:
    text = (Path(__file__).parents[1] / path).read_text("utf-8")
    return any(server in text for server in _SERVERS)


def _linux_only() -> None:
    if sys.platform != "linux":
        pytest.skip("these audio servers exist on Linux only")


@pytest.fixture
def pulseaudio() -> Iterator[rig.Server]:
    """Return a private PulseAudio with sinks hwmic and speakers."""
    _linux_only()
    with rig.pulseaudio() as server:
        yield server


@pytest.fixture
def pipewire() -> Iterator[rig.Server]:
    """Return a private PipeWire with sinks hwmic and speakers."""
    _linux_only()
    with rig.pipewire() as server:
        yield server


@pytest.fixture(params=["pulseaudio", "pipewire"])
def sound_server(request: pytest.FixtureRequest) -> rig.Server:
    """Return each of PulseAudio and PipeWire in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, rig.Server)
    return server


@pytest.fixture
def jackd() -> Iterator[rig.Server]:
    """Return a private jackd, 256 frames a period."""
    _linux_only()
    with rig.jackd() as server:
        yield server


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Callable[[rig.Server], None]:
    """Return a function that gives this process a server's environment until the test ends."""

    def enter(server: rig.Server) -> None:
        for name in os.environ.keys() - server.env.keys():
            monkeypatch.delenv(name)
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)

    return enter
