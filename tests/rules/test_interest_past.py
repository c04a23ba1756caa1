"""Open interest and prices told later fill the windows of a day, where nothing was seen live."""

from collections.abc import Iterable, Mapping

import msgspec
from pytest import approx, mark

from rules.alerts import Alert
from rules.engine import Engine
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    AnyEvent,
    InterestHistory,
    OpenInterest,
    PastInterest,
    Price,
    Tick,
)
from tests.rules.facts import inverse, oi, price
from tests.rules.scenes import named, quick_rule

START = 1_790_035_200_000  # midnight
NOW = START + 25 * HOUR
RULES = [
    named("oi", quick_rule("oi_net_24h_pct", "below", -2, watch=-5, critical=-20)),
    named("price", quick_rule("price_24h_pct", "below", -2, watch=-5, critical=-20)),
    named("oi_hour", quick_rule("oi_net_1h_pct", "below", -2, watch=-5)),
]
HELD = {"binance": 80_000.0, "bybit": 40_000.0}


def held(venue: str, t: int) -> float:
    """It changes at each full hour: up by 1 %, and down by 20 % at the tenth."""
    hours = (t - START) // HOUR
    return HELD[venue] * 1.01**hours * (0.8 if hours >= 10 else 1.0)


def cost(t: int) -> float:
    return 100_000.0 * (1 - 0.004 * ((t - START) // HOUR))


def lived(
    since: int, until: int, every: int = 20 * SECOND
) -> Iterable[Price | OpenInterest | Tick]:
    for now in range(since, until, every):
        for venue in HELD:
            yield price(venue, now, cost(now))
            yield oi(venue, now + 1, held(venue, now))
        yield Tick(seen=now + 2)


def past(venue: str, since: int, until: int, now: int) -> InterestHistory:
    times = range(since // (5 * MINUTE) * 5 * MINUTE, until + 1, 5 * MINUTE)
    rows = [PastInterest(t, held(venue, t), cost(t)) for t in times]
    about = {"venue": venue, "symbol": "BTCUSDT", "asset": "BTC"}
    return InterestHistory(**about, at=rows[-1].at, seen=now, rows=tuple(rows))


def pasts(since: int, until: int, now: int) -> list[AnyEvent]:
    return [past(venue, since, until, now) for venue in HELD]


def engine() -> Engine:
    return Engine(RULES, tuple(HELD))


def run(target: Engine, events: Iterable[AnyEvent]) -> list[Alert]:
    return [turn for event in events for turn in target.feed(event) if isinstance(turn, Alert)]


def values(target: Engine) -> Mapping[str, float | None]:
    return {value.metric: value.value for value in target.standing(with_facts=False).values}


def interest_of(target: Engine) -> set[str]:
    """Of which contracts open interest is remembered."""
    kinds = (name.partition(":") for name in target.remembered())
    return {name for kind, _, name in kinds if kind == "open_interest"}


def floors(target: Engine) -> Mapping[str, float | None]:
    return {value.metric: value.floor_musd for value in target.standing(with_facts=False).values}


@mark.parametrize("place", [0, 3, 40, 100])
def test_windows_filled_are_as_windows_lived_through(place: int) -> None:
    whole, late = engine(), engine()
    run(whole, lived(START, NOW))
    events = [*lived(NOW - 10 * MINUTE, NOW)]
    history = pasts(START - HOUR, NOW - 10 * MINUTE, NOW - 10 * MINUTE)
    run(late, [*events[:place], *history, *events[place:], *history])
    assert values(late)["oi_net_24h_pct"] == approx(values(whole)["oi_net_24h_pct"])
    assert values(late)["price_24h_pct"] == approx(values(whole)["price_24h_pct"])
    assert floors(late)["oi_net_24h_pct"] == approx(floors(whole)["oi_net_24h_pct"])
    # 5 min are not near enough for an hour
    assert values(late)["oi_net_1h_pct"] is None
    assert values(whole)["oi_net_1h_pct"] is not None


def test_what_is_told_later_is_no_value_of_now() -> None:
    target = engine()
    turns = run(target, [*pasts(START, NOW, NOW), *(Tick(seen=NOW + s * 1000) for s in range(300))])
    assert turns == []
    assert set(values(target).values()) == {None}
    # nor with feeds that are up, before something is believed
    turns = run(target, [*lived(NOW + 5 * MINUTE, NOW + 5 * MINUTE + 20 * SECOND)])
    assert turns == []
    assert values(target)["oi_net_24h_pct"] is None


def test_a_start_in_the_middle_of_a_fall_is_judged_from_then_on() -> None:
    """8 % of the price and a fifth of what was open are gone by now: so it is said, as of now."""
    target, begin = engine(), START + 20 * HOUR
    events = [*lived(begin, begin + 3 * MINUTE)]
    turns = run(target, [*events[:4], *pasts(begin - DAY - HOUR, begin, begin), *events[4:]])
    assert {turn.metric for turn in turns} == {"price_24h_pct"}
    assert all(turn.opened_at >= begin for turn in turns)
    assert all(turn.extreme_at >= begin for turn in turns)


def test_what_was_seen_live_stays() -> None:
    target = engine()
    run(target, lived(START, NOW))
    same = engine()
    same.load(target.dump())
    lies = [
        msgspec.structs.replace(
            history,
            rows=tuple(PastInterest(row.at, row.held / 2, row.price) for row in history.rows),
        )
        for history in pasts(START, NOW, NOW)
        if isinstance(history, InterestHistory)
    ]
    run(target, lies)
    for either in (target, same):
        run(either, [Tick(seen=NOW + 1000)])
    assert values(target) == values(same)


def test_what_is_as_good_as_now_is_not_taken() -> None:
    """A slot has begun in which nothing was heard live yet: its value told is not what is open."""
    target, same = engine(), engine()
    alone = [
        e for e in lived(START, NOW - 30 * SECOND) if isinstance(e, Tick) or e.venue == "bybit"
    ]
    run(target, alone)
    same.load(target.dump())
    history = past("bybit", START, NOW, NOW + 10 * SECOND)
    newest = PastInterest(NOW, history.rows[-1].held * 0.7, cost(NOW))
    run(target, [msgspec.structs.replace(history, rows=(*history.rows[:-1], newest))])
    for either in (target, same):
        run(either, [Tick(seen=NOW + 20 * SECOND)])
    assert values(target) == values(same)
    assert values(same)["oi_net_24h_pct"] is not None


def test_lies_are_left_out() -> None:
    target, events = engine(), [*lived(NOW - MINUTE, NOW)]
    (history, _) = pasts(START, NOW, NOW)
    assert isinstance(history, InterestHistory)
    nan, inf = float("nan"), float("inf")
    rows = [
        PastInterest(NOW + DAY, 1.0, 1.0), PastInterest(NOW, 1.0, 1.0), PastInterest(-7, 1.0, 1.0),
        PastInterest(START + HOUR, nan, nan), PastInterest(START + HOUR, inf, inf),
        PastInterest(START + HOUR, 0.0, 0.0), PastInterest(START + HOUR, -1.0, -1.0),
    ]  # fmt: skip
    plain, lied = engine(), target
    run(plain, events)
    run(lied, [msgspec.structs.replace(history, rows=tuple(rows)), *events])
    assert values(lied) == values(plain)


def test_the_hole_of_a_restart_is_filled_and_no_more_is_asked_for() -> None:
    target, back = engine(), NOW - 2 * HOUR
    run(target, lived(START - HOUR, NOW - 5 * HOUR))
    assert interest_of(target) in ({f"{venue}/BTCUSDT" for venue in HELD}, set())
    again = engine()
    assert again.load(target.dump()) == ""
    events = [*lived(back, NOW)]
    run(again, [*events[:20], *pasts(NOW - 6 * HOUR, back, back + 40 * SECOND), *events[20:]])
    whole = engine()
    run(whole, lived(START - HOUR, NOW))
    assert values(again)["oi_net_24h_pct"] == approx(values(whole)["oi_net_24h_pct"])
    assert interest_of(again) == {f"{venue}/BTCUSDT" for venue in HELD}


def test_inverse_contracts_are_filled_in_usd() -> None:
    target, venue = engine(), "binance-coinm"
    usd = 5e9
    rows = tuple(
        PastInterest(t, usd * (1.25 if t < NOW - 5 * HOUR else 1.0), cost(t))
        for t in range(NOW - 25 * HOUR, NOW, 5 * MINUTE)
    )
    about = {"venue": venue, "symbol": "BTCUSD", "asset": "BTC"}
    run(target, [InterestHistory(**about, at=rows[-1].at, seen=NOW, rows=rows)])
    run(target, [past("bybit", NOW - 25 * HOUR, NOW, NOW)])  # of the same prices
    for t in range(NOW, NOW + 2 * MINUTE, 10 * SECOND):
        at_price = msgspec.structs.replace(price(venue, t, cost(t)), symbol="BTCUSD")
        run(target, [at_price, inverse(venue, t + 1, usd, cost(t)), Tick(seen=t + 2)])
    assert values(target)["oi_net_24h_pct"] == approx(-20)


def test_open_interest_is_judged_where_venues_told_no_price_of_then() -> None:
    """As Bybit's history has none: what was held counts at the price now."""
    rule = quick_rule("oi_net_24h_pct", "below", -2, watch=-5, floor_musd=10.0)
    target = Engine([rule], tuple(HELD))
    for event in pasts(NOW - 25 * HOUR, NOW, NOW):
        assert isinstance(event, InterestHistory)
        rows = tuple(
            PastInterest(t, held(event.venue, NOW) * (1.2 if t < NOW - 5 * HOUR else 1.0))
            for t in range(NOW - 25 * HOUR, NOW, 5 * MINUTE)
        )
        target.feed(msgspec.structs.replace(event, rows=rows))
    alerts = [
        alert
        for t in range(NOW, NOW + 3 * MINUTE, 10 * SECOND)
        for venue in HELD
        for alert in run(target, [price(venue, t, 100.0), oi(venue, t + 1, held(venue, NOW))])
    ]
    assert [alert.value for alert in alerts] == approx([-100 / 6])
    assert floors(target)["oi_net_24h_pct"] == approx(1.2 * sum(held(v, NOW) for v in HELD) / 1e4)
