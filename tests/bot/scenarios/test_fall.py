"""The moment the product exists for: a market that falls within seconds, told by real sessions.

Frames of each venue → sessions → events → the shipped rules. Times are of events: how long after
the market was beyond a threshold the alert comes.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from rules.alerts import Alert, Cause, Level, LiquidationFacts, OpenInterestFacts, Turn
from streams.events import Depth, Funding, Kind, Liquidation, Ms, OpenInterest, Price
from tests.bot.scenarios.exchanges import (
    CONTEXTS_EVERY,
    HALF,
    PRICE,
    Binance,
    Crash,
    Exchange,
    after_calm,
)

ALL = ("binance", "bybit", "hyperliquid", "okx")
TWO = ("binance", "hyperliquid")
SECOND: Ms = 1_000

OI_LATE: Ms = 32 * SECOND
"""Binance is polled every 15 s and the middle one of three readings counts."""

MEDIAN: Ms = 31 * SECOND
"""Depth is the median of a minute: half of it must be thin."""

HOLD: Ms = 20 * SECOND
"""``for`` of the shipped depth rule, at alert and above."""

ENOUGH = 3
"""So many parts make the shipped cascade."""

CLEAR: Ms = 600 * SECOND
"""``clear_for`` of all shipped rules."""

FEW: Ms = 4 * SECOND

HOLE: Ms = 10 * SECOND
"""How much later the median may turn where a book is away for some seconds."""

PARTS = ("liq_burst", "price_drop", "oi_drop", "depth_thin")
"""The rules that a cascade tells of, its parts when they are at alert."""


def fallen(crash: Crash, percent: float, seconds: float) -> Ms:
    """A fall (or rise) in a line, in which two thirds of all quotes go; when it began."""
    began = crash.seen
    crash.depth, crash.long = 0.3, percent < 0
    crash.burst = 200 * 60 / seconds
    crash.play(seconds, every=1_000 if seconds > 100 else HALF, price=ahead(percent), oi=0.92)
    crash.burst = 0.0
    return began


def ahead(percent: float) -> float:
    """The price that many percent away."""
    return PRICE * (1 + percent / 100)


def opened(crash: Crash) -> Alert:
    (cascade,) = crash.of("cascade", Turn.OPEN)
    return cascade


def enough(crash: Crash, needed: int = ENOUGH) -> Ms:
    """When so many parts of a cascade had reached their levels."""
    reached = [
        crash.reached(family, Level.ALERT).seen
        for family in PARTS
        if any(alert.level >= Level.ALERT for alert in crash.of(family))
    ]
    return sorted(reached)[needed - 1]


def by_rule(alerts: list[Alert]) -> dict[str, Alert]:
    """The alerts by their rules, of which each has one."""
    assert len({alert.rule for alert in alerts}) == len(alerts)
    return {alert.rule: alert for alert in alerts}


@pytest.mark.parametrize(
    ("venues", "percent", "seconds"),
    [(ALL, -30, 300), (ALL, -10, 60), (ALL, -3, 10), (TWO, -10, 60), (TWO, -3, 10)],
)
def test_a_fall_is_told_in_time(venues: tuple[str, ...], percent: float, seconds: float) -> None:
    crash = after_calm(*venues)
    began = fallen(crash, percent, seconds)
    crash.play(max(180 - seconds, 10))
    for musd, level in ((40, Level.ALERT), (120, Level.CRITICAL)):
        alert = crash.reached("liq_burst", level)
        assert 0 <= alert.seen - crash.when_liquidated(musd) <= SECOND
    if percent <= -8:
        alert = crash.reached("price_drop", Level.CRITICAL)
        assert abs(alert.seen - crash.when_price(-8)) <= 2 * SECOND
        assert alert.value < -8
    else:
        assert crash.of("price_drop") == []
    alert = crash.reached("oi_drop", Level.CRITICAL)
    assert alert.seen - (began + int(seconds * 1_000 * 5 / 8)) <= OI_LATE
    alert = crash.reached("depth_thin", Level.WATCH)
    assert 0 <= alert.seen - (began + HOLD) <= MEDIAN + FEW
    assert alert.value == pytest.approx(30, abs=1.5)
    assert 0 <= opened(crash).seen - enough(crash) <= FEW
    assert opened(crash).level is Level.CRITICAL
    assert crash.notices == []
    for venue in venues:
        assert crash.turns(venue, Kind.DEPTH, began) == []


def test_a_venue_that_may_count_both_sides_makes_no_fall_larger_or_smaller() -> None:
    """Gate holds as much as the others together, if it counts one side. It is told in percent."""
    told_in_usd: list[float] = []
    for venues in (TWO, (*TWO, "gate")):
        crash = after_calm(*venues)
        began = fallen(crash, -10, 60)
        crash.play(60)
        drop = crash.reached("oi_drop", Level.CRITICAL)
        assert drop.seen - began <= OI_LATE + 60 * SECOND
        assert drop.missing == ()
        assert isinstance(drop.facts, OpenInterestFacts)
        assert drop.facts.before_base == pytest.approx(110_000)
        assert drop.facts.not_added == venues[2:]
        assert {*drop.facts.by_venue_pct} == {*venues}
        assert crash.reached("liq_burst", Level.CRITICAL)
        assert opened(crash).level is Level.CRITICAL
        assert crash.notices == []
        for venue in venues:
            assert crash.turns(venue, Kind.DEPTH, began) == []
        net = drop.facts.net_usd
        assert net is not None
        told_in_usd.append(net / drop.value)
    assert told_in_usd[1] == pytest.approx(told_in_usd[0])


@pytest.mark.parametrize("venues", [ALL, TWO], ids=["all", "without Bybit"])
def test_a_book_that_nobody_answers_is_unknown_and_not_thin(venues: tuple[str, ...]) -> None:
    """Binance's REST is away for a minute: its book is down, and the rest makes the cascade."""
    crash = after_calm(*venues)
    binance = crash.venues["binance"]
    assert isinstance(binance, Binance)
    binance.rest_away = True
    began = fallen(crash, -10, 60)
    back = crash.seen
    binance.rest_away = False
    crash.play(120)
    assert crash.turns("binance", Kind.DEPTH, began) == [
        (False, "book: beyond what is known"),
        (True, ""),
    ]
    # answers come again: within a wait of few books, and never of a snapshot of before
    again = next(d.seen for d in crash.depths("binance", began) if d.seen > back)
    assert again - back <= 21 * SECOND
    # its books cannot be judged, so of the other three parts two are enough
    assert 0 <= opened(crash).seen - enough(crash, ENOUGH - 1) <= FEW


def test_a_rise_is_no_fall_and_liquidates_shorts() -> None:
    crash = after_calm(*ALL)
    began = fallen(crash, 10, 60)
    crash.play(120)
    alert = crash.reached("liq_burst", Level.CRITICAL)
    assert 0 <= alert.seen - crash.when_liquidated(120) <= SECOND
    assert isinstance(alert.facts, LiquidationFacts)
    assert alert.facts.long_usd == 0
    assert alert.facts.short_usd == pytest.approx(alert.value * 1e6)
    assert crash.of("price_drop") == []
    assert 0 <= crash.reached("depth_thin", Level.ALERT).seen - (began + HOLD) <= MEDIAN + FEW
    assert opened(crash).cause is Cause.SHORT_COVERING
    assert crash.notices == []


def test_quotes_pulled_on_both_sides_are_zero_near_the_price_and_thin_further_out() -> None:
    """Nothing is left within 15 bp: within 10 bp that is zero, which is known."""
    crash = after_calm(*ALL)
    began = crash.seen
    crash.pulled_bp = 15
    crash.play(30, price=ahead(-5))
    crash.play(150)
    thin = by_rule(crash.of("depth_thin", Turn.OPEN))
    near, far = thin["depth_thin:10bp"], thin["depth_thin:25bp"]
    assert (near.level, far.level) == (Level.ALERT, Level.ALERT)
    assert crash.reached("depth_thin", Level.CRITICAL).rule == "depth_thin:10bp"
    assert near.value == 0
    assert far.value == pytest.approx(40, abs=3)
    for alert in (near, far):
        assert 0 <= alert.seen - (began + HOLD) <= MEDIAN + FEW
        assert alert.missing == ()
    assert crash.notices == []


@pytest.mark.parametrize("pulled_bp", [150, 250, 400])
def test_quotes_pulled_for_per_cents_are_thin_depth_and_no_silent_books(pulled_bp: float) -> None:
    """2.5 % were "books silent, this is not a market signal", so that thin depth could not ring."""
    crash = after_calm("bybit", "okx")
    began = crash.seen
    crash.pulled_bp = pulled_bp
    crash.play(30, price=ahead(-5))
    crash.play(150)
    thin = by_rule(crash.of("depth_thin", Turn.OPEN))
    assert thin.keys() == {"depth_thin:10bp", "depth_thin:25bp"}
    for alert in thin.values():
        assert alert.value == 0
        assert alert.missing == ()
        assert 0 <= alert.seen - (began + HOLD) <= MEDIAN + FEW
    assert crash.reached("depth_thin", Level.CRITICAL)
    assert crash.notices == []
    for venue in ("bybit", "okx"):
        assert crash.turns(venue, Kind.DEPTH, began) == []
        assert all(band.covered for depth in crash.depths(venue, began) for band in depth.bands)


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_an_empty_side_has_no_depth_and_is_told_to_operators(side: str) -> None:
    """20 s without bids: there is no mid, so there is no sample, and the rest is not thin."""
    crash = after_calm(*ALL)
    began = crash.seen
    crash.empty = frozenset({side})
    crash.play(20, price=ahead(-3))
    crash.empty = frozenset()
    crash.play(200)
    for venue in ALL:
        assert crash.turns(venue, Kind.DEPTH, began) == [(False, "book: one-sided"), (True, "")]
        first = crash.depths(venue, began)[0].seen
        assert 0 < first - (began + 20 * SECOND) <= FEW
    assert crash.of("depth_thin") == []
    notices = [(n.up, n.venue, n.kinds) for n in crash.notices]
    assert sorted(notices) == [(up, v, (Kind.DEPTH,)) for up in (False, True) for v in sorted(ALL)]
    assert [up for up, _, _ in notices] == [False] * len(ALL) + [True] * len(ALL)


def test_depth_that_comes_back_ends_once() -> None:
    crash = after_calm(*ALL)
    crash.depth = 0.3
    crash.play(180, price=ahead(-2))
    crash.depth = 1.0
    back = crash.seen
    crash.play(60)
    crash.play(15 * 60, every=5_000)
    begun, over = (by_rule(crash.of("depth_thin", turn)) for turn in (Turn.OPEN, Turn.CLOSE))
    assert begun.keys() == over.keys() == {"depth_thin:10bp", "depth_thin:25bp"}
    for alert in over.values():
        assert alert.post and not alert.hidden_by
        assert alert.value == pytest.approx(100, abs=4)
        assert 0 <= alert.seen - (back + CLEAR) <= MEDIAN + 2 * FEW


def test_what_a_cascade_tells_of_does_not_end_a_second_time() -> None:
    """It ends an hour after too few of its parts are left; the price of hours ago still is one."""
    crash = after_calm(*ALL)
    fallen(crash, -10, 60)
    crash.play(120)
    crash.depth = 1.0
    crash.play(60)
    crash.play(90 * 60, every=10_000)
    (end,) = crash.of("cascade", Turn.CLOSE)
    assert end.post
    for family in PARTS:
        closed = by_rule(crash.of(family, Turn.CLOSE))
        begun = {alert.rule for alert in crash.of(family, Turn.OPEN)}
        assert closed.keys() == begun - {"price_drop:8h"}
        assert all(alert.hidden_by == "cascade" for alert in closed.values())


# ── and one venue goes wrong in the middle of it ────────────────────────

Turned = Callable[[Crash, Exchange], None]


class Trouble(NamedTuple):
    """What happens at a venue 24 s after the fall began, and what ends it 5 s later.

    ``price_late``: how late the fall of the price may be told because of it.
    """

    begin: Turned
    end: Turned = lambda crash, venue: None
    venues: tuple[str, ...] = ALL
    price_late: Ms = 2 * SECOND


def put(**values: object) -> Turned:
    """The venue has these values from now on."""

    def turn(_: Crash, venue: Exchange) -> None:
        for name, value in values.items():
            assert hasattr(venue, name)
            setattr(venue, name, value)

    return turn


def cut(seconds: float) -> Turned:
    """The socket that liquidations come by breaks, and is there again after so long."""
    return lambda crash, venue: crash.take(venue, venue.cut(venue.talk, seconds))


TROUBLES = {
    "crossed book": Trouble(put(crossed=True), put(crossed=False)),
    "lost changes of the book": Trouble(put(skips=2), venues=("binance", "bybit", "okx")),
    "no liquidations for 1.5 s": Trouble(cut(1.5), venues=("binance",)),
    "no liquidations for 10 s": Trouble(cut(10), venues=("bybit", "okx")),
    "one price of two at a time": Trouble(put(alternates=True), venues=("bybit",)),
    "frozen prices": Trouble(put(frozen=True), venues=TWO, price_late=CONTEXTS_EVERY + SECOND),
    "a wick of 40 %": Trouble(put(wick=0.6), venues=("binance",)),
    "settles each hour": Trouble(put(funding_hours=1), venues=("bybit", "okx")),
    "settles each hour, and says so late": Trouble(
        put(funding_hours=1, hours_told=8), put(hours_told=None), venues=("bybit",)
    ),
}


@pytest.mark.parametrize(
    ("trouble", "name"),
    [(trouble, name) for trouble in TROUBLES.values() for name in trouble.venues],
    ids=[f"{key} at {name}" for key, trouble in TROUBLES.items() for name in trouble.venues],
)
def test_what_goes_wrong_at_a_venue_hides_nothing_and_is_not_told_of_the_market(
    trouble: Trouble, name: str
) -> None:
    crash = after_calm(*ALL)
    venue, began = crash.venues[name], crash.seen
    crash.depth, crash.burst = 0.3, 200.0
    crash.play(24, price=ahead(-4), oi=0.968)
    trouble.begin(crash, venue)
    crash.play(5, price=ahead(-29 / 6), oi=0.96)
    trouble.end(crash, venue)
    crash.play(31, price=ahead(-10), oi=0.92)
    crash.burst = 0.0
    crash.play(110)

    # in time
    alert = crash.reached("liq_burst", Level.CRITICAL)
    assert 0 <= alert.seen - crash.when_liquidated(120) <= SECOND
    alert = crash.reached("price_drop", Level.CRITICAL)
    assert -SECOND <= alert.seen - crash.when_price(-8) <= trouble.price_late
    assert -10.1 < alert.value < -8
    alert = crash.reached("oi_drop", Level.CRITICAL)
    assert alert.seen - (began + 38 * SECOND) <= OI_LATE
    alert = crash.reached("depth_thin", Level.WATCH)
    assert 0 <= alert.seen - (began + HOLD) <= MEDIAN + HOLE
    assert alert.value == pytest.approx(30, abs=1.5)
    assert opened(crash).level is Level.CRITICAL

    # and nothing else
    families = {alert.family for alert in crash.alerts}
    families -= {"funding_apart"}  # Hyperliquid has its own rate here, all the time
    regimes = {"regime", "market_regime"}
    assert families <= {*PARTS, "cascade", "oi_total_drop", "market_fall", *regimes}
    rules_of_regime = {alert.rule for alert in crash.alerts if alert.family in regimes}
    assert rules_of_regime <= {f"{family}:cascade" for family in regimes}
    assert crash.of("price_drop", Turn.CLOSE) == []
    assert crash.notices == []
    heard = [event.usd for event in crash.events if isinstance(event, Liquidation)]
    assert heard == pytest.approx([usd for _, usd in crash.reported])
    for alert in crash.of("liq_burst"):
        until = sum(usd for at, usd in crash.liquidated if at <= alert.seen)
        assert alert.value <= until / 1e6 + 1e-6
    for event in crash.events:
        if isinstance(event, Funding) and event.venue != "hyperliquid":  # has its own rate
            assert event.rate * 8 / event.hours == pytest.approx(crash.rate)


def test_a_contract_of_a_thousand_coins_is_a_thousand_coins() -> None:
    """At two venues, and at the third one it is of one coin."""
    multipliers = {"binance": 1_000.0, "hyperliquid": 1_000.0}
    crash = Crash(*ALL, price=72.0, asset="DOGE", multipliers=multipliers)
    crash.calm()
    for name, musd, depth in (
        ("binance", 5_760, 20),
        ("bybit", 3_600, 20),
        ("hyperliquid", 2_160, 10),
    ):
        events = [event for event in crash.events if getattr(event, "venue", "") == name]
        price = next(event.mark for event in events if isinstance(event, Price))
        coins = next(event.base for event in events if isinstance(event, OpenInterest))
        band = next(event.bands[1] for event in events if isinstance(event, Depth))
        assert price == pytest.approx(72, rel=1e-3)
        assert coins * 72 / 1e6 == pytest.approx(musd)
        assert (band.bid_usd + band.ask_usd) / 1e6 == pytest.approx(depth, rel=0.01)
    began = crash.seen
    crash.depth, crash.burst = 0.3, 200.0
    crash.play(60, price=72 * 0.85, oi=0.9)
    crash.burst = 0.0
    crash.play(110)
    alert = crash.reached("liq_burst", Level.CRITICAL)
    assert 0 <= alert.seen - crash.when_liquidated(50) <= SECOND
    alert = crash.reached("price_drop", Level.CRITICAL)
    assert -SECOND <= alert.seen - crash.when_price(-13) <= 2 * SECOND
    assert crash.reached("oi_drop", Level.ALERT).value > -10.1
    alert = crash.reached("depth_thin", Level.WATCH)
    assert 0 <= alert.seen - (began + HOLD) <= MEDIAN + HOLE
    assert alert.value == pytest.approx(30, abs=1.5)
    assert opened(crash).asset == "DOGE"
    assert crash.notices == []
