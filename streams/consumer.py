"""One venue, live: its listing, its sockets and its polls.

A ``Consumer`` reads the venue's listing, chooses instruments and keeps a ``Line`` for each
subscription. It decides nothing about the market: sessions and adapters do.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence

import structlog

from streams.clock import Clock
from streams.contracts import Contracts
from streams.events import Instrument, Kind
from streams.failures import Told
from streams.line import Line, Publish
from streams.polling import Poller, SnapshotQueue, TakeSnapshot
from streams.recording import Recorded, request_channel, socket_channel
from streams.rest import Rest, Unavailable
from streams.selection import choose_instruments
from streams.venue import UNREADABLE, Listing, Malformed, Request, Subscription, Venue

log = structlog.get_logger()

Listed = tuple[list[Instrument], tuple[str, ...]]
"""A venue's instruments, and its own order of symbols."""

Wanted = Callable[[Sequence[Instrument]], Awaitable[list[Instrument]]]
"""Which of these instruments are to be watched."""

LISTING_EVERY_S = 3600.0
CHOOSE_EVERY_S = 86_400.0
_LISTING_BACKOFF_S = (2.0, 300.0)
_RELIST_EVERY_S = 20.0
"""How often sockets may ask for the listing: what they show may be ahead of it for a while."""

_PAGES_AT_MOST = 20
_STAGGER_S = 0.25
"""Sockets of a venue are opened this far apart: venues ban those who knock too often."""

_FEED_REPEAT_S = 60.0
"""How often a liquidation feed, silent for hours by nature, is said to be still up."""


class Consumer:
    """Everything we hear from one venue. Made for ``Line``: see ``line.Surroundings``."""

    def __init__(
        self,
        venue: Venue,
        websocket: str | None,
        rest: str | None,
        publish: Publish,
        clock: Clock,
        tap: Callable[[Recorded], None] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        """``websocket`` and ``rest`` replace the venue's own base URLs where given.

        ``tap`` is told every raw frame and body as it came. ``only``: no symbols but these.
        """
        spec = venue.SPEC
        self.venue = venue
        self.clock = clock
        self.publish = publish
        self.rest = Rest(spec, rest or spec.rest, clock.now, clock.sleep)
        self.trouble = "starting"
        self.instruments = 0
        self.lines: list[Line] = []
        self.poller: Poller | None = None
        self._websocket = (websocket or spec.websocket).rstrip("/")
        self._tap = tap
        self._only = only
        self._contracts = Contracts()
        self._relist = asyncio.Event()
        self._snapshots = SnapshotQueue(self.rest, self._asked, clock.now)
        self._told = Told()

    async def run(
        self,
        listed: Callable[[str, Sequence[Instrument]], None],
        choose: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        """Never returns. ``listed`` is told each listing; ``choose`` gives the assets to watch."""

        async def wanted(instruments: Sequence[Instrument]) -> list[Instrument]:
            listed(self.venue.SPEC.name, instruments)
            chosen = choose_instruments(instruments, await choose())
            return [i for i in chosen if self._only is None or i.symbol in self._only]

        async with self.rest:
            instruments, order = await self._listing()
            while True:
                chosen = await wanted(instruments)
                listing = self._listed(chosen, order)
                instruments, order = await self._serve(listing, chosen, wanted)

    async def _serve(
        self, listing: Listing, chosen: Sequence[Instrument], wanted: Wanted
    ) -> Listed:
        """Listen to these instruments until the listing calls for others; the new listing."""
        spec = self.venue.SPEC
        plan = self.venue.subscriptions(chosen, spec.kinds) if chosen else []
        self.lines = [Line(self, subscription, listing) for subscription in plan]
        self.poller = Poller(
            self.venue, self.rest, listing, chosen, self.publish, self.clock, self._asked
        )
        self._snapshots.rank = {i.symbol: place for place, i in enumerate(chosen)}
        self.instruments = len(chosen)
        if chosen:
            log.info(f"listening to {spec.title}", instruments=len(chosen), sockets=len(plan))
        else:
            log.warning(f"{spec.title} lists nothing of what is to be watched")
        reason = "Lowtide stopped listening"
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work) for work in self._works(bool(chosen))]
                try:
                    listed = await self._change(listing, wanted)
                finally:
                    for task in running:
                        task.cancel()
            reason = "instruments are being chosen anew"
            return listed
        finally:
            self.silence(reason)  # once nobody speaks any more

    def _works(self, wanted: bool) -> list[Coroutine[None, None, None]]:
        if not wanted:
            return []
        lines = [line.run(place * _STAGGER_S) for place, line in enumerate(self.lines)]
        assert self.poller is not None  # noqa: S101  # _serve() made it
        return [*lines, self.poller.run(), self._snapshots.run(), self._repeat_states()]

    def silence(self, reason: str) -> None:
        """Say of all feeds that they are down."""
        for line in self.lines:
            for state in line.session.down(reason, self.clock.seen()):
                self.publish(state)
        if self.poller is not None:
            self.poller.down(reason)

    async def _change(self, listing: Listing, wanted: Wanted) -> Listed:
        """Read the listing every hour; return when contracts of ours are gone.

        Once a day also when others rank higher. The order, and funding intervals, which venues
        change under stress, are taken over in place.
        """
        chosen_at = self.clock.now()
        while True:
            await asyncio.sleep(_RELIST_EVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTING_EVERY_S - _RELIST_EVERY_S):
                    await self._relist.wait()
            instruments, order = await self._listing()
            self._relist.clear()
            by_symbol = {i.symbol: i for i in instruments}
            gone = [symbol for symbol in listing.instruments if symbol not in by_symbol]
            if gone or not listing.instruments:
                log.info("listing changed", venue=self.venue.SPEC.name, gone=gone[:10])
                return instruments, order
            if self.clock.now() - chosen_at >= CHOOSE_EVERY_S * 1000:
                chosen_at = self.clock.now()
                if {i.symbol for i in await wanted(instruments)} != set(listing.instruments):
                    log.info("other contracts rank higher now", venue=self.venue.SPEC.name)
                    return instruments, order
            known = [by_symbol[symbol] for symbol in listing.instruments]
            self._decode_with(self._listed(known, order))

    def _listed(self, instruments: Sequence[Instrument], order: tuple[str, ...]) -> Listing:
        self._contracts.relist(instruments)
        by_symbol = {i.symbol: i for i in instruments}
        return Listing(instruments=by_symbol, order=order, contracts=self._contracts)

    def _decode_with(self, listing: Listing) -> None:
        for line in self.lines:
            line.decode_with(listing)
        if self.poller is not None:
            self.poller.listing = listing

    async def _listing(self) -> Listed:
        """The venue's listing, however long it takes to get one."""
        wait, longest = _LISTING_BACKOFF_S
        while True:
            try:
                listed = self.venue.instruments(await self._listing_bodies())
            except (Unavailable, *UNREADABLE, ValueError) as error:
                pause = max(wait * (0.75 + random.random() / 2), self.rest.paused_s)
                self._say_trouble(error, pause)
                await asyncio.sleep(pause)
                wait = min(wait * 2, longest)
                continue
            self.trouble = ""
            self._told.forget()
            return listed

    def _say_trouble(self, error: Exception, pause: float) -> None:
        unreadable = "" if isinstance(error, Unavailable) else "its listing could not be read: "
        self.trouble = f"{unreadable}{str(error)[:200]}"
        if self._told.is_news(self.trouble, self.clock.now()):
            title = self.venue.SPEC.title
            log.warning(f"cannot reach {title}: {self.trouble}", next_try_s=round(pause))

    async def _listing_bodies(self) -> list[bytes]:
        bodies: list[bytes] = []
        for first in self.venue.listing_requests():
            request: Request | None = first
            while request is not None:
                body = await self.rest.ask(request)
                self._asked(request, body)
                bodies.append(body)
                if len(bodies) > _PAGES_AT_MOST:
                    raise Malformed("its listing has no end")
                request = self.venue.next_listing_request(request, body)
        return bodies

    async def _repeat_states(self) -> None:
        while True:
            await self.clock.sleep(_FEED_REPEAT_S)
            for line in self.lines:
                for state in line.session.states(self.clock.seen()):
                    if state.kind is Kind.LIQUIDATION and line.session.connected:
                        self.publish(state)

    # ── what lines need ─────────────────────────────────────────────────

    def url(self, subscription: Subscription) -> str:
        """See line.Surroundings."""
        return self._websocket + subscription.path

    def fetch(self, request: Request, take: TakeSnapshot) -> None:
        """See line.Surroundings."""
        self._snapshots.add(request, take)

    def blocked(self, words: str) -> None:
        """See line.Surroundings."""
        if self._told.is_news(words, self.clock.now()):
            log.warning(f"cannot reach {self.venue.SPEC.title}: {words}")

    def ask_relist(self) -> None:
        """See line.Surroundings."""
        self._relist.set()

    def tapped(self, subscription: Subscription, frame: bytes) -> None:
        """See line.Surroundings."""
        if self._tap is not None:
            self._record(socket_channel(subscription.path), frame)

    def _asked(self, request: Request, body: bytes) -> None:
        if self._tap is not None:
            self._record(request_channel(request), body)

    def _record(self, channel: str, frame: bytes) -> None:
        assert self._tap is not None  # noqa: S101  # the callers looked
        name, seen = self.venue.SPEC.name, self.clock.seen()
        self._tap(Recorded(t=seen, venue=name, channel=channel, frame=frame))
