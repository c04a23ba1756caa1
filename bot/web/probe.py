"""How Lowtide does at this moment, by what the roles have written to Redis and by this process."""

import asyncio
import time
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from bot import status
from bot.config import Settings
from bot.web.readiness import ReadinessCheck, readiness
from rules.snapshot import OpenEpisodes
from streams.bus.connection import Keys
from streams.bus.health import Health

FAILING_S = 30.0
"""Who has failed for so long in this process is not ready."""

_ANSWER_S = 3.0
_KEEP_S = 1.0
"""So long an answer is given again, whoever asks."""


class StatusProbe:
    """Looks at ``redis`` and ``health`` whenever somebody asks, at most once a second."""

    def __init__(self, settings: Settings, redis: Redis, health: Health) -> None:
        self._telegram = settings.token is not None
        self._redis = redis
        self._health = health
        self._looking = asyncio.Lock()
        self._looked: tuple[float, dict[str, Any], OpenEpisodes | None] | None = None

    async def look(self) -> tuple[dict[str, Any], OpenEpisodes | None]:
        """``bot.status.collect`` and what is open (None: the rules do not say).

        Raises RedisError, OSError or TimeoutError if Redis cannot be asked.
        """
        async with self._looking:
            if self._looked is None or time.monotonic() - self._looked[0] > _KEEP_S:
                self._looked = None
                async with asyncio.timeout(_ANSWER_S):
                    reported = await status.collect(self._redis)
                    data = cast("bytes | None", await self._redis.get(Keys().episodes))
                self._looked = time.monotonic(), reported, _episodes(data)
            return self._looked[1:]

    def checks(self, reported: dict[str, Any]) -> list[ReadinessCheck]:
        """What has to be so, given what ``look`` has found."""
        return readiness(reported, self._health.lasting(FAILING_S), telegram=self._telegram)


def _episodes(data: bytes | None) -> OpenEpisodes | None:
    try:
        return None if data is None else msgspec.msgpack.decode(data, type=OpenEpisodes)
    except msgspec.MsgspecError:
        return None  # of another version
