"""The cause of what happens to an asset, from events; who tells it, and rules that ask for it."""

from pytest import mark

from rules.alerts import CAUSES, Alert, Cause, Level, Turn
from rules.engine import Engine
from rules.metrics import asked_by
from rules.metrics.cause import cause_metric
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Kind, Position, Tick
from tests.rules.facts import START, feed, liquidation, oi, predicted, price
from tests.rules.scenes import COMPOSITES, VENUES, named, quick_rule, run

DROP = named("drop", quick_rule("oi_net_2m_pct", "below", -1, alert=-4, critical=-8))
MOVE = named("move", quick_rule("price_2m_pct", "below", -1, alert=-1.5))
LONGS = named("longs", DROP, cause=(Cause.LONG_UNWINDING,))
SQUEEZE = named("squeeze", DROP, cause=(Cause.SHORT_COVERING,))


def story(rules, coins=-5.0, moved=-2.0, composites=(), more=(), silent=False, until=300):
    """What is said when open interest and price change at second 200, by so many %."""
    engine = Engine(rules, VENUES, composites)
    alerts: list[Alert] = []
    events = dict(more)
    for n in range(until):
        now, late = START + n * SECOND, n >= 200
        readings = [oi("binance", now, 1000 * (1 + coins / 100 * late))] if n % 2 == 0 else []
        if not (silent and n > 100):
            readings.append(price("binance", now, 100 * (1 + moved / 100 * late)))
        alerts += run(engine, [*readings, *events.get(n, ()), Tick(seen=now)])
    return engine, alerts


def burst(longs, shorts, n=201):
    now = START + n * SECOND
    return [
        (0, [feed("binance", Kind.LIQUIDATION, START, True)]),
        (n, [liquidation("binance", now, longs, Position.LONG),
             liquidation("binance", now, shorts, Position.SHORT)]),
    ]  # fmt: skip


@mark.parametrize(
    ("coins", "moved", "word"),
    [
        (-5, -2, Cause.LONG_UNWINDING), (-5, 3, Cause.SHORT_COVERING), (-5, 0, Cause.UNCLEAR),
    ],
)  # fmt: skip
def test_open_interest_that_falls_says_what_is_happening(coins, moved, word):
    engine, alerts = story([DROP], coins, moved)
    assert (alerts[0].turn, alerts[0].cause) == (Turn.OPEN, word)
    (value,) = engine.standing().values
    assert value.cause is word
    assert engine.open_episodes().episodes[0].cause is word


def test_a_price_says_it_though_no_rule_watches_open_interest():
    engine, alerts = story([MOVE], coins=4)
    assert alerts[0].cause is Cause.UNCLEAR  # one reading of open interest is not believed
    assert engine.open_episodes().episodes[0].cause is Cause.NEW_SHORTS


def test_without_a_price_nobody_knows_what_is_happening():
    _, alerts = story([DROP], silent=True)
    assert (alerts[0].rule, alerts[0].cause) == ("drop", None)


def test_an_end_has_no_cause():
    _, alerts = story([DROP], until=400)
    assert [(a.turn, a.cause is None) for a in alerts] == [(Turn.OPEN, False), (Turn.CLOSE, True)]


def test_liquidations_tell_whose_positions_were_closed_while_the_price_stands_still():
    liq = quick_rule("liq_2m_musd", "above", 1e6, alert=2e6)
    # 5 % of 1,000 coins at 100 are $5,000
    ends = [story([DROP, liq], moved=0, more=burst(a, b))[0].open_episodes().episodes
            for a, b in ((900, 100), (100, 900), (30, 3))]  # fmt: skip
    assert [episodes[0].cause for episodes in ends] == [
        Cause.LONG_UNWINDING, Cause.SHORT_COVERING, Cause.UNCLEAR,
    ]  # fmt: skip


def test_funding_tells_who_opened_positions_while_the_price_stands_still():
    surge = named("surge", quick_rule("oi_net_2m_pct", "above", 1, alert=4))
    estimate = [(190, [predicted("binance", START + 190 * SECOND, -0.0005)])]
    _, alerts = story([surge], coins=5, moved=0, more=estimate)
    assert alerts[0].cause is Cause.NEW_SHORTS


# ── a rule that asks for a cause ──


def test_a_squeeze_is_no_deleveraging_of_longs():
    _, rise = story([LONGS, SQUEEZE], moved=3)
    assert [(a.rule, a.level) for a in rise] == [("squeeze", Level.ALERT)]
    _, fall = story([LONGS, SQUEEZE], moved=-2)
    assert [(a.rule, a.level) for a in fall] == [("longs", Level.ALERT)]
    _, neither = story([LONGS, SQUEEZE], moved=0.01)
    assert neither == []


@mark.parametrize(("coins", "levels"), [(-5, []), (-9, [Level.CRITICAL])])
def test_an_unknown_cause_counts_for_nothing_but_what_is_critical(coins, levels):
    _, alerts = story([LONGS], coins, silent=True)
    assert [a.level for a in alerts] == levels


def test_another_cause_holds_even_what_is_critical_back():
    _, alerts = story([LONGS], coins=-20, moved=4)
    assert alerts == []


def test_what_a_rule_asks_is_in_the_metric_log_and_in_no_answer():
    engine, _ = story([LONGS])
    assert asked_by(LONGS) == ("oi_net_2m_pct", "cause_2m")
    logged = {row.metric: row.value for row in engine.observed()}
    assert CAUSES[int(logged["cause_2m"] or 0)] is Cause.LONG_UNWINDING
    assert {value.metric for value in engine.standing().values} == {"oi_net_2m_pct"}


# ── a composite ──


def test_a_cascade_keeps_the_cause_that_it_had_to_its_end():
    spec = COMPOSITES[0]
    both = type(spec)(
        name="both", level=Level.CRITICAL, within=2 * MINUTE, hides=("drop",),
        all_of=(("drop", Level.ALERT), ("move", Level.ALERT)),
    )  # fmt: skip
    engine, alerts = story([DROP, MOVE], composites=[both], until=520)
    turns = [(a.turn, a.cause) for a in alerts if a.rule == "both"]
    assert turns == [(Turn.OPEN, Cause.LONG_UNWINDING), (Turn.CLOSE, Cause.LONG_UNWINDING)]
    again = Engine([DROP, MOVE], VENUES, [both])
    again.load(engine.dump())
    assert again.dump() == engine.dump()


@mark.parametrize(
    ("window", "name"),
    [(HOUR, "1h"), (24 * HOUR, "24h"), (15 * MINUTE, "15m"), (90 * MINUTE, "90m")],
)
def test_its_parts_are_named_as_rules_name_them(window, name):
    of = cause_metric(window)
    assert (of.name, of.moves.name, of.interest.name) == (
        f"cause_{name}", f"price_{name}_pct", f"oi_net_{name}_pct",
    )  # fmt: skip
