"""Events → alerts, with a state that survives any end exactly."""

import asyncio
import contextlib
import os
import time
import zlib
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from redis.asyncio import Redis

from bot.config import Settings
from bot.notices import config_notice
from bot.reload import Rejected, Watch, checked, on_sighup, taken
from bot.roles import FLUSH_S, before, heed_cancel, report, role, rss_mb
from rules import alerts
from rules.alerts import Said
from rules.engine import Engine
from streams.bus import START, Keys, Snapshot, Stage
from streams.events import AnyEvent, Ms, Tick, decode

log = structlog.get_logger()

SAVE_EVERY_S = 60.0
NO_TICK_S = 30.0


class RulesStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules role says of itself. ``lag_ms``: how old the last event was when read."""

    seen: Ms
    rss_mb: float
    cursor: str
    events: int
    alerts: int
    unreadable: int
    lag_ms: Ms
    state_bytes: int


class RulesRole:
    """Events → alerts, with a state that survives any end exactly.

    The bookmark says up to where alerts are durable; the snapshot is an older state. A restart
    takes the snapshot, feeds it the events up to the bookmark again, muted, and goes on.

    Between two batches a changed configuration is taken over, if it is valid and its rule tests
    pass. ``env``: the variables of the process; ``watch``: says when to look.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        env: Mapping[str, str] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._settings = settings
        self._env = os.environ if env is None else env
        self._watch = watch or Watch(settings.path)
        self._notices: list[Said] = []
        self._stage = Stage(redis, Keys(), "rules", Keys().events)
        self._engine = _engine(settings)
        self._cursor = START
        self._muted_to = START
        self._events = self._alerts = self._unreadable = self._lag = self._state_bytes = 0
        self._ticked = time.monotonic()

    def status(self) -> RulesStatus:
        """How it goes."""
        return RulesStatus(
            seen=int(time.time() * 1000),
            rss_mb=rss_mb(),
            cursor=self._cursor,
            events=self._events,
            alerts=self._alerts,
            unreadable=self._unreadable,
            lag_ms=self._lag,
            state_bytes=self._state_bytes,
        )

    async def run(self) -> None:
        """Read, feed, commit; runs until cancelled, then saves its state."""
        await self._resume()
        saved = time.monotonic()
        try:
            while True:
                batch = await self._stage.read(self._cursor)
                heed_cancel()
                self._listen_for_ticks(bool(batch))
                if batch:
                    await self._take(batch)
                if self._watch.due():
                    await self._reload()
                if time.monotonic() - saved > SAVE_EVERY_S:
                    await self._save()
                    saved = time.monotonic()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._save()

    async def _reload(self) -> None:
        """Take over a changed configuration, or keep the old one and say why."""
        old = self._settings
        try:
            new, tests = await asyncio.to_thread(checked, old.path, self._env)
            engine = _engine(new)
            engine.load(self._engine.dump())
        except (Rejected, ValueError) as error:
            log.error("configuration not taken over, the old one stays", reason=str(error))
            self._tell_operators(False, str(error))
            return
        except Exception as error:  # whatever it is, the old rules go on
            log.exception("configuration not taken over, the old one stays")
            self._tell_operators(False, f"{type(error).__name__}: {error}")
            return
        self._engine, self._settings = engine, new
        text = taken(old, new, tests)
        log.info("configuration taken over", what=text)
        self._tell_operators(True, text)
        await self._save()

    def _tell_operators(self, was_taken: bool, reason: str) -> None:
        """With the next batch, so that a notice is told once like any alert."""
        self._notices.append(config_notice(was_taken, reason, int(time.time() * 1000)))

    async def _resume(self) -> None:
        snapshot = await self._stage.saved()
        self._muted_to = await self._stage.bookmark()
        if snapshot is not None:
            try:
                self._engine.load(zlib.decompress(snapshot.state))
                self._cursor = snapshot.cursor
            except (ValueError, zlib.error) as error:
                log.warning("the saved state could not be used", reason=str(error))
                self._engine = _engine(self._settings)
        first = await self._stage.first()
        if snapshot is not None and first is not None and before(self._cursor, first):
            log.warning("events were let go while the rules role was away: a hole", until=first)
        if self._cursor != START or self._muted_to != START:
            log.info("rules resumed", state=self._cursor, committed=self._muted_to)

    async def _take(self, batch: Sequence[tuple[str, bytes]]) -> None:
        found: list[Said] = []
        for entry_id, data in batch:
            said = self._feed(entry_id, data)
            if said and before(self._muted_to, entry_id):
                found += said
        cursor = batch[-1][0]
        if before(self._muted_to, cursor):
            found, self._notices = found + self._notices, []
            await self._stage.commit(cursor, [alerts.encode(alert) for alert in found])
        self._cursor = cursor
        self._alerts += len(found)

    def _feed(self, entry_id: str, data: bytes) -> Sequence[Said]:
        self._events += 1
        try:
            event: AnyEvent = decode(data)
        except msgspec.MsgspecError as error:
            self._unreadable += 1
            log.error("an event could not be read", entry=entry_id, reason=str(error)[:200])
            return []
        self._lag = int(time.time() * 1000) - event.seen
        if isinstance(event, Tick):
            self._ticked = time.monotonic()
        try:
            return self._engine.feed(event)
        except Exception:  # one event must not stop all alerts for ever
            self._unreadable += 1
            log.exception("the rules failed on an event; it was left out", entry=entry_id)
            return []

    def _listen_for_ticks(self, heard: bool) -> None:
        if not heard and time.monotonic() - self._ticked > NO_TICK_S:
            log.warning("no tick for 30 s: is the streams role running?")
            self._ticked = time.monotonic()

    async def _save(self) -> None:
        if self._cursor == START:
            return
        cursor, dumped = self._cursor, self._engine.dump()
        state = await asyncio.to_thread(zlib.compress, dumped, 1)
        self._state_bytes = len(state)
        await self._stage.save(Snapshot(cursor, state))


def _engine(settings: Settings) -> Engine:
    venues = [venue.name for venue in settings.venues]
    return Engine(settings.rules, venues, settings.composites)


async def rules_role(settings: Settings, url: str) -> None:
    """Events → alerts in Redis. Runs until cancelled."""
    watch = Watch(settings.path)
    async with role(url, "rules") as redis:
        rules = RulesRole(settings, redis, watch=watch)
        with on_sighup(watch):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(report(redis, "rules", rules.status))
                tasks.create_task(rules.run())
