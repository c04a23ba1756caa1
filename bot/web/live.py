"""The state of the status page, made once for all who look, and told to them as it changes.

It is made while somebody looks, and never otherwise. What a reader has not taken in the meantime is
not kept for it: it gets each table as it is when it can take it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import islice
from typing import Any, cast

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot import __version__
from bot.commands import store
from bot.config import Settings
from bot.delivery.fate import AlertFate, alert_fate
from bot.delivery.post import Post
from bot.delivery.store import read_outbox
from bot.destination import queue_key
from bot.plan.planner import PlanState
from bot.roles.bot import audience
from bot.web.chart import Chart, ChartSeries, ChartTurn, day_before
from bot.web.page import (
    TURNS,
    PageInput,
    PageTable,
    chart_note,
    chart_title,
    charted,
    page_tables,
    turn_tone,
)
from bot.web.probe import StatusProbe
from rules import alerts
from rules.alerts import Alert
from streams.bus.connection import ANSWER_S, Entry, Keys, in_words
from streams.clock import wall_ms
from streams.events import Ms

log = structlog.get_logger()

replace = msgspec.structs.replace

EVERY_S = 2.0
"""So often the state is made anew, and so long it is given again."""

_LOOKED_AT = 500
"""How many of the latest alerts are read at once, and kept."""

_ALWAYS_NEW = ("seen", "rss_mb")
"""What of the bot role's status changes though it has done nothing."""

_FATES_S = 5.0
"""So long passes at least before the outbox is read again."""

_CHART_S = 30.0
"""So long a chart is given again."""


class LivePage:
    """The page of the Lowtide whose roles write to ``redis``.

    ``now``: the clock by which alerts and values are dated; None: whatever the rules said last.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        probe: StatusProbe,
        now: Callable[[], Ms] | None = wall_ms,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._probe = probe
        self._now = now
        self._making = asyncio.Lock()
        self._input = PageInput(settings=settings, language=settings.language, now=0, status=None)
        self._looked_at: float | None = None
        self._alerts: deque[Alert] = deque(maxlen=_LOOKED_AT)
        """The newest first."""
        self._cursor = "-"
        """Up to which alerts were read."""
        self._fates: dict[str, list[AlertFate]] = {}
        """What became of those that are shown, by their ids."""
        self._fates_of: tuple[float, object] = -_FATES_S, None
        """When that was looked for, and what the bot role had counted then."""
        self._tables: dict[str, tuple[PageTable, ...]] = {}
        """By language, those that were asked for since the roles were asked."""
        self._events: dict[str, dict[str, bytes]] = {}
        """By language, each table by its name as an event for readers; the same object as long as
        nothing in it has changed."""
        self._fresh = asyncio.Event()
        """Set, and replaced, when the state was made anew."""
        self._refreshing: asyncio.Task[None] | None = None
        self._charts: dict[tuple[str, str], tuple[float, bytes]] = {}
        """By asset and language: when it was made, and it."""
        self._charting = asyncio.Lock()
        self._reading: list[str] = []
        """The language of each who takes updates now."""

    @property
    def readers(self) -> int:
        """How many take updates now."""
        return len(self._reading)

    async def tables(self, language: str) -> tuple[PageTable, ...]:
        """The state now, at most ``EVERY_S`` old, in a language."""
        async with self._making:
            await self._look()
            if language not in self._tables:
                tables = page_tables(replace(self._input, language=language))
                before = self._events.get(language, {})
                events = {table.name: _event(table) for table in tables}
                self._tables[language] = tables
                self._events[language] = {
                    name: before[name] if before.get(name) == event else event
                    for name, event in events.items()
                }
            return self._tables[language]

    async def _look(self) -> None:
        """Ask the roles, if that was not done just now."""
        now = asyncio.get_running_loop().time()
        if self._looked_at is None or now - self._looked_at >= EVERY_S * 0.9:
            self._input = await self._looked()
            self._tables = {}
            self._looked_at = asyncio.get_running_loop().time()

    async def updates(self, language: str) -> AsyncGenerator[bytes]:
        """Server-sent events: the version, then each table now and whenever it has changed. Ends
        when ``close`` is called."""
        self._reading.append(language)
        try:
            await self.tables(language)
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.create_task(self._refresh())
                self._refreshing.add_done_callback(self._ended)
            refreshing = self._refreshing
            yield f"event: version\ndata: {__version__}\n\n".encode()
            sent: dict[str, bytes] = {}
            while not refreshing.done():
                fresh, events = self._fresh, self._events[language]
                changed = [event for name, event in events.items() if sent.get(name) is not event]
                sent = events
                yield b"".join(changed) or b"event: beat\ndata:\n\n"
                await fresh.wait()
        finally:
            self._reading.remove(language)
            if not self._reading:
                self.close()

    async def chart(self, asset: str, language: str) -> bytes | None:
        """The last day of ``asset`` as JSON, at most ``_CHART_S`` old; None: it is not watched."""
        await self.tables(language)
        looked = replace(self._input, language=language)
        labels = charted(looked, asset)
        if not labels:
            return None
        loop = asyncio.get_running_loop()
        async with self._charting:
            made_at, data = self._charts.get((asset, language), (0.0, b""))
            if not data or loop.time() - made_at >= _CHART_S:
                data = msgspec.json.encode(await self._charted(looked, asset, labels))
                self._charts[asset, language] = loop.time(), data
        return data

    async def _charted(self, looked: PageInput, asset: str, labels: Mapping[str, str]) -> Chart:
        folder = self._settings.data_dir / "metrics"
        at, values = await day_before(folder, asset, list(labels), looked.now)
        known = [
            ChartSeries(label, series)
            for label, series in zip(labels.values(), values, strict=True)
            if any(value is not None for value in series)
        ]
        return Chart(
            title=chart_title(looked, asset),
            note=chart_note(looked, empty=not known),
            at=at,
            series=known,
            turns=[
                ChartTurn(alert.seen / 1000, turn_tone(alert))
                for alert in looked.alerts
                if alert.asset == asset
            ],
        )

    def close(self) -> None:
        """End all updates."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None

    async def _refresh(self) -> None:
        """Make the state anew again and again."""
        while True:
            await asyncio.sleep(EVERY_S)
            for language in set(self._reading):
                await self.tables(language)
            self._wake()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Let all readers end."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the status page could not be made", exc_info=error)
        self._wake()

    def _wake(self) -> None:
        self._fresh.set()
        self._fresh = asyncio.Event()

    async def _looked(self) -> PageInput:
        """What the roles say; where Redis cannot be asked, what they said last."""
        changes: dict[str, Any] = {"trouble": ""}
        try:
            reported, episodes = await self._probe.look()
            standing = await store.standing(self._redis)
            await self._read_alerts()
            await self._read_fates(reported["bot"])
            count = 0
            if self._settings.operators.subscribers:
                _, count = await store.subscribers(self._redis, 0)
        except (RedisError, OSError, TimeoutError) as error:
            changes["trouble"] = in_words(error)
        else:
            changes |= {
                "status": reported,
                "checks": self._probe.checks(reported),
                "standing": standing,
                "episodes": episodes,
                "alerts": tuple(self._alerts),
                "fates": self._fates,
                "subscribers": count,
            }
        looked = replace(self._input, **changes)
        seen = [each.seen for each in (looked.standing, looked.episodes) if each is not None]
        now = wall_ms() if self._now is None else self._now()
        return replace(looked, now=max(seen) if self._now is None and seen else now)

    async def _read_alerts(self) -> None:
        """Take note of the alerts since the last time; of the latest, the first time."""
        key = Keys().alerts
        async with asyncio.timeout(ANSWER_S):
            latest = await self._redis.xrevrange(key, min=self._cursor, count=_LOOKED_AT)
        for entry, fields in reversed(cast("list[Entry]", latest)):
            self._cursor = f"({entry.decode()}"
            try:
                alert = alerts.decode(next(iter(fields.values())))
            except msgspec.MsgspecError:
                continue  # the bot role has logged it
            if isinstance(alert, Alert):
                self._alerts.appendleft(alert)

    async def _read_fates(self, bot: Mapping[str, Any] | None) -> None:
        """Look for what became of the alerts that are shown, if the bot role has done something."""
        now = asyncio.get_running_loop().time()
        done = bot and {name: count for name, count in bot.items() if name not in _ALWAYS_NEW}
        if now - self._fates_of[0] < _FATES_S or done == self._fates_of[1]:
            return
        async with asyncio.timeout(ANSWER_S):
            plans, posts = await read_outbox(self._redis, Keys())
        self._fates_of = now, done
        by_chat: dict[str, list[Post]] = {}
        for post in posts:
            by_chat.setdefault(post.chat, []).append(post)
        chats = audience(self._settings).chats
        self._fates = {
            alert.id: [
                alert_fate(
                    alert,
                    chat,
                    plans.get(chat.key, PlanState()),
                    by_chat.get(queue_key(chat.destination), ()),
                )
                for chat in chats
                if chat.matches(alert)
            ]
            for alert in islice(self._alerts, TURNS)
            if alert.post
        }


def _event(table: PageTable) -> bytes:
    return b"event: table\ndata: " + msgspec.json.encode(table) + b"\n\n"
