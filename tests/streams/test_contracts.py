"""What a venue says of a contract once, or only shows, holds for every frame that comes after."""

import msgspec
import pytest

from streams.contracts import FUNDING_HOURS, Contracts, Terms, intervals_between
from streams.events import Funding, Instrument, Liquidation, Ms, OpenInterest, Position, Price
from streams.venue import Listing, facts
from streams.venues import binance, bybit, hyperliquid

HOUR, MINUTE, SECOND = 3_600_000, 60_000, 1_000
DAY: Ms = 1_795_219_200_000  # a midnight UTC
EIGHT = DAY + 8 * HOUR
NOW = EIGHT


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
    events = venue.hear(ticker(at, fundingIntervalHour="1", fundingRate="-0.0005"), at)
    after = venue.hear(ticker(at + SECOND, fundingRate="-0.0005"), at + SECOND)
    assert pct_8h(rate_of(events)) == pct_8h(rate_of(after)) == -0.40


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
    event_lists = [
        venue.hear(ticker(at, **fields), at)
        for fields in (
            {"markPrice": "97", "indexPrice": "100"},
            {"markPrice": "96.5"},
            {"indexPrice": "99.8"},
            {"markPrice": "96"},
        )
    ]
    prices = [event for events in event_lists for event in events if isinstance(event, Price)]
    assert [(p.mark, p.index) for p in prices] == [(97, 100), (96.5, 100), (96.5, 99.8), (96, 99.8)]


# ── Binance: the interval is only shown ──


@pytest.mark.parametrize("was, now", [(8, 4), (8, 1), (4, 1), (1, 8), (1, 4), (4, 8)])
def test_the_next_settlement_shows_a_change_of_interval(was: int, now: int) -> None:
    venue = Venue(binance, "XYZUSDT", was)
    before, after = EIGHT - SECOND, EIGHT + SECOND
    assert rate_of(venue.hear(mark(before, EIGHT, "-0.0005"), before)).hours == was
    assert venue.doubts == []
    first = venue.hear(mark(after, EIGHT + now * HOUR, "-0.0005"), after)
    assert not [event for event in first if isinstance(event, Funding)]  # it may err once
    assert len(venue.doubts) == 1  # and the listing is asked for again
    venue.relist(was)
    after += 30 * SECOND
    rate = rate_of(venue.hear(mark(after, EIGHT + now * HOUR, "-0.0005"), after))
    assert pct_8h(rate) == round(-0.05 * 8 / now, 6)
    assert len(venue.doubts) == 1


def test_a_change_between_two_settlements_shows_as_well() -> None:
    venue, at = Venue(binance, "XYZUSDT", 8), EIGHT + 2 * HOUR
    assert rate_of(venue.hear(mark(at, EIGHT + 8 * HOUR, "-0.001"), at)).hours == 8
    at += 2 * SECOND
    assert len(venue.hear(mark(at, EIGHT + 3 * HOUR, "-0.001"), at)) == 1  # the price alone
    at += 30 * SECOND
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
    ((known,), *_) = hyperliquid.instruments([meta])
    assert (known.funding_hours, known.funding_cap) == (1, 0.04)


@pytest.mark.parametrize(
    "before, at, fits",
    [
        (0, 8, {8}),
        (8, 12, {4}),
        (12, 16, {4, 8}),
        (13, 16, {4, 8}),
        (11, 12, {1, 2, 4}),
        (12, 13, {1}),
        (13, 15, set()),
        (0, 24, {24}),
    ],
)
def test_two_settlements_fit_some_intervals(before: int, at: int, fits: set[int]) -> None:
    assert intervals_between(DAY + before * HOUR + 61_000, DAY + at * HOUR + 77) == fits


# ── intervals change under stress, to shorter and to longer ones ──


class Changing:
    """A contract whose interval changes from ``was`` to ``now`` at an hour of the day, at -0.015 %
    per 8 h throughout, and what is made of all that its venue says of it."""

    def __init__(self, was: int, now: int, at: int) -> None:
        self.was, self.now, self.change = was, now, DAY + at * HOUR
        self.contracts = Contracts()
        self.wrong: list[Funding] = []
        self.right: list[Ms] = []
        self.asked: list[str] = []

    def relist(self, hours: int) -> None:
        self.contracts.relist([instrument("bybit", "XYZUSDT", hours)])

    def _complete(self, event: Funding, hours: int) -> Funding | None:
        known, doubt = self.contracts.complete(event)
        self.asked += [doubt] if doubt else []
        if isinstance(known, Funding):
            if known.hours == hours:
                self.right.append(event.seen)
            else:
                self.wrong.append(known)
            return known
        return None

    def interval(self, t: Ms) -> int:
        return self.was if t < self.change else self.now

    def predict(self, t: Ms, next_at: Ms | None = None) -> Funding | None:
        hours = self.interval(t)
        due = (t // (hours * HOUR) + 1) * hours * HOUR
        listed = self.contracts._known["XYZUSDT"].listed
        return self._complete(
            Funding(
                venue="bybit", symbol="XYZUSDT", asset="BTC", at=t, seen=t,
                rate=-0.00015 * hours / 8, hours=listed.funding_hours,
                settled=False, next_at=due if next_at is None else next_at,
            ),
            hours,
        )  # fmt: skip

    def settled(self, t: Ms) -> list[Ms]:
        """The settlements up to ``t``, of the last day."""
        hours = range((t - DAY) // HOUR - 24, (t - DAY) // HOUR + 1)
        times = [DAY + hour * HOUR for hour in hours]
        return [x for x in times if (x // HOUR) % self.interval(x - 1) == 0]

    def settle(self, t: Ms) -> Funding | None:
        """The answer to a poll at ``t``."""
        before, at = self.settled(t)[-2:]
        hours, listed = self.interval(at - 1), self.contracts._known["XYZUSDT"].listed
        self.contracts.take(Terms(symbol="XYZUSDT", settled_before=before))
        return self._complete(
            Funding(
                venue="bybit", symbol="XYZUSDT", asset="BTC", at=at, seen=t,
                rate=-0.00015 * hours / 8, hours=listed.funding_hours, settled=True,
            ),
            hours,
        )  # fmt: skip

    def run(self, start: Ms, end: Ms) -> None:
        for t in range(start, end, 10 * SECOND):
            self.predict(t + SECOND)
            if t % HOUR == 20 * SECOND:
                self.settle(t)


INTERVALS = (1, 2, 4, 8)
CHANGES = [
    (was, now, at)
    for was in INTERVALS
    for now in INTERVALS
    for at in (8, 13, 14, 12)
    if at % was == 0
]


@pytest.mark.parametrize("was, now, at", CHANGES)
def test_a_change_that_the_ticker_says_first_makes_no_wrong_rate(was, now, at) -> None:
    venue = Changing(was, now, at)
    venue.relist(was)
    venue.run(DAY + 4 * HOUR, venue.change)
    venue.contracts.take(Terms(symbol="XYZUSDT", funding_hours=now))
    venue.run(venue.change, venue.change + HOUR)
    venue.relist(now)
    venue.run(venue.change + HOUR, DAY + 26 * HOUR)
    assert venue.wrong == []
    assert venue.asked == []
    assert {t // HOUR for t in venue.right} == {
        t // HOUR for t in range(DAY + 4 * HOUR, DAY + 26 * HOUR, HOUR)
    }
    assert venue.settle(DAY + 25 * HOUR).hours == now


@pytest.mark.parametrize("was, now, at", CHANGES)
@pytest.mark.parametrize("early", [MINUTE, 30 * MINUTE])
@pytest.mark.parametrize("ahead", [2 * MINUTE, 3 * HOUR])
def test_a_ticker_that_says_what_begins_with_the_next_settlement(was, now, at, early, ahead):
    """Bitget's and Gate's answers have the new interval while the old one still runs."""
    venue = Changing(was, now, at)
    venue.relist(was)
    venue.run(venue.change - early - ahead, venue.change - early)
    venue.contracts.take(Terms(symbol="XYZUSDT", funding_hours=now))
    venue.run(venue.change - early, DAY + 26 * HOUR)
    assert venue.wrong == []
    assert venue.right[-1] > DAY + 25 * HOUR


@pytest.mark.parametrize("was, now, at", CHANGES)
@pytest.mark.parametrize("after", [10, 50])
def test_a_settlement_without_the_one_before_is_none_after_a_start(was, now, at, after) -> None:
    """OKX tells all contracts' last ones so; what holds now may have begun with it."""
    venue = Changing(was, now, at)
    start = venue.change + after * MINUTE
    venue.relist(now)
    settled = Funding(
        venue="okx", symbol="XYZUSDT", asset="BTC", at=venue.change, seen=start,
        rate=-0.0009, hours=now, settled=True,
    )  # fmt: skip
    assert venue.contracts.complete(settled) == (None, "")
    venue.predict(start)
    assert venue.contracts.complete(settled) == (None, "")
    venue.settle(start)
    assert venue.wrong == []
    if now < was:
        assert venue.right[-1] == start, "the rows are further apart than what holds now"


@pytest.mark.parametrize("was, now, at", CHANGES)
def test_a_change_that_the_listing_says_first_makes_no_wrong_rate(was, now, at) -> None:
    venue = Changing(was, now, at)
    venue.relist(was)
    early = venue.change - HOUR // 6
    venue.run(venue.change - was * HOUR, early)
    venue.relist(now)
    venue.run(early, DAY + 26 * HOUR)
    assert venue.wrong == []
    assert venue.right[-1] > DAY + 25 * HOUR
    assert len(venue.asked) <= 3


@pytest.mark.parametrize("was, now, at", CHANGES)
def test_a_change_that_nobody_says_for_an_hour_makes_no_wrong_rate(was, now, at) -> None:
    venue = Changing(was, now, at)
    venue.relist(was)
    venue.run(venue.change - was * HOUR, venue.change + HOUR)
    # 4 h to 8 h at 12:00 leaves the next settlement at 16:00
    shows = was not in intervals_between(venue.change + 61_000, _next_of(now, venue.change))
    if shows or was == now:
        assert venue.wrong == []
    assert bool(venue.asked) is shows
    venue.wrong.clear()
    venue.relist(now)
    venue.run(venue.change + HOUR + SECOND, DAY + 26 * HOUR)
    assert venue.wrong == []
    assert venue.right[-1] > DAY + 25 * HOUR


@pytest.mark.parametrize("was, now, at", CHANGES)
@pytest.mark.parametrize("after", [30, 90, 200])
def test_a_fresh_start_after_a_change_makes_no_wrong_rate(was, now, at, after) -> None:
    venue = Changing(was, now, at)
    start = venue.change + after * 60 * SECOND
    venue.relist(now)
    venue.settle(start)
    venue.run(start, DAY + 30 * HOUR)
    assert venue.wrong == []
    assert venue.right[0] < start + 60 * SECOND
    assert venue.settle(DAY + 25 * HOUR).hours == now


def _next_of(hours: int, t: Ms) -> Ms:
    return (t // (hours * HOUR) + 1) * hours * HOUR


def test_an_hourly_contract_that_becomes_an_eight_hourly_one_is_not_read_as_two_hourly() -> None:
    venue = Changing(1, 8, 13)
    venue.relist(1)
    for hour in (11, 12, 13):
        assert venue.settle(DAY + hour * HOUR + 20 * SECOND).hours == 1
    venue.contracts.take(Terms(symbol="XYZUSDT", funding_hours=8))
    venue.relist(8)
    assert pct_8h(venue.predict(DAY + 13 * HOUR + 120 * SECOND)) == -0.015
    assert pct_8h(venue.settle(DAY + 16 * HOUR + SECOND)) == -0.015
    assert venue.asked == []


@pytest.mark.parametrize(
    "hours, lie_at, lie, back",
    [(8, 13.5, 14, 16), (8, 10.5, 11, 16), (1, 8.5, 32, 9), (4, 9.1, 10, 12), (8, 9.0, 12, 16)],
)
def test_one_wrong_time_of_the_next_settlement_changes_nothing(hours, lie_at, lie, back) -> None:
    venue = Changing(hours, hours, 0)
    venue.relist(hours)
    venue.run(DAY + 8 * HOUR, DAY + round(lie_at * HOUR))
    t = DAY + round(lie_at * HOUR) + 60 * SECOND
    assert venue.predict(t, DAY + lie * HOUR) is None
    assert venue.predict(t + SECOND, DAY + back * HOUR).hours == hours
    venue.run(t + 60 * SECOND, DAY + 30 * HOUR)
    assert venue.wrong == []
    assert len(venue.asked) == 1


# ── intervals of which the word could not be read ──


def assume(venue: Changing) -> None:
    known = instrument("binance", "XYZUSDT", 8)
    venue.contracts.relist([msgspec.structs.replace(known, funding_assumed=True)])


@pytest.mark.parametrize("hours", [1, 2, 4, 8])
@pytest.mark.parametrize("start", [0.3, 1.5, 4.04, 6.5, 7.9, 8.01])
@pytest.mark.parametrize("polled", ["nothing", "the last", "the last two"])
def test_an_assumed_interval_is_what_the_venue_shows_or_unknown(hours, start, polled) -> None:
    """A contract of 1 h must not be told as one of 8 h: -0.015 % for -0.12 %."""
    venue, began = Changing(hours, hours, 0), DAY + round(start * 360) * 10 * SECOND
    assume(venue)

    def ask(t: Ms) -> None:
        if polled == "the last two":
            venue.settle(t)
        elif polled == "the last":
            at = venue.settled(t)[-1]
            listed = venue.contracts._known["XYZUSDT"].listed
            venue._complete(
                Funding(
                    venue="binance", symbol="XYZUSDT", asset="BTC", at=at, seen=t,
                    rate=-0.00015 * hours / 8, hours=listed.funding_hours, settled=True,
                ),
                hours,
            )  # fmt: skip

    ask(began)
    known_after = None
    for t in range(began, began + 9 * HOUR, 10 * SECOND):
        if venue.predict(t + SECOND) is not None and known_after is None:
            known_after = t - began
        if t % HOUR == 20 * SECOND:
            ask(t)
    assert venue.wrong == []
    # of the usual interval the next answer shows that there was no settlement in between
    last = HOUR if hours == 8 else 4 * HOUR
    longest = {"nothing": 4 * HOUR, "the last": last, "the last two": 0}
    assert known_after <= longest[polled] + 60 * SECOND


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_a_listing_that_could_not_be_read_leaves_the_word_of_the_one_before(hours) -> None:
    """Also in the middle of a crash, and for the settlement that comes then."""
    venue = Changing(hours, hours, 0)
    venue.relist(hours)
    venue.run(DAY + 6 * HOUR, DAY + 7 * HOUR)
    assume(venue)
    venue.run(DAY + 7 * HOUR, DAY + 9 * HOUR)
    assert venue.wrong == venue.asked == []
    assert len(venue.right) == 3 * 360 + 3
    event = venue.settle(DAY + 9 * HOUR + SECOND)
    assumed = msgspec.structs.replace(event, hours=8.0)  # by the listing that assumes it
    assert venue.contracts.complete(assumed)[0].hours == hours


def test_the_word_after_an_assumed_interval_stands_at_once() -> None:
    venue = Changing(4, 4, 0)
    assume(venue)
    assert venue.predict(DAY + 6 * HOUR) is None
    venue.relist(4)
    assert venue.predict(DAY + 6 * HOUR + SECOND).hours == 4
    assume(venue)
    venue.contracts.take(Terms(symbol="XYZUSDT", funding_hours=2))
    assert venue.predict(DAY + 6 * HOUR + 2 * SECOND, DAY + 8 * HOUR).hours == 2


def test_a_rate_beyond_the_cap_stays_one_while_the_cap_cannot_be_read() -> None:
    contracts = Contracts()
    known = instrument("binance", "XYZUSDT", 8, cap=0.02)
    contracts.relist([known])
    contracts.relist([msgspec.structs.replace(known, funding_assumed=True, funding_cap=None)])
    rate = Funding(
        venue="binance", symbol="XYZUSDT", asset="BTC", at=DAY + HOUR, seen=DAY + HOUR,
        rate=-0.05, hours=8.0, settled=False, next_at=EIGHT,
    )  # fmt: skip
    assert contracts.complete(rate)[0] is None
    assert contracts.complete(msgspec.structs.replace(rate, rate=-0.01))[0].hours == 8


# ── prices that fail ──────────────────────────────────────────────────────


NO_INDEX = ("", "0", "0.00000000", None)


@pytest.mark.parametrize("index", NO_INDEX)
def test_an_index_that_a_whole_row_does_not_have_is_unknown(index: str | None) -> None:
    """What index providers do in a crash: the mark halves, and the row has no index."""
    contracts = Contracts(binance.SPEC.rows)
    known = instrument("binance", "XYZUSDT", 8)
    contracts.relist([known])
    listing = Listing(instruments={"XYZUSDT": known}, contracts=contracts)
    prices = []
    for price, index_price in (("90", "90"), ("45", index)):
        row = mark(NOW, EIGHT + 8 * HOUR, "0.0001") | {"p": price, "i": index_price}
        frame = {"stream": "!markPrice@arr@1s", "data": [row]}
        events, _ = facts(binance.decode(msgspec.json.encode(frame), listing, NOW), contracts)
        prices += [(event.mark, event.index) for event in events if isinstance(event, Price)]
    assert prices == [(90, 90), (45, None)]


@pytest.mark.parametrize("index", ["", "0"])
def test_an_index_that_a_delta_says_to_be_none_is_not_the_one_before(index: str) -> None:
    venue = Venue(bybit, "XYZUSDT", 8)
    venue.hear(ticker(NOW, markPrice="90", indexPrice="90"), NOW)
    prices = [
        [(event.mark, event.index) for event in venue.hear(ticker(NOW, **fields), NOW)
         if isinstance(event, Price)]
        for fields in ({"markPrice": "45", "indexPrice": index}, {"markPrice": "44"},
                       {"indexPrice": "46"}, {"markPrice": "43"})
    ]  # fmt: skip
    assert prices == [[(45, None)], [(44, None)], [(44, 46)], [(43, 46)]]


# ── liquidations that cannot be ─────────────────────────────────────────


def liquidation(size: float, price: float, at: Ms = NOW) -> Liquidation:
    return Liquidation(
        venue="bybit", symbol="ETHUSDT", asset="ETH", at=at, seen=NOW + SECOND,
        position=Position.LONG, price=price, base=size, usd=size * price,
    )  # fmt: skip


def heard(mark: float | None = 4_000.0, held: float | None = 25_000.0) -> Contracts:
    contracts = Contracts()
    common = {"venue": "bybit", "symbol": "ETHUSDT", "asset": "ETH", "at": NOW, "seen": NOW}
    if mark is not None:
        contracts.complete(Price(mark=mark, **common))
    if held is not None:
        contracts.complete(OpenInterest(base=held, **common))
    return contracts


@pytest.mark.parametrize(
    ("size", "price", "at", "why"),
    [
        (900_000.0, 40_000_000.0, NOW, "a liquidation at 4e+07, where the mark is 4000"),
        (1.0, 12_100.0, NOW, "a liquidation at 12100, where the mark is 4000"),
        (1.0, 1_300.0, NOW, "a liquidation at 1300, where the mark is 4000"),
        (25_001.0, 4_000.0, NOW, "a liquidation of 25001 coins, where 25000 are open"),
        (90.0, 4_000.0, NOW - 5 * HOUR, "a liquidation of long ago"),
        (25_000.0, 4_000.0, NOW, ""),
        (1.0, 11_900.0, NOW, ""),
        (1.0, 2_000.0, NOW, ""),  # the bankruptcy price of a position of twice its margin
        (90.0, 4_000.0, NOW - 9 * MINUTE, ""),
    ],
)
def test_a_liquidation_that_cannot_be_is_none(size: float, price: float, at: Ms, why: str) -> None:
    assert heard().impossible(liquidation(size, price, at)) == why


@pytest.mark.parametrize("times", [0.2, 5.0])
def test_positions_of_a_crash_were_bankrupt_where_the_price_has_been(times: float) -> None:
    """From 100 to 20, or 500, in 40 s: one of ten times its margin was bankrupt at 90, or 110."""
    contracts = heard(mark=100.0)
    common = {"venue": "bybit", "symbol": "ETHUSDT", "asset": "ETH"}
    for second in range(1, 41):
        at = NOW + second * SECOND
        mark = 100.0 * (1 + (times - 1) * second / 40)
        contracts.complete(Price(mark=mark, at=at, seen=at, **common))
        for price in (90.0, 110.0):
            event = msgspec.structs.replace(liquidation(1.0, price), at=at, seen=at)
            assert contracts.impossible(event) == ""
        wild = msgspec.structs.replace(liquidation(1.0, 1_600.0), at=at, seen=at)
        assert contracts.impossible(wild) != ""
    later = NOW + 11 * MINUTE  # a price of long ago is none of now
    contracts.complete(Price(mark=100.0 * times, at=later, seen=later, **common))
    event = liquidation(1.0, 90.0 if times < 1 else 110.0)
    event = msgspec.structs.replace(event, at=later, seen=later)
    assert contracts.impossible(event) != ""


def test_what_is_not_known_makes_no_liquidation_impossible() -> None:
    wild = liquidation(1e9, 4e7, NOW - 5 * HOUR)
    assert heard(None, None).impossible(wild) == ""
    assert heard(held=0.0).impossible(liquidation(90.0, 4_000.0)) == ""
    old = msgspec.structs.replace(wild, seen=NOW + 2 * MINUTE)  # the mark may have moved since
    assert heard(held=None).impossible(old) == ""


def test_open_interest_that_is_said_too_low_for_a_while_makes_none_impossible() -> None:
    contracts = heard()
    common = {"venue": "bybit", "symbol": "ETHUSDT", "asset": "ETH"}
    for seconds, base in ((20, 0.0), (3_700, 1.0), (7_300, 30.0)):
        at = NOW + seconds * SECOND
        contracts.complete(OpenInterest(base=base, at=at, seen=at, **common))
        is_too_large = contracts.impossible(liquidation(24_000.0, 4_000.0)) != ""
        assert is_too_large is (seconds == 7_300)  # by then it is so for more than an hour
