"""Bitget on loopback: what its public socket and its REST answers do, as its documentation says."""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection

from streams.events import Ms
from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

IDLE_S = 120.0
"""A connection is cut after so long without a ping."""

REQUESTS_AN_HOUR = 240
MOST_TOPICS = 50

_STEP_S = 0.25


class BitgetServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: contracts whose next change of the book gets lost. ``anew``: contracts whose book
    counts anew with its next change. ``silent``: it says nothing and answers nothing. ``refused``:
    contracts that no topic knows. ``quiet``: contracts of whose books nothing changes.
    ``overdone``: what it was asked too often or too much.
    """

    def __init__(self, *symbols: str) -> None:
        super().__init__()
        self.contracts = {symbol: frames.bitget_contract(symbol) for symbol in symbols}
        self.tickers: dict[str, dict[str, str]] = {}
        self.hours: dict[str, int] = {}
        self.anew: set[str] = set()
        self.answers_pings = True
        self.replayed: list[bytes] = []
        self.refused: set[str] = set()
        self.quiet: set[str] = set()
        self._said: list[bytes] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        assert request.query["productType"] == "USDT-FUTURES"
        name, symbols = request.path.rpartition("/")[2], [*self.contracts]
        rows: list[Any]
        match name:
            case "contracts":
                rows = [*self.contracts.values()]
            case "tickers":
                rows = [
                    frames.bitget_ticker(s, self.now, **self.tickers.get(s, {})) for s in symbols
                ]
            case "current-fund-rate":
                rows = [frames.bitget_funding(s, self.now, self.hours.get(s, 8)) for s in symbols]
            case "merge-depth":
                orders = frames.bitget_orders(self.now)
                return web.Response(body=frames.bitget_answer(orders, self.now))
            case _:
                assert name == "history-fund-rate"
                symbol = request.query["symbol"]
                rows = frames.bitget_settled(symbol, self.now, self.hours.get(symbol, 8))
        return web.Response(body=frames.bitget_answer(rows, self.now))

    def liquidate(
        self, *coins: float, symbol: str = "BTCUSDT", long: bool = True, late: Ms = 0
    ) -> bytes:
        """To all who have subscribed, of so long ago; the frame is returned."""
        frame = frames.bitget_forced(symbol, *coins, at=self.now - late, long=long)
        self._said.append(frame)
        return frame

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is idle for too long; while silent, none is cut."""
        client = _Client(self, connection)
        while self.silent or client.is_alive():
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: BitgetServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._books: dict[str, int] = {}  # contract → the book's last id
        self._hears_liquidations = False
        self._requests = 0
        self._pinged = server.now
        self._news = len(server._said)

    def is_alive(self) -> bool:
        is_gone = self._connection.transport.is_closing()
        return not is_gone and self._server.now - self._pinged < IDLE_S * 1_000

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        unread = self._unread()
        if len(unread) > 10 * _STEP_S + 1:
            server.overdone.append("more than 10 messages a second")
        for message in unread:
            await self._hear(message)
        news, self._news = server._said[self._news :], len(server._said)
        for frame in news if self._hears_liquidations else ():
            await self._say(frame)
        if server.now >= self._next:
            self._next = server.now + 1_000
            for symbol in [*self._books]:
                await self._go_on(symbol)

    async def _hear(self, message: bytes) -> None:
        server = self._server
        if message == b"ping":
            self._pinged = server.now
            if server.answers_pings:
                await self._say(b"pong")
            return
        asked = json.loads(message)
        if len(message) > 4_096 or len(asked["args"]) > 20:
            server.overdone.append("too much in a message")
        for topic in asked["args"]:
            self._requests += 1
            if self._requests > REQUESTS_AN_HOUR:
                server.overdone.append("more requests than in an hour")
            await self._change(asked["op"], topic)

    async def _change(self, operation: str, topic: dict[str, str]) -> None:
        """One topic is subscribed or not any more; of another type all is well and nothing comes"""
        server, symbol = self._server, topic.get("symbol", "")
        unknown = bool(symbol) and (symbol in server.refused or symbol not in server.contracts)
        if unknown or (operation == "unsubscribe" and symbol not in self._books):
            await self._say(frames.bitget_refuses(symbol, operation))
            return
        await self._say(frames.bitget_says(operation, arg=topic))
        if topic["instType"] != "usdt-futures":
            return
        if topic["topic"] == "liquidation":
            self._hears_liquidations = True
            for frame in server.replayed:
                await self._say(frame)
        elif operation == "unsubscribe":
            del self._books[symbol]
        else:
            self._books[symbol] = 100
            await self._say(frames.bitget_book(symbol, 100, at=server.now))
            if len(self._books) > MOST_TOPICS:
                server.overdone.append("more topics than a connection should have")

    async def _go_on(self, symbol: str) -> None:
        server, last = self._server, self._books[symbol]
        if symbol in server.quiet:
            return
        self._books[symbol] = last + 3
        if symbol in server.skip:
            server.skip.discard(symbol)
            return
        if symbol in server.anew:
            server.anew.discard(symbol)
            last, self._books[symbol] = 0, 7
        frame = frames.bitget_book(symbol, self._books[symbol], [(99.9, 8.0)], [], last, server.now)
        await self._say(frame)
