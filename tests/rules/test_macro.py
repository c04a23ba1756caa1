"""What is no coin has a price beside the market, and is no part of it."""

from datetime import UTC, datetime
from random import Random

import msgspec
import pytest

from rules.alerts import ALL, Level
from rules.engine import Engine
from rules.macro import CLASSES, CRYPTO, FRESH, CryptoValue, MacroPrices, MacroValue
from rules.rule import Row, Rule
from rules.snapshot import MACRO_PRICE, PRICE
from rules.state import EngineDump
from streams.durations import DAY, HOUR, SECOND
from streams.events import FeedState, Kind, MacroPrice, Ms, Tick
from tests.rules.facts import START, oi, price
from tests.rules.scenes import quick_rule


def macro_price(
    asset: str,
    mark: float,
    at: Ms = START,
    *,
    day_ago: float | None = None,
    usd_24h: float = 1e6,
    symbol: str = "",
) -> MacroPrice:
    return MacroPrice(
        venue="hyperliquid", symbol=symbol or f"xyz:{asset}", asset=asset, at=at, seen=at,
        mark=mark, day_ago=day_ago, usd_24h=usd_24h,
    )  # fmt: skip


def known(*events: MacroPrice, now: Ms = START) -> dict[str, MacroValue]:
    prices = MacroPrices()
    for event in events:
        prices.take(event, event.seen)
    return {value.asset: value for value in prices.now(now)}


def test_a_price_and_its_change_are_of_one_contract() -> None:
    gold = known(
        macro_price("GOLD", 4570, day_ago=4530, usd_24h=9e7),
        macro_price("GOLD", 4574, day_ago=4574, usd_24h=2e5, symbol="cash:GOLD"),
    )["GOLD"]
    assert (gold.price, gold.symbol, gold.venue) == (4570, "xyz:GOLD", "hyperliquid")
    assert gold.change_24h_pct == pytest.approx(100 * 40 / 4530)


def test_a_contract_of_another_thing_under_the_name_does_not_speak() -> None:
    """A coin called GOLD, an index in tenths: whatever the turnover of one of two, three agree."""
    metal = [macro_price("GOLD", 4570 + n, usd_24h=4e6, symbol=f"{n}:GOLD") for n in range(3)]
    for other in (0.0231, 457.0, 5500.0):
        assert known(*metal, macro_price("GOLD", other, usd_24h=1e7))["GOLD"].price in (
            4570,
            4571,
            4572,
        )
        assert known(macro_price("GOLD", other, usd_24h=1e7), *metal)["GOLD"].symbol == "2:GOLD"
    # what differs by less is the same thing; the one with the most turnover speaks
    assert known(*metal, macro_price("GOLD", 5000, usd_24h=1e7))["GOLD"].price == 5000


def test_which_contract_speaks_does_not_depend_on_who_spoke_first() -> None:
    events = [macro_price("GOLD", 4570 + n, usd_24h=5e6, symbol=f"{n}:GOLD") for n in range(4)]
    assert known(*events) == known(*reversed(events))


@pytest.mark.parametrize(
    ("day_ago", "change"), [(None, None), (45_700.0, None), (2000.0, None), (4569.0, 0.0219)]
)
def test_a_change_is_right_or_unknown(day_ago: float | None, change: float | None) -> None:
    """A share that is split does not lose nine tenths in a day."""
    pct = known(macro_price("NVDA", 4570, day_ago=day_ago))["NVDA"].change_24h_pct
    assert pct == (None if change is None else pytest.approx(change, abs=1e-4))


def test_a_price_that_nobody_repeats_is_not_known() -> None:
    assert known(macro_price("VIX", 17), now=START + FRESH)
    assert not known(macro_price("VIX", 17), now=START + FRESH + 1)
    # one dex is gone, another one speaks
    two = (
        macro_price("VIX", 17),
        macro_price("VIX", 17.1, START + HOUR, usd_24h=5e4, symbol="km:VIX"),
    )
    assert known(*two, now=START + HOUR)["VIX"].symbol == "km:VIX"


def test_what_is_silent_for_a_day_is_forgotten() -> None:
    prices = MacroPrices()
    prices.take(macro_price("VIX", 17), START)
    prices.take(macro_price("GOLD", 4570), START + HOUR)
    prices.forget(START + DAY + 1)
    assert [*prices.quotes] == ["GOLD"]


def of_market(metric: str, fires: str, clear: float, alert: float) -> Rule:
    row = Row(levels={Level.ALERT: alert}, clear=clear)
    return Rule(name=metric, metric=metric, fires=fires, rows={ALL: row}, scope="market")  # pyright: ignore[reportArgumentType]


RULES = [
    of_market("oi_total_net_1h_pct", "below", -3, -7),
    of_market("funding_negative_share_pct", "above", 40, 60),
    quick_rule("price_1h_pct", "below", -3, alert=-5),
    quick_rule("oi_net_1h_pct", "below", -3, alert=-5),
]


def played(with_macro: bool) -> Engine:
    """Two hours of one coin; beside it something of the same name halves every minute."""
    engine = Engine(RULES, ("hyperliquid",))
    engine.feed(FeedState(venue="hyperliquid", symbol="*", kind=Kind.PRICE, seen=START, up=True))
    for step in range(720):
        now = START + step * 10 * SECOND
        for event in (
            price("hyperliquid", now, 0.5, asset="GOLD"),
            oi("hyperliquid", now, 1e6, asset="GOLD"),
            macro_price("GOLD", 4570 / (1 + step % 6), now) if with_macro else None,
            macro_price("BTC", 1.0, now, symbol="xyz:BTC") if with_macro else None,
            Tick(seen=now),
        ):
            turns = engine.feed(event) if event is not None else []
            assert turns == []
    return engine


def cents(engine: Engine) -> int:
    """The open interest of all coins together."""
    views = engine._watchlist.memory.views.values()
    return round(100 * sum(usd for view in views for usd in view.usd_held().values()))


def test_nothing_that_is_no_coin_ever_reaches_a_rule_a_total_or_a_coin_of_its_name() -> None:
    alone, beside = played(with_macro=False), played(with_macro=True)
    assert beside.standing().values == alone.standing().values
    judged = {v.metric: v.value for v in alone.standing().values}
    assert [judged[m] for m in ("oi_total_net_1h_pct", "price_1h_pct", "oi_net_1h_pct")] == [
        0,
        0,
        0,
    ]
    assert [*beside._watchlist.memory.views] == [*alone._watchlist.memory.views] == ["GOLD"]
    assert cents(beside) == cents(alone) == 1e6 * 0.5 * 100
    assert beside._routes.keys() == alone._routes.keys()
    assert [(v.asset, v.price) for v in beside.standing().macro] == [
        ("BTC", 1.0), ("GOLD", 4570 / 6)
    ]  # fmt: skip
    assert alone.standing().macro == ()
    coins = {o.asset: o.value for o in beside.observed() if o.metric == PRICE}
    others = {o.asset: o.value for o in beside.observed() if o.metric == MACRO_PRICE}
    assert coins == {"GOLD": 0.5}
    assert others == {"BTC": 1.0, "GOLD": 4570 / 6}


def test_a_restart_changes_nothing_and_an_earlier_state_has_none() -> None:
    engine = played(with_macro=True)
    again = Engine(RULES, ("hyperliquid",))
    assert again.load(engine.dump()) == ""
    assert again.standing() == engine.standing()
    assert again.dump() == engine.dump()
    fields_before = EngineDump.__struct_fields__.index("macro")
    earlier = msgspec.msgpack.decode(engine.dump())[:fields_before]
    assert again.load(msgspec.msgpack.encode(earlier)) == ""
    assert again.standing().macro == ()
    assert again.standing().values == engine.standing().values


def test_a_clock_that_was_set_back_leaves_no_price_whose_age_is_unknown() -> None:
    engine = played(with_macro=True)
    engine.feed(Tick(seen=START))
    assert engine.standing().macro == ()


MONDAY = int(datetime(2026, 9, 7, tzinfo=UTC).timestamp() * 1000)
WEEK = 7 * DAY


def watched(
    paths: dict[str, list[float]], hours: int, holes: frozenset[int] = frozenset(), cut: int = -1
) -> MacroPrices:
    """What is known after so many hours from a Monday on, of prices hour by hour; dumped and read
    at the hour ``cut``."""
    prices = MacroPrices()
    for hour in range(hours + 1):
        at = MONDAY + hour * HOUR + 10 * SECOND
        if hour == cut:
            prices = msgspec.msgpack.decode(msgspec.msgpack.encode(prices), type=MacroPrices)
        if hour in holes:
            continue
        for asset, path in paths.items():
            if asset != CRYPTO:
                prices.take(macro_price(asset, path[hour], at), at)
        prices.learn(at, paths[CRYPTO][hour])
    return prices


def walks(seed: int, hours: int) -> dict[str, list[float]]:
    random, paths = Random(seed), dict[str, list[float]]()
    for asset in (CRYPTO, *CLASSES[:4]):
        paths[asset] = [100.0]
        for _ in range(hours):
            paths[asset].append(paths[asset][-1] * (1 + random.gauss(0, 0.004)))
    return paths


def beside(prices: MacroPrices, paths: dict[str, list[float]], hours: int) -> CryptoValue:
    crypto = prices.beside(MONDAY + hours * HOUR + 10 * SECOND, paths[CRYPTO][hours])
    assert crypto is not None
    return crypto


@pytest.mark.parametrize("seed", range(6))
def test_crypto_beside_other_assets_and_the_weeks_in_which_it_was_the_worst(seed: int) -> None:
    hours = 24 * 7 * 4 + 24 * seed + 5
    paths = walks(seed, hours)
    if seed % 2:  # it falls in each of the last weeks
        paths[CRYPTO] = [x * 0.999**n for n, x in enumerate(paths[CRYPTO])]
    prices = watched(paths, hours)
    crypto = beside(prices, paths, hours)
    now = MONDAY + hours * HOUR + 10 * SECOND
    for span, pct in ((24, crypto.change_24h_pct), (168, crypto.change_7d_pct)):
        assert pct == pytest.approx(100 * (paths[CRYPTO][-1] / paths[CRYPTO][-1 - span] - 1))
    gold = {value.asset: value for value in prices.now(now)}[CLASSES[2]]
    path = paths[CLASSES[2]]
    assert gold.change_7d_pct == pytest.approx(100 * (path[-1] / path[-169] - 1))
    count = 0
    for monday in range(hours // 168 * 168, 167, -168):
        moves = {a: path[monday] / path[monday - 168] for a, path in paths.items()}
        if min(moves, key=lambda asset: moves[asset]) != CRYPTO:
            break
        count += 1
    assert (crypto.worst_weeks, crypto.week_known) == (count, True)
    assert crypto.may_be_more is (count == hours // 168)
    assert count or not seed % 2


def test_a_monday_that_is_a_hole_is_no_end_of_a_week() -> None:
    hours = 24 * 7 * 3 + 5
    paths = walks(1, hours)
    paths[CRYPTO] = [x * 0.998**n for n, x in enumerate(paths[CRYPTO])]
    holes = frozenset({168})
    crypto = beside(watched(paths, hours, holes), paths, hours)
    assert (crypto.worst_weeks, crypto.may_be_more) == (1, True)
    last = frozenset({504})
    assert not beside(watched(paths, hours, last), paths, hours).week_known
    assert beside(watched(paths, hours), paths, hours).worst_weeks == 3


def test_closes_are_bounded_and_outlast_a_restart() -> None:
    hours = 24 * 7 * 20
    paths = walks(2, hours)
    prices = watched(paths, hours)
    assert watched(paths, hours, cut=1_000) == prices
    of_gold = [*prices.closes[CLASSES[0]].values()]
    assert all(len(kept) <= 170 + 14 for kept in [prices.crypto, *of_gold])
    prices.set_back(MONDAY + 10 * WEEK)
    assert max(prices.crypto) == (MONDAY + 10 * WEEK) // HOUR


def test_a_price_long_after_the_hour_is_not_that_of_the_hour() -> None:
    prices = MacroPrices()
    late = MONDAY + 6 * 60 * SECOND
    prices.take(macro_price("GOLD", 4_000.0, late), late)
    prices.learn(late, 90_000.0)
    assert not prices.crypto and not prices.closes
    assert prices.beside(late, 90_000.0) is None


def test_the_engine_keeps_them_and_tells_them() -> None:
    rule = quick_rule("price_2m_pct", "below", -1, watch=-2)
    engine = Engine([rule])
    begin = MONDAY - 3 * 60 * SECOND
    for n in range(0, 27 * 60 * 60, 20):
        at = begin + n * SECOND
        events = [price("binance", at, 100.0 - n / 10_000), macro_price("GOLD", 4_000.0, at)]
        for event in (*events, Tick(seen=at)):
            engine.feed(event)
    crypto = engine.standing().crypto
    assert crypto is not None and crypto.change_24h_pct is not None
    end = (begin + 27 * HOUR - 20 * SECOND) // HOUR * HOUR
    then = 100.0 - (end - DAY - begin) / SECOND / 10_000
    now = 100.0 - (27 * 60 * 60 - 20) / 10_000
    assert crypto.change_24h_pct == pytest.approx(100 * (now / then - 1), abs=0.01)
    again = Engine([rule])
    again.load(engine.dump())
    assert again.standing().crypto == crypto
