"""The clock that stamps events is set back: a hole, told once, and nobody is deaf till then."""

import msgspec
from pytest import approx, mark

from rules.alerts import Alert, Notice, Turn
from rules.engine import SET_BACK, Engine
from streams.events import AnyEvent, FaultCode, Kind, Ms, Tick
from tests.rules.facts import HOUR, MINUTE, SECOND, START, depth, feed, liquidation, oi, settled
from tests.rules.scenes import RULES, VENUES, loaded, one, said, warm

HOURS_BACK = [3 * HOUR, 8 * HOUR, 61 * SECOND, 400 * 24 * HOUR]


def liq_rule():
    return one("liq_2m_musd", "above", 1, watch=2, alert=4, critical=8)


def ticks(engine: Engine, since: Ms, seconds: int, *others: AnyEvent) -> list:
    due = sorted([*(Tick(seen=since + n * SECOND) for n in range(seconds)), *others],
                 key=lambda event: event.seen)  # fmt: skip
    return said(engine, due)


def liquidations(since: Ms, count: int, usd: float = 250_000.0) -> list[AnyEvent]:
    return [liquidation("bybit", since + n * 5 * SECOND, usd) for n in range(count)]


def value(engine: Engine, metric: str, asset: str = "BTC") -> float | None:
    return next(
        v.value for v in engine.standing(False).values if (v.metric, v.asset) == (metric, asset)
    )


def notices(told: list) -> list[Notice]:
    return [one for one in told if isinstance(one, Notice) and one.fault is not None]


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
    assert (notice.fault, notice.seen) == (FaultCode.CLOCK_SET_BACK, then)
    assert notice.reason == {
        3 * HOUR: "by 3 h", 8 * HOUR: "by 8 h", 61 * SECOND: "by 60 s",
    }.get(back, "by 9600 h")  # fmt: skip
    assert [one for one in after if isinstance(one, Alert)] == []  # no "worse" of a sum of both
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
    told = ticks(engine, then, 130, *liquidations(then, 25))
    assert [one.fault for one in notices(told)] == [FaultCode.CLOCK_SET_BACK]
    alerts = [one for one in told if isinstance(one, Alert)]
    assert alerts[0].turn is Turn.OPEN
    assert all(then <= alert.seen < then + 130 * SECOND for alert in alerts)
    # the same as if there had been no such clock
    plain = Engine([liq_rule()], VENUES)
    ticks(plain, START, 75, feed("bybit", Kind.LIQUIDATION, START, up=True))
    assert ticks(plain, then, 130, *liquidations(then, 25)) == alerts


def test_forwards_is_no_step() -> None:
    engine = Engine([liq_rule()], VENUES)
    ticks(engine, START, 60, feed("bybit", Kind.LIQUIDATION, START, up=True))
    told = ticks(engine, START + 8 * HOUR, 130, *liquidations(START + 8 * HOUR, 25))
    assert notices(told) == []
    assert Turn.UP in [one.turn for one in told if isinstance(one, Alert)]


def test_a_tick_a_little_late_is_no_step() -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    engine.feed(Tick(seen=now + SET_BACK))
    told = said(engine, [Tick(seen=now)])
    assert notices(told) == []
    assert value(engine, "oi_net_2m_pct") is not None


@mark.parametrize("back", [61 * SECOND, 24 * HOUR])
def test_what_is_usual_at_each_hour_stays_and_the_rest_is_measured_anew(back: Ms) -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    then = now - back
    said(engine, [Tick(seen=now), Tick(seen=then)])
    assert value(engine, "oi_net_2m_pct") is None
    assert value(engine, "price_2m_pct") is None
    assert value(engine, "depth_100bp_pct_of_recent") is None
    events: list[AnyEvent] = []
    for n in range(150):
        events += [depth(venue, then + n * SECOND, 2.2e6) for venue in VENUES]
        events.append(Tick(seen=then + n * SECOND))
    said(engine, events)
    assert value(engine, "depth_100bp_pct_of_normal") == approx(100, abs=1)


@mark.parametrize("back", HOURS_BACK)
def test_an_open_episode_stays_open_and_ends_by_the_new_clock(back: Ms) -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    low = [d for n in range(120) for d in thin(now + n * SECOND, 0.9e6)]
    opened = [a.rule for a in said(engine, low) if isinstance(a, Alert)]
    assert opened
    then = now + 120 * SECOND - back
    told = said(engine, [d for n in range(60) for d in thin(then + n * SECOND, 0.9e6)])
    assert [one for one in told if getattr(one, "turn", None) in (Turn.OPEN, Turn.CLOSE)] == []
    usual = [d for n in range(5, 180) for d in thin(then + n * 12 * SECOND, 4e6)]
    closed = [a for a in said(engine, usual) if getattr(a, "turn", None) is Turn.CLOSE]
    assert "depth_below" in {alert.rule for alert in closed}
    assert all(alert.opened_at > now for alert in closed)


def thin(seen: Ms, usd: float) -> list[AnyEvent]:
    return [*(depth(venue, seen, usd) for venue in VENUES), Tick(seen=seen)]


def test_a_restart_after_the_step_changes_nothing() -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    then = now - 3 * HOUR
    said(engine, [Tick(seen=now), Tick(seen=then)])
    again = loaded(engine.dump())
    events = [d for n in range(1, 90) for d in thin(then + n * SECOND, 0.9e6)]
    assert said(engine, events) == said(again, events)
    assert engine.dump() == again.dump()


@mark.parametrize("late", [61 * SECOND, 50 * MINUTE])
def test_a_settlement_is_taken_though_our_clock_is_late(late: Ms) -> None:
    engine = Engine([msgspec.structs.replace(RULES[0])], VENUES)
    then = START - late
    said(engine, [Tick(seen=then), oi("binance", then, 1e5, 1e8)])
    said(engine, [settled("binance", START, -0.0005, seen=then)])
    assert value(engine, "funding_8h_pct") == approx(-0.05)


def test_a_settlement_of_another_day_is_refused() -> None:
    engine = Engine([RULES[0]], VENUES)
    far = START + 24 * HOUR
    said(engine, [Tick(seen=START), oi("binance", START, 1e5, 1e8)])
    said(engine, [settled("binance", far, -0.0005, seen=START)])
    said(engine, [settled("binance", START, 0.0001, seen=START)])
    assert value(engine, "funding_8h_pct") == approx(0.01)
