"""``lowtide status``: how the roles are doing, from what they write to Redis."""

import asyncio
import time
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bot.config.values import count
from bot.delivery.post import ChatReport
from bot.lang import LANGUAGES
from bot.roles import ENDED_LIFE_S, STATUS_EVERY_S, STATUS_LIFE_S, ended_key
from streams.bus.connection import ANSWER_S, Keys, parsed, unwritable
from streams.bus.skew import MOST, ClockError
from streams.clock import APART
from streams.events import Ms
from streams.feed.status import FeedCount, SilentContract, SocketStatus, VenueStatus

ROLES = ("streams", "rules", "bot")

_ANEW_S, _AGAIN_S = STATUS_EVERY_S + 0.5, 0.25


async def collect(redis: Redis) -> dict[str, Any]:
    """Everything there is to say, ready for JSON: each role (None: not running) and Redis.

    Raises redis.exceptions.RedisError or TimeoutError if Redis cannot be reached.
    """
    async with asyncio.timeout(ANSWER_S):
        return await _collect(redis, Keys())


async def collect_once(redis: Redis) -> dict[str, Any]:
    """``collect`` for who looks but once. A step of the server's clock, as its restart, ends all
    reports at a time: a role without one is waited for until it would have reported anew.

    Raises as ``collect`` does.
    """
    until = time.monotonic() + _ANEW_S
    while True:
        answer = await collect(redis)
        absent = [role for role in ROLES if answer[role] is None and role not in answer["ended"]]
        if not absent or answer["redis"]["cannot_write"] or time.monotonic() > until:
            return answer
        await asyncio.sleep(_AGAIN_S)


async def _collect(redis: Redis, keys: Keys) -> dict[str, Any]:
    reason = await unwritable(redis)
    answer: dict[str, Any] = {"ended": {}, "heard_s": {}}
    for role in ROLES:
        data = await redis.get(f"{keys.status}:{role}")
        answer[role] = msgspec.json.decode(data) if data else None
        if data:
            left_ms: int = await redis.pttl(f"{keys.status}:{role}")
            if left_ms >= 0:
                answer["heard_s"][role] = max(0, round(STATUS_LIFE_S - left_ms / 1000))
        if not data and (end := await _end(redis, role)):
            answer["ended"][role] = end
    memory = await _memory(redis)
    length = {name: await redis.xlen(key) for name, key in _streams(keys)}
    answer["redis"] = {
        "cannot_write": reason,
        "streams": {
            name: {"entries": length[name], "seconds": await _span(redis, key)}
            for name, key in _streams(keys)
        },
        "memory_mb": _mb(memory.get("used_memory")),
        "rss_mb": _mb(memory.get("used_memory_rss")),
        "time_ms": await _server_time(redis),
    }
    return answer


async def _end(redis: Redis, role: str) -> dict[str, Any] | None:
    """Why the role ended ("": it was stopped) and how long ago, by the server's clock."""
    key = ended_key(role)
    reason = cast("bytes | None", await redis.get(key))
    left_ms: int = await redis.pttl(key)
    if reason is None or left_ms < 0:
        return None
    seconds = max(0, round(ENDED_LIFE_S - left_ms / 1000))
    return {"reason": reason.decode(errors="replace"), "seconds_ago": seconds}


async def _memory(redis: Redis) -> dict[str, Any]:
    """What the server says of its memory; nothing where nobody may ask."""
    try:
        return await redis.info("memory")  # pyright: ignore[reportUnknownMemberType]
    except ResponseError:
        return {}


async def _server_time(redis: Redis) -> Ms | None:
    """What time it is there; None where nobody may ask."""
    try:
        seconds, us = await redis.time()  # pyright: ignore[reportUnknownMemberType]
    except ResponseError:
        return None
    return seconds * 1000 + us // 1000


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)


async def _span(redis: Redis, key: str) -> float:
    """Over how many seconds the entries of a stream reach."""
    ends = [await redis.xrange(key, count=1), await redis.xrevrange(key, count=1)]
    first, last = (parsed(cast("bytes", end[0][0]))[0] if end else 0 for end in ends)
    return round((last - first) / 1000, 1)


def _streams(keys: Keys) -> tuple[tuple[str, str], ...]:
    return ("events", keys.events), ("alerts", keys.alerts)


def faults(status: dict[str, Any], *, nameless: bool = False) -> list[str]:
    """What is not as it has to be, in a sentence each: a Redis that takes nothing; a role that does
    not run, and why; a chat that gets nothing. ``nameless``: chats are not called by their keys."""
    troubled = [_nameless(chat) if nameless else chat for chat in _troubled(status)]
    stuck = [_chat(chat) for chat in troubled if chat.stuck]
    gone = [_not_running(role, status) for role in ROLES if status[role] is None]
    return _cannot_write(status) + gone + stuck


def _cannot_write(status: dict[str, Any]) -> list[str]:
    reason = status["redis"].get("cannot_write", "")
    if not reason:
        return []
    return [f"redis    cannot be written to, so nothing new is told: {reason}"]


def _troubled(status: dict[str, Any]) -> list[ChatReport]:
    bot = cast("dict[str, Any]", status["bot"] or {})
    return msgspec.convert(bot.get("troubled", []), list[ChatReport])


def _nameless(chat: ChatReport) -> ChatReport:
    return msgspec.structs.replace(chat, chat="a chat", reason=chat.reason.replace(chat.chat, "…"))


def _chat(chat: ChatReport) -> str:
    """A chat that is not ready or where something critical waits, and what waits there."""
    parts = [chat.chat if chat.ready else f"{chat.chat} is not ready"]
    if chat.queued:
        parts.append(f"{count(chat.queued, 'post')} {'waits' if chat.queued == 1 else 'wait'}")
    if chat.critical_ms:
        parts.append(f"the oldest critical one for {chat.critical_ms // 1000:,} s")
    words = ", ".join(parts) + (f": {chat.reason}" if chat.reason else "")
    return f"bot      {words}"


def _not_running(role: str, status: dict[str, Any]) -> str:
    end = status["ended"].get(role)
    if end is None and status["redis"].get("cannot_write", ""):
        return f"{role:8} nothing heard for {STATUS_LIFE_S} s, since it cannot report"
    if end is None:
        return f"{role:8} {_unheard(status.get('unheard', {}).get(role))}"
    ago = f"{LANGUAGES['en'].length(end['seconds_ago'] * 1000)} ago"
    if not end["reason"]:
        return f"{role:8} not running: it was stopped {ago}"
    return f"{role:8} not running: it ended {ago}: {end['reason']}"


class Unheard(NamedTuple):
    """A role that has no report, as whoever has looked before knows it."""

    seconds: float
    """Since when nothing is heard, by a steady clock; since the first look where nothing was."""
    before: bool
    """Whether it was heard before."""


def _unheard(unheard: Unheard | None) -> str:
    """A report is kept for ``STATUS_LIFE_S`` by the server's clock, which may step, and it is lost
    with the server. None: nobody has looked before."""
    if unheard is None or unheard.seconds > STATUS_LIFE_S - STATUS_EVERY_S:
        return f"not running (nothing heard for {STATUS_LIFE_S} s)"
    if unheard.before:
        return "reports anew in a moment: Redis was restarted, or its clock stepped"
    return "has not reported yet"


def wrong_clock(streams: Any) -> ClockError | None:
    """How wrong this machine's clock is, by the report of the streams role; None: not known to be.

    A clock that is behind is wrong. One that seems to be ahead may be right: in a crash all
    exchanges can be late together, though not by as much as ``APART``.
    """
    if streams is None:
        return None
    error = msgspec.convert(streams.get("clock"), ClockError | None)
    return None if error is None or 0 <= error.ahead < APART else error


def lag_of(socket: SocketStatus, error: ClockError | None) -> Ms | None:
    """How late the data of a socket are; None where the clock does not tell, by ``error`` or since
    they would be of long after now."""
    return None if error is not None or socket.lag_ms < -MOST else max(0, socket.lag_ms)


def describe(status: dict[str, Any]) -> str:
    """``collect``'s answer in words and a table."""
    lines = _cannot_write(status)
    for role in ROLES:
        if status[role] is None:
            lines.append(_not_running(role, status))
        else:
            lines.append(f"{role:8} {_role(role, status[role])}{_age(role, status)}")
        if role == "bot":
            lines += [_chat(chat) for chat in _troubled(status)]
    redis = status["redis"]
    for name, stream in redis["streams"].items():
        entries = "1 entry" if stream["entries"] == 1 else f"{stream['entries']:,} entries"
        lines.append(f"{name:8} {entries} over {stream['seconds']:,.0f} s")
    used, resident = redis["memory_mb"], redis["rss_mb"]
    if used is None:
        lines.append("redis    does not say how much memory it takes")
    else:
        lines.append(
            f"redis    {used} MB used, {'?' if resident is None else resident} MB resident"
        )
    if status["streams"] is not None:
        if _age("streams", status):
            lines += ["", f"{status['heard_s']['streams']} s ago it was so:"]
        venues = msgspec.convert(status["streams"]["venues"], list[VenueStatus])
        error = wrong_clock(status["streams"])
        for venue in venues:
            lines += ["", *_venue(venue, error)]
    return "\n".join(lines)


def _age(role: str, status: dict[str, Any]) -> str:
    """How old a report is, if one is overdue."""
    heard_s = status.get("heard_s", {}).get(role, 0)
    return f"; last heard {heard_s} s ago" if heard_s >= 2 * STATUS_EVERY_S else ""


def _role(role: str, status: dict[str, Any]) -> str:
    memory = f"{status['rss_mb']} MB"
    match role:
        case "streams":
            waiting = f", {status['waiting']:,} waiting for Redis" if status["waiting"] else ""
            return f"{memory}, {count(status['written'], 'event')} written{waiting}"
        case "rules":
            return (
                f"{memory}, {count(status['events'], 'event')} read,"
                f" {count(status['alerts'], 'alert')},"
                f" {max(0, status['lag_ms'])} ms behind"
            )
        case _:
            return (
                f"{memory}, {count(status['sent'], 'message')} sent to"
                f" {status['destination'] or '?'},"
                f" {status['refused']} refused, {status['uncertain']} uncertain"
            )


def _venue(venue: VenueStatus, error: ClockError | None) -> list[str]:
    if venue.trouble:
        return [f"{venue.title}: cannot be reached: {venue.trouble}"]
    missing = ", ".join(kind.replace("_", " ") for kind in venue.not_available)
    head = f"{venue.title}: {count(venue.instruments, 'instrument')}"
    if missing:
        head += f", {missing}: not available"
    if not venue.sides_known:
        head += ", open interest in percent only (may count both sides)"
    if venue.unknown_contracts:
        head += f", {count(venue.unknown_contracts, 'contract')} on unknown assets left out"
    feeds = "  " + ", ".join(_feed(kind, count) for kind, count in venue.feeds.items())
    silent = [f"  {silent_contract(contract)}" for contract in venue.silent]
    return [head, feeds, *silent, *(_socket(socket, error) for socket in venue.sockets)]


def silent_contract(contract: SilentContract) -> str:
    """What does not come of a contract, and why."""
    kinds = ", ".join(kind.replace("_", " ") for kind in contract.kinds)
    reason = f" ({contract.reason})" if contract.reason else ""
    return f"{contract.symbol} silent: {kinds}{reason}"


def _feed(kind: str, count: FeedCount) -> str:
    name = kind.replace("_", " ")
    if not count.up:
        return f"{name} {'down' if count.down else 'no data yet'}"
    return f"{name} up" if not count.down else f"{name} {count.up} up, {count.down} down"


def _socket(socket: SocketStatus, error: ClockError | None) -> str:
    state = "up" if socket.ready else "incomplete" if socket.connected else "down"
    books = f", books {socket.books_live}/{socket.books}" if socket.books else ""
    faults = ", ".join(
        f"{count} {name}"
        for name, count in (
            ("gaps", socket.gaps),
            ("dropped", socket.dropped),
            ("unreadable rows", socket.unreadable_rows),
            ("refused", socket.refused),
            ("reconnects", max(0, socket.connects - 1)),
        )
        if count
    )
    line = f"  {socket.name:24} {state:10} {socket.frames_per_s:7.1f} frames/s"
    lag_ms = lag_of(socket, error)
    line += f"  lag {'unknown' if lag_ms is None else f'{lag_ms} ms'}{books}"
    if faults:
        line += f", {faults}"
    return line + (f": {socket.reason}" if state == "down" and socket.reason else "")
