"""Lighter on loopback: what its socket and its REST answers do, as documented and recorded."""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streams.events import Ms
from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

TOPICS = 500
"""So many are allowed on a connection."""

MESSAGES = 200
"""So many may be sent a minute, over all connections."""

UNHEARD: Ms = 120_000
"""A connection is cut from which nothing came for so long."""

_STEP_S = 0.25


class LighterServer(ProtocolServer):
    """Its markets and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: markets whose next change of the book gets lost. ``silent``: it says nothing.
    ``refused``: markets whose topics it refuses. ``quiet``: markets of which nothing changes.
    ``overdone``: what it was asked wrongly or too often.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {
            frames.symbol_of("lighter", asset): frames.lighter_market(asset) for asset in assets
        }
        self.refused: set[str] = set()
        self.quiet: set[str] = set()
        self.usd = 1_000.0
        self.forced: dict[str, list[dict[str, Any]]] = {}
        self.heard_at: list[Ms] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        match request.path:
            case "/api/v1/orderBookDetails":
                return web.json_response({"order_book_details": [*self.contracts.values()]})
            case "/api/v1/orderBookOrders":
                orders = {"bids": [{"price": "99.99"}], "asks": [{"price": "100.01"}]}
                return web.json_response(orders)
            case path:
                raise AssertionError(path)

    def liquidate(self, *coins: float, symbol: str = "1", long: bool = True) -> None:
        """To all who have subscribed."""
        rows = self.forced.setdefault(symbol, [])
        for size in coins:
            rows.append(frames.lighter_forced(symbol, size, len(rows) + 1, self.now, long))

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it leaves."""
        client = _Client(self, connection)
        await connection.send('{"session_id":"x","type":"connected"}')
        while connection.state is State.OPEN and self.now - client.heard < UNHEARD:
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: LighterServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._books: dict[str, int] = {}  # market → the number of its book
        self._trades: dict[str, int] = {}  # market → how many liquidations were told
        self._stats = False
        self.heard = server.now

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            self.heard = server.now
            await self._hear(json.loads(message))
        if server.now < self._next:
            return
        self._next = server.now + 1_000
        alive = [s for s in server.contracts if s not in server.quiet]
        if self._stats and alive:
            await self._say(frames.lighter_stats(*alive, at=server.now, usd=server.usd))
        for symbol, count in [*self._trades.items()]:
            rows = server.forced.get(symbol, [])
            self._trades[symbol] = len(rows)
            if count < len(rows):
                await self._say(frames.lighter_trades(symbol, *rows[count:]))
        for symbol, last in [*self._books.items()]:
            if symbol not in alive:
                continue
            self._books[symbol] = last + 7
            if symbol in server.skip:
                server.skip.discard(symbol)
                continue
            change = frames.lighter_book(symbol, last + 7, [(99.9, 8.0)], [], last, server.now)
            await self._say(change)

    async def _hear(self, asked: dict[str, Any]) -> None:
        server = self._server
        server.heard_at = [at for at in server.heard_at if server.now - at < 60_000]
        server.heard_at.append(server.now)
        if len(server.heard_at) > MESSAGES:
            server.overdone.append("too many messages in a minute")
        if asked["type"] == "ping":
            await self._say(b'{"type":"pong"}')
            return
        topic, _, symbol = asked["channel"].partition("/")
        if asked["type"] == "unsubscribe":
            assert topic == "order_book"
            if self._books.pop(symbol, None) is None:
                server.overdone.append(f"{symbol} was not subscribed")
            says = {"type": "unsubscribed", "channel": f"{topic}:{symbol}"}
            await self._say(json.dumps(says).encode())
        elif topic == "market_stats":
            assert symbol == "all"
            self._stats = True
        elif symbol in (self._books if topic == "order_book" else self._trades):
            await self._refuse(30_003, "Already Subscribed")
        elif symbol in server.refused or symbol not in server.contracts:
            await self._refuse(30_005, f"Invalid Channel:  ({asked['channel']})")
        elif topic == "trade":
            last = server.forced.get(symbol, [])[-1:]  # it begins with the last one
            self._trades[symbol] = len(server.forced.get(symbol, []))
            await self._say(frames.lighter_trades(symbol, *last, event="subscribed"))
        else:
            self._books[symbol] = 100
            await self._say(frames.lighter_book(symbol, 100, at=server.now))
        if len(self._books) + len(self._trades) > TOPICS:
            server.overdone.append("too many topics")

    async def _refuse(self, code: int, message: str) -> None:
        await self._say(json.dumps({"error": {"code": code, "message": message}}).encode())
