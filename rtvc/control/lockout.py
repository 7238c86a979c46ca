"""Lock-out: after FREE failures from one address each further try has to wait, twice as long each time.

Addresses are forgotten FORGET_S after their last failure. An IPv6 network of 64 bits counts as one address. At most
ADDRESSES are remembered; the one that failed longest ago goes first.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

FREE = 5
FIRST_S = 1.0
LONGEST_S = 600.0
FORGET_S = 3600.0
ADDRESSES = 10_000


@dataclass
class _Failures:
    count: int = 0
    last_s: float = 0.0


class Lockout:
    """Counts failures by address; time is the caller's, in seconds."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failures] = {}

    def wait_s(self, address: str, now_s: float) -> float:
        """Return how long address still has to wait, 0 if it may try."""
        found = self._failures.get(_key(address))
        if found is None or found.count < FREE:
            return 0.0
        pause_s = min(FIRST_S * 2.0 ** (found.count - FREE), LONGEST_S)
        return max(0.0, found.last_s + pause_s - now_s)

    def failed(self, address: str, now_s: float) -> None:
        """Count a failure."""
        key = _key(address)
        found = self._failures.pop(key, None)
        if found is None or now_s - found.last_s > FORGET_S:
            found = _Failures()
        found.count, found.last_s = found.count + 1, now_s
        self._failures[key] = found
        if len(self._failures) > ADDRESSES:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, address: str) -> None:
        """Forget the failures of address."""
        self._failures.pop(_key(address), None)


def _key(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 6 and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
