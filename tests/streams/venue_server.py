"""A venue on loopback: a websocket server and a REST server that do as a test tells them."""

import asyncio
import contextlib
import http
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from websockets.asyncio.server import Request, Response, Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed

from streams.events import AnyEvent, FeedState
from streams.feed.liquidations import RecentLiquidations
from streams.proxies import NO_PROXIES
from streams.venue import Request as Asked
from streams.venue import Subscription, Venue
from streams.venues import VENUES
from tests.streams.virtual import Clock

Talk = Callable[[ServerConnection], Awaitable[None]]
"""What the server does with one connection; at its end the connection is closed."""


class StandIn:
    """The adapter of a real venue with another SPEC."""

    def __init__(self, name: str, **changes: Any) -> None:
        self._module = VENUES[name]
        self.SPEC = msgspec.structs.replace(self._module.SPEC, **changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Sockets:
    """A websocket server. ``refuse``: what handshakes are answered with instead, while not empty.

    ``opened``: seconds at which connections and refused ones came, by the loop's clock; ``heard``:
    what clients have said.
    """

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.refuse: list[tuple[int, dict[str, str], bytes]] = []
        self.opened: list[float] = []
        self.heard: list[bytes] = []
        self.open: list[ServerConnection] = []
        self.heard_from: dict[ServerConnection, list[bytes]] = {}
        self.url = ""

    def answer(self, _: ServerConnection, request: Request) -> Response | None:
        self.opened.append(round(asyncio.get_running_loop().time(), 1))
        if not self.refuse:
            return None
        status, headers, body = self.refuse.pop(0) if len(self.refuse) > 1 else self.refuse[0]
        headers = {"Content-Length": str(len(body)), "Connection": "close"} | headers
        return Response(status, http.HTTPStatus(status).phrase, Headers(headers), body)

    async def serve(self, connection: ServerConnection) -> None:
        async def listen() -> None:
            async for message in connection:
                assert isinstance(message, str)
                self.heard.append(message.encode())
                self.heard_from.setdefault(connection, []).append(message.encode())

        listening = asyncio.create_task(listen())
        self.open.append(connection)
        try:
            await self.talk(connection)
        except ConnectionClosed:
            pass
        finally:
            self.open.remove(connection)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    @property
    def waits(self) -> list[float]:
        """Seconds between one handshake and the next."""
        return [round(b - a, 1) for a, b in zip(self.opened, self.opened[1:], strict=False)]


@asynccontextmanager
async def listening(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Sockets]:
    """A websocket server on loopback."""
    sockets = Sockets(talk)
    server: Server = await serve(
        sockets.serve,
        "127.0.0.1",
        0,
        process_request=sockets.answer,
        ssl=tls,
        compression=None,
        ping_interval=None,
        close_timeout=0.5,
    )
    sockets.url = f"ws{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield sockets
    finally:
        server.close()
        await server.wait_closed()


def certified(folder: Path) -> ssl.SSLContext:
    """TLS of a server whose certificate, made here and now, nobody vouches for."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    try:
        subprocess.run(make, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl command here to make a certificate with")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    return tls


@asynccontextmanager
async def tcp(talk: Callable[..., Awaitable[None]]) -> AsyncIterator[str]:
    """A server that speaks no websocket; its address."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def resting(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """A REST server; its base URL."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return answer(request)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{path:.*}", handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def forever(connection: ServerConnection) -> None:
    """Accept and say nothing."""
    await connection.wait_closed()


def repeating(*frames: bytes, every_s: float = 1.0) -> Talk:
    """Say these again and again."""

    async def talk(connection: ServerConnection) -> None:
        while True:
            for frame in frames:
                await connection.send(frame, text=True)
            await asyncio.sleep(every_s)

    return talk


class Owner:
    """The owner of a socket, for tests."""

    def __init__(self, venue: str, url: str, **spec: Any) -> None:
        self.venue: Venue = StandIn(venue, **spec)
        self.clock = Clock()
        self.proxies = NO_PROXIES
        self.liquidations = RecentLiquidations()
        self.replacing = asyncio.Lock()
        self.connects_after_s = 0.0
        self.published: list[AnyEvent] = []
        self.publish = self.published.append
        self.frames: list[bytes] = []
        self.asked: list[Asked] = []
        self.takers: list[Callable[[str, bytes], None]] = []
        self.relists = 0
        self.refusals: list[str] = []
        self.unreadable_rows: list[str] = []
        self.failures: list[str] = []
        self._url = url

    def url(self, subscription: Subscription) -> str:
        return self._url + subscription.path

    async def may_connect(self) -> None:
        await asyncio.sleep(self.connects_after_s)

    def fetch(self, request: Asked, take: Callable[[str, bytes], None], lost: bool) -> None:
        self.asked.append(request)
        self.takers.append(take)

    def ask_relist(self) -> None:
        self.relists += 1

    def unreadable(self, rows: Sequence[str]) -> None:
        self.unreadable_rows += rows

    def blocked(self, words: str) -> None:
        self.refusals.append(words)

    def unreached(self, words: str, blocked: bool) -> None:
        self.failures.append(words)

    def tapped(self, subscription: Subscription, frame: bytes) -> None:
        self.frames.append(frame)

    @property
    def turns(self) -> list[str]:
        return turns(self.published)


def turns(published: list[AnyEvent]) -> list[str]:
    """Feed states in words: ``+depth BTCUSDT``."""
    return [
        f"{'+' if state.up else '-'}{state.kind} {state.symbol}"
        for state in published
        if isinstance(state, FeedState)
    ]


@asynccontextmanager
async def at_work(work: Awaitable[None]) -> AsyncIterator["asyncio.Task[None]"]:
    """``work`` in a task of its own, which is not expected to end."""
    task = asyncio.ensure_future(work)
    try:
        yield task
        assert not task.done() or task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
