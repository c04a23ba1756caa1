"""Binance COIN-M and Bybit inverse from their listings to what is published, on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection

from streams.events import Depth, Funding, Liquidation, OpenInterest, Price, Volume
from tests.streams import frames
from tests.streams.feed.test_client import Listened, listened
from tests.streams.venue_server import at_work, turns
from tests.streams.virtual import EPOCH, virtual

pytestmark = pytest.mark.usefixtures("no_chance")

SETTLED = EPOCH - EPOCH % 28_800_000


class CoinM:
    """``skip``: contracts whose next change of the book gets lost."""

    def __init__(self, *symbols: str) -> None:
        self.symbols = symbols
        self.skip: set[str] = set()
        self.price = 100.0
        self._last = 10

    def answer(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol", "")
        match request.path.removeprefix("/dapi/v1/"):
            case "exchangeInfo":
                rows: Any = [
                    {"symbol": s, "contractType": "PERPETUAL", "contractStatus": "TRADING",
                     "contractSize": 100 if s.startswith("BTC") else 10, "quoteAsset": "USD",
                     "baseAsset": s.removesuffix("USD_PERP"), "deliveryDate": 4133404800000}
                    for s in self.symbols
                ]  # fmt: skip
                rows = {"symbols": rows}
            case "openInterest":
                rows = {"symbol": symbol, "openInterest": "700", "time": EPOCH}
            case "fundingRate":
                rows = [{"symbol": symbol, "fundingRate": "0.0001", "fundingTime": SETTLED}]
            case "depth":
                rows = json.loads(frames.snapshot(self._last))
            case "fundingInfo" | "ticker/24hr":
                rows = []
            case path:
                raise AssertionError(path)
        return web.json_response(rows)

    async def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/stream":
            await self._books(connection)
        assert connection.request.path.startswith("/stream?streams=")
        while True:
            for frame in (
                frames.marks(*self.symbols, price=self.price),
                frames.minis(*self.symbols),
                frames.forced("BTCUSD_PERP", 50.0, price=self.price),
            ):
                await connection.send(frame.replace(b'"st":1', b'"st":2'), text=True)
            await asyncio.sleep(1)

    async def _books(self, connection: ServerConnection) -> None:
        while True:
            self._last += 1
            for symbol in self.symbols:
                if symbol not in self.skip:
                    await connection.send(frames.change(symbol, self._last, self._last), text=True)
                self.skip.discard(symbol)
            await asyncio.sleep(0.5)


@asynccontextmanager
async def coin_m(*symbols: str) -> AsyncIterator[tuple[CoinM, Listened]]:
    venue = CoinM(*symbols)
    async with listened("binance-coinm", venue.answer, venue.talk) as world, at_work(world.run()):
        yield venue, world


@virtual
async def test_everything_of_coin_m_is_published() -> None:
    async with coin_m("BTCUSD_PERP", "ETHUSD_PERP") as (venue, world):
        await asyncio.sleep(40)
        assert sorted({*turns(world.events)}) == [
            "+depth BTCUSD_PERP", "+depth ETHUSD_PERP", "+funding *", "+liquidation *",
            "+open_interest BTCUSD_PERP", "+open_interest ETHUSD_PERP", "+price *", "+volume *",
        ]  # fmt: skip
        interest = world.of(OpenInterest, "BTCUSD_PERP")[-1]
        assert (interest.usd, interest.base, interest.inverse) == (70_000, 700, True)
        assert world.of(OpenInterest, "ETHUSD_PERP")[-1].usd == 7_000
        order = world.of(Liquidation, "BTCUSD_PERP")[0]
        assert (order.usd, order.base, order.throttled) == (5_000, 50, True)
        # 5 contracts of 100 USD at the best price, or of 10
        assert world.of(Depth, "BTCUSD_PERP")[-1].bands[0].bid_usd == pytest.approx(1_200)
        assert world.of(Depth, "ETHUSD_PERP")[-1].bands[0].bid_usd == pytest.approx(120)
        assert {(e.settled, e.hours) for e in world.of(Funding, "BTCUSD_PERP")} >= {(False, 8)}
        venue.price = 50.0
        await asyncio.sleep(20)
        interest = world.of(OpenInterest, "BTCUSD_PERP")[-1]
        assert (interest.usd, interest.base) == (70_000, 1_400)


@virtual
async def test_a_lost_change_of_coin_m_costs_one_book_for_a_moment() -> None:
    async with coin_m("BTCUSD_PERP", "ETHUSD_PERP") as (venue, world):
        await asyncio.sleep(20)
        before = len(world.events)
        venue.skip.add("ETHUSD_PERP")
        await asyncio.sleep(30)
        assert [turn for turn in turns(world.events[before:]) if "depth" in turn] == [
            "-depth ETHUSD_PERP", "+depth ETHUSD_PERP"
        ]  # fmt: skip
        assert len(world.server.opened) == 2


def inverse_answer(request: web.Request) -> web.Response:
    assert request.query["category"] == "inverse"
    ticker = {"symbol": "BTCUSD", "openInterest": "7000", "volume24h": "9", "markPrice": "100"}
    contract = {"symbol": "BTCUSD", "contractType": "InversePerpetual", "status": "Trading",
                "baseCoin": "BTC", "quoteCoin": "USD", "fundingInterval": 480}  # fmt: skip
    rows: Any = {
        "/v5/market/tickers": [ticker],
        "/v5/market/instruments-info": [contract],
        "/v5/market/funding/history": [
            {"symbol": "BTCUSD", "fundingRate": "0.0001", "fundingRateTimestamp": str(SETTLED)}
        ],
    }
    result = {"list": rows[request.path], "nextPageCursor": ""}
    return web.json_response({"retCode": 0, "result": result})


async def inverse_talk(connection: ServerConnection) -> None:
    assert connection.request is not None
    assert connection.request.path == "/v5/public/inverse"
    both = {"openInterest": "7000", "openInterestValue": "70", "volume24h": "9000",
            "turnover24h": "90", "singleOpenInterest": "",
            "singleOpenInterestValue": ""}  # fmt: skip
    update = 0
    while True:
        update += 1
        for frame in (
            frames.bybit_book("BTCUSD", update),
            frames.ticker("BTCUSD", **both),
            frames.liquidated("BTCUSD", 50.0),
        ):
            await connection.send(frame, text=True)
        await asyncio.sleep(1)


@virtual
async def test_everything_of_bybits_inverse_contracts_is_published() -> None:
    async with (
        listened("bybit-inverse", inverse_answer, inverse_talk) as world,
        at_work(world.run()),
    ):
        await asyncio.sleep(20)
        kinds = {turn.split()[0] for turn in turns(world.events)}
        assert kinds == {
            "+depth", "+funding", "+liquidation", "+open_interest", "+price", "+volume"
        }  # fmt: skip
        interest = world.of(OpenInterest, "BTCUSD")[-1]
        assert (interest.usd, interest.base, interest.inverse) == (3_500, 35, True)
        assert {e.usd_24h for e in world.of(Volume, "BTCUSD")} == {9_000}
        assert {(e.usd, e.base) for e in world.of(Liquidation, "BTCUSD")} == {(50, 0.5)}
        assert {e.mark for e in world.of(Price, "BTCUSD")} == {100}
        # 5 and 7 contracts of 1 USD
        assert world.of(Depth, "BTCUSD")[-1].bands[0].bid_usd == pytest.approx(12)
