"""Sources against what they answered, and against what they must not be believed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.events import (
    ContextFact,
    MarketCap,
    Ms,
    OwnSeries,
    RateOdds,
    Release,
    Stablecoin,
    Supply,
)
from streams.sources import SOURCES, coingecko, defillama, forexfactory, kalshi, polymarket
from streams.sources.series import OwnSeriesSource
from streams.sources.wire import moment
from streams.venue import UNREADABLE, Malformed


def ms(text: str) -> Ms:
    at = moment(text)
    assert at is not None
    return at


OCTOBER = ms("2026-10-06T04:00:00+00:00")
KALSHI = "kalshi_events_KXFEDDECISION_open_nested_2026-10-06.trimmed.json"
POLYMARKET = "polymarket_gamma_event_fed_decision_october_2026-10-06.trimmed.json"


def recorded(shared: Path, name: str) -> bytes:
    return (shared / "frames" / "context" / name).read_bytes()


def odds(facts: list[ContextFact]) -> RateOdds:
    (fact,) = facts
    assert isinstance(fact, RateOdds)
    return fact


def pct(fact: RateOdds) -> tuple[float, float, float]:
    return round(100 * fact.cut, 1), round(100 * fact.hold, 1), round(100 * fact.hike, 1)


def test_both_prediction_markets_of_one_hour(shared: Path):
    """The legs of the one add up to 1.0150, those of the other to 1.0085."""
    of_kalshi = odds(kalshi.decode([recorded(shared, KALSHI)], OCTOBER))
    of_polymarket = odds(polymarket.decode([recorded(shared, POLYMARKET)], OCTOBER))
    assert pct(of_kalshi) == (1.0, 78.3, 20.7)
    assert pct(of_polymarket) == (0.5, 79.8, 19.7)
    assert of_kalshi.meeting_at == ms("2026-10-28T18:00:00Z")
    assert of_polymarket.meeting_at == ms("2026-10-29T03:59:00Z")
    for fact in (of_kalshi, of_polymarket):
        assert fact.cut + fact.hold + fact.hike == pytest.approx(1)


def kalshi_event(change: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """A cut at 10 %, a hold at 80 %, a hike at 10 %."""
    quotes = {"C25": ("0.0900", "0.1100"), "H0": ("0.7900", "0.8100"), "H25": ("0.0900", "0.1100")}
    event: dict[str, Any] = {
        "event_ticker": "KXFEDDECISION-26OCT",
        "series_ticker": "KXFEDDECISION",
        "strike_date": "2026-10-28T18:00:00Z",
        "markets": [
            {
                "ticker": f"KXFEDDECISION-26OCT-{end}", "status": "active", "result": "",
                "yes_bid_dollars": bid, "yes_ask_dollars": ask, "yes_ask_size_fp": "100.00",
            }
            for end, (bid, ask) in quotes.items()
        ],
    }  # fmt: skip
    if change is not None:
        change(event)
    return event


def from_kalshi(*events: dict[str, Any]) -> RateOdds:
    return odds(kalshi.decode([json.dumps({"events": events}).encode()], OCTOBER))


def leg(place: int, **fields: object) -> Callable[[dict[str, Any]], None]:
    return lambda event: event["markets"][place].update(fields)


def drop(place: int) -> Callable[[dict[str, Any]], None]:
    return lambda event: event["markets"].pop(place)


@pytest.mark.parametrize(
    "change",
    [
        leg(1, yes_bid_dollars="0.0000", yes_ask_dollars="1.0000", yes_ask_size_fp="0.00"),
        leg(0, yes_bid_dollars="0.0000", yes_ask_dollars="1.0000"),
        leg(1, yes_ask_size_fp="0.00"),
        leg(1, status="settled", result="yes"),
        leg(1, yes_bid_dollars="NaN"),
        leg(1, yes_bid_dollars="1e400"),
        leg(1, yes_bid_dollars="0.8500"),
        leg(0, yes_bid_dollars="0.5000", yes_ask_dollars="0.5200"),
        leg(1, yes_bid_dollars=""),
        leg(1, ticker="KXFEDDECISION-26OCT-X1"),
        drop(0),
        lambda event: event.update(strike_date="2025-10-29T18:00:00Z"),
        lambda event: event.update(strike_date=None),
        lambda event: event.update(series_ticker="KXOTHER"),
        lambda event: event.update(markets=[]),
    ],
)
def test_a_market_that_is_decided_or_lacks_a_quote_says_nothing(
    change: Callable[[dict[str, Any]], None],
):
    assert pct(from_kalshi(kalshi_event())) == (10, 80, 10)
    with pytest.raises(Malformed):
        from_kalshi(kalshi_event(change))


def test_the_next_decision_is_meant_and_no_other_in_its_place():
    later = kalshi_event(leg(1, yes_bid_dollars="0.5900", yes_ask_dollars="0.6100"))
    later["strike_date"] = "2026-12-09T19:00:00Z"
    past = kalshi_event()
    past["strike_date"] = "2026-09-16T18:00:00Z"
    assert from_kalshi(later, past, kalshi_event()).meeting_at == ms("2026-10-28T18:00:00Z")
    with pytest.raises(Malformed):
        from_kalshi(later, kalshi_event(leg(1, status="closed")))


def test_a_leg_that_nobody_bids_for_has_a_quote():
    nobody = leg(0, yes_bid_dollars="0.0000", yes_ask_dollars="0.0100", yes_bid_size_fp="0.00")
    fact = from_kalshi(kalshi_event(nobody))
    assert fact.cut == pytest.approx(0.005 / 0.905)


def polymarket_event(**legs: tuple[float, float, float]) -> dict[str, Any]:
    """``legs``: price, bid and ask of "Yes"."""
    quotes = {
        "25 bps decrease": (0.10, 0.09, 0.11),
        "No change": (0.80, 0.79, 0.81),
        "50+ bps increase": (0.11, 0.10, 0.12),
    } | legs
    return {
        "seriesSlug": "fomc", "endDate": "2026-10-29T03:59:00Z", "active": True, "closed": False,
        "markets": [
            {
                "groupItemTitle": title, "outcomes": '["No", "Yes"]',
                "outcomePrices": json.dumps([str(1 - price), str(price)]),
                "bestBid": bid, "bestAsk": ask,
                "active": True, "closed": False, "acceptingOrders": True,
            }
            for title, (price, bid, ask) in quotes.items()
        ],
    }  # fmt: skip


def from_polymarket(*events: dict[str, Any]) -> RateOdds:
    return odds(polymarket.decode([json.dumps(events).encode()], OCTOBER))


def resolved() -> dict[str, Any]:
    """Last year's event, which the slug without a year still leads to."""
    event = polymarket_event(
        **{
            "25 bps decrease": (1.0, 0.999, 1.0),
            "No change": (0.0, 0.0, 0.001),
            "50+ bps increase": (0.0, 0.0, 0.001),
        }
    )
    return event | {"endDate": "2025-10-29T03:59:00Z", "closed": True}


@pytest.mark.parametrize(
    "event",
    [
        resolved(),
        resolved() | {"closed": False},
        resolved() | {"closed": False, "endDate": "2026-10-29T03:59:00Z"},
        polymarket_event() | {"seriesSlug": "nba"},
        polymarket_event() | {"active": False},
        polymarket_event() | {"endDate": "never"},
        polymarket_event(**{"No change": (0.80, 0.20, 0.95)}),
        polymarket_event(**{"No change": (0.5, 0.79, 0.81)}),
        polymarket_event(**{"something else": (0.01, 0.0, 0.02)}),
        polymarket_event(**{"25 bps decrease": (0.6, 0.59, 0.61)}),
    ],
)
def test_last_years_event_and_an_empty_side_say_nothing(event: dict[str, Any]):
    """The order of the outcomes is theirs: here "No" comes first."""
    expected = tuple(round(100 * x / 1.01, 1) for x in (0.10, 0.80, 0.11))
    assert pct(from_polymarket(resolved(), polymarket_event())) == expected
    with pytest.raises(Malformed):
        from_polymarket(event)


def test_a_price_that_is_no_number_says_nothing():
    event = polymarket_event()
    event["markets"][1]["outcomePrices"] = '["0.2", "NaN"]'
    with pytest.raises(Malformed):
        from_polymarket(event)


def test_supplies_ranks_and_highs(shared: Path):
    listed = recorded(shared, "coingecko_coins_markets.2024.json")
    total = recorded(shared, "coingecko_global.2025-04-07.json")
    then = ms("2024-04-07T17:00:00Z")
    assert coingecko.decode([listed, total], then) == [
        Supply(
            asset="BTC", rank=1, circulating=19675987, price=70187, high=73738,
            high_at=ms("2024-03-14T07:10:36.635Z"),
        ),
        MarketCap(usd=2515268352188.766, change_24h_pct=-9.999293796813587),
    ]  # fmt: skip
    assert len(coingecko.decode([listed, b""], then)) == 1


@pytest.mark.parametrize("late_h", [5, 24 * 365])
def test_a_list_that_stands_still_is_not_of_now(shared: Path, late_h: int):
    """As a cache tells it that has lost its source; a coin alone of which no price is told too."""
    listed = recorded(shared, "coingecko_coins_markets.2024.json")
    total = recorded(shared, "coingecko_global.2025-04-07.json")
    of_total = json.loads(total)["data"]["updated_at"] * 1000
    later = ms("2024-04-07T16:49:31.736Z") + late_h * 3_600_000
    with pytest.raises(Malformed, match="long ago"):
        coingecko.decode([listed, b""], later)
    rows = json.loads(listed)
    fresh = dict(rows[0], id="ethereum", symbol="eth", market_cap_rank=2)
    for at, facts in ((of_total, [Supply, MarketCap]), (of_total + late_h * 3_600_000, [Supply])):
        fresh["last_updated"] = datetime.fromtimestamp(at / 1000, UTC).isoformat()
        body = json.dumps([*rows, fresh]).encode()
        supply, *others = coingecko.decode([body, total], at)
        assert isinstance(supply, Supply)
        assert [supply.asset, *map(type, others)] == ["ETH", *facts[1:]]


@pytest.mark.parametrize("times", [2, 3])
def test_one_coin_counts_once_and_two_of_a_ticker_as_two(times: int):
    bitcoin, other = coin(id="bitcoin", symbol="btc"), coin(id="other", symbol="btc")
    facts = coingecko.decode([json.dumps([bitcoin, other] * times).encode(), b""], OCTOBER)
    assert len(facts) == 2
    unnamed = [coin(symbol="btc")] * times  # nobody knows whether it is the same
    assert len(coingecko.decode([json.dumps(unnamed).encode(), b""], OCTOBER)) == times


@pytest.mark.parametrize("name", ["b\x1btc", "usdt\u202e", "us dt", "\u2066x"])
def test_what_cannot_be_shown_is_no_name_of_a_coin(name: str):
    body = json.dumps([coin(symbol=name), coin(symbol="eth", market_cap_rank=2)]).encode()
    assert [f.asset for f in coingecko.decode([body, b""], OCTOBER) if isinstance(f, Supply)] == [
        "ETH"
    ]
    rows = {"peggedAssets": [stable(name, 5e9, 1.0), stable("USDC", 1e9, 1.0)]}
    facts = defillama.decode([json.dumps(rows).encode()], OCTOBER)
    assert [fact.asset for fact in facts if isinstance(fact, Stablecoin)] == ["USDC"]


def coin(**fields: object) -> dict[str, object]:
    return {
        "symbol": "xyz", "market_cap_rank": 9, "circulating_supply": 5.0, "current_price": 2.0,
    } | fields  # fmt: skip


def test_what_stands_for_another_coin_or_cannot_be_is_no_supply():
    rows = [
        coin(symbol="matic"),
        coin(symbol="steth", market_cap_rank=None),
        coin(current_price=1e400),
        coin(circulating_supply=0),
        coin(circulating_supply=None),
        coin(symbol="btc", market_cap_rank=1, ath=-5, ath_date="2025-10-06T18:57:42Z"),
        coin(symbol="eth", market_cap_rank=2, ath=4946.0, ath_date="once"),
    ]
    body = json.dumps(rows).replace("Infinity", "1e308").encode()
    supplies = [fact for fact in coingecko.decode([body, b""], OCTOBER) if isinstance(fact, Supply)]
    assert [(s.asset, s.rank, s.high, s.high_at) for s in supplies] == [
        ("BTC", 1, None, None), ("ETH", 2, None, None), ("POL", 9, None, None),
    ]  # fmt: skip
    with pytest.raises(Malformed):
        coingecko.decode([b"[]", b""], OCTOBER)


def test_announcements_of_weight(shared: Path):
    """Times are of New York; NFP of July came out on Friday 7 August at 8:30 there."""
    body = recorded(shared, "forexfactory_ff_calendar_thisweek_2026-08-NFPweek.json")
    facts = forexfactory.decode([body], OCTOBER)
    rows = [row for row in json.loads(body) if row["impact"] == "High"]
    assert len(facts) == len(rows) < len(json.loads(body))
    jobs = [f for f in facts if isinstance(f, Release) and f.title == "Non-Farm Employment Change"]
    (row,) = [row for row in rows if row["title"] == "Non-Farm Employment Change"]
    assert [(j.at, j.currency, j.forecast, j.previous) for j in jobs] == [
        (ms("2026-08-07T12:30:00Z"), "USD", row["forecast"], row["previous"])
    ]
    times = [fact.at for fact in facts if isinstance(fact, Release)]
    assert times == sorted(times)
    quiet = recorded(shared, "forexfactory_ff_calendar_thisweek_2026-08-21.json")
    assert "Non-Farm" not in str(forexfactory.decode([quiet], OCTOBER))


def announcement(**fields: object) -> bytes:
    row = {"title": "CPI m/m", "country": "USD", "date": "2026-10-14T08:30:00-04:00"}
    return json.dumps(
        [row | {"impact": "High", "forecast": "0.3%", "previous": "0.2%"} | fields]
    ).encode()


def test_an_announcement_that_moves_is_where_it_is_now():
    (before,) = forexfactory.decode([announcement()], OCTOBER)
    (after,) = forexfactory.decode([announcement(date="2026-10-15T08:30:00-04:00")], OCTOBER)
    assert (before, after) == tuple(
        Release(at=at, currency="USD", title="CPI m/m", forecast="0.3%", previous="0.2%")
        for at in (ms("2026-10-14T12:30:00Z"), ms("2026-10-15T12:30:00Z"))
    )
    for wrong in ("", "Tentative", "2026-10-14T08:30:00", "99999-01-01T00:00:00Z"):
        with pytest.raises(Malformed):
            forexfactory.decode([announcement(date=wrong)], OCTOBER)
    (escaped,) = forexfactory.decode([announcement(title="C\u202ePI\n")], OCTOBER)
    assert isinstance(escaped, Release)
    assert escaped.title == r"C\u202ePI\n"


def stable(symbol: str, supply: object, price: object, peg: str = "peggedUSD") -> dict[str, object]:
    return {
        "symbol": symbol, "pegType": peg, "price": price, "circulating": {peg: supply},
        "circulatingPrevDay": {peg: 90}, "circulatingPrevMonth": {},
    }  # fmt: skip


def test_stablecoins_the_largest_first():
    """Written by hand after the form that others read: there is no recording."""
    rows = [
        stable("USDe", 12e9, 0.65), stable("USDT", 180e9, 1.0003),
        stable("EURC", 1e9, 1.1, "peggedEUR"), stable("USDX", 1e9, 1e308),
        stable("GONE", 0, 1.0), stable("USDY", 5e8, None),
    ]  # fmt: skip
    facts = defillama.decode([json.dumps({"peggedAssets": rows}).encode()], OCTOBER)
    assert facts == [
        Stablecoin(asset="USDT", supply=180e9, price=1.0003, supply_day_ago=90),
        Stablecoin(asset="USDE", supply=12e9, price=0.65, supply_day_ago=90),
        Stablecoin(asset="USDX", supply=1e9, price=None, supply_day_ago=90),
        Stablecoin(asset="USDY", supply=5e8, price=None, supply_day_ago=90),
    ]
    many = [stable(f"C{n}", 100 + n, 1.0) for n in range(30)]
    assert len(defillama.decode([json.dumps({"peggedAssets": many}).encode()], OCTOBER)) == 10


def test_a_series_of_ones_own(shared: Path):
    body = recorded(shared, "us_spot_btc_etf_flows_musd_2025-10..12.csv")
    november = ms("2025-11-22T00:00:00Z")
    ibit = OwnSeriesSource("IBIT", "M USD", column="IBIT")
    (fact,) = ibit.decode([body], november)
    rows = [line.split(",") for line in body.decode().splitlines()[1:]]
    days = {day: float(value) for day, value, *_ in rows if day < "2025-11-22"}
    month = sum(value for day, value in days.items() if day > "2025-10-22")
    assert isinstance(fact, OwnSeries)
    assert (fact.low, fact.low_at) == (-523.2, ms("2025-11-18T00:00:00Z"))
    assert (fact.value, fact.at) == (days["2025-11-21"], ms("2025-11-21T00:00:00Z"))
    assert fact.sum_30d == pytest.approx(month)
    assert fact.first_at == ms("2025-10-01T00:00:00Z")
    (total,) = OwnSeriesSource("flows", "M USD").decode([body], november)
    assert isinstance(total, OwnSeries)
    assert total.value == 238.4  # the last column


def test_holidays_are_left_out_and_what_is_no_number_is_refused(shared: Path):
    fred = OwnSeriesSource("DGS10", "%", url="https://example.org:8443/graph/fred.csv?id=DGS10")
    assert fred.SPEC.rest == "https://example.org:8443"
    assert [r.path for r in fred.requests()] == ["/graph/fred.csv?id=DGS10"]
    (fact,) = fred.decode([recorded(shared, "fred_fredgraph_DGS10_shape.csv")], OCTOBER)
    assert isinstance(fact, OwnSeries)
    assert (fact.value, fact.high) == (4.71, 4.72)
    holidays = b'observation_date,X\n2026-08-17,.\n2026-08-18,\n2026-08-19,"1,234.5"\n'
    (fact,) = fred.decode([holidays], OCTOBER)
    assert isinstance(fact, OwnSeries)
    assert (fact.value, fact.first_at) == (1234.5, ms("2026-08-19T00:00:00Z"))
    for line in (
        "2026-08-17,nan",
        "2026-08-17,1e400",
        "2026-08-17,x",
        "17/8/2026,1",
        "2027-08-17,1",
    ):
        with pytest.raises(Malformed):
            fred.decode([f"observation_date,X\n{line}\n".encode()], OCTOBER)
    with pytest.raises(Malformed, match="no column 'Y'"):
        OwnSeriesSource("s", "", column="Y").decode([holidays], OCTOBER)


_JUNK = [
    b"", b"<!DOCTYPE html><html>Access denied</html>", b"null", b"{}", b"[]", b"[[[[", b"\xff\xfe",
    b'{"events": 5}', b'{"data": {"total_market_cap": {"usd": 1e999}}}', b"[" * 100_000,
    b'[{"symbol": "btc", "market_cap_rank": 1e30}]', b'{"error": "rate limit"}',
]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("body", _JUNK)
def test_what_is_no_answer_is_refused_or_empty(name: str, body: bytes):
    source = SOURCES[name]
    assert source.SPEC.name == name
    try:
        facts = source.decode([body for _ in source.requests()], OCTOBER)
    except UNREADABLE:
        return
    assert facts == []
    assert msgspec.json.decode(body) == []  # a calendar without announcements of weight
