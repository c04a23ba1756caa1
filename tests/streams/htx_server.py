"""HTX on loopback: what its sockets and its REST answers do, as documented and recorded."""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streams.durations import HOUR
from streams.events import Ms
from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

PINGS_EVERY: Ms = 5_000
UNANSWERED: Ms = 15_000
"""A connection is cut that has answered no ping for so long."""

A_SECOND = 40
"""So many topics may be asked for in a second on one connection."""

_STEP_S = 0.25


class HtxServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: contracts whose next change of the book gets lost. ``silent``: it says nothing but its
    pings. ``refused``: contracts whose topics it refuses by name. ``quiet``: contracts of which
    nothing changes. ``hours``: funding intervals, of which it tells as they change. ``answered``:
    the mark price by REST.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {
            symbol: frames.htx_contract(symbol)
            for symbol in (frames.symbol_of("htx", asset) for asset in assets)
        }
        self.refused: set[str] = set()
        self.quiet: set[str] = set()
        self.hours: dict[str, int] = {}
        self.coins = 10.0
        self.answered = "100"
        self._sayings: list[tuple[str, bytes]] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        match request.path:
            case "/linear-swap-api/v1/swap_contract_info":
                return self._says(data=[*self.contracts.values()])
            case "/v2/linear-swap-ex/market/detail/batch_merged":
                return self._says(ticks=[frames.htx_row(s) for s in self.contracts])
            case "/v5/market/open_interest":
                rows = [frames.htx_held(s, self.coins) for s in self.contracts]
                return web.json_response({"code": 200, "data": rows, "ts": self.now})
            case "/v5/market/funding_rate_history":
                rows = self.settled(request.query["contract_code"])
                return web.json_response({"code": 200, "data": rows, "ts": self.now})
            case "/linear-swap-api/v1/swap_batch_funding_rate":
                rows = self.rates()
                return self._says(data=[r | {"funding_time": r["settlement_time"]} for r in rows])
            case "/index/market/history/linear_swap_mark_price_kline":
                return self._says(data=[{"close": self.answered}])
            case path:
                raise AssertionError(path)

    def settled(self, symbol: str) -> list[dict[str, Any]]:
        """The last two settlements."""
        interval = self.hours.get(symbol, 8) * HOUR
        last = self.now // interval * interval
        return [
            {"contract_code": symbol, "funding_rate": "0.0001", "funding_time": f"{at}"}
            for at in (last, last - interval)
        ]

    def rates(self) -> list[dict[str, Any]]:
        """What is to be charged, of all contracts."""
        return [frames.htx_rate(s, at=self.now, hours=self.hours.get(s, 8)) for s in self.contracts]

    def liquidate(self, *coins: float, symbol: str = "BTC-USDT", long: bool = True) -> None:
        """To all who have subscribed."""
        frame = frames.htx_forced(symbol, *coins, at=self.now, long=long)
        self._sayings.append(("liquidation_orders", frame))

    def change(self, symbol: str, hours: int) -> None:
        """Its funding interval."""
        self.hours[symbol] = hours
        row = {"contract_code": symbol, "settle_period": hours}
        frame = frames.htx_tells("contract_elements", [row], self.now)
        self._sayings.append(("contract_elements", frame))

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it leaves its pings unanswered."""
        client = _Client(self, connection)
        while connection.state is State.OPEN and client.is_alive():
            await client.step()
            await asyncio.sleep(_STEP_S)

    def _says(self, **fields: object) -> web.Response:
        return web.json_response({"status": "ok", "ts": self.now, **fields})


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: HtxServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        request = connection.request
        assert request is not None
        self._path = request.path
        self._topics: dict[tuple[str, str], int] = {}  # contract and topic → the book's last number
        self._of_all: set[str] = set()
        self._news = len(server._sayings)
        self._pinged = self._ponged = server.now
        self._ping = 0
        self._credit, self._counted = float(A_SECOND), server.now

    def is_alive(self) -> bool:
        return self._server.now - self._ponged < UNANSWERED

    async def _say(self, frame: bytes) -> None:
        await self._connection.send(frames.packed(frame))

    async def step(self) -> None:
        """Answer what came, ping, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            await self._hear(json.loads(message))
        if server.now - self._pinged >= PINGS_EVERY:
            self._pinged = self._ping = server.now
            ping = {"op": "ping", "ts": f"{self._ping}"} if self._notifies else {"ping": self._ping}
            await self._say(json.dumps(ping).encode())
        if server.silent:
            return
        news, self._news = server._sayings[self._news :], len(server._sayings)
        for topic, frame in news:
            if topic in self._of_all:
                await self._say(frame)
        if server.now >= self._next:
            self._next = server.now + 1_000
            if "funding_rate" in self._of_all:
                await self._say(frames.htx_tells("funding_rate", server.rates(), server.now))
            for symbol, topic in [*self._topics]:
                await self._go_on(symbol, topic)

    @property
    def _notifies(self) -> bool:
        return self._path.endswith("notification")

    async def _hear(self, asked: dict[str, Any]) -> None:
        server = self._server
        if "pong" in asked or asked.get("op") == "pong":
            if str(asked.get("pong", asked.get("ts"))) != f"{self._ping}":
                server.overdone.append(f"{asked} is no answer to {self._ping}")
            self._ponged = server.now
            return
        if server.silent:
            return
        now = server.now
        self._credit = min(A_SECOND, self._credit + (now - self._counted) * A_SECOND / 1_000) - 1
        self._counted = now
        if self._credit < 0:
            server.overdone.append("too many topics in a second")
        if asked.get("op") == "sub":
            assert self._notifies
            topic = asked["topic"].removeprefix("public.*.")
            self._of_all.add(topic)
            await self._say(frames.htx_opens(topic, now))
            return
        word = "sub" if "sub" in asked else "unsub"
        symbol, _, topic = asked[word].removeprefix("market.").partition(".")
        assert self._path == ("/linear-swap-ws" if topic.startswith("depth") else "/ws_index")
        if word == "unsub":
            if self._topics.pop((symbol, topic), None) is None:
                server.overdone.append(f"{topic} of {symbol} was not subscribed")
        elif symbol not in server.contracts or symbol in server.refused:
            await self._say(frames.htx_says(symbol, topic, f"invalid symbol {symbol}", now))
        else:
            await self._say(frames.htx_says(symbol, topic, at=now))
            self._topics[symbol, topic] = 100
            if topic.startswith("depth"):
                assert asked["data_type"] == "incremental"
                await self._say(frames.htx_book(symbol, 100, at=now))

    async def _go_on(self, symbol: str, topic: str) -> None:
        server = self._server
        if symbol in server.quiet or symbol not in server.contracts:
            return
        if topic.startswith("depth"):
            last = self._topics[symbol, topic] = self._topics[symbol, topic] + 1
            if symbol in server.skip:
                server.skip.discard(symbol)
                return
            change = frames.htx_book(symbol, last, [(99.9, 8.0)], [], "update", server.now)
            await self._say(change)
        else:
            feed = topic.removesuffix(".1min")
            await self._say(frames.htx_price(symbol, feed, at=server.now))
