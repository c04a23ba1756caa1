"""From consumers to the stream: conflated, in order, kept while Redis is away."""

import asyncio
import contextlib
from collections.abc import Mapping

import structlog

from streams.bus.conflate import Conflator, newest_only
from streams.bus.skew import ClockError, Skew, stepped_since
from streams.bus.writer import Writer
from streams.clock import STEP, Clock
from streams.durations import SECOND
from streams.events import AnyEvent, ClockStep, Ms, Tick, encode, length_in_words

log = structlog.get_logger()

_BATCH = 500
_COMPACT_AT = 20_000
"""Events waiting for Redis before those are dropped that a newer one replaces."""

_MOST = 200_000
"""Events waiting at most, about 50 MB; then the oldest go, and it is said."""

_TICK_MS: Ms = SECOND

_COMPARE_MS: Ms = 2 * SECOND
"""After the first venue is heard others may say more."""

_COMPARE_MOST_MS: Ms = 15 * SECOND
"""So long the venues are waited for to say by how much our clock stepped while we were away."""


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
        # how late venues were before our clock stepped while we were away: nothing is written
        # before it is known by how much, or that nobody knows
        self._late_before: Mapping[str, Ms] | None = None
        self._compare_from: Ms | None = None
        self._stepped: Ms | None = None
        self._compare_until: Ms = 0
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Events accepted and not yet written."""
        return len(self._waiting) + self._writer.waiting

    @property
    def written(self) -> int:
        """Events written since start."""
        return self._writer.written

    @property
    def clock_error(self) -> ClockError | None:
        """How wrong our clock is by the venues'; None: it is not known to be."""
        return self._skew.error

    def publish(self, event: AnyEvent) -> None:
        """Accept an event. Never blocks."""
        self._skew.take(event)
        for going in self._conflator.offer(event):
            self._accept(going)

    def step(self, by: Ms, seen: Ms) -> None:
        """The clock stepped by ``by``, to ``seen``. Never blocks."""
        log.warning("the clock of this machine stepped", by=_signed(by))
        for event in self._conflator.flush():
            self._accept(event)
        self._skew.step(by)
        self._accept(ClockStep(seen=seen, by=by))

    def compare(self, late_before: Mapping[str, Ms]) -> None:
        """The clock stepped while we were away: what comes waits until the venues have said by how
        much. ``late_before``: how late each was before."""
        self._late_before = late_before
        self._compare_until = self._clock.now() + _COMPARE_MOST_MS

    async def run(self) -> None:
        """Write what was accepted, and a Tick each second; never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._ticks())

    async def flush(self, seconds: float) -> None:
        """Write what is left, for as long as this many seconds."""
        self._late_before = None
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
        while self._waiting and self._late_before is None:
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
            if self._late_before is not None:
                self._mind_comparison(self._late_before)
            for skewed in self._skew.look(now):
                self._accept(skewed)
            self._accept(Tick(seen=now))

    def _mind_comparison(self, before: Mapping[str, Ms]) -> None:
        """By how much the clock stepped while we were away goes before all that waits."""
        now, by = self._clock.now(), stepped_since(before, self._skew.late)
        if by is None:
            by = self._stepped
        elif self._compare_from is None:
            self._compare_from = now
        self._stepped = by
        heard = self._compare_from is not None and now - self._compare_from >= _COMPARE_MS
        if not heard and now < self._compare_until:
            return
        self._late_before, self._compare_from = None, None
        if by is None:
            log.warning("nobody knows by how much the clock stepped while we were away: a hole")
        elif abs(by) > STEP and self._waiting:
            log.warning("the clock stepped while we were away, by the venues' word", by=_signed(by))
            self._waiting.insert(0, ClockStep(seen=self._waiting[0].seen, by=by))
        self._wake.set()


def _signed(by: Ms) -> str:
    return f"{'-' if by < 0 else '+'}{length_in_words(abs(by))}"
