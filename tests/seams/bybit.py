"""Bybit's public API on loopback, as far as Lowtide uses it: a listing, tickers, liquidations.

Shapes from bybit-exchange.github.io/docs/v5 (instruments-info, tickers, allLiquidation).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.streams.venue_server import listening, resting

PRICES = {"BTCUSDT": 100_000.0, "ETHUSDT": 4_000.0, "SOLUSDT": 200.0}


class FakeBybit:
    """An async context manager; serves at ``websocket`` and ``rest``.

    ``prices``: the symbols that are listed, and their mark prices; a ticker of each is sent twice a
    second, as it is then, with an open interest of ``base`` coins. ``settlements``: of each symbol,
    the oldest first, ``hours`` apart; ``asked``: whose were asked for, and how many at most.
    ``closes``: of each symbol, prices in force at full five minutes, and the candle that is not
    over goes on from the newest; ``candled``: of which of them they were asked for, page by page.
    """

    def __init__(self) -> None:
        self.prices = dict(PRICES)
        self.base = 1_000_000.0
        self.hours = 8
        self.settlements: dict[str, list[tuple[int, float]]] = {}
        self.asked: list[tuple[str, int]] = []
        self.closes: dict[str, dict[int, float]] = {}
        self.candled: list[str] = []
        self.websocket = ""
        self.rest = ""
        self._servers = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "FakeBybit":
        self._sockets = await self._servers.enter_async_context(listening(self._talk))
        self.rest = await self._servers.enter_async_context(resting(self._answer))
        self.websocket = self._sockets.url
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.aclose()

    def subscribers(self, topic: str) -> list[ServerConnection]:
        """The open connections that have asked for ``topic``, whole or its beginning."""
        heard, asked = self._sockets.heard_from, topic.encode()
        return [c for c in self._sockets.open if any(asked in m for m in heard.get(c, []))]

    async def send(self, frame: Mapping[str, object]) -> None:
        """To every connection that has asked for the frame's topic."""
        for connection in self.subscribers(f'"{frame["topic"]}"'):
            with contextlib.suppress(ConnectionClosed):  # whoever is killed hears nothing more
                await connection.send(json.dumps(frame))

    async def liquidate(self, symbol: str, usd: float, *, long: bool = True) -> None:
        """A position of this size is liquidated at the mark price."""
        now, price = _now(), self.prices[symbol]
        row = {"T": now, "s": symbol, "S": "Buy" if long else "Sell",
               "v": f"{usd / price:.9f}", "p": f"{price}"}  # fmt: skip
        topic = f"allLiquidation.{symbol}"
        await self.send({"topic": topic, "type": "snapshot", "ts": now, "data": [row]})

    async def _talk(self, connection: ServerConnection) -> None:
        subscribed = json.dumps({"success": True, "ret_msg": "", "op": "subscribe"}).encode()
        while True:
            for frame in (subscribed, *self._tickers()):
                await connection.send(frame, text=True)
            await asyncio.sleep(0.5)

    def _tickers(self) -> list[bytes]:
        return [
            json.dumps({"topic": f"tickers.{symbol}", "type": "snapshot", "ts": _now(),
                        "data": self._ticker(symbol)}).encode()
            for symbol in self.prices
        ]  # fmt: skip

    def _ticker(self, symbol: str) -> dict[str, str]:
        price, interval = self.prices[symbol], self.hours * _HOUR
        return {
            "symbol": symbol, "markPrice": f"{price}", "indexPrice": f"{price}",
            "fundingRate": "0.0001", "fundingIntervalHour": f"{self.hours}",
            "nextFundingTime": f"{_now() // interval * interval + interval}",
            "singleOpenInterest": f"{self.base}",
            "singleOpenInterestValue": f"{self.base * price}",
            "turnover24h": "1000000",
        }  # fmt: skip

    def _answer(self, request: web.Request) -> web.Response:
        match request.path:
            case "/v5/market/tickers":
                rows = [self._ticker(symbol) for symbol in self.prices]
            case "/v5/market/instruments-info":
                rows = [self._contract(symbol) for symbol in self.prices]
            case "/v5/market/funding/history":
                rows = self._settled(request)
            case "/v5/market/index-price-kline":
                rows = self._candles(request)
            case _:
                rows = []
        result = {"category": "linear", "list": rows, "nextPageCursor": ""}
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "time": _now()})

    def _settled(self, request: web.Request) -> list[dict[str, object]]:
        symbol, limit = request.query["symbol"], int(request.query["limit"])
        until = int(request.query.get("endTime", _now()))
        self.asked.append((symbol, limit))
        past = [row for row in self.settlements.get(symbol, []) if row[0] <= until][-limit:]
        return [
            {"symbol": symbol, "fundingRate": f"{rate}", "fundingRateTimestamp": f"{at}"}
            for at, rate in reversed(past)
        ]

    def _candles(self, request: web.Request) -> list[list[str]]:
        symbol, limit = request.query["symbol"], int(request.query["limit"])
        self.candled.append(symbol)
        closes = self.closes.get(symbol, {})
        begins = [
            at - _CANDLE for at in sorted(closes) if at - _CANDLE <= int(request.query["end"])
        ]
        running: list[list[str]] = []
        newest = max(closes, default=0)
        if newest <= int(request.query["end"]) < newest + _CANDLE:
            first, last = f"{closes[newest]}", f"{self.prices[symbol]}"
            running = [[f"{newest}", first, first, first, last]]
        return running + [
            [f"{at}", *[f"{closes.get(at, closes[at + _CANDLE])}"] * 3, f"{closes[at + _CANDLE]}"]
            for at in begins[-limit:][::-1]
        ]

    def _contract(self, symbol: str) -> dict[str, object]:
        return {
            "symbol": symbol, "contractType": "LinearPerpetual", "status": "Trading",
            "baseCoin": symbol.removesuffix("USDT"), "quoteCoin": "USDT", "settleCoin": "USDT",
            "fundingInterval": 60 * self.hours, "symbolType": "", "deliveryTime": "0",
        }  # fmt: skip


_HOUR = 3_600_000
_CANDLE = 300_000


def _now() -> int:
    return int(time.time() * 1000)
