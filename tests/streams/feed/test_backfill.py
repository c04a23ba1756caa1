"""The past that venues tell: page by page, once, in order of size, within each path's limit."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from streams.contracts import Contracts, past_rates
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    AnyEvent,
    Fault,
    FaultCode,
    Funding,
    FundingHistory,
    Instrument,
    InterestHistory,
    Kind,
    OpenInterest,
    PastRate,
    Price,
    PriceHistory,
)
from streams.feed.backfill import AGAIN_S, LARGEST, OVERLAP, REACH, SOON_S, Backfill, _prices
from streams.feed.rest import Unavailable
from streams.venue import CANDLE, Candle, Listing, Request
from streams.venues import VENUES
from tests.streams.frames import contracts
from tests.streams.venue_cases import largest
from tests.streams.virtual import EPOCH, Clock, ended, virtual

TELLING = [venue for venue in VENUES if VENUES[venue].histories(contracts(venue, "BTC"))]
OF_INTEREST = [
    "binance", "binance-coinm", "bybit", "bybit-inverse", "okx", "gate", "kraken", "bitfinex",
]  # fmt: skip
"""Venues that tell of open interest …"""
OF_PRICES = OF_INTEREST[:5]
"""… and of prices."""
OF_FUNDING = [
    venue
    for venue in TELLING
    if Kind.FUNDING in {h.kind for h in VENUES[venue].histories(contracts(venue, "BTC"))}
]
_H = TypeVar("_H", FundingHistory, InterestHistory, PriceHistory)
HOURLY = ("hyperliquid", "deribit")
ONE_PAGE = {"okx": 400, "gate": 1000}
"""Venues that are asked for one page alone, and its rows."""


class Archive:
    """A venue's past: a settlement each ``hours`` up to now, of every contract."""

    def __init__(self, venue: str, *assets: str) -> None:
        self.venue = venue
        self.clock = Clock()
        self.hours = 1 if venue in HOURLY else 8
        self.instruments = contracts(venue, *assets)
        self.paused_s = 0.0
        self.asked: list[tuple[int, Request]] = []
        self.spoil: Callable[[Request, bytes], bytes | Exception] = lambda _, body: body
        self.holes: set[int] = set()
        self.interest = False
        """Whether it tells of open interest as well."""
        self.candles = False
        """Whether it tells of prices as well."""
        self.contracts = Contracts()

    def rate(self, at: int) -> float:
        return (at // HOUR % 1009 - 300) / 1e6

    def times(self, since: int, until: int) -> list[int]:
        step = self.hours * HOUR
        return [t for t in range(-(-since // step) * step, until + 1, step) if t not in self.holes]

    def held(self, at: int) -> float:
        return 1000.0 + at // (5 * MINUTE) % 97

    def kept(self, request: Request, query: dict[str, str]) -> object:
        """Open interest each 5 min, at 50,000 USD a coin; contracts of 100 USD."""
        now, step = self.clock.seen(), 5 * MINUTE
        if "from" in query or "to" in query:  # in seconds
            query = {
                "startTime": query.get("from", query.get("since", "")) + "000",
                "endTime": f"{query.get('to', now // SECOND)}000",
            }
        since = int(query.get("startTime") or query.get("begin") or query["start"])
        until = min(now, int(query.get("endTime") or query.get("end") or now))
        times = [t for t in range(-(-since // step) * step, until + 1, step) if self.interest]
        times = [t for t in times if t not in self.holes]
        match self.venue:
            case "binance":
                return [
                    {"symbol": request.symbol, "timestamp": t, "sumOpenInterest": f"{self.held(t)}",
                     "sumOpenInterestValue": f"{self.held(t) * 50_000}"} for t in times
                ]  # fmt: skip
            case "binance-coinm":
                return [
                    {"pair": "BTCUSD", "timestamp": t, "sumOpenInterest": f"{self.held(t)}",
                     "sumOpenInterestValue": f"{self.held(t) * 100 / 50_000}"} for t in times
                ]  # fmt: skip
            case "okx":
                assert len(times) <= 100
                rows = [
                    [f"{t}", "7", f"{self.held(t)}", f"{self.held(t) * 50_000}"]
                    for t in reversed(times)
                ]
                return {"code": "0", "data": rows, "msg": ""}
            case "gate":  # by when they begin, the last one not written yet
                size = self.instruments[0].contract_size
                contracts = [self.held(t + step) / size for t in times[:-1]]
                return [
                    {"time": t // SECOND, "open_interest": f"{n}", "mark_price": 50_000}
                    for t, n in zip(times, [*contracts, 7.0], strict=True)
                ]
            case "kraken":  # by when they begin
                assert len(times) <= 97
                rows = [["1", "1", "1", f"{self.held(t + step)}"] for t in times]
                seconds = [t // SECOND for t in times]
                return {"result": {"timestamp": seconds, "data": rows, "more": False}, "errors": []}
            case "bitfinex":  # each minute
                assert len(times) <= 1000
                return [
                    [t - n * MINUTE, None, 1, 2, None, 1, None, now + HOUR, 0.1, 1, None, 0, None,
                     None, 50_000, None, None, self.held(t) if not n else 1.0]
                    for t in reversed(times) for n in range(5)
                ]  # fmt: skip
            case _:
                assert len(times) <= 200
                rows = [{"openInterest": f"{2 * self.held(t)}", "timestamp": f"{t}"} for t in times]
                return {"retCode": 0, "retMsg": "OK", "result": {"list": rows}}

    def price(self, at: int) -> float:
        return 50_000.0 + at // (5 * MINUTE) % 89

    def candle(self, at: int) -> list[object]:
        """As a venue writes it: it opens a little apart from where the one before it closed."""
        first, last = self.price(at) + 0.5, self.price(at + 5 * MINUTE)
        return [f"{at}", f"{first}", f"{first + 90}", f"{first - 90}", f"{last}", "7"]

    def candled(self, query: dict[str, str]) -> object:
        """Candles, the last of which is not over."""
        now, step = self.clock.seen(), 5 * MINUTE
        most = int(query["limit"])
        until = int(query.get("end") or query.get("after") or now)
        since = int(query.get("startTime") or until - most * step)
        times = range(-(-since // step) * step, min(until, now) + 1, step)
        candles = [self.candle(at) for at in times if self.candles and at not in self.holes]
        if self.venue in ("binance", "binance-coinm"):
            return [[int(str(at)), *rest] for at, *rest in candles[:most]]
        candles = candles[-most:][::-1]
        if self.venue == "okx":
            return {"code": "0", "data": candles, "msg": ""}
        return {"retCode": 0, "retMsg": "OK", "result": {"list": [c[:5] for c in candles]}}

    async def ask(self, request: Request, spare: bool = False, apart: bool = False) -> bytes:
        assert spare
        assert apart
        self.asked.append((self.clock.now(), request))
        answer = self.spoil(request, json.dumps(self.answer(request)).encode())
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, request: Request) -> object:
        query = {k: v[0] for k, v in parse_qs(urlsplit(request.path).query).items()}
        now, symbol = self.clock.seen(), request.symbol
        if "lines" in request.path or "kline" in request.path or "candles" in request.path:
            return self.candled(query)
        if _is_of_interest(request):
            return self.kept(request, query)
        match self.venue:
            case "binance" | "binance-coinm" | "aster":
                times = self.times(int(query["startTime"]), now)[: int(query["limit"])]
                return [
                    {"symbol": symbol, "fundingTime": t + 3, "fundingRate": f"{self.rate(t):.6f}"}
                    for t in times
                ]
            case "bybit" | "bybit-inverse":
                times = self.times(0, int(query["endTime"]))[-int(query["limit"]) :]
                rows = [
                    {"symbol": symbol, "fundingRateTimestamp": f"{t}",
                     "fundingRate": f"{self.rate(t):.6f}"} for t in reversed(times)
                ]  # fmt: skip
                return {"retCode": 0, "retMsg": "OK", "result": {"list": rows}}
            case "okx":
                times = self.times(0, now)[-int(query["limit"]) :]
                rows = [
                    {"instId": symbol, "fundingTime": f"{t}", "fundingRate": "0.5",
                     "realizedRate": f"{self.rate(t):.6f}"} for t in reversed(times)
                ]  # fmt: skip
                return {"code": "0", "data": rows, "msg": ""}
            case "bitget":
                size, page = int(query["pageSize"]), int(query["pageNo"])
                times = [*reversed(self.times(0, now))][(page - 1) * size : page * size]
                rows = [
                    {"symbol": symbol, "fundingTime": f"{t}", "fundingRate": f"{self.rate(t):.6f}"}
                    for t in times
                ]
                return {"code": "00000", "msg": "success", "requestTime": now, "data": rows}
            case "gate":
                times = self.times(0, now)[-int(query["limit"]) :]
                return [{"t": t // 1000, "r": f"{self.rate(t):.6f}"} for t in reversed(times)]
            case "htx":
                times = self.times(int(query["start_time"]), int(query["end_time"]))
                assert len(times) <= int(query["limit"])
                rows = [
                    {"contract_code": symbol, "funding_rate": f"{self.rate(t):.6f}",
                     "funding_time": f"{t}"} for t in times
                ]  # fmt: skip
                return {"code": 200, "data": rows, "ts": now}
            case "hyperliquid":
                asked = json.loads(request.body or b"")
                times = self.times(asked["startTime"], now)[:500]
                return [
                    {"coin": asked["coin"], "time": t + 41, "fundingRate": f"{self.rate(t):.6f}"}
                    for t in times
                ]
            case _:
                times = self.times(int(query["start_timestamp"]), int(query["end_timestamp"]))
                assert len(times) <= 500
                return {"result": [{"timestamp": t, "interest_1h": self.rate(t)} for t in times]}

    def listing(self) -> Listing:
        known = {i.symbol: i for i in self.instruments}
        return Listing(instruments=known, contracts=self.contracts)

    def hear(self, coins: float, mark: float = 50_000.0, of: Instrument | None = None) -> None:
        """What comes live of the first contract, or of another one."""
        of, now = of or self.instruments[0], self.clock.seen()
        about = {"venue": of.venue, "symbol": of.symbol, "asset": of.asset, "at": now, "seen": now}
        self.contracts.complete(Price(**about, mark=mark, index=mark))
        self.contracts.complete(OpenInterest(**about, base=coins, usd=coins * mark))


async def published(
    archive: Archive,
    seconds: float,
    known: Mapping[str, int] | None = None,
    kind: type[_H] = FundingHistory,
) -> list[_H]:
    """What is published within so many seconds."""
    events: list[AnyEvent] = []
    backfill = of(archive, events, known)
    task = asyncio.create_task(backfill.run())
    backfill.take(archive.listing(), archive.instruments)
    await asyncio.sleep(seconds)
    await ended(task)
    return [event for event in events if isinstance(event, kind)]


def of(
    archive: Archive, events: list[AnyEvent], known: Mapping[str, int] | None = None
) -> Backfill:
    async def remembered() -> Mapping[str, int]:
        return known or {}

    venue, rest = VENUES[archive.venue], archive
    return Backfill(venue, rest, events.append, archive.clock, remembered)  # type: ignore[arg-type]


@pytest.mark.parametrize("venue", OF_FUNDING)
@virtual
async def test_all_that_a_venue_tells_comes_with_rates_and_intervals(venue: str) -> None:
    archive = Archive(venue, "BTC")
    hours = float(archive.hours)
    archive.instruments = [replace(i, funding_hours=hours) for i in archive.instruments]
    (history,) = await published(archive, 120)
    first = archive.clock.seen() - 120 * SECOND - REACH[Kind.FUNDING]
    expected = archive.times(first, archive.clock.seen())
    expected = expected[-ONE_PAGE.get(venue, len(expected)) :]
    times = [row.at for row in history.rows]
    assert times in (expected, expected[1:])  # the first row has nothing before it
    assert all(row.rate == pytest.approx(archive.rate(row.at)) for row in history.rows)
    assert {row.hours for row in history.rows} == {float(archive.hours)}
    assert (history.at, history.venue, history.asset) == (expected[-1], venue, "BTC")


@virtual
async def test_the_largest_come_first_and_each_once() -> None:
    archive = Archive("binance", "BTC", "ETH", "SOL")
    events: list[AnyEvent] = []
    backfill = of(archive, events)
    task = asyncio.create_task(backfill.run())
    for _ in range(3):  # a listing each hour
        backfill.take(archive.listing(), archive.instruments)
        await asyncio.sleep(HOUR / 1000)
    archive.instruments = contracts("binance", "BTC", "ETH", "SOL", "XRP")
    backfill.take(archive.listing(), archive.instruments)
    await asyncio.sleep(60)
    await ended(task)
    assets = [event.asset for event in events if isinstance(event, FundingHistory)]
    assert assets == ["BTC", "ETH", "SOL", "XRP"]
    assert len([1 for _, request in archive.asked if "fundingRate" in request.path]) == 4


@virtual
async def test_what_is_remembered_is_not_asked_for_again() -> None:
    archive = Archive("binance", "BTC", "ETH")
    until = archive.clock.seen() - 2 * DAY
    known = {"funding:binance/BTCUSDT": until}
    btc, eth = await published(archive, 60, known)
    assert btc.rows[0].at >= until - OVERLAP[Kind.FUNDING]
    assert len(btc.rows) in (8, 9)
    assert len(eth.rows) > 170
    since = parse_qs(urlsplit(archive.asked[0][1].path).query)["startTime"]
    assert since == [str(until - OVERLAP[Kind.FUNDING])]


@virtual
async def test_a_venue_that_refuses_is_asked_again_after_an_hour_and_said_once() -> None:
    archive = Archive("bybit", *(f"C{n}" for n in range(20)))
    archive.spoil = lambda request, _: Unavailable(f"it answered HTTP 404 for {request.symbol}")
    with capture_logs() as logs:
        assert await published(archive, 2.5 * AGAIN_S) == []
    assert len(archive.asked) == 3 * 3 * 3
    assert len({request.symbol for _, request in archive.asked}) == 9  # others have their turn
    assert [entry["event"] for entry in logs] == [
        "Bybit gives no history of funding: it answered HTTP 404 for C0USDT",
        "Bybit gives no history of open interest: it answered HTTP 404 for C0USDT",
        "Bybit gives no history of prices: it answered HTTP 404 for C0USDT",
    ]


@virtual
async def test_operators_hear_of_a_kind_of_which_nothing_comes_and_once_it_does() -> None:
    """Of one contract alone they do not; of so few that nobody can tell they do."""
    for assets, refused in ((8, "/v5/market/funding"), (2, "funding"), (8, "symbol=C0USDT")):
        archive = Archive("bybit", *(f"C{n}" for n in range(assets)))
        archive.candles = True
        gone = [True]
        archive.spoil = lambda request, body, gone=gone, refused=refused: (
            Unavailable("it answered HTTP 404") if gone and refused in request.path else body
        )
        events: list[AnyEvent] = []
        backfill = of(archive, events)
        task = asyncio.create_task(backfill.run())
        backfill.take(archive.listing(), archive.instruments)
        await asyncio.sleep(AGAIN_S)
        faults = [
            event for event in events if isinstance(event, Fault) and event.subject == "funding"
        ]
        if "C0" in refused:
            assert [event.over for event in faults] == [True]
        else:
            assert {(e.code, e.venue, e.subject, e.over, e.detail) for e in faults} == {
                (FaultCode.HISTORY_REFUSED, "bybit", "funding", False, "it answered HTTP 404")
            }
        gone.clear()
        await asyncio.sleep(2 * AGAIN_S)
        await ended(task)
        faults = [
            event for event in events if isinstance(event, Fault) and event.subject == "funding"
        ]
        assert [event.over for event in faults].count(True) == 1
        assert faults[-1].over


@pytest.mark.parametrize(
    "body", [b"", b"[", b"null", b'{"retCode":10001,"retMsg":"x"}', b"\xff", b"[" * 9999]
)
@virtual
async def test_what_cannot_be_read_costs_its_own_contract(body: bytes) -> None:
    archive = Archive("bybit", "BTC", "ETH")
    archive.spoil = lambda request, good: body if request.symbol == "BTCUSDT" else good
    with capture_logs() as logs:
        (history,) = await published(archive, 60)
    assert history.asset == "ETH"
    assert len(logs) == 3


@virtual
async def test_pages_that_lead_nowhere_have_an_end() -> None:
    """The same full page again and again, or one of the future."""
    for venue in ("bitget", "bybit", "binance"):
        archive = Archive(venue, "BTC")
        archive.hours = 1
        full = archive.answer(request := Request(path=_first(venue), symbol="BTCUSDT"))
        archive.spoil = lambda _request, _body, full=full: json.dumps(full).encode()
        await published(archive, AGAIN_S - 1)
        assert len(archive.asked) <= 3 * 100, request


def _first(venue: str) -> str:
    history = VENUES[venue].histories(contracts(venue, "BTC"))[0]
    path = history.request.path.replace("{page}", "1").replace("{until}", str(EPOCH))
    return path.replace("{since}", str(EPOCH - 60 * DAY))


@virtual
async def test_a_hole_of_the_venue_stays_one() -> None:
    archive = Archive("bybit", "BTC")
    whole = archive.times(archive.clock.seen() - 30 * DAY, archive.clock.seen())
    archive.holes = {whole[20], whole[40], whole[41]}
    (history,) = await published(archive, 60)
    times = {row.at for row in history.rows}
    # the row after a hole ended an interval that nobody knows
    assert not times & {whole[20], whole[21], whole[40], whole[41], whole[42]}
    assert {whole[19], whole[22], whole[39], whole[43]} <= times


def row(hour: int, rate: float = 1e-4) -> Funding:
    about = {"venue": "x", "symbol": "X", "asset": "X", "seen": EPOCH}
    return Funding(**about, at=EPOCH // DAY * DAY + hour * HOUR + 7, rate=rate, hours=8.0,
                   settled=True)  # fmt: skip


def intervals(hours: list[int], word: float | None) -> list[tuple[int, float]]:
    past = past_rates([row(hour) for hour in reversed(hours)], word)
    return [((r.at - EPOCH // DAY * DAY) // HOUR, r.hours) for r in past]


def test_intervals_are_those_between_settlements() -> None:
    assert intervals([0, 8, 16, 24], 8.0) == [(8, 8), (16, 8), (24, 8)]
    # 8 h until 16:00, then 4 h, then by the hour
    assert intervals([0, 8, 16, 20, 24, 25, 26], 1.0) == [
        (8, 8), (16, 8), (20, 4), (24, 4), (25, 1), (26, 1),
    ]  # fmt: skip
    # by the hour until 5:00, then 8 h: the first of those is shorter
    assert intervals([3, 4, 5, 8, 16, 24], 8.0) == [(4, 1), (5, 1), (8, 8), (16, 8), (24, 8)]
    # one of an hourly contract is missing: its rate is not one of 2 h
    assert intervals([0, 1, 2, 4, 5, 6], 1.0) == [(1, 1), (2, 1), (5, 1), (6, 1)]
    # two of one of 8 h are: not one of 24 h
    assert intervals([0, 8, 16, 40, 48, 56], 8.0) == [(8, 8), (16, 8), (48, 8), (56, 8)]
    assert intervals([0, 24, 48], 24.0) == [(24, 24), (48, 24)]
    assert intervals([0, 8], None) == []
    assert intervals([8], 8.0) == []
    assert intervals([], None) == []


def test_of_two_rates_at_one_time_neither_is_known() -> None:
    past = past_rates([row(0), row(8), row(8, -0.1), row(16), row(16)], 8.0)
    assert past == [PastRate(EPOCH // DAY * DAY + 16 * HOUR, 1e-4, 8.0)]


@pytest.mark.parametrize("venue", OF_INTEREST)
@virtual
async def test_open_interest_of_the_last_day_comes_in_the_units_of_live(venue: str) -> None:
    archive = Archive(venue, "BTC")
    archive.interest = True
    inverse = archive.instruments[0].inverse
    size = archive.instruments[0].contract_size if inverse else 1.0
    archive.hear(1010.0 * size / (50_000 if inverse else 1))
    (history,) = await published(archive, 120, kind=InterestHistory)
    assert 12 * 24 <= len(history.rows) <= 12 * 25 + 1
    assert history.rows[0].at <= archive.clock.seen() - DAY
    for past in history.rows:
        assert past.held == pytest.approx(archive.held(past.at) * size)
        priceless = "bybit" in venue or venue == "kraken"
        assert past.price == (None if priceless else pytest.approx(50_000))


@virtual
async def test_open_interest_of_long_ago_or_in_other_units_is_refused() -> None:
    for coins, spoil, words in (
        (2050.0, None, "and is 2050"),
        (500.0, None, "and is 500"),
        (None, None, "of now is not known"),
        (1010.0, HOUR, "of long ago"),
    ):
        archive = Archive("bybit", "BTC")
        archive.interest = True
        if coins is not None:
            archive.hear(coins)
        now = archive.clock.seen()
        if spoil:
            archive.holes = set(range(now // HOUR * HOUR - HOUR, now + HOUR, 5 * MINUTE))
        with capture_logs() as logs:
            assert await published(archive, 200, kind=InterestHistory) == []
        (entry,) = [entry for entry in logs if "interest" in entry["event"]]
        assert words in entry["event"]
        apart = "Bybit's history of open interest does not go on in what is live: "
        begins = apart if "and is" in words else "Bybit gives no history of open interest: "
        assert entry["event"].startswith(begins)


@pytest.mark.parametrize("venue", OF_INTEREST)
@pytest.mark.parametrize("left", [0.85, 0.55])
@virtual
async def test_open_interest_of_before_a_fall_is_asked_for_until_it_goes_on_in_it(
    venue: str, left: float
) -> None:
    """It is told meanwhile if it is no other count; operators hear, and hear when it is over."""
    archive = Archive(venue, "BTC")
    archive.interest, began = True, archive.clock.seen()
    held = archive.held
    archive.held = lambda at: held(at) / 1050 * (1000 if at <= began else 1000 * left)
    of_contract = archive.instruments[0]
    size = of_contract.contract_size / 50_000 if of_contract.inverse else 1.0
    archive.hear(1000.0 * left * size)
    events: list[AnyEvent] = []
    task = asyncio.create_task((backfill := of(archive, events)).run())
    backfill.take(archive.listing(), archive.instruments)
    await asyncio.sleep(45)
    early = [event for event in events if isinstance(event, InterestHistory)]
    assert [e.live and e.live / e.rows[-1].held for e in early] == (
        [pytest.approx(left, abs=0.06)] if left > 0.6 else []
    )
    faults = doubts(events, "open_interest")
    assert [(e.venue, e.over) for e in faults] == [(venue, False)]
    assert "just now, and is" in faults[0].detail
    await asyncio.sleep((9 if venue == "gate" else 6) * SOON_S)  # Gate writes its rows 3 min late
    histories = [event for event in events if isinstance(event, InterestHistory)]
    last = histories[-1]
    assert last.live == pytest.approx(last.rows[-1].held, rel=0.1)
    assert len(last.rows) >= 12 * 24, "what was told before is told again with it"
    asked = len([1 for _, request in archive.asked if _is_of_interest(request)])
    assert [e.over for e in doubts(events, "open_interest")] == [False, True]
    await asyncio.sleep(10 * SOON_S)
    await ended(task)
    assert len([1 for _, request in archive.asked if _is_of_interest(request)]) == asked


def doubts(events: list[AnyEvent], subject: str) -> list[Fault]:
    faults = [event for event in events if isinstance(event, Fault)]
    return [e for e in faults if (e.code, e.subject) == (FaultCode.HISTORY_APART, subject)]


@virtual
async def test_a_doubt_of_the_run_before_is_over_with_the_first_round_without_one() -> None:
    archive = Archive("binance", "BTC")
    archive.interest = archive.candles = True
    archive.hear(1010.0)
    events: list[AnyEvent] = []
    task = asyncio.create_task((backfill := of(archive, events)).run())
    backfill.take(archive.listing(), archive.instruments)
    await asyncio.sleep(120)
    await ended(task)
    for subject in ("open_interest", "price"):
        assert [event.over for event in doubts(events, subject)] == [True]


@virtual
async def test_open_interest_in_doubt_that_is_then_refused_is_not_said_to_be_over() -> None:
    archive = Archive("binance", "BTC")
    archive.interest = True
    archive.hear(1200.0)
    events: list[AnyEvent] = []
    task = asyncio.create_task((backfill := of(archive, events)).run())
    backfill.take(archive.listing(), archive.instruments)
    await asyncio.sleep(45)
    archive.spoil = lambda request, body: Unavailable("it answered HTTP 404")
    await asyncio.sleep(5 * SOON_S)
    await ended(task)
    faults = [e for e in events if isinstance(e, Fault) and e.subject == "open_interest"]
    assert [(e.code, e.over) for e in faults] == [
        (FaultCode.HISTORY_APART, False), (FaultCode.HISTORY_REFUSED, False)
    ]  # fmt: skip


@virtual
async def test_a_spike_and_a_value_told_twice_are_none() -> None:
    archive = Archive("binance", "BTC")
    archive.interest = True
    archive.hear(1010.0)
    bad: list[int] = []

    def spoil(request: Request, body: bytes) -> bytes:
        if "openInterestHist" not in request.path:
            return body
        rows = json.loads(body)
        bad[:] = [rows[100]["timestamp"], rows[200]["timestamp"]]
        rows[100]["sumOpenInterest"] = "2000"
        rows.append({**rows[200], "sumOpenInterest": "1001.5"})
        return json.dumps(rows[::-1]).encode()

    archive.spoil = spoil
    (history,) = await published(archive, 60, kind=InterestHistory)
    assert not {row.at for row in history.rows} & {*bad}
    assert [row.at for row in history.rows] == sorted(row.at for row in history.rows)
    assert len(history.rows) >= 12 * 24


# ── prices ──


async def prices_of(archive: Archive, seconds: float = 300) -> list[PriceHistory]:
    """Of BTC at 50,000, those that are published."""
    archive.candles = True
    archive.hear(1010.0)
    return await published(archive, seconds, kind=PriceHistory)


def by_time(history: PriceHistory) -> dict[int, float | None]:
    first = history.at - history.every * (len(history.prices) - 1)
    return {first + n * history.every: price for n, price in enumerate(history.prices)}


@pytest.mark.parametrize("venue", OF_PRICES)
@virtual
async def test_prices_of_a_month_come_each_ten_minutes_and_of_a_day_each_five(venue: str) -> None:
    archive = Archive(venue, "BTC")
    (month, day) = await prices_of(archive)
    assert (month.every, day.every) == (10 * MINUTE, 5 * MINUTE)
    for history, days in ((month, 30), (day, 1)):
        prices = by_time(history)
        assert min(prices) <= archive.clock.seen() - days * DAY - HOUR + 10 * MINUTE
        assert archive.clock.seen() - history.at <= 300 * SECOND + history.every
        for at, price in [*prices.items()][1:]:
            # the last candle is not over when it is asked for
            assert price == pytest.approx(archive.price(at)) or at == history.at, at
    assert (month.venue, month.asset) == (venue, "BTC")


@virtual
async def test_prices_come_last_and_only_where_nobody_has_told_them() -> None:
    archive = Archive("binance", "BTC", "ETH", "SOL")
    archive.candles = True
    for n, of_asset in enumerate(archive.instruments):
        archive.contracts.take_mid(of_asset.symbol, 1.0, 0)
        about = {"venue": "binance", "symbol": of_asset.symbol, "asset": of_asset.asset}
        at = archive.clock.seen()
        archive.contracts.complete(
            Price(**about, at=at + n, seen=at, mark=50_000.0, index=50_000.0)
        )
    known: dict[str, int] = {"price:binance/ETHUSDT": archive.clock.seen()}
    events = await published(archive, 120, known, PriceHistory)
    assert [event.asset for event in events] == ["BTC", "BTC", "SOL", "SOL"]
    kinds = ["Klines" in request.path for _, request in archive.asked]
    assert kinds == sorted(kinds)
    known["price:binance/BTCUSDT"] = archive.clock.seen() - 3 * HOUR
    archive.asked.clear()
    (btc, *_) = await published(archive, 120, known, PriceHistory)
    assert len(btc.prices) in (21, 22)  # three hours and half of one
    asked = [1 for _, r in archive.asked if "Klines" in r.path and r.symbol == "BTCUSDT"]
    assert len(asked) == 1


@virtual
async def test_the_largest_have_their_prices_before_the_others_have_anything() -> None:
    archive = Archive("bybit", *(f"C{n}" for n in range(LARGEST + 4)))
    archive.candles = archive.interest = True
    for of_coin in archive.instruments:
        archive.hear(1010.0, of=of_coin)
    await published(archive, 10 * MINUTE / 1000)
    order = [("kline" in r.path, int(r.symbol[1:].removesuffix("USDT"))) for _, r in archive.asked]
    large, others = range(LARGEST), range(LARGEST, LARGEST + 4)
    expected = [(prices, n) for group in (large, others) for prices in (False, True) for n in group]
    assert [*dict.fromkeys(order)][: len(expected)] == expected


@virtual
async def test_prices_that_do_not_go_on_in_what_is_live_are_refused() -> None:
    for mark, spoil, words in (
        (50.0, None, "its price was 500"),
        (80_000.0, None, "and is 80000"),
        (None, None, "its price of now is not known"),
        (50_000.0, HOUR, "its prices are of long ago"),
    ):
        archive = Archive("bybit", "BTC")
        archive.candles = True
        if mark is not None:
            archive.hear(1010.0, mark)
        now = archive.clock.seen()
        if spoil:
            archive.holes = set(range(now // HOUR * HOUR - HOUR, now + HOUR, 5 * MINUTE))
        with capture_logs() as logs:
            assert await published(archive, 200, kind=PriceHistory) == []
        (entry,) = [entry for entry in logs if "prices" in entry["event"]]
        assert words in entry["event"]
        apart = "Bybit's history of prices does not go on in what is live: "
        refused = mark is None or "its prices" in words
        begins = "Bybit gives no history of prices: " if refused else apart
        assert entry["event"].startswith(begins)


def candles_of(*prices: tuple[float, float]) -> list[Candle]:
    return [
        Candle(symbol="X", at=EPOCH // DAY * DAY + n * CANDLE, open=first, close=last)
        for n, (first, last) in enumerate(prices)
    ]


def in_force(candles: list[Candle], until: int = EPOCH + DAY) -> dict[int, float]:
    """Price by the number of the candle that it closed."""
    first = EPOCH // DAY * DAY
    return {(at - first) // CANDLE - 1: price for at, price in _prices(candles, until).items()}


def test_a_price_is_what_closes_a_candle_if_the_next_one_opens_there() -> None:
    candles = candles_of((100, 101), (101, 99), (99.5, 150), (100, 100), (100.1, 102))
    prices = {0: 101, 1: 99, 3: 100, 4: 102}
    assert in_force(candles) == prices
    assert in_force(candles[::-1]) == prices
    # the last one is not over, another one is told twice, in two ways
    until = candles[4].at + CANDLE - 1
    twice = msgspec.structs.replace(candles[1], close=7.0)
    assert in_force([*candles, twice], until) == {0: 101, 3: 100}
    # one is missing: what closed before it was in force then
    assert in_force([*candles[:1], *candles[3:]]) == {0: 101, 3: 100, 4: 102}
    assert in_force([msgspec.structs.replace(candles[0], at=candles[0].at + 7)]) == {}


def test_what_was_before_a_coin_was_exchanged_is_left_out() -> None:
    before, after = [(1.0, 1.01), (1.01, 1.0)], [(1000.0, 1001.0), (1001.0, 1000.0)]
    assert in_force(candles_of(*before, *after)) == {2: 1001, 3: 1000}
    # trading was halted meanwhile
    halted = candles_of(*before, *([(1.0, 1.0)] * 5), *after)
    assert in_force([*halted[:2], *halted[7:]]) == {7: 1001, 8: 1000}
    # after a hole in which it lost half nothing is another coin
    fell = candles_of(*before, *([(1.0, 1.0)] * 5), (0.5, 0.51), (0.51, 0.5))
    assert in_force([*fell[:2], *fell[7:]]) == {0: 1.01, 1: 1, 7: 0.51, 8: 0.5}
    # nor is a fall by half within a candle, or a wrong price of one
    assert in_force(candles_of((100, 100), (100, 50), (50, 50))) == {0: 100, 1: 50, 2: 50}
    assert in_force(candles_of((100, 100), (100, 1), (100, 101))) == {0: 100, 2: 101}
    assert in_force(candles_of((100, 100), (1, 101), (101, 101))) == {1: 101, 2: 101}


def test_a_price_that_stands_still_for_an_hour_is_none() -> None:
    still = [(100.0, 100.0)] * 12
    prices = in_force(candles_of((99, 100), *still, (100, 101)))
    assert prices == {0: 100, 13: 101}
    prices = in_force(candles_of((99, 100), *still[:11], (100, 101)))
    assert len(prices) == 13


LIMITS: Mapping[str, tuple[int, int]] = {
    "binance": (500, 300), "binance-coinm": (500, 300), "aster": (500, 300), "bybit": (600, 5),
    "bybit-inverse": (600, 5), "okx": (10, 2), "bitget": (20, 1), "gate": (200, 10),
    "deribit": (20, 1), "kraken": (5, 1), "htx": (240, 3), "bitfinex": (90, 60),
}  # fmt: skip
"""How many requests of the path a venue allows, in so many seconds."""

LIMITS_OF_CANDLES: Mapping[str, tuple[int, int]] = {
    "bybit": (600, 5), "bybit-inverse": (600, 5), "okx": (10, 2),
}  # fmt: skip
"""The same of candles, where they have no weight."""


@pytest.mark.parametrize("venue", TELLING)
def test_the_plan_for_500_contracts_keeps_to_the_limits(venue: str) -> None:
    """With the polls of the same path, in the worst piece of an hour; by weight where it counts."""
    module, many = VENUES[venue], largest(venue, count=500)
    histories = module.histories(many)
    for kind in {h.kind for h in histories}:
        of_kind = [h.request.symbol for h in histories if h.kind is kind]
        assert of_kind == [i.symbol for i in many]
    assert len({(h.kind, h.every_s) for h in histories}) == len({h.kind for h in histories})
    assert not any(i.macro for i in many)
    if venue == "hyperliquid":
        each = {(h.request.weight / h.every_s) * 60 for h in histories}
        assert max(each) <= 0.6 * (module.SPEC.weight_per_minute or 0)
        return
    most, span = LIMITS[venue]
    path = histories[0].request.path.partition("?")[0]
    polls = [p for p in module.polls(many, module.SPEC.kinds) if path == _path(p.request)]
    starts = Counter(int((p.offset_s % p.every_s) // span) for p in polls)
    for history in [h for h in histories if _path(h.request) == path]:
        assert span / history.every_s + max(starts.values(), default=0) <= most, history
    for history in [h for h in histories if h.kind is Kind.PRICE]:
        if (weight := module.SPEC.weight_per_minute) is not None:
            assert history.request.weight / history.every_s * 60 <= 0.5 * weight
        else:
            most, span = LIMITS_OF_CANDLES[venue]
            assert span / history.every_s <= 0.8 * most
    minutes = sum(h.every_s for h in histories) / 60
    assert minutes <= 35, "with one page of each"


def _is_of_interest(request: Request) -> bool:
    return any(word in request.path for word in ("nterest", "contract_stats", "/hist?"))


def _path(request: Request) -> str:
    return request.path.partition("?")[0]


@virtual
async def test_a_pause_that_the_venue_asks_for_is_kept() -> None:
    archive = Archive("okx", "BTC")
    archive.paused_s = 60.0
    assert await published(archive, 55) == []
    assert archive.asked == []


@pytest.mark.parametrize("venue", OF_PRICES)
@virtual
async def test_the_candle_that_is_not_over_shows_the_price_now(venue: str) -> None:
    """Of a fall by a sixth since the newest candle, nobody hears that it does not fit."""
    archive = Archive(venue, "BTC")
    archive.candles, began = True, archive.clock.seen()
    price = archive.price
    archive.price = lambda at: price(at) * (1 if at <= began else 0.85)
    archive.hear(1010.0, 42_500.0)
    events: list[AnyEvent] = []
    task = asyncio.create_task((backfill := of(archive, events)).run())
    backfill.take(archive.listing(), archive.instruments)
    await asyncio.sleep(240)
    await ended(task)
    histories = [event for event in events if isinstance(event, PriceHistory)]
    assert [history.shown for history in histories] == [pytest.approx(42_500, rel=0.01)] * 2
    assert not [e for e in events if isinstance(e, Fault) and e.subject == "price" and not e.over]


@virtual
async def test_prices_of_before_a_fall_are_told_and_asked_for_until_they_go_on_in_it() -> None:
    """By a venue that shows no candle that is not over."""
    archive = Archive("bybit", "BTC")
    archive.candles, began = True, archive.clock.seen()
    price = archive.price
    archive.price = lambda at: price(at) * (1 if at <= began else 0.85)
    last = began // (5 * MINUTE) * 5 * MINUTE
    archive.holes = {last}
    archive.hear(1010.0, 42_500.0)
    events: list[AnyEvent] = []
    task = asyncio.create_task((backfill := of(archive, events)).run())
    backfill.take(archive.listing(), archive.instruments)
    while not any(isinstance(event, PriceHistory) for event in events):
        await asyncio.sleep(1)
    await asyncio.sleep(2.5 * SOON_S)
    shown = [event.shown for event in events if isinstance(event, PriceHistory)]
    assert shown
    assert {*shown} == {None}
    pages = len([1 for _, request in archive.asked if "kline" in request.path])
    assert pages == 9 + 2, "of what is known nothing is asked for again"
    (alarm,) = [e for e in events if isinstance(e, Fault) and e.subject == "price"]
    assert (alarm.over, "just now, and is 42500" in alarm.detail) == (False, True)
    archive.holes.clear()
    events.clear()
    await asyncio.sleep(2 * SOON_S + 5 * MINUTE / SECOND)
    assert any(isinstance(event, PriceHistory) for event in events)
    assert [e.over for e in events if isinstance(e, Fault) and e.subject == "price"][-1]
    asked = len([1 for _, request in archive.asked if "kline" in request.path])
    await asyncio.sleep(10 * SOON_S)
    await ended(task)
    assert len([1 for _, request in archive.asked if "kline" in request.path]) == asked
