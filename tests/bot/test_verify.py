"""``lowtide verify``: a venue that lies is named within two rounds, and an honest one is not."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from bot.verify import Outcome, check_table, outcome_in_short, verified
from rules.verify import Agreement, CheckRow
from streams.feed.hub import VenueAddress
from streams.feed.selection import Markets
from tests.bot.lying_venue import COINS, HOUR, LyingVenue, Ticker, lying
from tests.streams import frames
from tests.streams.binance_spot_server import BinanceSpotServer
from tests.streams.bitfinex_server import BitfinexServer
from tests.streams.bitget_server import BitgetServer
from tests.streams.bybit_spot_server import BybitSpotServer
from tests.streams.coinbase_server import CoinbaseServer
from tests.streams.deribit_server import DeribitServer
from tests.streams.feed.test_client_inverse import CoinM
from tests.streams.gate_server import GateServer
from tests.streams.htx_server import HtxServer
from tests.streams.kraken_server import KrakenServer
from tests.streams.kraken_spot_server import KrakenSpotServer
from tests.streams.lighter_server import LighterServer
from tests.streams.okx_server import OkxServer, OkxSpotServer
from tests.streams.venue_server import StandIn, listening, resting
from tests.streams.virtual import EPOCH, Clock, virtual

MARKETS = Markets(majors=tuple(COINS), large=(), tail=0)
SECONDS = 60


def _scaled(factor: float, *fields: str) -> Callable[[Ticker], Ticker]:
    return lambda row: row | {name: f"{float(row[name]) * factor:.10g}" for name in fields}


def _says(**fields: str) -> Callable[[LyingVenue], None]:
    def lie(venue: LyingVenue) -> None:
        venue.said = lambda row: row | fields

    return lie


def _says_scaled(factor: float, *fields: str) -> Callable[[LyingVenue], None]:
    def lie(venue: LyingVenue) -> None:
        venue.said = _scaled(factor, *fields)

    return lie


def _frozen(venue: LyingVenue) -> None:
    first: dict[str, str] = {}
    venue.said = lambda row: row | {"markPrice": first.setdefault(row["symbol"], row["markPrice"])}


def _answers(**fields: str) -> Callable[[LyingVenue], None]:
    def lie(venue: LyingVenue) -> None:
        venue.answered = lambda row: row | fields

    return lie


def _is(**fields: float) -> Callable[[LyingVenue], None]:
    def lie(venue: LyingVenue) -> None:
        for name, value in fields.items():
            setattr(venue, name, value)

    return lie


SINGLE = ("singleOpenInterest", "singleOpenInterestValue")
LIES: dict[str, tuple[Callable[[LyingVenue], None], str, str]] = {
    "a mark price that stands still": (_frozen, "movement of the mark price", "5 of 5 stand still"),
    "a mark price that is scaled": (_says_scaled(1.01, "markPrice"), "mark price", "5 of 5"),
    "an index price that is scaled": (_says_scaled(0.99, "indexPrice"), "index price", "5 of 5"),
    "open interest of both sides": (
        _says_scaled(2, *SINGLE), "open interest", "2 times, as both sides in place of one"),
    "open interest in contracts of a thousandth": (
        _says_scaled(1000, *SINGLE[:1]), "open interest", "times, as in another unit"),
    "coins that are not worth what is said": (
        _says_scaled(1000, *SINGLE[:1]), "open interest in USD", "times"),
    "funding with the opposite sign": (
        _says(fundingRate="-0.0001"), "funding rate per 8 h", "the sign is the opposite one"),
    "an old funding interval": (
        _answers(fundingIntervalHour="4"), "funding interval", "5 of 5"),
    "volume in coins": (_says(turnover24h="20000"), "24 h volume", "as in another unit"),
    "answers from an hour ago": (
        _is(kept=HOUR), "age of the second source", "are old"),
    "changes of books that get lost": (_is(loses=1), "sequence of the books", "gaps"),
    "a book in contracts": (_is(size=100.0), "depth of the book", "as in another unit"),
    "a book of another price": (_is(shift=1.02), "mid of the book", "5 of 5"),
    "a clock that is behind": (_is(late=30_000), "clock", "unless everything arrives so late"),
}  # fmt: skip


async def _verify(lie: Callable[[LyingVenue], None] | None, seconds: float = SECONDS) -> Outcome:
    clock = Clock()
    async with lying(clock.seen) as (venue, websocket, rest):
        if lie is not None:
            lie(venue)
        place = VenueAddress(venue=StandIn("bybit"), websocket=websocket, rest=rest)
        return await verified([place], MARKETS, seconds, clock)


def _drifts(outcome: Outcome) -> dict[str, CheckRow]:
    return {row.check: row for row in outcome.rows if row.verdict is Agreement.DRIFT}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_named_within_two_rounds(name: str) -> None:
    lie, check, reason = LIES[name]

    @virtual
    async def run() -> None:
        outcome = await _verify(lie)
        assert not outcome.well
        assert check in _drifts(outcome)
        assert reason in _drifts(outcome)[check].reason
        assert check in outcome_in_short(outcome)

    run()


@virtual
async def test_an_honest_venue_is_accused_of_nothing() -> None:
    outcome = await _verify(None)
    assert outcome.well, _drifts(outcome)
    unavailable = {row.check: row.reason for row in outcome.rows if row.reason}
    held = {row.check for row in outcome.rows if row.verdict is Agreement.OK}
    assert held >= {check for _, check, _ in LIES.values()} - {"age of the second source"}
    assert unavailable["price"] == "less than 5 coins that enough other venues have too"
    assert outcome_in_short(outcome).startswith("All that could be compared agrees: 1")


@virtual
async def test_what_is_not_answered_is_not_available_and_no_drift() -> None:
    def refuse(venue: LyingVenue) -> None:
        venue.refuses_checks = True

    outcome = await _verify(refuse)
    assert outcome.well
    rows = {row.check: row for row in outcome.rows if row.against == "second source"}
    assert "503" in rows["mark price"].reason
    assert rows["mark price"].verdict is Agreement.NOT_AVAILABLE


@virtual
async def test_a_venue_that_cannot_be_reached_is_named_and_the_others_are_checked() -> None:
    clock = Clock()
    async with lying(clock.seen) as (_, websocket, rest):
        places = [
            VenueAddress(venue=StandIn("bybit"), websocket=websocket, rest=rest),
            VenueAddress(
                venue=StandIn("okx"), websocket="ws://127.0.0.1:9", rest="http://127.0.0.1:9"
            ),
        ]
        outcome = await verified(places, MARKETS, SECONDS, clock)
    assert list(outcome.unreached) == ["okx"]
    assert "refused" in outcome.unreached["okx"]
    assert not outcome.well
    assert {row.venue for row in outcome.rows} == {"bybit", ""}
    assert _drifts(outcome) == {}


class CheckedCoinM(CoinM):
    """With what it answers to checks. ``coins``: what REST takes a contract's dollars for."""

    interest = "700"

    def answer(self, request: web.Request) -> web.Response:
        rows: list[Any] = []
        for symbol in self.symbols:
            match request.path.rpartition("/")[2]:
                case "premiumIndex":
                    rows.append({
                        "symbol": symbol, "markPrice": "100", "indexPrice": "100", "time": EPOCH,
                        "lastFundingRate": "0.0001", "nextFundingTime": frames.NEXT_FUNDING,
                    })  # fmt: skip
                case "bookTicker":
                    rows.append({"symbol": symbol, "bidPrice": "99.99", "askPrice": "100.01"})
                case "24hr":
                    rows.append({"symbol": symbol, "volume": "1e4", "closeTime": EPOCH})
                case "openInterestHist":
                    rows = [{"sumOpenInterest": self.interest, "timestamp": EPOCH}]
                case _:
                    return super().answer(request)
        return web.json_response(rows)


def _gate_lies(server: GateServer) -> None:
    server.coins = 20.0


def _okx_lies(server: OkxServer) -> None:
    server.answered_mark = 105.0


def _bitget_lies(server: BitgetServer) -> None:
    server.tickers["BTCUSDT"] = {"bidPr": "110", "askPr": "110.1"}


def _kraken_lies(server: KrakenServer) -> None:
    server.rows = {"openInterest": 2_000}


def _deribit_lies(server: DeribitServer) -> None:
    server.held *= 2


def _answers_otherwise(server: Any) -> None:
    server.answered = type(server.answered)(105)


def _lighter_lies(server: LighterServer) -> None:
    server.usd *= 1.5


def _coin_m_lies(server: CheckedCoinM) -> None:
    server.interest = "70000"


NOT_SAID = "its second source does not say it"
PROTOCOLS: dict[str, tuple[Callable[[], Any], Callable[[Any], None], str, set[str]]] = {
    "gate": (lambda: GateServer("BTC", "ETH"), _gate_lies, "open interest", set()),
    "okx": (lambda: OkxServer("BTC", "ETH"), _okx_lies, "mark price",
            {"open interest", "funding rate per 8 h", "24 h volume"}),
    "bitget": (lambda: BitgetServer("BTCUSDT", "ETHUSDT"), _bitget_lies, "mid of the book",
               {"mark price", "index price", "open interest", "funding rate per 8 h",
                "24 h volume"}),
    "deribit": (lambda: DeribitServer("BTC", "ETH"), _deribit_lies, "open interest",
                {"index price", "funding interval"}),
    "kraken": (lambda: KrakenServer("BTC", "ETH"), _kraken_lies, "open interest",
               {"funding rate per 8 h", "funding interval"}),
    "binance-coinm": (lambda: CheckedCoinM("BTCUSD_PERP", "ETHUSD_PERP"), _coin_m_lies,
                      "open interest", set()),
    "htx": (lambda: HtxServer("BTC", "ETH"), _answers_otherwise, "mark price",
            {"index price", "depth of the book", "open interest", "funding interval",
             "24 h volume"}),
    "bitfinex": (lambda: BitfinexServer("BTC", "ETH"), _answers_otherwise, "open interest",
                 {"depth of the book", "funding interval", "24 h volume"}),
    "lighter": (lambda: LighterServer("BTC", "ETH"), _lighter_lies, "open interest",
                {"mark price", "index price", "depth of the book", "funding rate per 8 h",
                 "funding interval"}),
    "binance-spot": (lambda: BinanceSpotServer("BTC", "ETH"), _answers_otherwise, "last price",
                     set()),
    "coinbase": (lambda: CoinbaseServer("BTC", "ETH"), _answers_otherwise, "last price", set()),
    "bybit-spot": (lambda: BybitSpotServer("BTC", "ETH"), _answers_otherwise, "last price", set()),
    "okx-spot": (lambda: OkxSpotServer("BTC", "ETH"), _answers_otherwise, "last price", set()),
    "kraken-spot": (lambda: KrakenSpotServer("BTC", "ETH"), _answers_otherwise, "last price",
                    set()),
}  # fmt: skip
NUMBERS = ("mark price", "index price", "mid of the book", "depth of the book", "open interest",
           "funding rate per 8 h", "funding interval", "24 h volume")  # fmt: skip
SPOT_NUMBERS = ("last price", "mid of the book", "depth of the book", "24 h volume")


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("venue", PROTOCOLS)
def test_each_protocol_is_compared_with_its_second_source(venue: str, lies: bool) -> None:
    make, lie, check, without = PROTOCOLS[venue]

    @virtual
    async def run() -> None:
        server = make()
        async with listening(server.talk) as sockets, resting(server.answer) as rest:
            server.sockets = sockets
            if lies:
                lie(server)
            place = VenueAddress(venue=StandIn(venue), websocket=sockets.url, rest=rest)
            majors = ("BTC", "ETH")
            markets = Markets(majors=majors, large=(), tail=0, spot=majors)
            outcome = await verified([place], markets, SECONDS, Clock())
        second = {row.check: row for row in outcome.rows if row.against == "second source"}
        missing = {
            name
            for name in (SPOT_NUMBERS if StandIn(venue).SPEC.spot else NUMBERS)
            if second[name].verdict is Agreement.NOT_AVAILABLE
        }
        assert missing == without, check_table(outcome.rows)
        reasons = {*StandIn(venue).SPEC.no_second_source.values(), NOT_SAID}
        assert {second[name].reason for name in missing} <= set(reasons)
        assert outcome.well is not lies, check_table(outcome.rows)
        assert (check in _drifts(outcome)) is lies

    run()
