"""How Lowtide does at this moment, by what the roles have written to Redis and by this process."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from bot import status
from bot.config import Settings
from bot.web.readiness import ReadinessCheck, readiness
from rules.snapshot import OpenEpisodes
from streams.bus.connection import Keys
from streams.bus.health import Health
from streams.clock import STEP, uptime_ns
from streams.events import Ms

FAILING_S = 30.0
"""Who has failed for so long in this process is not ready."""

_ANSWER_S = 3.0
_KEEP_S = 1.0
"""So long an answer is given again, whoever asks."""


class StatusProbe:
    """Looks at ``redis`` and ``health`` whenever somebody asks, at most once a second. ``steady``:
    a steady clock, in ns."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        health: Health,
        steady: Callable[[], int] = uptime_ns,
    ) -> None:
        self._telegram = settings.token is not None
        self._redis = redis
        self._health = health
        self._looking = asyncio.Lock()
        self._steady = steady
        self._began_s = steady() / 1e9
        self._heard_s: dict[str, float] = {}
        """Role → when it was heard, on the steady clock."""
        self._line: float | None = None
        """What time it is at the server when the steady clock says 0, ms."""
        self._looked: tuple[float, dict[str, Any], OpenEpisodes | None] | None = None

    async def look(self) -> tuple[dict[str, Any], OpenEpisodes | None]:
        """``bot.status.collect`` with what earlier looks know (``unheard``: role → ``Unheard``),
        and what is open (None: the rules do not say).

        Raises RedisError, OSError or TimeoutError if Redis cannot be asked.
        """
        async with self._looking:
            if self._looked is None or time.monotonic() - self._looked[0] > _KEEP_S:
                self._looked = None
                async with asyncio.timeout(_ANSWER_S):
                    reported = await status.collect(self._redis)
                    data = cast("bytes | None", await self._redis.get(Keys().episodes))
                self._remember(reported)
                self._looked = time.monotonic(), reported, _episodes(data)
            return self._looked[1:]

    def _remember(self, reported: dict[str, Any]) -> None:
        """Reports that a step of the server's clock has ended are no silence of the roles."""
        now_s, time_ms = self._steady() / 1e9, reported["redis"]["time_ms"]
        if time_ms is not None:
            line = cast("Ms", time_ms) - now_s * 1000
            if self._line is not None and abs(line - self._line) > STEP:
                self._heard_s = dict.fromkeys(self._heard_s, now_s)
            self._line = line
        for role in status.ROLES:
            if reported[role] is not None:
                self._heard_s[role] = now_s - reported["heard_s"].get(role, 0)
        reported["unheard"] = {
            role: status.Unheard(
                now_s - self._heard_s.get(role, self._began_s), role in self._heard_s
            )
            for role in status.ROLES
            if reported[role] is None
        }

    def checks(self, reported: dict[str, Any]) -> list[ReadinessCheck]:
        """What has to be so, given what ``look`` has found."""
        return readiness(reported, self._health.lasting(FAILING_S), telegram=self._telegram)


def _episodes(data: bytes | None) -> OpenEpisodes | None:
    try:
        return None if data is None else msgspec.msgpack.decode(data, type=OpenEpisodes)
    except msgspec.MsgspecError:
        return None  # of another version
