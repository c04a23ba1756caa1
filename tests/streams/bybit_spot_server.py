"""Bybit's spot market on loopback: what its socket and its REST answers do, as documented and
recorded.

A request with a topic that there is none of, that is subscribed already, or of more than ten
topics, is refused as a whole.
"""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

_STEP_S = 0.25
_TOPICS_A_MESSAGE = 10


class BybitSpotServer(ProtocolServer):
    """Its pairs against USDT and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: pairs whose next change of the book gets lost. ``silent``: it says nothing.
    ``unknown``: pairs that it refuses. ``quiet``: pairs of which nothing changes. ``answered``: the
    last price by REST. ``overdone``: what it was asked wrongly.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.pairs = {f"{asset}USDT": pair(asset) for asset in assets}
        self.unknown: set[str] = set()
        self.quiet: set[str] = set()
        self.answered = 100.0

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        assert request.query["category"] == "spot"
        match request.path:
            case "/v5/market/instruments-info":
                rows = [*self.pairs.values()]
            case "/v5/market/tickers":
                rows = [
                    {"symbol": s, "turnover24h": "1000000", "lastPrice": f"{self.answered}",
                     "bid1Price": "99.9", "ask1Price": "100.1"} for s in self.pairs
                ]  # fmt: skip
            case "/v5/market/orderbook":
                book = {"s": request.query["symbol"], "b": [["99.9", "8"]], "a": [["100.1", "7"]],
                        "ts": self.now, "u": 1, "seq": 1}  # fmt: skip
                return web.json_response({"retCode": 0, "retMsg": "OK", "result": book,
                                          "time": self.now})  # fmt: skip
            case path:
                raise AssertionError(path)
        result = {"category": "spot", "list": rows}
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "time": self.now})

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is closed."""
        assert connection.request is not None
        assert connection.request.path == "/v5/public/spot"
        client = _Client(self, connection)
        while connection.state is State.OPEN:
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: BybitSpotServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._topics: dict[str, int] = {}
        """Each with the number of the book's last change."""

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            await self._hear(json.loads(message))
        if server.now >= self._next:
            self._next = server.now + 1_000
            for topic in [*self._topics]:
                await self._go_on(topic)

    async def _hear(self, asked: dict[str, Any]) -> None:
        if asked["op"] == "ping":
            await self._say(frames.bybit_says("pong"))
            return
        server, topics = self._server, asked["args"]
        if len(topics) > _TOPICS_A_MESSAGE:
            server.overdone.append(f"{len(topics)} topics in a message")
        if asked["op"] == "unsubscribe":
            for topic in topics:
                self._topics.pop(topic, None)
            await self._say(frames.bybit_says())
            return
        symbols = {topic: topic.rpartition(".")[2] for topic in topics}
        if refused := [
            t for t, s in symbols.items() if s not in server.pairs or s in server.unknown
        ]:
            text = f"error:handler not found,topic:{refused[0]}"
            await self._say(frames.bybit_says(text, success=False))
            return
        await self._say(frames.bybit_says())
        for topic, symbol in symbols.items():
            self._topics[topic] = 10
            if topic.startswith("orderbook."):
                await self._say(frames.bybit_book(symbol, 10, depth=_depth(topic), at=server.now))

    async def _go_on(self, topic: str) -> None:
        server, symbol = self._server, topic.rpartition(".")[2]
        if symbol in server.quiet:
            return
        if topic.startswith("tickers."):
            data = {"symbol": symbol, "lastPrice": "100", "turnover24h": "1000000"}
            message = {"topic": topic, "ts": server.now, "type": "snapshot", "data": data}
            await self._say(json.dumps(message).encode())
            return
        self._topics[topic] += 1
        if symbol in server.skip:
            server.skip.discard(symbol)
            return
        change = frames.bybit_book(
            symbol, self._topics[topic], [(99.9, 8.0)], [(100.1, 7.0)], delta=True,
            depth=_depth(topic), at=server.now,
        )  # fmt: skip
        await self._say(change)


def _depth(topic: str) -> int:
    return int(topic.split(".")[1])


def pair(asset: str) -> dict[str, Any]:
    """A row of the listing."""
    return {
        "symbol": f"{asset}USDT", "baseCoin": asset, "quoteCoin": "USDT", "status": "Trading",
        "innovation": "0", "marginTrading": "both",
    }  # fmt: skip
