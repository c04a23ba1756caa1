"""The roles, each a loop over Redis that can be stopped anywhere; here is what they share."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.bus import ANSWER_S, Keys, connect
from streams.lease import Lease

T = TypeVar("T")

STATUS_EVERY_S = 5.0
STATUS_LIFE_S = 30
FLUSH_S = 1.2
"""Of the 4 s in which everything must have stopped, what a role may take to write the rest."""

_CLOSE_S = 0.2


def rss_mb() -> float:
    """Memory of this process in MB, as the kernel counts it."""
    with contextlib.suppress(OSError):
        pages = Path("/proc/self/statm").read_text().split()[1]
        return round(int(pages) * resource.getpagesize() / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


@asynccontextmanager
async def role(url: str, name: str) -> AsyncGenerator[Redis]:
    """A client and the lease of a role; the lease is given back at the end."""
    redis = connect(url, name)
    lease = Lease(redis, Keys(), name)
    try:
        await lease.take()
        async with asyncio.TaskGroup() as tasks:
            holding = tasks.create_task(lease.hold())
            try:
                yield redis
            finally:
                holding.cancel()
    finally:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await asyncio.wait_for(redis.delete(_status_key(name)), _CLOSE_S)
        await lease.release()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(redis.aclose(), _CLOSE_S)


def _status_key(role: str) -> str:
    return f"{Keys().status}:{role}"


async def report(redis: Redis, role: str, status: Callable[[], msgspec.Struct]) -> None:
    """Write the role's status every few seconds; never returns."""
    key = _status_key(role)
    while True:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await redis.set(key, msgspec.json.encode(status()), ex=STATUS_LIFE_S)
        await asyncio.sleep(STATUS_EVERY_S)


async def to_the_end(work: Coroutine[object, object, T], seconds: float) -> T:
    """``work``'s result; when we are cancelled it gets so many seconds to finish all the same."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
