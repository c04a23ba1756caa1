"""Mean correlations of groups, against the correlations of all pairs."""

from itertools import combinations
from math import nan
from random import Random
from statistics import correlation as pearson
from statistics import mean

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, mark, raises

from rules.alerts import CorrelationFacts
from rules.engine import Engine
from rules.metrics import metric
from rules.metrics.correlation import (
    CORRELATIONS,
    HOURS,
    LEAST_COINS,
    Correlation,
    Correlations,
    correlations,
    mean_correlation,
)
from rules.returns import RETURNS, STEP
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Tick
from tests.rules.facts import START, oi, price
from tests.rules.scenes import VENUES, of_market, quick_rule, run

NAMES = ("correlation_top10_7d", "correlation_51to100_7d", "correlation_gap_7d")
RULES = [of_market(name, quick_rule(name, "above", 0.5, watch=2)) for name in NAMES]
NOW = START + 20 * MINUTE
"""When the hour before START is known, and nothing of the next one."""
LAST = START // HOUR - 1


def coins(count, common, holes=(), seed=3):
    """An engine that knows the returns of so many coins, each ``common`` times what all do.

    ``holes``: (coin, hour before the last one) of which one return is unknown. The coin with the
    lowest number has the most open interest.
    """
    dice, engine = Random(seed), Engine(RULES, VENUES)
    for n in range(count):
        asset = f"C{n:02d}"
        run(engine, [
            price("binance", NOW - 5 * SECOND, 10.0, asset=asset),
            oi("binance", NOW - 5 * SECOND, 1e6 * (count - n), 1e7 * (count - n), asset=asset),
        ])  # fmt: skip
    first, last = (LAST - HOURS - 2) * 6 + 1, START // STEP + 2
    market = [dice.gauss(0, 0.002) for _ in range(first, last + 1)]
    for n in range(count):
        memo = engine._watchlist.memory.view(f"C{n:02d}").keep(RETURNS)
        for step in range(first, last + 1):
            hour = (step - 1) // 6
            unknown = (n, LAST - hour) in holes and step % 6 == 3
            own = dice.gauss(0, 0.002)
            memo.take(step, None if unknown else common * market[step - first] + own)
    run(engine, [Tick(seen=NOW)])
    return engine


def values(engine):
    return {v.metric: v.value for v in engine.standing().values if v.metric in NAMES}


def moves(engine, places, hours=HOURS, leave_out=()):
    """The hourly returns of the coins at these places, at the hours that all of them have."""
    memos = [engine._watchlist.memory.view(f"C{n:02d}").memo(RETURNS)
             for n in places if n not in leave_out]  # fmt: skip
    rows = [[memo.move(hour) for memo in memos] for hour in range(LAST - hours + 1, LAST + 1)]
    return [*zip(*(row for row in rows if None not in row), strict=True)]


def of_pairs(series):
    return mean(pearson(a, b) for a, b in combinations(series, 2))


# ── the formula ──


@given(st.integers(2, 12), st.integers(3, 60), st.floats(0, 3), st.integers(0, 10**6))
@settings(deadline=None)
def test_it_is_the_mean_over_all_pairs(coins, length, common, seed):
    dice = Random(seed)
    market = [dice.gauss(0, 1) for _ in range(length)]
    series = [[common * x + dice.gauss(0, dice.random() + 0.1) for x in market]
              for _ in range(coins)]  # fmt: skip
    assert mean_correlation(series) == approx(of_pairs(series), abs=1e-9)


class Read(list[float]):
    """A series that counts how often anybody goes through it."""

    times = 0

    def __iter__(self):
        self.times += 1
        return super().__iter__()


def test_there_is_no_loop_over_pairs():
    dice = Random(1)
    for count in (2, 10, 50):
        series = [Read(dice.gauss(0, 1) for _ in range(20)) for _ in range(count)]
        assert mean_correlation(series) is not None
        assert {of.times for of in series} == {3}  # its mean, its deviation, its part of the sum


def test_of_one_coin_or_one_hour_there_is_none():
    assert mean_correlation([[1.0, 2.0]]) is None
    assert mean_correlation([[1.0], [2.0]]) is None
    assert mean_correlation([]) is None
    assert mean_correlation([[1.0, 2.0], [5.0, 1.0]]) == approx(-1.0)


# ── the metrics ──


@mark.parametrize("count", [10, 70, 110])
def test_groups_are_of_ranks_by_open_interest(count):
    engine = coins(count, 1.5)
    seen = values(engine)
    top, middle = of_pairs(moves(engine, range(10))), None
    assert seen["correlation_top10_7d"] == approx(top, abs=1e-6)
    if count > 50:
        middle = of_pairs(moves(engine, range(50, min(100, count))))
        assert seen["correlation_gap_7d"] == approx(top - middle, abs=1e-6)
    assert seen["correlation_51to100_7d"] == (None if middle is None else approx(middle, abs=1e-6))
    facts = next(v.facts for v in engine.standing().values if v.metric == NAMES[0])
    assert isinstance(facts, CorrelationFacts)
    assert (facts.top_coins, facts.middle_coins) == (10, max(0, min(50, count - 50)))


def test_they_are_of_the_hours_that_all_have_and_a_coin_that_misses_many_is_left_out():
    holes = {(3, 5), (4, 70), *((7, hour) for hour in range(20, 40))}
    engine = coins(10, 1.5, holes)
    series = moves(engine, range(10), leave_out={7})
    assert len(series) == 9 and len(series[0]) == HOURS - 2
    assert values(engine)["correlation_top10_7d"] == approx(of_pairs(series), abs=1e-6)


@mark.parametrize(("dark", "known"), [(4, True), (5, False)])
def test_without_the_newest_hour_of_most_there_is_none(dark, known):
    engine = coins(10, 1.5, {(n, 0) for n in range(dark)})
    assert (values(engine)["correlation_top10_7d"] is not None) is known


def test_of_few_coins_there_is_none_and_what_stands_still_is_none_of_them():
    assert values(coins(LEAST_COINS - 1, 1.5))["correlation_top10_7d"] is None
    assert values(coins(LEAST_COINS, 1.5))["correlation_top10_7d"] is not None
    engine = coins(6, 1.5)
    memo = engine._watchlist.memory.view("C00").keep(RETURNS)
    memo.load(type(memo)().dump())
    for step in range((LAST - HOURS) * 6 + 1, START // STEP + 2):
        memo.take(step, 0.0)
    top, _ = correlations(engine._watchlist.memory.views, LAST)
    assert top == Correlation(approx(of_pairs(moves(engine, range(1, 6))), abs=1e-6), 5)


def test_it_is_of_the_hour_until_the_next_one_is_known_whatever_is_held_meanwhile():
    engine = coins(12, 1.5)
    before = values(engine)
    # the order of open interest turns round
    for n in range(12):
        run(engine, [oi("binance", NOW + n, 1e6 * (n + 1), 1e7 * (n + 1), asset=f"C{n:02d}")])
    run(engine, [Tick(seen=NOW + 5 * MINUTE)])
    assert values(engine) == before
    again = Engine(RULES, VENUES)
    dumped = engine.dump()
    assert again.load(dumped) == "" and again.dump() == dumped
    assert values(again) == before
    for each in (engine, again):
        run(each, [Tick(seen=NOW + 6 * MINUTE)])
    assert again.dump() == engine.dump() and again.standing() == engine.standing()
    # nothing was heard for hours
    run(again, [Tick(seen=NOW + 3 * HOUR)])
    assert {*values(again).values()} == {None}


def test_what_is_damaged_of_it_costs_it_alone():
    memo = Correlations()
    memo.take(LAST, Correlation(0.8, 10), None)
    with raises(ValueError, match="cut short"):
        Correlations().load([memo.dump()[0][:-1]])
    again = Correlations()
    again.load(memo.dump())
    assert again.dump() == memo.dump() and again.top == Correlation(0.8, 10)
    assert again.middle is None and again.hour == LAST and nan != again.hour


def test_how_far_it_is_from_nothing_in_common():
    distance = metric(NAMES[0]).distance
    assert distance(0.5) == approx(50) and distance(0.97) > 1.5 * distance(0.7)


def test_what_becomes_known_of_an_hour_later_counts_at_the_next_look():
    engine = coins(12, 1.5, holes=[(n, back) for n in range(12) for back in range(30)])
    assert values(engine)["correlation_top10_7d"] is None
    for n in range(12):
        memo = engine._watchlist.memory.view(f"C{n:02d}").keep(RETURNS)
        steps = range(START // STEP - 40 * 6, START // STEP + 1)
        memo.fill({step * STEP: 10.0 + (step * (n + 7)) % 13 for step in steps}, NOW)
    run(engine, [Tick(seen=NOW + MINUTE)])
    assert values(engine)["correlation_top10_7d"] is None  # of this hour it is worked out
    engine._watchlist.memory.market.keep(CORRELATIONS).again = True
    restarted = Engine(RULES, VENUES)
    assert restarted.load(engine.dump()) == ""
    for either in (engine, restarted):
        run(either, [Tick(seen=NOW + 2 * MINUTE)])
        assert values(either)["correlation_top10_7d"] is not None
    once = Correlations()
    once.load(Correlations().dump()[:1])  # as it was saved once
    assert not once.again
