"""Alerts → messages."""

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from redis.asyncio import Redis

from bot.config import Settings
from bot.dispatch import plan
from bot.lang import LANGUAGES
from bot.messages import Message, render
from bot.roles import FLUSH_S, report, role, rss_mb, to_the_end
from bot.sinks import Later, Refused, Sink, Uncertain
from rules import alerts
from streams.bus import START, Keys, Stage, parsed
from streams.clock import wall_ms
from streams.events import Ms

log = structlog.get_logger()

NEWS_MS: Ms = 2 * 3_600_000
"""An alert older than this, left over from an outage, is no news and is not sent."""

_AGAIN_S = 5.0


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
        self._sink = sink
        self._stage = Stage(redis, Keys(), "bot", Keys().alerts)
        self._cursor = START
        self._destination = ""
        self._sent = self._refused = self._uncertain = 0

    def status(self) -> BotStatus:
        """How it goes."""
        return BotStatus(
            seen=wall_ms(),
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
            self._cursor = f"{wall_ms() - NEWS_MS}-0"
        await self._settle_interrupted()
        while True:
            for entry_id, data in await self._stage.read(self._cursor):
                await self._take(entry_id, data)

    async def _greet(self) -> None:
        while True:
            try:
                self._destination = await self._sink.check()
            except Later as later:
                log.warning("not ready to send", reason=later.reason, next_try_s=later.seconds)
                await asyncio.sleep(later.seconds)
                continue
            except Uncertain as error:
                log.warning("not ready to send", reason=error.reason, next_try_s=_AGAIN_S)
                await asyncio.sleep(_AGAIN_S)
                continue
            log.info("ready to send", to=self._destination)
            return

    async def _settle_interrupted(self) -> None:
        """The alert that was being sent when we died may have been posted: it is not repeated."""
        entry_id = await self._stage.begun()
        if entry_id is not None and parsed(self._cursor) < parsed(entry_id):
            self._uncertain += 1
            log.error("stopped while sending; perhaps posted, not sent again", entry=entry_id)
            await self._commit(entry_id)

    async def _commit(self, entry_id: str) -> None:
        await self._stage.commit(entry_id, [])
        self._cursor = entry_id

    async def _take(self, entry_id: str, data: bytes) -> None:
        """Send what is to be sent for one alert, and move the bookmark."""
        for message in self._messages(entry_id, data):
            while True:
                pause_s = await to_the_end(self._send(entry_id, message), FLUSH_S)
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s)
        if self._cursor != entry_id:
            await self._commit(entry_id)

    def _messages(self, entry_id: str, data: bytes) -> list[Message]:
        try:
            alert = alerts.decode(data)
        except msgspec.MsgspecError as error:
            log.error("an alert could not be read", entry=entry_id, reason=str(error)[:200])
            return []
        if parsed(entry_id)[0] < wall_ms() - NEWS_MS:
            log.warning("an alert was too old to be sent", alert=alert.id)
            return []
        words = LANGUAGES[self._settings.language]
        return [render(one.alert, words) for one in plan([alert], self._settings.chat_id)]

    async def _send(self, entry_id: str, message: Message) -> float | None:
        """Send once and note what came of it; not None: how long to wait before the next try."""
        await self._stage.begin(entry_id)
        try:
            await self._sink.send(message)
        except Later as later:
            await self._stage.begin("")  # surely not posted: whoever comes after us may send it
            log.warning("message put off", alert=message.alert_id, reason=later.reason)
            return later.seconds
        except Uncertain as error:
            self._uncertain += 1
            log.error("perhaps posted, not sent again", alert=message.alert_id, reason=error.reason)
        except Refused as error:
            if error.fatal:
                await self._stage.begin("")
                raise
            self._refused += 1
            log.error("message refused", alert=message.alert_id, reason=error.reason)
        else:
            self._sent += 1
            log.info("alert told", alert=message.alert_id)
        await self._commit(entry_id)
        return None


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
