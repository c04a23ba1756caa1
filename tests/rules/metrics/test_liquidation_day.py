"""Liquidations of all coins in 24 hours, against sums of what was reported."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, raises

from rules.alerts import LiquidationDayFacts
from rules.engine import Engine
from rules.metrics import logged
from rules.metrics.liquidation_day import LONGS, HourlyLiquidations, LiquidationDays
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import Kind, Position, Tick
from tests.rules.facts import START, feed, liquidation, price
from tests.rules.scenes import VENUES, of_market, quick_rule, run

NAME = "liq_total_24h_musd"
RULE = of_market("day", quick_rule(NAME, "above", 5, watch=50))
MIDNIGHT = START // DAY * DAY + DAY

ORDERS = st.lists(
    st.tuples(st.integers(0, 3 * HOUR), st.floats(1, 1e8), st.booleans()), min_size=1, max_size=60
)
"""How long after the one before, USD, and whether it is a long."""


def sums(orders, hours):
    """Longs and shorts of the orders (time, USD, long) in these hours."""
    inside = [(usd, long) for at, usd, long in orders if at // HOUR in hours]
    return sum(usd for usd, long in inside if long), sum(usd for usd, long in inside if not long)


@given(ORDERS, st.sets(st.integers(0, 60)))
@settings(deadline=None)
def test_its_sums_are_those_of_the_orders_wherever_it_is_restarted(walk, restarts):
    memo, now, orders = HourlyLiquidations(), START, []
    for n, (later, usd, long) in enumerate(walk):
        now += later
        memo.add(usd, long, now)
        orders.append((now, usd, long))
        if n in restarts:
            dumped, memo = memo.dump(), HourlyLiquidations()
            memo.load(dumped)
            assert memo.dump() == dumped
        hours = range(now // HOUR - 23, now // HOUR + 1)
        assert memo.sums(hours) == approx(sums(orders, hours), rel=1e-6)
        assert memo.sums(range(hours.stop, hours.stop + 24)) == (0, 0)
    assert sum(map(len, memo.dump())) < 250


def play(engine, orders, start, end, restarts=False):
    """Orders (time, USD, long) of several contracts, with a Tick each half minute."""
    alerts, left = [], sorted(orders)
    for now in range(start, end, 30 * SECOND):
        while left and left[0][0] <= now:
            at, usd, long = left.pop(0)
            side = Position.LONG if long else Position.SHORT
            asset, venue = ("BTC", "binance") if usd % 2 < 1 else ("ETH", "bybit")
            alerts += run(engine, [liquidation(venue, at, usd, side, asset=asset)])
        alerts += run(engine, [Tick(seen=now)])
        if restarts and now % (5 * HOUR) == 0:
            dumped, engine = engine.dump(), Engine([RULE], VENUES)
            assert engine.load(dumped) == "" and engine.dump() == dumped
    return engine, alerts


def started(start):
    engine = Engine([RULE], VENUES)
    for venue, asset in (("binance", "BTC"), ("bybit", "ETH")):
        run(engine, [
            feed(venue, Kind.LIQUIDATION, start, True), price(venue, start, 100.0, asset=asset)
        ])  # fmt: skip
    return engine


def value(engine):
    return next(v for v in engine.standing().values if v.metric == NAME)


def test_it_is_the_sum_by_side_and_the_largest_day_is_one_that_is_over():
    dice, start, end = Random(8), MIDNIGHT - 7 * HOUR, MIDNIGHT + 3 * DAY + 5 * HOUR
    orders = [
        (dice.randrange(start + MINUTE, end - MINUTE), dice.uniform(1e3, 2e6), dice.random() < 0.7)
        for _ in range(400)
    ]
    engine, _ = play(started(start), orders, start, end)
    now = end - 30 * SECOND
    longs, shorts = sums(orders, range(now // HOUR - 23, now // HOUR + 1))
    days = {
        day: sum(usd for at, usd, _ in orders if at // DAY == day)
        for day in range(start // DAY, now // DAY)
    }
    largest = max(days, key=lambda day: days[day])
    of_day = value(engine)
    assert of_day.value == approx((longs + shorts) / 1e6, rel=1e-6) and not of_day.lower_bound
    assert of_day.facts == LiquidationDayFacts(
        long_usd=approx(longs, rel=1e-6), short_usd=approx(shorts, rel=1e-6),
        largest_usd=approx(days[largest], rel=1e-6), largest_at=largest * DAY, since=start,
    )  # fmt: skip
    again, _ = play(started(start), orders, start, end, restarts=True)
    assert again.dump() == engine.dump() and again.standing() == engine.standing()


def test_an_order_is_in_it_for_a_day_at_most_and_no_day_is_largest_before_one_is_over():
    start = MIDNIGHT + HOUR
    engine, alerts = play(started(start), [(start + MINUTE, 60e6, True)], start, start + 2 * HOUR)
    assert [a.rule for a in alerts] == ["day"]
    facts = value(engine).facts
    assert isinstance(facts, LiquidationDayFacts)
    assert (facts.largest_usd, facts.largest_at) == (None, None)
    engine, _ = play(engine, [], start + 2 * HOUR, start + 23 * HOUR)
    assert value(engine).value == approx(60)
    engine, alerts = play(engine, [], start + 23 * HOUR, start + 24 * HOUR + MINUTE)
    assert value(engine).value == 0 and [a.turn for a in alerts] == ["close"]
    facts = value(engine).facts
    assert isinstance(facts, LiquidationDayFacts) and facts.largest_usd == approx(60e6)


def test_without_a_venue_it_is_a_bound_and_without_most_no_recovery():
    start = MIDNIGHT
    engine, alerts = play(started(start), [(start + MINUTE, 60e6, True)], start, start + HOUR)
    run(engine, [feed("bybit", Kind.LIQUIDATION, start + HOUR, False)])
    assert len(alerts) == 1 and value(engine).lower_bound
    engine, alerts = play(engine, [], start + HOUR, start + 26 * HOUR)
    assert alerts == []  # the order is gone from it, and nobody knows what the venue would add
    run(engine, [feed("binance", Kind.LIQUIDATION, start + 26 * HOUR, False)])
    assert value(engine).value is None


def test_what_is_damaged_of_it_costs_it_alone():
    for memo in (HourlyLiquidations(), LiquidationDays()):
        with raises(ValueError, match="cut short"):
            type(memo)().load(memo.dump()[:-1])
    days = LiquidationDays()
    days.began = START
    days.set_back(START - DAY)
    assert days.began == START - DAY


def test_the_log_has_the_longs_beside_the_sum():
    engine = Engine([RULE], VENUES)
    run(engine, [feed("binance", Kind.LIQUIDATION, START, True)])
    orders = [(START + n * MINUTE, 1e6 + n, n % 3 > 0) for n in range(20)]
    play(engine, orders, START, START + 30 * MINUTE)
    rows = {row.metric: row for row in engine.observed()}
    whole, longs = rows[NAME], rows[LONGS]
    assert longs.value == approx(sum(usd for _, usd, long in orders if long) / 1e6)
    assert whole.value == approx(sum(usd for _, usd, _ in orders) / 1e6)
    assert (longs.asset, longs.lower_bound) == (whole.asset, whole.lower_bound)
    assert logged(LONGS) == logged(NAME)


def test_the_log_has_no_longs_where_nobody_says_them():
    rows = {row.metric: row for row in Engine([RULE], VENUES).observed()}
    assert LONGS not in rows or rows[LONGS].value is None
