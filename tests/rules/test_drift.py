"""A venue whose numbers are wrong is named within two rounds; an honest one never is."""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import msgspec
from pytest import approx, mark

from rules.alerts import Notice
from rules.drift import ENOUGH, LASTS
from rules.engine import Engine
from streams.bus.skew import Skew
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import (
    AnyEvent,
    Event,
    FaultCode,
    Funding,
    Kind,
    MarketEvent,
    Ms,
    OpenInterest,
    Price,
    Tick,
    Volume,
)
from tests.rules.facts import START, feed
from tests.rules.scenes import of_market, quick_rule

ROUND = 10 * MINUTE
VENUES = ("binance", "bybit", "okx", "hyperliquid")
COINS = tuple(f"C{n:02d}" for n in range(9))
MANY_COINS = tuple(f"C{n:02d}" for n in range(12))
SHARE = {"binance": 0.4, "bybit": 0.3, "okx": 0.2, "hyperliquid": 0.1, "binance-coinm": 0.05}
DAYS_OPEN = {"binance": 0.25, "bybit": 0.5, "okx": 0.4, "hyperliquid": 3.5, "binance-coinm": 0.5}
"""Open interest for each dollar traded in a day."""

UNTIMED = "hyperliquid"
"""It sends no times, as the real one."""

OF_MARKET = of_market("total", quick_rule("oi_total_net_2m_pct", "below", -1, alert=-99))
replace = msgspec.structs.replace
Lie = Callable[[MarketEvent], MarketEvent | None]


class World:
    """Some coins at some venues, with the noise that honest venues have, and an engine."""

    def __init__(
        self, seed: int = 1, venues: tuple[str, ...] = VENUES, coins: tuple[str, ...] = COINS
    ) -> None:
        self.random, self.now = Random(seed), START
        self.engine, self.skew = Engine([OF_MARKET], venues), Skew()
        self.notices: list[Notice] = []
        self.lies: dict[str, Lie] = {}
        self.silent: set[str] = set()
        self.absent: set[tuple[str, str]] = set()
        self.prices = {coin: 10 ** self.random.uniform(-3, 5) for coin in coins}
        self.interest = {(venue, coin): SHARE[venue] * 1e9 / self.prices[coin]
                         for venue in venues for coin in coins}  # fmt: skip
        self.traded = {
            key: coins
            * self.prices[key[1]]
            / DAYS_OPEN[key[0]]
            * self.random.lognormvariate(0, 0.4)
            for key, coins in self.interest.items()
        }
        self.premium = dict.fromkeys(self.interest, 0.0)
        self.other_coins: dict[tuple[str, str], float] = {}
        """The price of another coin that has the ticker at a venue, as a multiple."""
        self.apart = 0.0
        """How far venues differ in price just now, as in a crash."""
        self.step: Ms = 20 * SECOND
        self.drift = 0.0
        """By how much prices move each step, beside the noise."""

    def play(self, lasts: Ms) -> list[Notice]:
        """Go on for so long; what was said then about venues."""
        before, end = len(self.notices), self.now + lasts
        while self.now < end:
            self.now += self.step
            for coin, price in self.prices.items():
                self.prices[coin] = price * (1 + self.drift + self.random.gauss(0, 0.0004))
            for event in self._events():
                honest = self.lies.get(event.venue)
                sent = event if honest is None else honest(event)
                if sent is not None:
                    self.say(sent)
            self.say(Tick(seen=self.now))
            for fault in self.skew.look(self.now):
                self.say(fault)
        return self.notices[before:]

    def say(self, event: AnyEvent) -> None:
        self.skew.take(event)
        self.notices += [item for item in self.engine.feed(event) if isinstance(item, Notice)]

    def _events(self) -> Iterator[MarketEvent]:
        for n, (venue, coin) in enumerate(self.interest):
            if venue in self.silent or (venue, coin) in self.absent:
                continue
            key, noise = (venue, coin), self.random.gauss
            self.interest[key] *= 1 + noise(0, 0.0005)
            index = self.prices[coin] * (1 + noise(0, 0.0003) + self.apart * noise(0, 1))
            index *= self.other_coins.get(key, 1.0)
            late = 0 if venue == UNTIMED else self.random.randint(20, 90)
            where: dict[str, Any] = {
                "venue": venue, "symbol": f"{coin}USDT", "asset": coin,
                "at": self.now - late, "seen": self.now,
            }  # fmt: skip
            yield Price(**where, mark=index * (1 + noise(0, 0.0005)), index=index)
            if (self.now // self.step + n) % 2:
                continue
            hours = 1.0 if venue == UNTIMED else 8.0
            yield Funding(**where, rate=self._rate(key) * hours / 8, hours=hours, settled=False)
            base = self.interest[key]
            usd = None if venue == "binance" else base * index
            yield OpenInterest(**where, base=base, usd=usd)
            yield Volume(**where, usd_24h=self.traded[key])

    def _rate(self, key: tuple[str, str]) -> float:
        """Most coins have the neutral rate, the same everywhere; others what a venue measures."""
        neutral = int(key[1][1:]) % 3 and not self.premium[key]
        return 0.0001 if neutral else 0.0001 + self.premium[key] + self.random.gauss(0, 0.0002)

    def turn(self, venue: str, up: bool) -> None:
        """All of a venue goes down, or comes back."""
        (self.silent.discard if up else self.silent.add)(venue)
        for kind in Kind:
            self.say(feed(venue, kind, self.now, up))

    def accused(self) -> list[tuple[str, FaultCode | None]]:
        """Whom a notice names, and of what."""
        return [(notice.venue, notice.fault) for notice in self.notices]


def lie(kind: type[MarketEvent], **changes: Callable[[Any], object]) -> Lie:
    def lied(event: MarketEvent) -> MarketEvent:
        if not isinstance(event, kind):
            return event
        return replace(event, **{name: change(event) for name, change in changes.items()})

    return lied


def scaled(kind: type[MarketEvent], factor: float, *names: str) -> Lie:
    return lie(kind, **{
        name: lambda event, name=name: (x := getattr(event, name)) and x * factor for name in names
    })  # fmt: skip


def _frozen(kind: type[MarketEvent], *names: str) -> Lie:
    first: dict[tuple[str, str], object] = {}
    return lie(kind, **{
        name: lambda event, name=name: first.setdefault((event.symbol, name), getattr(event, name))
        for name in names
    })  # fmt: skip


def _hour_old_prices() -> Lie:
    """The prices of an hour ago, under the times of now."""
    past: dict[str, list[Price]] = {}

    def lie(event: MarketEvent) -> MarketEvent | None:
        if not isinstance(event, Price):
            return event
        kept = past.setdefault(event.symbol, [])
        kept.append(event)
        old = next((x for x in reversed(kept) if x.seen <= event.seen - HOUR), kept[0])
        return replace(event, mark=old.mark, index=old.index)

    return lie


CLOCK = COINS[0]
"""Its prices tell a venue's clock, as books do."""

CONTRACTS = {coin: (0.001, 0.01, 0.1, 1, 10, 100)[n % 6] for n, coin in enumerate(COINS)}
"""Coins in a contract."""

LIES: Mapping[str, tuple[str, Lie, str]] = {
    "open interest of both sides": ("bybit", scaled(OpenInterest, 2, "base", "usd"),
                                    "open interest"),
    "half of the open interest": ("binance", scaled(OpenInterest, 0.5, "base"), "open interest"),
    "contracts for coins": ("okx", lie(OpenInterest, base=lambda e: e.base / CONTRACTS[e.asset]),
                            "open interest in USD"),
    "contracts for coins, without USD": (
        "binance", scaled(OpenInterest, 1000, "base"), "open interest by volume"),
    "a price that is frozen": ("bybit", _frozen(Price, "mark", "index"), "price movement"),
    "prices that are an hour old": (
        "okx", lie(Price, at=lambda e: e.at - (HOUR if e.asset != CLOCK else 0)), "age of prices"),
    "a cache that is an hour old": (
        "binance", lie(OpenInterest, at=lambda e: e.at - HOUR), "age of open interest"),
    "a price that is scaled": ("hyperliquid", scaled(Price, 1.01, "mark", "index"), "price"),
    "funding with the wrong sign": ("bybit", scaled(Funding, -1, "rate"), "funding"),
    "funding in percent": ("okx", scaled(Funding, 100, "rate"), "funding"),
    "funding per hour taken for 8": ("hyperliquid", lie(Funding, hours=lambda _: 8.0), "funding"),
    "funding of 8 h taken for 4": ("bybit", lie(Funding, hours=lambda _: 4.0), "funding"),
}  # fmt: skip


@mark.parametrize("name", LIES)
def test_a_lie_is_named_within_two_rounds(name: str) -> None:
    venue, lie, what = LIES[name]
    world = World(len(name))
    assert world.play(2 * ROUND) == []
    world.lies[venue] = lie
    world.play(2 * ROUND)
    drifts = [n for n in world.notices if n.fault is FaultCode.VENUE_DRIFTS]
    assert {notice.venue for notice in drifts} == {venue}
    assert what in {subject for notice in drifts for subject in notice.subjects}
    assert all(notice.reason and not notice.up for notice in drifts)
    # once, and once more when it is over
    before = [(n.subjects, n.up) for n in world.notices if n.fault is FaultCode.VENUE_DRIFTS]
    world.play(ROUND // 2)
    del world.lies[venue]
    world.play(2 * ROUND)
    after = [n for n in world.notices if n.fault is FaultCode.VENUE_DRIFTS][len(before) :]
    assert all(notice.up and notice.venue == venue for notice in after if notice.subjects)
    named = [subject for subjects, _ in before for subject in subjects]
    over = [subject for notice in after if notice.up for subject in notice.subjects]
    assert sorted(over) == sorted(named) and len(named) == len(set(named))
    assert world.engine.standing().drifts == ()


def test_prices_of_an_hour_ago_with_the_times_of_now_are_named_in_a_market_that_moves() -> None:
    world = World(3)
    world.lies["bybit"] = _hour_old_prices()
    world.drift = 0.00005
    world.play(HOUR)
    world.notices.clear()
    world.play(2 * ROUND)
    assert {n.venue for n in world.notices} <= {"bybit"}
    assert [drift.venue for drift in world.engine.standing().drifts] == ["bybit"]


def test_a_clock_that_is_off_is_named_by_the_measurement_there_is_and_only_once() -> None:
    world = World()
    world.play(30 * MINUTE)
    world.lies["bybit"] = lie(Event, at=lambda e: e.at - 30 * SECOND)
    world.play(2 * ROUND)
    assert world.accused() == [("bybit", FaultCode.VENUE_CLOCK_SKEWED)]


def _crash(world: World) -> None:
    """10 % in two minutes; venues differ by percent, and what is open and paid goes its own way at
    each: first and furthest at the smallest."""
    random = world.random
    world.apart, world.drift = 0.02, -0.0175
    world.play(2 * MINUTE)
    for (venue, coin), base in world.interest.items():
        least, most = (0.3, 0.6) if venue == "hyperliquid" else (0.6, 0.9)
        world.interest[venue, coin] = base * random.uniform(least, most)
        world.traded[venue, coin] *= random.uniform(2, 6)
        if venue == "hyperliquid":
            world.premium[venue, coin] = -random.lognormvariate(-6, 0.8)
    world.drift = 0.002
    world.play(3 * MINUTE)
    world.apart, world.drift = 0.0, 0.0
    world.play(50 * MINUTE)
    for venue, coin in world.interest:
        world.premium[venue, coin] = -random.lognormvariate(-7, 0.8)
    world.play(2 * HOUR)
    for key in world.interest:
        world.premium[key] = 0.0


@mark.parametrize(("seed", "venues"), [(1, VENUES), (2, ("binance", "bybit", "hyperliquid"))])
def test_nobody_is_accused_in_a_day_with_a_crash(seed: int, venues: tuple[str, ...]) -> None:
    world = World(seed, venues, MANY_COINS)
    world.step = 30 * SECOND
    world.absent = {("bybit", "C03"), ("hyperliquid", "C05"), ("hyperliquid", "C06")}
    world.other_coins = {("hyperliquid", "C07"): 0.001}
    world.play(3 * HOUR)
    _crash(world)
    world.play(HOUR)
    world.turn("bybit", up=False)
    world.play(40 * MINUTE)
    world.turn("bybit", up=True)
    world.drift = -0.0002  # a slide of a fifth
    world.play(6 * HOUR)
    world.turn("binance", up=False)
    _crash(world)
    world.turn("binance", up=True)
    world.drift = 0.0001
    world.play(24 * HOUR - (world.now - START))
    faults = {(notice.venue, notice.fault) for notice in world.notices if notice.fault}
    assert ("hyperliquid", FaultCode.TICKER_SHARED) in faults
    assert FaultCode.VENUE_DRIFTS not in {code for _, code in faults}


def test_a_rate_of_nothing_at_all_is_no_wrong_unit() -> None:
    """Some venues charge nothing while the price is near its index, so in most coins at once."""
    world = World()
    world.lies["bybit"] = scaled(Funding, 0, "rate")
    assert world.play(HOUR) == []


def test_too_few_coins_accuse_nobody() -> None:
    world = World(coins=COINS[: ENOUGH - 1])
    world.lies["bybit"] = scaled(Funding, -1, "rate")
    assert world.play(HOUR) == []


def test_of_two_venues_that_differ_none_is_accused_but_who_has_changed_is() -> None:
    world = World(5, ("binance", "okx"))
    world.lies["okx"] = scaled(Price, 1.01, "mark", "index")
    assert world.play(30 * MINUTE) == []
    world.lies["okx"] = scaled(OpenInterest, 2, "base", "usd")
    assert [(n.venue, n.subjects) for n in world.play(2 * ROUND)] == [("okx", ("open interest",))]


def test_what_comes_without_a_time_is_of_no_known_age() -> None:
    world = World(coins=COINS[:ENOUGH])
    world.play(ROUND)
    world.lies["bybit"] = lie(Price, at=lambda e: e.seen)
    world.lies["binance"] = lie(OpenInterest, at=lambda e: e.seen)
    assert world.play(3 * ROUND) == []


def test_two_venues_of_one_exchange_are_one_word_against_another() -> None:
    world = World(6, ("binance", "binance-coinm", "bybit"))
    world.lies["bybit"] = scaled(Funding, -1, "rate")
    assert world.play(30 * MINUTE) == []


def test_what_has_not_lasted_is_not_told_and_who_falls_silent_has_not_lied_since() -> None:
    world = World()
    world.play(ROUND)
    world.lies["bybit"] = scaled(Price, 1.02, "mark", "index")
    assert world.play(LASTS - 2 * MINUTE) == []
    world.turn("bybit", up=False)
    world.play(5 * MINUTE)
    world.turn("bybit", up=True)
    assert FaultCode.VENUE_DRIFTS not in [n.fault for n in world.play(LASTS - 2 * MINUTE)]
    assert FaultCode.VENUE_DRIFTS in [n.fault for n in world.play(5 * MINUTE)]


def test_an_accusation_names_the_number_its_figure_and_how_far_they_are_apart() -> None:
    world = World()
    world.play(ROUND)
    world.lies["bybit"] = scaled(Funding, -1, "rate")
    world.play(2 * ROUND)
    [drift] = world.engine.standing().drifts
    assert (drift.venue, drift.subject) == ("bybit", "funding")
    assert drift.detail.startswith("funding: -1 times that of the others (median of ")
    assert drift.detail.endswith(" -0.0100 % against 0.0100 %")
    assert drift.seen == approx(START + ROUND, abs=2 * MINUTE)  # since when


def test_what_was_found_survives_a_restart() -> None:
    world = World()
    world.play(ROUND)
    world.lies["bybit"] = scaled(OpenInterest, 2, "base", "usd")
    for length in (ROUND, ROUND):
        world.play(length)
        again = Engine([OF_MARKET], VENUES)
        assert again.load(world.engine.dump()) == ""
        assert again.dump() == world.engine.dump()
        world.engine = again
    assert [n.subjects for n in world.notices] == [("open interest",)]
    assert world.play(ROUND) == []
    assert [drift.subject for drift in again.standing().drifts] == ["open interest"]


def test_what_stays_another_number_is_the_usual_one_in_the_end() -> None:
    """An exchange that counts both sides from now on."""
    world = World(coins=COINS[:ENOUGH])
    world.play(ROUND)
    for venue, coin in world.interest:
        if venue == "bybit":
            world.interest[venue, coin] *= 2
    world.play(2 * ROUND)
    for _ in range(20):  # of each four hours a few minutes are enough
        world.now += 4 * HOUR
        world.play(5 * MINUTE)
    world.play(3 * HOUR)
    drifts = [n for n in world.notices if n.fault is FaultCode.VENUE_DRIFTS]
    assert [(n.venue, n.up) for n in drifts] == [("bybit", False), ("bybit", True)]
