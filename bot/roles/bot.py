"""Alerts → messages."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import msgspec
import structlog
from redis.asyncio import Redis

from bot.config import Settings
from bot.dispatch import plan
from bot.lang import LANGUAGES
from bot.messages import Message, render
from bot.roles import before, report, role, rss_mb
from bot.sinks import Later, Refused, Sink, Uncertain
from rules import alerts
from streams.bus import START, Keys, Stage
from streams.events import Ms

log = structlog.get_logger()

NEWS_MS: Ms = 2 * 3_600_000
"""An alert older than this, left over from an outage, is no news and is not sent."""


class BotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the bot role says of itself."""

    seen: Ms
    rss_mb: float
    cursor: str
    destination: str
    sent: int
    refused: int
    uncertain: int


class BotRole:
    """Alerts → messages. What it was sending when it died is never sent twice."""

    def __init__(self, settings: Settings, redis: Redis, sink: Sink) -> None:
        self._settings = settings
        self._redis = redis
        self._sink = sink
        self._stage = Stage(redis, Keys(), "bot", Keys().alerts)
        self._cursor = START
        self._destination = ""
        self._sent = self._refused = self._uncertain = 0

    def status(self) -> BotStatus:
        """How it goes."""
        return BotStatus(
            seen=int(time.time() * 1000),
            rss_mb=rss_mb(),
            cursor=self._cursor,
            destination=self._destination,
            sent=self._sent,
            refused=self._refused,
            uncertain=self._uncertain,
        )

    async def run(self) -> None:
        """Read, render, send, move the bookmark; runs until cancelled."""
        await self._greet()
        self._cursor = await self._stage.bookmark()
        if self._cursor == START:
            self._cursor = f"{int(time.time() * 1000) - NEWS_MS}-0"
        await self._settle_interrupted()
        while True:
            for entry_id, data in await self._stage.read(self._cursor):
                await self._take(entry_id, data)
                await self._stage.commit(entry_id, [])
                self._cursor = entry_id

    async def _greet(self) -> None:
        while True:
            try:
                self._destination = await self._sink.check()
            except Later as later:
                log.warning("not ready to send", reason=later.reason, next_try_s=later.seconds)
                await asyncio.sleep(later.seconds)
                continue
            except Uncertain as error:
                log.warning("not ready to send", reason=error.reason, next_try_s=5)
                await asyncio.sleep(5)
                continue
            log.info("ready to send", to=self._destination)
            return

    async def _settle_interrupted(self) -> None:
        """The alert that was being sent when we died may have been posted: it is not repeated."""
        value = await self._redis.get(Keys().sending())
        if not value:
            return
        entry_id = cast("bytes", value).decode()
        if before(self._cursor, entry_id):
            self._uncertain += 1
            log.error("stopped while sending; perhaps posted, not sent again", entry=entry_id)
            await self._stage.commit(entry_id, [])
            self._cursor = entry_id

    async def _take(self, entry_id: str, data: bytes) -> None:
        try:
            alert = alerts.decode(data)
        except msgspec.MsgspecError as error:
            log.error("an alert could not be read", entry=entry_id, reason=str(error)[:200])
            return
        if int(entry_id.partition("-")[0]) < time.time() * 1000 - NEWS_MS:
            log.warning("an alert was too old to be sent", alert=alert.id)
            return
        for delivery in plan([alert], self._settings.chat_id):
            message = render(delivery.alert, LANGUAGES[self._settings.language])
            await self._redis.set(Keys().sending(), entry_id)
            await self._send(message)

    async def _send(self, message: Message) -> None:
        while True:
            try:
                await self._sink.send(message)
            except Later as later:
                log.warning("message put off", alert=message.alert_id, reason=later.reason)
                await asyncio.sleep(later.seconds)
            except Uncertain as error:
                self._uncertain += 1
                log.error(
                    "perhaps posted, not sent again", alert=message.alert_id, reason=error.reason
                )  # fmt: skip
                return
            except Refused as error:
                if error.fatal:
                    raise
                self._refused += 1
                log.error("message refused", alert=message.alert_id, reason=error.reason)
                return
            else:
                self._sent += 1
                log.info("alert told", alert=message.alert_id)
                return


async def bot_role(settings: Settings, url: str, sink: Callable[[], Sink]) -> None:
    """Alerts → messages. Runs until cancelled; Refused ends it when nothing can be sent at all."""
    async with role(url, "bot") as redis:
        way_out = sink()
        bot = BotRole(settings, redis, way_out)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(report(redis, "bot", bot.status))
                tasks.create_task(bot.run())
        finally:
            await way_out.close()
