"""Settlements told later fill what is remembered as if they had been lived through, and no more."""

from collections.abc import Iterable, Sequence
from random import Random

import msgspec
from pytest import mark

from rules.alerts import Alert, Record
from rules.engine import Engine
from rules.records import Trail
from rules.settlements import KEPT, Settlements
from streams.durations import DAY, HOUR, MINUTE
from streams.events import AnyEvent, FundingHistory, Kind, PastRate, Tick
from tests.rules.facts import feed, oi, predicted, settled
from tests.rules.scenes import quick_rule

START = 1_790_035_200_000  # midnight
RULE = msgspec.structs.replace(
    quick_rule("funding_8h_pct", "below", 0.003, watch=0.0), settlements=1, record_after=7 * DAY
)
VENUES = ("binance", "bybit", "hyperliquid")
HOURS = {"binance": 8, "bybit": 8, "hyperliquid": 1}
HELD = {"binance": 3e9, "bybit": 2e9, "hyperliquid": 1e9}
Rates = dict[str, list[tuple[int, float]]]
"""Venue → settlements: their hours since the start, and their rates."""


def rates(seed: int, days: int) -> Rates:
    """Rates that are negative now and then, for some settlements in a row."""
    random, charged = Random(seed), Rates()
    for venue in VENUES:
        rate, of_venue = 0.0001, list[tuple[int, float]]()
        for hour in range(0, 24 * days, HOURS[venue]):
            if random.random() < 0.15:
                rate = random.choice([1, 1, 1, -1]) * random.uniform(1e-6, 4e-4)
            of_venue.append((hour, rate * HOURS[venue] / 8))
        charged[venue] = of_venue
    return charged


def lived(charged: Rates, since: int = 0) -> Iterable[AnyEvent]:
    """What comes live of the settlements since an hour: these, and what keeps feeds known."""
    at = sorted((hour, venue, rate) for venue in charged for hour, rate in charged[venue])
    last = max(hour for hour, _, _ in at)
    for venue in VENUES:
        before = [(hour, rate) for hour, rate in charged[venue] if hour < since]
        if before:  # polls tell the last one at the start
            yield of_now(venue, START + since * HOUR, *before[-1])
    for hour in range(since, last + 1):
        now = START + hour * HOUR
        for venue in VENUES:
            for second in (0, 20, 30):
                yield oi(venue, now - HOUR // 2 + second * 1000, HELD[venue], HELD[venue])
            yield predicted(venue, now - HOUR // 2 + 40_000, 0.0001, HOURS[venue])
        for h, venue, rate in at:
            if h == hour:
                yield of_now(venue, now, h, rate)
        for second in range(0, 60, 5):
            yield Tick(seen=now + second * 1000)


def of_now(venue: str, now: int, hour: int, rate: float) -> AnyEvent:
    return settled(venue, START + hour * HOUR, rate, HOURS[venue], seen=now + 20)


def past(venue: str, charged: Sequence[tuple[int, float]], now: int) -> FundingHistory:
    rows = [PastRate(START + h * HOUR, rate, float(HOURS[venue])) for h, rate in charged]
    return FundingHistory(
        venue=venue, symbol="BTCUSDT", asset="BTC", at=rows[-1].at, seen=now, rows=tuple(rows)
    )


def engine() -> Engine:
    return Engine([RULE], VENUES)


def run(target: Engine, events: Iterable[AnyEvent]) -> list[Alert]:
    return [turn for event in events for turn in target.feed(event) if isinstance(turn, Alert)]


def records_of(alerts: Sequence[Alert], since: int) -> list[tuple[int, tuple[Record, ...]]]:
    """What was remarkable about each turn after an hour."""
    after = START + since * HOUR
    return [(a.opened_at // MINUTE, rounded(a.records)) for a in alerts if a.opened_at > after]


def rounded(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """To the minute: a settlement told later has no second at which it was seen."""
    return tuple(
        msgspec.structs.replace(r, since=None if r.since is None else r.since // MINUTE)
        for r in records
    )


def until(charged: Rates, hour: int, since: int = 0) -> Rates:
    return {v: [row for row in rows if since <= row[0] < hour] for v, rows in charged.items()}


@mark.parametrize("seed", range(5))
def test_the_same_settlements_lived_through_or_told_later_give_the_same_records(seed: int) -> None:
    charged, start, random = rates(seed, days=34), 24 * 26 + 3, Random(seed)
    whole, late = engine(), engine()
    expected = records_of(run(whole, lived(charged)), start + 1)
    assert any(records for _, records in expected) or seed != 1
    now = START + start * HOUR - HOUR // 4
    events = [*lived(charged, start)]
    histories = [past(v, until(charged, start + 1)[v], now) for v in VENUES]
    histories += [past(v, until(charged, start - 90, 40)[v], now) for v in VENUES]
    for history in histories:  # again, overlapping, in any order, before and after feeds are up
        events.insert(random.randrange(40), history)
    assert records_of(run(late, events), start + 1) == expected
    assert shape(trail_of(late)) == shape(trail_of(whole))


def shape(trail: Trail) -> object:
    """What is remembered, to the minute."""
    peaks = [(at // MINUTE, x) for at, x in trail.peaks]
    return trail.first_day, bytes(trail.covered[1:]), trail.runs, trail.run, trail.run_end, peaks


def test_the_first_alert_after_a_start_knows_since_when() -> None:
    charged: Rates = {v: [(h, 1e-5) for h in range(0, 24 * 30, HOURS[v])] for v in VENUES}
    charged["binance"][9] = (72, -0.004)
    start = 24 * 30 - 16
    charged = {
        v: [(h, -1e-4 if h >= start + 8 else r) for h, r in rows] for v, rows in charged.items()
    }
    events, now = [*lived(charged, start)], START + start * HOUR
    histories = [past(v, until(charged, start + 1)[v], now) for v in VENUES]
    opened = [a for a in run(engine(), [*events[:20], *histories, *events[20:]]) if a.records]
    assert opened[0].opened_at // MINUTE == (START + (start + 8) * HOUR) // MINUTE
    first = opened[0].records[0]
    assert (first.kind.value, first.since, first.run) == ("first", START + 72 * HOUR, 1)
    assert first.record_from == START


def test_what_is_told_later_is_never_news_by_itself() -> None:
    """Told in the middle of a fall, of nothing but negative rates: no alert, and no value."""
    target, now = engine(), START + 30 * DAY
    charged = {v: [(h, -0.001) for h in range(0, 24 * 30, HOURS[v])] for v in VENUES}
    histories = [past(v, charged[v], now) for v in VENUES]
    turns = run(target, [*histories, *(Tick(seen=now + s * 1000) for s in range(120))])
    assert turns == []
    assert [v.value for v in target.standing().values] == [None]
    assert not target.standing().episodes


def test_a_hole_of_a_restart_is_filled_and_a_hole_of_the_venue_stays() -> None:
    charged: Rates = {v: [(h, 1e-5) for h in range(0, 24 * 20, HOURS[v])] for v in VENUES}
    away, back = 24 * 10 + 3, 24 * 12 + 3
    target = engine()
    run(target, lived(until(charged, away)))
    trail = trail_of(target)
    assert observed(trail) == 30
    resumed = engine()
    resumed.load(target.dump())
    events = [*lived(charged, back)]
    run(resumed, events[:30])
    for venue in VENUES:
        run(resumed, [past(venue, until(charged, back, away - 24)[venue], START + back * HOUR)])
    run(resumed, events[30:])
    assert observed(trail_of(resumed)) == 59
    # the same of a venue that leaves one out
    charged["binance"].pop(34)
    other = engine()
    other.load(target.dump())
    run(other, events[:30])
    for venue in VENUES:
        run(other, [past(venue, until(charged, back, away - 24)[venue], START + back * HOUR)])
    run(other, events[30:])
    assert observed(trail_of(other)) == 59 - 2


def test_what_was_seen_live_stays_and_lies_are_left_out() -> None:
    charged: Rates = {v: [(h, 1e-5) for h in range(0, 24 * 10, HOURS[v])] for v in VENUES}
    target, now = engine(), START + 10 * DAY
    run(target, lived(charged))
    before = target.dump()
    lies = [PastRate(START + h * HOUR, -0.5, 8.0) for h in range(0, 24 * 10, 8)]
    rows = [
        *reversed(lies),
        PastRate(now + 400 * DAY, -0.5, 8.0),
        PastRate(now + 2 * HOUR, -0.5, 8.0),
        PastRate(-5, -0.5, 8.0),
        PastRate(START - HOUR, float("nan"), 8.0),
        PastRate(START - 8 * HOUR, 1e300, 8.0),
        PastRate(START - 16 * HOUR, -0.1, 0.0),
    ]
    history = past("binance", [(0, 0.0)], now)
    run(target, [msgspec.structs.replace(history, rows=tuple(rows))])
    funding = {name: at for name, at in target.remembered().items() if name.startswith("funding:")}
    assert funding == {"funding:binance/BTCUSDT": START + (24 * 10 - 8) * HOUR}
    run(target, [Tick(seen=now - HOUR + 70_000)])
    fresh = engine()
    fresh.load(before)
    assert [x for _, x in trail_of(target).peaks] == [x for _, x in trail_of(fresh).peaks]
    assert trail_of(target).runs == trail_of(fresh).runs == []


def test_the_clock_set_back_loses_no_record_that_was_filled() -> None:
    charged: Rates = {v: [(h, 1e-5) for h in range(0, 24 * 30, HOURS[v])] for v in VENUES}
    start = 24 * 29
    target, events, now = engine(), [*lived(charged, start)], START + start * HOUR
    run(target, events[:20])
    run(target, [past(v, until(charged, start + 1)[v], now) for v in VENUES])
    run(target, events[20:60])
    assert observed(trail_of(target)) >= 86
    run(target, [Tick(seen=now - 3 * HOUR)])
    assert trail_of(target).before is None
    again = engine()
    assert again.load(target.dump()) == ""
    assert trail_of(again).first_day == START // DAY


def test_settlements_of_a_venue_that_tells_none_are_not_missing() -> None:
    target, now = engine(), START + 8 * HOUR
    for venue in ("binance", "kraken"):
        held = {"binance": 3e9, "kraken": 1e9}[venue]
        run(target, [oi(venue, now + s * 10_000, held, held) for s in range(4)])
        run(target, [predicted(venue, now + 41_000, 1e-4)])
    run(target, [settled("binance", now, 1e-4, seen=now + 50_000), Tick(seen=now + 60_000)])
    assert trail_of(target).venues == ("binance",)


def test_rows_are_kept_once_and_let_go_after_their_time() -> None:
    memo = Settlements()
    rows = [PastRate(START + h * HOUR + 7, 1e-4, 8.0) for h in (16, 0, 8)]
    assert memo.take(rows, START + DAY, START)
    assert not memo.take([PastRate(START + 16 * HOUR, -0.3, 1.0)], START + DAY, START)
    assert [(r.at, r.rate, r.hours) for r in memo.rates()] == [
        (START + h * HOUR, 1e-4, 8.0) for h in (0, 8, 16)
    ]
    copy = Settlements()
    copy.load(memo.dump())
    assert copy.rates() == memo.rates()
    copy.forget(START + KEPT)
    assert len(copy) == 3
    copy.forget(START + KEPT + 1)
    assert (len(copy), copy.until) == (0, START + 16 * HOUR)


def trail_of(target: Engine) -> Trail:
    (trail,) = [dump.trail for dump in target._watchlist.dump_trails()]
    return trail


def observed(trail: Trail) -> int:
    """How many times 8 h of it were observed."""
    whole = sum(trail.covered[:-1]) * 6 * MINUTE + trail.today_ms
    return round(whole / (8 * HOUR))


def test_feeds_going_down_leave_the_past_alone() -> None:
    charged: Rates = {v: [(h, 1e-5) for h in range(0, 24 * 30, HOURS[v])] for v in VENUES}
    start = 24 * 29
    target, events, now = engine(), [*lived(charged, start)], START + start * HOUR
    run(target, events[:20])
    run(target, [past(v, until(charged, start + 1)[v], now) for v in VENUES])
    run(target, [feed("binance", Kind.FUNDING, now + 60_000, up=False), *events[20:]])
    assert observed(trail_of(target)) >= 87
