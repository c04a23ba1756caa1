"""The machine's clock steps, and the stream says by how much: everything keeps its age."""

from collections.abc import Iterable, Iterator
from random import Random

import msgspec
from pytest import approx, mark

from rules.alerts import (
    Alert,
    AlertOrNotice,
    CascadeFacts,
    DepthFacts,
    Link,
    Notice,
    RecordKind,
    Turn,
)
from rules.engine import Engine
from rules.timeline import Timeline, VenueClock
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, ClockStep, FaultCode, Kind, Ms, Tick
from tests.rules.facts import (
    START,
    depth,
    feed,
    liquidation,
    oi,
    predicted,
    price,
    settled,
)
from tests.rules.scenes import RULES, VENUES, feed_all, history, loaded, quick_rule, value, warm

replace = msgspec.structs.replace
CLOCK = (FaultCode.CLOCK_SET_BACK, FaultCode.CLOCK_SET_AHEAD, FaultCode.CLOCK_HOLE)
STEPS = [-3 * HOUR, -8 * HOUR - 337, -61 * SECOND, -5 * SECOND, -400 * 24 * HOUR,
         4 * SECOND, 90 * SECOND + 1, 8 * HOUR + 4_321, 400 * 24 * HOUR]  # fmt: skip


def stepped(event: AnyEvent, by: Ms) -> AnyEvent:
    """The event as a machine stamps it whose clock is off by ``by``; the venue's is not."""
    return replace(event, seen=event.seen + by)


def price_rule():
    return quick_rule("price_2m_pct", "below", -1, watch=-2, alert=-5, critical=-9)


def prices(since: Ms, seconds: int, usd: float, venues: Iterable[str] = VENUES) -> list[AnyEvent]:
    return [
        event
        for n in range(seconds)
        for event in (
            *(price(venue, since + n * SECOND, usd) for venue in venues),
            Tick(seen=since + n * SECOND),
        )
    ]


def steady(engine: Engine, since: Ms, seconds: int = 300) -> list[AlertOrNotice]:
    up = [feed(venue, Kind.PRICE, since, up=True) for venue in VENUES]
    return feed_all(engine, [*up, *prices(since, seconds, 100.0)])


@mark.parametrize("by", STEPS)
def test_a_fall_of_10_pct_a_minute_after_a_step_rings(by: Ms) -> None:
    engine = Engine([price_rule()], VENUES)
    steady(engine, START)
    now = START + 300 * SECOND
    after = [*prices(now, 60, 100.0), *prices(now + 60 * SECOND, 5, 90.0)]
    outputs = feed_all(engine, [ClockStep(seen=now + by, by=by), *(stepped(e, by) for e in after)])
    (alert,) = [item for item in outputs if isinstance(item, Alert)]
    assert (alert.turn, alert.value) == (Turn.OPEN, approx(-10))
    assert 0 <= alert.seen - (now + 60 * SECOND + by) <= 2 * SECOND


@mark.parametrize("by", STEPS)
def test_a_crash_that_begins_during_the_step_rings(by: Ms) -> None:
    """2 % a second from two seconds before the step to three seconds after it."""
    quiet, shifted = Engine([price_rule()], VENUES), Engine([price_rule()], VENUES)
    for engine in (quiet, shifted):
        steady(engine, START)
    now = START + 300 * SECOND
    fall = [e for n in range(6) for e in prices(now + n * SECOND, 1, 100.0 - 2 * n)]
    bottom = [*fall, *prices(now + 6 * SECOND, 30, 90.0)]
    at = now + 2 * SECOND
    moved = [stepped(e, by if e.seen >= at else 0) for e in bottom]
    place = next(n for n, e in enumerate(bottom) if e.seen >= at)
    moved.insert(place, ClockStep(seen=at + by, by=by))
    plain = [a for a in feed_all(quiet, bottom) if isinstance(a, Alert)]
    alerts = [a for a in feed_all(shifted, moved) if isinstance(a, Alert)]
    assert [a.level for a in alerts] == [a.level for a in plain]
    assert alerts[-1].level == 3
    assert alerts[-1].seen == plain[-1].seen + by
    assert all(a.extreme_at <= a.seen and (a.began or a.opened_at) <= a.seen for a in alerts)


@mark.parametrize("by", [-3 * HOUR, -400 * 24 * HOUR])
def test_the_step_is_told_once_with_what_it_means(by: Ms) -> None:
    engine = Engine([price_rule()], VENUES)
    steady(engine, START)
    now = START + 300 * SECOND
    outputs = feed_all(engine, [ClockStep(seen=now + by, by=by),
                         *(stepped(e, by) for e in prices(now, 90, 100.0))])  # fmt: skip
    faults = [item for item in outputs if isinstance(item, Notice) and item.fault in CLOCK]
    assert [(item.fault, item.seen) for item in faults] == [(FaultCode.CLOCK_SET_BACK, now + by)]


def test_a_step_ahead_is_told_once_the_venues_have_not_moved() -> None:
    engine, by = Engine([price_rule()], VENUES), 8 * HOUR
    steady(engine, START)
    now = START + 300 * SECOND
    events = [ClockStep(seen=now + by, by=by), *(stepped(e, by) for e in prices(now, 90, 100.0))]
    notices = [item for item in feed_all(engine, events) if isinstance(item, Notice)]
    assert [(item.fault, item.reason) for item in notices] == [
        (FaultCode.CLOCK_SET_AHEAD, "by 8 h")
    ]
    assert 30 * SECOND <= notices[0].seen - (now + by) <= 32 * SECOND


@mark.parametrize("restarted", [False, True])
@mark.parametrize("slept", [20 * MINUTE, 3 * HOUR])
def test_a_machine_that_slept_has_a_hole_though_its_steady_clock_stood_still(
    slept: Ms, restarted: bool
) -> None:
    """The venues' clocks have gone on: what fell meanwhile is no fall of seconds."""
    engine = Engine([price_rule()], VENUES)
    steady(engine, START)
    now = START + 300 * SECOND
    outputs = feed_all(engine, [ClockStep(seen=now + slept, by=slept)])
    if restarted:
        dumped, engine = engine.dump(), Engine([price_rule()], VENUES)
        assert engine.load(dumped) == ""
    outputs += feed_all(engine, prices(now + slept, 60, 90.0))
    assert [item for item in outputs if isinstance(item, Alert)] == []
    assert [item.fault for item in outputs if isinstance(item, Notice) and item.fault] == []
    later = prices(now + slept + 60 * SECOND, 90, 90.0)
    later += prices(now + slept + 150 * SECOND, 3, 81.0)
    (alert,) = [item for item in feed_all(engine, later) if isinstance(item, Alert)]
    assert alert.value == approx(-10)


@mark.parametrize("quiet_s", [1, 10, 29, 31, 50, 170])
@mark.parametrize("polls_first", [False, True])
def test_a_machine_that_slept_is_found_out_however_late_the_venues_are_heard(
    quiet_s: int, polls_first: bool
) -> None:
    """Sockets come back late, or polls, which do not tell the time, come first: nothing rings."""
    rules = [price_rule(), quick_rule("oi_net_15m_pct", "below", -1, alert=-3, critical=-5)]
    engine, slept = Engine(rules, VENUES), 3 * HOUR
    now = START
    for n in range(0, 300, 5):
        feed_all(engine, [oi(venue, now + n * SECOND, 100_000.0) for venue in VENUES])
        feed_all(engine, prices(now + n * SECOND, 5, 100.0))
    now += 300 * SECOND
    outputs = feed_all(engine, [ClockStep(seen=now + slept, by=slept)])
    now += slept
    for n in range(quiet_s + 60):
        if (polls_first or n >= quiet_s) and n % 5 == 0:
            outputs += feed_all(engine, [oi(venue, now + n * SECOND, 89_000.0) for venue in VENUES])
        heard = VENUES if n >= quiet_s else ()
        outputs += feed_all(engine, prices(now + n * SECOND, 1, 90.0, heard))
    assert [item for item in outputs if isinstance(item, Alert)] == []
    outputs = feed_all(engine, prices(now + (quiet_s + 60) * SECOND, 100, 90.0))
    outputs += feed_all(engine, prices(now + (quiet_s + 160) * SECOND, 3, 81.0))
    assert [item.value for item in outputs if isinstance(item, Alert)] == [approx(-10)]


@mark.parametrize("frames", [1, 2])
def test_what_one_venue_dates_wrongly_makes_no_hole_of_a_step_ahead(frames: int) -> None:
    engine, by = Engine([price_rule()], VENUES), 2 * HOUR
    steady(engine, START)
    now = START + 300 * SECOND
    outputs = feed_all(engine, [ClockStep(seen=now + by, by=by)])
    lies = [
        replace(price(VENUES[0], now + n, 100.0), at=now + 70 * MINUTE + n) for n in range(frames)
    ]
    after = [*prices(now, 2, 100.0), *lies, *prices(now + 2 * SECOND, 58, 100.0)]
    after += prices(now + 60 * SECOND, 3, 90.0)
    outputs += feed_all(engine, [stepped(event, by) for event in after])
    assert [item.value for item in outputs if isinstance(item, Alert)] == [approx(-10)]


def test_what_is_not_clear_yet_outlives_a_restart() -> None:
    """The fall of the first seconds after a step ahead is judged once, whoever judges it."""
    by, now = 2 * HOUR, START + 300 * SECOND
    after = [stepped(event, by) for event in prices(now, 8, 90.0)]
    outputs_by_cut: list[list[AlertOrNotice]] = []
    for cut in (0, 1, 4, 7):
        engine = Engine([price_rule()], VENUES)
        steady(engine, START)
        heard = feed_all(engine, [ClockStep(seen=now + by, by=by), *after[:cut]])
        dumped, engine = engine.dump(), Engine([price_rule()], VENUES)
        assert engine.load(dumped) == ""
        outputs_by_cut.append([*heard, *feed_all(engine, after[cut:])])
    assert [item.value for item in outputs_by_cut[0] if isinstance(item, Alert)] == [approx(-10)]
    assert all(other == outputs_by_cut[0] for other in outputs_by_cut)


def test_what_was_in_the_line_when_the_machine_slept_does_not_settle_it() -> None:
    engine, slept = Engine([price_rule()], VENUES), 3 * HOUR
    steady(engine, START)
    now = START + 300 * SECOND
    old = [replace(e, seen=now + slept) for e in prices(now, 1, 100.0)]
    outputs = feed_all(engine, [ClockStep(seen=now + slept, by=slept), *old])
    outputs += feed_all(engine, prices(now + slept + SECOND, 60, 90.0))
    assert [item for item in outputs if isinstance(item, Alert)] == []


@mark.parametrize("by", [-3 * HOUR, -9 * HOUR - 61_007, 5 * HOUR])
def test_what_is_usual_at_each_hour_and_an_open_episode_go_on(by: Ms) -> None:
    quiet, now = loaded(warm()[0]), warm()[1]
    shifted = loaded(warm()[0])
    low = [e for n in range(1, 40) for e in thin(now + n * SECOND, 0.9e6)]
    assert feed_all(quiet, low) == feed_all(shifted, low)
    now += 40 * SECOND
    on = [e for n in range(220) for e in thin(now + n * SECOND, 0.9e6 if n < 60 else 4e6)]
    plain, moved = feed_all(quiet, on), feed_all(shifted, with_steps(on, {0: by}))
    assert [undone(item, by) for item in alerts_of(moved)] == alerts_of(plain)
    assert Turn.CLOSE in [item.turn for item in alerts_of(moved)]


def thin(seen: Ms, usd: float) -> list[AnyEvent]:
    return [*(depth(venue, seen, usd) for venue in VENUES), Tick(seen=seen)]


def with_steps(events: list[AnyEvent], steps: dict[int, Ms]) -> list[AnyEvent]:
    """The events as a machine stamps them whose clock steps before those of these places."""
    return [event for _, event in placed(events, steps)]


def placed(events: list[AnyEvent], steps: dict[int, Ms]) -> Iterator[tuple[Ms, AnyEvent]]:
    off, newest = 0, 0
    for place, event in enumerate(events):
        if by := steps.get(place):
            off += by
            yield off, ClockStep(seen=max(newest, event.seen) + off, by=by)
        newest = max(newest, event.seen)
        yield off, stepped(event, off)


def alerts_of(items: Iterable[AlertOrNotice]) -> list[Alert]:
    return [item for item in items if isinstance(item, Alert)]


def undone(alert: Alert, off: Ms) -> Alert:
    """The alert by a clock that never stepped. ``off``: how far the one that did is off now."""
    began = (alert.began or alert.opened_at) - off
    head, _, number = alert.id.rsplit(":", 2)
    return replace(
        alert,
        id=f"{head}:{began}:{number}",
        seen=alert.seen - off,
        # what no event caused has the time of the venues where it differs, else the machine's
        at=alert.at if abs(off) >= 2 * SECOND or alert.at != alert.seen else alert.at - off,
        opened_at=began,
        began=None,
        extreme_at=alert.extreme_at - off,
        ahead=0,
        records=tuple(
            replace(r, record_from=r.record_from - off, since=None
                    if r.since is None
                    else r.since - off * (r.kind in (RecordKind.HIGHEST, RecordKind.LOWEST)))
            for r in alert.records
        ),
        facts=_facts(alert.facts, alert.seen, off),
    )  # fmt: skip


def _facts(facts, seen: Ms, off: Ms):
    if isinstance(facts, DepthFacts) and facts.hour is not None:
        return replace(facts, hour=(seen - off) // HOUR % 24)
    if isinstance(facts, CascadeFacts):
        links = {
            name: tuple(_link(link, seen, off) for link in getattr(facts, name))
            for name in ("chain", "also")
        }
        last = None if facts.last_at is None else facts.last_at - off
        return replace(facts, **links, record_from=facts.record_from - off, last_at=last)
    return facts


def _link(link: Link, seen: Ms, off: Ms) -> Link:
    extreme_at = None if link.extreme_at is None else link.extreme_at - off
    facts = _facts(link.facts, seen, off)
    return replace(link, at=link.at - off, extreme_at=extreme_at, facts=facts, opened_at=0)


def nameless(alert: Alert) -> Alert:
    """Without the names of the parts of a composite, which are by the clock of then."""
    return replace(alert, facts=_nameless(alert.facts))


def _nameless(facts):
    if not isinstance(facts, CascadeFacts):
        return facts
    links = {
        n: tuple(replace(x, opened_at=0) for x in getattr(facts, n)) for n in ("chain", "also")
    }
    return replace(facts, **links)


@mark.parametrize("restarts", [False, True])
@mark.parametrize("seed", range(12))
def test_whatever_the_clock_does_the_alerts_are_those_of_a_clock_that_never_steps(
    seed: int, restarts: bool
) -> None:
    events, dice = calm_first(history(seed)), Random(1_000 + seed)
    steps = {dice.randrange(1, len(events)): dice.choice(STEPS) for _ in range(8)}
    # what is not clear after the last step is by then
    events += [Tick(seen=events[-1].seen + n * SECOND) for n in range(1, 6)]
    plain = [nameless(a) for a in alerts_of(feed_all(loaded(warm()[0]), events))]
    engine, alerts = loaded(warm()[0]), list[Alert]()
    for off, event in placed(events, steps):
        # before a step what was not clear until then is judged
        then = off - event.by if isinstance(event, ClockStep) else off
        alerts += [undone(a, then) for a in alerts_of(engine.feed(event))]
        if restarts and isinstance(event, ClockStep):
            engine = loaded(engine.dump())
    assert len(plain) > 3
    times = [(a.rule, a.asset, a.turn, a.level, a.seen, a.post, a.hidden_by) for a in plain]
    assert [
        (a.rule, a.asset, a.turn, a.level, a.seen, a.post, a.hidden_by) for a in alerts
    ] == times
    assert [replace(a, at=0) for a in alerts] == [replace(a, at=0) for a in plain]


def calm_first(events: list[AnyEvent]) -> list[AnyEvent]:
    """After half a minute in which the clocks of all venues are heard."""
    began = events[0].seen - 30 * SECOND
    return [*(e for n in range(30) for e in prices(began + n * SECOND, 1, 100.0)), *events]


@mark.parametrize("off", [-3 * HOUR, -2 * HOUR, 9 * HOUR])
def test_a_settlement_is_taken_by_the_clock_of_its_venue(off: Ms) -> None:
    """Our clock may be hours late: 08:00 of the venue is not the future."""
    engine, now = Engine([RULES[0]], VENUES), START
    events = [*prices(now - 30 * SECOND, 30, 100.0), oi("binance", now, 1e5, 1e8)]
    events += [settled("binance", START, -0.0005, seen=now + SECOND)]
    events += prices(now + 2 * SECOND, 20 * 60, 100.0, ["binance"])
    feed_all(engine, [stepped(event, off) for event in events])
    assert value(engine, "funding_8h_pct") == approx(-0.05)
    # and one that the venue's own clock has not reached is refused
    far = settled("binance", START + 9 * HOUR, 0.0004, seen=now + 1300 * SECOND)
    feed_all(engine, [stepped(far, off)])
    assert value(engine, "funding_8h_pct") == approx(-0.05)


def test_a_time_that_lies_does_not_let_settlements_of_the_future_in_for_long() -> None:
    clock = VenueClock()
    clock.hear(START, START)
    clock.hear(10**15, START + SECOND)
    for n in range(1, 5):
        clock.turn()
        for second in range(10):
            now = START + (10 * n + second) * SECOND
            clock.hear(now - 80, now)
    assert clock.time(START) == START - 80


@mark.parametrize("off", [-20 * MINUTE, -9 * SECOND, 90 * SECOND])
def test_an_alert_says_how_far_the_venues_clocks_are_from_ours(off: Ms) -> None:
    engine, now = Engine([quick_rule("liq_2m_musd", "above", 1, watch=2)], VENUES), START
    up = feed("bybit", Kind.LIQUIDATION, now, up=True)
    events = [up, *prices(now, 60, 100.0), liquidation("bybit", now + 60 * SECOND, 3e6)]
    events += [Tick(seen=now + n * SECOND) for n in range(61, 300)]
    alerts = alerts_of(feed_all(engine, [stepped(event, off) for event in events]))
    assert [alert.turn for alert in alerts] == [Turn.OPEN, Turn.CLOSE]
    opened, closed = alerts
    assert (opened.ahead, opened.at) == (-off - 20, now + 60 * SECOND - 20)
    assert closed.at == closed.seen + closed.ahead


def test_two_seconds_are_no_difference_of_clocks() -> None:
    timeline = Timeline()
    timeline.measure([VenueClock(ahead=-1_900), VenueClock(ahead=-80)])
    assert timeline.apart == 0
    timeline.measure([VenueClock(ahead=-40_000)])
    assert timeline.apart == -40_000


def test_a_step_in_an_old_dump_is_none() -> None:
    engine, now = loaded(warm()[0]), warm()[1]
    later = [
        ClockStep(seen=now - HOUR, by=-HOUR), Tick(seen=now - HOUR + SECOND),
        predicted("binance", now - HOUR + 2 * SECOND, 0.0),
    ]  # fmt: skip
    outputs = feed_all(engine, later)
    assert [item.fault for item in outputs if isinstance(item, Notice)] == [
        FaultCode.CLOCK_SET_BACK
    ]
    assert engine.standing(False).seen == now - HOUR + 2 * SECOND
