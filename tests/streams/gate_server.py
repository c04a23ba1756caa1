"""Gate on loopback: what its futures socket and its REST answers do, as was measured there."""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

IDLE_S = 30.0
"""A connection without a subscription is cut after so long without a word."""

_STEP_S = 0.25

_BOOKS, _TICKERS = "futures.obu", "futures.tickers"


class GateServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: contracts whose next change of the book gets lost. ``silent``: it says nothing and
    answers nothing. ``refused``: contracts that tickers do not know, and of which books are
    acknowledged and never come. ``quiet``: contracts of which nothing changes. ``overdone``: what
    it was asked wrongly.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {s: frames.gate_contract(s) for s in map(_symbol, assets)}
        self.hours: dict[str, int] = {}
        self.refused: set[str] = set()
        self.quiet: set[str] = set()
        self.answers_pings = True
        self.coins = 10.0
        self._sayings: list[tuple[str, bytes]] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        match request.path:
            case "/api/v4/futures/usdt/contracts":
                return web.json_response([*self.contracts.values()])
            case "/api/v4/futures/usdt/tickers":
                return web.json_response([frames.gate_row(s) for s in self.contracts])
            case "/api/v4/futures/usdt/funding_rate":
                hours = self.hours.get(request.query["contract"], 8)
                return web.Response(body=frames.gate_settled(self.now, hours))
            case "/api/v4/futures/usdt/order_book":
                return web.json_response(frames.gate_orders(self.now))
            case path:
                raise AssertionError(path)

    def liquidate(self, *coins: float, symbol: str = "BTC_USDT", long: bool = True) -> None:
        """To all who have subscribed."""
        frame = frames.gate_forced(symbol, *coins, at=self.now, long=long)
        self._sayings.append(("futures.public_liquidates", frame))

    def notice(self) -> None:
        """To every connection: it will be closed soon."""
        self._sayings.append(("", frames.gate_upgrade(self.now)))

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is idle for too long; while silent, none is cut."""
        client = _Client(self, connection)
        while connection.state is State.OPEN and (self.silent or client.is_alive()):
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: GateServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._topics: dict[tuple[str, str], int] = {}  # channel and topic → the book's last id
        self._heard = server.now
        self._news = len(server._sayings)

    def is_alive(self) -> bool:
        return bool(self._topics) or self._server.now - self._heard < IDLE_S * 1_000

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            await self._hear(json.loads(message))
        news, self._news = server._sayings[self._news :], len(server._sayings)
        for channel, frame in news:
            if not channel or (channel, "!all") in self._topics:
                await self._say(frame)
        if server.now >= self._next:
            self._next = server.now + 1_000
            for channel, topic in [*self._topics]:
                await self._go_on(channel, topic)

    async def _hear(self, asked: dict[str, Any]) -> None:
        server = self._server
        self._heard = server.now
        assert isinstance(asked["time"], int)
        if asked["channel"] == "futures.ping":
            if server.answers_pings:
                await self._say(frames.gate_pong(server.now))
            return
        channel, payload = asked["channel"], asked["payload"]
        if asked["event"] == "unsubscribe":
            for topic in payload:
                if self._topics.pop((channel, topic), None) is None:
                    server.overdone.append(f"{topic} was not subscribed")
            await self._say(frames.gate_says(channel, *payload, event="unsubscribe"))
            return
        if error := self._refusal(channel, payload):
            await self._say(frames.gate_says(channel, *payload, error=error))
            return
        await self._say(frames.gate_says(channel, *payload))
        for topic in payload:
            self._topics[channel, topic] = 100
            if channel == _BOOKS and _contract(topic) not in server.refused:
                await self._say(frames.gate_book(_contract(topic), 100, at=server.now))

    def _refusal(self, channel: str, payload: list[str]) -> str:
        """Why all of a request is refused, "" if it is not. Of books only what is there already."""
        for topic in payload:
            if channel == _BOOKS and (channel, topic) in self._topics:
                return f"Alert sub {topic}"
            known = topic in self._server.contracts and topic not in self._server.refused
            if channel == _TICKERS and not known:
                return f"unknown currency pair: {topic}"
        return ""

    async def _go_on(self, channel: str, topic: str) -> None:
        server, symbol = self._server, _contract(topic)
        if symbol in server.quiet or symbol in server.refused:
            return
        if channel == _TICKERS:
            hours = server.hours.get(topic, 8)
            await self._say(
                frames.gate_ticker(topic, coins=server.coins, at=server.now, hours=hours)
            )
        elif channel == _BOOKS and symbol in server.contracts:
            last = self._topics[channel, topic]
            self._topics[channel, topic] = last + 3
            if symbol in server.skip:
                server.skip.discard(symbol)
                return
            change = frames.gate_book(symbol, last + 3, [(99.9, 8.0)], [], last + 1, server.now)
            await self._say(change)


def _contract(topic: str) -> str:
    """``ob.BTC_USDT.400`` → ``BTC_USDT``."""
    return topic.removeprefix("ob.").removesuffix(".400")


def _symbol(asset: str) -> str:
    return frames.symbol_of("gate", asset)
