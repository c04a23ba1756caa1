"""What is asked of a venue by REST: repeated polls, and book snapshots when a session wants one."""

import asyncio
import heapq
from collections.abc import Callable, Sequence

import msgspec
import structlog

from streams.clock import Clock
from streams.durations import HOUR
from streams.events import AnyEvent, FeedState, Funding, Instrument, Kind, MarketEvent, Ms
from streams.feed.errors import SayOnce
from streams.feed.rest import Rest, Unavailable
from streams.venue import UNREADABLE, Decoded, Listing, Poll, Request, Venue, facts

log = structlog.get_logger()

_AT_ONCE = 6
_SNAPSHOTS_AT_ONCE = 3
"""So that one symbol whose answers hang does not hold up the others."""

_SETTLEMENT_WAITS_S = (3.0, 5.0, 8.0, 12.0, 20.0) + 6 * (30.0,)
"""A settlement that is due and not there yet is asked for again after these."""

_FAILURES_DOWN = 3
"""After so many failures in a row a polled feed is said to be down."""

_Feed = tuple[Kind, str]


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
        self._asking: set[int] = set()
        self._failures: dict[_Feed, int] = {}
        self._up: set[_Feed] = set()
        self._told = SayOnce()

    async def run(self) -> None:
        """Never returns."""
        self._asking.clear()
        now = self._clock.seen()
        due = [
            (now if poll.at_start else next_due(poll, now), place)
            for place, poll in enumerate(self.polls)
        ]
        heapq.heapify(due)
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while due:
                when, place = due[0]
                seen = self._clock.seen()
                wait = (when - seen) / 1000
                if when > (sooner := next_due(self.polls[place], seen)):  # the clock went back
                    heapq.heapreplace(due, (sooner, place))
                    continue
                if wait > 0:
                    await self._clock.sleep(min(wait, 60.0))
                    continue
                heapq.heapreplace(due, (next_due(self.polls[place], self._clock.seen()), place))
                if place in self._asking:
                    continue  # its last answer has not come yet
                await slots.acquire()
                self._asking.add(place)
                tasks.create_task(self._serve(place, slots))
        await asyncio.Event().wait()

    def take(self, listing: Listing, instruments: Sequence[Instrument]) -> bool:
        """Ask for these instruments from now on. True if that is something else than before: then
        ``run`` must be begun anew. Feeds that are no longer asked for are said to be down."""
        self.listing = listing
        polls = self._venue.polls(instruments, self._venue.SPEC.kinds)
        if polls == self.polls:
            return False
        self.polls = polls
        wanted = {(poll.kind, poll.request.symbol or "*") for poll in polls}
        for feed in sorted(self._up - wanted):
            self._say(feed, False, "no longer watched")
        self._up &= wanted
        self._failures = {feed: n for feed, n in self._failures.items() if feed in wanted}
        return True

    def down(self, reason: str) -> None:
        """Say of all polled feeds that they are down."""
        for feed in sorted(self._up):
            self._say(feed, False, reason)
        self._up.clear()

    async def _serve(self, place: int, slots: asyncio.Semaphore) -> None:
        """Ask, with the slot that was taken for it, and again while a settlement is owed."""
        try:
            try:
                owed = await self._ask(place)
            finally:
                slots.release()
            for wait in _SETTLEMENT_WAITS_S:
                if not owed:
                    return
                await self._clock.sleep(wait)
                async with slots:
                    owed = await self._ask(place)
        finally:
            self._asking.discard(place)

    async def _ask(self, place: int) -> bool:
        """Whether a settlement that is due did not come with the answer."""
        poll = self.polls[place]
        feed = poll.kind, poll.request.symbol or "*"
        request = _as_of(poll.request, self._clock.seen())
        try:
            body = await self._rest.ask(request)
            self._tapped(request, body)
            decoded = self._venue.decode_poll(poll, body, self.listing, self._clock.seen())
        except Unavailable as error:
            self._failed(feed, poll, str(error))
        except UNREADABLE as error:
            self._rest.doubt()
            self.dropped += 1
            self._failed(feed, poll, f"an answer could not be read: {error}")
        else:
            return self._succeeded(feed, poll, decoded)
        return poll.kind is Kind.FUNDING

    def _succeeded(self, feed: _Feed, poll: Poll, decoded: Sequence[Decoded]) -> bool:
        self._failures[feed] = 0
        events, doubt = facts(decoded, self.listing.contracts)
        if doubt and self._told.is_news(doubt, self._clock.now()):
            log.warning("answer dropped", venue=self._venue.SPEC.name, reason=doubt)
        # Funding is a socket's feed: what is polled only adds the settlements.
        if events and feed not in self._up and poll.kind is not Kind.FUNDING:
            self._up.add(feed)
            self._say(feed, True, "")
        for fact in events:
            self._publish(fact)
        return poll.kind is Kind.FUNDING and not self._settled(events)

    def _settled(self, events: Sequence[MarketEvent]) -> bool:
        """Whether the newest settlement that is due is among these, of all that they speak of."""
        now, contracts = self._clock.seen(), self.listing.contracts
        rates = [fact for fact in events if isinstance(fact, Funding)]
        return bool(rates) and not any(contracts.owes(rate, now) for rate in rates)

    def _failed(self, feed: _Feed, poll: Poll, reason: str) -> None:
        reason = reason[:200]
        self._failures[feed] = self._failures.get(feed, 0) + 1
        if self._told.is_news(reason, self._clock.now()):
            title, path = self._venue.SPEC.title, poll.request.path
            log.warning(f"{title} did not answer a poll: {reason}", path=path)
        if self._failures[feed] == _FAILURES_DOWN and feed in self._up:
            self._up.discard(feed)
            self._say(feed, False, reason)

    def _say(self, feed: _Feed, up: bool, reason: str) -> None:
        kind, symbol = feed
        venue, seen = self._venue.SPEC.name, self._clock.seen()
        self._publish(
            FeedState(venue=venue, symbol=symbol, kind=kind, seen=seen, up=up, reason=reason)
        )


def next_due(poll: Poll, now: Ms) -> Ms:
    """The first moment after ``now`` at which ``poll`` is to be asked."""
    every, offset = round(poll.every_s * 1000), round(poll.offset_s * 1000)
    return ((now - offset) // every + 1) * every + offset


def _as_of(request: Request, now: Ms) -> Request:
    """The request with its time filled in, as it goes out."""
    stamp = str(now - HOUR)
    return msgspec.structs.replace(
        request,
        path=request.path.replace("{hour_ago}", stamp),
        body=request.body and request.body.replace(b"{hour_ago}", stamp.encode()),
    )


TakeSnapshot = Callable[[str, bytes], None]
"""Told the symbol and the body of a snapshot."""


class SnapshotQueue:
    """Book snapshots, few at a time, in shares: the instruments listed first have the most.

    In a crash the largest books are asked for again and again, which may be all that the budget
    allows. So each answer costs a symbol its rank in turns (weighted fair queueing): where all of
    them want more, the first is served twice as often as the fourth, and nobody is left out.
    """

    def __init__(
        self, rest: Rest, tapped: Callable[[Request, bytes], None], now: Callable[[], Ms]
    ) -> None:
        """``now`` is a monotonic clock in Ms."""
        self.rank: dict[str, int] = {}
        self._rest = rest
        self._tapped = tapped
        self._now = now
        self._waiting: dict[str, tuple[Request, list[TakeSnapshot]]] = {}
        self._turns: dict[str, int] = {}  # whose turn is when, of all that were ever asked for
        self._turn = 0  # of whoever was served last
        self._asking: dict[str, list[TakeSnapshot]] = {}
        self._wake = asyncio.Event()
        self._told = SayOnce()

    def add(self, request: Request, take: TakeSnapshot) -> None:
        """Ask for this snapshot when its turn comes; a symbol is asked for once at a time.

        Whoever joins while the question is out gets that answer: the ids tell if it is too old.
        """
        takers = self._asking.get(request.symbol)
        if takers is None:
            if request.symbol not in self._waiting:
                self._waiting[request.symbol] = (request, [])
                self._turns[request.symbol] = self._next_turn(request.symbol)
                self._wake.set()
            takers = self._waiting[request.symbol][1]
        if take not in takers:
            takers.append(take)

    def _next_turn(self, symbol: str) -> int:
        last = max(self._turn, self._turns.get(symbol, 0))
        return last + 1 + self.rank.get(symbol, len(self.rank))

    async def run(self) -> None:
        """Never returns. What waited before is forgotten."""
        self._waiting.clear()
        self._turns.clear()
        async with asyncio.TaskGroup() as workers:
            for _ in range(_SNAPSHOTS_AT_ONCE):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            if self._rest.paused_s:
                await asyncio.sleep(1)
            elif self._waiting:
                await self._ask(min(self._waiting, key=self._turns.__getitem__))
            else:
                self._wake.clear()

    async def _ask(self, symbol: str) -> None:
        request, takers = self._waiting.pop(symbol)
        self._turn = max(self._turn, self._turns[symbol])
        self._asking[symbol] = takers
        try:
            body = await self._rest.ask(request)
        except Unavailable as error:
            if self._told.is_news(str(error), self._now()):
                log.warning("book snapshot not given", symbol=symbol, reason=str(error))
            body = None
        finally:
            del self._asking[symbol]  # before it is given out: whoever gets it may ask again
        if body is None:
            await asyncio.sleep(1)
            return
        self._tapped(request, body)
        for take in takers:
            take(symbol, body)
