"""What is asked of a venue by REST: repeated polls, and book snapshots when a session wants one."""

import asyncio
import heapq
from collections.abc import Callable, Sequence

import msgspec
import structlog

from streams.clock import Clock
from streams.durations import HOUR
from streams.events import (
    NOT_WATCHED,
    AnyEvent,
    FeedState,
    Funding,
    Instrument,
    Kind,
    MarketEvent,
    Ms,
)
from streams.feed.errors import SayOnce
from streams.feed.rest import Rest, Unavailable
from streams.venue import UNREADABLE, Decoded, Listing, Poll, Request, Unreadable, Venue, facts

log = structlog.get_logger()

_AT_ONCE = 16
"""So that 500 symbols a minute (9 requests a second) are on time with answers of 1.5 s, as they are
when everybody asks."""

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
        unreadable: Callable[[Sequence[str]], None],
    ) -> None:
        """``unreadable`` is told the rows of an answer that cannot be read."""
        self.polls = venue.polls(instruments, venue.SPEC.kinds)
        self.listing = listing
        self.dropped = 0
        self._venue = venue
        self._rest = rest
        self._publish = publish
        self._clock = clock
        self._tapped = tapped
        self._unreadable = unreadable
        self._asking: set[int] = set()
        self._failures: dict[_Feed, int] = {}
        self._up: set[_Feed] = set()
        self._once = SayOnce()

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
            self._say(feed, False, NOT_WATCHED)
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
        for item in decoded:
            if isinstance(item, Unreadable):
                self._unreadable(item.rows)
        events, doubt = facts(decoded, self.listing.contracts)
        if doubt and self._once.is_news(doubt, self._clock.now()):
            log.warning("answer dropped", venue=self._venue.SPEC.name, reason=doubt)
        # Settlements are no feed by themselves: they come hours apart.
        if feed not in self._up and not all(_is_settlement(fact) for fact in events):
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
        if self._once.is_news(reason, self._clock.now()):
            title, path = self._venue.SPEC.title, poll.request.path
            log.warning(f"{title} did not answer a poll: {reason}", path=path)
        if self._failures[feed] == _FAILURES_DOWN and feed in self._up:
            self._up.discard(feed)
            self._say(feed, False, reason)

    def _say(self, feed: _Feed, up: bool, reason: str) -> None:
        kind, symbol = feed
        instrument = self.listing.instruments.get(symbol)
        self._publish(
            FeedState(
                venue=self._venue.SPEC.name,
                symbol=symbol,
                kind=kind,
                seen=self._clock.seen(),
                up=up,
                reason=reason,
                asset=instrument.asset if instrument else "",
            )
        )


def _is_settlement(fact: MarketEvent) -> bool:
    return isinstance(fact, Funding) and fact.settled


def next_due(poll: Poll, now: Ms) -> Ms:
    """The first moment after ``now`` at which ``poll`` is to be asked."""
    every, offset = round(poll.every_s * 1000), round(poll.offset_s * 1000)
    return ((now - offset) // every + 1) * every + offset


def _as_of(request: Request, now: Ms) -> Request:
    """The request with its times filled in, as it goes out."""
    path, body = request.path, request.body
    for name, stamp in (("{hour_ago}", str(now - HOUR)), ("{now}", str(now))):
        path = path.replace(name, stamp)
        body = body and body.replace(name.encode(), stamp.encode())
    return msgspec.structs.replace(request, path=path, body=body)


TakeSnapshot = Callable[[str, bytes], None]
"""Called with the symbol and the body of a snapshot."""

_LOST_IN_A_ROW = 2
"""So many lost books are asked for before a book that is known has its turn."""


class _Wanted(msgspec.Struct):
    """A snapshot that is waited for."""

    request: Request
    takers: list[TakeSnapshot]
    """Those who asked for it."""
    lost: bool
    """Nothing is known of the book."""
    turn: int
    """Its place in the order of its kind."""


class SnapshotQueue:
    """Book snapshots, few at a time, of what the polls leave of the budget, in order of need.

    Lost books come first, each once before any comes twice, the instruments listed first before
    the others: they have two of three requests (300 books of Binance, where nobody else asks for
    weight: in 6 minutes). Books that are known and that the price leaves have the others, and all
    of them while none is lost, in shares: in a crash the largest are asked for again and again. So
    each answer costs a symbol its rank in turns (weighted fair queueing): where all of them want
    more, the first is served twice as often as the fourth, and nobody is left out.
    """

    def __init__(
        self, rest: Rest, tapped: Callable[[Request, bytes], None], now: Callable[[], Ms]
    ) -> None:
        """``now`` is a monotonic clock in Ms."""
        self.rank: dict[str, int] = {}
        self._rest = rest
        self._tapped = tapped
        self._now = now
        self._waiting: dict[str, _Wanted] = {}
        self._turns: dict[str, int] = {}  # whose turn is when, of all that were ever known
        self._turn = 0  # of whoever was served last
        self._rounds: dict[str, int] = {}  # in which round a lost book was served last
        self._round = 0
        self._lost_in_a_row = 0
        self._asking: dict[str, list[TakeSnapshot]] = {}
        self._wake = asyncio.Event()
        self._once = SayOnce()

    def add(self, request: Request, take: TakeSnapshot, lost: bool) -> None:
        """Ask for this snapshot when its turn comes; a symbol is asked for once at a time.

        ``lost``: nothing is known of the book. Whoever joins while the question is out gets that
        answer: the ids tell if it is too old.
        """
        symbol = request.symbol
        takers = self._asking.get(symbol)
        if takers is None:
            wanted = self._waiting.get(symbol)
            if wanted is None:
                wanted = self._waiting[symbol] = _Wanted(request, [], lost, 0)
                wanted.turn = self._next_round(symbol) if lost else self._next_turn(symbol)
                self._wake.set()
            elif lost and not wanted.lost:
                wanted.lost, wanted.turn = True, self._next_round(symbol)
            takers = wanted.takers
        if take not in takers:
            takers.append(take)

    def _next_turn(self, symbol: str) -> int:
        last = max(self._turn, self._turns.get(symbol, 0))
        turn = self._turns[symbol] = last + 1 + self._place(symbol)
        return turn

    def _next_round(self, symbol: str) -> int:
        return max(self._round, self._rounds.get(symbol, -1) + 1)

    def _place(self, symbol: str) -> int:
        return self.rank.get(symbol, len(self.rank))

    async def run(self) -> None:
        """Never returns. What waited before is forgotten."""
        self._waiting.clear()
        self._turns.clear()
        self._rounds.clear()
        async with asyncio.TaskGroup() as workers:
            for _ in range(_SNAPSHOTS_AT_ONCE):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            if self._rest.paused_s:
                await asyncio.sleep(1)
            elif self._waiting:
                await self._ask(self._next())
            else:
                self._wake.clear()

    def _next(self) -> str:
        """Whose snapshot is asked for now."""
        lost = [symbol for symbol, wanted in self._waiting.items() if wanted.lost]
        known = [symbol for symbol, wanted in self._waiting.items() if not wanted.lost]
        if lost and not (known and self._lost_in_a_row >= _LOST_IN_A_ROW):
            self._lost_in_a_row += 1
            symbol = min(lost, key=lambda s: (self._waiting[s].turn, self._place(s)))
            self._rounds[symbol] = self._round = self._waiting[symbol].turn
            if len(lost) == 1:
                self._round += 1  # who is lost later begins anew, the largest first
            return symbol
        self._lost_in_a_row = 0
        symbol = min(known, key=lambda s: self._waiting[s].turn)
        self._turn = max(self._turn, self._waiting[symbol].turn)
        return symbol

    async def _ask(self, symbol: str) -> None:
        wanted = self._waiting.pop(symbol)
        request, takers = wanted.request, wanted.takers
        self._asking[symbol] = takers
        try:
            body = await self._rest.ask(request, spare=True)
        except Unavailable as error:
            if self._once.is_news(str(error), self._now()):
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
