"""A second opinion: a rule that asks another metric at the moment at which its own value rings."""

from pytest import mark

from rules.alerts import Alert, Level, Opinion, Turn
from rules.engine import Engine
from rules.metric import Reading
from rules.rule import When, agreed_level, agreement
from streams.durations import SECOND
from streams.events import Kind, Tick
from tests.rules.facts import START, feed, liquidation, oi, price
from tests.rules.scenes import VENUES, named, quick_rule, run

PRICE = When("price_2m_pct", "<=", -1)
LIQUIDATED = When("liq_3m_musd", ">=", 2)

ASKING = named(
    "asking", quick_rule("oi_net_2m_pct", "below", -1, alert=-4, critical=-8), when=(PRICE,)
)
"""It has no watch level of its own."""


def story(coins, prices, rule=ASKING, more=(), silent=(), changed=None):
    """Open interest each 2 s and price each second, both as functions of the second. ``changed``:
    from which second on another rule is judged, after a restart."""
    engine = Engine([rule], VENUES)
    alerts: list[Alert] = []
    events = dict(more)
    for n in range(460):
        now = START + n * SECOND
        if changed is not None and n == changed[0]:
            dumped, engine = engine.dump(), Engine([changed[1]], VENUES)
            engine.load(dumped)
        readings = [oi("binance", now, coins(n))] if n % 2 == 0 else []
        if n not in silent:
            readings.append(price("binance", now, prices(n)))
        alerts += run(engine, [*readings, *events.get(n, ()), Tick(seen=now)])
    return engine, alerts


def fell(start, pct, second=200):
    return lambda n: start * (1 + pct / 100) if n >= second else start


def turns(alerts):
    return [(a.turn, a.level, a.alone) for a in alerts]


def test_an_alert_that_price_does_not_bear_out_is_told_at_watch_with_the_reason():
    _, alerts = story(fell(1000, -5), lambda n: 100.0)
    opened = alerts[0]
    assert (opened.turn, opened.level, opened.alone, opened.post) == (
        Turn.OPEN, Level.WATCH, Level.ALERT, True,
    )  # fmt: skip
    assert opened.opinions == (
        Opinion(metric="price_2m_pct", unit="%", asked="<= -1", value=0.0, agrees=False),
    )
    assert opened.threshold == -4  # of the level that the value has
    assert {a.level for a in alerts} == {Level.WATCH}


def test_an_alert_rings_at_once_when_price_agrees():
    _, alerts = story(fell(1000, -5), fell(100, -2))
    assert turns(alerts)[0] == (Turn.OPEN, Level.ALERT, None)
    assert alerts[0].opinions[0].agrees is True


def test_it_rises_as_soon_as_price_agrees_and_keeps_its_level_when_it_does_not_any_more():
    # the price is down from second 230 to 260 only
    _, alerts = story(fell(1000, -5), lambda n: 98.0 if 230 <= n < 260 else 100.0)
    assert turns(alerts)[:2] == [
        (Turn.OPEN, Level.WATCH, Level.ALERT), (Turn.UP, Level.ALERT, None),
    ]  # fmt: skip
    assert 230 <= (alerts[1].seen - START) // SECOND <= 235
    assert [alert.id.rpartition(":")[2] for alert in alerts] == ["1", "2", "3"]
    assert [a.turn for a in alerts[2:]] == [Turn.CLOSE]
    assert alerts[-1].level is Level.ALERT and alerts[-1].opinions == ()


def test_what_is_critical_needs_nobody():
    _, alerts = story(fell(1000, -9), fell(100, +3))
    assert turns(alerts)[0] == (Turn.OPEN, Level.CRITICAL, None)
    assert alerts[0].opinions[0].agrees is False


@mark.parametrize(("pct", "level"), [(-5, Level.WATCH), (-9, Level.CRITICAL)])
def test_an_unknown_price_is_no_agreement_and_holds_nothing_critical_back(pct, level):
    _, alerts = story(fell(1000, pct), fell(100, -5), silent=range(100, 460))
    assert alerts[0].level is level
    assert alerts[0].opinions == (Opinion(metric="price_2m_pct", unit="%", asked="<= -1"),)


def test_getting_worse_rings_only_while_price_agrees():
    def coins(n):
        return 1000 if n < 200 else 955 if n < 260 else 930

    ringing = named("asking", ASKING, repost_if=1.25)
    _, agreed = story(coins, fell(100, -2), ringing)
    assert [a.turn for a in agreed[:2]] == [Turn.OPEN, Turn.WORSE]
    _, apart = story(coins, lambda n: 98.0 if 190 <= n < 250 else 100.0, ringing)
    assert [a.turn for a in apart] == [Turn.OPEN, Turn.CLOSE]


def test_all_of_several_must_agree_and_a_metric_that_no_rule_watches_can_be_asked():
    both = named("asking", ASKING, when=(PRICE, LIQUIDATED))
    burst = {250: [liquidation("binance", START + 250 * SECOND, 3e6)]}
    up = [(0, [feed("binance", Kind.LIQUIDATION, START, True)])]
    engine, alerts = story(fell(1000, -5), fell(100, -2), both, [*up, *burst.items()])
    assert turns(alerts)[:2] == [
        (Turn.OPEN, Level.WATCH, Level.ALERT), (Turn.UP, Level.ALERT, None),
    ]  # fmt: skip
    assert (alerts[1].seen - START) // SECOND == 251  # at the next look, a second later
    seen = {row.metric for row in engine.observed()}
    assert seen == {"price", "oi_net_2m_pct", "price_2m_pct", "liq_3m_musd"}


def test_a_restart_at_any_time_keeps_it_as_it_is():
    engine, through = story(fell(1000, -5), lambda n: 98.0 if 230 <= n < 260 else 100.0)
    again = Engine([ASKING], VENUES)
    assert again.load(engine.dump()) == ""
    assert again.dump() == engine.dump()
    assert len(through) >= 3


def test_a_changed_level_lifts_nothing_that_price_does_not_bear_out():
    milder = named("asking", quick_rule("oi_net_2m_pct", "below", -1, alert=-3, critical=-8),
                   when=(PRICE,))  # fmt: skip
    _, alerts = story(fell(1000, -5), lambda n: 100.0, changed=(230, milder))
    assert turns(alerts) == [(Turn.OPEN, Level.WATCH, Level.ALERT), (Turn.CLOSE, Level.WATCH, None)]
    _, alerts = story(fell(1000, -5), fell(100, -2, 225), changed=(226, milder))
    assert turns(alerts)[-1] == (Turn.CLOSE, Level.ALERT, None)


def test_what_is_open_says_that_it_is_kept_below_its_level():
    engine = Engine([ASKING], VENUES)
    for n in range(260):
        now = START + n * SECOND
        run(engine, [oi("binance", now, fell(1000, -5)(n)), price("binance", now, 100.0)])
        run(engine, [Tick(seen=now)])
    (standing,) = engine.open_episodes().episodes
    assert (standing.level, standing.alone) == (Level.WATCH, Level.ALERT)
    assert standing.opinions[0].value == 0.0


# ── what a value says ──


@mark.parametrize(
    ("asked", "value", "answer"),
    [
        ("<= -1", -1, True), ("<= -1", -0.9, False), ("< -1", -1, False), (">= 2", 2, True),
        (">= 2", 1.9, False), ("> 2", 2, False), ("> 2", 2.1, True),
    ],
)  # fmt: skip
def test_a_value_agrees_or_not(asked, value, answer):
    sign, number = asked.split()
    when = When("price_1h_pct", sign, float(number))
    assert str(when) == asked
    assert when.agrees(Reading(value=value)) is answer
    assert when.agrees(None) is None


@mark.parametrize("kind", ["lower_bound", "breach_only"])
def test_of_a_lower_bound_only_more_can_be_known(kind):
    at_least = Reading(value=5, **{kind: True})
    answers = [
        When("liq_10m_musd", sign, threshold).agrees(at_least)
        for sign, threshold in [(">=", 5), (">", 5), (">=", 6), ("<=", 5), ("<", 5), ("<=", 4)]
    ]
    assert answers == [True, None, None, None, False, False]


def test_one_no_is_enough_and_nobody_asked_agrees():
    assert agreement([True, True]) is True
    assert agreement([True, None]) is None
    assert agreement([None, False]) is False
    assert [agreed_level(level, agree) for level in (1, 2, 3) for agree in (True, None, False)] == [
        1, 1, 1, 2, 1, 1, 3, 3, 3,
    ]  # fmt: skip


@mark.parametrize(
    ("value", "lower_bound", "agrees"),
    [
        (2.0, False, True), (-2.0, False, True), (6.3, False, True), (1.9, False, False),
        (-1.9, False, False), (2.0, True, True),
        # there may be more, so a fall may be none, and a standstill a rise
        (-6.3, True, None), (0.5, True, None),
    ],
)  # fmt: skip
def test_beyond_asks_for_a_distance_whichever_way(value, lower_bound, agrees):
    moved = When("price_15m_pct", "beyond", 2)
    assert moved.agrees(Reading(value=value, lower_bound=lower_bound)) is agrees
    assert moved.agrees(None) is None
    assert str(moved) == "beyond 2"
