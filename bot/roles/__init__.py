"""The roles, each a loop over Redis that can be stopped anywhere; here is what they share."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.bus.connection import ANSWER_S, Keys, connect, in_words
from streams.bus.lease import Lease

STATUS_EVERY_S = 5.0
STATUS_LIFE_S = 30

_CLOSE_S = 0.2
_REASON = 300
_ENDED_LIFE_S = 7 * 86_400


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
        await _note_end(redis, name, None)
        async with asyncio.TaskGroup() as tasks:
            holding = tasks.create_task(lease.hold())
            try:
                yield redis
            finally:
                holding.cancel()
    except Exception as error:
        await _note_end(redis, name, error)
        raise
    finally:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await asyncio.wait_for(redis.delete(_status_key(name)), _CLOSE_S)
        await lease.release()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(redis.aclose(), _CLOSE_S)


async def _note_end(redis: Redis, role: str, error: Exception | None) -> None:
    """Keep why the role has ended where ``lowtide status`` finds it; None: it runs."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        key = ended_key(role)
        if error is None:
            await asyncio.wait_for(redis.delete(key), ANSWER_S)
        else:
            reason = in_a_line(error)[:_REASON].encode()
            await asyncio.wait_for(redis.set(key, reason, ex=_ENDED_LIFE_S), _CLOSE_S)


def in_a_line(error: BaseException) -> str:
    """What ended a role, out of the groups around it, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, RedisError | TimeoutError):
        return in_words(error)
    text = getattr(error, "reason", "") or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def ended_key(role: str) -> str:
    """Where it stands why a role has ended."""
    return f"{_status_key(role)}:ended"


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
