"""Events → alerts, with a state that survives any end exactly."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import Sequence

import msgspec
import structlog
from redis.asyncio import Redis

from bot.config import Settings
from bot.roles import FLUSH_S, report, role, rss_mb
from rules import alerts
from rules.alerts import Alert
from rules.engine import Engine
from streams.bus import START, Keys, Snapshot, Stage, parsed
from streams.clock import wall_ms
from streams.events import AnyEvent, Ms, Tick, decode

log = structlog.get_logger()

SAVE_EVERY_S = 60.0
NO_TICK_S = 30.0
_SLICE = 64 * 1024


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
    takes the snapshot, feeds it the events up to the bookmark again, muted, and goes on. A state
    between the two, of events fed whose alerts are not durable yet, is never saved.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._stage = Stage(redis, Keys(), "rules", Keys().events)
        self._engine = self._fresh()
        self._cursor = START
        self._muted_to = START
        self._whole = False  # the engine has been fed all up to the cursor and nothing more
        self._events = self._alerts = self._unreadable = self._lag = self._state_bytes = 0
        self._ticked = time.monotonic()

    def status(self) -> RulesStatus:
        """How it goes."""
        return RulesStatus(
            seen=wall_ms(),
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
                self._listen_for_ticks(bool(batch))
                if batch:
                    await self._take(batch)
                if time.monotonic() - saved > SAVE_EVERY_S:
                    await self._save()
                    saved = time.monotonic()
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._save(), FLUSH_S)

    def _fresh(self) -> Engine:
        return Engine(self._settings.rules, [venue.name for venue in self._settings.venues])

    async def _resume(self) -> None:
        snapshot = await self._stage.saved()
        self._muted_to = await self._stage.bookmark()
        if snapshot is not None:
            try:
                self._engine.load(zlib.decompress(snapshot.state))
                self._cursor = snapshot.cursor
            except (ValueError, zlib.error) as error:
                log.warning("the saved state could not be used", reason=str(error))
                self._engine = self._fresh()
        self._whole = True
        first = await self._stage.first()
        if snapshot is not None and first is not None and parsed(self._cursor) < parsed(first):
            log.warning("events were let go while the rules role was away: a hole", until=first)
        if self._cursor != START or self._muted_to != START:
            log.info("rules resumed", state=self._cursor, committed=self._muted_to)

    async def _take(self, batch: Sequence[tuple[str, bytes]]) -> None:
        found: list[Alert] = []
        self._whole = False
        for entry_id, data in batch:
            said = self._feed(entry_id, data)
            if said and parsed(self._muted_to) < parsed(entry_id):
                found += said
        cursor = batch[-1][0]
        if parsed(self._muted_to) < parsed(cursor):
            await self._stage.commit(cursor, [alerts.encode(alert) for alert in found])
        self._cursor, self._whole = cursor, True
        self._alerts += len(found)

    def _feed(self, entry_id: str, data: bytes) -> list[Alert]:
        self._events += 1
        try:
            event: AnyEvent = decode(data)
        except msgspec.MsgspecError as error:
            self._unreadable += 1
            log.error("an event could not be read", entry=entry_id, reason=str(error)[:200])
            return []
        self._lag = wall_ms() - event.seen
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
        if self._cursor == START or not self._whole:
            return
        cursor = self._cursor
        state = await _compressed(self._engine.dump())
        self._state_bytes = len(state)
        await self._stage.save(Snapshot(cursor, state))


async def _compressed(data: bytes) -> bytes:
    """``data`` compressed, a slice at a time between other work.

    Not in a thread: a second thread's memory is a second arena, which is not given back.
    """
    packer, parts = zlib.compressobj(1), list[bytes]()
    for start in range(0, len(data), _SLICE):
        parts.append(packer.compress(data[start : start + _SLICE]))
        await asyncio.sleep(0)
    return b"".join((*parts, packer.flush()))


async def rules_role(settings: Settings, url: str) -> None:
    """Events → alerts in Redis. Runs until cancelled."""
    async with role(url, "rules") as redis:
        rules = RulesRole(settings, redis)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(report(redis, "rules", rules.status))
            tasks.create_task(rules.run())
