"""The clock that stamps events is set back: a hole, told once, and nobody is deaf till then."""

from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType

import msgspec
from pytest import approx, mark

from rules.alerts import Alert, Notice, Turn
from rules.engine import SET_BACK, Engine
from rules.windows import Hours
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, FaultCode, Kind, Ms, Tick, fault
from tests.rules.facts import START, depth, feed, liquidation, oi, predicted, price, settled
from tests.rules.scenes import RULES, VENUES, feed_all, loaded, quick_rule, value, warm

HOURS_BACK = [3 * HOUR, 8 * HOUR, 61 * SECOND, 400 * 24 * HOUR]


def liq_rule():
    return quick_rule("liq_2m_musd", "above", 1, watch=2, alert=4, critical=8)


def ticks(engine: Engine, since: Ms, seconds: int, *others: AnyEvent) -> list:
    due = sorted([*(Tick(seen=since + n * SECOND) for n in range(seconds)), *others],
                 key=lambda event: event.seen)  # fmt: skip
    return feed_all(engine, due)


def liquidations(since: Ms, count: int, usd: float = 250_000.0) -> list[AnyEvent]:
    return [liquidation("bybit", since + n * 5 * SECOND, usd) for n in range(count)]


def notices(outputs: list) -> list[Notice]:
    return [output for output in outputs if isinstance(output, Notice) and output.fault is not None]


@mark.parametrize("back", HOURS_BACK)
def test_130_seconds_on_a_clock_set_back(back: Ms) -> None:
    """25 liquidations of $0.25M over two minutes before, and 25 after: no sum of all of them."""
    engine = Engine([liq_rule()], VENUES)
    up = feed("bybit", Kind.LIQUIDATION, START, up=True)
    before = ticks(engine, START, 130, up, *liquidations(START, 25))
    assert {Turn.OPEN, Turn.UP, Turn.WORSE} == {alert.turn for alert in before}
    assert value(engine, "liq_2m_musd") == approx(5.75, abs=0.3)

    then = START + 130 * SECOND - back
    after = ticks(engine, then, 130, *liquidations(then, 25))
    (notice,) = notices(after)
    assert (notice.fault, notice.seen) == (FaultCode.CLOCK_HOLE, then)
    assert notice.reason == {
        3 * HOUR: "by 3 h", 8 * HOUR: "by 8 h", 61 * SECOND: "by 60 s",
    }.get(back, "by 9,600 h")  # fmt: skip
    assert [
        output for output in after if isinstance(output, Alert)
    ] == []  # no "worse" of a sum of both
    assert value(engine, "liq_2m_musd") == approx(6.0, abs=0.3)

    quiet = ticks(engine, then + 130 * SECOND, 200)
    assert [alert.turn for alert in quiet] == [Turn.CLOSE]
    assert quiet[0].seen < then + 130 * SECOND + 3 * MINUTE


@mark.parametrize("restarted", [False, True])
def test_a_clock_8_h_ahead_for_15_s_leaves_nobody_deaf(restarted: bool) -> None:
    engine = Engine([liq_rule()], VENUES)
    ticks(engine, START, 60, feed("bybit", Kind.LIQUIDATION, START, up=True))
    ticks(engine, START + 60 * SECOND + 8 * HOUR, 15)
    if restarted:
        dumped, engine = engine.dump(), Engine([liq_rule()], VENUES)
        assert engine.load(dumped) == ""
    then = START + 75 * SECOND
    outputs = ticks(engine, then, 130, *liquidations(then, 25))
    assert [notice.fault for notice in notices(outputs)] == [FaultCode.CLOCK_HOLE]
    alerts = [output for output in outputs if isinstance(output, Alert)]
    assert alerts[0].turn is Turn.OPEN
    assert all(then <= alert.seen < then + 130 * SECOND for alert in alerts)
    # the same as if there had been no such clock
    plain = Engine([liq_rule()], VENUES)
    ticks(plain, START, 75, feed("bybit", Kind.LIQUIDATION, START, up=True))
    assert ticks(plain, then, 130, *liquidations(then, 25)) == alerts


def test_forwards_is_no_step() -> None:
    engine = Engine([liq_rule()], VENUES)
    ticks(engine, START, 60, feed("bybit", Kind.LIQUIDATION, START, up=True))
    outputs = ticks(engine, START + 8 * HOUR, 130, *liquidations(START + 8 * HOUR, 25))
    assert notices(outputs) == []
    assert Turn.UP in [output.turn for output in outputs if isinstance(output, Alert)]


def test_a_tick_a_little_late_is_no_step() -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    engine.feed(Tick(seen=now + SET_BACK))
    outputs = feed_all(engine, [Tick(seen=now)])
    assert notices(outputs) == []
    assert value(engine, "oi_net_2m_pct") is not None


@mark.parametrize("back", [61 * SECOND, 24 * HOUR])
def test_what_is_usual_at_each_hour_stays_and_the_rest_is_measured_anew(back: Ms) -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    then = now - back
    feed_all(engine, [Tick(seen=now), Tick(seen=then)])
    assert value(engine, "oi_net_2m_pct") is None
    assert value(engine, "price_2m_pct") is None
    assert value(engine, "depth_100bp_pct_of_recent") is None
    events: list[AnyEvent] = []
    for n in range(150):
        events += [depth(venue, then + n * SECOND, 2.2e6) for venue in VENUES]
        events.append(Tick(seen=then + n * SECOND))
    feed_all(engine, events)
    assert value(engine, "depth_100bp_pct_of_normal") == approx(100, abs=1)


@mark.parametrize("back", HOURS_BACK)
def test_an_open_episode_stays_open_and_ends_by_the_new_clock(back: Ms) -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    low = [d for n in range(120) for d in thin(now + n * SECOND, 0.9e6)]
    opened = [a.rule for a in feed_all(engine, low) if isinstance(a, Alert)]
    assert opened
    then = now + 120 * SECOND - back
    outputs = feed_all(engine, [d for n in range(60) for d in thin(then + n * SECOND, 0.9e6)])
    assert [
        output for output in outputs if getattr(output, "turn", None) in (Turn.OPEN, Turn.CLOSE)
    ] == []
    usual = [d for n in range(5, 180) for d in thin(then + n * 12 * SECOND, 4e6)]
    closed = [a for a in feed_all(engine, usual) if getattr(a, "turn", None) is Turn.CLOSE]
    assert "depth_below" in {alert.rule for alert in closed}
    assert all(alert.opened_at > now for alert in closed)


def thin(seen: Ms, usd: float) -> list[AnyEvent]:
    return [*(depth(venue, seen, usd) for venue in VENUES), Tick(seen=seen)]


def test_a_restart_after_the_step_changes_nothing() -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    then = now - 3 * HOUR
    feed_all(engine, [Tick(seen=now), Tick(seen=then)])
    again = loaded(engine.dump())
    events = [d for n in range(1, 90) for d in thin(then + n * SECOND, 0.9e6)]
    assert feed_all(engine, events) == feed_all(again, events)
    assert engine.dump() == again.dump()


@mark.parametrize("late", [61 * SECOND, 50 * MINUTE])
def test_a_settlement_is_taken_though_our_clock_is_late(late: Ms) -> None:
    engine = Engine([msgspec.structs.replace(RULES[0])], VENUES)
    then = START - late
    feed_all(engine, [Tick(seen=then), oi("binance", then, 1e5, 1e8)])
    feed_all(engine, [settled("binance", START, -0.0005, seen=then)])
    assert value(engine, "funding_8h_pct") == approx(-0.05)


def test_a_settlement_of_another_day_is_refused() -> None:
    engine = Engine([RULES[0]], VENUES)
    far = START + 24 * HOUR
    feed_all(engine, [Tick(seen=START), oi("binance", START, 1e5, 1e8)])
    feed_all(engine, [settled("binance", far, -0.0005, seen=START)])
    feed_all(engine, [settled("binance", START, 0.0001, seen=START)])
    assert value(engine, "funding_8h_pct") == approx(0.01)


NAMES = {
    "Episode.opened_at", "ConditionMatch.opened_at", "Worst.opened_at", "CompositeState.fired_at",
    "CompositeState.history",
}  # fmt: skip
"""Times that are part of a name."""

VENUES_TIMES = {
    "Episode.settled_at", "Market.settled", "Trail.runs", "Trail.run_end", "Trail.last",
    "Compared.dated",
}  # fmt: skip
"""Times by the venues' clocks: settlements, and when a number is of."""

SCHEDULED: Ms = 2 * 24 * HOUR
"""The engine plans nothing further ahead."""


def times(obj: object, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Ms]]:
    """Everything below ``obj`` that may be a time since START, with ``Class.field``."""
    seen = set() if seen is None else seen
    if isinstance(obj, int):
        if not isinstance(obj, bool) and START <= obj < 2 * START:
            yield path, obj
        return
    if isinstance(obj, str | bytes | bytearray | float | type(None)) or id(obj) in seen:
        return
    seen.add(id(obj))
    if isinstance(obj, Mapping):
        for key, value in obj.items():
            yield from times(key, path, seen)
            yield from times(value, path, seen)
    elif isinstance(obj, Iterable):
        for value in obj:
            yield from times(value, path, seen)
    if isinstance(obj, Hours):
        yield "Hours.newest", obj._ring.newest * HOUR
    if type(obj).__module__.startswith(("rules.", "streams.")) and not isinstance(
        obj, FunctionType | type
    ):
        slots = [name for base in type(obj).__mro__ for name in getattr(base, "__slots__", ())]
        names = slots or getattr(obj, "__dict__", ())
        fields = getattr(obj, "__struct_fields__", names)
        for name in fields:
            if hasattr(obj, name):
                yield from times(getattr(obj, name), f"{type(obj).__name__}.{name}", seen)


def crowded() -> tuple[Engine, Ms]:
    """An engine that remembers something everywhere: episodes, composites, another coin of the
    same name, an open interest that is doubted, faults that are not told yet."""
    engine, now = loaded(warm()[0]), warm()[1]
    events: list[AnyEvent] = []
    for n in range(1, 150):
        t = now + n * SECOND
        crash = 1.0 if n < 60 else 0.55
        for rank, venue in enumerate(VENUES):
            events += [depth(venue, t, 4e6 / (1 + rank) * crash),
                       price(venue, t, 100 * crash if rank else 100.0 * crash),
                       price(venue, t, 1.0 if rank == 2 else 30.0, asset="ETH"),
                       predicted(venue, t, -0.0004)]  # fmt: skip
            if n % 5 == 0:
                odd = 0.2 if n > 130 else crash
                events.append(oi(venue, t, 1e5 / (1 + rank) * odd, 1e8 / (1 + rank) * odd))
        if n > 60:
            events.append(liquidation("bybit", t, 4e5))
        events.append(Tick(seen=t))
    outputs = feed_all(engine, events)
    assert {alert.rule for alert in outputs if isinstance(alert, Alert)} >= {"cascade", "any_two"}
    engine.feed(fault(FaultCode.CONTRACT_MISSING, t, venue="bybit", subject="X"))
    return engine, t


@mark.parametrize("restarted", [False, True])
@mark.parametrize("back", [10 * 24 * HOUR, 400 * 24 * HOUR])
def test_after_a_step_back_nothing_that_is_remembered_lies_ahead(back: Ms, restarted: bool) -> None:
    engine, now = crowded()
    known = {path for path, at in times(engine)}
    assert known >= {
        "Engine._compare_at", "Engine._sweep_at", "FeedUptime.since", "FeedUptime.seen",
        "Likeness.since", "Interest.recent", "Interest.odd", "Interest.odd_since", "Episode.since",
        "Episode.extreme_at", "Episode.last_live", "Episode.posted_at", "Trail.peaks", "Trail.due",
        "CompositeState.most_at", "ConditionMatch.at", "Worst.extreme_at", "News.since",
        "Fault.seen", "Faults.standing", "FeedHealth.since", "Feeds.ticked", "Feeds.scan_at",
        "RuleInstance.since", "MetricInstance.due", "Market.predicted", "PriceWindow.seen",
        "DepthSamples._times", "DepthSamples._held_since", "Excursion.at", "Hours.newest",
    } - NAMES  # fmt: skip
    if restarted:
        engine = loaded(engine.dump())
    then = now - back
    engine.feed(Tick(seen=then))
    ahead = {path for path, at in times(engine) if at > then + SCHEDULED}
    assert ahead - NAMES - VENUES_TIMES == set()


def test_the_end_of_a_composite_is_told_under_the_name_of_its_beginning() -> None:
    engine, now = crowded()
    then = now - 3 * HOUR
    calm: list[AnyEvent] = [Tick(seen=then)]
    for n in range(1, 300):
        t = then + n * SECOND
        calm += [depth(venue, t, 4e6) for venue in VENUES]
        calm += [*(price(venue, t, 55.0) for venue in VENUES), Tick(seen=t)]
    ends = [a for a in feed_all(engine, calm) if isinstance(a, Alert) and a.turn is Turn.CLOSE]
    cascade = next(alert for alert in ends if alert.rule == "cascade")
    assert now - 90 * SECOND < cascade.opened_at <= now


@mark.parametrize("back", [3 * HOUR, 30 * 24 * HOUR])
def test_another_coin_of_the_name_is_found_at_once_after_a_step_back(back: Ms) -> None:
    engine, now = Engine([liq_rule()], VENUES), START
    for venue in VENUES:
        engine.feed(feed(venue, Kind.PRICE, now, up=True))

    def prices(since: Ms, seconds: int) -> list[AnyEvent]:
        return [
            event
            for n in range(seconds)
            for event in (
                price("binance", since + n * SECOND, 30.0),
                price("bybit", since + n * SECOND, 30.0),
                price("hyperliquid", since + n * SECOND, 1.0),
                Tick(seen=since + n * SECOND),
            )
        ]  # fmt: skip

    feed_all(engine, prices(now, 30))
    outputs = feed_all(engine, prices(now + 30 * SECOND - back, 180))
    assert FaultCode.TICKER_SHARED in [notice.fault for notice in notices(outputs)]
    strangers = feed_all(engine, prices(now + 210 * SECOND - 2 * back, 180))
    assert FaultCode.TICKER_SHARED not in [notice.fault for notice in notices(strangers)]


@mark.parametrize("back", [3 * HOUR, 8 * HOUR])
def test_a_doubted_open_interest_is_believed_30_s_after_a_step_back(back: Ms) -> None:
    engine = Engine([quick_rule("oi_net_2m_pct", "below", -1, alert=-4)], VENUES)
    engine.feed(feed("binance", Kind.OPEN_INTEREST, START, up=True))
    feed_all(engine, [oi("binance", START + n * SECOND, 1e5) for n in range(0, 60, 5)])
    feed_all(engine, [oi("binance", START + 60 * SECOND, 4e4), Tick(seen=START + 61 * SECOND)])
    then = START + 62 * SECOND - back
    feed_all(engine, [Tick(seen=then)])
    events: list[AnyEvent] = []
    for n in range(0, 300, 5):
        events += [oi("binance", then + n * SECOND, 4e4), Tick(seen=then + n * SECOND)]
    feed_all(engine, events)
    assert value(engine, "oi_net_2m_pct") == approx(0, abs=0.01)
