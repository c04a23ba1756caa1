"""Realised volatility, against the formula worked out anew."""

from math import exp, log, sqrt
from random import Random

from pytest import approx, mark

from rules.alerts import Level, Turn, VolatilityFacts
from rules.engine import Engine
from rules.metrics import metric
from rules.returns import LOOK_EVERY, RETURNS
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Kind, Tick
from tests.rules.facts import START, feed, price
from tests.rules.scenes import VENUES, named, quick_rule, run

RULES = [
    named("week", quick_rule("volatility_7d_pct", "above", 10, watch=90)),
    named("month", quick_rule("volatility_30d_pct", "above", 10, watch=9_000)),
]
TEN = 10 * MINUTE


def walk(days, size=0.002, seed=5):
    """A price for each ten minutes."""
    dice, at = Random(seed), [100.0]
    for _ in range(days * 144):
        at.append(at[-1] * exp(dice.gauss(0, size)))
    return at


def play(engine, prices, start=START, gaps=()):
    """Prices each half minute, which move at the full ten minutes; silent in ``gaps`` (steps)."""
    alerts, now = [], start
    for n, value in enumerate(prices):
        for now in range(start + n * TEN, start + (n + 1) * TEN, 30_000):
            silent = n in gaps
            events = [] if silent else [price("binance", now, value)]
            alerts += run(engine, [*events, Tick(seen=now)])
    return alerts, now


def values(engine):
    return {v.metric: v.value for v in engine.standing().values}


def coin_metrics(prices, since=0):
    """sqrt(1/(N - 1) * sum ln(s_i / s_i-1)^2) * sqrt(52,560), in percent."""
    returns = [log(b / a) for a, b in zip(prices[since:], prices[since + 1 :])]  # noqa: B905
    return 100 * sqrt(sum(x * x for x in returns) / (len(returns) - 1)) * sqrt(6 * 24 * 365)


@mark.parametrize("extra", [0, 1, 4])
def test_it_is_coin_metrics_formula_over_a_week_and_the_hour_that_goes_on(extra):
    prices = walk(9)[: 8 * 144 + 1 + extra]
    engine = Engine(RULES, VENUES)
    play(engine, prices)
    # the hour that goes on began at the last full hour
    since = (len(prices) - 1 - (extra or 6)) - 7 * 144
    assert values(engine)["volatility_7d_pct"] == approx(coin_metrics(prices, since), rel=1e-5)
    assert values(engine)["volatility_30d_pct"] is None


def test_nothing_is_said_before_nearly_all_of_a_week_was_watched():
    engine = Engine(RULES, VENUES)
    prices = walk(7)
    play(engine, prices[: 6 * 144])
    assert values(engine)["volatility_7d_pct"] is None
    play(engine, prices[6 * 144 : 6 * 144 + 60], START + 6 * DAY)
    # the first price of all is in force from the slot after it
    formula = coin_metrics(prices[: 6 * 144 + 60], since=1)
    assert values(engine)["volatility_7d_pct"] == approx(formula, 1e-5)


def test_a_fall_is_in_it_ten_minutes_later_and_a_hole_is_neither_calm_nor_storm():
    engine = Engine(RULES, VENUES)
    prices = walk(8, size=0.001)
    play(engine, prices)
    calm, start = values(engine)["volatility_7d_pct"], START + len(prices) * TEN
    last = prices[-1]
    alerts, now = play(engine, [last * 0.85], start)
    assert values(engine)["volatility_7d_pct"] == approx(calm, rel=1e-3) and not alerts
    alerts, now = play(engine, [last * 0.85], start + TEN)
    assert [(a.turn, a.level) for a in alerts] == [(Turn.OPEN, Level.WATCH)]
    stormy = values(engine)["volatility_7d_pct"]
    assert stormy > 4 * calm
    facts = next(v.facts for v in engine.standing().values if v.metric == "volatility_7d_pct")
    assert isinstance(facts, VolatilityFacts) and facts.window_ms == 7 * DAY
    # dark for two hours, and the price is another one afterwards
    run(engine, [feed("binance", Kind.PRICE, now, False)])
    alerts, now = play(engine, [last] * 12, start + 2 * TEN, gaps=range(12))
    assert not alerts and values(engine)["volatility_7d_pct"] is None
    run(engine, [feed("binance", Kind.PRICE, now, True)])
    alerts, now = play(engine, [last * 0.7] * 4, start + 14 * TEN)
    assert not alerts and values(engine)["volatility_7d_pct"] == approx(stormy, rel=0.01)
    facts = next(v.facts for v in engine.standing().values if v.metric == "volatility_7d_pct")
    assert isinstance(facts, VolatilityFacts) and facts.expected - facts.returns == 13


def test_a_restart_anywhere_changes_nothing():
    prices = walk(7)
    whole, parts = Engine(RULES, VENUES), Engine(RULES, VENUES)
    play(whole, prices)
    dice, n = Random(2), 0
    while n < len(prices):
        steps = dice.randrange(1, 200)
        play(parts, prices[n : n + steps], START + n * TEN)
        n += steps
        dumped, parts = parts.dump(), Engine(RULES, VENUES)
        assert parts.load(dumped) == "" and parts.dump() == dumped
        assert parts.standing() == parts.standing()
    assert values(parts) == values(whole)
    assert parts.dump() == whole.dump()


def test_whoever_asks_changes_nothing_and_a_coin_costs_little():
    engine = Engine(RULES, VENUES)
    play(engine, walk(1))
    before = engine.dump()
    engine.standing()
    assert engine.dump() == before
    memo = engine._watchlist.memory.view("BTC").memo(RETURNS)
    assert memo is not None and sum(map(len, memo.dump())) < 17_500


def test_it_is_looked_at_often_enough_to_be_no_hole_and_seldom_enough_to_cost_nothing():
    for name in ("volatility_7d_pct", "volatility_30d_pct"):
        of = metric(name)
        assert of.idle_look == of.look_every == LOOK_EVERY < MINUTE
        assert not of.take(None, None, HOUR)  # pyright: ignore[reportArgumentType]
