"""Kraken's spot market on loopback: what its socket and its REST answers do, as documented and
recorded.

Each of a request's pairs is answered by itself. A change of a book has no number, but the checksum
of the best levels that it leaves.
"""

import asyncio
import json
from typing import Any
from zlib import crc32

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

_STEP_S = 0.25
_IDLE_MS = 60_000
_DEPTHS = (10, 25, 100, 500, 1000)


class KrakenSpotServer(ProtocolServer):
    """Its pairs against USD and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: pairs whose next change of the book gets lost. ``silent``: it says nothing.
    ``unknown``: pairs that it refuses. ``quiet``: pairs of which nothing changes. ``answered``: the
    last price by REST. ``overdone``: what it was asked wrongly.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.pairs = {f"{asset}/USD": "online" for asset in assets}
        self.unknown: set[str] = set()
        self.quiet: set[str] = set()
        self.answered = "100"

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        match request.path:
            case "/0/public/AssetPairs":
                rows: dict[str, Any] = {
                    f"X{s.partition('/')[0]}ZUSD": {
                        "altname": s.replace("/", ""), "status": status,
                        "wsname": s.replace("BTC", "XBT"),
                    }
                    for s, status in self.pairs.items()
                }  # fmt: skip
            case "/0/public/Ticker" if "pair" in request.query:
                rows = {"X": {"a": ["100.01", "1", "1"], "b": ["99.99", "1", "1"],
                              "c": [self.answered, "1"], "v": ["1", "10000"],
                              "p": ["100", "100"]}}  # fmt: skip
            case "/0/public/Ticker":
                rows = {}
            case "/0/public/Depth":
                rows = {"X": {"bids": [["99.99", "5", 1]], "asks": [["100.01", "5", 1]]}}
            case path:
                raise AssertionError(path)
        return web.json_response({"error": [], "result": rows})

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is closed, by us if nothing was said for a minute."""
        assert connection.request is not None
        assert connection.request.path == "/v2"
        client = _Client(self, connection)
        while connection.state is State.OPEN and (self.silent or client.is_alive()):
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: KrakenSpotServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._books: dict[str, int] = {}
        """Each with the number of changes since it came whole."""
        self._tickers: dict[str, None] = {}
        self._last = server.now

    def is_alive(self) -> bool:
        return self._server.now - self._last < _IDLE_MS

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            self._last = server.now
            await self._hear(json.loads(message))
        if server.now >= self._next:
            self._next = server.now + 1_000
            await self._say(b'{"channel":"heartbeat"}')
            for symbol in [*self._books]:
                await self._go_on(symbol)
            rows = [_ticker(s) for s in self._tickers if s not in server.quiet]
            if rows:
                message = {"channel": "ticker", "type": "update", "data": rows}
                await self._say(json.dumps(message).encode())

    async def _hear(self, asked: dict[str, Any]) -> None:
        server, method = self._server, asked["method"]
        if method == "ping":
            await self._say(b'{"method":"pong"}')
            return
        params = asked["params"]
        if params["channel"] == "book" and params["depth"] not in _DEPTHS:
            server.overdone.append(f"a depth of {params['depth']}")
        for symbol in params["symbol"]:
            if symbol not in server.pairs or symbol in server.unknown:
                text = f"Currency pair not supported {symbol}"
                refused = {"error": text, "method": method, "success": False, "symbol": symbol}
                await self._say(json.dumps(refused).encode())
                continue
            result = {"channel": params["channel"], "symbol": symbol}
            accepted = {"method": method, "success": True, "result": result}
            await self._say(json.dumps(accepted).encode())
            if params["channel"] == "ticker":
                self._tickers[symbol] = None
            elif method == "unsubscribe":
                self._books.pop(symbol, None)
            else:
                self._books[symbol] = 0
                await self._book(symbol, "snapshot", *_sides(0))

    async def _go_on(self, symbol: str) -> None:
        server = self._server
        if symbol in server.quiet:
            return
        self._books[symbol] += 1
        if symbol in server.skip:
            server.skip.discard(symbol)
            return
        changes = self._books[symbol]
        bids, asks = (side[:1] for side in _sides(changes))
        await self._book(symbol, "update", bids if changes % 2 else [], [] if changes % 2 else asks)

    async def _book(
        self, symbol: str, kind: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]]
    ) -> None:
        whole_bids, whole_asks = _sides(self._books[symbol])
        texts = [n.replace(".", "").lstrip("0") for x in (*whole_asks, *whole_bids) for n in x]
        levels = [
            "[" + ",".join(f'{{"price":{p},"qty":{n}}}' for p, n in side) + "]"
            for side in (bids, asks)
        ]
        frame = (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":{levels[0]},'
            f'"asks":{levels[1]},"checksum":{crc32("".join(texts).encode())},'
            '"timestamp":"2026-11-21T12:00:10.110183Z"}]}'
        )
        await self._say(frame.encode())


def _sides(changes: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Bids and asks after so many changes, of which each changes the best size of one side."""
    bid, ask = (f"{5 + count % 7}.00000000" for count in ((changes + 1) // 2, changes // 2))
    return [("99.990", bid), ("98.000", "50.10000000")], [
        ("100.010", ask),
        ("102.000", "0.50000000"),
    ]


def _ticker(symbol: str) -> dict[str, Any]:
    """10,000 coins at 100."""
    return {"symbol": symbol, "last": 100.0, "volume": 10_000.0, "vwap": 100.0}
