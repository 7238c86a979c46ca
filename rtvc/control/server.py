"""The control server: WebSocket and HTTP on one port, asyncio, in the control process.

It shares nothing with the engine but the parameter block, so whatever clients do, the sound goes on. A client's
messages are read by one task, answered by one task a request (at most `in_flight`), and sent by one task from its own
outbox, which never makes anybody else wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import logging
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from . import auth
from .access import Access, is_loopback
from .asker import Asker
from .audit import AuditLog
from .auth import Identity
from .codec import CODECS, Codec, Data
from .desk import Desk
from .dispatch import Dispatcher
from .events import EVENTS
from .limits import Limits, TokenBucket
from .lockout import Lockout
from .outbox import Outbox
from .pages import Page, Pages, safe_headers
from .protocol import Answer, AuthenticationError, Batch, Call, Challenge, Close, Peer, Reply, Single, event_message
from .requests import REQUESTS
from .tokens import TokenFile
from .wire import DEFAULT_PORT, JSON_SUBPROTOCOL, MESSAGE_BYTES, CloseCode, Role, Status

EVERYBODY = Identity("local", Role.ADMIN)  # who connects to a loopback server that has no tokens

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """Where to listen and whom to let in. Anything but loopback needs tls and tokens."""

    bind: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls: ssl.SSLContext | None = None
    tokens: TokenFile | None = None
    names: tuple[str, ...] = ()  # host names this server goes by, besides its own
    limits: Limits = field(default_factory=Limits)


@dataclass(eq=False)
class _Client:
    """One WebSocket connection."""

    number: int
    socket: ServerConnection
    peer: Peer
    address: str
    bucket: TokenBucket
    slots: asyncio.Semaphore
    outbox: Outbox
    refused: int = 0

    @property
    def asker(self) -> Asker:
        assert self.peer.identity is not None
        return Asker(self.peer.identity, f"{self.peer.identity.name}#{self.number}")


class ControlServer:
    """Serves one desk. `start` and `stop` run in the desk's event loop."""

    def __init__(self, desk: Desk, settings: ServerSettings, audit: AuditLog) -> None:
        """Raises ValueError for an address that is not loopback without tls and tokens."""
        if not is_loopback(settings.bind) and not (settings.tls and settings.tokens):
            raise ValueError(f"{settings.bind} can be reached from elsewhere: that needs TLS and a token")
        self.port = settings.port
        self._desk, self._settings, self._audit = desk, settings, audit
        self._dispatcher = Dispatcher(desk)
        self._lockout = Lockout()
        self._clients: set[_Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._sockets: dict[str, int] = {}
        self._server: Server | None = None
        desk.audience = self

    @property
    def url(self) -> str:
        """Where the panel is."""
        scheme = "https" if self._settings.tls else "http"
        bind = self._settings.bind
        return f"{scheme}://{f'[{bind}]' if ':' in bind else bind}:{self.port}/"

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        limits = self._settings.limits
        server = self
        quiet = logging.getLogger("rtvc.control.websockets")
        quiet.setLevel(logging.CRITICAL)  # what strangers send is no error of ours

        class Connection(ServerConnection):
            """Counted from its first byte on, so that idle sockets cannot use up what there is."""

            counted: str | None = None

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                address = _address(transport.get_extra_info("peername"))
                if server._admit(address):
                    self.counted = address
                super().connection_made(transport)
                if self.counted is None:
                    self.transport.write(b"HTTP/1.1 503 Too many connections\r\nConnection: close\r\n\r\n")
                    self.transport.close()

            def connection_lost(self, exc: Exception | None) -> None:
                if self.counted is not None:
                    server._dismiss(self.counted)
                    self.counted = None
                super().connection_lost(exc)

        self._server = await serve(
            self._serve_client,
            self._settings.bind,
            self._settings.port,
            ssl=self._settings.tls,
            create_connection=Connection,
            process_request=self._process_request,
            select_subprotocol=_select_subprotocol,
            subprotocols=list(CODECS),  # type: ignore[arg-type]
            compression=None,
            server_header=None,
            open_timeout=limits.handshake_s,
            close_timeout=limits.close_s,
            ping_interval=20,
            ping_timeout=20,
            max_size=MESSAGE_BYTES,
            max_queue=8,
            write_limit=256 * 1024,
            logger=quiet,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        settings = self._settings
        self._access = Access(settings.bind, self.port, settings.tls is not None, settings.names)
        self._pages = Pages(self._desk, self.url.replace("http", "ws", 1))

    async def stop(self) -> None:
        """Tell everybody, then close all connections; takes at most about a second."""
        if self._server:
            self.publish("ExitStarted", {})
            await asyncio.sleep(0.05)  # for the goodbye to leave
            self._server.close()
            await self._server.wait_closed()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        """Queue an event for every client that wants it. Never waits."""
        encoded: dict[str, Data] = {}
        for client in self._clients:
            if client.peer.wants(event):
                codec = client.peer.codec
                if codec.subprotocol not in encoded:
                    encoded[codec.subprotocol] = codec.encode(event_message(event, data))
                if EVENTS[event].high_volume:
                    client.outbox.put_newest(event, encoded[codec.subprotocol])
                else:
                    client.outbox.put(encoded[codec.subprotocol])

    def wants(self, event: str) -> bool:
        """Return whether any client wants this event."""
        return any(client.peer.wants(event) for client in self._clients)

    def count(self) -> int:
        """Return how many clients are identified."""
        return sum(client.peer.identity is not None for client in self._clients)

    def _admit(self, address: str) -> bool:
        """Count a new socket; return whether there is room for it."""
        limits, here = self._settings.limits, self._sockets.get(address, 0)
        if here >= limits.sockets_each or sum(self._sockets.values()) >= limits.sockets:
            return False
        self._sockets[address] = here + 1
        return True

    def _dismiss(self, address: str) -> None:
        self._sockets[address] -= 1
        if not self._sockets[address]:
            del self._sockets[address]

    # HTTP

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return an HTTP answer, or None for a WebSocket to open."""
        hosts = request.headers.get_all("Host")
        refused = self._access.refused(hosts[0] if len(hosts) == 1 else None, request.headers.get_all("Origin"))
        if refused:
            return _response(_text(403, refused), "")
        websocket = "websocket" in request.headers.get("Upgrade", "").lower()
        path = request.path.partition("?")[0]
        page = self._not_opened(path) if websocket else self._page(connection, request, path)
        return _response(page, f"{'wss' if self._settings.tls else 'ws'}://{hosts[0]}") if page else None

    def _not_opened(self, path: str) -> Page | None:
        """Return why no WebSocket can be opened at path, None if one can."""
        if path not in ("/", "/ws"):
            return _text(404, "the WebSocket is at /ws")
        if len(self._clients) >= self._settings.limits.clients:
            return _text(503, f"{len(self._clients)} clients are connected; no more are taken")
        return None

    def _page(self, connection: ServerConnection, request: Request, path: str) -> Page:
        if getattr(request, "method", "GET") != "GET":  # older websockets take no other method and do not tell
            return _text(405, "only GET")
        if path == "/metrics" and self._settings.tokens and not self._bearer(connection, request):
            return _text(401, "send Authorization: Bearer TOKEN")
        return self._pages.get(path)

    def _bearer(self, connection: ServerConnection, request: Request) -> bool:
        """Return whether the request carries a token of ours."""
        tokens = self._settings.tokens
        assert tokens is not None
        address, now_s = _address(connection.remote_address), asyncio.get_running_loop().time()
        if self._lockout.wait_s(address, now_s):
            return False
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            return False
        secret = auth.secret_of(given, tokens.salt)
        found = [hmac.compare_digest(secret, kept) for _, kept in tokens.pairs()]
        if not any(found):
            self._lockout.failed(address, now_s)
        return any(found)

    # WebSocket

    async def _serve_client(self, socket: ServerConnection) -> None:
        loop, limits = asyncio.get_running_loop(), self._settings.limits
        codec: Codec = CODECS[socket.subprotocol or JSON_SUBPROTOCOL]
        address = _address(socket.remote_address)
        client = _Client(
            next(self._numbers),
            socket,
            Peer(codec, self._challenge(address), EVERYBODY),
            address,
            TokenBucket(limits.requests_per_s, limits.burst, loop.time()),
            asyncio.Semaphore(limits.in_flight),
            Outbox(lambda: self._spawn(_drop(socket, limits.close_s))),
        )
        self._clients.add(client)
        sender = loop.create_task(self._send(client))
        late = loop.call_later(limits.identify_s, self._too_late, client)
        try:
            client.outbox.put(client.peer.hello())
            with contextlib.suppress(ConnectionClosed):
                async for data in socket:
                    if not await self._received(client, data):
                        break
        finally:
            late.cancel()
            self._clients.discard(client)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def _challenge(self, address: str) -> Challenge | None:
        tokens = self._settings.tokens
        if not tokens:
            return None
        loop, challenge = asyncio.get_running_loop(), auth.nonce()

        def check(answer: str) -> Identity:
            wait_s = self._lockout.wait_s(address, loop.time())
            if wait_s:
                raise AuthenticationError(f"too many failed tries; wait {wait_s:.0f} s")
            identity = auth.matching(tokens.pairs(), challenge, answer)
            if identity is None:
                self._lockout.failed(address, loop.time())
                self._audit.note("?", "", address, "Identify", None, CloseCode.AUTHENTICATION_FAILED)
                raise AuthenticationError("wrong token")
            self._lockout.succeeded(address)
            return identity

        return Challenge(challenge, tokens.salt, check)

    def _too_late(self, client: _Client) -> None:
        if client.peer.identity is None:
            self._spawn(client.socket.close(CloseCode.NOT_IDENTIFIED, "no Identify within the time allowed"))

    async def _received(self, client: _Client, data: Data) -> bool:
        """Take one message; return whether the connection goes on."""
        outcome = client.peer.receive(data)
        if isinstance(outcome, Reply):
            client.outbox.put(outcome.data)
        elif isinstance(outcome, Close):
            await client.socket.close(outcome.code, outcome.reason)
            return False
        else:
            calls = (outcome.call,) if isinstance(outcome, Single) else outcome.calls
            if not client.bucket.take(len(calls), asyncio.get_running_loop().time()):
                return await self._refuse(client, outcome)
            await client.slots.acquire()  # with too many at work, no more are read
            self._spawn(self._answer(client, outcome))
        return True

    async def _refuse(self, client: _Client, outcome: Single | Batch) -> bool:
        """Answer that these are too many requests; give up a client that does not slow down."""
        limits = self._settings.limits
        client.refused += 1
        if client.refused > limits.refused_most:
            await client.socket.close(CloseCode.SESSION_INVALIDATED, "too many requests")
            return False
        comment = f"more than {limits.requests_per_s:.0f} requests a second; send fewer, or ramps and batches"
        answer = Answer(Status.TOO_MANY_REQUESTS, comment=comment)
        if isinstance(outcome, Single):
            client.outbox.put(client.peer.answer(outcome.call, answer))
        else:
            client.outbox.put(client.peer.answer_batch(outcome, [answer] * len(outcome.calls)))
        await asyncio.sleep(0.002)
        return True

    async def _answer(self, client: _Client, outcome: Single | Batch) -> None:
        """Do what is asked and queue the answer."""
        try:
            if isinstance(outcome, Single):
                answers = [await self._dispatcher.single(outcome.call, client.asker)]
                said = client.peer.answer(outcome.call, answers[0])
                calls: tuple[Call, ...] = (outcome.call,)
            else:
                answers = await self._dispatcher.batch(outcome, client.asker)
                said, calls = client.peer.answer_batch(outcome, answers), outcome.calls
            client.outbox.put(said)
            for call, answer in zip(calls, answers, strict=False):
                self._note(client, call, answer)
        finally:
            client.slots.release()

    def _note(self, client: _Client, call: Call, answer: Answer) -> None:
        request = REQUESTS.get(call.request_type)
        if request and request.changes:
            asker = client.asker
            data = self._desk.noted(request.name, call.data)
            role = asker.identity.role.word
            self._audit.note(asker.label, role, client.address, request.name, data, int(answer.status))

    async def _send(self, client: _Client) -> None:
        """Empty the outbox into the socket until the client goes or is given up."""
        with contextlib.suppress(ConnectionClosed):
            while (data := await client.outbox.next()) is not None:
                await client.socket.send(data)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _drop(socket: ServerConnection, patience_s: float) -> None:
    """Close a client that does not read: say why, but do not wait for it to listen."""
    with contextlib.suppress(TimeoutError, ConnectionClosed):
        async with asyncio.timeout(patience_s):
            await socket.close(CloseCode.TOO_SLOW, "too slow: more than 4 MB wait to be read")
    socket.transport.abort()


def _select_subprotocol(connection: ServerConnection, offered: Any) -> Any:
    """Return the first subprotocol offered that is spoken here; JSON without a word if none is."""
    return next((name for name in offered if name in CODECS), None)


def _address(peername: Any) -> str:
    return str(peername[0]) if isinstance(peername, tuple) else ""


def _text(status: int, text: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _response(page: Page, socket: str) -> Response:
    headers = Headers({"Connection": "close", "Content-Type": page.kind, "Content-Length": str(len(page.body))})
    for name, value in safe_headers(socket).items():
        headers[name] = value
    return Response(page.status, HTTPStatus(page.status).phrase, headers, page.body)
