"""The whole market and single instruments: what is summed, what is left out, and by whom told."""

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, mark, raises

from rules.alerts import (
    ALL,
    FundingShareFacts,
    Level,
    PriceShareFacts,
    TotalOpenInterestFacts,
    Turn,
)
from rules.engine import Engine
from rules.rule import Row, Rule
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Kind, MarketEvent, Tick
from tests.rules.facts import (
    START,
    FedMarket,
    depth,
    feed,
    liquidation,
    oi,
    predicted,
    price,
    settled,
)
from tests.rules.scenes import named, of_market, quick_rule, run

VENUES = ("binance", "bybit", "okx")
COINS = ("BTC", "ETH", "SOL", "PEPE")


# ── open interest of everything ──


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_total_is_the_net_change_of_every_contract_at_the_first_price(seed):
    dice, market = Random(seed), FedMarket("oi_total_net_15m_pct")
    held = {(v, c): (dice.uniform(1, 100), dice.uniform(1, 100)) for v in VENUES for c in COINS}
    prices = {c: (dice.uniform(1, 500), dice.uniform(1, 500)) for c in COINS}
    # a reading counts when it is held, one far off later still
    starts = [(START + n * 10 * SECOND, 0) for n in (-2, -1, 0)]
    ends = [(START + 15 * MINUTE + n * 10 * SECOND, 1) for n in range(-6, 1)]
    for t, end in [*starts, *ends]:
        for coin in COINS:
            market.feed(price("binance", t, prices[coin][end], asset=coin))
        for (venue, coin), coins in held.items():
            market.feed(oi(venue, t, coins[end], coins[end] * prices[coin][end], asset=coin))
    before, after = (
        sum(coins[end] * prices[coin][0] for (_, coin), coins in held.items()) for end in (0, 1)
    )
    reading, facts = market.reading(), market.facts()
    assert reading.value == approx(100 * (after - before) / before, rel=1e-4, abs=1e-4)
    assert reading.floor_musd == approx(before / 1e6)
    assert reading.venues == VENUES
    assert isinstance(facts, TotalOpenInterestFacts)
    assert facts.net_usd == approx(after - before, abs=before / 1e6)
    now_usd = sum(coins[1] * prices[coin][1] for (_, coin), coins in held.items())
    assert facts.net_usd + facts.price_usd == approx(now_usd - before, abs=before / 1e6)
    assert sum(facts.by_asset_usd.values()) == approx(facts.net_usd)
    assert (facts.live, facts.expected) == (12, 12)


def two_coins(market: FedMarket, since: int, until: int, btc=1000.0, eth=1000.0) -> FedMarket:
    for t in range(since, until + 1, 30 * SECOND):
        for coin, coins in (("BTC", btc), ("ETH", eth)):
            market.feed(price("binance", t, 10.0, asset=coin), oi("binance", t, coins, asset=coin))
    return market


def test_a_fall_of_price_alone_is_no_change_of_the_total():
    market = two_coins(FedMarket("oi_total_net_15m_pct"), START - MINUTE, START + 14 * MINUTE)
    for second in (-10, 0):  # a jump counts with the second price
        market.feed(price("binance", START + 15 * MINUTE + second * SECOND, 5.0))
    market.feed(oi("binance", START + 15 * MINUTE, 1000.0, 5000.0))
    market.feed(oi("binance", START + 15 * MINUTE, 1000.0, 10_000.0, asset="ETH"))
    assert market.value() == 0
    assert market.facts().price_usd == approx(-5000)


def test_a_contract_that_joins_is_on_neither_side():
    market = two_coins(FedMarket("oi_total_net_15m_pct"), START, START + 20 * MINUTE)
    market.feed(oi("bybit", START + 20 * MINUTE, 500.0, 5000.0))
    reading = market.reading()
    assert (reading.value, reading.venues, reading.missing) == (0, ("binance",), ("bybit",))
    assert (market.facts().live, market.facts().expected) == (2, 3)


def test_less_than_sixty_per_cent_of_the_total_says_nothing():
    def after(share: float) -> float | None:
        market = two_coins(
            FedMarket("oi_total_net_15m_pct"),
            START,
            START + 20 * MINUTE,
            100 * share,
            100 - 100 * share,
        )
        down = feed("binance", Kind.OPEN_INTEREST, START + 20 * MINUTE, False, "ETHUSDT")
        return market.feed(down).value()

    assert after(0.61) == 0
    assert after(0.59) is None


@mark.parametrize(("share", "after"), [(0.61, 0), (0.59, None)])
@mark.parametrize("to", [5.0, 20.0])
@mark.parametrize("told_in_usd", [True, False])
def test_what_is_dark_in_a_crash_is_weighed_at_the_price_before_it(share, after, to, told_in_usd):
    """The price of the one that is dark goes on to fall, that of the others is taken before it."""
    market = FedMarket("oi_total_net_15m_pct")
    dark_since, end = START + 16 * MINUTE, START + 20 * MINUTE
    market.feed(*(feed("binance", Kind.OPEN_INTEREST, START, True, f"{c}USDT") for c in COINS[:2]))
    for t in range(START, end + 1, 30 * SECOND):
        x = 10.0 if t < dark_since else to
        for coin, coins in (("BTC", 100 * share), ("ETH", 100 - 100 * share)):
            market.feed(price("binance", t, x, asset=coin))
            if coin == "BTC" or t <= dark_since:
                usd = coins * x if told_in_usd else None
                market.feed(oi("binance", t, coins, usd, asset=coin))
    market.feed(feed("binance", Kind.OPEN_INTEREST, end, False, "ETHUSDT"))
    assert market.value() == after


# ── the share of negative funding ──


def funded(count: int, negative: int) -> FedMarket:
    market = FedMarket("funding_negative_share_pct")
    for n in range(count):
        rate = -0.0001 * (n + 1) if n < negative else 0.0001
        market.feed(settled("binance", START, rate, asset=f"A{n}"))
    return market


def test_the_share_counts_contracts():
    market = funded(10, 3)
    reading, facts = market.reading(), market.facts()
    assert reading.value == 30
    assert isinstance(facts, FundingShareFacts)
    assert (facts.negative, facts.live, facts.expected) == (3, 10, 10)
    assert list(facts.lowest_pct_8h)[:3] == ["A2", "A1", "A0"]
    assert facts.lowest_pct_8h["A2"] == approx(-0.03)
    assert len(facts.lowest_pct_8h) == 5


def test_zero_is_not_negative():
    assert FedMarket("funding_negative_share_pct").feed(settled("okx", START, 0.0)).value() == 0


def test_what_was_charged_counts_and_the_estimate_stands_in():
    market = funded(1, 0).feed(predicted("binance", START, -0.001, asset="A0"))
    assert market.value() == 0
    assert market.feed(predicted("bybit", START, -0.001, asset="A0")).value() == 50


def unknown_rates(market: FedMarket, count: int) -> FedMarket:
    """So many contracts more that have funding, of which no rate is known."""
    for n in range(count):
        market.feed(feed("bybit", Kind.FUNDING, START, True, f"B{n}USDT"))
        market.feed(oi("bybit", START, 1.0, 1.0, asset=f"B{n}"))
    return market


def test_a_share_is_said_only_where_what_is_unknown_cannot_turn_it():
    """72 of 100 known contracts are above 70 %; of 144 with a venue that is gone they are 50 %."""
    assert funded(100, 72).value() == 72
    assert unknown_rates(funded(100, 72), 44).reading() is None
    assert unknown_rates(funded(95, 38), 6).reading() is None
    reading = unknown_rates(funded(95, 38), 5).reading()
    assert reading.value == 40  # of all 100 they are 38 to 43
    assert (reading.lower_bound, reading.breach_only) == (False, False)
    assert reading.missing == ("bybit",)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_a_share_is_as_near_to_the_truth_as_is_known(count, negative, unknown):
    negative = min(negative, count)
    market = unknown_rates(funded(count, negative), unknown)
    value, contracts = market.value(), count + unknown
    least, most = 100 * negative / contracts, 100 * (negative + unknown) / contracts
    assert value is None or least - 1e-9 <= value <= most + 1e-9
    assert (value is None) == (unknown > 0.05 * contracts)
    assert value is None or most - least <= 5 + 1e-9


def test_a_share_of_mostly_dark_feeds_says_nothing():
    market = funded(10, 3)
    for n in range(4):
        market.feed(feed("binance", Kind.FUNDING, START + 1, False, f"A{n}USDT"))
    assert market.value() == 30  # what was charged stays a fact
    market.feed(feed("binance", Kind.FUNDING, START + 1, False, "A4USDT"))
    assert market.value() is None


# ── in the engine ──

TOTAL = of_market("total", quick_rule("oi_total_net_2m_pct", "below", -1, watch=-2, alert=-4))
EACH = named("each", quick_rule("oi_net_2m_pct", "below", -1, alert=-4), scope="instrument")


def test_one_alert_for_the_market():
    engine = Engine([TOTAL], VENUES)
    events = []
    for second in range(0, 200, 5):
        now = START + second * SECOND
        coins = 1000.0 if second < 150 else 900.0
        for coin in COINS:
            events += [price("binance", now, 10.0, asset=coin), oi("okx", now, coins, asset=coin)]
        events += [Tick(seen=now + n * SECOND) for n in range(5)]
    alerts = run(engine, events)
    assert [(a.asset, a.scope, a.level) for a in alerts] == [(ALL, "market", Level.ALERT)]
    (alert,) = alerts
    assert alert.id == f"total:ALL:{alert.opened_at}:1"
    assert alert.value == approx(-10)
    assert (alert.price, alert.instrument) == (None, "")
    assert alert.seen - (START + 170 * SECOND) in range(6 * SECOND)


def test_the_market_is_made_of_all_assets_watched_or_not():
    engine = Engine(
        [TOTAL, named("btc", quick_rule("liq_1m_musd", "above", 0.5, others=False, alert=1))]
    )
    for second in range(0, 150, 10):
        for coin in COINS:
            now = START + second * SECOND
            engine.feed(price("binance", now, 10.0, asset=coin))
            engine.feed(oi("binance", now, 1000.0, asset=coin))
    alert = run(
        engine,
        [
            *(
                oi("binance", START + (150 + n) * SECOND, 700.0, asset=coin)
                for n in (0, 20)
                for coin in COINS
            ),
            Tick(seen=START + 171 * SECOND),
        ],
    )[0]
    assert alert.facts.live == len(COINS)


def test_an_instrument_speaks_for_itself():
    engine = Engine([EACH], VENUES)
    events = []
    for second in range(0, 200, 5):
        now = START + second * SECOND
        for venue in VENUES:
            coins = 900.0 if (venue, second >= 150) == ("bybit", True) else 1000.0
            events.append(oi(venue, now, coins, coins * 10))
        events.append(Tick(seen=now))
    (alert,) = run(engine, events)
    assert (alert.asset, alert.instrument, alert.scope) == ("BTC", "bybit/BTCUSDT", "instrument")
    assert alert.id == f"each:bybit/BTCUSDT:{alert.opened_at}:1"
    assert (alert.value, alert.venues) == (approx(-10), ("bybit",))
    assert list(alert.facts.by_venue_pct) == ["bybit"]


def test_liquidations_are_not_counted_twice_by_rules_of_two_scopes():
    rule = quick_rule("liq_2m_musd", "above", 1, watch=2)
    engine = Engine([rule, named("each", rule, scope="instrument")])
    engine.feed(feed("okx", Kind.LIQUIDATION, START, True))
    values = [a.value for a in engine.feed(liquidation("okx", START, 5e6))]
    assert values == [5, 5]


@mark.parametrize(
    "name, scope", [("oi_net_1h_pct", "market"), ("oi_total_net_1h_pct", "asset"),
                    ("funding_negative_share_pct", "instrument")],
)  # fmt: skip
def test_a_metric_is_asked_of_its_scope_only(name, scope):
    row = Row(levels={Level.ALERT: -5.0}, clear=-1)
    with raises(ValueError, match=f"scope of {name} is (market|asset or instrument)"):
        Engine([Rule(name="x", metric=name, fires="below", rows={ALL: row}, scope=scope)])


def test_an_instrument_that_is_forgotten_takes_its_rules_along():
    engine = Engine([EACH, TOTAL], VENUES)
    for hour in range(27):
        now = START + hour * HOUR
        if hour < 1:
            engine.feed(oi("okx", now, 10.0))
        engine.feed(oi("bybit", now, 10.0))
        engine.feed(Tick(seen=now))
    assert b"okx/BTCUSDT" not in engine.dump()
    assert b"bybit/BTCUSDT" in engine.dump()


# ── baselines ──


def test_what_is_usual_at_an_hour_is_known_after_days_of_it():
    rules = [quick_rule("depth_100bp_pct_of_normal", "below", 95, watch=90)]
    engine, now = Engine(rules), START
    for day in range(7):
        for minute in range(24 * 60):
            for n in range(3):
                now = START + day * 24 * HOUR + minute * MINUTE + n * 20 * SECOND
                engine.feed(depth("binance", now, 4e6))
        engine.feed(Tick(seen=START + (day + 1) * 24 * HOUR))
    thin: list[MarketEvent | Tick] = []
    for n in range(1, 120):
        thin += [depth("binance", now + n * SECOND, 2e6), Tick(seen=now + n * SECOND)]
    alert = run(engine, thin)[0]
    assert alert.facts.hour == alert.seen // HOUR % 24
    assert alert.facts.normal_ms == 7 * 24 * HOUR
    assert alert.facts.normal_usd == approx(4e6)


# ── how many coins fall ──

FALLS = {"BTC": 1.8, "ETH": 3.0, "SOL": 3.0, "PEPE": 3.0}
SHARE = msgspec.structs.replace(
    of_market("falls", quick_rule("price_down_share_2m_pct", "above", 30, watch=45, alert=70)),
    least_fall_pct=FALLS,
)


def prices(moved, silent=(), until=300, more=()):
    """What is said of coins whose prices change at second 150, by so many %."""
    engine, alerts = Engine([SHARE], VENUES), []
    extra = dict(more)
    for n in range(until):
        now = START + n * SECOND
        events = [
            price("binance", now, 100 * (1 + pct / 100 * (n >= 150)), asset=asset)
            for asset, pct in moved.items()
            if not (asset in silent and n > 60)
        ]
        alerts += run(engine, [*events, *extra.get(n, ()), Tick(seen=now)])
    return engine, alerts


def share(engine):
    (value,) = engine.standing().values
    return value


def test_coins_that_fall_by_what_is_stated_for_them_are_one_post_of_the_market():
    fell = {"BTC": -1.9, "ETH": -2.9, "SOL": -3.1, "PEPE": 4.0, "DOGE": -20.0}
    engine, alerts = prices(fell, until=200)
    assert [(a.asset, a.turn, a.level, a.value) for a in alerts] == [
        (ALL, Turn.OPEN, Level.WATCH, 50.0)
    ]
    facts = alerts[0].facts
    assert isinstance(facts, PriceShareFacts)
    assert (facts.fallen, facts.live, facts.expected, facts.window_ms) == (2, 4, 4, 2 * MINUTE)
    assert list(facts.by_asset_pct) == ["SOL", "ETH", "BTC", "PEPE"]  # the worst first
    assert facts.least_fall_pct == FALLS
    assert share(engine).lower_bound is False


def test_a_coin_that_is_not_known_makes_it_a_lower_bound_that_ends_nothing():
    fell = {"BTC": -1.9, "ETH": -3.2, "SOL": -3.1, "PEPE": -3.5}
    engine, alerts = prices(fell, silent=("PEPE",), until=200)
    assert alerts[0].value == 75.0 and alerts[0].level is Level.ALERT
    assert share(engine).lower_bound is True
    # all that is known recovers, and nobody says that it is over
    engine, alerts = prices(fell, silent=("PEPE",), until=420)
    assert [a.turn for a in alerts] == [Turn.OPEN]
    assert share(engine).value == 0.0


def test_of_too_few_coins_nothing_is_said_but_of_what_is_exceeded():
    fell = {"BTC": -1.9, "ETH": -0.2, "SOL": -3.1, "PEPE": -3.5}
    engine, alerts = prices(fell, silent=("SOL", "PEPE"), until=200)
    assert alerts == [] and share(engine).value is None  # 25 % of four, and two are unknown
    engine, alerts = prices(fell | {"ETH": -9}, silent=("SOL", "PEPE"), until=200)
    assert [(a.level, a.value) for a in alerts] == [(Level.WATCH, 50.0)]


@mark.parametrize("fell", [{"BTC": -2}, {"BTC": -2, "ETH": -4}, {"PEPE": -9, "DOGE": -9}])
def test_one_or_two_coins_are_not_the_market(fell):
    engine, alerts = prices(fell, until=200)
    assert alerts == [] and share(engine).value is None


def test_a_coin_of_which_nothing_was_heard_yet_is_none():
    engine, alerts = prices({"BTC": -2, "ETH": -4, "SOL": -4}, until=200)
    assert [(a.value, a.facts.fallen, a.facts.live, a.facts.expected) for a in alerts] == [
        (100.0, 3, 3, 3)
    ]
    assert share(engine).lower_bound is False
    # one that is heard of afterwards changes nothing of it
    late = [(n, [price("binance", START + n * SECOND, 100, asset="PEPE")]) for n in range(180, 200)]
    assert prices({"BTC": -2, "ETH": -4, "SOL": -4}, until=200, more=late)[1] == alerts


def test_before_the_window_is_full_nothing_is_said():
    engine, _ = prices({"BTC": -2, "ETH": -4, "SOL": -4, "PEPE": -4}, until=100)
    assert share(engine).value is None


def test_a_restart_changes_nothing_of_it():
    engine, _ = prices({"BTC": -2, "ETH": -4, "SOL": -4}, until=200)
    assert share(engine).value == 100.0
    again = Engine([SHARE], VENUES)
    assert again.load(engine.dump()) == "" and again.dump() == engine.dump()
    assert share(again) == share(engine)
