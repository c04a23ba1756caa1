"""Supports that are lost, in the engine: whether seen, told later or carried over a restart."""

import msgspec
from pytest import approx, mark

from rules.alerts import Alert, SupportFacts
from rules.engine import Engine
from rules.rule import Rule
from rules.supports import STANDS, TEN_MINUTES, watched
from streams.durations import DAY, HOUR, MINUTE
from streams.events import AnyEvent, FeedState, Kind, PriceHistory, Tick
from tests.rules.facts import START, price
from tests.rules.scenes import VENUES, quick_rule, run
from tests.rules.test_supports import FALL
from tests.rules.test_supports import START as FIRST

NAME = "support_lost_held"
STEP = 10 * MINUTE
BEGIN = START - min(FALL) * STEP
"""What is added to the times of ``FALL``, so that it begins at START."""


def rules(**named: tuple[float, ...]) -> list[Rule]:
    rule = quick_rule(NAME, "above", 0.5, watch=1.5)
    return [msgspec.structs.replace(rule, supports=named, max_gap=90_000)]


def path(first: int, last: int, dark: range = range(0)) -> list[AnyEvent]:
    """Prices of BTC each half minute of the hours ``first`` to ``last`` of ``FALL``, straight
    between its steps; in the hours ``dark`` the feed is down."""
    events: list[AnyEvent] = []
    steps = sorted(FALL)
    for at in range(START + first * HOUR, START + last * HOUR + MINUTE, 30_000):
        if (at - START) // HOUR in dark:
            if (at - START) % HOUR == 0 and (at - START) // HOUR == dark.start:
                events.append(
                    FeedState(venue="binance", symbol="*", kind=Kind.PRICE, seen=at, up=False)
                )
        else:
            place = (at - START) / STEP
            before = FALL[steps[min(int(place), len(steps) - 1)]]
            after = FALL[steps[min(int(place) + 1, len(steps) - 1)]]
            events.append(price("binance", at, before + (place % 1) * (after - before)))
        events.append(Tick(seen=at))
    return events


def history(until: int, now: int) -> PriceHistory:
    """What ``binance`` tells of the hours of ``FALL`` up to ``until``."""
    prices = tuple(x for step, x in sorted(FALL.items()) if step - FIRST <= until * 6)
    at = START + until * HOUR
    return PriceHistory(
        venue="binance", symbol="BTCUSDT", asset="BTC", at=at, seen=now, every=STEP, prices=prices
    )  # fmt: skip


def facts(engine: Engine) -> SupportFacts:
    (value,) = [v for v in engine.standing().values if v.metric == NAME]
    assert isinstance(value.facts, SupportFacts)
    return value.facts


def value(engine: Engine) -> float | None:
    (of,) = [v for v in engine.standing().values if v.metric == NAME]
    return of.value


def test_it_is_lost_after_it_held_four_times_and_told_once():
    engine = Engine(rules(), VENUES)
    alerts = [a for a in run(engine, path(0, 120)) if isinstance(a, Alert)]
    assert [(a.turn.value, a.value) for a in alerts] == [("open", 4.0)]
    assert isinstance(of := alerts[0].facts, SupportFacts) and of.lost is not None
    direct = watched({step: x for step, x in FALL.items() if step * STEP + BEGIN <= alerts[0].at})
    assert direct is not None and (lost := direct.lost()) is not None
    assert of.lost.level == lost.level == 80_000
    assert of.lost.rebounds_pct == approx(lost.rebounds_pct, abs=0.01)
    assert of.lost.lost_at == (lost.lost_at or 0) + BEGIN
    assert of.lost.first_at == lost.tests[0].at + BEGIN
    assert START <= of.since <= START + STEP
    # it is told within two prices and a minute
    assert alerts[0].at - of.lost.lost_at <= 2 * MINUTE


def test_a_day_later_it_ends():
    engine = Engine(rules(), VENUES)
    run(engine, path(0, 120))
    low = [price("binance", START + 120 * HOUR + n * 30_000, 78_400.0) for n in range(1, 2_900)]
    ticks = [Tick(seen=event.seen) for event in low]
    events = [event for both in zip(low, ticks, strict=True) for event in both]
    alerts = [a for a in run(engine, events) if isinstance(a, Alert)]
    assert [a.turn.value for a in alerts] == ["close"] and value(engine) == 0
    assert STANDS * STEP == DAY


def test_it_is_unknown_until_a_day_was_watched_and_frozen_in_a_hole():
    engine = Engine(rules(), VENUES)
    run(engine, path(0, 23))
    assert value(engine) is None
    run(engine, path(23, 26))
    assert value(engine) == 0
    run(engine, path(26, 30, dark=range(27, 30)))
    assert value(engine) is None


def test_what_a_venue_tells_of_before_is_as_good():
    seen, filled = Engine(rules(), VENUES[:1]), Engine(rules(), VENUES[:1])
    run(seen, path(0, 115))
    run(filled, path(114, 115))
    assert value(filled) is None and value(seen) == 0
    run(filled, [history(114, START + 115 * HOUR + MINUTE)])
    assert (now := facts(filled).standing) is not None and (
        live := facts(seen).standing
    ) is not None
    assert (now.level, now.tests, now.first_at) == (live.level, live.tests, live.first_at)
    assert now.rebounds_pct == approx(live.rebounds_pct, abs=0.01)
    ends = [run(engine, path(115, 120)) for engine in (seen, filled)]
    assert [[a.value for a in end if isinstance(a, Alert)] for end in ends] == [[4.0], [4.0]]


def test_levels_of_the_operators_own_count_too():
    engine = Engine(rules(BTC=(82_000.0,)), VENUES)
    run(engine, path(0, 113))
    levels = {of.level for of in (facts(engine).standing, facts(engine).lost) if of}
    other = Engine(rules(ETH=(82_000.0,)), VENUES)
    run(other, path(0, 113))
    assert 82_000 not in {of.level for of in (facts(other).standing, facts(other).lost) if of}
    memo = engine._watchlist.memory.views["BTC"].memo(TEN_MINUTES)  # pyright: ignore[reportPrivateUsage]
    assert memo is not None
    own = memo.watched(START + 113 * HOUR + MINUTE, (82_000.0,))
    assert own is not None and 82_000 in {s.level for s in own.supports}
    assert levels


@mark.parametrize("cut", [20, 60, 85, 104, 118])
def test_a_restart_anywhere_changes_nothing(cut: int):
    straight = Engine(rules(), VENUES)
    whole = run(straight, path(0, cut)) + run(straight, path(cut, 120))
    first, second = Engine(rules(), VENUES), Engine(rules(), VENUES)
    alerts = run(first, path(0, cut))
    assert second.load(first.dump()) == ""
    alerts += run(second, path(cut, 120))
    assert alerts == whole and second.dump() == straight.dump()


def test_a_restart_after_days_takes_up_where_it_was():
    engine = Engine(rules(), VENUES[:1])
    run(engine, path(0, 60))
    assert not engine.remembered().get(f"{Kind.PRICE}:binance/BTCUSDT")  # a month is not known
    later = Engine(rules(), VENUES[:1])
    later.load(engine.dump())
    run(later, path(110, 111))
    run(later, [history(110, START + 111 * HOUR + MINUTE)])
    assert (of := facts(later).standing) is not None and (of.level, of.tests) == (80_000, 4)
