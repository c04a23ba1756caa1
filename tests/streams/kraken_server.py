"""Kraken Futures on loopback: what its socket and its REST answers do, as documented and recorded.

It reads names in small letters too; here whoever writes them so is told of nothing.
"""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

LAST_TRADES = 100
_STEP_S = 0.25


class KrakenServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    BTC has an inverse contract, all others linear ones. ``skip``: contracts whose next change of
    the book gets lost. ``silent``: it says nothing. ``unknown``: contracts whose feeds it refuses,
    without their names. ``quiet``: contracts of which nothing changes. ``overdone``: what it was
    asked wrongly.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {s: frames.kraken_contract(s) for s in map(symbol_of, assets)}
        self.unknown: set[str] = set()
        self.quiet: set[str] = set()
        self.held = 1_000.0
        self.rows: dict[str, Any] = {}
        """What tickers by REST say instead."""
        self.trades: dict[str, list[dict[str, Any]]] = {}
        """Of each contract, the oldest first."""

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        match request.path.removeprefix("/derivatives/api/v3/"):
            case "instruments":
                return web.json_response({"instruments": [*self.contracts.values()]})
            case "tickers":
                rows = [frames.kraken_row(s) | self.rows for s in self.contracts]
                return web.json_response({"tickers": rows})
            case "orderbook":
                return web.Response(body=frames.kraken_orders())
            case path:
                raise AssertionError(path)

    def liquidate(self, *sizes: float, symbol: str = "PI_XBTUSD", long: bool = True) -> None:
        """To all who have subscribed, each after a trade that is none."""
        side = "sell" if long else "buy"
        for size in sizes:
            trades = self.trades.setdefault(symbol, [])
            order = {"side": side, "type": "liquidation", "uid": f"trade-{len(trades)}"}
            trades += [
                frames.kraken_trade(symbol, 1.0, self.now),
                frames.kraken_trade(symbol, size, self.now, **order),
            ]

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is closed."""
        client = _Client(self, connection)
        await connection.send(frames.kraken_says("info"), text=True)
        while connection.state is State.OPEN:
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: KrakenServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._topics: dict[tuple[str, str], int] = {}
        """Feed and contract → the number of the book's last change, or how many trades are told."""

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            await self._hear(json.loads(message))
        for feed, symbol in [*self._topics]:
            if feed == "trade":
                trades = server.trades.get(symbol, [])
                for trade in trades[self._topics[feed, symbol] :]:
                    await self._say(json.dumps(trade).encode())
                self._topics[feed, symbol] = len(trades)
        if server.now >= self._next:
            self._next = server.now + 1_000
            for feed, symbol in [*self._topics]:
                await self._go_on(feed, symbol)

    async def _hear(self, asked: dict[str, Any]) -> None:
        server, feed = self._server, asked["feed"]
        for symbol in asked["product_ids"]:
            if asked["event"] == "unsubscribe":
                if self._topics.pop((feed, symbol), None) is None and symbol not in server.unknown:
                    server.overdone.append(f"{feed} of {symbol} was not subscribed")
                await self._say(frames.kraken_says("unsubscribed", feed, symbol))
            elif symbol not in server.contracts or symbol in server.unknown:
                await self._say(frames.kraken_says("error", message="Invalid product id"))
            else:
                await self._say(frames.kraken_says("subscribed", feed, symbol))
                await self._begin(feed, symbol)

    async def _begin(self, feed: str, symbol: str) -> None:
        """What a subscription begins with."""
        trades = self._server.trades.get(symbol, [])
        self._topics[feed, symbol] = len(trades) if feed == "trade" else 100
        if feed == "book":
            await self._say(frames.kraken_book(symbol, 100, at=self._server.now))
        elif feed == "trade":
            await self._say(frames.kraken_trades(symbol, trades[::-1][:LAST_TRADES]))

    async def _go_on(self, feed: str, symbol: str) -> None:
        server = self._server
        if symbol in server.quiet or symbol in server.unknown:
            return
        if feed == "ticker":
            await self._say(frames.kraken_ticker(symbol, held=server.held, at=server.now))
        elif feed == "book":
            last = self._topics[feed, symbol]
            self._topics[feed, symbol] = last + 2
            changes = frames.kraken_changes(
                symbol, last + 1, [(99.9, 8.0)], [(100.1, 7.0)], server.now
            )
            if symbol in server.skip:
                server.skip.discard(symbol)
                changes = changes[1:]
            for change in changes:
                await self._say(change)


def symbol_of(asset: str) -> str:
    """The contract of an asset."""
    return "PI_XBTUSD" if asset == "BTC" else frames.symbol_of("kraken", asset)
