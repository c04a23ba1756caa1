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
from streams.bus.health import HEALTH
from streams.bus.lease import Lease, LeaseLost

STATUS_EVERY_S = 5.0
STATUS_LIFE_S = 30
NO_TICK_S = 30.0
"""Without a Tick for so long the rules do not go on, and operators are told."""

_CLOSE_S = 0.2
_REASON = 300
ENDED_LIFE_S = 7 * 86_400
"""So long it is kept why a role ended; what is left of it tells when that was."""


def rss_mb() -> float:
    """Memory of this process in MB, as the kernel counts it."""
    with contextlib.suppress(OSError):
        pages = Path("/proc/self/statm").read_text().split()[1]
        return round(int(pages) * resource.getpagesize() / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


@asynccontextmanager
async def role(url: str, name: str) -> AsyncGenerator[tuple[Redis, Lease]]:
    """A client, and the lease of a role, which is given back at the end."""
    redis = connect(url, name)
    lease = Lease(redis, Keys(), name)
    held, reason = False, ""
    try:
        await lease.take()
        held = True
        HEALTH.begin(name)
        await _note_start(redis, name)
        async with asyncio.TaskGroup() as tasks:
            holding = tasks.create_task(lease.hold())
            try:
                yield redis, lease
            finally:
                holding.cancel()
    except Exception as error:
        reason = in_a_line(error)
        held = held and not isinstance(_first(error), LeaseLost)
        raise
    finally:
        HEALTH.end(name)
        if held:  # else what stands there is of the process that has the role
            await _note_end(redis, name, reason)
        await lease.release()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(redis.aclose(), _CLOSE_S)


async def _note_start(redis: Redis, role: str) -> None:
    """Forget why the role ended before."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await asyncio.wait_for(redis.delete(ended_key(role)), ANSWER_S)


async def _note_end(redis: Redis, role: str, reason: str) -> None:
    """Keep for ``lowtide status`` that the role has ended, and why; "": it was stopped."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        # a full Redis takes the first and not the second
        async with redis.pipeline(transaction=False) as together:
            together.delete(_status_key(role))
            together.set(ended_key(role), reason[:_REASON].encode(), ex=ENDED_LIFE_S)
            await asyncio.wait_for(together.execute(), _CLOSE_S)


def in_a_line(error: BaseException) -> str:
    """What ended a role, out of the groups around it, in one line."""
    error = _first(error)
    if isinstance(error, RedisError | TimeoutError):
        return in_words(error)
    text = getattr(error, "reason", "") or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _first(error: BaseException) -> BaseException:
    """What failed, out of the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


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
