"""How a streams role goes on from the one before it, though this machine's clock stepped meanwhile.

On one start of the machine its steady clock tells by how much. After another one the times in the
events of the venues do, before and after; and where they cannot be asked, nobody does.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.bus.connection import ANSWER_S, Backoff, Entry, Keys, retry
from streams.bus.publisher import Publisher
from streams.bus.skew import late_before
from streams.clock import STEP, WallClock, boot
from streams.events import AnyEvent, Ms, Tick, decode

_LATEST = 2_000
"""So many of the last events tell how late the venues' events were."""

_LOOK_S = 0.5
_SAVE_EVERY_S = 60.0


class ClockMark(msgspec.Struct, frozen=True, array_like=True):
    """The clock by which the events in the stream are dated: see ``WallClock.line``."""

    boot: str
    line: Ms


async def resume_clock(redis: Redis, keys: Keys, clock: WallClock, publisher: Publisher) -> None:
    """Say by how much ``clock`` differs from the one that dated what is in the stream."""
    mark, here = await _saved(redis, keys), boot()
    if mark is not None and here and mark.boot == here:
        by = clock.line() - mark.line
        if abs(by) > STEP:
            publisher.step(by, clock.seen())
        return
    events = await _latest(redis, keys)
    # away for a while is no step: only a time that has been already tells that there was one
    last = next((event.seen for event in reversed(events) if isinstance(event, Tick)), 0)
    if last - clock.seen() > STEP:
        publisher.compare(late_before(events))


async def keep_mark(redis: Redis, keys: Keys, clock: WallClock, publisher: Publisher) -> None:
    """Keep the mark of ``clock``, as far as the stream has its steps; never returns."""
    saved: ClockMark | None = None
    saved_at = clock.now()
    while True:
        mark = ClockMark(boot(), clock.line())
        old = clock.now() - saved_at > _SAVE_EVERY_S * 1000
        news = saved is None or old or abs(mark.line - saved.line) > STEP // 2
        if news and not publisher.waiting:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await redis.set(keys.snapshot("clock"), msgspec.msgpack.encode(mark))
                saved, saved_at = mark, clock.now()
        await asyncio.sleep(_LOOK_S)


async def _saved(redis: Redis, keys: Keys) -> ClockMark | None:
    backoff = Backoff("the clock of the role before", "streams")
    data = await retry(backoff, lambda: redis.get(keys.snapshot("clock")))
    with contextlib.suppress(msgspec.MsgspecError):
        return None if data is None else msgspec.msgpack.decode(data, type=ClockMark)
    return None


async def _latest(redis: Redis, keys: Keys) -> Sequence[AnyEvent]:
    backoff = Backoff("the newest events", "streams")
    reply = await retry(backoff, lambda: redis.xrevrange(keys.events, count=_LATEST))
    events: list[AnyEvent] = []
    for _, fields in reversed(cast("list[Entry]", reply)):
        with contextlib.suppress(msgspec.MsgspecError, KeyError):
            events.append(decode(fields[b"e"]))
    return events
