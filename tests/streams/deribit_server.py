"""Deribit on loopback: what its socket and its REST answers do, as its documentation has it."""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streams.events import Ms
from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

IDLE_S = 30.0
"""A connection is cut on which the client says nothing for so long."""

MOST_BYTES = 32_768
"""A longer message is refused."""

_BURST, _A_SECOND = 10, 3.3
"""How many subscriptions a connection may ask for at once, and for how many more each second."""

_STEP_S = 0.25
_HOUR: Ms = 3_600_000

MOST_HOURS = 744
"""So many rates one answer has at most."""


class DeribitServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    BTC has an inverse contract, all others linear ones. ``skip``: contracts whose next change of
    the book gets lost. ``silent``: it says nothing and answers nothing. ``unknown``: contracts
    whose channels it does not have. ``quiet``: contracts of which nothing changes. ``overdone``:
    what it was asked wrongly.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {s: frames.deribit_contract(s) for s in map(symbol_of, assets)}
        self.unknown: set[str] = set()
        self.quiet: set[str] = set()
        self.answers_pings = True
        self.held = 1_000.0
        self._sayings: list[bytes] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        match request.path.removeprefix("/api/v2/public/"):
            case "get_instruments":
                assert request.query == {"currency": "any", "kind": "future"}
                return web.json_response({"result": [*self.contracts.values()]})
            case "get_book_summary_by_currency":
                currency = request.query["currency"]
                begin = {"USDC": "_USDC-"}.get(currency, f"{currency}-")
                rows = [frames.deribit_summary(s) for s in self.contracts if begin in s]
                return web.json_response({"result": rows})
            case "get_funding_rate_history":
                since, until = (int(request.query[f"{n}_timestamp"]) for n in ("start", "end"))
                latest = until - since == _HOUR and abs(until - self.now) < 5_000
                past = _HOUR < until - since <= MOST_HOURS * _HOUR and until < self.now + 5_000
                if not (latest or past):
                    self.overdone.append(f"history of {since} to {until} at {self.now}")
                return web.Response(body=frames.deribit_settled(until))
            case "get_order_book":
                book = {"timestamp": self.now, "bids": frames.BIDS, "asks": frames.ASKS}
                return web.json_response({"result": book})
            case path:
                raise AssertionError(path)

    def liquidate(self, *amounts: float, symbol: str = "BTC-PERPETUAL", long: bool = True) -> None:
        """To all who have subscribed, between trades that are none."""
        trade = frames.deribit_trade(symbol, 1.0, self.now)
        self._sayings += [
            frames.deribit_tells("trades.future.any.100ms", [trade]),
            frames.deribit_forced(symbol, *amounts, at=self.now, long=long),
        ]

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is idle for too long; while silent, none is cut."""
        client = _Client(self, connection)
        while connection.state is State.OPEN and (self.silent or client.is_alive()):
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: DeribitServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._channels: dict[str, int] = {}  # the book's last id
        self._heard = server.now
        self._news = len(server._sayings)
        self._credit, self._counted = float(_BURST), server.now

    def is_alive(self) -> bool:
        return self._server.now - self._heard < IDLE_S * 1_000

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            if len(message) > MOST_BYTES:
                server.overdone.append(f"a message of {len(message)} bytes")
            await self._hear(json.loads(message))
        news, self._news = server._sayings[self._news :], len(server._sayings)
        if "trades.future.any.100ms" in self._channels:
            for frame in news:
                await self._say(frame)
        if server.now >= self._next:
            self._next = server.now + 1_000
            for channel in [*self._channels]:
                await self._go_on(channel)

    async def _hear(self, asked: dict[str, Any]) -> None:
        server = self._server
        self._heard = server.now
        assert asked["jsonrpc"] == "2.0"
        number, channels = asked["id"], asked["params"].get("channels", [])
        match asked["method"]:
            case "public/test":
                if server.answers_pings:
                    await self._say(frames.deribit_answers(number, {"version": "1.2.26"}))
            case "public/unsubscribe":
                self._pay()
                for channel in channels:
                    self._channels.pop(channel, None)
                await self._say(frames.deribit_answers(number, channels))
            case "public/subscribe":
                self._pay()
                known = [channel for channel in channels if self._knows(channel)]
                await self._say(frames.deribit_answers(number, known))
                for channel in known:
                    self._channels[channel] = 100
                    if channel.startswith("book."):
                        symbol = channel.split(".")[1]
                        await self._say(frames.deribit_book(symbol, 100, at=server.now))
            case method:
                raise AssertionError(method)

    def _pay(self) -> None:
        """Each subscription costs, and more than there is credit for ends the session."""
        now, server = self._server.now, self._server
        since, self._counted = (now - self._counted) / 1_000, now
        self._credit = min(_BURST, self._credit + since * _A_SECOND) - 1
        if self._credit < 0:
            server.overdone.append("too_many_requests")

    def _knows(self, channel: str) -> bool:
        symbol = channel.split(".")[1]
        listed = symbol in self._server.contracts and symbol not in self._server.unknown
        return listed or channel == "trades.future.any.100ms"

    async def _go_on(self, channel: str) -> None:
        server, symbol = self._server, channel.split(".")[1]
        if symbol in server.quiet or symbol in server.unknown:
            return
        if channel.startswith("ticker."):
            await self._say(frames.deribit_ticker(symbol, held=server.held, at=server.now))
        elif channel.startswith("book.") and symbol in server.contracts:
            last = self._channels[channel]
            self._channels[channel] = last + 7
            if symbol in server.skip:
                server.skip.discard(symbol)
                return
            await self._say(
                frames.deribit_book(symbol, last + 7, [(99.9, 8.0)], [], last, server.now)
            )


def symbol_of(asset: str) -> str:
    """The contract of an asset."""
    return "BTC-PERPETUAL" if asset == "BTC" else frames.symbol_of("deribit", asset)
