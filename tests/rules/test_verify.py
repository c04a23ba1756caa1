"""What a venue says twice and what the others say: lies are named, noise and jumps are not."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgspec
import pytest

from rules.verify import INTERVALS, Agreement, CheckRow, Verification
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    Band,
    Depth,
    Event,
    Funding,
    Kind,
    MarketEvent,
    Ms,
    OpenInterest,
    Price,
    Volume,
)
from tests.rules.facts import START
from tests.rules.test_drift import lie, scaled

VENUES = ("binance", "bybit", "okx", "hyperliquid")
COINS = tuple(f"C{n}" for n in range(6))
ROUND: Ms = 30 * SECOND
replace = msgspec.structs.replace
Change = Callable[[MarketEvent], MarketEvent]


class World:
    """Some coins at some venues, each of which says everything twice."""

    def __init__(self, seed: int = 1, venues: tuple[str, ...] = VENUES) -> None:
        self.random, self.now = Random(seed), START
        self.verification = Verification({venue: {} for venue in venues})
        self.venues = venues
        self.path = {coin: [10 ** self.random.uniform(-2, 4)] * 40 for coin in COINS}
        """Prices, one for each second of late, the newest last."""
        self.late = {venue: self.random.randint(0, 9) for venue in venues}
        """How many seconds prints of a venue come late."""
        self.heard: dict[str, Change] = {}
        self.second: dict[str, Change] = {}
        self.step = 3
        self.jump_in: Ms = 0
        """When prices jump by a tenth; 0: they do not."""
        self.gaps: dict[str, int] = {}
        self.sizes: dict[str, dict[str, str]] = {}
        self.rate = dict.fromkeys(COINS, 0.0001)
        self.held = {(v, c): 1e8 * self.random.uniform(1, 20) / self.path[c][-1]
                     for v in venues for c in COINS}  # fmt: skip

    def move(self) -> None:
        """Some seconds pass."""
        self.now += self.step * SECOND
        for prices in self.path.values():
            prices += [prices[-1] * (1 + self.random.gauss(0, 0.0001)) for _ in range(self.step)]
            del prices[:-60]
            if 0 < self.jump_in <= self.step * SECOND:
                prices[-1] *= 0.9 if prices[-1] > prices[0] else 1.11
        self.jump_in = max(0, self.jump_in - self.step * SECOND)
        for coin in COINS:
            self.rate[coin] += self.random.gauss(0, 1e-7)
        for key in self.held:
            self.held[key] *= 1 + self.random.gauss(0, 0.0001)

    def facts(self, venue: str, late: int) -> Iterator[MarketEvent]:
        """What a venue says of all coins, as it was some seconds ago."""
        for coin in COINS:
            price = self.path[coin][-1 - late]
            noise = self.random.gauss
            of: dict[str, Any] = {
                "venue": venue, "symbol": f"{coin}USDT", "asset": coin, "seen": self.now,
                "at": self.now - late * SECOND - 40,
            }  # fmt: skip
            yield Price(**of, mark=price * (1 + noise(0, 0.0003)), index=price)
            usd = 1e6 * self.random.uniform(0.7, 1.4)
            bands = (Band(10, usd, usd, True), Band(25, 3 * usd, 3 * usd, True))
            mid = price * (1 + noise(0, 0.0003))
            yield Depth(**of, mid=mid, spread_bp=1.0, bands=bands)
            held = self.held[venue, coin]
            yield OpenInterest(**of, base=held, usd=held * price)
            hours = 1.0 if venue == "hyperliquid" else 8.0
            rate = self.rate[coin] * hours / 8
            yield Funding(**of, rate=rate, hours=hours, settled=False, next_at=START + DAY)
            yield Volume(**of, usd_24h=held * 1e8 / self.held[venue, coin] * self.path[coin][0])

    def round(self) -> list[CheckRow]:
        """Listen for half a minute, with an answer of the second sources in the middle of it."""
        asked, end = self.now + ROUND // 2, self.now + ROUND
        while self.now < end:
            self.move()
            for venue in self.venues:
                if venue == "hyperliquid" and self.now // SECOND % 12 >= self.step:
                    continue
                change = self.heard.get(venue)
                for event in self.facts(venue, self.late[venue]):
                    self.verification.take(change(event) if change else event)
            if asked and self.now >= asked:
                asked = 0
                self.answer()
        self.verification.judge(self.now)
        return self.verification.rows()

    def answer(self) -> None:
        for venue in self.venues:
            self.gaps = {venue: gaps * 2 for venue, gaps in self.gaps.items()}
            self.verification.take_gaps(venue, self.gaps.get(venue, 0), len(COINS))
            self.verification.take_sizes(venue, len(COINS), self.sizes.get(venue, {}))
            change = self.second.get(venue)
            for event in self.facts(venue, self.random.randint(0, 25)):
                self.verification.take_second(change(event) if change else event)


def drifts(rows: list[CheckRow]) -> set[tuple[str, str, str]]:
    return {(r.venue, r.check, r.against) for r in rows if r.verdict is Agreement.DRIFT}


def row(rows: list[CheckRow], venue: str, check: str, against: str = "second source") -> CheckRow:
    return next(r for r in rows if (r.venue, r.check, r.against) == (venue, check, against))


def run(world: World, rounds: int = 2) -> list[CheckRow]:
    """What the command says now."""
    world.verification = Verification({venue: {} for venue in world.venues})
    rows: list[CheckRow] = []
    for _ in range(rounds):
        rows = world.round()
    return rows


def test_nobody_is_accused_in_a_day_of_noise_jumps_and_late_prints() -> None:
    """Every five minutes, each fourth time in a minute in which prices jump by a tenth."""
    world, held = World(), 0
    world.step = 5
    for number in range(DAY // (5 * MINUTE)):
        if number % 4 == 1:
            world.jump_in = world.random.randint(0, 60) * SECOND
        rows = run(world)
        wrong = [r for r in rows if r.verdict is Agreement.DRIFT]
        assert wrong == [], (number, wrong)
        held += sum(r.verdict is Agreement.OK for r in rows)
        world.now += 4 * MINUTE
        world.late = {venue: world.random.randint(0, 9) for venue in world.venues}
    assert held > 288 * len(VENUES) * 14


def _same(kind: type[MarketEvent], name: str) -> Change:
    first: dict[str, object] = {}
    return lie(kind, **{name: lambda e: first.setdefault(e.symbol, getattr(e, name))})


def _bands(factor: float) -> Change:
    return lie(Depth, bands=lambda e: tuple(
        Band(b.bp, b.bid_usd * factor, b.ask_usd * factor, b.covered) for b in e.bands
    ))  # fmt: skip


SECOND_SOURCE = "second source"
OTHERS = "other venues"
BOTH: dict[str, tuple[Change, str]] = {
    "a price that is scaled": (scaled(Price, 1.02, "mark", "index"), "price"),
    "funding with the opposite sign": (scaled(Funding, -1, "rate"), "funding"),
    "funding of an hour taken for 8": (lie(Funding, hours=lambda e: e.hours / 8), "funding"),
    "contracts for coins": (scaled(OpenInterest, 1000, "base", "usd"), "open interest by volume"),
}
"""What a venue says twice alike shows beside the other venues alone."""


@pytest.mark.parametrize("name", BOTH)
def test_who_lies_twice_alike_is_named_beside_the_others(name: str) -> None:
    world = World(2)
    change, check = BOTH[name]
    world.heard["bybit"] = world.second["bybit"] = change
    assert drifts(run(world)) == {("bybit", check, OTHERS)}


HEARD: dict[str, tuple[Change, str, str, str]] = {
    "a price that is scaled": (
        scaled(Price, 1.05, "mark"), "mark price", SECOND_SOURCE, "6 of 6"),
    "a mark price that stands still": (
        _same(Price, "mark"), "movement of the mark price", f"{SECOND_SOURCE}, {OTHERS}",
        "6 of 6 stand still"),
    "an index in another unit": (
        scaled(Price, 0.001, "index"), "index price", SECOND_SOURCE, "0.001 times, as in another"),
    "a book of another price": (scaled(Depth, 1.04, "mid"), "mid of the book", SECOND_SOURCE, "6"),
    "a book in contracts": (_bands(1000), "depth of the book", SECOND_SOURCE, "times"),
    "both sides": (
        scaled(OpenInterest, 2, "base", "usd"), "open interest", SECOND_SOURCE, "both sides"),
    "half of one side": (
        scaled(OpenInterest, 0.5, "base", "usd"), "open interest", SECOND_SOURCE, "0.5 times"),
    "contracts for coins": (
        scaled(OpenInterest, 100, "base"), "open interest in USD", "itself", "times"),
    "an hour-old cache": (
        lie(OpenInterest, at=lambda e: e.at - HOUR), "age of open interest", "itself", "times"),
    "the opposite sign": (
        scaled(Funding, -1, "rate"), "funding rate per 8 h", SECOND_SOURCE, "opposite"),
    "an old interval": (
        lie(Funding, hours=lambda _: 4.0), "funding interval", SECOND_SOURCE, "6 of 6"),
    "a volume in coins": (
        scaled(Volume, 1e-4, "usd_24h"), "24 h volume", SECOND_SOURCE, "as in another unit"),
    "a clock that is ahead": (
        lie(Event, at=lambda e: e.at + 40 * SECOND), "clock", OTHERS, "unless"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEARD)
def test_what_is_heard_wrongly_is_named_within_two_rounds(name: str) -> None:
    world = World(3)
    change, check, against, reason = HEARD[name]
    assert drifts(run(world)) == set()
    world.heard["okx"] = change
    rows = run(world)
    assert {venue for venue, *_ in drifts(rows)} == {"okx"}
    wrong = row(rows, "okx", check, against)
    assert wrong.verdict is Agreement.DRIFT
    assert reason in wrong.reason
    assert wrong.worst


def test_an_old_answer_is_named_by_its_time() -> None:
    world = World(4)
    world.second["binance"] = lie(Event, at=lambda e: e.at - HOUR)
    assert drifts(run(world)) == {("binance", "age of the second source", "itself")}


def test_sequences_sizes_and_intervals_that_are_read_anew() -> None:
    world = World(5)
    world.gaps = {"bybit": 7}
    world.sizes = {"okx": {"C1USDT": "0.1, not 0.01"}}
    rows = run(world)
    assert drifts(rows) == {
        ("bybit", "sequence of the books", "itself"), ("okx", "contract sizes", "its listing"),
    }  # fmt: skip
    assert row(rows, "okx", "contract sizes", "its listing").worst == "0.1, not 0.01"


def test_one_round_is_no_proof() -> None:
    world = World(6)
    world.heard["okx"] = scaled(Price, 1.05, "mark")
    assert drifts(run(world, 1)) == set()
    world.second["okx"] = world.heard["okx"]
    del world.heard["okx"]
    world.round()
    world.second.clear()
    assert drifts(world.round()) == set()


def test_one_contract_of_another_unit_is_enough_and_one_of_a_percent_is_not() -> None:
    world = World(7)
    assert drifts(run(world)) == set()
    for factor, drift in ((1.01, False), (1000.0, True)):
        world.heard["okx"] = lie(
            Price, mark=lambda e, f=factor: e.mark * (f if e.asset == "C0" else 1)
        )
        assert (("okx", "mark price", SECOND_SOURCE) in drifts(run(world))) is drift
        assert row(run(world), "okx", "mark price").instrument == "C0USDT"


def test_what_has_no_second_source_says_why() -> None:
    world = World(8)
    world.second = dict.fromkeys(VENUES, _nothing)
    world.verification = Verification(
        {v: {Kind.PRICE: "it is polled", INTERVALS: "it is an hour"} for v in VENUES}
    )
    world.verification.fail("okx", "no route")
    world.verification.judge(world.now)
    rows = world.verification.rows()
    assert row(rows, "binance", "mark price").reason == "it is polled"
    assert row(rows, "binance", "funding interval").reason == "it is an hour"
    assert (
        row(rows, "binance", "funding rate per 8 h").reason == "nothing came that could be compared"
    )
    assert {r.verdict for r in rows} == {Agreement.NOT_AVAILABLE}
    assert all(r.reason for r in rows)


def _nothing(event: MarketEvent) -> MarketEvent:
    return event


class SpotWorld:
    """A spot market beside a venue of perpetuals that differs from it by a tenth."""

    def __init__(self, wrong: Change = lambda e: e) -> None:
        self.wrong, self.now, self.price = wrong, START, 100.0
        self.verification = Verification({"okx": {}, "coinbase": {}}, ["coinbase"])

    def facts(self, venue: str) -> list[MarketEvent]:
        spot = venue == "coinbase"
        price = self.price if spot else self.price * 1.1
        where: dict[str, Any] = {
            "venue": venue, "symbol": "BTC-USD" if spot else "BTC-USDT-SWAP", "asset": "BTC",
            "at": self.now - 50, "seen": self.now, "spot": spot,
        }  # fmt: skip
        bands = (Band(10, 1e6, 1e6, True), Band(100, 5e6, 5e6, True))
        prices = Price(**where, last=price) if spot else Price(**where, mark=price, index=price)
        depth = Depth(**where, mid=price, spread_bp=1.0, bands=bands)
        return [prices, depth, Volume(**where, usd_24h=1e9)]

    def rounds(self, count: int = 3) -> list[CheckRow]:
        for _ in range(count):
            for _ in range(10):
                self.now += 3 * SECOND
                self.price *= 1.0001
                for venue in ("okx", "coinbase"):
                    for fact in self.facts(venue):
                        self.verification.take(self.wrong(fact) if fact.spot else fact)
            for fact in self.facts("coinbase"):
                self.verification.take_second(fact)
            self.verification.take_gaps("coinbase", 0, 1)
            self.verification.judge(self.now)
        return self.verification.rows()


def test_a_spot_market_is_held_against_itself_alone() -> None:
    rows = SpotWorld().rounds()
    assert drifts(rows) == set()
    of_spot = [r for r in rows if r.venue == "coinbase"]
    assert [(r.check, r.verdict) for r in of_spot if r.check != "clock"] == [
        ("last price", Agreement.OK),
        ("mid of the book", Agreement.OK),
        ("depth of the book", Agreement.OK),
        ("24 h volume", Agreement.OK),
        ("movement of the last price", Agreement.OK),
        ("age of the second source", Agreement.OK),
        ("sequence of the books", Agreement.OK),
    ]


SPOT_LIES: dict[str, tuple[Change, str]] = {
    "a last price that is scaled": (scaled(Price, 1.05, "last"), "last price"),
    "a last price that stands still": (_same(Price, "last"), "movement of the last price"),
    "a book of another price": (scaled(Depth, 1.04, "mid"), "mid of the book"),
    "a book in another unit": (_bands(1000), "depth of the book"),
    "a volume in coins": (scaled(Volume, 1e-4, "usd_24h"), "24 h volume"),
}


@pytest.mark.parametrize("name", SPOT_LIES)
def test_a_spot_market_that_lies_is_named(name: str) -> None:
    wrong, check = SPOT_LIES[name]
    assert {(venue, c) for venue, c, _ in drifts(SpotWorld(wrong).rounds())} == {
        ("coinbase", check)
    }
