"""The only Redis, with ``writer``: what is read, committed and kept.

Invariants:
- what a stage says and how far it has read become durable in one MULTI;
- a role runs once: it holds a lease, and without it does nothing;
- only commands known to Redis 6.2 and to Valkey are used, and all keys of a shard share a slot.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError

from streams.events import Ms

log = structlog.get_logger()

Entry = tuple[bytes, dict[bytes, bytes]]
"""A stream entry as redis-py gives it with RESP3."""

START = "0-0"
"""Before the first entry of any stream."""

BLOCK_MS = 2_000
COUNT = 500
ALERTS_KEEP_MS: Ms = 14 * 86_400_000
_BACKOFF_S = (0.2, 5.0)
_LEASE_MS: Ms = 6_000
_RENEW_S = 1.5


class Keys:
    """The names of one shard's keys. The braces keep a shard in one slot of a cluster."""

    def __init__(self, shard: int = 0) -> None:
        base = f"lowtide:{{{shard}}}"
        self.events = f"{base}:events"
        self.alerts = f"{base}:alerts"
        self.status = f"{base}:status"
        self._base = base

    def bookmark(self, stage: str) -> str:
        """How far a stage has read."""
        return f"{self._base}:bookmark:{stage}"

    def snapshot(self, stage: str) -> str:
        """The state of a stage, with its own bookmark inside."""
        return f"{self._base}:snapshot:{stage}"

    def lease(self, role: str) -> str:
        """Who runs a role now."""
        return f"{self._base}:lease:{role}"

    def sending(self) -> str:
        """The alert whose message is being sent right now."""
        return f"{self._base}:sending"


def connect(url: str, name: str) -> Redis:
    """A client that never repeats a command by itself (redis-py's default repeats writes)."""
    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        protocol=3,
        legacy_responses=False,
        decode_responses=False,
        socket_timeout=10,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
        client_name=f"lowtide-{name}",
    )


def in_words(error: Exception) -> str:
    """What is wrong with Redis and what to do, in a sentence."""
    text = str(error)
    match error:
        case OutOfMemoryError():
            return "Redis has no memory left: raise its maxmemory or lower redis.max_mb"
        case AuthenticationError():
            return "Redis refuses the password: check REDIS_URL"
        case ResponseError() if "MISCONF" in text or "No space left" in text:
            return "Redis cannot write its file, the disk is full or read-only: make room"
        case ResponseError() if "READONLY" in text:
            return "this Redis is a read-only replica: point REDIS_URL to the primary"
        case ResponseError() if "LOADING" in text:
            return "Redis is still reading its file"
        case ResponseError() if "NOPERM" in text:
            return "Redis forbids a command or key to this user: allow ~lowtide:* and streams"
        case ResponseError():
            return f"Redis refused a command: {text[:200]}"
        case _:
            return f"Redis cannot be reached ({type(error).__name__})"


class Backoff:
    """Waits longer after each failure in a row, and says each kind of failure once."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._wait = _BACKOFF_S[0]
        self._said = ""

    async def failed(self, error: Exception) -> None:
        """Say what is wrong, if that is new, and wait."""
        words = in_words(error)
        if words != self._said:
            self._said = words
            log.error(f"{words}; {self._who} keeps trying and keeps what it has")
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 2, _BACKOFF_S[1])

    def worked(self) -> None:
        """It works (again)."""
        if self._said:
            log.info(f"Redis works again for {self._who}")
        self._said, self._wait = "", _BACKOFF_S[0]


_RENEW = """if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"""
_RELEASE = """if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1]) end return 0"""


class LeaseLost(Exception):
    """Another process runs this role now."""


class Lease:
    """The right to run a role: two writers of one stream would count every liquidation twice."""

    def __init__(self, redis: Redis, keys: Keys, role: str) -> None:
        self._redis = redis
        self._key = keys.lease(role)
        self._role = role
        self._token = secrets.token_hex(8)
        self._backoff = Backoff(f"the {role} role")

    async def take(self) -> None:
        """Wait until the lease is ours."""
        said = False
        while True:
            try:
                if await self._set():
                    self._backoff.worked()
                    return
            except (RedisError, OSError, TimeoutError) as error:
                await self._backoff.failed(error)
                continue
            self._backoff.worked()
            if not said:
                said = True
                log.warning(
                    f"another {self._role} role is running on this Redis; waiting for its end"
                )
            await asyncio.sleep(_RENEW_S)

    async def hold(self) -> None:
        """Renew for ever; raises LeaseLost when somebody else has it."""
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                renewed = await self._call(_RENEW, str(_LEASE_MS))
                if not renewed and not await self._set():
                    raise LeaseLost(f"another {self._role} role has taken over")
                self._backoff.worked()
            except (RedisError, OSError, TimeoutError) as error:
                await self._backoff.failed(error)

    async def release(self) -> None:
        """Let the next one start at once."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self._call(_RELEASE)

    async def _set(self) -> bool:
        return bool(await self._redis.set(self._key, self._token, nx=True, px=_LEASE_MS))

    async def _call(self, script: str, *args: str) -> object:
        return await cast(
            "Awaitable[object]",
            self._redis.eval(script, 1, self._key, self._token, *args),
        )


class Snapshot(msgspec.Struct, frozen=True):
    """A stage's state and the entry it had read up to."""

    cursor: str
    state: bytes


class Stage:
    """A reader of one stream with a bookmark. One reader a stage keeps the order of events."""

    def __init__(self, redis: Redis, keys: Keys, name: str, source: str) -> None:
        self.keys = keys
        self.name = name
        self._redis = redis
        self._source = source
        self._backoff = Backoff(f"the {name} role")

    async def bookmark(self) -> str:
        """The last entry whose consequences are durable; START if there is none."""
        value = await self._patiently(lambda: self._redis.get(self.keys.bookmark(self.name)))
        return value.decode() if value else START

    async def read(self, after: str, block: bool = True) -> list[tuple[str, bytes]]:
        """Entries after ``after``, at most COUNT; waits up to BLOCK_MS for the first."""

        wait = BLOCK_MS if block else None
        reply = await self._patiently(
            lambda: self._redis.xread({self._source: after}, count=COUNT, block=wait)
        )
        read = cast("dict[bytes, list[Entry]]", reply or {})
        return [
            (entry_id.decode(), next(iter(fields.values())))
            for entries in read.values()
            for entry_id, fields in entries
        ]

    async def first(self) -> str | None:
        """The oldest entry that is still there, None if there is none."""
        reply = await self._patiently(lambda: self._redis.xrange(self._source, count=1))
        entries = cast("list[Entry]", reply)
        return entries[0][0].decode() if entries else None

    async def commit(self, cursor: str, alerts: Sequence[bytes]) -> None:
        """Make ``alerts`` and the bookmark durable together, once.

        After a lost reply the bookmark tells whether it happened.
        """
        bookmark = self.keys.bookmark(self.name)
        while True:
            try:
                async with self._redis.pipeline(transaction=True) as pipe:
                    keep = int(time.time() * 1000) - ALERTS_KEEP_MS
                    for alert in alerts:
                        pipe.xadd(self.keys.alerts, {"a": alert}, minid=str(keep), approximate=True)
                    pipe.set(bookmark, cursor)
                    await pipe.execute()
            except (RedisError, OSError, TimeoutError) as error:
                await self._backoff.failed(error)
                if await self.bookmark() == cursor:
                    return
                continue
            self._backoff.worked()
            return

    async def save(self, snapshot: Snapshot) -> None:
        """Keep the stage's state."""
        data = msgspec.msgpack.encode(snapshot)
        await self._patiently(lambda: self._redis.set(self.keys.snapshot(self.name), data))

    async def saved(self) -> Snapshot | None:
        """The state kept last, None if there is none or it cannot be read."""
        data = await self._patiently(lambda: self._redis.get(self.keys.snapshot(self.name)))
        if not data:
            return None
        try:
            return msgspec.msgpack.decode(data, type=Snapshot)
        except msgspec.MsgspecError:
            log.warning("a saved state could not be read; starting without it", stage=self.name)
            return None

    async def _patiently(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The answer, however long Redis is away. Only for calls that may be repeated."""
        while True:
            try:
                answer = await call()
            except (RedisError, OSError, TimeoutError) as error:
                await self._backoff.failed(error)
                continue
            self._backoff.worked()
            return answer
