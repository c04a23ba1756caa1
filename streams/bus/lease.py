"""The right to run a role: two writers of one stream would count every liquidation twice."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from streams.bus.connection import ANSWER_S, Backoff, Keys, LeaseGone
from streams.durations import SECOND
from streams.events import Ms

log = structlog.get_logger()

_LIFE_MS: Ms = 3 * SECOND
"""So soon after the end of one holder, even by SIGKILL, the next one may begin."""

_RENEW_S = 0.75
_LOOK_S = 0.5
_RELEASE_S = 0.2

_RENEW = """if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"""
_SHORTEN = """if redis.call('PTTL', KEYS[1]) > 2 * tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1]) end return 0"""
"""A key expires by the server's time of day: if that was set back, a dead holder's lease would last
as long as it was set back."""

_RELEASE = """if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1]) end return 0"""


class LeaseLost(Exception):
    """Another process runs this role now."""


class Lease:
    """One role's lease, of which a holder that is alive makes sure that it does not run out."""

    def __init__(self, redis: Redis, keys: Keys, role: str) -> None:
        self._redis = redis
        self._key = keys.lease(role)
        self._role = role
        self._token = secrets.token_hex(8)
        self._backoff = Backoff(f"the {role} role")
        self._error: Exception | None = None  # why it could not be renewed
        self._renewed_at = 0.0  # when it was ours last, s of the loop's clock

    async def guard(self, pipe: Pipeline) -> None:
        """Let what ``pipe`` is told next happen only while the lease is ours.

        A holder that was frozen for longer than its lease does not know yet that another one is at
        work. Raises LeaseLost if so; a lease that changes hands in between makes the transaction
        fail as a whole. One that ran out while the holder stood still, as a busy machine does while
        it starts, and that nobody has taken, is taken again; one that is gone before its time was
        not, and is LeaseGone.
        """
        await pipe.watch(self._key)
        holder = await pipe.get(self._key)
        if holder is None and self._error is None and self._has_run_out():
            await pipe.unwatch()
            await self._renewed()
            await pipe.watch(self._key)
            holder = await pipe.get(self._key)
        if holder is None:
            raise self._error or LeaseGone
        if holder != self._token.encode():
            raise LeaseLost(f"another {self._role} role has taken over")
        pipe.multi()

    async def take(self) -> None:
        """Wait until the lease is ours."""
        began = asyncio.get_running_loop().time()
        warned = False
        while True:
            try:
                if await self._renewed():
                    self._backoff.worked()
                    return
            except (RedisError, OSError, TimeoutError) as error:
                await self._backoff.failed(error)
                continue
            self._backoff.worked()
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._shorten()
            waited_s = asyncio.get_running_loop().time() - began
            # until then it may be what a killed predecessor has left
            if not warned and waited_s > _LIFE_MS / 1000:
                warned = True
                log.warning(
                    f"another {self._role} role is running on this Redis; waiting for its end"
                )
            await asyncio.sleep(_LOOK_S)

    async def hold(self) -> None:
        """Renew for ever; raises LeaseLost when somebody else has it."""
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                held = await self._renewed()
            except (RedisError, OSError, TimeoutError) as error:  # the role says it itself
                self._error = error
                continue
            self._error = None
            if not held:
                raise LeaseLost(f"another {self._role} role has taken over")

    async def release(self) -> None:
        """Let the next one start at once. Gives up soon: the lease runs out by itself."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await asyncio.wait_for(self._call(_RELEASE), _RELEASE_S)

    def _has_run_out(self) -> bool:
        return asyncio.get_running_loop().time() - self._renewed_at > _LIFE_MS / 1000

    async def _renewed(self) -> bool:
        """Whether the lease is ours: still, or since nobody else has it."""
        asked_at = asyncio.get_running_loop().time()
        ours = bool(await self._call(_RENEW, str(_LIFE_MS)))
        if not ours:
            async with asyncio.timeout(ANSWER_S):
                ours = bool(await self._redis.set(self._key, self._token, nx=True, px=_LIFE_MS))
        if ours:
            self._renewed_at = asked_at
        return ours

    async def _shorten(self) -> None:
        async with asyncio.timeout(ANSWER_S):
            await cast("Awaitable[object]", self._redis.eval(_SHORTEN, 1, self._key, str(_LIFE_MS)))

    async def _call(self, script: str, *args: str) -> object:
        async with asyncio.timeout(ANSWER_S):
            return await cast(
                "Awaitable[object]",
                self._redis.eval(script, 1, self._key, self._token, *args),
            )
