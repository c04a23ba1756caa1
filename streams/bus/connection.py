"""Redis: connections, the names of keys, and the reader of a stream. Writing is in ``writer``.

Invariants:
- the alerts of a role and how far it has read become durable together and once, even when the
  reply is lost and even when a second reader is at work;
- only commands known to Redis 6.2 and to Valkey are used, and all keys of a shard share a slot.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    WatchError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streams.bus.health import HEALTH
from streams.clock import wall_ms
from streams.durations import DAY
from streams.events import Ms

log = structlog.get_logger()

Entry = tuple[bytes, dict[bytes, bytes]]
"""A stream entry as redis-py gives it with RESP3."""

Id = tuple[int, int]
"""An entry's id: Ms and number within it. Ids compare as entries follow each other."""

START = "0-0"
"""Before the first entry of any stream."""

ANSWER_S = 10.0
"""How long an answer may take; more than BLOCK_MS."""

BLOCK_MS = 2_000
COUNT = 500
ALERTS_KEEP_MS: Ms = 14 * DAY
_ASIDE_S = 7 * 86_400
_BACKOFF_S = (0.2, 5.0)


PREFIX = "lowtide"

_prefix = PREFIX


def use_prefix(prefix: str) -> None:
    """From now on all keys of this process begin with ``prefix``, so that several installations
    share a server."""
    global _prefix  # a process is of one installation
    _prefix = prefix


class Keys:
    """The names of one shard's keys. The braces keep a shard in one slot of a cluster."""

    def __init__(self, shard: int = 0) -> None:
        base = f"{_prefix}:{{{shard}}}"
        self.events = f"{base}:events"
        self.alerts = f"{base}:alerts"
        self.status = f"{base}:status"
        self.standing = f"{base}:standing"
        self.episodes = f"{base}:episodes"
        self.subscribers = f"{base}:subscribers"
        self.outbox = f"{base}:outbox"
        self.remembered = f"{base}:remembered"
        self.prefix = f"{base}:"
        """What all of them begin with."""

    def bookmark(self, role: str) -> str:
        """How far a role has read."""
        return f"{self.prefix}bookmark:{role}"

    def snapshot(self, role: str) -> str:
        """The saved state of a role, with its own bookmark inside."""
        return f"{self.prefix}snapshot:{role}"

    def lease(self, role: str) -> str:
        """Who runs a role now."""
        return f"{self.prefix}lease:{role}"


def parsed(entry_id: str | bytes) -> Id:
    """The id that Redis writes as text."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, _, number = text.partition("-")
    return int(ms), int(number or 0)


def connect(url: str, name: str) -> Redis:
    """A client that never repeats a command by itself (redis-py's default repeats writes).

    It speaks RESP2 and asks for nothing but AUTH and SELECT before its first command, since managed
    servers forbid HELLO and CLIENT; whether the connection has a name is the server's to decide.

    It has no socket_timeout: with one redis-py 8.1 sends through asyncio.wait_for, which on Python
    3.11 now and then swallows a cancellation, and the role goes on for ever. So callers set the
    limit, ``asyncio.timeout(ANSWER_S)``.
    """
    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        protocol=2,
        legacy_responses=False,
        decode_responses=False,
        socket_timeout=None,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,
        redis_connect_func=partial(_greet, f"{_prefix}-{name}"),
    )


async def _greet(name: str, connection: AbstractConnection) -> None:
    await connection.on_connect()
    await connection.send_command("CLIENT", "SETNAME", name)
    with contextlib.suppress(ResponseError):
        await connection.read_response()


async def unsafe(redis: Redis) -> str:
    """What is unsafe about the server, in a sentence; "" if nothing is, or nobody may ask."""
    try:
        async with asyncio.timeout(ANSWER_S):
            info = await redis.info("memory")  # pyright: ignore[reportUnknownMemberType]
    except (RedisError, OSError, TimeoutError):
        return ""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ""
    return (
        f"its maxmemory-policy is {policy}, which drops posts that wait and saved state when memory"
        " is short: set it to noeviction"
    )


async def unwritable(redis: Redis) -> str:
    """Why nothing can be written to the server, in a sentence; "" if it can, or nobody may try.

    Tried with a key of a second, since a server says in several ways that it cannot write, and does
    so to whoever writes. Raises what means that it cannot be reached.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            await redis.set(f"{Keys().status}:try", b"", px=1_000)
    except NoPermissionError:
        return ""
    except ResponseError as error:
        return in_words(error)
    return ""


class LeaseGone(RedisError):
    """Nobody holds the lease of a role that is at work."""


def in_words(error: BaseException) -> str:
    """What is wrong with Redis and what to do, in a sentence.

    A Redis before 7.0 puts what a command of a script met into the text of another error.
    """
    text = str(error)
    match error:
        case ResponseError() if isinstance(error, OutOfMemoryError) or "-OOM " in text:
            return "Redis has no memory left: raise its maxmemory or lower redis.max_mb"
        case AuthenticationError():
            return "Redis refuses the password: check REDIS_URL"
        case ResponseError() if isinstance(error, ReadOnlyError) or "-READONLY " in text:
            return "this Redis is a read-only replica: point REDIS_URL to the primary"
        case BusyLoadingError():
            return "Redis is still reading its file"
        case NoPermissionError():
            return f"Redis forbids a command or key to this user: allow ~{_prefix}:* and streams"
        case MovedError():
            return (
                "this Redis is a cluster, and another of its nodes has Lowtide's keys: point"
                " REDIS_URL to that node, or use a Redis that is no cluster"
            )
        case ResponseError() if "MISCONF" in text or "No space left" in text:
            return "Redis cannot write its file, the disk is full or read-only: make room"
        case ResponseError():
            return f"Redis refused a command: {text[:200]}"
        case RedisTimeoutError() | TimeoutError():
            return "Redis does not answer in time"
        case RedisConnectionError(__cause__=RedisError() as cause):  # from the first greeting
            return in_words(cause)
        case LeaseGone():
            return (
                "Redis was emptied, or this machine stood still for long, so that the role holds"
                " nothing there any more: what is in hand is kept and written; use a Redis that"
                " nobody else empties"
            )
        case WatchError():
            return "what Redis keeps was changed by somebody else in between: it is tried again"
        case RedisError() if not isinstance(error, RedisConnectionError):
            return f"Redis did not do what it was asked: {text[:200] or type(error).__name__}"
        case _:
            return f"Redis cannot be reached: {_cause(text) or type(error).__name__}"


def _cause(text: str) -> str:
    """redis-py's words without its numbers; it names host and port, never the password."""
    match = re.match(r"Error (?:-?\d+ )?(connecting to .*?)\.?$", text)
    return match[1][:150] if match else ""


class Backoff:
    """Waits longer after each failure in a row; logs the first of each kind, and that it is over.

    This is the state of one outage, which ``HEALTH`` shows as well. ``streams.feed.errors.SayOnce``
    only keeps the same words out of the log for a while.

    ``role``: the one whose loop goes round by each try, see ``streams/bus/health.py``.
    """

    def __init__(self, who: str, role: str = "") -> None:
        self._who = who
        self._role = role
        self._wait = _BACKOFF_S[0]
        self._logged = ""

    async def failed(self, error: Exception) -> None:
        """Log what is wrong, if that is new, and wait."""
        HEALTH.beat(self._role)
        words = in_words(error)
        kind = words.partition(":")[0]  # the details may change from try to try
        HEALTH.failing(self._who, words, by_hand=isinstance(error, ResponseError))
        if kind != self._logged:
            self._logged = kind
            log.error(f"{words}; {self._who} keeps trying and keeps what it has")
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 2, _BACKOFF_S[1])

    def worked(self) -> None:
        """It works (again)."""
        HEALTH.beat(self._role)
        if self._logged:
            HEALTH.works(self._who)
            log.info(f"Redis works again for {self._who}")
        self._logged, self._wait = "", _BACKOFF_S[0]


async def retry(backoff: Backoff, call: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, however long Redis is away. Only for calls that may be repeated."""
    while True:
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await call()
        except (RedisError, OSError, TimeoutError) as error:
            await backoff.failed(error)
            continue
        backoff.worked()
        return answer


class Overtaken(Exception):
    """The bookmark is not where this reader left it: another process has this role now, or Redis
    has lost the last writes. ``str()`` says which."""


class Snapshot(msgspec.Struct, frozen=True):
    """A role's state and the entry that it had read up to."""

    cursor: str
    state: bytes


_COMMIT = """local there = redis.call('GET', KEYS[1])
if there == ARGV[2] then return 1 end
if there and there ~= ARGV[1] then return 0 end
for i = 4, #ARGV do
  local id = redis.call('XADD', KEYS[2], '*', 'a', ARGV[i])
  local oldest = tonumber(string.match(id, '^%d+')) - tonumber(ARGV[3])
  redis.call('XTRIM', KEYS[2], 'MINID', '~', string.format('%d', math.max(0, oldest)))
end
redis.call('SET', KEYS[1], ARGV[2])
return 1"""
"""Bookmark, alerts; from, to, how long to keep alerts (Ms), alerts. No bookmark: Redis was emptied.

How old an alert is goes by the server's clock, which has dated it: ours may be days ahead of it.
"""


class StreamReader:
    """A role's reader of one stream, with a bookmark. One for a role keeps events in order."""

    def __init__(self, redis: Redis, keys: Keys, name: str, source: str) -> None:
        self.keys = keys
        self.name = name
        self._redis = redis
        self._source = source
        self._committed = START
        self._backoff = Backoff(f"the {name} role", name)

    async def bookmark(self) -> str:
        """The last entry whose consequences are durable; START if there is none."""
        self._committed = await self._text(self.keys.bookmark(self.name)) or START
        return self._committed

    async def read(self, after: str, block: bool = True) -> list[tuple[str, bytes]]:
        """Entries after ``after``, at most COUNT; waits up to BLOCK_MS for the first.

        If ``after`` lies beyond the newest entry there ever was, the stream is another one, or
        ``after`` is of a clock that was ahead: nothing in the stream has been read then, and it is
        read from its beginning.
        """
        entries = await self._entries(after, BLOCK_MS if block else None)
        if entries or parsed(after) <= parsed(await self.newest()):
            return entries
        entries = await self._entries(START, None)
        if entries:
            log.warning(
                "the bookmark lies beyond the stream, which is read from its beginning",
                role=self.name, bookmark=after,
            )  # fmt: skip
        return entries

    async def _entries(self, after: str, wait: Ms | None) -> list[tuple[str, bytes]]:
        reply = await self._retry(
            lambda: self._redis.xread({self._source: after}, count=COUNT, block=wait)
        )
        read = cast("dict[bytes, list[Entry]]", reply or {})
        return [
            (entry_id.decode(), next(iter(fields.values())))
            for entries in read.values()
            for entry_id, fields in entries
        ]

    async def newest(self) -> str:
        """The id of the newest entry there ever was, whether or not it was let go; START: none."""
        return await self._retry(self._newest)

    async def _newest(self) -> str:
        try:
            info = cast("dict[str | bytes, bytes]", await self._redis.xinfo_stream(self._source))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return START
        return {str(k, "ascii") if isinstance(k, bytes) else k: v for k, v in info.items()}[
            "last-generated-id"
        ].decode()

    async def recent(self, ms: Ms) -> str:
        """A bookmark before all that comes from now on, and before what came in the last ``ms`` of
        the server's time, by which entries without an id of their own are dated."""
        newest = await self.newest()
        since = await self._retry(self._server_time) - ms
        return min(newest, f"{max(0, since)}-0", key=parsed)

    async def _server_time(self) -> Ms:
        try:
            seconds, micros = await self._redis.time()  # pyright: ignore[reportUnknownMemberType]
        except ResponseError:  # not everybody may ask: ours is as good as any, and bounded above
            return wall_ms()
        return seconds * 1_000 + micros // 1_000

    async def first(self) -> str | None:
        """The oldest entry that is still there, None if there is none."""
        reply = await self._retry(lambda: self._redis.xrange(self._source, count=1))
        entries = cast("list[Entry]", reply)
        return entries[0][0].decode() if entries else None

    async def commit(self, cursor: str, alerts: Sequence[bytes]) -> None:
        """Make ``alerts`` and the bookmark durable together, once.

        The bookmark tells whether it has happened before a lost reply. Raises Overtaken if it has
        been moved by somebody else.
        """
        await self._retry(lambda: self._commit(cursor, alerts))
        self._committed = cursor

    async def _commit(self, cursor: str, alerts: Sequence[bytes]) -> None:
        keys = self.keys.bookmark(self.name), self.keys.alerts
        keep = str(ALERTS_KEEP_MS)
        done = await cast(
            "Awaitable[int]",
            self._redis.eval(_COMMIT, 2, *keys, self._committed, cursor, keep, *alerts),  # pyright: ignore[reportArgumentType]  # bytes are taken
        )
        if done:
            return
        there = cast("bytes | None", await self._redis.get(keys[0]))
        if there and parsed(there) < parsed(self._committed):
            raise Overtaken(
                f"Redis has lost what the {self.name} role wrote last, as a failover or a restart"
                " of the server may do: the role goes on from what is there"
            )
        raise Overtaken(f"another {self.name} role is at work")

    async def say(self, alert: bytes) -> None:
        """Add an alert that no entry caused; it is there twice if a reply is lost."""
        await self._retry(lambda: self._redis.xadd(self.keys.alerts, {"a": alert}))

    async def save(self, snapshot: Snapshot) -> None:
        """Keep the role's state."""
        data = msgspec.msgpack.encode(snapshot)
        await self._retry(lambda: self._redis.set(self.keys.snapshot(self.name), data))

    async def saved(self) -> Snapshot | None:
        """The state kept last, None if there is none. ValueError if it cannot be read."""
        data = await self._retry(lambda: self._redis.get(self.keys.snapshot(self.name)))
        if not data:
            return None
        try:
            return msgspec.msgpack.decode(data, type=Snapshot)
        except msgspec.MsgspecError as error:
            raise ValueError("the saved state is not readable: it starts anew") from error

    async def set_aside(self) -> None:
        """Keep the saved state as it is under another name for a week, since it was not readable
        in full: the version that wrote it can go on with it."""
        old = self.keys.snapshot(self.name)
        data = await self._retry(lambda: self._redis.get(old))
        if data:
            await self._retry(lambda: self._redis.set(f"{old}:unread", data, ex=_ASIDE_S))

    async def _text(self, key: str) -> str | None:
        value = cast("bytes | None", await self._retry(lambda: self._redis.get(key)))
        return None if value is None else value.decode()

    async def _retry(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await retry(self._backoff, call)
