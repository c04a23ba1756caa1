"""What commands look up and change in Redis.

Every function raises RedisError, OSError or TimeoutError when Redis cannot be reached; those that
change something may be called again then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import msgspec
import structlog
from redis.asyncio import Redis

from bot.commands.context import ROLES, Reports, reports
from bot.commands.why import EpisodeQuery
from bot.plan import silences as keeping
from bot.plan.silences import Silence
from bot.plan.subscriptions import Subscriber, dump, load, ordered
from rules import alerts
from rules.alerts import Alert
from rules.snapshot import OpenEpisodes, Standing
from streams.bus.connection import ANSWER_S, Entry, Keys, unwritable
from streams.events import Ms

log = structlog.get_logger()

PAGE = 500
MOST_PAGES = 100
"""How far back an episode is looked for: 50,000 alerts."""

_SWAP = """if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1"""
"""Sets a key if it is still what it was; 0: somebody else has changed it."""


_SWAP_FIELD = """if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1"""
"""The same of a field of a hash that is there."""


async def standing(redis: Redis) -> Standing | None:
    """What the rules see; None if they have not said so lately."""
    data = cast("bytes | None", await _answer_of(redis.get(Keys().standing)))
    try:
        return msgspec.msgpack.decode(data, type=Standing) if data else None
    except msgspec.MsgspecError as error:
        log.error("what the rules see could not be read", reason=str(error)[:200])
        return None


async def open_episodes(redis: Redis) -> OpenEpisodes | None:
    """What is open; None if the rules have not said so lately."""
    data = cast("bytes | None", await _answer_of(redis.get(Keys().episodes)))
    try:
        return msgspec.msgpack.decode(data, type=OpenEpisodes) if data else None
    except msgspec.MsgspecError as error:
        log.error("what is open could not be read", reason=str(error)[:200])
        return None


async def role_reports(redis: Redis, writing: bool = False) -> Reports:
    """What the roles report. Whether they can is looked for where one has not, and, with
    ``writing``, in any case."""
    names = [f"{Keys().status}:{role}" for role in ROLES]
    values = cast("list[bytes | None]", await _answer_of(redis.mget(names)))
    by_role = {role: _json(data) for role, data in zip(ROLES, values, strict=True)}
    silent = any(report is None for report in by_role.values())
    cannot_write = await unwritable(redis) if writing or silent else ""
    return msgspec.structs.replace(reports(by_role), cannot_write=cannot_write)


async def silences(redis: Redis) -> tuple[Silence, ...]:
    """All silences that are kept, those just over among them."""
    return _silences(await _raw_silences(redis))


async def change_silences(
    redis: Redis, change: Callable[[Sequence[Silence]], tuple[Silence, ...]]
) -> tuple[Silence, ...]:
    """Keep what ``change`` makes of the silences. Nobody else's change is lost."""
    while True:
        before = await _raw_silences(redis)
        after = change(_silences(before))
        if await _swap(redis, Keys().snapshot("silences"), before, keeping.dump(after)):
            return after


async def daily_status_told(redis: Redis) -> Ms:
    """Of which time the daily status was told last, or left out; 0: never."""
    data = cast("bytes | None", await _answer_of(redis.get(Keys().snapshot("daily_status"))))
    return int(data) if data is not None and data.isdigit() else 0


async def keep_daily_status_told(redis: Redis, at: Ms) -> None:
    """The daily status of ``at`` was told, or is left out."""
    await _answer_of(_of(redis.set(Keys().snapshot("daily_status"), str(at))))


async def subscriptions(redis: Redis) -> tuple[Subscriber, ...]:
    """All subscriptions, always in the same order."""
    fields = cast("dict[bytes, bytes]", await _answer_of(_of(redis.hgetall(Keys().subscribers))))
    return ordered(
        subscriber for data in fields.values() if (subscriber := _subscription(data)) is not None
    )


async def subscribers(redis: Redis, user: int) -> tuple[Subscriber | None, int]:
    """The subscription of ``user``, and how many people have one."""
    mine = await _answer_of(_of(redis.hget(Keys().subscribers, str(user))))
    count = await _answer_of(_of(redis.hlen(Keys().subscribers)))
    return _subscription(cast("bytes | None", mine)), cast("int", count)


async def save_subscription(redis: Redis, subscriber: Subscriber) -> None:
    """Keep a subscription in the place of any other of its user; an empty one is dropped."""
    if subscriber.wants:
        user, data = str(subscriber.user), dump(subscriber)
        await _answer_of(_of(redis.hset(Keys().subscribers, user, data)))  # pyright: ignore[reportArgumentType]  # bytes are taken
    else:
        await drop_subscription(redis, subscriber.user)


async def keep_informed(redis: Redis, user: int, rules: tuple[str, ...]) -> None:
    """``user`` has been told that ``rules`` are gone. Nobody else's change is lost."""
    while True:
        before = await _answer_of(_of(redis.hget(Keys().subscribers, str(user))))
        subscriber = _subscription(cast("bytes | None", before))
        if subscriber is None:
            return
        after = dump(msgspec.structs.replace(subscriber, informed=rules))
        key, field = Keys().subscribers, str(user)
        done = _of(redis.eval(_SWAP_FIELD, 1, key, field, before, after))  # pyright: ignore[reportArgumentType]  # bytes are taken
        if await _answer_of(done):
            return


async def drop_subscription(redis: Redis, chat: int) -> None:
    """End the subscription of a private chat, as when its owner has blocked the bot."""
    await _answer_of(_of(redis.hdel(Keys().subscribers, str(chat))))


async def episode(redis: Redis, wanted: EpisodeQuery) -> tuple[Alert, ...]:
    """The alerts that ``/why`` asks for, the newest first, back to the opening of the newest."""
    mark = b'"asset":' + msgspec.json.encode(wanted.asset)
    turns: list[Alert] = []
    before = "+"
    for _ in range(MOST_PAGES):
        page = cast(
            "list[Entry]", await _answer_of(redis.xrevrange(Keys().alerts, max=before, count=PAGE))
        )
        for _, fields in page:
            data = next(iter(fields.values()))
            if "/" in wanted.asset or mark in data:
                turns += [alert for alert in _alert(data) if wanted.matches(alert)]
        if len(page) < PAGE or wanted.complete(turns):
            break
        before = f"({page[-1][0].decode()}"
    return tuple(turns)


async def alerts_since(redis: Redis, since: Ms) -> tuple[Alert, ...]:
    """All alerts since then, the newest first, as far as they are kept."""
    turns: list[Alert] = []
    before = "+"
    for _ in range(MOST_PAGES):
        page = cast(
            "list[Entry]",
            await _answer_of(redis.xrevrange(Keys().alerts, before, str(since), count=PAGE)),
        )
        turns += [alert for _, fields in page for alert in _alert(next(iter(fields.values())))]
        if len(page) < PAGE:
            break
        before = f"({page[-1][0].decode()}"
    return tuple(turns)


def _alert(data: bytes) -> list[Alert]:
    try:
        event = alerts.decode(data)
    except msgspec.MsgspecError:
        return []  # the bot role has logged it
    return [event] if isinstance(event, Alert) else []


async def _raw_silences(redis: Redis) -> bytes:
    return cast("bytes | None", await _answer_of(redis.get(Keys().snapshot("silences")))) or b""


def _silences(data: bytes) -> tuple[Silence, ...]:
    try:
        return keeping.load(data) if data else ()
    except msgspec.MsgspecError:
        log.error("the silences could not be read; nothing is silenced")
        return ()


async def _swap(redis: Redis, key: str, before: bytes, after: bytes) -> bool:
    done = _of(redis.eval(_SWAP, 1, key, before, after))  # pyright: ignore[reportArgumentType]  # bytes are taken
    return bool(await _answer_of(done))


def _subscription(data: bytes | None) -> Subscriber | None:
    try:
        return load(data) if data else None
    except msgspec.MsgspecError:
        log.error("a subscription could not be read")
        return None


def _json(data: bytes | None) -> Any:
    try:
        return msgspec.json.decode(data) if data else None
    except msgspec.MsgspecError:
        return None


def _of(call: Any) -> Awaitable[Any]:
    """redis-py types the commands of hashes as answers or awaitables of them."""
    return cast("Awaitable[Any]", call)


async def _answer_of(call: Awaitable[Any]) -> Any:
    async with asyncio.timeout(ANSWER_S):
        return await call
