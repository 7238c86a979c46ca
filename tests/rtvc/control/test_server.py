"""The server over sockets: what it serves, whom it lets in, and what strangers cannot do to it. No engine."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rtvc.config import ConfigError
from rtvc.config import Control as ControlConfig
from rtvc.control import outbox, server
from rtvc.control.auth import answer_to, secret_of
from rtvc.control.client import Control, ControlError
from rtvc.control.limits import Limits
from rtvc.control.lockout import FREE
from rtvc.control.server import ControlServer, ServerSettings
from rtvc.control.session import server_settings
from rtvc.control.tls import make_certificate, server_context
from rtvc.control.tokens import TokenFile
from rtvc.control.wire import ALL_EVENTS, MESSAGE_BYTES, Intent, Role
from tests.rtvc.control.served import Served, served
from tests.waiting import wait_for

QUICK = Limits(handshake_s=0.3, identify_s=0.4, close_s=0.3)


@contextlib.contextmanager
def raw(there: Served, **given: Any) -> Iterator[ClientConnection]:
    with connect(there.url, compression=None, **given) as connection:
        yield connection


def http(there: Served, text: str, patience_s: float = 5.0) -> bytes:
    """Send bytes and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", there.server.port), timeout=patience_s) as plain:
        plain.sendall(text.encode("latin-1"))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := plain.recv(65536):
                answer += data
        return answer


def get(there: Served, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    host = "" if "Host" in headers else f"Host: 127.0.0.1:{there.server.port}\r\n"
    head, _, body = http(there, f"GET {path} HTTP/1.1\r\n{host}{lines}\r\n").partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in rest), body


def close_of(connection: ClientConnection) -> tuple[int, str]:
    """Read until the server closes; return its code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            connection.recv(5)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def still_serves(there: Served) -> None:
    with there.control() as control:
        assert control.request("GetVersion")["rpcVersion"] == 1


def test_a_client_asks_and_listens(still: Served) -> None:
    with still.control(events=ALL_EVENTS) as anna, still.control() as bert:
        assert anna.role == "admin"
        bert.set({"pitch.semitones": 3})
        name, data = anna.next_event(5) or ("", {})
        assert (name, data["values"], data["by"]) == ("ParamsChanged", {"pitch.semitones": 3.0}, "local#2")
        with pytest.raises(ControlError, match="must lie in") as error:
            bert.set({"pitch.semitones": 30})
        assert error.value.code == 402
        answers = bert.batch([("SetParam", {"id": "breath.amount", "value": 1}), ("GetParam", {"id": "breath.amount"})])
        assert answers[1]["value"] == 1.0 and answers[0]["rev"] == answers[1]["rev"]
        assert bert.request("GetStats")["clients"] == 2
        assert anna.next_event(5) is not None
        assert anna.next_event(0.05) is None


def test_messagepack_is_spoken_too(still: Served) -> None:
    import msgpack

    with raw(still, subprotocols=["obswebsocket.msgpack"]) as connection:
        assert msgpack.unpackb(connection.recv(5))["op"] == 0
        connection.send(msgpack.packb({"op": 1, "d": {"rpcVersion": 1}}))
        assert msgpack.unpackb(connection.recv(5))["op"] == 2
        connection.send("{}")
        assert close_of(connection)[0] == 4002


def test_pages_are_served_with_safe_headers(still: Served) -> None:
    status, headers, body = get(still, "/healthz")
    assert status == 200 and json.loads(body)["state"] == "stopped"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert f"ws://127.0.0.1:{still.server.port}" in headers["Content-Security-Policy"]
    status, headers, body = get(still, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4") and b"\nrtvc_xruns_total 0\n" in body
    assert json.loads(get(still, "/asyncapi.json")[2])["asyncapi"] == "3.0.0"
    schema = json.loads(get(still, "/schema.json?x=1")[2])
    assert schema["requests"]["SetMute"]["requestData"]["required"] == ["muted"]
    assert schema["values"]["properties"]["pitch.semitones"]["maximum"] == 24


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/panel/../server.py",
        "/panel/%2e%2e/server.py",
        "/panel//etc/passwd",
        "/panel/\\..\\server.py",
        "/panel/",
        "/panel/no.html",
        "/panel/../../../../../etc/passwd",
        "/../x",
    ],
)
def test_nothing_else_is_served(still: Served, path: str) -> None:
    assert get(still, path)[0] == 404


def test_strangers_by_host_and_origin_are_refused_with_a_reason(still: Served) -> None:
    status, _, body = get(still, "/healthz", Host="evil.example")
    assert status == 403 and b"Host 'evil.example' is not this server" in body
    assert get(still, "/healthz", Origin="http://evil.example")[0] == 403
    for origin in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused, raw(still, origin=origin):
            pass
        assert refused.value.response.status_code == 403
        assert b"may not use this server" in bytes(refused.value.response.body or b"")
    with raw(still, origin=f"http://127.0.0.1:{still.server.port}") as connection:
        assert json.loads(connection.recv(5))["op"] == 0


def test_other_methods_and_nonsense_are_refused(still: Served) -> None:
    host = f"Host: 127.0.0.1:{still.server.port}\r\n"
    assert b" 200 " not in http(still, f"POST /healthz HTTP/1.1\r\n{host}\r\n")
    assert b" 200 " not in http(still, "nonsense\r\n\r\n")
    assert b" 200 " not in http(still, f"GET /healthz HTTP/1.1\r\n{host}{host}\r\n")
    assert b" 200 " not in http(still, f"GET / HTTP/1.1\r\n{host}X: {'x' * 20000}\r\n\r\n")
    still_serves(still)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 4002),
        (b"{}", 4002),
        ('{"op": 1, "d": {"rpcVersion": NaN}}', 4002),
        ('{"op": 1, "d": ' + "[" * 20000 + "]" * 20000 + "}", 4002),
        ('{"op": 1, "op": 1, "d": {}}', 4002),
        ('{"op": 6, "d": {}}', 4007),
        ("x" * (MESSAGE_BYTES + 1), 1009),
    ],
)
def test_bad_messages_close_with_code_and_reason(still: Served, message: str | bytes, code: int) -> None:
    with raw(still) as connection:
        connection.recv(5)
        connection.send(message)
        found, reason = close_of(connection)
        assert (found, bool(reason)) == (code, True)
    still_serves(still)


def test_bad_utf8_closes_with_1007(still: Served) -> None:
    with raw(still) as connection:
        connection.recv(5)
        connection.send(b"\xff\xfe{}", text=True)
        assert close_of(connection)[0] == 1007
    still_serves(still)


def test_who_does_not_identify_in_time_is_closed(tmp_path: Path) -> None:
    with served(tmp_path, limits=QUICK) as there, raw(there) as connection:
        assert close_of(connection) == (4007, "no Identify within the time allowed")


def test_slow_handshakes_and_idle_sockets_end_and_hold_nobody_up(tmp_path: Path) -> None:
    limits = Limits(handshake_s=1.0, sockets=30, sockets_each=20)
    with served(tmp_path, limits=limits) as there, contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", there.server.port))) for _ in range(40)]
        for plain in sockets:
            with contextlib.suppress(OSError):
                plain.sendall(b"GET / HTTP/1.1\r\nHost: ")
        wait_for(lambda: sum(there.server._sockets.values()) == 20, "the limit")
        time.sleep(0.1)
        refused = http(there, "GET /healthz HTTP/1.1\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 503") or refused == b""
        for plain in sockets[:5]:
            with contextlib.suppress(OSError):
                plain.sendall(b"1")  # a byte now and then buys no time
        wait_for(lambda: not there.server._sockets, "their end")
        still_serves(there)


def test_too_many_clients_are_refused_with_a_reason(tmp_path: Path) -> None:
    with (
        served(tmp_path, limits=Limits(clients=2)) as there,
        there.control(),
        there.control(),
        pytest.raises(ControlError, match="503"),
    ):
        there.control()


def test_too_many_requests_are_refused_and_the_client_that_goes_on_is_closed(tmp_path: Path) -> None:
    limits = Limits(requests_per_s=10, burst=20, refused_most=30)
    with served(tmp_path, limits=limits) as there, there.control() as control:
        with pytest.raises(ControlError) as error:
            for _ in range(30):
                control.request("GetVersion")
        assert error.value.code == 801 and "more than 10 requests a second" in str(error.value)
        with pytest.raises(ControlError, match="too many requests"):
            for _ in range(60):
                try:
                    control.request("GetVersion")
                except ControlError as refused:
                    if not refused.code:
                        raise


def frame(text: str) -> bytes:
    """Return a masked text frame (RFC 6455, 5.2)."""
    data = text.encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + data


def mute_reader(there: Served) -> socket.socket:
    """Return the socket of an identified client that will never read again."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", there.server.port))
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    plain.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{there.server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    plain.sendall(frame('{"op":1,"d":{"rpcVersion":1}}'))
    return plain


def test_a_client_that_does_not_read_is_dropped_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WAITING_BYTES", 400_000)
    with (
        served(tmp_path, limits=Limits(requests_per_s=5000, burst=5000, close_s=0.3)) as there,
        mute_reader(there) as stalled,
        there.control() as other,
    ):
        wait_for(lambda: there.desk.audience.count() == 2, "both")
        for i in range(200):
            with contextlib.suppress(OSError):
                stalled.sendall(frame(json.dumps({"op": 6, "d": {"requestType": "GetSchema", "requestId": i}})))
            other.request("GetVersion")
        wait_for(lambda: there.desk.audience.count() == 1, "the slow client's end")
        other.request("GetVersion")


def test_high_volume_events_of_a_slow_client_are_replaced_not_queued() -> None:
    import asyncio

    async def story() -> None:
        given_up = []
        box = outbox.Outbox(lambda: given_up.append(1))
        for i in range(1000):
            box.put_newest("Meters", f"m{i}")
            box.put_newest("Trace", f"t{i}")
        box.put("answer")
        assert [await box.next() for _ in range(3)] == ["answer", "m999", "t999"]
        for _ in range(5):
            box.put("x" * 1_000_000)
        assert given_up == [1] and box.too_slow and await box.next() is None

    asyncio.run(story())


def test_tokens_give_roles_and_replays_and_guesses_fail(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.add("anna", Role.VIEWER)
    with served(tmp_path, tokens=tokens) as there:
        with there.control(token=token) as control:
            assert control.role == "viewer"
            assert control.status()["state"] == "stopped"
            with pytest.raises(ControlError) as error:
                control.mute()
            assert error.value.code == 800
        with pytest.raises(ControlError, match="needs a token"):
            there.control()
        with raw(there) as first:
            asked = json.loads(first.recv(5))["d"]["authentication"]
            answer = answer_to(secret_of(token, asked["salt"]), asked["challenge"])
            identify = json.dumps({"op": 1, "d": {"rpcVersion": 1, "authentication": answer}})
            first.send(identify)
            assert json.loads(first.recv(5))["op"] == 2
        with raw(there) as replay:
            replay.send(identify)
            assert close_of(replay) == (4009, "wrong token")
        assert get(there, "/metrics")[0] == 401
        assert get(there, "/metrics", Authorization=f"Bearer {token}")[0] == 200
        assert get(there, "/healthz")[0] == 200
        for _ in range(FREE - 1):
            with pytest.raises(ControlError, match="wrong token"):
                there.control(token="guess")
        with pytest.raises(ControlError, match="too many failed tries; wait"):
            there.control(token=token)
    assert '"request": "Identify"' in there.audit.path.read_text()


def test_another_address_needs_a_token_and_tls(tmp_path: Path, still: Served) -> None:
    with pytest.raises(ValueError, match="needs TLS and a token"):
        ControlServer(still.desk, ServerSettings("0.0.0.0"), still.audit)
    with pytest.raises(ConfigError, match="rtvc control token add"):
        server_settings(ControlConfig(bind="0.0.0.0"))
    still.desk.audience = still.server
    TokenFile().add("anna", Role.ADMIN)
    settings, fingerprint = server_settings(ControlConfig(bind="0.0.0.0"))
    assert settings.tls is not None and settings.tokens and len(fingerprint) == 64
    assert server_settings(ControlConfig(bind="0.0.0.0"))[1] == fingerprint, "it is kept"


def test_tls_with_a_certificate_made_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0
    context, fingerprint = server_context(tmp_path / "certificate.pem", tmp_path / "key.pem")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.add("anna", Role.OPERATOR)
    original = server.ControlServer.__init__

    def with_tls(self: ControlServer, desk: Any, settings: ServerSettings, audit: Any) -> None:
        original(self, desk, ServerSettings("127.0.0.1", 0, context, tokens), audit)

    monkeypatch.setattr(server.ControlServer, "__init__", with_tls)
    with served(tmp_path) as there:
        url = there.url.replace("ws:", "wss:")
        with Control(url, token, fingerprint=fingerprint) as control:
            assert control.role == "operator"
        with pytest.raises(ControlError, match="another fingerprint"):
            Control(url, token, fingerprint="00" * 32)
        with pytest.raises(ControlError, match="cannot be reached"):
            Control(url, token)
        with pytest.raises(ControlError):
            Control(there.url, token)
    with pytest.raises(ConfigError, match="belong together"):
        server_context(tmp_path / "certificate.pem", None)
    with pytest.raises(ConfigError, match="cannot be used for TLS"):
        server_context(tmp_path / "tokens.json", tmp_path / "tokens.json")


def test_stopping_says_goodbye(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        closing = contextlib.ExitStack()
        there = closing.enter_context(served(tmp_path))
        control = stack.enter_context(there.control(events=int(Intent.GENERAL)))
        thread = threading.Thread(target=closing.close)
        thread.start()
        names = []
        with contextlib.suppress(ControlError):
            while event := control.next_event(5):
                names.append(event[0])
        thread.join()
        assert names[-1] == "ExitStarted"


def test_a_taken_port_is_an_oserror_and_names_the_port(tmp_path: Path, still: Served) -> None:
    from rtvc.control.desk import Desk
    from rtvc.control.thread import ControlThread
    from rtvc.engine.params import default_values

    desk = Desk(still.session, default_values(), still.devices, still.desk.settings)
    with pytest.raises(OSError, match=r"in use|Only one usage"):
        ControlThread(desk, ServerSettings(port=still.server.port), still.audit).start()
