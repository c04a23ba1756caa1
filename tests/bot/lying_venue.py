"""A venue on loopback that speaks Bybit's protocol, says everything twice, and may lie.

Shapes from bybit-exchange.github.io/docs/v5 (tickers, orderbook, instruments-info).
"""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection

from streams.events import Ms
from tests.streams.venue_server import Sockets, listening, resting

COINS = {"BTC": 84_000.0, "ETH": 2_950.0, "SOL": 140.0, "XRP": 2.2, "DOGE": 0.15}
HOUR: Ms = 3_600_000
_INTERVAL: Ms = 8 * HOUR
_LEVELS = 60
_STEP_S = 0.5

Ticker = dict[str, Any]


class LyingVenue:
    """It is honest until one of its fields is changed.

    ``said``: what the websocket says of a ticker, given what is true. ``answered``: what REST says.
    ``size``: what sizes of the book on the websocket are multiplied by, ``shift`` its prices.
    ``loses``: of every contract's book each tenth change gets lost. ``late``: how far its clock is
    behind. ``refuses_checks``: what is asked twice is refused. ``kept``: how old the answers of
    REST are. ``interval``: minutes, in its listing.
    """

    def __init__(self, now: Callable[[], Ms]) -> None:
        self.true_now = now
        self.said: Callable[[Ticker], Ticker] = lambda row: row
        self.answered: Callable[[Ticker], Ticker] = lambda row: row
        self.size = self.shift = 1.0
        self.loses = False
        self.late: Ms = 0
        self.kept: Ms = 0
        self.interval = 480
        self.refuses_checks = False
        self._tickers_answered = 0
        self.sockets: Sockets | None = None
        self._first = now()

    @property
    def now(self) -> Ms:
        """By its own clock."""
        return self.true_now() - self.late

    def price(self, coin: str, at: Ms) -> float:
        """It never stands still."""
        seconds = (at - self._first) / 1000
        return COINS[coin] * (1 + 0.002 * math.sin(seconds / 40 + len(coin)) + seconds * 1e-6)

    def ticker(self, coin: str, at: Ms) -> Ticker:
        price = self.price(coin, at)
        index = price * 1.0001
        held = 1e9 / COINS[coin]
        return {
            "symbol": f"{coin}USDT", "markPrice": f"{price:.8g}", "indexPrice": f"{index:.8g}",
            "fundingRate": "0.0001", "fundingIntervalHour": "8",
            "nextFundingTime": str((at // _INTERVAL + 1) * _INTERVAL),
            "singleOpenInterest": f"{held:.8g}", "singleOpenInterestValue": f"{held * price:.8g}",
            "turnover24h": "2000000000", "bid1Price": f"{price * 0.9999:.8g}",
            "ask1Price": f"{price * 1.0001:.8g}",
        }  # fmt: skip

    def book(self, coin: str, at: Ms) -> tuple[list[list[float]], list[list[float]]]:
        """Bids and asks, a basis point apart."""
        price, size = self.price(coin, at), 50_000 / COINS[coin]
        return tuple(  # pyright: ignore[reportReturnType]
            [[round(price * (1 + way * n / 10_000), 9), size] for n in range(1, _LEVELS)]
            for way in (-1, 1)
        )

    # ── REST ────────────────────────────────────────────────────────────

    def answer(self, request: web.Request) -> web.Response:
        at, result = self.now - self.kept, {}
        match request.path:
            case "/v5/market/tickers":
                result = {"list": [self.answered(self.ticker(coin, at)) for coin in COINS]}
            case "/v5/market/instruments-info":
                result = {"list": [self._contract(coin) for coin in COINS], "nextPageCursor": ""}
            case "/v5/market/orderbook":
                symbol = request.query["symbol"]
                bids, asks = self.book(symbol.removesuffix("USDT"), at)
                result = {"s": symbol, "b": bids, "a": asks, "ts": at, "u": 1, "seq": 1}
            case "/v5/market/funding/history":
                result = {"list": []}
            case path:
                raise AssertionError(path)
        if self.refuses_checks and request.path.endswith(("tickers", "orderbook")):
            self._tickers_answered += 1
            if self._tickers_answered > 1:  # the first makes the listing
                return web.Response(status=503)
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "time": at})

    def _contract(self, coin: str) -> Ticker:
        return {
            "symbol": f"{coin}USDT", "contractType": "LinearPerpetual", "status": "Trading",
            "baseCoin": coin, "quoteCoin": "USDT", "settleCoin": "USDT",
            "fundingInterval": self.interval, "symbolType": "", "deliveryTime": "0",
        }  # fmt: skip

    # ── websocket ───────────────────────────────────────────────────────

    async def talk(self, connection: ServerConnection) -> None:
        assert self.sockets is not None
        read, topics = 0, dict[str, Any]()
        while True:
            heard = self.sockets.heard_from.get(connection, [])
            for message in heard[read:]:
                asked = json.loads(message)
                for topic in asked.get("args", ()):
                    topics.pop(topic, None)
                    if asked["op"] == "subscribe":
                        topics[topic] = None
                if asked["op"] != "ping":
                    await self._say(connection, {"success": True, "ret_msg": "", "op": asked["op"]})
            read = len(heard)
            for topic in topics:
                await self._go_on(connection, topic, topics)
            await asyncio.sleep(_STEP_S)

    async def _say(self, connection: ServerConnection, frame: Ticker) -> None:
        await connection.send(json.dumps(frame))

    async def _go_on(
        self, connection: ServerConnection, topic: str, topics: dict[str, Any]
    ) -> None:
        kind, symbol = topic.split(".")[0], topic.rpartition(".")[2]
        coin, now = symbol.removesuffix("USDT"), self.now
        if kind == "tickers":
            data: Ticker = self.said(self.ticker(coin, now))
        elif kind == "orderbook":
            bids, asks = (
                [[price * self.shift, size * self.size] for price, size in side]
                for side in self.book(coin, now)
            )
            update, old = topics[topic] or (0, ([], []))
            topics[topic] = update + 1, (bids, asks)
            if self.loses and update % 10 == 9:
                return
            b, a = (
                [[price, 0] for price, _ in o] + n for o, n in zip(old, (bids, asks), strict=True)
            )
            data = {"s": symbol, "b": b, "a": a, "u": update + 100, "seq": 1}
            is_first = not update
            frame = {
                "topic": topic,
                "type": "snapshot" if is_first else "delta",
                "ts": now,
                "data": data,
            }
            await self._say(connection, frame)
            return
        else:
            return
        await self._say(connection, {"topic": topic, "type": "snapshot", "ts": now, "data": data})


@asynccontextmanager
async def lying(now: Callable[[], Ms]) -> AsyncIterator[tuple[LyingVenue, str, str]]:
    """The venue, and its websocket and REST addresses."""
    venue = LyingVenue(now)
    async with contextlib.AsyncExitStack() as stack:
        sockets = await stack.enter_async_context(listening(venue.talk))
        rest = await stack.enter_async_context(resting(venue.answer))
        venue.sockets = sockets
        yield venue, sockets.url, rest
