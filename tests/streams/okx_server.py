"""OKX on loopback: what its public socket and its REST answers do, as its documentation says."""

import asyncio
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection

from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

IDLE_S = 30.0
"""A connection is cut after so long without a ping."""

TOPICS_AN_HOUR = 480

_STEP_S = 0.25


class OkxServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: contracts whose next change of the book gets lost. ``silent``: it says nothing and
    answers nothing. ``replayed``: liquidations that each new subscription begins with. ``refused``:
    contracts that no channel knows. ``quiet``: contracts of whose books nothing changes.
    ``answered_mark``: the mark price of REST. ``overdone``: what
    it was asked too often or too much.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {s: frames.okx_contract(s) for s in map(_symbol, assets)}
        self.hours: dict[str, int] = {}
        self.answers_pings = True
        self.answered_mark = 100.0
        self.replayed: list[bytes] = []
        self.refused: set[str] = set()
        self.quiet: set[str] = set()
        self._said: list[tuple[str, bytes]] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        rows: dict[str, list[Any]] = {
            "/api/v5/public/instruments?instType=SWAP": [*self.contracts.values()],
            "/api/v5/public/funding-rate?instId=ANY": [
                frames.okx_funding(s, at=self.now, hours=self.hours.get(s, 8))
                for s in self.contracts
            ],
            "/api/v5/public/open-interest?instType=SWAP": [
                frames.okx_interest(s, at=self.now) for s in self.contracts
            ],
            "/api/v5/market/tickers?instType=SWAP": [
                frames.okx_ticker(s, at=self.now) for s in self.contracts
            ],
            **frames.okx_checks([*self.contracts], self.now, self.answered_mark),
        }
        if request.path == "/api/v5/public/funding-rate-history":
            symbol = request.query["instId"]
            settled = frames.okx_settled(symbol, at=self.now, hours=self.hours.get(symbol, 8))
            return web.Response(body=frames.okx_answer(settled))
        return web.Response(body=frames.okx_answer(rows[request.path_qs]))

    def liquidate(self, *coins: float, symbol: str = "BTC-USDT-SWAP", long: bool = True) -> bytes:
        """To all who have subscribed; the frame is returned."""
        frame = frames.okx_forced(symbol, *coins, at=self.now, long=long)
        self._said.append(("liquidation-orders", frame))
        return frame

    def change(self, symbol: str, **fields: str) -> None:
        """A contract changes, which its channel says."""
        self.contracts[symbol] |= fields
        arg = {"channel": "instruments", "instType": "SWAP"}
        row = {"arg": arg, "data": [self.contracts[symbol]]}
        self._said.append(("instruments", json.dumps(row).encode()))

    def notice(self) -> None:
        """To every connection: it will be closed soon."""
        self._said.append(("", frames.okx_says("notice", code="64008", msg="service upgrade")))

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is idle for too long; while silent, none is cut."""
        client = _Client(self, connection)
        while self.silent or client.is_alive():
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class OkxSpotServer(OkxServer):
    """Its pairs against USDT."""

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = {f"{asset}-USDT": pair(asset) for asset in assets}
        self.answered = "100"
        """The last price by REST."""

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        rows: dict[str, list[Any]] = {
            "/api/v5/public/instruments?instType=SPOT": [*self.contracts.values()],
            "/api/v5/market/tickers?instType=SPOT": [
                _pair_ticker(s, self.now) | {"last": self.answered} for s in self.contracts
            ],
        }
        if request.path == "/api/v5/market/books":
            book = {"asks": [["100.01", "20", "0", "1"]], "bids": [["99.99", "20", "0", "1"]],
                    "ts": f"{self.now}"}  # fmt: skip
            return web.Response(body=frames.okx_answer([book]))
        return web.Response(body=frames.okx_answer(rows[request.path_qs]))


def pair(asset: str) -> dict[str, Any]:
    """A row of the listing of spot."""
    return {
        "instId": f"{asset}-USDT", "instType": "SPOT", "baseCcy": asset, "quoteCcy": "USDT",
        "state": "live", "ruleType": "normal", "instCategory": "1", "ctType": "", "ctVal": "",
        "expTime": "",
    }  # fmt: skip


def _pair_ticker(symbol: str, at: int) -> dict[str, str]:
    return {
        "instType": "SPOT", "instId": symbol, "last": "100", "vol24h": "10000",
        "volCcy24h": "1000000", "bidPx": "99.99", "askPx": "100.01", "ts": str(at),
    }  # fmt: skip


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: OkxServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._topics: dict[tuple[str, str], int] = {}  # channel and contract → the book's last id
        self._counted = 0
        self._pinged = server.now
        self._news = len(server._said)

    def is_alive(self) -> bool:
        return self._server.now - self._pinged < IDLE_S * 1_000

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            await self._hear(message)
        news, self._news = server._said[self._news :], len(server._said)
        for channel, frame in news:
            if not channel or (channel, "") in self._topics:
                await self._say(frame)
        if server.now >= self._next:
            self._next = server.now + 1_000
            for channel, symbol in [*self._topics]:
                await self._go_on(channel, symbol)

    async def _hear(self, message: bytes) -> None:
        server = self._server
        if message == b"ping":
            self._pinged = server.now
            if server.answers_pings:
                await self._say(b"pong")
            return
        if len(message) > 64 * 1024:
            server.overdone.append("a message of more than 64 KB")
        asked = json.loads(message)
        for topic in asked["args"]:
            self._counted += 1
            if self._counted > TOPICS_AN_HOUR:
                server.overdone.append("more topics than in an hour")
            key = topic["channel"], topic.get("instId", "")
            if asked["op"] == "unsubscribe":
                self._topics.pop(key, None)
                await self._say(frames.okx_says("unsubscribe", arg=topic))
                continue
            if key[1] in server.refused or not self._is_known(*key):
                text = f"Wrong URL or channel:{key[0]},instId:{key[1]} doesn't exist. Please use"
                await self._say(frames.okx_says("error", code="60018", msg=text))
                continue
            await self._say(frames.okx_says("subscribe", arg=topic))
            self._topics[key] = 100
            if sum(channel == "books" for channel, _ in self._topics) >= 30:
                server.overdone.append("30 books on a connection")
            await self._begin(*key)

    def _is_known(self, channel: str, symbol: str) -> bool:
        symbol = f"{symbol}-SWAP" if channel == "index-tickers" else symbol
        return not symbol or symbol in self._server.contracts

    async def _begin(self, channel: str, symbol: str) -> None:
        if channel == "books":
            await self._say(frames.okx_book(symbol, 100, at=self._server.now))
        elif channel == "instruments":
            arg = {"channel": "instruments", "instType": "SWAP"}
            rows = [*self._server.contracts.values()]
            await self._say(json.dumps({"arg": arg, "data": rows}).encode())
        elif channel == "liquidation-orders":
            for frame in self._server.replayed:
                await self._say(frame)

    async def _go_on(self, channel: str, symbol: str) -> None:
        server = self._server
        if channel == "mark-price":
            await self._say(frames.okx_price(symbol, at=server.now))
        elif channel == "index-tickers":
            await self._say(frames.okx_index(f"{symbol}-SWAP", at=server.now))
        elif channel == "tickers":
            if symbol not in server.quiet:
                arg = {"channel": channel, "instId": symbol}
                rows = [_pair_ticker(symbol, server.now)]
                await self._say(json.dumps({"arg": arg, "data": rows}).encode())
        elif channel == "books" and symbol not in server.quiet:
            last = self._topics[channel, symbol]
            self._topics[channel, symbol] = last + 3
            if symbol in server.skip:
                server.skip.discard(symbol)
                return
            frame = frames.okx_book(symbol, last + 3, [(99.9, 8.0)], [], last, server.now)
            await self._say(frame)


def _symbol(asset: str) -> str:
    return frames.symbol_of("okx", asset)
