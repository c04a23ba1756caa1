"""Prices told later fill returns, highs and windows, where nothing was seen live."""

from collections.abc import Iterable, Mapping
from functools import cache
from math import exp, nan
from random import Random

import msgspec
from pytest import approx, mark

from rules.alerts import ALL, Alert
from rules.engine import Engine
from rules.highs import PRICE_HIGH, High
from rules.metrics.volatility import A_YEAR
from rules.returns import RETURNS, STEP, Returns
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Price, PriceHistory, Tick
from tests.rules.facts import oi, price
from tests.rules.scenes import named, of_market, quick_rule

START = 1_790_035_200_000  # midnight
NOW = START + 7 * DAY + 3 * HOUR + 20 * MINUTE
COINS = {f"C{n}": 10.0 ** (n - 1) for n in range(5)}
VENUES = ("binance", "bybit")
FACTOR = {"binance": 1.0, "bybit": 1.001}
RULES = [
    named("week", quick_rule("volatility_7d_pct", "above", 1000, watch=9_000)),
    named("month", quick_rule("volatility_30d_pct", "above", 1000, watch=9_000)),
    named("high", quick_rule("drawdown_price_pct", "below", -1, watch=-90)),
    named("day", quick_rule("price_24h_pct", "below", -1, watch=-90)),
    of_market("top", quick_rule("correlation_top10_7d", "above", 0.99, watch=2)),
]


@cache
def walk(coin: str) -> Mapping[int, float]:
    """A price for each ten minutes of forty days."""
    market, own = Random(1), Random(coin)
    first, value = START - 31 * DAY, COINS[coin]
    prices: dict[int, float] = {}
    for at in range(first, first + 40 * DAY, STEP):
        value *= exp(market.gauss(0, 0.002) + own.gauss(0, 0.001))
        prices[at] = value
    return prices


def markets(coin: str, venues: Iterable[str] = VENUES) -> Iterable[str]:
    """One coin is on both venues."""
    return venues if coin == "C0" else VENUES[:1]


def cost(coin: str, venue: str, t: int) -> float:
    """What it was at the last full ten minutes it is until the next ones are over."""
    return walk(coin)[-(-t // STEP) * STEP] * FACTOR[venue]


def lived(since: int, until: int) -> Iterable[AnyEvent]:
    for now in range(since, until, MINUTE):
        for coin in COINS:
            for venue in markets(coin):
                yield price(venue, now, cost(coin, venue, now), asset=coin)
                if now % HOUR == 0 or now == since:
                    held = 1e6 / COINS[coin]
                    yield oi(venue, now, held, held * COINS[coin], asset=coin)
        yield Tick(seen=now + 2)


def past(
    coin: str, venue: str, since: int, until: int, now: int, every: int = STEP
) -> PriceHistory:
    until = until // every * every
    times = range(-(-since // every) * every, until + 1, every)
    prices = tuple(cost(coin, venue, t) for t in times)
    about = {"venue": venue, "symbol": f"{coin}USDT", "asset": coin}
    return PriceHistory(**about, at=until, seen=now, every=every, prices=prices)


def pasts(since: int, until: int, venues: Iterable[str] = VENUES) -> list[AnyEvent]:
    """As they come: of a month, and of the last day each five minutes."""
    return [
        past(coin, venue, max(since, until - reach), until, until, every)
        for coin in COINS
        for venue in markets(coin, venues)
        for every, reach in ((STEP, 40 * DAY), (5 * MINUTE, 25 * HOUR))
    ]


def engine() -> Engine:
    return Engine(RULES, VENUES)


def run(target: Engine, events: Iterable[AnyEvent]) -> list[Alert]:
    return [turn for event in events for turn in target.feed(event) if isinstance(turn, Alert)]


def values(target: Engine) -> dict[tuple[str, str], float | None]:
    return {(v.metric, v.asset): v.value for v in target.standing(with_facts=False).values}


def returns(target: Engine, coin: str = "C0") -> Returns:
    memo = target._watchlist.memory.view(coin).memo(RETURNS)
    assert memo is not None
    return memo


def high(target: Engine, coin: str = "C0") -> High:
    memo = target._watchlist.memory.view(coin).memo(PRICE_HIGH)
    assert memo is not None
    return memo


@cache
def whole() -> Mapping[tuple[str, str], float | None]:
    target = engine()
    run(target, lived(START, NOW))
    return values(target)


@mark.parametrize(
    ("place", "venues", "parts"),
    [(20, VENUES, 1), (100, ("bybit",), 1), (-1, VENUES[::-1], 3)],
    ids=["first", "one venue", "last, in parts"],
)
def test_history_filled_is_history_lived_through(
    place: int, venues: tuple[str, ...], parts: int
) -> None:
    late, begin = engine(), NOW - 25 * MINUTE
    events = [*lived(begin, NOW)]
    place %= len(events)
    now = events[place].seen
    history = [
        event
        for n in range(parts)  # of the newest first, with what is known once more
        for event in pasts(START + (parts - 1 - n) * 7 * DAY // parts, now, venues)
    ]
    turns = run(late, [*events[:place], *history, *events[place:]])
    if place == len(events) - 1:  # the hour is looked at again once
        turns += run(late, [Tick(seen=NOW + s * SECOND) for s in range(-57, 0)])
    assert turns == []
    seen, expected = values(late), whole()
    assert expected["volatility_7d_pct", "C0"] and expected["correlation_top10_7d", ALL]
    for (metric, asset), value in expected.items():
        filled = seen[metric, asset]
        if metric == "price_24h_pct" and (asset != "C0" or len(venues) == 1):
            value = None  # a window has what two exchanges tell
        assert filled == (None if value is None else approx(value, rel=1e-5, abs=1e-6)), metric


def test_a_month_is_the_formula_over_what_was_told() -> None:
    target, begin, since = engine(), NOW - 25 * MINUTE, NOW - MINUTE
    run(target, [*lived(begin, since), *pasts(NOW - 31 * DAY, since), *lived(since, NOW)])
    steps = range(NOW // HOUR * 6 - 30 * 144 + 1, (NOW - MINUTE - 40 * SECOND) // STEP + 1)
    prices = walk("C0")
    squares = [(prices[n * STEP] / prices[(n - 1) * STEP] - 1) for n in steps]
    expected = 100 * (sum(x * x for x in squares) / (len(squares) - 1) * A_YEAR) ** 0.5
    assert values(target)["volatility_30d_pct", "C0"] == approx(expected, rel=1e-3)
    assert high(target).began <= NOW - 30 * DAY


def test_prices_told_later_are_none_of_now_and_open_nothing() -> None:
    target = engine()
    assert run(target, pasts(NOW - 31 * DAY, NOW)) == []  # of contracts that nobody has heard of
    assert run(target, [Tick(seen=NOW + s * SECOND) for s in range(100)]) == []
    assert set(values(target).values()) == {None}
    assert returns(target).squares(30).known == 0
    begin = NOW + 5 * MINUTE
    run(target, [*lived(begin, begin + 2 * MINUTE), *pasts(NOW - 31 * DAY, begin + MINUTE)])
    run(target, [Tick(seen=begin + 2 * MINUTE + s * SECOND) for s in range(300)])
    assert values(target)["volatility_7d_pct", "C0"] is None  # the feeds are silent
    assert values(target)["drawdown_price_pct", "C0"] is None


def test_what_was_seen_live_stays() -> None:
    begin = NOW - 3 * HOUR - 17 * MINUTE
    target, same = engine(), engine()
    run(target, lived(begin, NOW))
    same.load(target.dump())
    lies = [
        msgspec.structs.replace(
            event, prices=tuple(x * (5 if n % 2 else 1) for n, x in enumerate(event.prices[:-1]))
            + event.prices[-1:],
        )
        for event in pasts(begin - 2 * HOUR, NOW)
        if isinstance(event, PriceHistory)
    ]  # fmt: skip
    run(target, lies)
    hour = begin // HOUR
    for later in range(hour + 1, hour + 3):
        assert returns(target).move(later) == returns(same).move(later) is not None
    assert returns(target).move(hour - 1) is not None
    assert returns(same).move(hour - 1) is None
    assert returns(target).squares(7).known > returns(same).squares(7).known + 6
    assert high(same).value < high(target).value  # of before it was watched alone
    assert high(target).at < begin


@mark.parametrize("times", [1000, 0.001, 1.3, 0.7])
def test_prices_of_another_coin_or_in_another_unit_are_refused(times: float) -> None:
    target = engine()
    run(target, lived(NOW - 5 * MINUTE, NOW))
    same = engine()
    same.load(target.dump())
    for event in pasts(NOW - DAY, NOW):
        assert isinstance(event, PriceHistory)
        prices = tuple(x and x * times for x in event.prices)
        run(target, [msgspec.structs.replace(event, prices=prices)])
    for either in (target, same):
        run(either, [Tick(seen=NOW + SECOND)])
    assert target.dump() == same.dump()


@mark.parametrize("times", [1.12, 0.9])
def test_a_past_that_does_not_go_on_in_what_is_live_fills_nothing_until_two_tell_it(
    times: float,
) -> None:
    target = engine()
    run(target, lived(NOW - 5 * MINUTE, NOW))
    same = engine()
    same.load(target.dump())
    events = [
        msgspec.structs.replace(event, prices=tuple(x and x * times for x in event.prices))
        for event in (past("C0", venue, NOW - DAY, NOW, NOW) for venue in markets("C0"))
    ]
    assert len({event.venue for event in events}) > 1
    run(target, events[:1])
    for either in (target, same):
        run(either, [Tick(seen=NOW + SECOND)])
    assert target.dump() == same.dump()
    run(target, events[1:])
    assert returns(target).dump() != returns(same).dump()


def test_what_is_another_coin_fills_its_own_windows_alone() -> None:
    """A second C0 at three times the price: no return of C0, nor its high."""
    target = engine()
    about = {"venue": "okx", "symbol": "C0-USDT-SWAP", "asset": "C0"}
    for event in lived(NOW - 12 * MINUTE, NOW):
        other = (
            [Price(**about, at=event.seen, seen=event.seen, mark=0.3, index=0.3)]
            if isinstance(event, Tick)
            else []
        )
        run(target, [*other, event])
    same = target.dump()
    prices = tuple(0.3 + n / 1000 for n in range(144, -1, -1))
    at = NOW // STEP * STEP
    run(target, [PriceHistory(**about, at=at, seen=NOW, every=STEP, prices=prices)])
    before = engine()
    before.load(same)
    assert returns(target).dump() == returns(before).dump()
    assert high(target).dump() == high(before).dump()


def test_lies_are_left_out() -> None:
    target = engine()
    run(target, lived(NOW - 5 * MINUTE, NOW))
    same = target.dump()
    event = past("C0", "binance", NOW - DAY, NOW, NOW)
    lies = (nan, float("inf"), -1.0, 0.0, None)
    for changes in (
        {"prices": tuple(lies[n % 5] for n in range(100))},
        {"prices": ()},
        {"every": 0},
        {"every": -STEP},
        {"at": NOW + 60 * DAY},
        {"at": -NOW},
        {"asset": "NOBODY", "symbol": "NOBODY", "prices": (1.0, 2.0)},
    ):
        run(target, [msgspec.structs.replace(event, **changes)])
    before = engine()
    before.load(same)
    assert returns(target).dump() == returns(before).dump()
    assert high(target).dump() == high(before).dump()


def test_the_hole_of_a_restart_is_asked_for_and_filled() -> None:
    target = engine()
    run(target, [*lived(START, START + 3 * MINUTE), *pasts(START - 31 * DAY, START + 2 * MINUTE)])
    run(target, lived(START + 3 * MINUTE, START + 2 * HOUR))
    name, down = "price:bybit/C0USDT", START + 2 * HOUR
    assert target.remembered()[name] >= down - 20 * MINUTE
    again, back = engine(), START + 7 * HOUR + 3 * MINUTE
    assert again.load(target.dump()) == ""
    run(again, lived(back, back + 14 * MINUTE))
    until = again.remembered()[name]
    assert down - 20 * MINUTE <= until <= down
    now = back + 14 * MINUTE
    run(again, [*pasts(until - 30 * MINUTE, now), *lived(now, now + 3 * MINUTE)])
    assert again.remembered()[name] >= back
    hour = START // HOUR + 4
    moved = walk("C0")[START + 5 * HOUR] / walk("C0")[START + 4 * HOUR]
    assert exp(returns(again).move(hour) or 0) == approx(moved, rel=1e-6)
    restarted = engine()
    assert restarted.load(again.dump()) == ""
    assert restarted.dump() == again.dump()


def test_where_nobody_wants_prices_none_are_asked_for() -> None:
    target = Engine([named("oi", quick_rule("oi_net_1h_pct", "below", -1, watch=-90))], VENUES)
    run(target, lived(NOW - MINUTE, NOW))
    assert target.remembered()["price:binance/C0USDT"] >= NOW - MINUTE


def test_a_coin_of_which_little_is_known_is_asked_for_whole() -> None:
    target = engine()
    run(target, [*lived(NOW - 9 * MINUTE, NOW), *pasts(NOW - 5 * DAY, NOW)])
    assert not any(key.startswith("price:") for key in target.remembered())
