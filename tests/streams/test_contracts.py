"""What a venue says of a contract once, or only shows, holds for every frame that comes after."""

import msgspec
import pytest

from streams.contracts import FUNDING_HOURS, Contracts, interval_within
from streams.events import Funding, Instrument, Ms, Price
from streams.venue import Listing, facts
from streams.venues import binance, bybit, hyperliquid

HOUR, SECOND = 3_600_000, 1_000
DAY: Ms = 1_795_219_200_000  # a midnight UTC
EIGHT = DAY + 8 * HOUR


def instrument(
    venue: str, symbol: str, hours: float | None, cap: float | None = None
) -> Instrument:
    return Instrument(
        venue=venue, symbol=symbol, asset="BTC", quote="USDT", funding_hours=hours, funding_cap=cap
    )


def listed(venue: str, symbol: str, hours: float | None, cap: float | None = None) -> Listing:
    """A listing as the consumer makes it."""
    contracts, known = Contracts(), instrument(venue, symbol, hours, cap)
    contracts.relist([known])
    return Listing(instruments={symbol: known}, contracts=contracts)


class Venue:
    """One venue's listing and what its frames and answers say under it."""

    def __init__(self, module, symbol: str, hours: float, cap: float | None = None) -> None:
        self.module, self.symbol = module, symbol
        self.listing = listed(module.SPEC.name, symbol, hours, cap)
        self.doubts: list[str] = []

    def relist(self, hours: float, cap: float | None = None) -> None:
        known = instrument(self.module.SPEC.name, self.symbol, hours, cap)
        self.listing.contracts.relist([known])
        self.listing = msgspec.structs.replace(self.listing, instruments={self.symbol: known})

    def _take(self, decoded):
        events, doubt = facts(decoded, self.listing.contracts)
        self.doubts += [doubt] if doubt else []
        return events

    def hear(self, frame: object, at: Ms):
        return self._take(self.module.decode(msgspec.json.encode(frame), self.listing, at))

    def poll(self, body: object, at: Ms) -> list[Funding]:
        kinds = self.module.SPEC.kinds
        polls = self.module.polls(list(self.listing.instruments.values()), kinds)
        poll = next(poll for poll in polls if poll.kind == "funding")
        data = msgspec.json.encode(body)
        return self._take(self.module.decode_poll(poll, data, self.listing, at))


def ticker(at: Ms, **fields: str) -> dict:
    data = {"symbol": "XYZUSDT", **fields}
    return {"topic": "tickers.XYZUSDT", "type": "delta", "ts": at, "data": data}


def mark(at: Ms, next_at: Ms, rate: str) -> dict:
    return {
        "e": "markPriceUpdate",
        "E": at,
        "s": "XYZUSDT",
        "p": "1",
        "i": "1",
        "r": rate,
        "T": next_at,
    }


def history(*rows: tuple[Ms, str]) -> dict:
    """What Bybit answers; newest first."""
    named = [
        {"symbol": "XYZUSDT", "fundingRate": rate, "fundingRateTimestamp": str(at)}
        for at, rate in rows
    ]
    return {"retCode": 0, "retMsg": "OK", "result": {"list": named}}


def rate_of(events) -> Funding:
    (rate,) = [event for event in events if isinstance(event, Funding)]
    return rate


def pct_8h(rate: Funding) -> float:
    return round(100 * rate.rate * 8 / rate.hours, 6)


# ── Bybit: the interval is said once ──


def test_the_delta_after_the_one_with_the_interval_does_not_fall_back_to_the_listing() -> None:
    venue, at = Venue(bybit, "XYZUSDT", 8), EIGHT + 5 * SECOND
    said = venue.hear(ticker(at, fundingIntervalHour="1", fundingRate="-0.0005"), at)
    after = venue.hear(ticker(at + SECOND, fundingRate="-0.0005"), at + SECOND)
    assert pct_8h(rate_of(said)) == pct_8h(rate_of(after)) == -0.40


@pytest.mark.parametrize("was, now", [(1, 8), (4, 1), (8, 4), (4, 8)])
def test_the_newest_word_stands_until_a_newer_one(was: int, now: int) -> None:
    venue, at = Venue(bybit, "XYZUSDT", was), EIGHT + 5 * SECOND
    venue.hear(ticker(at, fundingIntervalHour=str(now)), at)  # and no rate beside it
    assert rate_of(venue.hear(ticker(at, fundingRate="-0.0005"), at)).hours == now
    venue.relist(was)  # a listing that lags says nothing new
    assert rate_of(venue.hear(ticker(at, fundingRate="-0.0005"), at)).hours == now
    venue.relist(now)
    venue.relist(2)
    assert rate_of(venue.hear(ticker(at, fundingRate="-0.0005"), at)).hours == 2


def test_a_fresh_start_after_a_change_reads_the_settlement_by_the_gap() -> None:
    venue = Venue(bybit, "XYZUSDT", 1)  # the listing knows of the change
    (rate,) = venue.poll(history((EIGHT, "-0.006"), (DAY, "-0.001")), EIGHT + 40 * SECOND)
    assert (pct_8h(rate), rate.hours) == (-0.60, 8)
    (rate,) = venue.poll(history((EIGHT + HOUR, "-0.006"), (EIGHT, "0")), EIGHT + HOUR + SECOND)
    assert (pct_8h(rate), rate.hours) == (-4.80, 1)


def test_a_price_that_a_delta_leaves_out_has_not_changed() -> None:
    venue, at = Venue(bybit, "XYZUSDT", 8), EIGHT
    told = [
        venue.hear(ticker(at, **fields), at)
        for fields in (
            {"markPrice": "97", "indexPrice": "100"},
            {"markPrice": "96.5"},
            {"indexPrice": "99.8"},
            {"markPrice": "96"},
        )
    ]
    prices = [event for events in told for event in events if isinstance(event, Price)]
    assert [(p.mark, p.index) for p in prices] == [(97, 100), (96.5, 100), (96.5, 99.8), (96, 99.8)]


# ── Binance: the interval is only shown ──


@pytest.mark.parametrize("was, now", [(8, 4), (8, 1), (4, 1), (1, 8), (1, 4), (4, 8)])
def test_the_next_settlement_shows_a_change_of_interval(was: int, now: int) -> None:
    venue = Venue(binance, "XYZUSDT", was)
    before, after = EIGHT - SECOND, EIGHT + SECOND
    assert rate_of(venue.hear(mark(before, EIGHT, "-0.0005"), before)).hours == was
    assert venue.doubts == []
    rate = rate_of(venue.hear(mark(after, EIGHT + now * HOUR, "-0.0005"), after))
    assert pct_8h(rate) == round(-0.05 * 8 / now, 6)
    assert len(venue.doubts) == 1  # and the listing is asked for again
    venue.relist(was)
    assert rate_of(venue.hear(mark(after, EIGHT + now * HOUR, "-0.0005"), after)).hours == now


def test_a_change_between_two_settlements_shows_as_well() -> None:
    venue, at = Venue(binance, "XYZUSDT", 8), EIGHT + 2 * HOUR
    venue.poll([{"symbol": "XYZUSDT", "fundingTime": EIGHT, "fundingRate": "0.0001"}], at)
    assert rate_of(venue.hear(mark(at, EIGHT + 8 * HOUR, "-0.001"), at)).hours == 8
    assert rate_of(venue.hear(mark(at, EIGHT + 3 * HOUR, "-0.001"), at)).hours == 1


def test_a_settlement_of_binance_has_the_interval_that_its_rows_show() -> None:
    def row(at: Ms, rate: str, symbol: str = "XYZUSDT") -> dict:
        return {"symbol": symbol, "fundingTime": at, "fundingRate": rate}

    others = [row(DAY + hour * HOUR, "0", "OTHERUSDT") for hour in range(10)]
    for stale in (1, 4, 8):
        (rate,) = Venue(binance, "XYZUSDT", stale).poll(
            [*others, row(EIGHT + 2, "-0.006"), row(DAY, "0")], EIGHT + HOUR
        )
        assert (pct_8h(rate), rate.hours) == (-0.60, 8)
    # its row before is not in the answer, which reaches back over five hours without one
    (rate,) = Venue(binance, "XYZUSDT", 1).poll([*others[3:], row(EIGHT, "-0.006")], EIGHT + HOUR)
    assert rate.hours == 8
    (rate,) = Venue(binance, "XYZUSDT", 8).poll([row(EIGHT, "-0.006")], EIGHT + HOUR)
    assert rate.hours == 8


def test_the_settlements_of_a_calm_day_change_nothing() -> None:
    for hours in FUNDING_HOURS:
        venue = Venue(binance, "XYZUSDT", hours)
        for hour in range(48):
            now = DAY + hour * HOUR
            next_at = (now // (hours * HOUR) + 1) * hours * HOUR
            for late in (SECOND, 1800 * SECOND, 3599 * SECOND):
                event = rate_of(venue.hear(mark(now + late, next_at, "0.0001"), now + late))
                assert event.hours == hours
            if hour % hours == 0:
                rows = [{"symbol": "XYZUSDT", "fundingTime": now + 3, "fundingRate": "0.0001"}]
                assert venue.poll(rows, now + 20 * SECOND)[0].hours == hours
        assert venue.doubts == []


def test_a_hole_of_two_settlements_is_no_change() -> None:
    venue, at = Venue(binance, "XYZUSDT", 1), EIGHT + SECOND
    venue.hear(mark(at, EIGHT + HOUR, "0.0001"), at)
    later = at + 2 * HOUR
    assert rate_of(venue.hear(mark(later, EIGHT + 3 * HOUR, "0.0001"), later)).hours == 1
    assert venue.doubts == []


# ── what cannot be ──


@pytest.mark.parametrize("hours", ["3", "0", "-8", "48", "1e400", "0.5"])
def test_an_interval_that_does_not_exist_makes_no_event(hours: str) -> None:
    venue = Venue(bybit, "XYZUSDT", 8)
    events = venue.hear(ticker(EIGHT, fundingIntervalHour=hours, fundingRate="0.01"), EIGHT)
    if hours == "1e400":  # is no number at all: nothing was said
        assert rate_of(events).hours == 8
    else:
        assert events == []


def test_a_rate_beyond_the_cap_makes_no_event_and_asks_for_the_listing() -> None:
    venue = Venue(binance, "XYZUSDT", 8, cap=0.02)
    events = venue.hear(mark(EIGHT, EIGHT + 8 * HOUR, "-0.75"), EIGHT)
    assert not [event for event in events if isinstance(event, Funding)]
    assert venue.doubts == ["XYZUSDT: a funding rate of -0.75 where 0.02 is the cap"]
    assert rate_of(venue.hear(mark(EIGHT, EIGHT + 8 * HOUR, "-0.02"), EIGHT)).rate == -0.02
    row = {"symbol": "XYZUSDT", "fundingTime": EIGHT, "fundingRate": "-0.03"}
    assert venue.poll([row], EIGHT) == []
    venue.relist(8, cap=0.03)
    assert venue.poll([row], EIGHT)[0].rate == -0.03


def test_a_cap_that_a_ticker_says_is_newer_than_the_listing() -> None:
    venue = Venue(bybit, "XYZUSDT", 8, cap=0.005)
    assert venue.hear(ticker(EIGHT, fundingRate="-0.01"), EIGHT) == []
    venue.hear(ticker(EIGHT, fundingCap="0.02"), EIGHT)
    assert rate_of(venue.hear(ticker(EIGHT, fundingRate="-0.01"), EIGHT)).rate == -0.01


def test_hyperliquid_pays_at_most_four_per_cent_an_hour() -> None:
    meta = msgspec.json.encode([{"universe": [{"name": "XYZ"}]}, [{}]])
    ((known,), _) = hyperliquid.instruments([meta])
    assert (known.funding_hours, known.funding_cap) == (1, 0.04)


@pytest.mark.parametrize(
    "gap, hour, hours", [(8, 8, 8), (4, 12, 4), (3, 11, 1), (5, 13, 1), (6, 6, 2), (30, 24, 24)]
)
def test_an_interval_has_a_settlement_at_its_multiples(gap: int, hour: int, hours: int) -> None:
    assert interval_within(gap, DAY + hour * HOUR + 77) == hours
