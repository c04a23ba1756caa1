"""Events → alerts, with a state that survives any end exactly."""

import asyncio
import contextlib
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.config import Settings
from bot.config.reload import ConfigWatch, Rejected, change_summary, checked, in_short, on_sighup
from bot.messages.notices import config_notice, redis_notice, state_notice
from bot.metriclog import MetricLog
from bot.roles import NO_TICK_S, report, role, rss_mb
from rules import alerts
from rules.alerts import AlertOrNotice
from rules.engine import Engine
from rules.feed_health import is_of_ticks, no_tick, ticks_again
from rules.snapshot import OpenEpisodes, Standing
from streams.bus.connection import ANSWER_S, START, Keys, Snapshot, StreamReader, parsed, unsafe
from streams.bus.writer import FLUSH_S
from streams.clock import wall_ms
from streams.events import AnyEvent, Ms, Tick, decode

log = structlog.get_logger()

SAVE_EVERY_S = 60.0
_HELD_UP: Ms = 5_000
"""A Tick so long before the present was made before its role or Redis stood still."""

STANDING_EVERY_S = 10.0
EPISODES_EVERY_S = 2.0
STANDING_LIFE_S = 60
_SLICE = 64 * 1024


class RulesStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of the rules role."""

    seen: Ms
    """Our clock."""
    rss_mb: float
    cursor: str
    """The last event that was read."""
    events: int
    alerts: int
    unreadable: int
    """Events that could not be read."""
    lag_ms: Ms
    """How old the last event was when it was read."""
    state_bytes: int
    """Of the last snapshot."""
    tick_ms: Ms = 0
    """How long ago the last Tick was read, or the role began."""


class RulesRole:
    """Events → alerts, with a state that survives any end exactly.

    The bookmark says up to where alerts are durable; the snapshot is an older state. A restart
    takes the snapshot, feeds it the events up to the bookmark again, muted, and goes on. A state
    between the two, of events fed whose alerts are not durable yet, is never saved.

    Between two batches a changed configuration is taken over, if it is valid and its rule tests
    pass. ``env``: the variables of the process; ``watch``: says when to look.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        env: Mapping[str, str] | None = None,
        watch: ConfigWatch | None = None,
    ) -> None:
        self._settings = self._started = settings
        self._env = os.environ if env is None else env
        self._watch = watch or ConfigWatch(settings.path)
        self._redis = redis
        self._notices: list[AlertOrNotice] = []
        self._refused = False  # the file that is there was not taken over
        self._reader = StreamReader(redis, Keys(), "rules", Keys().events)
        self._engine = _engine(settings)
        folder = settings.data_dir / "metrics"
        self._metric_log = MetricLog(folder, settings.metrics_keep, settings.metrics_mb)
        self._cursor = START
        self._muted_to = START
        self._whole = False  # the engine has been fed all up to the cursor and nothing more
        self._events = self._alerts = self._unreadable = self._lag = self._state_bytes = 0
        self._ticked, self._ticked_at = wall_ms(), time.monotonic()
        self._missed = ""  # the id under which operators were told that ticks are missing

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
            tick_ms=round(1000 * (time.monotonic() - self._ticked_at)),
        )

    def standing(self) -> Standing:
        """What the rules see now."""
        return self._engine.standing()

    def episodes(self) -> OpenEpisodes:
        """What is open now."""
        return self._engine.open_episodes()

    async def run(self) -> None:
        """Read, feed, commit; runs until cancelled, then saves its state."""
        await self._resume()
        saved = time.monotonic()
        try:
            while True:
                batch = await self._reader.read(self._cursor)
                if batch:
                    await self._take(batch)
                await self._listen_for_ticks()
                if self._watch.due():
                    await self._reload()
                if time.monotonic() - saved > SAVE_EVERY_S:
                    await self._save()
                    saved = time.monotonic()
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._save(), FLUSH_S)

    async def _reload(self) -> None:
        """Take over a changed configuration, or keep the old one and say why."""
        old = self._settings
        try:
            new, tests = await asyncio.to_thread(checked, old.path, self._env)
            engine = _engine(new)
            engine.load(self._engine.dump())
        except (Rejected, ValueError) as error:
            self._refused = True
            log.error("configuration not taken over, the old one stays", reason=str(error))
            self._tell_operators(False, str(error))
            return
        except Exception as error:  # whatever it is, the old rules go on
            self._refused = True
            log.exception("configuration not taken over, the old one stays")
            self._tell_operators(False, f"{type(error).__name__}: {error}")
            return
        self._engine, self._settings = engine, new
        refused, self._refused = self._refused, False
        text = change_summary(old, new, tests, self._started)
        if not text and not refused:
            log.info("configuration read again: nothing has changed")
            return
        text = text or f"{in_short(new, tests)}. It is again as it was before."
        log.info("configuration taken over", what=text)
        self._tell_operators(True, text)
        await self._save()

    def _tell_operators(self, was_taken: bool, reason: str) -> None:
        """With the next batch, so that a notice is told once like any alert."""
        self._notices.append(config_notice(was_taken, reason, wall_ms()))

    async def _resume(self) -> None:
        self._muted_to = await self._reader.bookmark()
        if parsed(self._muted_to) > parsed(await self._reader.newest()):
            self._muted_to = START  # of another stream, of which this one knows nothing
        if danger := await unsafe(self._redis):
            log.warning(f"Redis is not safe to use: {danger}")
            self._notices.append(redis_notice(danger, wall_ms()))
        snapshot: Snapshot | None = None
        try:
            if (snapshot := await self._reader.saved()) is not None:
                lost = self._engine.load(zlib.decompress(snapshot.state))
                self._cursor = snapshot.cursor
                if lost:
                    await self._lose(lost)
        except (ValueError, zlib.error) as error:
            self._engine = _engine(self._settings)
            await self._lose(str(error))
        self._whole = True
        await self._say_remembered()  # without a state there is nothing
        first = await self._reader.first()
        if snapshot is not None and first is not None and parsed(self._cursor) < parsed(first):
            log.warning("events were let go while the rules role was away: a hole", until=first)
        if self._cursor != START or self._muted_to != START:
            log.info("rules resumed", state=self._cursor, committed=self._muted_to)

    async def _lose(self, what: str) -> None:
        """Of the saved state ``what`` could not be taken over: operators hear of it."""
        log.error("a part of the rules' saved state could not be taken over", what=what)
        await self._reader.set_aside()
        self._notices.append(state_notice("rules", what, wall_ms()))

    async def _take(self, batch: Sequence[tuple[str, bytes]]) -> None:
        turns: list[AlertOrNotice] = []
        self._whole = False
        if parsed(batch[0][0]) <= parsed(self._cursor):
            self._muted_to = START  # another stream: of this one nothing was told
        for entry_id, data in batch:
            of_event = self._feed(entry_id, data)
            if of_event and parsed(self._muted_to) < parsed(entry_id):
                turns += [turn for turn in of_event if turn.id != self._missed]
        cursor = batch[-1][0]
        if parsed(self._muted_to) < parsed(cursor):
            turns, self._notices = turns + self._notices, []
            await self._reader.commit(cursor, [alerts.encode(alert) for alert in turns])
        self._cursor, self._whole = cursor, True
        self._alerts += len(turns)

    def _feed(self, entry_id: str, data: bytes) -> Sequence[AlertOrNotice]:
        self._events += 1
        try:
            event: AnyEvent = decode(data)
        except msgspec.MsgspecError as error:
            self._unreadable += 1
            log.error("an event could not be read", entry=entry_id, reason=str(error)[:200])
            return []
        self._lag = wall_ms() - event.seen
        missed = self._missed
        back = self._ticks(event) if isinstance(event, Tick) else []
        try:
            turns = self._engine.feed(event)
            if isinstance(event, Tick) and self._metric_log.due(event.seen):
                again = parsed(entry_id) <= parsed(self._muted_to)
                self._metric_log.write(event.seen, self._engine.observed(), again)
            if missed:  # what the engine says of ticks, too, was said or will be
                turns = [turn for turn in turns if not is_of_ticks(turn)]
            return [*turns, *back]
        except Exception:  # one event must not stop all alerts for ever
            self._unreadable += 1
            log.exception("the rules failed on an event; it was left out", entry=entry_id)
            return []

    def _ticks(self, tick: Tick) -> list[AlertOrNotice]:
        """A Tick came; if operators were told that there was none, they hear of it."""
        missed_ms = round(1000 * (time.monotonic() - self._ticked_at))
        if self._missed and self._ticked < tick.seen < self._ticked + missed_ms - _HELD_UP:
            return []  # it was held up, and is next to the last one before: so are those after it
        since, self._ticked, self._ticked_at = self._ticked, tick.seen, time.monotonic()
        missed, self._missed = self._missed, ""
        if not missed:
            return []
        until = max(tick.seen, since + missed_ms)
        return [ticks_again(since, until, self._engine.episodes_open())]

    async def _listen_for_ticks(self) -> None:
        """Say once that ticks are missing. The engine says so itself if anything else comes."""
        if time.monotonic() - self._ticked_at <= NO_TICK_S:
            return
        missing_ms = round(1000 * (time.monotonic() - self._ticked_at))
        notice = no_tick(self._ticked, self._ticked + missing_ms)
        if notice.id != self._missed:
            log.warning("no tick for 30 s: is the streams role running?")
            self._missed = notice.id
            await self._reader.say(alerts.encode(notice))

    async def _save(self) -> None:
        if self._cursor == START or not self._whole:
            return
        cursor = self._cursor
        state = await _compressed(self._engine.dump())
        self._state_bytes = len(state)
        await self._reader.save(Snapshot(cursor, state))
        await self._say_remembered()

    async def _say_remembered(self) -> None:
        """What the streams role need not ask of the past when it starts."""
        remembered = msgspec.msgpack.encode(self._engine.remembered())
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await self._redis.set(Keys().remembered, remembered)


def _engine(settings: Settings) -> Engine:
    venues = [venue.name for venue in settings.venues]
    return Engine(settings.rules, venues, settings.composites)


async def _compressed(data: bytes) -> bytes:
    """``data`` compressed, a slice at a time between other work.

    Not in a thread: a second thread's memory is a second arena, which is not given back.
    """
    packer, parts = zlib.compressobj(1), list[bytes]()
    for start in range(0, len(data), _SLICE):
        parts.append(packer.compress(data[start : start + _SLICE]))
        await asyncio.sleep(0)
    return b"".join((*parts, packer.flush()))


async def show(
    redis: Redis, key: str, seen: Callable[[], Standing | OpenEpisodes], every_s: float
) -> None:
    """Keep what the rules see where others find it; never returns."""
    while True:
        await asyncio.sleep(every_s)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await redis.set(key, msgspec.msgpack.encode(seen()), ex=STANDING_LIFE_S)


async def rules_role(
    settings: Settings, url: str, standing_every_s: float = STANDING_EVERY_S
) -> None:
    """Events → alerts in Redis. Runs until cancelled.

    ``standing_every_s``: how often what the rules see is written down.
    """
    watch = ConfigWatch(settings.path)
    async with role(url, "rules") as (redis, _):
        rules = RulesRole(settings, redis, watch=watch)
        with on_sighup(watch):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(report(redis, "rules", rules.status))
                tasks.create_task(show(redis, Keys().standing, rules.standing, standing_every_s))
                tasks.create_task(show(redis, Keys().episodes, rules.episodes, EPISODES_EVERY_S))
                tasks.create_task(rules.run())
