"""A life sign to somebody outside, who tells the operator when it stays away.

For healthchecks.io, Uptime Kuma and whatever else takes a GET of an address of its own while all is
well: https://healthchecks.io/docs/http_api/, "push monitor" in Uptime Kuma.
"""

import asyncio
import time

import aiohttp
import structlog
from redis.exceptions import RedisError

from bot.config import Settings
from bot.web.probe import StatusProbe
from streams.bus.connection import connect, in_words
from streams.bus.health import HEALTH
from streams.feed import errors
from streams.http import PROXY_ERRORS, http_session

log = structlog.get_logger()

EVERY_S = 60.0
LOOK_S = 10.0
STARTING_S = 60.0
"""So long after a start it is no news that not all is well yet."""

_TIMEOUT = aiohttp.ClientTimeout(total=10.0)


class Push:
    """A GET of ``push_url`` each ``EVERY_S`` while every check of /readyz is well; else none."""

    def __init__(self, settings: Settings, probe: StatusProbe, push_url: str) -> None:
        self._proxies = settings.proxies
        self._probe = probe
        self._url = push_url
        self._starting_until = time.monotonic() + STARTING_S
        self._warned = False
        """The log has it that no life sign is given."""
        self._refused = ""
        """Why the last one was not taken; "": it was."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            taken = await self.give()
            await asyncio.sleep(EVERY_S if taken else LOOK_S)

    async def give(self) -> bool:
        """Give a life sign if all is well. Whether it was taken."""
        withheld = await self._what_is_wrong()
        if withheld:
            if not self._warned and time.monotonic() >= self._starting_until:
                log.warning("no life sign is pushed", reason=withheld)
                self._warned = True
            return False
        if self._warned:
            log.info("life signs are pushed again")
        self._warned, self._starting_until = False, 0.0
        refused = await self._why_not_taken()
        if refused and refused != self._refused:
            log.error("[web] push_url does not take the life sign; it is tried again",
                      reason=refused)  # fmt: skip
        self._refused = refused
        return not refused

    async def _what_is_wrong(self) -> str:
        try:
            reported, _ = await self._probe.look()
        except (RedisError, OSError, TimeoutError) as error:
            return in_words(error)
        wrong = [check for check in self._probe.checks(reported) if not check.ok]
        return "; ".join(f"{check.name}: {check.reason}" for check in wrong)

    async def _why_not_taken(self) -> str:
        try:
            async with (
                http_session(self._url, self._proxies, _TIMEOUT) as client,
                client.get(self._url, allow_redirects=False) as answer,
            ):
                return "" if answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, *PROXY_ERRORS) as error:
            return errors.in_words(error)


async def push_life_signs(settings: Settings, redis_url: str, push_url: str) -> None:
    """Give life signs until cancelled."""
    redis = connect(redis_url, "push")
    try:
        await Push(settings, StatusProbe(settings, redis, HEALTH), push_url).run()
    finally:
        await redis.aclose()
