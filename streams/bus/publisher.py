"""From consumers to the stream: conflated, in order, kept while Redis is away."""

import asyncio
import contextlib

import structlog

from streams.bus.conflate import Conflator, newest_only
from streams.bus.skew import Skew
from streams.bus.writer import Writer
from streams.clock import Clock
from streams.durations import SECOND
from streams.events import AnyEvent, Ms, Tick, encode

log = structlog.get_logger()

_BATCH = 500
_COMPACT_AT = 20_000
"""Events waiting for Redis before those are dropped that a newer one replaces."""

_MOST = 200_000
"""Events waiting at most, about 50 MB; then the oldest go, and it is said."""

_TICK_MS: Ms = SECOND


class Publisher:
    """Takes events from anywhere in the role and writes them to the stream."""

    def __init__(self, writer: Writer, conflator: Conflator, clock: Clock) -> None:
        self._writer = writer
        self._conflator = conflator
        self._clock = clock
        self._skew = Skew()
        self._waiting: list[AnyEvent] = []
        self._wake = asyncio.Event()
        self._compact_at = _COMPACT_AT
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Events accepted and not yet written."""
        return len(self._waiting) + self._writer.waiting

    @property
    def written(self) -> int:
        """Events written since start."""
        return self._writer.written

    def publish(self, event: AnyEvent) -> None:
        """Accept an event. Never blocks."""
        self._skew.take(event)
        for going in self._conflator.offer(event):
            self._accept(going)

    async def run(self) -> None:
        """Write what was accepted, and a Tick each second; never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._ticks())

    async def flush(self, seconds: float) -> None:
        """Write what is left, for as long as this many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._write_all(), seconds)
        if self.waiting:
            log.error("events could not be written before the end", lost=self.waiting)

    def _accept(self, event: AnyEvent) -> None:
        self._waiting.append(event)
        self._wake.set()
        if len(self._waiting) > self._compact_at:
            self._compact()

    def _compact(self) -> None:
        before = len(self._waiting)
        self._waiting = newest_only(self._waiting)
        if len(self._waiting) > _MOST:
            self.lost += len(self._waiting) - _MOST
            log.error("too many events wait for Redis: the oldest are lost", lost=self.lost)
            self._waiting = self._waiting[-_MOST:]
        self._compact_at = max(_COMPACT_AT, 2 * len(self._waiting))
        after = len(self._waiting)
        log.warning("events wait for Redis", waiting=after, left_out=before - after)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write_all()

    async def _write_all(self) -> None:
        await self._writer.finish()
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            await self._writer.append([(event.seen, encode(event)) for event in batch])

    async def _ticks(self) -> None:
        last = 0
        while True:
            await self._clock.sleep(_TICK_MS / 1000)
            now = self._clock.seen()
            if 0 <= now - last < _TICK_MS / 2:  # a story that outran us wakes us late
                continue
            last = now
            for event in self._conflator.due(now):
                self._accept(event)
            if (skewed := self._skew.look(now)) is not None:
                self._accept(skewed)
            self._accept(Tick(seen=now))
