"""What the rules reported in a week and which feeds were silent, from the alerts in Redis."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec
from redis.asyncio import Redis

from bot.plan.weekly import WEEK
from rules import alerts
from rules.alerts import Alert, EpisodeKey, Level, Notice, Turn
from streams.bus.connection import ANSWER_S, Entry, Keys, connect
from streams.events import Kind, Ms

_PAGE = 500


class ReportedEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that began in the week and was to be posted, as far as the week knows it."""

    family: str
    metric: str
    unit: str
    fires: str
    asset: str
    level: Level
    """The highest."""
    extreme: float
    extreme_at: Ms
    at: Ms
    """When it was first to be posted."""


class WeekAlerts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a week."""

    since: Ms
    """From when on all is known."""
    episodes: tuple[ReportedEpisode, ...] = ()
    silent: Mapping[str, Mapping[Kind, Sequence[tuple[Ms, Ms]]]] = {}
    """Venue → kind → from when until when all feeds of that kind were silent, within the week."""


async def week_alerts(url: str, start: Ms) -> WeekAlerts | None:
    """``read_alerts`` of the server at ``url``."""
    redis = connect(url, "report")
    try:
        return await read_alerts(redis, start)
    finally:
        await redis.aclose()


async def read_alerts(redis: Redis, start: Ms) -> WeekAlerts | None:
    """The week from ``start`` on; None: nothing is kept. RedisError, OSError, TimeoutError as
    usual."""
    key = Keys().alerts
    first = await _page(redis, key, "-", 1)
    if not first:
        return None
    turns: list[Alert] = []
    notices: list[Notice] = []
    after = str(start - WEEK)  # what went silent before the week may be silent in it
    while page := await _page(redis, key, after, _PAGE):
        for entry_id, fields in page:
            after = f"({entry_id.decode()}"
            try:
                turn = alerts.decode(next(iter(fields.values())))
            except msgspec.MsgspecError:
                continue  # the bot role has logged it
            if turn.seen >= start + WEEK and isinstance(turn, Alert):
                continue
            turns += [turn] if isinstance(turn, Alert) else []
            notices += [turn] if isinstance(turn, Notice) else []
    since = max(start, int(first[0][0].partition(b"-")[0]))
    return WeekAlerts(
        since=since,
        episodes=tuple(episodes(turns, start)),
        silent=silent_feeds(notices, start),
    )


async def _page(redis: Redis, key: str, after: str, count: int) -> list[Entry]:
    async with asyncio.timeout(ANSWER_S):
        return cast("list[Entry]", await redis.xrange(key, min=after, count=count))


def episodes(turns: Iterable[Alert], start: Ms) -> list[ReportedEpisode]:
    """Those of ``turns``, in their order, that began in the week and were to be posted."""
    known: dict[EpisodeKey, ReportedEpisode] = {}
    for alert in turns:
        before = known.get(alert.episode)
        if before is None:
            if alert.post and alert.turn is not Turn.CLOSE:
                known[alert.episode] = _episode(alert)
        else:
            known[alert.episode] = msgspec.structs.replace(
                before,
                level=max(before.level, alert.level),
                extreme=alert.extreme,
                extreme_at=alert.extreme_at,
            )
    return [episode for episode in known.values() if start <= episode.at < start + WEEK]


def _episode(alert: Alert) -> ReportedEpisode:
    return ReportedEpisode(
        family=alert.family or alert.rule,
        metric=alert.metric,
        unit=alert.unit,
        fires=alert.fires,
        asset=alert.asset,
        level=alert.level,
        extreme=alert.extreme,
        extreme_at=alert.extreme_at,
        at=alert.seen,
    )


def silent_feeds(
    notices: Iterable[Notice], start: Ms
) -> dict[str, dict[Kind, list[tuple[Ms, Ms]]]]:
    """Venue → kind → when all feeds of that kind were silent in the week, in order and apart."""
    spans: dict[tuple[str, Kind], list[tuple[Ms, Ms]]] = {}
    open_since: dict[tuple[str, Kind], Ms] = {}
    for notice in notices:
        if notice.fault is not None or notice.subjects or not notice.venue:
            continue
        for kind in notice.kinds:
            of = notice.venue, kind
            if notice.up:
                open_since.pop(of, None)
                spans.setdefault(of, []).append((notice.since, notice.seen))
            else:
                open_since[of] = notice.since
    for of, since in open_since.items():
        spans.setdefault(of, []).append((since, start + WEEK))
    silent: dict[str, dict[Kind, list[tuple[Ms, Ms]]]] = {}
    for (venue, kind), times in spans.items():
        if within := merged(times, start, start + WEEK):
            silent.setdefault(venue, {})[kind] = within
    return silent


def merged(spans: Iterable[tuple[Ms, Ms]], start: Ms, end: Ms) -> list[tuple[Ms, Ms]]:
    """``spans`` between ``start`` and ``end``, in order and apart."""
    apart: list[tuple[Ms, Ms]] = []
    for first, last in sorted((max(start, a), min(end, b)) for a, b in spans):
        if last <= first:
            continue
        if apart and first <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(apart[-1][1], last)
        else:
            apart.append((first, last))
    return apart
