"""What is asked of a venue by REST: repeated polls, and book snapshots when a session wants one."""

import asyncio
import heapq
import math
from collections.abc import Callable, Sequence

import msgspec
import structlog

from streams.clock import Clock
from streams.events import AnyEvent, FeedState, Instrument, Kind, Ms
from streams.rest import Rest, Unavailable
from streams.venue import BookUpdate, Listing, Malformed, Poll, Reply, Request, Venue

log = structlog.get_logger()

_HOUR_MS = 3_600_000
_AT_ONCE = 6
_FAILURES_DOWN = 3
"""After so many failures in a row a polled feed is said to be down."""


class Poller:
    """Asks each poll at its times and publishes what it brings."""

    def __init__(
        self,
        venue: Venue,
        rest: Rest,
        listing: Listing,
        instruments: Sequence[Instrument],
        publish: Callable[[AnyEvent], None],
        clock: Clock,
        tapped: Callable[[Request, bytes], None],
    ) -> None:
        self.polls = venue.polls(instruments, venue.SPEC.kinds)
        self.listing = listing
        self.dropped = 0
        self._venue = venue
        self._rest = rest
        self._publish = publish
        self._clock = clock
        self._tapped = tapped
        self._failures: dict[tuple[Kind, str], int] = {}
        self._up: set[tuple[Kind, str]] = set()
        self._said: set[str] = set()

    async def run(self) -> None:
        """Never returns."""
        now = self._clock.seen()
        due = [
            (now if poll.at_start else _next_due(poll, now), place)
            for place, poll in enumerate(self.polls)
        ]
        heapq.heapify(due)
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while due:
                when, place = due[0]
                wait = (when - self._clock.seen()) / 1000
                if wait > 0:
                    await self._clock.sleep(min(wait, 60.0))
                    continue
                poll = self.polls[place]
                heapq.heapreplace(due, (_next_due(poll, self._clock.seen()), place))
                await slots.acquire()
                task = tasks.create_task(self._ask(poll))
                task.add_done_callback(lambda _: slots.release())
        await asyncio.Event().wait()

    async def _ask(self, poll: Poll) -> None:
        key = poll.kind, poll.request.symbol or "*"
        try:
            body = await self._rest.ask(poll.request, self._clock.seen() - _HOUR_MS)
            self._tapped(poll.request, body)
            decoded = self._venue.decode_poll(poll, body, self.listing, self._clock.seen())
        except (Unavailable, Malformed, msgspec.MsgspecError) as error:
            self._failed(key, poll, error)
            return
        self._failures[key] = 0
        if key not in self._up and poll.kind is not Kind.FUNDING:
            self._up.add(key)
            self._publish(self._state(key, True, ""))
        for item in decoded:
            if not isinstance(item, BookUpdate | Reply):
                self._publish(item)

    def _failed(self, key: tuple[Kind, str], poll: Poll, error: Exception) -> None:
        reason = str(error)
        if not isinstance(error, Unavailable):
            self.dropped += 1
            reason = f"an answer could not be read: {reason}"
        self._failures[key] = self._failures.get(key, 0) + 1
        if reason not in self._said:
            self._said.add(reason)
            title = self._venue.SPEC.title
            log.warning(f"{title} did not answer a poll: {reason[:200]}", path=poll.request.path)
        if self._failures[key] == _FAILURES_DOWN and key in self._up:
            self._up.discard(key)
            self._publish(self._state(key, False, reason[:200]))

    def _state(self, key: tuple[Kind, str], up: bool, reason: str) -> FeedState:
        kind, symbol = key
        venue, seen = self._venue.SPEC.name, self._clock.seen()
        return FeedState(venue=venue, symbol=symbol, kind=kind, seen=seen, up=up, reason=reason)


def _next_due(poll: Poll, now: Ms) -> Ms:
    every, offset = poll.every_s * 1000, poll.offset_s * 1000
    return int((math.floor((now - offset) / every) + 1) * every + offset)


class SnapshotQueue:
    """Book snapshots, one request at a time, the instruments listed first served first."""

    def __init__(self, rest: Rest, tapped: Callable[[Request, bytes], None]) -> None:
        self.rank: dict[str, int] = {}
        self._rest = rest
        self._tapped = tapped
        self._waiting: dict[str, tuple[Request, Callable[[bytes], None]]] = {}
        self._asking: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, request: Request, done: Callable[[bytes], None]) -> None:
        """Ask for this snapshot when its turn comes; a symbol waits once only."""
        if request.symbol not in self._asking:
            self._waiting[request.symbol] = (request, done)
            self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._wake.wait()
            if not self._waiting:
                self._wake.clear()
                continue
            symbol = min(self._waiting, key=lambda s: self.rank.get(s, len(self.rank)))
            request, done = self._waiting.pop(symbol)
            self._asking.add(symbol)
            try:
                body = await self._rest.ask(request)
            except Unavailable as error:
                log.warning("book snapshot not given", symbol=symbol, reason=str(error))
                await asyncio.sleep(1)
            else:
                self._tapped(request, body)
                done(body)
            finally:
                self._asking.discard(symbol)
