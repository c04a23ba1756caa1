"""Appends to a stream: each entry once, within a limit of age and of memory.

Invariant: an entry gets its id once and keeps it until it is known to be in the stream. After a
lost reply or a cancelled call the stream is asked what it has, so nothing is written twice and
nothing accepted is lost. (With redis-py's own retries one lost reply wrote eleven copies.)
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError, WatchError

from streams.bus.connection import ANSWER_S, Backoff, Entry, Id, parsed
from streams.bus.lease import Lease
from streams.durations import SECOND
from streams.events import Ms

FLUSH_S = 1.2
"""Of the 4 s in which everything must have stopped, what a role may take to write the rest."""

_ENTRY_OVERHEAD = 30
"""Bytes an entry takes beside its JSON, measured on Valkey 9 with 200-byte entries."""

_ENTRY_AVERAGE = 230
"""Bytes of an entry of the live streams, with its overhead."""

_PART_MS: Ms = 5 * SECOND
_PARTS = 32
"""The stream is let go of in parts: of so many Ms, or of this share of its memory."""


class Writer:
    """Appends entries to one stream, each exactly once, within a limit of age and of memory."""

    def __init__(
        self, redis: Redis, key: str, keep_ms: Ms, max_bytes: int, lease: Lease | None = None
    ) -> None:
        """``lease``: nothing is written once another process holds it; LeaseLost is raised then."""
        self.written = 0
        self._redis = redis
        self._key = key
        self._keep_ms = keep_ms
        self._max_bytes = max_bytes
        self._lease = lease
        self._accepted: list[tuple[Ms, bytes]] = []
        self._batch: list[tuple[Id, bytes]] = []
        self._last: Id | None = None  # of the stream, None while that is unknown
        self._highest: Id = (0, 0)
        self._parts: deque[tuple[Id, int]] = deque()  # (first entry, bytes)
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """Entries accepted that are not known to be in the stream."""
        return len(self._accepted) + len(self._batch)

    async def append(self, entries: Sequence[tuple[Ms, bytes]]) -> None:
        """Write (time, data) in order; returns when all are in. Waits while Redis is away.

        Cancelled, it keeps what may not be in yet for the next ``append`` or ``finish``.
        """
        self._accepted += entries
        await self.finish()

    async def finish(self) -> None:
        """Write what a cancelled ``append`` has left."""
        backoff = Backoff("the streams role", "streams")
        while self.waiting:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._advance()
            except WatchError:  # the lease was renewed in between
                continue
            except (RedisError, OSError, TimeoutError) as error:
                if isinstance(error, OutOfMemoryError):
                    await self._shrink()
                await backoff.failed(error)
        backoff.worked()

    async def _advance(self) -> None:
        last, self._last = self._last, None  # unknown from here until the reply
        if last is None:
            last = await self._recover()
        self._confirm(last)
        if not self._batch:
            self._batch = _numbered(self._accepted, max(last, self._highest))
            self._accepted = []
        if self._batch:
            await self._write(self._batch)
            last = self._batch[-1][0]
            self._confirm(last)
        self._last = last

    async def _write(self, batch: Sequence[tuple[Id, bytes]]) -> None:
        newest = batch[-1][0]
        async with self._redis.pipeline(transaction=True) as pipe:
            if self._lease is not None:
                await self._lease.guard(pipe)
            for entry_id, data in batch:
                trim: dict[str, Any] = {}
                if entry_id == newest:
                    trim = {"minid": _text(self._horizon(newest[0])), "approximate": True}
                pipe.xadd(self._key, {"e": data}, id=_text(entry_id), **trim)
            await pipe.execute()

    def _confirm(self, last: Id) -> None:
        """The stream has everything up to ``last``."""
        done = [item for item in self._batch if item[0] <= last]
        if not done:
            return
        del self._batch[: len(done)]
        self._highest = max(self._highest, done[-1][0])
        self.written += len(done)
        self._count(done)

    async def _recover(self) -> Id:
        """Ask the stream how far it is, and at first how much it holds."""
        try:
            info = cast("dict[str | bytes, bytes]", await self._redis.xinfo_stream(self._key))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return 0, 0
        by_name = {k.decode() if isinstance(k, bytes) else k: v for k, v in info.items()}
        last = parsed(by_name["last-generated-id"])
        if not self._parts:
            entries = cast("list[Entry]", await self._redis.xrange(self._key, count=1))
            size = await self._size()
            if entries and size:
                self._spread(size, parsed(entries[0][0])[0], last[0])
        return last

    async def _size(self) -> int:
        """How many bytes the stream takes; where nobody may ask, as of its entries on average."""
        with contextlib.suppress(ResponseError):
            return await self._redis.memory_usage(self._key) or 0  # pyright: ignore[reportUnknownMemberType]
        return await self._redis.xlen(self._key) * _ENTRY_AVERAGE

    def _spread(self, size: int, first: Ms, last: Ms) -> None:
        """Of what was there before we came only the sum is known: taken as even over time."""
        parts = max(1, min((last - first) // _PART_MS, 1_000))
        step = (last - first) // parts
        self._parts.extend(((first + i * step, 0), size // parts) for i in range(parts))
        self._bytes = size // parts * parts

    def _count(self, batch: Sequence[tuple[Id, bytes]]) -> None:
        size = sum(len(data) + _ENTRY_OVERHEAD for _, data in batch)
        first = batch[0][0]
        if (
            self._parts
            and first[0] - self._parts[-1][0][0] < _PART_MS
            and self._parts[-1][1] < self._max_bytes // _PARTS
        ):
            begin, before = self._parts.pop()
            self._parts.append((begin, before + size))
        else:
            self._parts.append((first, size))
        self._bytes += size

    def _horizon(self, newest: Ms) -> Id:
        """Entries before this are let go: too old, or too much."""
        parts = self._parts
        while len(parts) > 1 and (
            self._bytes > self._max_bytes or parts[1][0][0] < newest - self._keep_ms
        ):
            self._bytes -= parts.popleft()[1]
        return max(parts[0][0] if parts else (0, 0), (newest - self._keep_ms, 0))

    async def _shrink(self) -> None:
        """Redis is full: let the older half go."""
        for _ in range(len(self._parts) // 2):
            self._bytes -= self._parts.popleft()[1]
        if self._parts:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    oldest = _text(self._parts[0][0])
                    await self._redis.xtrim(self._key, minid=oldest, approximate=False)


def _numbered(entries: Sequence[tuple[Ms, bytes]], last: Id) -> list[tuple[Id, bytes]]:
    """Entries with ids that rise whatever their clock does."""
    ms, seq = last
    numbered: list[tuple[Id, bytes]] = []
    for at, data in entries:
        ms, seq = (at, 0) if at > ms else (ms, seq + 1)
        numbered.append(((ms, seq), data))
    return numbered


def _text(entry_id: Id) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"
