"""Binance's spot market on loopback: what its socket and its REST answers do, as documented and
recorded.

It says nothing of a symbol that there is none of, and takes a subscription all the same.
"""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streams.events import Ms
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

_STEP_S = 0.25
_MESSAGES_A_SECOND = 5
_STREAMS_A_CONNECTION = 1_024
_WEIGHT_A_MINUTE = 6_000


class BinanceSpotServer(ProtocolServer):
    """Its pairs against USDT and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: pairs whose next change of the book gets lost. ``silent``: it says nothing. ``quiet``:
    pairs of which nothing changes. ``halted``: pairs that do not trade. ``one_sided``: pairs whose
    bids are all gone. ``answered``: the last price by REST. ``overdone``: what it was asked wrongly
    or too often.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.pairs = {f"{asset}USDT": asset for asset in assets}
        self.last = dict.fromkeys(self.pairs, 100)
        self.quiet: set[str] = set()
        self.halted: set[str] = set()
        self.one_sided: set[str] = set()
        self.answered = 100.0
        self._weights: list[tuple[Ms, int]] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        match request.path:
            case "/api/v3/exchangeInfo":
                self._weigh(20)
                rows = [
                    {"symbol": symbol, "status": "BREAK" if symbol in self.halted else "TRADING",
                     "baseAsset": asset, "quoteAsset": "USDT", "isSpotTradingAllowed": True}
                    for symbol, asset in self.pairs.items()
                ]  # fmt: skip
                return web.json_response({"symbols": rows})
            case "/api/v3/ticker/24hr":
                self._weigh(80)
                return web.json_response(
                    [{"symbol": s, "quoteVolume": "1000000", "lastPrice": f"{self.answered}",
                      "closeTime": self.now} for s in self.pairs]
                )  # fmt: skip
            case "/api/v3/ticker/bookTicker":
                self._weigh(4)
                return web.json_response(
                    [{"symbol": s, "bidPrice": "99.99", "askPrice": "100.01"} for s in self.pairs]
                )
            case "/api/v3/depth":
                self._weigh(250)
                symbol = request.query["symbol"]
                bids = [] if symbol in self.one_sided else [["99.99", "5"], ["98", "50"]]
                return web.json_response(
                    {"lastUpdateId": self.last[symbol], "bids": bids,
                     "asks": [["100.01", "5"], ["102", "50"]]}
                )  # fmt: skip
            case path:
                raise AssertionError(path)

    def _weigh(self, weight: int) -> None:
        self._weights = [(at, w) for at, w in self._weights if self.now - at < 60_000]
        self._weights.append((self.now, weight))
        if (spent := sum(w for _, w in self._weights)) > _WEIGHT_A_MINUTE:
            self.overdone.append(f"a weight of {spent} within a minute")

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is closed."""
        client = _Client(self, connection)
        while connection.state is State.OPEN:
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: BinanceSpotServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._streams: dict[str, None] = {}
        self._heard: list[Ms] = []

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            self._heard = [at for at in self._heard if server.now - at < 1_000] + [server.now]
            if len(self._heard) > _MESSAGES_A_SECOND:
                server.overdone.append(f"{len(self._heard)} messages within a second")
            asked = json.loads(message)
            self._streams |= dict.fromkeys(asked["params"])
            if len(self._streams) > _STREAMS_A_CONNECTION:
                server.overdone.append(f"{len(self._streams)} streams")
            await self._say(json.dumps({"result": None, "id": asked["id"]}).encode())
        if server.now >= self._next:
            self._next = server.now + 1_000
            for stream in [*self._streams]:
                await self._go_on(stream)

    async def _go_on(self, stream: str) -> None:
        server, (name, _, what) = self._server, stream.partition("@")
        symbol = name.upper()
        if symbol not in server.pairs or symbol in server.quiet | server.halted:
            return
        if what == "miniTicker":
            data: dict[str, Any] = {"e": "24hrMiniTicker", "c": "100", "q": "1000000"}
        else:
            assert what == "depth"
            first, server.last[symbol] = server.last[symbol] + 1, server.last[symbol] + 3
            if symbol in server.skip:
                server.skip.discard(symbol)
                return
            gone = symbol in server.one_sided
            bids = [["99.99", "0" if gone else "5"], *([["99.9", "0"], ["98", "0"]] * gone)]
            data = {"e": "depthUpdate", "U": first, "u": server.last[symbol], "b": bids,
                    "a": [["100.02", "7"]]}  # fmt: skip
        data |= {"E": server.now, "s": symbol}
        await self._say(json.dumps({"stream": stream, "data": data}).encode())
