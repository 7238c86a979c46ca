"""How much one client may ask for, and how many clients there may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The server's limits. Sockets counts every TCP connection, also those that never say a word."""

    clients: int = 64  # identified or not, past the handshake
    sockets: int = 160
    sockets_each: int = 96  # from one address
    requests_per_s: float = 500.0  # a batch counts each of its requests
    burst: float = 1000.0
    refused_most: int = 5000  # requests over the rate, then the client is closed
    in_flight: int = 64  # requests of one client that are worked on at a time
    handshake_s: float = 5.0
    identify_s: float = 10.0
    close_s: float = 1.0


class TokenBucket:
    """Allows `rate` a second, and `burst` at once. Time is the caller's, in seconds."""

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._since_s = burst, now_s

    def take(self, n: int, now_s: float) -> bool:
        """Take n if they are there; return whether they were."""
        self._left = min(self._burst, self._left + (now_s - self._since_s) * self._rate)
        self._since_s = now_s
        if n > self._left:
            return False
        self._left -= n
        return True
