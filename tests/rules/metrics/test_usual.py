"""Moves in units of a coin's own usual move."""

from math import sqrt
from random import Random
from statistics import median

from pytest import approx, mark, raises

from rules.alerts import Alert, Level, Turn
from rules.engine import Engine
from rules.metric import Reading
from rules.metrics import metric
from rules.metrics.usual import (
    DAYS,
    INTEREST_FLOOR,
    LIQUIDATION_FLOOR,
    NORMAL,
    PRICE_FLOOR,
    READY_DAYS,
    UsualMetric,
    UsualSize,
)
from rules.rule import When
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import Kind, Tick
from tests.rules.facts import START, feed, liquidation, oi, price
from tests.rules.scenes import VENUES, named, quick_rule, run

SIGMA = named("sigma", quick_rule("price_15m_sigma", "below", -1, watch=-3, alert=-5))


def filled(sizes, days, mean=False):
    """What is remembered after so many whole days of these sizes, a function of the minute."""
    memo = UsualSize(mean)
    for n in range(days * 24 * 60 + 1):
        memo.take(sizes(n), START + n * MINUTE)
    return memo


# ── what is usual ──


def test_nothing_is_usual_before_a_week_of_this_time_of_day():
    memo = filled(lambda n: 1.0, READY_DAYS - 1)
    assert memo.usual(START + (READY_DAYS - 1) * DAY) is None
    memo = filled(lambda n: 1.0, READY_DAYS)
    assert memo.usual(START + READY_DAYS * DAY) == 1.0


def test_it_is_the_median_of_the_medians_of_this_hour_of_day():
    dice = Random(3)
    sizes = [
        dice.expovariate(1) * (5 if n // 60 % 24 in (13, 14, 15) else 1) for n in range(14 * 1_440)
    ]
    memo = filled(lambda n: sizes[n] if n < len(sizes) else 0.0, 14)
    hours = [median(sizes[h * 60 : h * 60 + 60]) for h in range(14 * 24)]
    for hour in (3, 14, 22):
        now = START + 14 * DAY + hour * HOUR
        around = [hours[h] for h in range(14 * 24) if (h - hour) % 24 in (23, 0, 1)]
        fresh = UsualSize(False)
        fresh.load(memo.dump())
        assert fresh.usual(now) == approx(median(around), rel=1e-6)
    night, noon = (memo.usual(START + 14 * DAY + h * HOUR) for h in (3, 14))
    assert night and noon and noon > 3 * night


def test_a_crash_of_a_day_does_not_become_usual():
    memo = filled(lambda n: 30.0 if 20 * 1_440 <= n < 21 * 1_440 else 1.0, 24)
    assert memo.usual(START + 24 * DAY) == 1.0


def test_what_is_older_than_thirty_days_is_forgotten():
    memo = filled(lambda n: 9.0 if n < 1_440 * READY_DAYS else 1.0, DAYS + 3)
    assert memo.usual(START + (DAYS + 3) * DAY) == 1.0
    assert sum(map(len, memo.dump())) < 4 * (24 * DAYS + 1) + 8 * 65


def test_of_half_an_hour_nothing_is_learned_and_of_a_minute_one_size():
    memo = UsualSize(False)
    for n in range(READY_DAYS * 1_440 + 1):
        if n % 60 < 25:
            memo.take(1.0, START + n * MINUTE)
    assert memo.usual(START + READY_DAYS * DAY) is None
    assert not memo.due(START + READY_DAYS * DAY) and memo.due(START + READY_DAYS * DAY + MINUTE)


def test_of_liquidations_the_mean_of_an_hour_counts():
    memo = filled(lambda n: 60.0 if n % 60 == 0 else 0.0, READY_DAYS, mean=True)
    assert memo.usual(START + READY_DAYS * DAY) == 1.0


def test_a_clock_set_back_leaves_what_is_usual_and_a_cut_dump_is_refused():
    memo = filled(lambda n: 1.0, READY_DAYS + 1)
    memo.set_back(START + READY_DAYS * DAY)
    assert memo.usual(START + READY_DAYS * DAY) == 1.0
    assert memo.due(START + READY_DAYS * DAY)
    with raises(ValueError, match="cut short"):
        UsualSize(False).load(memo.dump()[:-1])


# ── the metrics ──


@mark.parametrize(
    ("name", "floor"),
    [
        ("price_1h_sigma", PRICE_FLOOR), ("price_15m_sigma", PRICE_FLOOR / 2),
        ("oi_net_4h_sigma", 2 * INTEREST_FLOOR), ("liq_10m_x_normal", LIQUIDATION_FLOOR),
    ],
)  # fmt: skip
def test_floors_grow_with_the_root_of_time(name, floor):
    usual_metric = metric(name)
    assert isinstance(usual_metric, UsualMetric) and usual_metric.floor == approx(floor)
    assert usual_metric.base.window == usual_metric.window
    assert usual_metric.scopes == {"asset"}


def market(days, size, seed=1, rules=(SIGMA,)):
    """A coin whose price moves by about ``size`` % in 15 min, a price a minute."""
    dice, engine = Random(seed), Engine(list(rules), VENUES)
    alerts: list[Alert] = []
    moved, now = 0.0, START
    for n in range(days * 1_440):
        now = START + n * MINUTE
        moved = 0.9 * moved + dice.gauss(0, size / sqrt(15))
        alerts += run(engine, [price("binance", now, 100 * (1 + moved / 100)), Tick(seen=now)])
    return engine, alerts, now, 100 * (1 + moved / 100)


def fall(engine, now, start, pct):
    """What is said when the price falls in a minute and stays for five."""
    alerts: list[Alert] = []
    for n in range(1, 30):
        at = now + n * 10 * SECOND
        alerts += run(engine, [price("binance", at, start * (1 + pct / 100)), Tick(seen=at)])
    return alerts


def test_the_same_fall_is_an_event_of_a_calm_coin_and_none_of_a_wild_one():
    calm, alerts, now, start = market(8, 0.2)
    assert [a for a in alerts if a.level >= Level.ALERT] == []
    assert alerts == [] or alerts[0].seen > START + READY_DAYS * DAY
    opened = [a for a in fall(calm, now, start, -2.5) if a.turn in (Turn.OPEN, Turn.UP)]
    assert opened[-1].level is Level.ALERT and opened[-1].unit == "σ"
    wild, _, now, start = market(8, 2.0)
    assert [a for a in fall(wild, now, start, -2.5) if a.level >= Level.ALERT] == []


def test_its_value_is_the_move_in_usual_moves():
    engine, _, now, start = market(
        8, 0.6, rules=(SIGMA, named("pct", quick_rule("price_15m_pct", "below", -1, alert=-90)))
    )
    fall(engine, now, start, -2.0)
    sigma, pct = (next(v for v in engine.standing().values if v.metric == name)
                  for name in ("price_15m_sigma", "price_15m_pct"))  # fmt: skip
    usual_metric = metric("price_15m_sigma")
    assert isinstance(usual_metric, UsualMetric)
    view = engine._watchlist.memory.view("BTC")
    usual = usual_metric.usual(view, engine._now)
    assert usual is not None and usual > PRICE_FLOOR / 2
    assert sigma.value == approx((pct.value or 0) / usual)
    assert sigma.facts == pct.facts and sigma.cause is None
    memo = view.memo(usual_metric.size)
    assert memo is not None and usual == approx(NORMAL * (memo.usual(engine._now) or 0))


def test_a_coin_that_stands_still_twitches_and_nobody_is_told():
    engine, alerts, now, start = market(8, 0.0)
    assert alerts == []
    assert fall(engine, now, start, -0.3) == []  # not even three times the floor of 0.125 %


def test_whoever_asks_teaches_it_nothing_and_a_restart_changes_nothing():
    engine, _, now, start = market(8, 0.2)
    before = engine.dump()
    engine.standing()
    engine.open_episodes()
    assert engine.dump() == before
    again = Engine([SIGMA], VENUES)
    assert again.load(before) == "" and again.dump() == before
    assert fall(again, now, start, -2.5) == fall(engine, now, start, -2.5) != []


def test_what_is_damaged_of_it_costs_it_alone():
    engine, _, now, _ = market(8, 0.2)
    again = Engine([named("sigma", SIGMA, metric="price_15m_sigma")], VENUES)
    memory = engine._watchlist.memory.dump()
    memory.views[0].memos["usual.price_15m_sigma"] = [b"x"]
    lost: list[str] = []
    again._watchlist.open(now)
    again._watchlist.memory.load(memory, ["BTC"], now, lost)
    assert lost == ["memory.BTC.usual.price_15m_sigma"]


def test_it_can_be_a_second_opinion_and_learns_then_too():
    asking = named(
        "asking",
        quick_rule("price_15m_pct", "below", -0.1, alert=-0.5),
        when=(When("price_15m_sigma", "<=", -3),),
    )
    engine, _, now, start = market(8, 0.2, rules=(asking,))
    opened = fall(engine, now, start, -2.5)[0]
    assert opened.level is Level.ALERT and (opened.opinions[0].value or 0) < -3
    young, _, now, start = market(2, 0.2, rules=(asking,))
    opened = fall(young, now, start, -2.5)[0]
    assert opened.level is Level.WATCH and opened.opinions[0].value is None


def test_liquidations_without_a_venue_are_a_bound_and_teach_nothing():
    rule = named("x", quick_rule("liq_10m_x_normal", "above", 2, alert=5))
    engine = Engine([rule], VENUES)
    now = START
    run(engine, [feed("binance", Kind.LIQUIDATION, now, True), oi("binance", now, 1000.0)])
    for n in range(8 * 1_440):
        now = START + n * MINUTE
        run(engine, [liquidation("binance", now, 20_000), Tick(seen=now)])
    (value,) = engine.standing().values
    assert value.value == approx(1.0, abs=0.02)  # 0.2 million in 10 min are usual
    alerts = run(engine, [liquidation("binance", now + SECOND, 1.5e6)])
    assert [(a.level, a.turn) for a in alerts] == [(Level.ALERT, Turn.OPEN)]
    usual_metric = metric("liq_10m_x_normal")
    reading = usual_metric.value(engine._watchlist.memory.view("BTC"), now + SECOND)
    assert isinstance(reading, Reading) and reading.floor_musd == approx(1.7, abs=0.03)
