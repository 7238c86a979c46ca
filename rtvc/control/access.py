"""Who may reach the server at all: the Host and Origin of a request.

A browser sends any page's requests to any address, so a hostile page could reach a server on this machine. It cannot
choose its Origin, which must be this server's own. It can point a name of its own at this machine (DNS rebinding), but
then the Host is that name: only addresses, localhost and this machine's own names are taken. Programs that are no
browser send no Origin; that is allowed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

_LOOPBACK_NAMES = ("localhost",)


def is_loopback(address: str) -> bool:
    """Return whether an address or name to bind to can be reached from this machine only."""
    if address in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Access:
    """Judges requests to one server."""

    def __init__(self, bind: str, port: int, tls: bool, names: Iterable[str] = ()) -> None:
        """Bind is the address the server listens on; names are further host names it goes by."""
        self._port, self._loopback = port, is_loopback(bind)
        self._scheme = "https" if tls else "http"
        own = [] if self._loopback else [socket.gethostname(), f"{socket.gethostname()}.local", bind]
        self._names = {name.lower() for name in (*_LOOPBACK_NAMES, *own, *names)}

    def refused(self, host: str | None, origins: list[str]) -> str | None:
        """Return why a request with these headers is refused, None if it is not."""
        if not host or not self._own(host):
            return f"Host {host!r:.80} is not this server"
        if len(origins) > 1:
            return "more than one Origin"
        for origin in origins:
            parts = _split(origin)
            if parts is None or parts.scheme != self._scheme or not self._own(parts.netloc):
                return f"Origin {origin!r:.80} may not use this server"
        return None

    def _own(self, host: str) -> bool:
        parts = _split(f"//{host}")
        try:
            if parts is None or not parts.hostname or parts.username is not None:
                return False
            port = parts.port or (443 if self._scheme == "https" else 80)
        except ValueError:
            return False
        if port != self._port:
            return False
        name = parts.hostname.lower()
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._loopback


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
