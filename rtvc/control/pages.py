"""What the control port serves over HTTP: the panel, /healthz, /metrics, /schema.json and /asyncapi.json.

Only GET, only the files that are there, nothing kept by the browser between versions. The content policy lets the
panel load its own files and talk to this server, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .desk import Desk
from .documents import asyncapi, schema
from .metrics import prometheus

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "manifest-src 'self'; connect-src 'self' {socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_NO_PANEL = b"rtvc control: this installation has no panel; the WebSocket is at /ws\n"


def safe_headers(socket: str) -> dict[str, str]:
    """Return the headers of every answer; socket is the WebSocket origin that the panel talks to."""
    return {"Content-Security-Policy": _POLICY.format(socket=socket), **_SAFE_HEADERS}


class Page(NamedTuple):
    """One HTTP answer."""

    status: int
    kind: str
    body: bytes


def panel_folder() -> Path:
    """Return where the panel's files are."""
    return Path(str(resources.files("rtvc.control"))) / "panel"


class Pages:
    """Answers GET requests about one desk."""

    def __init__(self, desk: Desk, url: str, folder: Path | None = None) -> None:
        """Url is the server's WebSocket address; folder holds the panel's files."""
        self._desk, self._url = desk, url
        self._folder = (panel_folder() if folder is None else folder).resolve()
        self._made: dict[str, Callable[[], Page]] = {
            "/healthz": self._health,
            "/metrics": lambda: Page(200, "text/plain; version=0.0.4; charset=utf-8", prometheus(desk).encode()),
            "/schema.json": lambda: _json(schema()),
            "/asyncapi.json": lambda: _json(asyncapi(self._url)),
        }

    def get(self, path: str) -> Page:
        """Return the page at path (without a query)."""
        if path in self._made:
            return self._made[path]()
        if path in ("/", "/index.html"):
            return self._file("index.html")
        if path.startswith("/panel/"):
            return self._file(path.removeprefix("/panel/"))
        return _text(404, b"there is no such page\n")

    def _file(self, name: str) -> Page:
        kind = _TYPES.get(PurePosixPath(name).suffix)
        parts = PurePosixPath(name).parts
        plain = all(part not in ("..", "/") and "\\" not in part and "%" not in part for part in parts)
        path = (self._folder / name).resolve() if plain and "\0" not in name else self._folder
        if kind is None or not path.is_relative_to(self._folder) or not path.is_file():
            missing = _NO_PANEL if name == "index.html" else b"there is no such page\n"
            return _text(404, missing)
        return Page(200, kind, path.read_bytes())

    def _health(self) -> Page:
        status = self._desk.session.status()
        ill = status.state in ("failed", "waiting for devices", "restarting engine")
        body = {"state": status.state, "message": status.message, "uptime_s": round(self._desk.uptime_s, 1)}
        return _json(body, 503 if ill else 200)


def _json(value: object, status: int = 200) -> Page:
    return Page(status, "application/json", json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _text(status: int, body: bytes) -> Page:
    return Page(status, "text/plain; charset=utf-8", body)
