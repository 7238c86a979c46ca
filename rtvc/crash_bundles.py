"""What a crash leaves: a flight bundle in the user's state folder, written while the next engine already speaks.

Without sound unless the settings ask for it (flight.crash_sound): timings, parameters, counters and the reason. The
newest KEPT stay. An engine that dies again within EVERY_S writes no further one.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import platformdirs

from rtvc.config import ConfigError
from rtvc.engine.live import LiveSession
from rtvc.flight_bundle import default_name, write_bundle

KEPT = 10
EVERY_S = 10.0


def crash_folder() -> Path:
    """Return where the bundles are; it need not exist."""
    return Path(platformdirs.user_state_path("rtvc", appauthor=False)) / "crashes"


class CrashBundles:
    """Writes a bundle each time a session's engine failed."""

    def __init__(self, session: LiveSession, sound: bool, folder: Path | None = None) -> None:
        """With sound the bundles hold what was heard and said. folder is the user's own by default."""
        self._session, self._sound = session, sound
        self._folder = folder or crash_folder()
        self._next_s = 0.0

    def engine_failed(self, reason: str) -> None:
        """Write a bundle, in a thread of its own."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            threading.Thread(target=self._write, args=(reason,), name="crash-bundle", daemon=True).start()

    def _write(self, reason: str) -> None:
        flight = self._session.read_flight()
        if flight is None:
            return
        path = self._folder / default_name("crash")
        try:
            write_bundle(path, flight, reason, asdict(self._session.status()), self._sound)
            for old in sorted(self._folder.glob("rtvc-crash-*.zip"))[:-KEPT]:
                old.unlink(missing_ok=True)
        except (ConfigError, OSError) as error:
            print(f"rtvc: {reason}; what led to it was not saved: {error}", file=sys.stderr)
            return
        what = "with sound" if self._sound else "without sound"
        print(f"rtvc: {reason}; the minute before it was saved, {what}: {path}", file=sys.stderr)
