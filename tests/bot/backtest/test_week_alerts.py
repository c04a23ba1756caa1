"""What the rules reported in a week, and which feeds were silent, from what Redis keeps."""

import msgspec
import pytest
from redis.asyncio import Redis

from bot.backtest.week_alerts import episodes, merged, read_alerts, silent_feeds
from bot.plan.weekly import WEEK
from rules import alerts
from rules.alerts import Alert, Level, Notice, Turn
from streams.bus.connection import Keys
from streams.durations import DAY, HOUR, MINUTE
from streams.events import FaultCode, Kind, Ms
from tests.bot.plan.test_planner import alert

START: Ms = 1_794_787_200_000  # 16 Nov 2026 00:00 UTC


def turn(at: Ms, asset: str, opened: Ms, level: Level, of: Turn, extreme: float) -> Alert:
    return msgspec.structs.replace(
        alert(0, asset, level, "oi_drop:1h", of, 0),
        id=f"{asset} {at}",
        family="oi_drop",
        seen=START + at,
        opened_at=START + opened,
        extreme=extreme,
        extreme_at=START + at,
        value=extreme,
    )


def notice(venue: str, *kinds: Kind, since: Ms, seen: Ms, up: bool, **more: object) -> Notice:
    plain = Notice(
        id=f"{venue} {seen}", venue=venue, kinds=kinds, up=up, since=START + since,
        seen=START + seen,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **more)


TURNS = [
    turn(-HOUR, "SOL", -HOUR, Level.ALERT, Turn.OPEN, -5.0),
    turn(HOUR, "SOL", -HOUR, Level.CRITICAL, Turn.UP, -9.0),
    turn(DAY, "BTC", DAY, Level.ALERT, Turn.OPEN, -4.5),
    turn(DAY + HOUR, "BTC", DAY, Level.CRITICAL, Turn.UP, -8.0),
    turn(DAY + 2 * HOUR, "BTC", DAY, Level.CRITICAL, Turn.CLOSE, -8.5),
    msgspec.structs.replace(turn(DAY, "ETH", DAY, Level.ALERT, Turn.OPEN, -4.0), post=False),
    turn(DAY + HOUR, "ETH", DAY, Level.ALERT, Turn.CLOSE, -4.0),
    turn(WEEK - MINUTE, "DOGE", WEEK - MINUTE, Level.WATCH, Turn.OPEN, -3.0),
    turn(WEEK + MINUTE, "DOGE", WEEK - MINUTE, Level.CRITICAL, Turn.UP, -30.0),
    turn(WEEK, "XRP", WEEK, Level.CRITICAL, Turn.OPEN, -30.0),
]


def test_episodes_are_those_that_began_to_be_posted_in_the_week():
    known = episodes([t for t in TURNS if t.seen < START + WEEK], START)
    assert [(e.asset, e.level, e.extreme, e.at - START) for e in known] == [
        ("BTC", Level.CRITICAL, -8.5, DAY),
        ("DOGE", Level.WATCH, -3.0, WEEK - MINUTE),
    ]
    assert {e.family for e in known} == {"oi_drop"}


def test_one_that_is_posted_first_when_it_rises_counts_from_then():
    quiet = msgspec.structs.replace(turn(0, "BTC", 0, Level.WATCH, Turn.OPEN, -2.0), post=False)
    (episode,) = episodes([quiet, turn(HOUR, "BTC", 0, Level.ALERT, Turn.UP, -5.0)], START)
    assert episode.at == START + HOUR


def test_silent_feeds_are_whole_venues_within_the_week():
    notices = [
        notice("bybit", Kind.DEPTH, Kind.PRICE, since=-HOUR, seen=-HOUR + MINUTE, up=False),
        notice("bybit", Kind.DEPTH, Kind.PRICE, since=-HOUR, seen=HOUR, up=True),
        notice("bybit", Kind.DEPTH, since=30 * MINUTE, seen=2 * HOUR, up=True),
        notice("okx", Kind.FUNDING, since=WEEK - HOUR, seen=WEEK - 50 * MINUTE, up=False),
        notice("okx", Kind.DEPTH, since=-2 * HOUR, seen=-HOUR, up=True),
        # one contract, a fault and ticks are no venue that is silent
        notice("gate", Kind.DEPTH, since=0, seen=HOUR, up=True, subjects=("BTC_USDT",)),
        notice("gate", since=0, seen=HOUR, up=True, fault=FaultCode.VENUE_LOST),
        notice("", since=0, seen=HOUR, up=True),
    ]
    assert silent_feeds(notices, START) == {
        "bybit": {
            Kind.DEPTH: [(START, START + 2 * HOUR)],
            Kind.PRICE: [(START, START + HOUR)],
        },
        "okx": {Kind.FUNDING: [(START + WEEK - HOUR, START + WEEK)]},
    }


def test_spans_are_merged_and_clipped():
    assert merged([(5, 7), (1, 3), (2, 4), (4, 5), (9, 9), (11, 20)], 2, 12) == [(2, 7), (11, 12)]


@pytest.mark.parametrize("first", [-DAY, 2 * DAY])
async def test_they_are_read_from_the_stream_of_alerts(redis: Redis, first: Ms):
    key = Keys().alerts
    assert await read_alerts(redis, START) is None
    await redis.xadd(key, {"a": b"rubbish"}, id=f"{START + first}-0")
    outage = notice("okx", Kind.DEPTH, since=3 * DAY, seen=3 * DAY + HOUR, up=True)
    many = [notice("okx", Kind.PRICE, since=3 * DAY, seen=3 * DAY, up=True)] * 600
    known = [*TURNS, *many, outage]
    kept = [e for e in sorted(known, key=lambda e: e.seen) if e.seen >= START + first]
    for number, event in enumerate(kept, start=1):
        await redis.xadd(key, {"a": alerts.encode(event)}, id=f"{event.seen}-{number}")
    week = await read_alerts(redis, START)
    assert week is not None
    assert week.since == max(START, START + first)
    assert [e.asset for e in week.episodes] == (["BTC"] if first < 0 else []) + ["DOGE"]
    (span,) = week.silent["okx"][Kind.DEPTH]
    assert span == (START + 3 * DAY, START + 3 * DAY + HOUR)
