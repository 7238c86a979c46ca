"""Host and Origin: this server's own, or refused."""

from __future__ import annotations

import pytest

from rtvc.control.access import Access, is_loopback

HERE = Access("127.0.0.1", 4466, False)
LAN = Access("0.0.0.0", 4466, True, ["studio.example"])


@pytest.mark.parametrize("host", ["127.0.0.1:4466", "localhost:4466", "LOCALHOST:4466", "[::1]:4466"])
def test_this_machines_names_are_taken(host: str) -> None:
    assert HERE.refused(host, []) is None
    assert HERE.refused(host, [f"http://{host}"]) is None


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:4466", "127.0.0.1", "127.0.0.1:80", "192.168.1.5:4466", "a@localhost:4466",
     "localhost:99999", "localhost:x", "[::1", "localhost.evil.example:4466"],
)  # fmt: skip
def test_any_other_host_is_refused_also_one_that_points_here(host: str | None) -> None:
    assert HERE.refused(host, []) is not None


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://localhost", "http://localhost:4467", "https://localhost:4466",
     "file://", "http://localhost:4466@evil.example", "chrome-extension://abc", "http://[::1"],
)  # fmt: skip
def test_another_page_is_refused(origin: str) -> None:
    assert HERE.refused("localhost:4466", [origin]) is not None


def test_two_origins_are_refused() -> None:
    assert HERE.refused("localhost:4466", ["http://localhost:4466"] * 2) == "more than one Origin"


def test_on_the_network_addresses_and_own_names_are_taken() -> None:
    for host in ("192.168.1.5:4466", "[fe80::1]:4466", "studio.example:4466"):
        assert LAN.refused(host, [f"https://{host}"]) is None
        assert LAN.refused(host, [f"http://{host}"]) is not None
    assert LAN.refused("rebound.example:4466", []) is not None


def test_loopback_is_known() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost") and is_loopback("127.8.8.8")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.168.1.5") and not is_loopback("studio.example")
