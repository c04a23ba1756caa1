"""The roles, each a loop over Redis that can be stopped anywhere; here is what they share."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.bus import Keys, Lease, connect

STATUS_EVERY_S = 5.0
STATUS_LIFE_S = 30
FLUSH_S = 1.5
"""Of the 4 s in which everything must have stopped, what a role may take to write the rest."""


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
        await lease.release()
        await redis.aclose()


async def report(redis: Redis, role: str, status: Callable[[], msgspec.Struct]) -> None:
    """Write the role's status every few seconds; never returns."""
    key = f"{Keys().status}:{role}"
    while True:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await redis.set(key, msgspec.json.encode(status()), ex=STATUS_LIFE_S)
        heed_cancel()
        await asyncio.sleep(STATUS_EVERY_S)


def heed_cancel() -> None:
    """Ends the task if it was cancelled without noticing. To be called in every endless loop.

    redis-py sends through ``asyncio.wait_for``, which in Python 3.11 loses a cancellation that
    comes in the very moment in which the command was sent (CPython issue 86296).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def before(one: str, other: str) -> bool:
    """Whether entry id ``one`` is older than ``other``."""
    (a, _, b), (c, _, d) = one.partition("-"), other.partition("-")
    return (int(a), int(b or 0)) < (int(c), int(d or 0))
