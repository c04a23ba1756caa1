"""How far the venues' funding lies apart."""

from math import sqrt

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from rules.alerts import DispersionFacts
from rules.engine import Engine
from rules.metrics.funding import PREDICTED_MAX_AGE
from streams.durations import MINUTE
from streams.events import Kind, Tick
from tests.rules.facts import START, Fed, feed, oi, predicted, price, settled
from tests.rules.scenes import VENUES, named, quick_rule, run

NAME = "funding_dispersion_8h_pct"
RATE, USD = st.floats(-0.01, 0.01), st.floats(1e3, 1e10)


def funded(**rates):
    """A market at START: venue → (open interest in USD, rate, hours)."""
    fed = Fed(NAME)
    for venue, (usd, rate, hours) in rates.items():
        name = venue.replace("_", "-")
        fed.feed(oi(name, START, usd / 100, usd), predicted(name, START, rate, hours))
    return fed


@given(st.lists(st.tuples(USD, RATE, st.sampled_from([1, 4, 8])), min_size=2, max_size=4))
def test_it_is_the_weighed_standard_deviation_of_the_exchanges(rows):
    names = ("binance", "bybit", "okx", "hyperliquid")
    fed = funded(**dict(zip(names, rows, strict=False)))
    rates = [(usd, 100 * rate * 8 / hours) for usd, rate, hours in rows]
    total = sum(usd for usd, _ in rates)
    mean = sum(usd * rate for usd, rate in rates) / total
    expected = sqrt(sum(usd * (rate - mean) ** 2 for usd, rate in rates) / total)
    assert fed.value() == approx(expected, rel=1e-6, abs=1e-9)


def test_two_markets_of_one_exchange_are_one_of_it():
    fed = funded(binance=(3e9, 0.0001, 8), binance_coinm=(1e9, 0.0005, 8))
    assert fed.value() is None
    fed.feed(oi("bybit", START, 4e7, 4e9), predicted("bybit", START, -0.0002))
    # 0.02 % of 4 bn, -0.02 % of 4 bn
    assert fed.value() == approx(0.02)
    assert fed.facts() == DispersionFacts(
        by_venue_pct_8h={"binance": approx(0.02), "bybit": approx(-0.02)}
    )


def test_a_feed_that_is_down_leaves_it_unknown_and_a_settled_rate_is_none_of_it():
    fed = funded(binance=(3e9, 0.0001, 8), bybit=(1e9, 0.0003, 8))
    assert fed.value() is not None
    fed.feed(settled("bybit", START, 0.05))
    before = fed.value()
    fed.feed(feed("bybit", Kind.FUNDING, START, False))
    assert before == approx(0.01 * sqrt(3) / 2) and fed.value() is None
    fed.feed(feed("bybit", Kind.FUNDING, START, True))
    assert fed.value() == before
    assert fed.value(START + PREDICTED_MAX_AGE + 1) is None


def test_a_restart_changes_nothing():
    engine = Engine([named("apart", quick_rule(NAME, "above", 0.005, watch=0.01))], VENUES)
    alerts = []
    for n in range(20):
        now = START + n * MINUTE
        for venue, rate in (("binance", 0.0001), ("bybit", 0.0001 + n * 3e-5)):
            alerts += run(engine, [
                price(venue, now, 100.0), oi(venue, now, 1e6, 1e8), predicted(venue, now, rate),
                Tick(seen=now),
            ])  # fmt: skip
        dumped, again = (
            engine.dump(),
            Engine([named("apart", quick_rule(NAME, "above", 0.005, watch=0.01))], VENUES),
        )
        assert again.load(dumped) == "" and again.standing() == engine.standing()
        engine = again
    assert alerts[0].value > 0.01
    assert {alert.rule for alert in alerts} == {"apart"}
