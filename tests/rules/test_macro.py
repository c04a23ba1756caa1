"""What is no coin has a price beside the market, and is no part of it."""

import msgspec
import pytest

from rules.alerts import ALL, Level
from rules.engine import Engine
from rules.macro import FRESH, MacroPrices, MacroValue
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
