"""Alerts → messages."""

import asyncio
import os
from collections.abc import Callable, Sequence

import msgspec
import structlog
from redis.asyncio import Redis

from bot import dispatch, silences
from bot.channel import channel
from bot.config import Settings
from bot.deliveries import Delivery, State
from bot.lang import LANGUAGES
from bot.messages import Message
from bot.notices import notice_message
from bot.posts import post
from bot.reload import Rejected, Watch, checked, on_sighup
from bot.roles import FLUSH_S, report, role, rss_mb, to_the_end
from bot.silences import Silence
from bot.sinks import Later, Refused, Sink, Uncertain
from rules import alerts
from rules.alerts import Alert, Notice
from streams.bus import START, Keys, Snapshot, Stage
from streams.clock import Clock, WallClock, wall_ms
from streams.events import Ms

log = structlog.get_logger()

NEWS_MS: Ms = 2 * 3_600_000
"""An alert older than this, left over from an outage, is no news and is not sent."""

_AGAIN_S = 5.0


class BotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the bot role says of itself. ``waiting``: alerts that wait for others of their kind;
    ``held``, ``hidden``, ``silenced``: alerts that were not posted, see ``bot.deliveries``."""

    seen: Ms
    rss_mb: float
    cursor: str
    destination: str
    sent: int
    refused: int
    uncertain: int
    waiting: int
    held: int
    hidden: int
    silenced: int


class Kept(msgspec.Struct):
    """What survives a restart: the plan's state, and what it has decided but not yet sent."""

    plan: State
    outgoing: list[Delivery]


class BotRole:
    """Alerts → messages. What it was sending when it died is never sent twice."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        sink: Sink,
        operators: Sink | None = None,
        clock: Clock | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._path = settings.path
        self._watch = watch or Watch(settings.path)
        self._chat = channel(settings)
        self._words = LANGUAGES[settings.language]
        self._sink = sink
        self._operators = operators
        self._clock = clock or WallClock()
        self._stage = Stage(redis, Keys(), "bot", Keys().alerts)
        self._kept = Kept(State(), [])
        self._cursor = START
        self._destination = ""
        self._sent = self._refused = self._uncertain = 0

    def status(self) -> BotStatus:
        """How it goes."""
        plan = self._kept.plan
        return BotStatus(
            seen=wall_ms(),
            rss_mb=rss_mb(),
            cursor=self._cursor,
            destination=self._destination,
            sent=self._sent,
            refused=self._refused,
            uncertain=self._uncertain,
            waiting=sum(len(group.waiting) for group in plan.groups.values()),
            held=plan.counts.held,
            hidden=plan.counts.hidden,
            silenced=plan.counts.silenced,
        )

    async def run(self) -> None:
        """Read, plan, send, move the bookmark; runs until cancelled."""
        await self._greet()
        await self._resume()
        await self._send_all()
        while True:
            batch = await self._stage.read(self._cursor)
            if self._watch.due():
                await self._reload()
            due = dispatch.next_due(self._kept.plan)
            if batch or (due is not None and due <= self._clock.seen()):
                await self._take(batch)

    async def _reload(self) -> None:
        """Take over the channel's changed settings; the rules role says what is wrong with them."""
        try:
            settings, _ = await asyncio.to_thread(checked, self._path, os.environ)
        except Rejected:
            log.info("the channel's settings stay as they are")
            return
        self._chat = msgspec.structs.replace(channel(settings), id=self._chat.id)
        self._words = LANGUAGES[settings.language]

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

    async def _resume(self) -> None:
        """The state kept last; a message that was being sent when we died is not repeated."""
        self._cursor = await self._stage.bookmark()
        saved = await self._stage.saved()
        if saved is not None:
            try:
                self._kept = msgspec.msgpack.decode(saved.state, type=Kept)
                self._cursor = saved.cursor
            except msgspec.MsgspecError as error:
                log.warning("the saved plan could not be used", reason=str(error)[:200])
        if self._cursor == START:
            self._cursor = f"{wall_ms() - NEWS_MS}-0"
        begun, outgoing = await self._stage.begun(), self._kept.outgoing
        if begun is not None and outgoing and _key(outgoing[0]) == begun:
            self._uncertain += 1
            log.error(
                "stopped while sending; perhaps posted, not sent again", alert=_key(outgoing[0])
            )
            del outgoing[0]

    async def _take(self, batch: Sequence[tuple[str, bytes]]) -> None:
        found: list[Alert] = []
        for entry_id, data in batch:
            said = self._read(entry_id, data)
            if isinstance(said, Notice):
                await self._tell_operators(said)
            elif said is not None:
                found.append(said)
        if batch:
            self._cursor = batch[-1][0]
        self._plan(found, await self._silences())
        await self._save()
        await self._send_all()

    def _read(self, entry_id: str, data: bytes) -> Alert | Notice | None:
        try:
            said = alerts.decode(data)
        except msgspec.MsgspecError as error:
            log.error("an alert could not be read", entry=entry_id, reason=str(error)[:200])
            return None
        if said.seen < self._clock.seen() - NEWS_MS:
            log.warning("an alert was too old to be sent", alert=said.id)
            return None
        return said

    def _plan(self, found: Sequence[Alert], silenced: Sequence[Silence]) -> None:
        kept = self._kept
        try:
            kept.plan, deliveries = dispatch.plan(
                kept.plan, found, self._chat, silenced, self._clock.seen()
            )
        except Exception:  # one alert must not stop all others for ever
            log.exception("the plan failed; alerts were left out", alerts=[a.id for a in found])
            return
        kept.outgoing += deliveries

    async def _silences(self) -> tuple[Silence, ...]:
        data = await self._stage.value(Keys().snapshot("silences"))
        try:
            return silences.load(data) if data else ()
        except msgspec.MsgspecError:
            log.error("the silences could not be read; nothing is silenced")
            return ()

    async def _save(self) -> None:
        """Keep where we are; the bookmark says up to where everything was told."""
        kept = self._kept
        await self._stage.save(Snapshot(self._cursor, msgspec.msgpack.encode(kept)))
        if not kept.outgoing and dispatch.next_due(kept.plan) is None:
            await self._stage.commit(self._cursor, [])

    async def _send_all(self) -> None:
        outgoing = self._kept.outgoing
        while outgoing:
            pause_s = await to_the_end(self._settle(outgoing[0]), FLUSH_S)
            if pause_s is not None:
                await asyncio.sleep(pause_s)

    async def _settle(self, delivery: Delivery) -> float | None:
        """Send once and note what came of it; not None: how long to wait before the next try."""
        key = _key(delivery)
        if delivery.at < self._clock.seen() - NEWS_MS:
            log.warning("a message was too old to be sent", alert=key)
        else:
            await self._stage.begin(key)
            pause_s = await self._send(post(delivery, self._words))
            if pause_s is not None:
                return pause_s
        del self._kept.outgoing[0]
        await self._save()
        return None

    async def _send(self, message: Message) -> float | None:
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
        return None

    async def _tell_operators(self, notice: Notice) -> None:
        """Once, to the log and to the operators' chat if there is one; it is not worth waiting."""
        message = notice_message(notice, self._words)
        log.info("notice for operators", text=message.plain)
        if self._operators is None:
            return
        try:
            await self._operators.send(message)
        except (Later, Uncertain, Refused) as error:
            log.error("operators were not told", notice=notice.id, reason=error.reason)


def _key(delivery: Delivery) -> str:
    return f"{delivery.at} {delivery.alerts[0].id}"


async def bot_role(
    settings: Settings,
    url: str,
    sink: Callable[[], Sink],
    operators: Callable[[], Sink | None] = lambda: None,
    clock: Clock | None = None,
) -> None:
    """Alerts → messages. Runs until cancelled; Refused ends it when nothing can be sent at all.

    ``operators``: where notices go besides the log. ``clock``: the one whose time is on alerts.
    """
    async with role(url, "bot") as redis:
        way_out, notices = sink(), operators()
        watch = Watch(settings.path)
        bot = BotRole(settings, redis, way_out, notices, clock, watch)
        try:
            with on_sighup(watch):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(report(redis, "bot", bot.status))
                    tasks.create_task(bot.run())
        finally:
            await way_out.close()
            if notices is not None:
                await notices.close()
